"""The coding desk's traffic as Flywheel sees it: how much was sent, whether it arrived, what is queued.

Joins the product's side (traffic.py) with the trace store and the queue. Phrases are sent in one order, so
that a number says which have been sent already, whoever sent them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from annotations import sampling
from annotations.models import Queue
from flywheel.local import coding, traffic
from flywheel.local.home import Home
from inference.clickhouse import connect

DRAIN_PATIENCE = 120.0
"""Seconds until an answered exchange and its tokens must be in ClickHouse."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was answered, and the ids of those answers that ClickHouse does not have."""

    answers: list[traffic.Answered]
    missing: set[str]
    weights: dict[str, str]
    """Exchange id to the SHA-256 of the weights it was recorded with."""
    without_tokens: set[str]
    """Ids of exchanges that are there without their tokens' probabilities."""


def sent(home: Home) -> int:
    """How many phrases of the order have been sent and answered."""
    try:
        return int((home.root / "traffic-sent").read_text())
    except FileNotFoundError:
        return 0


def deliver(home: Home, until: int, say: Callable[[str], None]) -> Delivery:
    """Send the phrases up to number `until` that have not been sent, and wait for the drain.

    Raises traffic.TrafficError when one is not answered.
    """
    first = sent(home)
    phrases = coding.draw(until, traffic.SEED)[first:]
    answers = asyncio.run(traffic.send(home, phrases, traffic.progress(len(phrases))))
    (home.root / "traffic-sent").write_text(str(until))
    ids = {answer.exchange_id for answer in answers}
    if len(ids) != len(answers):
        raise traffic.TrafficError("two answers carried the same exchange id")
    weights, with_tokens = arrived(ids)
    missing = ids - set(weights)
    if not missing:
        say(f"  all {len(ids)} exchanges are in ClickHouse")
    return Delivery(answers, missing, weights, set(weights) - with_tokens)


def arrived(ids: set[str]) -> tuple[dict[str, str], set[str]]:
    """What ClickHouse has of these, once it has all or patience ends: weights by exchange, ids with tokens.

    Exchanges come by the proxy's drain and tokens by the engine's, in either order. Nobody waits for tokens
    that an engine does not give.
    """
    deadline = time.monotonic() + DRAIN_PATIENCE
    while True:
        weights, with_tokens = _weights(ids), _with_tokens(ids)
        complete = not ids - set(weights) and not _expecting_tokens(ids) - with_tokens
        if complete or time.monotonic() > deadline:
            return weights, with_tokens
        time.sleep(0.5)


def _weights(ids: set[str]) -> dict[str, str]:
    sql = "SELECT toString(exchange_id), weights FROM exchanges WHERE exchange_id IN {ids:Array(UUID)}"
    return {str(row[0]): str(row[1]) for row in connect().query(sql, {"ids": sorted(ids)}).result_rows}


def _expecting_tokens(ids: set[str]) -> set[str]:
    sql = (
        "SELECT toString(exchange_id) FROM exchanges "
        "WHERE exchange_id IN {ids:Array(UUID)} AND tokens_expected"
    )
    return {str(row[0]) for row in connect().query(sql, {"ids": sorted(ids)}).result_rows}


def _with_tokens(ids: set[str]) -> set[str]:
    sql = "SELECT DISTINCT toString(exchange_id) FROM tokens WHERE exchange_id IN {ids:Array(UUID)}"
    return {str(row[0]) for row in connect().query(sql, {"ids": sorted(ids)}).result_rows}


def fill(queue: Queue, wanted: int) -> int:
    """Draw exchanges into the queue until it holds `wanted` items; returns how many it holds."""
    lacking = wanted - queue.items.count()
    if lacking > 0:
        sampling.fill(queue, lacking)
    return queue.items.count()
