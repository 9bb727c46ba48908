"""Whom a spooled record is about, as far as its headers say: for whoever must honour erasures. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from inference.engine.form import KIND as TOKENS
from inference.raw import RawExchange
from inference.rows import moment


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom and what a record is about, as far as its headers say."""

    kind: str
    id: str
    exchange: str = ""
    trace: str = ""
    user: str = ""
    session: str = ""
    at: datetime | None = None


def about(raw: RawExchange) -> Subject:
    """Read from the headers alone, so that what can't be parsed is known, too. Never raises."""
    opened = raw.opened
    kind = str(opened.get("kind", "exchange"))
    if kind == "exchange":
        return Subject(
            kind,
            raw.exchange_id,
            raw.exchange_id,
            _text(opened, "trace_id"),
            _text(opened, "user"),
            _text(opened, "session"),
            _time(opened.get("started_us")),
        )
    if kind == "event":
        user = _text(_data(raw.request), "user")
        return Subject(
            kind,
            raw.exchange_id,
            _text(opened, "exchange_id"),
            _text(opened, "trace_id"),
            user,
            at=_time(opened.get("at_us")),
        )
    return Subject(kind, raw.exchange_id, _text(opened, "exchange_id") if kind == TOKENS else "")


def _text(given: dict[str, Any], name: str) -> str:
    found = given.get(name)
    return found if isinstance(found, str) else ""


def _time(given: object) -> datetime | None:
    try:
        return moment(given) if isinstance(given, int) else None
    except OverflowError:
        return None


def _data(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
