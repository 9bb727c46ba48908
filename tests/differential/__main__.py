"""``python -m tests.differential``: generated requests to an engine and to a proxy in front of it.

Starts an engine of its own unless ``--engine`` names one; never one that others use. Prints what differs,
then one line of JSON; exit 1 when anything does.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

from tests.differential.engine import OwnEngine
from tests.differential.run import Found, run
from tests.differential.shapes import paths_served, shapes


def main(arguments: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--shapes", type=int, default=600)
    parser.add_argument("--engine", help="base address")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        made = shapes(options.shapes, paths_served(), about_the_prompt=not options.engine)
        own = None if options.engine else stack.enter_context(OwnEngine(Path(folder, "engine.log")))
        found = asyncio.run(
            run(
                own.url if own else options.engine,
                Path(folder, "home"),
                made,
                own.restart if own else None,
                _tell,
            )
        )
    return _told(found)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _told(found: Found) -> int:
    for title, rows in (
        ("differs", found.differences),
        ("the engine differs from itself", found.undetermined),
        ("ended the engine", found.killers),
    ):
        for row in rows:
            print(f"{title}: {row}")
    print(found.as_json())
    return int(bool(found.differences))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
