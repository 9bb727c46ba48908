"""``python -m bench.proxy``: install what is missing, measure, print a table and one line of JSON."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from bench.proxy import figures as shown
from bench.proxy import install
from bench.proxy.figures import Figure
from bench.proxy.load import BadAnswersError
from bench.proxy.measure import KINDS, Bench
from bench.proxy.ours import NotCapturedError
from bench.proxy.peers import PEERS
from bench.proxy.processes import DidNotStartError
from flywheel.local import compiled
from flywheel.local.home import ROOT, Home
from flywheel.local.installing import InstallError

PARTS = ("json", "stream", "off", "latency", "paced", "memory", "scaling")


def _listed(known: Collection[str]) -> Callable[[str], list[str]]:
    """Reads names out of those that are known, separated by commas; ``none`` is no name."""

    def read(text: str) -> list[str]:
        names = [] if text == "none" else text.split(",")
        if unknown := sorted(set(names) - set(known)):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: known are none, {', '.join(known)}")
        return names

    return read


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.proxy", description=__doc__)
    parser.add_argument("--only", type=_listed(PARTS), default=list(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument("--peers", type=_listed(PEERS), default=list(PEERS), help="names, or none")
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="turns that ratios are the median of")
    parser.add_argument("--profile", action="store_true", help="say where the time goes instead")
    parser.add_argument("--interpreted", action="store_true", help="ours as it runs without a C compiler")
    return parser.parse_args(arguments)


def _measure(bench: Bench, only: list[str]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    kinds = [kind for kind in KINDS if kind in only] or (list(KINDS) if "off" in only else [])
    if kinds:
        figures |= bench.rates(kinds, off="off" in only)
    for part in ("latency", "paced", "memory", "scaling"):
        if part in only:
            print(f"  measuring {part} …", flush=True)
            figures |= getattr(bench, part)()
    return figures


def _without(missing: dict[str, str]) -> dict[str, Figure]:
    """A peer that could not be measured stands among the figures, with the reason."""
    found: dict[str, Figure] = {}
    for name, why in missing.items():
        found |= {f"{kind}_vs_{name}": None for kind in KINDS}
        found[f"{name}_missing"] = why
    return found


def main(arguments: list[str]) -> int:
    """Exit 0 when everything was measured, whatever came out; 1 when ours could not be."""
    options = _options(arguments)
    try:
        install.tools()
        if options.profile:
            install.python_packages()
        missing = install.peers(options.peers)
        home = Home.open(os.environ)
        code = ROOT if options.interpreted else compiled.make(home)
        with tempfile.TemporaryDirectory(prefix="bench-", dir=home.root) as folder:
            bench = Bench(Path(folder), code, options.seconds, options.rounds)
            try:
                if options.profile:
                    print(bench.profile([part for part in options.only if part in KINDS]))
                    return 0
                missing |= bench.start([name for name in options.peers if name not in missing])
                for name, why in missing.items():
                    print(f"  {name} is not measured: {why}", flush=True)
                figures = _measure(bench, options.only) | _without(missing)
            finally:
                bench.stop()
    except (InstallError, DidNotStartError, BadAnswersError, NotCapturedError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print("\n".join(shown.table(figures)))
    print(shown.line(figures))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
