"""Which processes one machine's Flywheel is made of, how each is started and how each shows it is ready.

The only module that knows all of them together. Production starts the same commands from its own process
manager, with other addresses.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from flywheel.local import broker
from flywheel.local.engine import CpuEngine
from flywheel.local.home import ENGINE_PYTHON, ROOT, WEB_PYTHON, Home
from flywheel.local.supervisor import Process

_STORES, _READERS, _WRITERS = 0, 1, 2
"""Tiers: what takes traffic stops first, then what carries it on, then the engines under both."""


def engines(home: Home, inherited: Mapping[str, str]) -> list[Process]:
    """ClickHouse, Redis and, unless there is one already, vLLM."""
    python, env = str(WEB_PYTHON), home.environment(inherited)
    port = home.ports["clickhouse"]
    store = Process(
        "clickhouse",
        [
            python,
            "-m",
            "flywheel.local.clickhouse",
            "--path",
            str(home.root / "clickhouse"),
            "--port",
            str(port),
        ],
        ROOT,
        env | {"CLICKHOUSE_PASSWORD": home.secrets["clickhouse_password"]},
        partial(_answers, f"http://127.0.0.1:{port}/ping"),
        tier=_STORES,
    )
    redis = Process(
        "redis",
        broker.command(home.root / "redis", home.ports["redis"], home.secrets["redis_password"]),
        ROOT,
        env,
        partial(broker.answers, home.ports["redis"]),
        tier=_STORES,
    )
    return [store, redis] if home.upstream else [_vllm(home, inherited), store, redis]


def _vllm(home: Home, inherited: Mapping[str, str]) -> Process:
    engine = CpuEngine(
        ENGINE_PYTHON, home.models, home.adapters, home.ports["engine"], spool=home.engine_spool
    )
    ready = partial(_answers, engine.health_url)
    # Loading it from a cold disk takes a minute on two cores, more while they are busy.
    return Process(
        "engine",
        engine.command(),
        engine.folder,
        engine.environment(inherited),
        ready,
        patience=600,
        tier=_STORES,
    )


def _engine_drain(home: Home, env: dict[str, str]) -> Process:
    """The drain of the tokens that our engine keeps."""
    return Process(
        "engine-drain",
        [str(WEB_PYTHON), "-m", "inference.drain", "--spool", str(home.engine_spool)],
        ROOT,
        env,
        partial(_written_since, home.engine_spool / "status.json", time.time()),
        tier=_READERS,
    )


def services(home: Home, inherited: Mapping[str, str]) -> list[Process]:
    """Flywheel's own processes. The stores must be up and migrated."""
    python, env = str(WEB_PYTHON), home.environment(inherited)
    celery = [python, "-m", "celery", "-A", "flywheel"]
    beat_file = home.root / "beat"
    web = [python, "-m", "gunicorn", "flywheel.wsgi", "--worker-class", "gthread", "--threads", "16"]
    web += ["--bind", f"127.0.0.1:{home.ports['web']}", "--graceful-timeout", "3", "--no-control-socket"]
    return [
        Process("web", web, ROOT, env, partial(_answers, f"{home.web_url}/healthz"), tier=_WRITERS),
        Process(
            "proxy",
            [python, "-m", "inference.proxy", "--name", "proxy-1", "--port", str(home.ports["proxy"])],
            ROOT,
            env,
            partial(_answers, f"{home.proxy_url}/ready"),
            tier=_WRITERS,
        ),
        Process(
            "drain",
            [python, "-m", "inference.drain"],
            ROOT,
            env,
            partial(_written_since, home.root / "spool" / "status.json", time.time()),
            tier=_READERS,
        ),
        *([] if home.upstream else [_engine_drain(home, env)]),
        Process(
            "worker",
            [
                *celery,
                "worker",
                "--concurrency",
                "2",
                "--without-gossip",
                "--without-mingle",
                "--loglevel",
                "INFO",
            ],
            ROOT,
            env,
            partial(_worker_answers, env["FLYWHEEL_REDIS_URL"]),
            tier=_READERS,
        ),
        Process(
            "beat",
            [*celery, "beat", "--schedule", str(beat_file), "--pidfile", "", "--loglevel", "INFO"],
            ROOT,
            env,
            _alive_for(1.5),
            tier=_READERS,
        ),
        Process("watch", [python, "manage.py", "watch"], ROOT, env, _alive_for(1.5), tier=_READERS),
    ]


def _answers(url: str) -> bool:
    try:
        with _OPENER.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


# No proxy from the environment may stand between this machine and itself.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _worker_answers(url: str) -> bool:
    from celery import Celery  # noqa: PLC0415  (half a second; only the supervisor pays)
    from kombu.exceptions import OperationalError  # noqa: PLC0415

    try:
        return bool(Celery(broker=url).control.ping(timeout=0.5))
    except (OSError, OperationalError):
        return False


def _written_since(path: Path, began: float) -> bool:
    try:
        return path.stat().st_mtime >= began
    except FileNotFoundError:
        return False


def _alive_for(seconds: float) -> Callable[[], bool]:
    """For processes without an address: they are ready when they have not ended for a moment."""
    first: list[float] = []

    def ready() -> bool:
        first.append(time.monotonic())
        return first[-1] - first[0] >= seconds

    return ready
