"""Budgets after Redis was wiped: what was spent is known again from what happened."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from inference import budgets, counting, storing
from inference import clickhouse as store
from inference.clickhouse import Unavailable
from inference.exchange import Exchange, parse
from inference.models import ApiKey, ModelVersion
from tests.inference import spooled
from tests.inference.valkey import Valkey

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MONTH = "2026-11"


def make(number: int, at: datetime, **changes: object) -> Exchange:
    return parse(spooled.raw(number, started_us=int(at.timestamp()) * 1_000_000 + number, **changes))


@pytest.fixture(scope="module")
def stored(clickhouse: str) -> Iterator[list[Exchange]]:
    """This month's exchanges of two keys, and one of the last."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        store.migrate()
        begin = datetime(2026, 11, 1, tzinfo=UTC)
        made = [
            make(1, begin, key="clinic", model="base"),
            make(2, NOW, key="clinic", model="desk-c3"),
            make(3, NOW, key="clinic", model="gone"),
            make(4, NOW, key="other", model="base"),
        ]
        before = [make(5, datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC), key="clinic", model="base")]
        for name, batch in (("now", made), ("before", before)):
            storing.store(store.connect(), batch, name, again=False)
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    made = Valkey(tmp_path_factory.mktemp("valkey"))
    yield made
    made.stop()


@pytest.fixture
def valkey(server: Valkey, settings: Any) -> Valkey:
    server.client.flushall()
    settings.REDIS_URL = server.url
    return server


@pytest.fixture
def clinic() -> ApiKey:
    base = ModelVersion.objects.create(
        name="base", kind="base", weights="a" * 64, price_in=Decimal("0.1"), price_out=Decimal("0.4")
    )
    ModelVersion.objects.create(
        name="desk-c3", kind="adapter", base=base, weights="c3" * 32, price_out=Decimal(2)
    )
    for name, budget in (("clinic", Decimal(5)), ("other", None)):
        key = ApiKey(name=name, every_route=True, monthly_budget=budget)
        key.issue()
        key.save()
    return ApiKey.objects.get(name="clinic")


def spent(valkey: Valkey, key: ApiKey) -> int:
    return int(valkey.client.get(counting.names(key.pk, MONTH)[2]) or 0)


def test_what_was_spent_is_known_again(stored: list[Exchange], valkey: Valkey, clinic: ApiKey) -> None:
    assert budgets.rebuild(NOW) == 1
    first, second = stored[:2]
    expected = first.prompt_tokens * 100 + first.completion_tokens * 400
    expected += second.prompt_tokens * 100 + second.completion_tokens * 2000
    assert expected > 0
    assert spent(valkey, clinic) == expected
    assert valkey.client.keys("*other*") == []


def test_what_proxies_counted_meanwhile_is_never_lowered(
    stored: list[Exchange], valkey: Valkey, clinic: ApiKey
) -> None:
    valkey.client.set(counting.names(clinic.pk, MONTH)[2], 10**12)
    budgets.rebuild(NOW)
    assert spent(valkey, clinic) == 10**12


def test_the_store_is_asked_twice_and_again_after_a_wipe(
    stored: list[Exchange], valkey: Valkey, clinic: ApiKey
) -> None:
    assert [budgets.rebuild(NOW) for _ in range(3)] == [1, 1, 0]
    valkey.client.flushall()
    assert budgets.rebuild(NOW) == 1
    assert spent(valkey, clinic) > 0
    december = datetime(2026, 12, 1, tzinfo=UTC)
    assert budgets.rebuild(december) == 1, "a month begins with nothing"
    assert valkey.client.get(counting.names(clinic.pk, "2026-12")[2]) is None


def test_without_budgets_nobody_is_asked(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert budgets.rebuild(NOW) == 0


def test_a_store_that_is_away_marks_nothing(
    valkey: Valkey, clinic: ApiKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/flywheel")
    with pytest.raises(Unavailable):
        budgets.rebuild(NOW)
    assert valkey.client.keys() == []
