"""Of what one user said of one exchange, the newest thumbs and score count."""

from datetime import UTC, datetime, timedelta
from typing import Any

from inference.opinions import opinions
from inference.stored import StoredEvent

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def said(minute: int, user: str = "u7", *, of: str = "x", kind: str = "feedback", **data: Any) -> StoredEvent:
    return StoredEvent(
        str(minute), kind, NOON + timedelta(minutes=minute), "desk", of, {"user": user, **data}
    )


def replaced(*events: StoredEvent, told_apart: bool = True) -> list[str]:
    return [one.said.event_id for one in opinions(events, told_apart=told_apart) if one.replaced]


def test_the_newest_stands_first_and_only_feedback() -> None:
    found = opinions([said(1, thumbs="up"), said(2, kind="client_left"), said(3, "u8", thumbs="down")])
    assert [one.said.event_id for one in found] == ["3", "1"]
    assert not any(one.replaced for one in found)


def test_what_the_same_user_said_anew_is_replaced() -> None:
    assert replaced(said(1, thumbs="up"), said(2, thumbs="down"), said(3, thumbs="up")) == ["2", "1"]
    assert replaced(said(1, thumbs="up", score=0.5), said(2, thumbs="down")) == []
    assert replaced(said(1, score=0), said(2, thumbs="down"), said(3, score=1)) == ["1"]


def test_other_users_exchanges_and_answers_replace_nothing_and_comments_stay() -> None:
    assert replaced(said(1, thumbs="up"), said(2, "u8", thumbs="up"), said(3, of="y", thumbs="up")) == []
    assert replaced(said(1, thumbs="up"), said(2, thumbs="up", choice=1)) == []
    assert replaced(said(1, comment="no"), said(2, comment="yes")) == []


def test_whose_words_are_hidden_are_not_told_apart() -> None:
    assert replaced(said(1, "", thumbs="up"), said(2, "", thumbs="up"), told_apart=False) == []
