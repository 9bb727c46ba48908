"""One call: what was asked, what was answered, and what the model was thinking, from the spooled bytes.

Knows every API surface's request and answer forms, streamed and not. Pure: bytes in, values out. Leaves reading
files to inference.spool, asking for tokens to inference.capture, and storing to inference.drain.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RawExchange:
    """An exchange as the spool holds it. Nothing in it was parsed on the hot path but what routing needed."""

    exchange_id: str
    """UUIDv7 in its canonical form."""
    attempt: int
    """0, or the number of tries at other replicas before this one."""
    opened: dict[str, Any]
    """The open frame's header: see ``Opened`` in inference.capture for its keys."""
    request: bytes
    """The client's body, byte for byte, before anything was injected."""
    response: bytes
    """What the engine sent, byte for byte: a JSON body or an event stream, possibly cut off."""
    closed: dict[str, Any]
    """The close frame's header: end_reason, status, error, first_byte_us, finished_us, truncated."""


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


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange, parsed. Times are microseconds since 1970 UTC; durations are seconds."""

    exchange_id: str
    attempt: int
    started_us: int
    finished_us: int
    first_token_seconds: float | None
    """From the request's last byte to the answer's first; None when nothing came."""
    surface: str
    """``chat`` or ``completions``."""
    streamed: bool
    route: str
    """The public model name; ``version:NAME`` when a version was asked for by name."""
    model: str
    """The model version's name at the engine; empty when the call was refused before one was picked."""
    weights: str
    """SHA-256 of the weights that answered: the adapter's for an adapter."""
    base_weights: str
    upstream: str
    key: str
    """The API key's name, never the key."""
    user: str
    session: str
    tags: dict[str, str]
    trace_id: str
    span_id: str
    parent_span_id: str
    status: int
    end_reason: str
    """stop, length, tool_calls, content_filter: as the engine said. Otherwise: client_left, engine_died,
    engine_error, engine_timeout, refused, bad_request, proxy_died."""
    error: str
    messages: list[dict[str, Any]]
    """The chat's messages; a completion's prompt as one user message."""
    choices: list[Choice]
    params: dict[str, Any]
    """Sampling parameters of the request: temperature, top_p, max_tokens, seed, stop, n …"""
    prompt_tokens: int
    completion_tokens: int
    prompt_token_ids: list[int]
    tokens: list[Tokens]
    capture: str
    """``wire``, ``engine``, ``off``, or ``refused`` when the engine would not give logprobs."""
    top_k: int
    tokens_match: bool | None
    """Whether the ids' count equals the engine's usage; None when either is unknown."""
    logprobs_mode: str
    tokenizer: str
    """SHA-256 of the tokenizer, empty when unknown."""
    request: bytes
    response: bytes

    @property
    def conversation(self) -> str:
        """What turns of one conversation share: the session, or a hash of key, system prompt and first message."""
        raise NotImplementedError
