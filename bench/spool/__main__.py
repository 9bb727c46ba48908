"""What encrypting the spool costs for each exchange: processor time and bytes, beside a plain one.

    python -m bench.spool [--exchanges 400] [--rounds 25]

Exchanges are a real model's answers with their top 5 (bench.store.sample), laid out and compressed as the
proxy's spool does it, then framed and read back as spool and drain do, plain and encrypted in turn; the disk
is left out. Medians of the rounds. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

from bench.store import sample
from inference.raw import RawExchange
from inference.spool import Keys, Position
from inference.spool.frames import Frame, Kind, Packer, Segment, encode, lay_out

_EPOCH = 1
_TOGETHER = 16
"""Exchanges that are compressed in one call, as under load."""
_WHAT = {"write": "frames written, µs", "read": "frames read, µs"}
Packed = list[tuple[bytes, bytes, bytes]]
"""Exchanges' ids, and what their open and close frames hold."""


def packed(raws: Sequence[RawExchange], packer: Packer) -> Packed:
    """What is the same both ways: laid out and compressed."""
    made: Packed = []
    for start in range(0, len(raws), _TOGETHER):
        some = raws[start : start + _TOGETHER]
        opened = packer.pack([lay_out(raw.opened, [raw.request]) for raw in some])
        closed = packer.pack([lay_out(raw.closed, [raw.response]) for raw in some])
        made += zip([UUID(raw.exchange_id).bytes for raw in some], opened, closed, strict=True)
    return made


def framed(given: Packed, keys: Keys | None) -> bytes:
    """Their frames, as the spool's thread makes them."""
    made: list[bytes] = []
    for exchange_id, opened, closed in given:
        made.append(encode(Kind.OPEN, 0, _EPOCH, exchange_id, opened, keys=keys))
        made.append(encode(Kind.CLOSE, 1, _EPOCH, exchange_id, closed, keys=keys))
    return b"".join(made)


def read(folder: Path, keys: Keys | None) -> int:
    """Read a segment's frames as the spool's reader does; gives how many."""
    segment = Segment(folder, Position(_EPOCH, 1, 0), keys)
    count = 0
    while isinstance(segment.next(), Frame):
        count += 1
    segment.close()
    return count


def took(work: Callable[[], object]) -> float:
    """Seconds of processor time."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(folder: Path, count: int, rounds: int) -> dict[str, float]:
    """Microseconds and bytes for each exchange."""
    raws, packer = list(sample.exchanges(count)), Packer()
    given = packed(raws, packer)
    ways: dict[str, Keys | None] = {"plain": None, "encrypted": Keys([os.urandom(32)])}
    path = folder / Position(_EPOCH, 1, 0).segment
    found: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        found["compress_us"].append(took(partial(packed, raws, packer)))
        for way, keys in ways.items():
            write, look = partial(framed, given, keys), partial(read, folder, keys)
            found[f"write_{way}_us"].append(took(write))
            path.write_bytes(write())
            found[f"read_{way}_us"].append(took(look))
            assert look() == 2 * count
            found[f"{way}_bytes"].append(path.stat().st_size / 1e6)
    each = {name: statistics.median(values) / count * 1e6 for name, values in found.items()}
    added = {f"{what}_added_us": each[f"{what}_encrypted_us"] - each[f"{what}_plain_us"] for what in _WHAT}
    return {**each, **added}


def main(arguments: list[str] | None = None) -> int:
    """Print both ways side by side and one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.spool", description=__doc__)
    parser.add_argument("--exchanges", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=25)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), given.exchanges, given.rounds)
    print(f"{'for each exchange':24s} {'plain':>10s} {'encrypted':>10s} {'added':>10s}")
    print(f"{'compression, µs':24s} {found['compress_us']:10.1f} {found['compress_us']:10.1f} {0:10.1f}")
    for what, said in _WHAT.items():
        cells = (found[f"{what}_{how}_us"] for how in ("plain", "encrypted", "added"))
        print(f"{said:24s} " + " ".join(f"{cell:10.1f}" for cell in cells))
    plain, encrypted = found["plain_bytes"], found["encrypted_bytes"]
    print(f"{'bytes':24s} {plain:10.0f} {encrypted:10.0f} {encrypted - plain:10.0f}")
    print(json.dumps({name: round(value, 1) for name, value in found.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
