"""What an engine sent back, read from its bytes: choices, usage and tokens. Pure.

Knows the answer forms of the OpenAI surfaces as vLLM speaks them, streamed or not, whole or cut off. A JSON
body and a stream become the same values: a stream's events are laid together choice by choice.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import orjson

from inference.sse import payloads

NO_PROBABILITY = -9999.0
"""How vLLM writes a logarithm of minus infinity."""
_ID = "token_id:"
_Entry = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Tokens:
    """One choice's generated tokens; n positions. Arrays as lists; offsets as in a ragged array.

    The alternatives of position i are ``top_ids[top_offsets[i]:top_offsets[i + 1]]`` in descending order of
    probability, without the sampled token unless it is among the top k itself.
    """

    choice: int
    source: str
    """``wire``, ``engine``, or the name of the model version that scored it later."""
    ids: list[int]
    logprobs: list[float]
    """Natural logarithms, in the mode of ``Exchange.logprobs_mode``."""
    top_ids: list[int]
    top_logprobs: list[float]
    top_offsets: list[int]
    """n + 1 numbers from 0 to len(top_ids)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What one choice came to."""

    index: int
    text: str
    finish_reason: str = ""
    """As the engine gave it; empty when it never finished."""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Answer:
    """An answer laid together."""

    choices: list[Choice] = field(default_factory=list)
    tokens: list[Tokens] = field(default_factory=list)
    prompt_token_ids: list[int] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str = ""
    """The message of an error object, if one came."""
    aligned: bool = True
    """Whether each choice has as many ids as logprobs."""


@dataclass(slots=True)
class _Building:
    """A choice while its events are laid together."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    finish_reason: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    sampled: list[tuple[int | None, float]] = field(default_factory=list)
    """Each token's id where its logprobs name it, and its logprob."""
    ranked: list[list[_Entry]] = field(default_factory=list)


def read(surface: str, response: bytes, top_k: int) -> Answer:
    """Lay together an answer's bytes. ``top_k`` is how many alternatives a position may have.

    Bytes that are no answer at all give an empty one; a cut-off stream gives what came before the cut.
    """
    answer = Answer()
    building: dict[int, _Building] = {}
    for message in _messages(response):
        if error := message.get("error"):
            answer.error = str(error.get("message", error) if isinstance(error, dict) else error)
        usage = message.get("usage")
        if usage:
            answer.prompt_tokens = usage.get("prompt_tokens") or 0
            answer.completion_tokens = usage.get("completion_tokens") or 0
        _take_prompt(answer, message)
        for choice in message.get("choices") or ():
            _take_prompt(answer, choice)
            built = building.setdefault(choice.get("index", 0), _Building())
            _take_text(built, choice)
            _take_tokens(built, surface, choice, top_k)
    for index, built in sorted(building.items()):
        answer.choices.append(
            Choice(
                index,
                "".join(built.text),
                built.finish_reason,
                "".join(built.reasoning),
                [call for call in built.tool_calls if call],
            )
        )
        if tokens := _tokens(index, built):
            answer.tokens.append(tokens)
        answer.aligned = answer.aligned and _aligned(built)
    return answer


def _messages(response: bytes) -> list[dict[str, Any]]:
    start = response[:64].lstrip()
    bodies = [response] if start.startswith((b"{", b"[")) else payloads(response)
    found = []
    for body in bodies:
        try:
            message = orjson.loads(body)
        except orjson.JSONDecodeError:
            continue
        if isinstance(message, dict):
            found.append(message)
    return found


def _take_prompt(answer: Answer, part: dict[str, Any]) -> None:
    if (ids := part.get("prompt_token_ids")) and not answer.prompt_token_ids:
        answer.prompt_token_ids = ids


def _take_text(built: _Building, choice: dict[str, Any]) -> None:
    said = choice.get("message") or choice.get("delta") or {}
    built.text.append(said.get("content") or choice.get("text") or "")
    built.reasoning.append(said.get("reasoning") or said.get("reasoning_content") or "")
    built.finish_reason = choice.get("finish_reason") or built.finish_reason
    for position, call in enumerate(said.get("tool_calls") or ()):
        _take_call(built.tool_calls, call.get("index", position), call)


def _take_call(calls: list[dict[str, Any]], index: int, piece: dict[str, Any]) -> None:
    """A tool call comes whole in a body, and in a stream its arguments come in pieces."""
    while len(calls) <= index:
        calls.append({})
    call, function = calls[index], piece.get("function") or {}
    call.update({name: piece[name] for name in ("id", "type") if piece.get(name)})
    whole = call.setdefault("function", {"name": "", "arguments": ""})
    whole["name"] = function.get("name") or whole["name"]
    whole["arguments"] += function.get("arguments") or ""


def _take_tokens(built: _Building, surface: str, choice: dict[str, Any], top_k: int) -> None:
    built.ids += choice.get("token_ids") or ()
    logprobs = choice.get("logprobs") or {}
    if surface == "chat":
        for entry in logprobs.get("content") or ():
            sampled = (_id(entry["token"]), _logarithm(entry.get("logprob")))
            listed = [
                (_id(other["token"]), _logarithm(other["logprob"]))
                for other in entry.get("top_logprobs") or ()
            ]
            built.sampled.append(sampled)
            built.ranked.append(_rank(sampled, listed, top_k))
    else:
        tops = logprobs.get("top_logprobs") or ()
        for position, token in enumerate(logprobs.get("tokens") or ()):
            sampled = (_id(token), _logarithm(logprobs["token_logprobs"][position]))
            top = (tops[position] if position < len(tops) else None) or {}
            listed = [(_id(other), _logarithm(logprob)) for other, logprob in top.items()]
            built.sampled.append(sampled)
            built.ranked.append(_rank(sampled, listed, top_k))


def _id(token: str) -> int | None:
    return int(token[len(_ID) :]) if token.startswith(_ID) and token[len(_ID) :].isdecimal() else None


def _logarithm(value: float | None) -> float:
    return -math.inf if value is None or value <= NO_PROBABILITY else float(value)


def _rank(
    sampled: tuple[int | None, float], listed: list[tuple[int | None, float]], top_k: int
) -> list[_Entry]:
    """The top k in order, from the wire's list, which begins with the sampled token wherever it ranks.

    A sampled token less likely than every other listed one lies below them: it is no member of the top k,
    for capture asks for one more than k where the engine counts the sampled one in.
    """
    entries = [(token, logprob) for token, logprob in listed if token is not None]
    if len(entries) != len(listed) or sampled[0] is None:
        return []
    others = [entry for entry in entries if entry[0] != sampled[0]]
    if not others or sampled[1] >= min(logprob for _, logprob in others):
        # Before its equals: the sort is stable.
        others.insert(0, (sampled[0], sampled[1]))
    return sorted(others, key=lambda entry: -entry[1])[:top_k]


def _aligned(built: _Building) -> bool:
    named = [token for token, _ in built.sampled]
    if not built.sampled or not built.ids:
        return True
    return len(named) == len(built.ids) and all(
        n is None or n == i for n, i in zip(named, built.ids, strict=True)
    )


def _tokens(index: int, built: _Building) -> Tokens | None:
    """The choice's arrays. Logprobs name their tokens, so where both lists came and differ, theirs count."""
    named = [token for token, _ in built.sampled if token is not None]
    ids = named if built.sampled and len(named) == len(built.sampled) else built.ids
    if not built.sampled or len(ids) != len(built.sampled):
        return None
    offsets, top = [0], []
    for ranked in built.ranked:
        top += ranked
        offsets.append(len(top))
    return Tokens(
        index,
        "wire",
        ids,
        [logprob for _, logprob in built.sampled],
        [token for token, _ in top],
        [logprob for _, logprob in top],
        offsets,
    )
