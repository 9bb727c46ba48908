"""The measurements, each against the same canned engines, one contender awake at a time."""

import contextlib
import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import uvloop

from bench.proxy import latency, load, paced, profile, scaling
from bench.proxy.figures import Figure, rounded
from bench.proxy.load import BadAnswersError, Request
from bench.proxy.ours import Ours
from bench.proxy.peers import PEERS, Contender, Engines
from bench.proxy.processes import DidNotStartError, Process, cores, free_port
from bench.proxy.upstream import Canned

KINDS = ("json", "stream")
_WARM_SECONDS = 1.0


class Bench:
    """The canned engines, ours and the peers that could be started, in a folder of their own.

    ``code`` is the folder whose proxy is ours.
    """

    def __init__(self, folder: Path, code: Path, seconds: float, rounds: int) -> None:
        self.folder, self._code, self._seconds, self._rounds = folder, code, seconds, rounds
        self._on, self._rest = cores()
        os.sched_setaffinity(0, self._rest)
        self._made = 0
        self._canned = Canned(self._new_folder("canned"))
        self._burst, self._paced_large, self._paced_small = free_port(), free_port(), free_port()
        ports = (self._burst, self._paced_large, self._paced_small)
        command = [sys.executable, "-m", "bench.proxy.engine", *map(str, ports)]
        engine = Process("streaming engine", command, log=folder / "engine.log", on=self._rest)
        self._running = [engine, self._canned.start(self._rest)]
        engine.wait_for(self._burst)
        self._peers: dict[str, Contender] = {}

    def _new_folder(self, name: str) -> Path:
        """A fresh one for a process."""
        self._made += 1
        made = self.folder / f"{self._made}-{name}"
        made.mkdir()
        return made

    def start(self, peers: list[str]) -> dict[str, str]:
        """Start those, look at what they answer, and freeze them; gives why, for those that don't work."""
        engines = Engines(self._canned.small_json, self._canned.small_stream, self._paced_small)
        failed: dict[str, str] = {}
        for name in peers:
            try:
                started = PEERS[name](engines, self._new_folder(name), self._on)
                self._peers[name] = started
                for kind in KINDS:
                    load.check(started.requests[kind])
            except (DidNotStartError, BadAnswersError, OSError) as error:
                failed[name] = str(error)
                if name in self._peers:
                    self._peers.pop(name).stop()
            else:
                started.freeze()
        return failed

    def stop(self) -> None:
        """End everything."""
        for peer in self._peers.values():
            peer.stop()
        for process in self._running:
            process.stop()

    def rates(self, kinds: list[str], *, off: bool) -> dict[str, Figure]:
        """Answers a second, ours and the peers' in turns, and the ratios of each round's; medians."""
        with self._ours() as ours:
            asked = {kind: ours.request(kind) for kind in kinds}
            if off:
                asked |= {f"off_{kind}": ours.request(f"off-{kind}") for kind in kinds}
            for request in asked.values():
                load.check(request)
            ours.check_captured(len(kinds))
            found: dict[str, list[float]] = {}
            for _ in range(self._rounds):
                self._round(ours, asked, kinds, found)
        return ratios(found, kinds, list(self._peers))

    def _round(
        self, ours: Ours, asked: dict[str, Request], kinds: list[str], found: dict[str, list[float]]
    ) -> None:
        for name, request in asked.items():
            load.rate(request, _WARM_SECONDS, self.folder, self._rest)
            before = ours.process.cpu_seconds()
            rate = load.rate(request, self._seconds, self.folder, self._rest)
            used = ours.process.cpu_seconds() - before
            found.setdefault(name, []).append(rate)
            found.setdefault(f"{name}_cpu_us", []).append(_each_us(used, rate, self._seconds))
        ours.process.freeze()
        for peer in self._peers.values():
            peer.thaw()
            for kind in kinds:
                request = peer.requests[kind]
                load.rate(request, _WARM_SECONDS, self.folder, self._rest, peer.connections)
                before = peer.cpu_seconds()
                rate = load.rate(request, self._seconds, self.folder, self._rest, peer.connections)
                used = peer.cpu_seconds() - before
                found.setdefault(f"{kind} {peer.name}", []).append(rate)
                found.setdefault(f"{kind} {peer.name} cpu", []).append(_each_us(used, rate, self._seconds))
            peer.freeze()
        ours.process.thaw()

    def latency(self) -> dict[str, Figure]:
        """What is added at one connection: by the proxy, and by waiting for the disk. Milliseconds."""
        figures: dict[str, Figure] = {}
        for kind, port in (("json", self._canned.large_json), ("stream", self._burst)):
            with self._ours() as ours:
                direct = Request(port, "m", stream=kind == "stream")
                asked = [direct, ours.request(f"relaxed-{kind}"), ours.request(kind)]
                alone, relaxed, strict = latency.in_turns(asked, 2 * self._seconds)
                singly = latency.in_turns(asked, 2 * self._seconds, turn=1)[:2]
            prefix = "" if kind == "json" else "stream_"
            for name, share in (("p50", 0.50), ("p99", 0.99)):
                at = [line.percentile_ms(share) for line in (alone, relaxed, strict)]
                figures[f"{prefix}added_{name}_ms"] = rounded(at[1] - at[0])
                figures[f"{prefix}wait_{name}_ms"] = rounded(at[2] - at[1])
                without, with_it = (line.percentile_ms(share) for line in singly)
                figures[f"{prefix}added_singly_{name}_ms"] = rounded(with_it - without)
        figures["disk_sync_p50_ms"] = rounded(latency.sync_ms(self.folder))
        return figures

    def paced(self) -> dict[str, Figure]:
        """128 streams at the engine's pace: CPU an event, and how late a proxy makes it."""
        figures: dict[str, Figure] = {}
        alone = uvloop.run(paced.listen(Request(self._paced_large, "m", stream=True), self._seconds))
        figures["paced_streams_a_second_direct"] = rounded(alone.streams / self._seconds)
        with self._ours() as ours:
            uvloop.run(paced.listen(ours.request("paced"), _WARM_SECONDS))
            before = ours.process.cpu_seconds()
            heard = uvloop.run(paced.listen(ours.request("paced"), self._seconds))
            used = ours.process.cpu_seconds() - before
            figures["cpu_us_per_event"] = rounded(used / heard.events * 1e6)
            figures["paced_streams_a_second"] = rounded(heard.streams / self._seconds)
            for name, share in (("p50", 0.50), ("p99", 0.99)):
                late = heard.percentile_ms(share) - alone.percentile_ms(share)
                figures[f"event_delay_{name}_ms"] = rounded(late)
            figures["paced_rss_mb"] = rounded(ours.process.peak_mb())
        for name, peer in self._peers.items():
            if "paced" in peer.requests:
                figures |= self._paced_peer(name, peer)
        return figures

    def _paced_peer(self, name: str, peer: Contender) -> dict[str, Figure]:
        peer.thaw()
        request = peer.requests["paced"]
        alone = uvloop.run(paced.listen(Request(self._paced_small, "m", stream=True), self._seconds))
        before = peer.cpu_seconds()
        heard = uvloop.run(paced.listen(request, self._seconds))
        used = peer.cpu_seconds() - before
        peer.freeze()
        return {
            f"cpu_us_per_event_{name}": rounded(used / heard.events * 1e6),
            f"event_delay_p99_ms_{name}": rounded(heard.percentile_ms(0.99) - alone.percentile_ms(0.99)),
        }

    def memory(self) -> dict[str, Figure]:
        """The most that a proxy had resident over a run of everything that it is asked for."""
        with self._ours() as ours:
            for kind in KINDS:
                load.rate(ours.request(kind), self._seconds, self.folder, self._rest, 256)
            uvloop.run(paced.listen(ours.request("paced"), self._seconds))
            return {"rss_mb": rounded(ours.process.peak_mb())}

    def profile(self, kinds: list[str]) -> str:
        """Where the time goes, for each kind."""
        told = []
        for kind in kinds:
            with self._ours() as ours:
                route = kind.replace("_", "-")
                load.rate(ours.request(route), _WARM_SECONDS, self.folder, self._rest)
                samples = self.folder / f"{kind}.samples"
                spy = profile.start(ours.process.pid, self._seconds, samples)
                load.rate(ours.request(route), self._seconds + 1, self.folder, self._rest)
                spy.wait()
                told.append(f"── {kind}: {profile.report(samples)}")
        return "\n".join(told)

    def scaling(self) -> dict[str, Figure]:
        """How more proxies on more cores share the load: rates where there are cores for that, else CPU."""
        every = self._on | self._rest
        if len(every) < 4:
            return scaling.costs(self._ours, every, self._seconds)
        rest = scaling.shared_out(every)[1]
        canned = Canned(self._new_folder("canned"))
        engine = canned.start(rest, workers=len(rest) // 2)
        try:
            start = partial(self._ours, canned=canned)
            return scaling.rates(start, every, self._seconds, self._rounds, self.folder)
        finally:
            engine.stop()

    @contextlib.contextmanager
    def _ours(
        self, on: set[int] | None = None, shared_port: int | None = None, canned: Canned | None = None
    ) -> Iterator[Ours]:
        """A proxy with an empty spool, for as long as it is needed."""
        home = self._new_folder("ours")
        ports = (self._burst, self._paced_large)
        ours = Ours(
            home, canned or self._canned, *ports, on=on or self._on, code=self._code, shared_port=shared_port
        )
        try:
            yield ours
        finally:
            ours.process.stop()
            shutil.rmtree(home)


def ratios(found: dict[str, list[float]], kinds: list[str], peers: list[str]) -> dict[str, Figure]:
    """Medians over the rounds; ratios within each round first, since the machine's mood changes."""
    figures: dict[str, Figure] = {}
    for kind in kinds:
        figures[f"{kind}_per_second"] = rounded(statistics.median(found[kind]))
        figures[f"{kind}_cpu_us"] = rounded(statistics.median(found[f"{kind}_cpu_us"]))
        for peer in peers:
            theirs = found[f"{kind} {peer}"]
            figures[f"{kind}_per_second_{peer}"] = rounded(statistics.median(theirs))
            figures[f"{kind}_cpu_us_{peer}"] = rounded(statistics.median(found[f"{kind} {peer} cpu"]))
            figures[f"{kind}_vs_{peer}"] = _ratio(found[kind], theirs)
        if f"off_{kind}" in found:
            figures[f"{kind}_per_second_capture_off"] = rounded(statistics.median(found[f"off_{kind}"]))
            if "vllm_router" in peers:
                ratio = _ratio(found[f"off_{kind}"], found[f"{kind} vllm_router"])
                figures[f"capture_off_{kind}_vs_vllm_router"] = ratio
    both = [figures.get(f"capture_off_{kind}_vs_vllm_router") for kind in kinds]
    if both and all(isinstance(one, float) for one in both):
        figures["capture_off_vs_vllm_router"] = min(one for one in both if isinstance(one, float))
    return figures


def _each_us(cpu_seconds: float, rate: float, seconds: float) -> float:
    """CPU an answer, in microseconds."""
    return cpu_seconds / (rate * seconds) * 1e6 if rate else 0.0


def _ratio(ours: list[float], theirs: list[float]) -> Figure:
    pairs = [(one, other) for one, other in zip(ours, theirs, strict=True) if other]
    return rounded(statistics.median(one / other for one, other in pairs)) if pairs else None
