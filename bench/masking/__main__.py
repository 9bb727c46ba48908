"""How much personal data the rules find, and how much of what they find is personal.

    python -m bench.masking [--misses]

Reads cases.txt beside it. A marked value counts as found when every character of it is masked, whatever the
kind is called; a find is right when it touches a marked value. Ends with one line of JSON. The set was
written by the rules' author, so it shows which forms are known and not how often people write them.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from inference.personal import Finder, Found

CASES = Path(__file__).parent / "cases.txt"
_MARK = re.compile("⟦([a-z_]+):(.*?)⟧")


@dataclass(frozen=True, slots=True)
class Case:
    """A text and what in it is personal."""

    text: str
    marked: tuple[Found, ...]


def read(path: Path = CASES) -> list[Case]:
    """The test set."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_case(line) for line in lines if line and not line.startswith("#")]


def _case(line: str) -> Case:
    text, marked, at = "", [], 0
    for match in _MARK.finditer(line):
        text += line[at : match.start()]
        marked.append(Found(match[1], len(text), len(text) + len(match[2])))
        text += match[2]
        at = match.end()
    return Case(text + line[at:], tuple(marked))


@dataclass(slots=True)
class Score:
    """Marked and found by the marked kind; finds and right ones by the found kind."""

    marked: Counter[str]
    found: Counter[str]
    finds: Counter[str]
    right: Counter[str]
    wrong: list[str]

    @property
    def recall(self) -> float:
        return self.found.total() / self.marked.total()

    @property
    def precision(self) -> float:
        return self.right.total() / self.finds.total()


def score(cases: list[Case], finder: Finder) -> Score:
    """Compare what a finder finds with what is marked."""
    made = Score(Counter(), Counter(), Counter(), Counter(), [])
    for case in cases:
        finds = finder.find(case.text)
        covered = {at for one in finds for at in range(one.start, one.end)}
        for one in case.marked:
            made.marked[one.kind] += 1
            if covered.issuperset(range(one.start, one.end)):
                made.found[one.kind] += 1
            else:
                made.wrong.append(f"missed {one.kind}: {case.text[one.start : one.end]}")
        for one in finds:
            made.finds[one.kind] += 1
            if any(one.start < other.end and other.start < one.end for other in case.marked):
                made.right[one.kind] += 1
            else:
                made.wrong.append(f"took for {one.kind}: {case.text[one.start : one.end]}")
    return made


def main() -> None:
    """Print a table by kind and one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.masking", description=__doc__)
    parser.add_argument("--misses", action="store_true", help="list what was missed or wrongly taken")
    given = parser.parse_args()
    cases = read()
    made = score(cases, Finder())
    print(f"{'kind':12} {'marked':>6} {'found':>6} {'finds':>6} {'right':>6}")
    for kind in sorted({*made.marked, *made.finds}):
        counts = (made.marked[kind], made.found[kind], made.finds[kind], made.right[kind])
        print(f"{kind:12} " + " ".join(f"{count:6}" for count in counts))
    if given.misses:
        print("\n".join(made.wrong))
    print(
        json.dumps(
            {
                "texts": len(cases),
                "values": made.marked.total(),
                "recall": round(made.recall, 3),
                "finds": made.finds.total(),
                "precision": round(made.precision, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
