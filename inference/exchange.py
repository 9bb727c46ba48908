"""One call: what was asked, what was answered, and what the model was thinking, from the spooled bytes.

Pure: bytes in, values out. Leaves the forms of requests and answers to inference.surfaces, reading files to
inference.spool, asking for tokens to inference.capture, and storing to inference.drain.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import orjson

from inference.answer import Answer, Choice, Tokens
from inference.raw import RawExchange
from inference.surfaces import NAMED, Surface, read


class Opened(TypedDict):
    """What a recording begins with: all that the proxy knew before it called an engine."""

    surface: str
    streamed: bool
    route: str
    """What the client asked for as ``model``, whether it exists or not."""
    model: str
    weights: str
    base_weights: str
    tokenizer: str
    upstream: str
    logprobs_mode: str
    key: str
    user: str
    session: str
    tags: dict[str, str]
    trace_id: str
    span_id: str
    parent_span_id: str
    started_us: int
    capture: str
    top_k: int
    """How many alternatives a token the answer can show by id; 0 when the client's own wish hides them."""
    proxy: str
    snapshot: int
    """Number of the routing snapshot that was in force."""
    mask: NotRequired[bool]
    """Whether personal data is masked before any of it is stored."""


class Closed(TypedDict, total=False):
    """What a recording ends with. Empty but for ``end_reason`` when the proxy died."""

    end_reason: str
    """``complete``: as the engine says in its answer; otherwise as in ``Exchange.end_reason``."""
    status: int
    """What the client was told."""
    error: str
    attempt: int
    upstream: str
    """Which replica answered; it may be another than the one opened with."""
    capture: str
    """Set when the engine would not give logprobs."""
    top_k: int
    """Set when it would not give as many as were wanted."""
    first_byte_us: int
    finished_us: int
    tried: list[dict[str, str]]
    """Replicas that were tried before, and why they did not answer."""


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
    """A name in ``surfaces.NAMED``."""
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
    """stop, length, tool_calls, content_filter: as the engine said. Otherwise: client_left, client_slow (it
    sent or read too slowly), engine_died (it
    broke off, or no replica could be reached), engine_error (it answered with an error), engine_timeout,
    refused (a limit, or the disk), bad_request (nothing an engine could serve), proxy_died."""
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
    """Where tokens came from (``wire``, ``engine``), or why there are none: ``masked``, ``off`` or
    ``unsampled`` by the route's setting, ``refused`` by the engine, ``unsupported`` when asking would have
    changed this request's answer (echo, beam search), ``untold`` when its surface tells none, ``withheld``
    when the engine took the wish and gave none."""
    top_k: int
    tokens_match: bool | None
    """Whether the ids' count equals the engine's usage; None when either is unknown."""
    logprobs_mode: str
    tokenizer: str
    """SHA-256 of the tokenizer, empty when unknown."""
    request: bytes
    response: bytes
    masked: int = 0
    """How many values were masked before it was stored."""

    @property
    def conversation(self) -> str:
        """What turns of one conversation share: the session, or a hash of key, system prompt and first
        message.
        """
        if self.session:
            return self.session
        system = [m.get("content") for m in self.messages if m.get("role") in ("system", "developer")][:1]
        first = [m.get("content") for m in self.messages if m.get("role") == "user"][:1]
        return hashlib.sha256(orjson.dumps([self.key, system, first])).hexdigest()[:32]


_NOT_PARAMETERS = {
    *("model", "stream", "stream_options", "user", "metadata"),
    *("logprobs", "top_logprobs", "return_token_ids", "return_tokens_as_token_ids"),
}


def parse(raw: RawExchange) -> Exchange:
    """The exchange in ``raw``. Raises ValueError when its request or headers are not what a proxy spools.

    What the engine sent may be cut off or broken anywhere: then what can be read of it counts.
    """
    try:
        opened, closed = raw.opened, raw.closed
        body = _body(raw.request)
        surface = NAMED[opened["surface"]]
        top_k = closed.get("top_k", opened["top_k"])
        answer = read(surface.name, raw.response, top_k)
        started_us, first_byte_us = opened["started_us"], closed.get("first_byte_us")
        return Exchange(
            exchange_id=raw.exchange_id,
            attempt=raw.attempt,
            started_us=started_us,
            finished_us=closed.get("finished_us", first_byte_us or started_us),
            first_token_seconds=None if first_byte_us is None else (first_byte_us - started_us) / 1e6,
            surface=surface.name,
            streamed=opened["streamed"],
            route=opened["route"],
            model=opened["model"],
            weights=opened["weights"],
            base_weights=opened["base_weights"],
            upstream=closed.get("upstream", opened["upstream"]),
            key=opened["key"],
            user=opened["user"],
            session=opened["session"],
            tags=opened["tags"],
            trace_id=opened["trace_id"],
            span_id=opened["span_id"],
            parent_span_id=opened["parent_span_id"],
            status=closed.get("status", 0),
            end_reason=_end_reason(closed, answer),
            error=closed.get("error", "") or answer.error,
            messages=surface.asked(body),
            choices=answer.choices,
            params=_parameters(surface, body),
            prompt_tokens=answer.prompt_tokens or len(answer.prompt_token_ids),
            completion_tokens=answer.completion_tokens or sum(len(t.ids) for t in answer.tokens),
            prompt_token_ids=answer.prompt_token_ids,
            tokens=answer.tokens,
            capture=_capture(opened, closed, answer),
            top_k=top_k,
            tokens_match=_tokens_match(answer),
            logprobs_mode=opened["logprobs_mode"],
            tokenizer=opened["tokenizer"],
            request=raw.request,
            response=raw.response,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"exchange {raw.exchange_id} can't be parsed: {error!r}") from error


def _body(request: bytes) -> dict[str, Any]:
    """The request as an object; a refused one may be anything, so what is none counts as empty."""
    try:
        body = orjson.loads(request)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _parameters(surface: Surface, body: dict[str, Any]) -> dict[str, Any]:
    others = _NOT_PARAMETERS | surface.not_parameters
    return {name: value for name, value in body.items() if name not in others}


def _capture(opened: dict[str, Any], closed: dict[str, Any], answer: Answer) -> str:
    found = str(closed.get("capture", opened["capture"]))
    complete = closed.get("end_reason") == "complete" and not answer.error
    if found == "wire" and complete and answer.completion_tokens and not answer.tokens:
        return "withheld"
    return found


def _end_reason(closed: dict[str, Any], answer: Answer) -> str:
    reason = str(closed.get("end_reason", "proxy_died"))
    if reason != "complete":
        return reason
    finished = [choice.finish_reason for choice in answer.choices if choice.finish_reason]
    if finished:
        return finished[0]
    return "engine_error" if answer.error else "stop" if answer.is_whole else "engine_died"


def _tokens_match(answer: Answer) -> bool | None:
    if not answer.id_count or not answer.completion_tokens:
        return None
    return answer.aligned and answer.id_count == answer.completion_tokens
