"""How every process does, each in a sentence: what the engine room shows and the first place to look.

Asks each with a short timeout and at the same time, so that a dead one costs the page a second, not a minute.
Changes nothing, and keeps nothing: history is for a monitoring system (docs/operate.md names the metrics).
"""

import http.client
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from flywheel import jobs, losses
from flywheel.models import Job, Sweep
from flywheel.templatetags.flywheel import ago
from inference.clickhouse import Unavailable, connect
from inference.models import Proxy, RoutingVersion, Upstream

TIMEOUT = 1.0
UNHEARD = timedelta(seconds=60)
"""A proxy asks for the routing at least every 20 s."""
TONES = ("good", "warn", "bad")


@dataclass(frozen=True, slots=True)
class Check:
    """One process. ``tone``: good, warn or bad; ``words`` say what is, ``advice`` what to do about it."""

    name: str
    what: str
    tone: str
    words: str
    advice: str = ""

    @property
    def glyph(self) -> str:
        """The state without colour."""
        return {"good": "✓", "warn": "▲", "bad": "✕"}[self.tone]


def checks() -> list[Check]:
    """Everything, in the order an exchange passes through it."""
    upstreams = list(Upstream.objects.filter(enabled=True).order_by("name"))
    with ThreadPoolExecutor(max_workers=8) as pool:
        engines = [pool.submit(engine, each) for each in upstreams]
        stores = [pool.submit(ask) for ask in (trace_store, broker)]
        rows = [*proxies(), *drains(), *(future.result() for future in stores), database(), work(), watch()]
        return [*(future.result() for future in engines), *rows]


def get(url: str, timeout: float = TIMEOUT) -> tuple[int, bytes]:
    """Status and the first bytes of a page. Raises OSError or http.client.HTTPException."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    client = kind(parts.hostname or "", parts.port, timeout=timeout)
    try:
        client.request("GET", parts.path or "/")
        answer = client.getresponse()
        return answer.status, answer.read(4096)
    finally:
        client.close()


def engine(upstream: Upstream) -> Check:
    """An engine by its /health, which answers 200 once the model is loaded, and by its logprobs mode."""
    name, what = upstream.name, f"engine at {upstream.base_url}"
    try:
        status, _ = get(upstream.base_url.rstrip("/") + "/health")
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = "Requests to it fail until it is back; they are recorded as failed."
        return Check(name, what, "bad", f"Does not answer ({_cause(error)}).", why)
    if status != 200:
        return Check(
            name, what, "warn", f"Answers {status}: not ready.", "It may still be loading its model."
        )
    if upstream.contradiction:
        return Check(name, what, "warn", "Healthy, in another logprobs mode.", upstream.contradiction)
    return Check(name, what, "good", "Healthy.")


def proxies() -> list[Check]:
    """What each proxy follows, as last heard from it."""
    newest = RoutingVersion.objects.values_list("number", flat=True).first() or 0
    found = [_proxy(each, newest) for each in Proxy.objects.order_by("name")]
    nobody = Check(
        "proxy",
        "takes the products' requests",
        "bad",
        "None has been heard from yet.",
        "Start one; it asks for the routing by itself.",
    )
    return found or [nobody]


def _proxy(proxy: Proxy, newest: int) -> Check:
    what = f"proxy, follows routing {proxy.version}"
    heard = ago(proxy.seen_at)
    if timezone.now() - proxy.seen_at > UNHEARD:
        return Check(
            proxy.name,
            what,
            "bad",
            f"Last heard from {heard}.",
            "If it still runs, it goes on with the routing it has.",
        )
    if proxy.version < newest:
        return Check(
            proxy.name,
            what,
            "warn",
            f"{newest - proxy.version} behind the newest routing, {newest}.",
            "It catches up within seconds, or can't reach this server.",
        )
    return Check(proxy.name, what, "good", f"Follows the newest routing; heard from {heard}.")


def drains() -> list[Check]:
    """Each spool's drain, by what was last heard from it."""
    what = "drain, moves exchanges from disk to the trace store"
    found = losses.states()
    if not found:
        advice = "Exchanges stay in the spool until it runs; nothing is lost."
        return [Check("Drain", what, "warn", "None has been heard from yet.", advice)]
    return [Check(one.spool.name, what, one.tone, one.words, one.advice) for one in found]


def trace_store() -> Check:
    """ClickHouse, by asking for its version."""
    what = "trace store (ClickHouse)"
    try:
        version = connect().query("select version()").result_rows[0][0]
    except Unavailable as error:
        return Check(
            "ClickHouse",
            what,
            "bad",
            f"Does not answer ({_cause(error)}).",
            "Exchanges wait in the spool; nothing is lost. Judging, routes and Back work on.",
        )
    return Check("ClickHouse", what, "good", f"Answers; version {version}.")


def broker() -> Check:
    """Redis, by a ping."""
    client = redis.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=TIMEOUT, socket_timeout=TIMEOUT, retry=None
    )
    try:
        client.ping()
    except (redis.RedisError, OSError) as error:
        return Check(
            "Redis",
            "tells workers what to do",
            "bad",
            f"Does not answer ({_cause(error)}).",
            "Jobs are kept in the database and start when it is back.",
        )
    finally:
        client.close()
    return Check("Redis", "tells workers what to do", "good", "Answers.")


def database() -> Check:
    """The SQL database this page was made from."""
    what = f"decisions ({connection.vendor})"
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        return Check(
            "SQL database", what, "bad", f"Does not answer ({_cause(error)}).", "Nothing can be changed."
        )
    return Check("SQL database", what, "good", "Answers.")


def work() -> Check:
    """Workers, judged by whether anything waits for one."""
    what = "worker, does jobs"
    running = Job.objects.filter(state=Job.State.RUNNING).count()
    due = jobs.due().first()
    if due is not None:
        words = f"Job {due.pk} ({due.get_kind_display()}), asked for {ago(due.created_at)}, still waits."
        return Check("Worker", what, "bad", words, "No worker takes it: start one. The job is kept.")
    return Check("Worker", what, "good", f"{running} at work." if running else "Nothing waits for it.")


def watch() -> Check:
    """What gathers the vitals, by when it last did."""
    what = "watch, sees how engines, GPUs and spools do"
    last = Sweep.objects.filter(pk=1).first()
    if last is None or timezone.now() - last.at > UNHEARD:
        words = "Has not looked yet." if last is None else f"Last looked {ago(last.at)}."
        return Check("Watch", what, "bad", words, "Nobody is told when something breaks: start it.")
    if last.problem:
        return Check("Watch", what, "warn", f"Looks, and can't keep what it sees: {last.problem}")
    return Check("Watch", what, "good", f"Looked {ago(last.at)}; {len(last.silent)} did not answer.")


def _cause(error: BaseException) -> str:
    causes: list[tuple[type[BaseException], str]] = [
        (ConnectionRefusedError, "nothing listens there"),
        (TimeoutError, f"no word within {TIMEOUT:g} s"),
    ]
    chain: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in chain:
        chain.append(step)
        step = step.__cause__ or step.__context__
    found = (words for each in chain for kind, words in causes if isinstance(each, kind))
    return next(found, str(error).split("\n", maxsplit=1)[0][:120] or type(error).__name__)
