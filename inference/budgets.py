"""What keys have spent this month, from what happened: for a Redis that was wiped, and for new budgets.

The proxies count as they go (inference.counters) and remember what they know. What none of them knows any
more is in the trace store: tokens by key and model, at the prices of today. A key is looked up twice, a
minute apart, since the first time some of its exchanges may still be on their way to the store.
"""

from collections import Counter
from datetime import UTC, datetime

import redis
from django.conf import settings

from inference import counting, limits, queries
from inference.models import ApiKey, ModelVersion
from inference.routing import Limits

_KEEP_SECONDS = 40 * 86_400
_PATIENCE_SECONDS = 2.0
_ONCE, _KNOWN = b"once", b"known"


def rebuild(now: datetime | None = None) -> int:
    """Tell Redis what it does not know of this month's spending; never lowers what it counted.

    Returns how many keys it looked up. Raises redis.RedisError, and inference.clickhouse.Unavailable.
    """
    now = now or datetime.now(UTC)
    month = limits.month(now.timestamp())
    keys = {key.pk: key.name for key in ApiKey.objects.filter(monthly_budget__isnull=False, revoked_at=None)}
    if not keys:
        return 0
    client = redis.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=_PATIENCE_SECONDS, socket_timeout=_PATIENCE_SECONDS
    )
    with client:
        marks = dict(zip(keys, client.mget([_mark(key, month) for key in keys]), strict=True))
        unknown = {key: name for key, name in keys.items() if marks[key] != _KNOWN}
        if not unknown:
            return 0
        spent = _spent(now, list(unknown.values()))
        for key, name in unknown.items():
            said = counting.arguments(Limits(), "", spent=spent[name])
            client.eval(counting.SCRIPT, 3, *counting.names(key, month), *said)
            client.set(_mark(key, month), _KNOWN if marks[key] == _ONCE else _ONCE, ex=_KEEP_SECONDS)
    return len(unknown)


def _mark(key: int, month: str) -> str:
    return f"flywheel:{{{key}}}:looked-up:{month}"


def _spent(now: datetime, names: list[str]) -> Counter[str]:
    """Nano-dollars of this month by the key's name."""
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    versions = {one.name: one for one in ModelVersion.objects.select_related("base")}
    found: Counter[str] = Counter()
    for name, model, prompt, completion in queries.tokens_by_key(first, names):
        version = versions.get(model)
        if version is not None:
            found[name] += prompt * version.nano_price("price_in")
            found[name] += completion * version.nano_price("price_out")
    return found
