"""The same seeded request with logprobs over the wire and taken inside the engine: equal to the last bit.

One request at a time, since an engine's batches change its numbers. Standard library and the readers of both
forms; what fetches the captured tokens is given by the caller (a spool, or the trace store behind a drain).
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from inference import packing
from inference.answer import Answer, Tokens
from inference.clickhouse import connect
from inference.engine.tag import Tag, tagged
from inference.surfaces import read
from inference.uuid7 import uuid7

TOP_K = 5
SCORING = "a prompt is scored"
Fetch = Callable[[str], list[Tokens]]
"""A captured exchange's tokens by its id, once all have come."""
_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": _CITY}}],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "max_tokens": 20,
}
_RED = {"type": "object", "properties": {"colour": {"enum": ["red", "green"]}}, "required": ["colour"]}
COLOUR = {"type": "json_schema", "json_schema": {"name": "c", "schema": _RED}}


@dataclass(frozen=True, slots=True)
class Case:
    """A request by its path and body. ``cut``: its client leaves after so many events."""

    name: str
    path: str
    body: dict[str, Any]
    cut: int = 0
    alone: bool = False
    """Over the wire there is nothing to compare with: the count must be right."""
    cache: str = ""
    """``cold``: neither time may find the prompt in the engine's cache; ``warm``: both must."""

    @property
    def surface(self) -> str:
        return "chat" if "chat" in self.path else "completions"

    @property
    def tries(self) -> int:
        """How often it is asked over the wire at most, until that gives the bits of what was captured.

        What one request has several of reaches the engine one by one, in one batch or in two, and a product
        is rounded by its batch's shape: each time another way, some of them rare. What was captured once
        stands, and must be one of the wire's answers, however often it takes: a wrong capture is none.
        """
        several = isinstance(self.body.get("prompt"), list) and isinstance(self.body["prompt"][0], str)
        return 30 if several or self.body.get("n", 1) > 1 else 1


def chat(
    name: str,
    text: str = "Tell me of the sea.",
    *,
    cut: int = 0,
    alone: bool = False,
    cache: str = "",
    **more: Any,
) -> Case:
    """A seeded chat of at most 12 tokens."""
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 12, "temperature": 0.9, "seed": 11}
    return Case(name, "/v1/chat/completions", {**body, **more}, cut, alone, cache)


def completion(name: str, prompt: Any = "The sea is", *, alone: bool = False, **more: Any) -> Case:
    """A seeded completion of at most 8 tokens."""
    body = {"prompt": prompt, "max_tokens": 8, "temperature": 0.9, "seed": 5, **more}
    return Case(name, "/v1/completions", body, alone=alone)


_STREAM: Any = {"stream": True, "stream_options": {"include_usage": True}}
LONG = "The tide rises and falls with the moon and the wind. " * 25
CASES = [
    chat("plain"),
    chat("streamed", **_STREAM),
    chat("greedy", temperature=0.0),
    chat("several choices", n=3),
    chat("several choices, streamed", n=2, **_STREAM),
    chat("stop string", stop=["a", "e"], max_tokens=20),
    chat("stop string, streamed", stop=["the"], max_tokens=20, **_STREAM),
    chat("stop string kept", stop=["a"], include_stop_str_in_output=True, max_tokens=20),
    chat("one token", max_tokens=1),
    chat("one token, streamed", max_tokens=1, **_STREAM),
    chat("ended by itself", "Say hi.", max_tokens=200, temperature=0.0),
    chat("structured output", response_format=COLOUR, max_tokens=20),
    chat("tool call", **WEATHER),
    chat("tool call, streamed", **WEATHER, **_STREAM),
    chat("penalties and bias", presence_penalty=1.0, frequency_penalty=0.5, logit_bias={"100": 5}),
    # Greedy: on a CPU a seeded request whose prefill is cut into chunks ends the engine (its generator has
    # no offset to set back).
    chat("prefill in chunks", LONG, cache="cold", temperature=0.0, seed=None),
    chat("cached prefix", LONG, cache="warm", temperature=0.0, seed=None),
    chat("reasoning left out", alone=True, include_reasoning=False),
    chat("own logprobs too", logprobs=True, top_logprobs=2),
    completion("completion"),
    completion("completion, streamed", **_STREAM),
    completion("several prompts", ["One two", "Red green"], n=2),
    completion("prompt as ids", [1, 504, 3575, 314]),
    completion("echoed prompt", alone=True, echo=True),
    chat("client leaves", "Count to a hundred.", cut=4, max_tokens=300, stream=True),
]


@dataclass(slots=True)
class Outcome:
    """What became of a case: what differs, if anything, and how many tokens were compared."""

    case: str
    problems: list[str] = field(default_factory=list)
    tokens: int = 0


class Engine:
    """An engine's HTTP side; one request at a time."""

    def __init__(self, address: str, model: str, timeout: float = 120.0) -> None:
        parts = urlsplit(address)
        self._where, self._timeout, self.model = (parts.hostname or "", parts.port), timeout, model

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON."""
        connection = http.client.HTTPConnection(*self._where, timeout=self._timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content.startswith((b"{", b"[")) else content
        finally:
            connection.close()

    def post(self, path: str, body: dict[str, Any], cut: int = 0) -> tuple[int, bytes]:
        """Status and bytes; with ``cut`` the connection is dropped after so many events of a stream."""
        connection = http.client.HTTPConnection(*self._where, timeout=self._timeout)
        try:
            content = json.dumps({"model": self.model, **body})
            connection.request("POST", path, content, {"content-type": "application/json"})
            answer = connection.getresponse()
            if not cut:
                return answer.status, answer.read()
            got = b""
            while got.count(b"\n\n") < cut and (line := answer.readline()):
                got += line
            return answer.status, got
        finally:
            connection.close()


def compare(engine: Engine, case: Case, fetch: Fetch, top_k: int = TOP_K) -> Outcome:
    """Ask each way, and compare answers and tokens."""
    outcome = Outcome(case.name)
    if case.cache == "warm":
        engine.post(case.path, case.body)
    wired = _over_wire(engine, case, top_k)
    tag = Tag(str(uuid7()), 0, time.time_ns() // 1000, top_k)
    body = {**case.body, "cache_salt": tag.exchange_id} if case.cache == "cold" else case.body
    status, plainly = engine.post(case.path, tagged(body, tag), case.cut)
    if status != 200:
        outcome.problems.append(f"HTTP {status}: {plainly[:200]!r}")
        return outcome
    answer = read(case.surface, plainly, top_k)
    outcome.problems += _shown(case, plainly)
    captured = sorted(fetch(tag.exchange_id), key=lambda one: one.choice)
    outcome.tokens = sum(len(one.ids) for one in captured)
    if case.cut:
        outcome.problems += _prefix(wired, captured)
        return outcome
    if answer.completion_tokens and answer.completion_tokens != outcome.tokens:
        outcome.problems.append(f"usage says {answer.completion_tokens}, captured {outcome.tokens}")
    if case.alone:
        return outcome
    differing = _differing(captured, answer, wired)
    for _ in range(case.tries - 1):
        if not differing:
            break
        differing = _differing(captured, answer, _over_wire(engine, case, top_k))
    outcome.problems += differing
    return outcome


def _over_wire(engine: Engine, case: Case, top_k: int) -> Answer:
    return read(case.surface, engine.post(case.path, _wire(case, top_k), 0)[1], top_k)


def _differing(captured: list[Tokens], answer: Answer, wired: Answer) -> list[str]:
    """What the captured call's client got and what was captured of it, against an answer of the wire."""
    if len(captured) != len(wired.tokens):
        return [f"{len(captured)} choices captured, {len(wired.tokens)} over the wire"]
    return _same_text(wired, answer) + [
        problem
        for mine, theirs in zip(captured, wired.tokens, strict=True)
        for problem in _same_tokens(mine, theirs)
    ]


def _wire(case: Case, top_k: int) -> dict[str, Any]:
    asked: dict[str, Any] = {"return_token_ids": True, "return_tokens_as_token_ids": True}
    asked |= {"logprobs": True, "top_logprobs": top_k + 1} if case.surface == "chat" else {"logprobs": top_k}
    salt = {"cache_salt": "over the wire"} if case.cache == "cold" else {}
    return {**case.body, **asked, **salt}


def _shown(case: Case, answer: bytes) -> list[str]:
    """Nothing of the capture may be in an answer whose client asked for no logprobs."""
    if case.body.get("logprobs") is not None:
        return []
    found = [name for name in (b"token_id:", b'"logprobs":{', b'"logprobs": {') if name in answer]
    return [f"the answer shows {name!r}" for name in found]


def _same_text(one: Answer, other: Answer) -> list[str]:
    mine, theirs = ([(c.text, c.finish_reason, c.reasoning) for c in a.choices] for a in (one, other))
    return [] if mine == theirs else [f"other answers: {mine} and {theirs}"]


def _same_tokens(mine: Tokens, theirs: Tokens) -> list[str]:
    """Ids and logprobs bit for bit; alternatives on every entry that both have."""
    problems = []
    if mine.ids != theirs.ids:
        return [f"choice {mine.choice}: ids {mine.ids} and {theirs.ids}"]
    if mine.logprobs != theirs.logprobs:
        problems.append(f"choice {mine.choice}: sampled logprobs differ")
    for position in range(len(mine.ids)):
        ours, wires = (_alternatives(one, position) for one in (mine, theirs))
        if any(ours[token] != wires[token] for token in ours.keys() & wires.keys()):
            problems.append(f"choice {mine.choice}, position {position}: {ours} and {wires}")
        if len(ours) < len(wires) or len(ours.keys() & wires.keys()) < len(wires) - 1:
            problems.append(f"choice {mine.choice}, position {position}: other alternatives {ours}, {wires}")
    return problems


def _alternatives(tokens: Tokens, position: int) -> dict[int, float]:
    begin, end = tokens.top_offsets[position : position + 2]
    return dict(zip(tokens.top_ids[begin:end], tokens.top_logprobs[begin:end], strict=True))


def _prefix(wired: Answer, captured: list[Tokens]) -> list[str]:
    """What was generated until the client left is the beginning of what would have been generated."""
    if not captured:
        return ["nothing was captured of the part that came"]
    whole = {one.choice: one for one in wired.tokens}
    return [
        f"choice {one.choice}: not a beginning"
        for one in captured
        if not one.ids
        or whole[one.choice].ids[: len(one.ids)] != one.ids
        or whole[one.choice].logprobs[: len(one.ids)] != one.logprobs
    ]


def run(engine: Engine, name: str, fetch: Fetch) -> Outcome:
    """One of the cases, by its name."""
    if name == SCORING:
        return compare_scoring(engine, fetch)
    return compare(engine, next(case for case in CASES if case.name == name), fetch)


def stored(exchange_id: str) -> list[Tokens]:
    """A captured exchange's tokens from the trace store, once a drain has put them there."""
    names = ", ".join(f"`{name}`" for name in packing.COLUMNS)
    until = time.monotonic() + 60
    found: list[Tokens] = []
    while time.monotonic() < until:
        rows = connect().query(
            f"SELECT choice, source, {names} FROM tokens WHERE exchange_id = {{id:UUID}} ORDER BY choice",
            {"id": exchange_id},
        )
        again = [packing.unpack(row[0], row[1], row[2:]) for row in rows.result_rows]
        if again and len(again) == len(found):
            break
        found = again
        time.sleep(1.5)
    return found


def compare_scoring(engine: Engine, fetch: Fetch, top_k: int = TOP_K) -> Outcome:
    """A prompt's scores over the wire (``prompt_logprobs``) and taken inside, from a position on."""
    outcome, start = Outcome(SCORING), 3
    prompt = [1, 504, 3575, 314, 253, 1018, 30]
    body: dict[str, Any] = {"prompt": prompt, "max_tokens": 1, "temperature": 0.0}
    _, over_wire = engine.post("/v1/completions", {**body, "prompt_logprobs": top_k})
    listed = json.loads(over_wire)["choices"][0]["prompt_logprobs"][start:]
    wired = [{int(one): entry["logprob"] for one, entry in position.items()} for position in listed]
    tag = Tag(str(uuid7()), 0, 1, None, source="teacher", prompt_top_k=top_k, prompt_from=start)
    status, answer = engine.post("/v1/completions", tagged(body, tag))
    captured = fetch(tag.exchange_id)
    if status != 200 or len(captured) != 1 or b'"prompt_logprobs":[' in answer:
        outcome.problems.append(f"HTTP {status}, {len(captured)} rows: {answer[:200]!r}")
        return outcome
    (mine,) = captured
    outcome.tokens = len(mine.ids)
    if mine.ids != prompt[start:] or len(wired) != len(mine.ids):
        outcome.problems.append(f"ids {mine.ids}, {len(wired)} positions over the wire")
    for position, theirs in enumerate(wired):
        ours = {**_alternatives(mine, position), mine.ids[position]: mine.logprobs[position]}
        if ours != theirs:
            outcome.problems.append(f"position {position}: {ours} and {theirs}")
    return outcome
