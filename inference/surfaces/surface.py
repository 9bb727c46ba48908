"""What the proxy and the drain need to know of one API surface. Pure; the table is in inference.surfaces."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import orjson

from inference.answer import Answer
from inference.sse import payloads

Message = dict[str, Any]
"""A JSON object: a request, an answer, or what an event carries."""
MOST_LOGPROBS = 20
"""What vLLM gives at most unless it is told otherwise."""


class Hidden(NamedTuple):
    """What was added to a request, so that it goes from the answer."""

    logprobs: bool = False
    ids: bool = False
    usage: bool = False
    """Only a stream's own event of usage."""


class Added(NamedTuple):
    """What capture asks an engine for beyond the client's wish."""

    fields: Message
    """Of the request; they stand in the place of the client's own."""
    top_k: int
    """How many alternatives the answer will show by id."""
    hidden: Hidden


class Form:
    """What of an answer is read, so that the rest need not be decoded: most of it is lists of bytes."""

    def __init__(self, kind: Any) -> None:
        self._one = msgspec.json.Decoder(kind)
        self._all = msgspec.json.Decoder(list[kind])

    def decode(self, bodies: list[bytes]) -> list[Message] | None:
        """What the bodies hold; None when they are not all of this form."""
        try:
            if len(bodies) == 1:
                return [self._one.decode(bodies[0])]
        except (ValueError, RecursionError):
            return None
        # In one call: a stream has as many events as tokens.
        return self.decode_list(b"[" + b",".join(bodies) + b"]", len(bodies))

    def decode_list(self, bodies: bytes, count: int) -> list[Message] | None:
        """What a list of so many bodies holds; None when they are not that many of this form."""
        try:
            found: list[Message] = self._all.decode(bodies)
        except (ValueError, RecursionError):
            return None
        return found if len(found) == count else None


def carried(response: bytes, form: Form | None = None) -> list[Message]:
    """The objects that a body or a stream's events carry; what can't be read is left out."""
    start = response[:64].lstrip()
    bodies = [response] if start.startswith((b"{", b"[")) else list(payloads(response))
    if form is not None and (decoded := form.decode(bodies)) is not None:
        return decoded
    found = []
    for body in bodies:
        try:
            message = orjson.loads(body)
        except orjson.JSONDecodeError:
            continue
        if isinstance(message, dict):
            found.append(message)
    return found


def adds_nothing(_: Message, __: int, ___: int) -> None:
    """For surfaces without logprobs."""


def one(_: Message) -> int:
    """For surfaces with one answer a request."""
    return 1


def never(_: bytes, __: bytes) -> int:
    """For surfaces without streams."""
    return 0


def not_at_once(_: bytes, __: int) -> Answer | None:
    """For surfaces whose answers are decoded first."""
    return None


def keeps(_: Hidden, __: Message) -> None:
    """For surfaces where nothing is added."""


def names_model(message: Message, model: str) -> None:
    """Say the public name, where a name is said."""
    if "model" in message:
        message["model"] = model


def serves(_: Message) -> str:
    """For surfaces where every request is the engine's to judge."""
    return ""


_ANTHROPIC = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}
"""Their names for what a status says."""


@dataclass(frozen=True, slots=True)
class Surface:
    """One path of the API: how a request is extended, its answer cleaned, and both read."""

    name: str
    """In rows."""
    path: str
    asked: Callable[[Message], list[Message]]
    """A request's messages, in the form of a chat's."""
    read: Callable[[list[Message], int], Answer]
    """Lays together what a body or its events carry; the number is how many alternatives a position has."""
    read_at_once: Callable[[bytes, int], Answer | None] = not_at_once
    """The same of the bytes, with no step in between; None for those that are to be read with it."""
    form: Form | None = None
    """What of its answers ``read`` asks for; without one, all is decoded."""
    add: Callable[[Message, int, int], Added | None] = adds_nothing
    """What to ask for besides, for so many alternatives, of an engine that gives at most so many logprobs;
    None where that would change this answer."""
    choices: Callable[[Message], int] = one
    """How many answers a request gets."""
    finishes: Callable[[bytes, bytes], int] = never
    """How many choices an event finishes, by its name and its data."""
    clean: Callable[[Hidden, Message], None] = keeps
    """Takes what was added out of what a body or an event carries, in place."""
    rename: Callable[[Message, str], None] = names_model
    """Says the public name in it, in place."""
    model_first: bool = True
    """Whether the first name ``model`` in an answer's bytes is the answer's own."""
    gives_tokens: bool = False
    """Whether any request of this surface can be asked for tokens."""
    tags: bool = False
    """Whether an engine's plugin can capture its tokens, one choice after the other (inference.engine)."""
    lays_alike: bool = False
    """Whether its events repeat one layout (inference.cutting)."""
    names_events: bool = False
    """Whether its events have names, and its errors say by a type that they are errors."""
    anthropic: bool = False
    """Whether its errors have the form that Anthropic's clients read."""
    is_exchange: bool = True
    """Whether a model answers, so that it is recorded."""
    refuses: Callable[[Message], str] = serves
    """Why this proxy does not serve a request, in words; nothing when it does."""
    not_parameters: frozenset[str] = field(default_factory=frozenset)
    """What of a request is no parameter of sampling, besides what no surface calls one."""

    def error(self, status: int, said: bytes, *, in_stream: bool = False) -> bytes:
        """An error object, which comes in OpenAI's form, in this surface's."""
        if self.anthropic:
            kind = _ANTHROPIC.get(status, "api_error" if status >= 500 else "invalid_request_error")
            message = orjson.loads(said)["error"]["message"]
            return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})
        return b'{"type":"error",' + said[1:] if in_stream and self.names_events else said
