"""``python -m bench.store``: space and speed of the trace store, a table and one line of JSON at the end."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.store import space, speed
from flywheel.local import compiled
from flywheel.local.home import ROOT, Home
from flywheel.local.installing import InstallError
from inference import clickhouse
from tests.clickhouse_fixture import ClickHouseProcess

PARTS = ("tokens", "conversation", "pages", "drain")
_DRAINS = {"pages", "drain"}
"""Those that run a drain: as production installs it, compiled."""
_REACH = {
    "bytes_per_token_top5": "at most 20, aim for 12",
    "json_ratio": "at least 30",
    "conversation_factor": "at most 2",
    "slowest_page_p95_ms": "at most 300",
    "drain_exchanges_per_s": "several times what one proxy makes",
    "drain_cpu_us": "processor time for each exchange",
    "drain_own_cpu_us": "of that, what its processes do not do",
    "drain_peak_mb": "the most memory that it had",
}


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.store", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument("--sizes", default="10000,100000,1000000", help="exchanges stored")
    parser.add_argument("--drained", type=int, default=4000, help="exchanges that are drained")
    parser.add_argument("--processes", type=int, default=0, help="that prepare what is drained; 0: a thread")
    parser.add_argument("--interpreted", action="store_true", help="the drain without a C compiler")
    given = parser.parse_args(arguments)
    only = set(given.only.split(","))
    if unknown := only - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: known are {', '.join(PARTS)}")
    try:
        code = ROOT if given.interpreted or not only & _DRAINS else compiled.make(Home.open(os.environ))
    except InstallError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    found: dict[str, float | None] = dict.fromkeys(_REACH)
    with tempfile.TemporaryDirectory() as home, _engine(Path(home)) as address:
        if "tokens" in only:
            found["bytes_per_token_top5"], found["json_ratio"] = space.tokens(f"{address}/bench_tokens")
        if "conversation" in only:
            found["conversation_factor"] = space.conversation(f"{address}/bench_conversation")
        os.environ["FLYWHEEL_CLICKHOUSE_URL"] = f"{address}/bench"
        if "pages" in only:
            sizes = [int(one) for one in given.sizes.split(",")]
            found["slowest_page_p95_ms"] = _pages(code, Path(home), sizes, given.drained)
        if "drain" in only:
            clickhouse.migrate()
            drained = speed.drained(code, Path(home) / "drained", given.drained, given.processes)
            found["drain_exchanges_per_s"] = drained.per_second
            found["drain_cpu_us"] = drained.cpu_seconds * 1e6
            found["drain_own_cpu_us"] = drained.own_seconds * 1e6
            found["drain_peak_mb"] = drained.peak_mb
    for name, value in found.items():
        if value is not None:
            print(f"{name:24s} {value:10.2f}   to reach: {_REACH[name]}")
    print(json.dumps({name: round(value, 2) for name, value in found.items() if value is not None}))
    return 0


def _pages(code: Path, home: Path, sizes: list[int], drained: int) -> float:
    """A table of all questions by size; gives the slowest at the last size, in milliseconds."""
    by_size = []
    for size in sizes:
        speed.filled(size)
        by_size.append({one.name: one for one in speed.pages(code, home / f"spool-{size}", drained)})
    print(f"{'p95, ms (median)':36s}" + "".join(f"{size:>18,}" for size in sizes))
    for name in by_size[0]:
        cells = (f"{found[name].p95 * 1000:9.0f} ({found[name].median * 1000:5.0f})" for found in by_size)
        print(f"{name:36s}" + "".join(f"{cell:>18s}" for cell in cells))
    return max(one.p95 for one in by_size[-1].values()) * 1000


@contextmanager
def _engine(home: Path) -> Iterator[str]:
    engine = ClickHouseProcess(home / "clickhouse")
    try:
        yield engine.address
    finally:
        engine.stop()


if __name__ == "__main__":
    sys.exit(main())
