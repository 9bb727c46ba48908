"""Vitals: from an engine's and an exporter's page to rows, and whatever an address may answer instead."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from inference import clickhouse as trace_store
from inference import engine_vitals, exposition, gpu_vitals, vitals
from inference.engine_vitals import Reading, quantile
from inference.exposition import Page, parse
from inference.gpus import Gpus
from inference.vitals import METRICS, Sample
from tests.inference import pages
from tests.inference.pages import BUSY, dcgm


def reading(number: int) -> Reading:
    return Reading(pages.SECONDS[number], parse(pages.vllm(number)))


def test_a_real_engine_between_two_pages() -> None:
    found = engine_vitals.vitals(reading(2), reading(3))
    # Twelve answers of 48 tokens ended in these 10.7 s; one of 11 and one of 4 tokens before.
    assert found["requests_per_s"] == pytest.approx(12 / 10.7, rel=1e-3)
    assert found["tokens_per_s"] == pytest.approx(575 / 10.7, rel=1e-3)
    assert (found["up"], found["requests_running"], found["preemptions_per_min"]) == (1.0, 0.0, 0.0)
    assert 5.0 < found["first_token_p50"] < found["first_token_p95"] <= 7.5
    assert 0.1 < found["between_tokens_p50"] < 0.15 < found["between_tokens_p95"] < 0.5
    assert set(found) <= set(METRICS)


def test_an_engine_seen_while_it_works() -> None:
    found = engine_vitals.vitals(reading(1), reading(2))
    assert found["requests_running"] == 1.0
    assert 0 < found["kv_cache"] < 0.01
    assert "between_tokens_p50" not in found  # nothing was observed in between


def test_all_of_vllms_names_are_on_the_recorded_page() -> None:
    page = reading(3).page
    assert [names[0] for names in engine_vitals.NAMES if names[0] not in page.samples] == []


def test_the_first_page_has_no_rates() -> None:
    found = engine_vitals.vitals(None, reading(3))
    assert set(found) == {"up", "requests_running", "requests_waiting", "kv_cache"}


def test_an_engine_that_began_anew_has_no_rates_and_no_negative_ones() -> None:
    before = reading(3)
    found = engine_vitals.vitals(Reading(0.0, before.page), Reading(5.0, reading(1).page))
    assert set(found) == {"up", "requests_running", "requests_waiting", "kv_cache"}


def test_two_pages_far_apart_say_nothing_of_now() -> None:
    found = engine_vitals.vitals(Reading(0.0, reading(2).page), Reading(3600.0, reading(3).page))
    assert "tokens_per_s" not in found


def test_ranks_are_added_up_and_the_fullest_cache_counts() -> None:
    page = parse(
        'vllm:num_requests_running{engine="0"} 3\nvllm:num_requests_running{engine="1"} 4\n'
        'vllm:gpu_cache_usage_perc{engine="0"} 0.2\nvllm:gpu_cache_usage_perc{engine="1"} 0.9\n'
    )
    found = engine_vitals.vitals(None, Reading(0.0, page))
    assert (found["requests_running"], found["kv_cache"]) == (7.0, 0.9)


@given(st.lists(st.floats(0.001, 79), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], q: float) -> None:
    bounds = [0.01, 0.1, 0.5, 1.0, 2.5, 10.0, 80.0, float("inf")]
    buckets = {bound: float(sum(value <= bound for value in values)) for bound in bounds}
    true = sorted(values)[max(-(-int(q * len(values) * 1e9) // 10**9), 1) - 1]
    bucket = next(bound for bound in bounds if true <= bound)
    lower = max((bound for bound in bounds if bound < bucket), default=0.0)
    found = quantile(buckets, q)
    assert found is not None
    assert lower - 1e-9 <= found <= bucket + 1e-9


def test_a_quantile_of_nothing_is_none_and_of_the_open_bucket_its_lower_bound() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({1.0: 0.0, float("inf"): 0.0}, 0.5) is None
    assert quantile({1.0: 0.0, float("inf"): 5.0}, 0.5) == 1.0


def test_a_gpu_by_dcgms_names() -> None:
    found = gpu_vitals.vitals(parse(dcgm(BUSY, {**BUSY, "XID_ERRORS": 79})))
    assert found["0"] == {
        "gpu_utilisation": 0.98, "gpu_power": 668.0, "gpu_power_share": 668 / 700, "gpu_temperature": 61.0,
        "gpu_memory": 130_000 / 143_771, "gpu_xid": 0.0,
    }  # fmt: skip
    assert found["1"]["gpu_xid"] == 79.0
    assert set(gpu_vitals.vitals(parse(dcgm(BUSY, BUSY)), {"1"})) == {"1"}


def test_a_gpu_without_its_cap_has_no_share_of_it() -> None:
    bare = {name: value for name, value in BUSY.items() if name not in ("POWER_MGMT_LIMIT", "FB_FREE")}
    assert set(gpu_vitals.vitals(parse(dcgm(bare)))["0"]) == {
        "gpu_utilisation", "gpu_power", "gpu_temperature", "gpu_xid",
    }  # fmt: skip


class Nvml:
    """As much of pynvml as is used. GPU 1 is too old to tell its power."""

    NVML_TEMPERATURE_GPU = 0
    nvmlEventTypeXidCriticalError = 8  # noqa: N815 - its name

    class NVMLError(Exception):
        pass

    class NVMLError_Timeout(NVMLError):  # noqa: N801, N818 - its name
        pass

    def __init__(self, xids: list[tuple[int, int]]) -> None:
        self.xids = xids

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetIndex": lambda handle: handle,
            "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}",
            "nvmlDeviceGetName": lambda handle: b"H200",
            "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=97),
            "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 700_000,
            "nvmlDeviceGetTemperature": lambda handle, sensor: 61,
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=3 << 30, free=1 << 30),
            "nvmlEventSetCreate": object,
            "nvmlDeviceRegisterEvents": lambda *_: None,
        }
        return answers[name]

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if handle == 1:
            raise self.NVMLError("Not Supported")
        return 350_000

    def nvmlEventSetWait_v2(self, events: object, patience: int) -> Any:
        if not self.xids:
            raise self.NVMLError("the driver is gone")
        index, xid = self.xids.pop(0)
        if xid == 0:
            raise self.NVMLError_Timeout
        return SimpleNamespace(device=index, eventData=xid)


def test_nvml_shows_the_same_names() -> None:
    gpus = Gpus(Nvml([(0, 0), (1, 79)]))
    gpus.listen()
    registry = CollectorRegistry()
    registry.register(gpus)
    found = gpu_vitals.vitals(parse(generate_latest(registry).decode()))
    assert found["0"] == {
        "gpu_utilisation": 0.97, "gpu_power": 350.0, "gpu_power_share": 0.5, "gpu_temperature": 61.0,
        "gpu_memory": 0.75, "gpu_xid": 0.0,
    }  # fmt: skip
    assert found["1"]["gpu_xid"] == 79.0
    assert "gpu_power" not in found["1"]


@contextmanager
def answering(reply: bytes, drip_seconds: float = 0.0) -> Iterator[str]:
    """A server that sends everyone these bytes, one by one if told so, and hangs up. Empty: it hangs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def one(client: socket.socket) -> None:
            with client:
                try:
                    client.recv(4096)
                    if not reply:
                        ended.wait(20)
                        return
                    for at in range(0, len(reply), 1 if drip_seconds else len(reply)):
                        client.sendall(reply[at : at + 1] if drip_seconds else reply)
                        if drip_seconds and ended.wait(drip_seconds):
                            return
                except OSError:
                    return

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(client,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/metrics"
        ended.set()
        server.shutdown(socket.SHUT_RDWR)


def http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    return head.encode() + body


PAGE = http(b"vllm:num_requests_running 2\n")
WRONG = {
    "hangs": (b"", "no word within"),
    "hangs up": (b"HTTP/1.1 200", "does not answer"),
    "half a page": (http(b"vllm:num", length=99), "does not answer"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer"),
    "an error": (http(b"", "503 Service Unavailable"), "answers 503"),
    "elsewhere": (http(b"", "302 Found"), "answers 302"),
    "a web page": (http(b"<!doctype html><p>Welcome"), "no Prometheus text"),
    "bytes": (http(bytes(range(256))), "no Prometheus text"),
    "another's metrics": (http(b"up 1\n"), "no metrics of vLLM's"),
    "no numbers": (http(b"vllm:num_requests_running NaN\n"), "no metrics of vLLM's"),
    "endless": (http(b"#" * 200_000), "larger than"),
}


@pytest.mark.slow
def test_whatever_an_engine_answers_is_said_and_the_others_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "_PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(exposition, "_MOST_BYTES", 100_000)
    with ExitStack() as stack:
        urls = [stack.enter_context(answering(reply)) for reply, _ in WRONG.values()]
        slow = stack.enter_context(answering(PAGE, drip_seconds=0.2))
        good = stack.enter_context(answering(PAGE))
        found = [
            Reading(0.0, page)
            for page in exposition.ask([*urls, slow, good, "http://127.0.0.1:9/", "nonsense"])
        ]
    whys = dict(zip(WRONG, (one.why for one in found), strict=False))
    assert {name: words in whys[name] for name, (_, words) in WRONG.items()} == dict.fromkeys(WRONG, True), (
        whys
    )
    drip, fine, away, nonsense = found[len(WRONG) :]
    assert "no word within" in drip.why
    assert engine_vitals.vitals(None, fine)["requests_running"] == 2.0
    assert "does not answer" in away.why
    assert nonsense.why
    assert engine_vitals.vitals(fine, away) == {"up": 0.0}


@given(st.text())
def test_no_text_breaks_the_reading(text: str) -> None:
    assert isinstance(parse(text), Page)
    assert isinstance(parse("vllm:num_requests_running 1\n" + text), Page)


@pytest.fixture
def store(clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> trace_store.Store:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    trace_store.migrate()
    found = trace_store.connect()
    found.command("TRUNCATE TABLE vitals")
    return found


def test_sweeps_are_kept_and_read_as_series(store: trace_store.Store) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)  # where a span begins
    for back in range(60, -1, -10):
        rows = [Sample("tokens_per_s", "gpu-1", "", float(back)), Sample("gpu_power", "gpu-1", "0", 300.0)]
        vitals.keep([*rows, Sample("tokens_per_s", "gpu-2", "", 5.0)], now - timedelta(seconds=back))
    vitals.keep([], now)
    found = vitals.latest(now, ["gpu-1"])
    assert found["gpu-1", "tokens_per_s", ""] == 0.0
    assert found["gpu-1", "gpu_power", "0"] == 300.0
    series = vitals.series(
        "gpu-1", ["tokens_per_s", "gpu_power"], now - timedelta(seconds=60), now + timedelta(seconds=60), 2
    )
    spans = series["tokens_per_s", ""]
    assert [(one.mean, one.least, one.most) for one in spans] == [(35.0, 10.0, 60.0), (0.0, 0.0, 0.0)]
    assert spans[0].at == now - timedelta(seconds=60)
    assert set(series) == {("tokens_per_s", ""), ("gpu_power", "0")}
    assert vitals.mean("tokens_per_s", now - timedelta(seconds=15)) == {"gpu-1": 5.0, "gpu-2": 5.0}
    assert vitals.latest(now + timedelta(hours=1), ["gpu-1"]) == {}
    assert vitals.latest(now, ["gpu-3"]) == {}


def test_old_weeks_go(store: trace_store.Store) -> None:
    vitals.keep_for(90)
    for days in (1, 50):
        vitals.keep([Sample("up", "gpu-1", "", 1.0)], datetime.now(UTC) - timedelta(days=days))
    assert vitals.keep_for(90) is False
    assert vitals.keep_for(20) is True
    store.command("OPTIMIZE TABLE vitals FINAL")
    assert store.query("SELECT count() FROM vitals").result_rows == [(1,)]
    vitals.keep_for(90)
