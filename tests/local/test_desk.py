"""An exchange and its tokens come by two drains: a delivery has arrived when both are there."""

import pytest

from flywheel.local import desk

ONE, OTHER = "0198a000-0000-7000-8000-000000000001", "0198a000-0000-7000-8000-000000000002"


def test_tokens_that_come_after_their_exchanges_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([set(), {ONE}, {ONE, OTHER}])
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr(desk, "_weights", lambda ids: dict.fromkeys(ids, "of the base"))
    monkeypatch.setattr(desk, "_expecting_tokens", set)
    monkeypatch.setattr(desk, "_with_tokens", lambda _ids: next(seen))
    weights, with_tokens = desk.arrived({ONE, OTHER})
    assert set(weights) == with_tokens == {ONE, OTHER}


def test_what_never_comes_is_told_once_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "DRAIN_PATIENCE", 0.0)
    monkeypatch.setattr(desk, "_weights", lambda _ids: {ONE: "of the base", OTHER: "of the base"})
    monkeypatch.setattr(desk, "_expecting_tokens", set)
    monkeypatch.setattr(desk, "_with_tokens", lambda _ids: {ONE})
    weights, with_tokens = desk.arrived({ONE, OTHER})
    assert (set(weights), with_tokens) == ({ONE, OTHER}, {ONE})


def test_tokens_that_no_engine_gives_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_seconds: float) -> None:
        pytest.fail("it waits")

    monkeypatch.setattr("time.sleep", never)
    monkeypatch.setattr(desk, "_weights", lambda ids: dict.fromkeys(ids, "of the base"))
    monkeypatch.setattr(desk, "_expecting_tokens", lambda _ids: set())
    monkeypatch.setattr(desk, "_with_tokens", lambda _ids: set())
    assert desk.arrived({ONE, OTHER}) == (dict.fromkeys((ONE, OTHER), "of the base"), set())
