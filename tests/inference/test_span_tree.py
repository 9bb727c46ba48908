"""Spans as a tree, whatever they say of each other."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from inference import queries, span_tree
from inference.queries import Span, StoredExchange

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
X = cast("StoredExchange", SimpleNamespace(trace_id="t", span_id="me"))


def span(name: str, parent: str = "", after: float = 0.0, seconds: float = 1.0) -> Span:
    return Span(name, parent, name, "", "", AT + timedelta(seconds=after), seconds, "", "", {})


def told(monkeypatch: pytest.MonkeyPatch, *spans: Span) -> list[tuple[str, int]]:
    monkeypatch.setattr(queries, "spans", lambda trace: list(spans))
    return [(step.span.name, step.depth) for step in span_tree.steps(X)]


def test_parents_stand_before_children_and_strangers_children_are_roots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = told(
        monkeypatch, span("a"), span("me", "a"), span("b", "a", 1.0), span("c", "me"), span("d", "elsewhere")
    )
    assert found == [("a", 0), ("me", 1), ("c", 2), ("b", 1), ("d", 0)]


def test_spans_that_name_each_other_or_themselves_are_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(monkeypatch, span("a", "b"), span("b", "a"), span("me", "me"), span("c", "b"))
    assert sorted(name for name, _ in found) == ["a", "b", "c", "me"]
    assert dict(found)["me"] == 0


def test_what_stands_alone_is_no_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, span("me")) == []


def test_bars_lie_within_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "spans", lambda trace: [span("a", seconds=4.0), span("me", "a", 3.0)])
    first, mine = span_tree.steps(X)
    assert (first.left, first.width, first.mine) == (0, 1000, False)
    assert (mine.left, mine.width, mine.mine) == (750, 250, True)
