"""A conversation: its turns a page at a time, and what it came to in all.

Each turn of a chat resends its history; only what is new in it leaves the store.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from inference import readers
from inference.answer import Choice
from inference.conditions import AT, readable
from inference.queries.asking import FAILED, ask
from inference.stored import Conversation, Cursor, StoredTurn, microseconds

TURNS = 50
MOST_NEW = 10
"""Messages of a turn that are shown: what tools gave, and what was asked."""
_TURN = (
    "exchange_id, attempt, started_at, finished_at, route, model, weights, end_reason, prompt_tokens, "
    "completion_tokens, choices, cleared, length(JSONExtractArrayRaw(messages)) AS sent, "
    f"arraySlice(JSONExtractArrayRaw(messages), -{MOST_NEW}) AS newest"
)


def conversation(name: str) -> Conversation | None:
    """What a conversation came to; None when there is none of this name."""
    mine, values = _named()
    row = ask(
        "SELECT count() AS n, min(started_at) AS first_at, max(started_at) AS last_at, "  # noqa: S608
        "sum(prompt_tokens) AS prompt, sum(completion_tokens) AS completion, "
        f"{FAILED} AS failed, "
        "arraySort(groupUniqArray(20)(toString(model))) AS models "
        f"FROM exchanges WHERE conversation = {{name:String}} AND {mine}",
        {**values, "name": name},
    )[0]
    if not row["n"]:
        return None
    return Conversation(
        exchanges=row["n"],
        first_at=row["first_at"],
        last_at=row["last_at"],
        prompt_tokens=row["prompt"],
        completion_tokens=row["completion"],
        failed=row["failed"],
        versions=[model for model in row["models"] if model],
    )


def turns(
    name: str, after: Cursor | None = None, limit: int = TURNS
) -> tuple[list[StoredTurn], Cursor | None]:
    """Turns of a conversation, oldest first, behind ``after``; and where the next page begins, if any."""
    mine, values = _named()
    sql, values = f"conversation = {{name:String}} AND {mine}", {**values, "name": name, "most": limit + 1}
    if after is not None:
        place = f"({AT.format('at')}, {{id:UUID}}, {{attempt:UInt8}})"
        sql += f" AND (started_at, exchange_id, attempt) > {place}"
        values |= {"at": microseconds(after.started_at), "id": after.exchange_id, "attempt": after.attempt}
    rows = ask(
        f"SELECT {_TURN} FROM exchanges WHERE {sql} "  # noqa: S608 - of this module, values bound
        "ORDER BY started_at, exchange_id, attempt LIMIT {most:UInt32}",
        values,
    )
    shown = rows[:limit]
    least = _least(name, shown[0]["started_at"], shown[-1]["started_at"]) if shown else {}
    found = [_turn(row, least) for row in shown]
    return found, found[-1].cursor if len(rows) > limit else None


def _named() -> tuple[str, dict[str, Any]]:
    """A condition: without a session a conversation's name is a hash of a text, for those who read texts."""
    condition, values = readable()
    return f"(session != '' OR {condition})", values


def _least(name: str, first: Any, last: Any) -> dict[tuple[str, int], float]:
    """How sure the least sure token of each turn was, from the facts of that time."""
    rows = ask(
        "SELECT exchange_id, attempt, least_p FROM facts FINAL "  # noqa: S608
        f"WHERE started_at BETWEEN {AT.format('first')} AND {AT.format('last')} "
        "AND conversation = {name:String} AND least_p IS NOT NULL LIMIT 10000",
        {"name": name, "first": microseconds(first), "last": microseconds(last)},
    )
    return {(str(row["exchange_id"]), row["attempt"]): row["least_p"] for row in rows}


def _turn(row: dict[str, Any], least: dict[tuple[str, int], float]) -> StoredTurn:
    exchange_id = str(UUID(str(row["exchange_id"])))
    messages = [_message(text) for text in row.pop("newest")]
    return StoredTurn(
        **{name: value for name, value in row.items() if name not in ("exchange_id", "choices", "sent")},
        exchange_id=exchange_id,
        messages=row["sent"],
        asked=since_the_answer(messages),
        choices=[Choice(**choice) for choice in orjson.loads(row["choices"] or "[]")],
        hidden=readers.hides(row["route"]),
        least_p=least.get((exchange_id, row["attempt"])),
    )


def _message(text: str) -> dict[str, Any]:
    """A message as the client sent it; what is none is shown as text."""
    try:
        found = orjson.loads(text)
    except ValueError:
        return {"content": text}
    return found if isinstance(found, dict) else {"content": text}


def since_the_answer(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is new in a turn: the messages behind the last one of the assistant, without instructions."""
    last = max((n for n, one in enumerate(messages) if one.get("role") == "assistant"), default=-1)
    new = [one for one in messages[last + 1 :] if one.get("role") not in ("system", "developer")]
    return new or messages[-1:]
