"""``/v1/chat/completions``. Pure."""

import msgspec

from inference import listing
from inference.answer import Answer, Building
from inference.ranking import logarithms
from inference.surfaces import choices, laying
from inference.surfaces.surface import Added, Form, Hidden, Message, Surface


class _Listed(msgspec.Struct, gc=False):
    token: str
    logprob: float | None


class _Position(msgspec.Struct, gc=False):
    token: str
    logprob: float | None = None
    top_logprobs: list[_Listed] | None = None


class Logprobs(msgspec.Struct, gc=False):
    """A choice's, in a body or in an event."""

    content: list[_Position] | None = None


_FORM = Form(laying.form(Logprobs))


def add(body: Message, top_k: int, most: int) -> Added | None:
    """Logprobs, ids and usage. ``top_logprobs`` counts the sampled token in, hence one more."""
    if body.get("echo") or body.get("use_beam_search"):
        return None
    asked = body.get("top_logprobs")
    own = bool(body.get("logprobs") or asked or body.get("logprob_token_ids"))
    fields: Message = {"return_token_ids": True}
    if own:
        # Its wish stands as it is. Token strings don't say which id they were.
        by_id = body.get("return_tokens_as_token_ids") and isinstance(asked, int) and asked > 0
        top_k = asked if by_id and isinstance(asked, int) else 0
    else:
        top_k = min(top_k, most)
        fields |= {
            "return_tokens_as_token_ids": True,
            "logprobs": True,
            "top_logprobs": min(top_k + 1, most) if top_k else 0,
        }
    usage = choices.adds_usage(body) and choices.count(body) == 1
    if usage:
        fields |= choices.with_usage(body)
    return Added(fields, top_k, Hidden(not own, not body.get("return_token_ids"), usage))


def asked(body: Message) -> list[Message]:
    """The chat's messages."""
    messages = body.get("messages")
    return [one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []


def read(messages: list[Message], top_k: int) -> Answer:
    """The choices, and each one's tokens."""
    return laying.read(messages, top_k, _take, _said)


def read_at_once(response: bytes, top_k: int) -> Answer | None:
    """The same of an answer of vLLM's usual layout."""
    found = listing.read(response, top_k)
    if found is None:
        return None
    messages = _FORM.decode_list(found.left, found.count) if found.streamed else _FORM.decode([found.left])
    return None if messages is None else laying.read(messages, top_k, _take, _said, found.columns)


def _said(choice: Message) -> Message:
    return choice.get("message") or choice.get("delta") or {}


def _take(built: Building, choice: Message) -> None:
    found = laying.logprobs(choice, Logprobs)
    if found is None or not found.content:
        return
    wire, content = built.wire, found.content
    tops = [position.top_logprobs or () for position in content]
    listed = [one for top in tops for one in top]
    wire.names += [position.token for position in content]
    wire.sampled += logarithms([position.logprob for position in content])
    wire.widths += map(len, tops)
    wire.listed += [one.token for one in listed]
    wire.logprobs += logarithms([one.logprob for one in listed])


CHAT = Surface(
    name="chat",
    path="/v1/chat/completions",
    asked=asked,
    read=read,
    read_at_once=read_at_once,
    form=_FORM,
    add=add,
    choices=choices.count,
    finishes=choices.finishes,
    clean=choices.clean,
    gives_tokens=True,
    tags=True,
    lays_alike=True,
    not_parameters=frozenset(("messages",)),
)
