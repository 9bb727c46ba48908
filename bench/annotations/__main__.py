"""Measure choosing and judging, print a table, and end with one line of JSON.

make bench-annotations
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from statistics import mean

EFFORT = 200


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.annotations", description=__doc__)
    options.add_argument("--items", type=int, default=1_000_000, help="in the queue that is judged")
    options.add_argument("--tune", action="store_true", help="only say what other weights would give")
    given = options.parse_args()
    if given.tune:
        _tune()
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLYWHEEL_DATABASE_URL"] = f"sqlite:///{Path(folder) / 'bench.sqlite3'}"
        os.environ["FLYWHEEL_ALLOWED_HOSTS"] = "testserver"
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flywheel.settings")
        import django

        django.setup()
        print(json.dumps({**_choosing(), **_speed(given.items)}))


def _tune() -> None:
    from bench.annotations import choosing, traffic

    half, _ = choosing.halves(traffic.load())
    print(f"{len(half):,} answers of the half to tune on, {EFFORT} judged")
    choosing.tune(half, EFFORT)


def _choosing() -> dict[str, float]:
    from bench.annotations import choosing, traffic

    _, sample = choosing.halves(traffic.load())
    doubtful = choosing.choose(sample, EFFORT, choosing.weigh(sample))
    even = choosing.choose(sample, EFFORT, [1.0] * len(sample))
    usual = choosing.classical(sample, EFFORT)
    wrong = mean(one.wrong for one in sample)
    print(
        f"{len(sample):,} answers of the model, {wrong:.1%} wrong; {EFFORT} judged, {choosing.DRAWS:,} draws"
    )
    for name, told in (("less sure sooner", doubtful), ("at random", even)):
        print(
            f"  {name:17} {told.found:6.1f} errors found, bias {told.bias:+.2f} σ, "
            f"interval {told.width:.4f} wide, holds the truth {told.covered:.1%}"
        )
    print(f"  at random, told without the model's doubt: interval {usual:.4f} wide")
    print(
        f"  the {EFFORT} least sure outright, of which no rate follows: "
        f"{choosing.outright(sample, EFFORT)} errors"
    )
    return {
        "errors_found_vs_random": round(doubtful.found / even.found, 3),
        "estimate_bias_sigma": round(doubtful.bias, 2),
        "interval_vs_random": round(doubtful.width / usual, 3),
        "interval_vs_random_with_doubt": round(doubtful.width / even.width, 3),
    }


def _speed(items: int) -> dict[str, float]:
    from bench.annotations import speed

    print(f"a queue of {items:,} items, {speed.REVIEWERS} reviewers in turns …", flush=True)
    found = speed.measure(speed.prepare(items))
    print(
        f"  median {found.median_ms:.1f} ms, {found.fewest_queries} to {found.most_queries} queries, "
        f"of the processor {found.cpu_p95_ms:.1f} ms at the 95th percentile"
    )
    return {"judgement_p95_ms": round(found.p95_ms, 1), "queries_per_judgement": found.most_queries}


if __name__ == "__main__":
    main()
