"""An answer, laid together: its choices, its usage, and its tokens. Pure.

The forms that answers come in are in inference.surfaces, each in its own module; here is what they come to.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import orjson

from inference.sse import payloads

NO_PROBABILITY = -9999.0
"""How vLLM writes a logarithm of minus infinity."""
_ID = "token_id:"
Entry = tuple[int, float]


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
class Building:
    """A choice while its parts are laid together."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    finish_reason: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    sampled: list[tuple[int | None, float]] = field(default_factory=list)
    """Each token's id where its logprobs name it, and its logprob."""
    ranked: list[list[Entry]] = field(default_factory=list)
    """For each of them the alternatives."""


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
    """Whether each choice has as many ids as logprobs, and the same ones where both name them."""
    id_count: int = 0
    """How many generated tokens were named by id."""
    is_whole: bool = False
    """Whether it came whole, of a surface whose answers finish without saying so."""

    def take_error(self, error: object) -> None:
        """Of an error object, what it says."""
        if error:
            self.error = str(error.get("message", error) if isinstance(error, dict) else error)

    def take_usage(self, prompt: int | None, completion: int | None) -> None:
        """Counts, the last ones count."""
        self.prompt_tokens = prompt or self.prompt_tokens
        self.completion_tokens = completion or self.completion_tokens

    def take_prompt(self, ids: list[int] | None) -> None:
        """The prompt's ids; the first ones count."""
        if ids and not self.prompt_token_ids:
            self.prompt_token_ids = ids

    def add(self, index: int, built: Building) -> None:
        """A choice that is laid together."""
        calls = [call for call in built.tool_calls if call]
        self.choices.append(
            Choice(index, "".join(built.text), built.finish_reason, "".join(built.reasoning), calls)
        )
        if tokens := _tokens(index, built):
            self.tokens.append(tokens)
        self.aligned = self.aligned and _aligned(built)
        self.id_count += len(built.ids) or len(tokens.ids if tokens else ())


def carried(response: bytes) -> list[dict[str, Any]]:
    """The objects that a body or a stream's events carry; what can't be read is left out."""
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


def sampled(token: str, logprob: float | None) -> tuple[int | None, float]:
    """A token's id, where its name says one, and its logprob."""
    name = token[len(_ID) :] if token.startswith(_ID) else ""
    lost = logprob is None or logprob <= NO_PROBABILITY
    return int(name) if name.isdecimal() else None, -math.inf if lost or logprob is None else float(logprob)


def rank(token: tuple[int | None, float], listed: list[tuple[int | None, float]], top_k: int) -> list[Entry]:
    """The top k in order, from the wire's list, which begins with the sampled token wherever it ranks.

    A sampled token less likely than every other listed one lies below them: it is no member of the top k,
    for capture asks for one more than k where the engine counts the sampled one in.
    """
    entries = [(one, logprob) for one, logprob in listed if one is not None]
    if len(entries) != len(listed) or token[0] is None:
        return []
    others = [entry for entry in entries if entry[0] != token[0]]
    if not others or token[1] >= min(logprob for _, logprob in others):
        # Before its equals: the sort is stable.
        others.insert(0, (token[0], token[1]))
    return sorted(others, key=lambda entry: -entry[1])[:top_k]


def _aligned(built: Building) -> bool:
    named = [token for token, _ in built.sampled]
    if not built.sampled or not built.ids:
        return True
    return len(named) == len(built.ids) and all(
        n is None or n == i for n, i in zip(named, built.ids, strict=True)
    )


def _tokens(index: int, built: Building) -> Tokens | None:
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
