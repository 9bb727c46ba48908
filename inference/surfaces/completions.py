"""``/v1/completions``. Pure."""

import msgspec
import orjson

from inference.answer import Answer, Building
from inference.ranking import logarithms
from inference.surfaces import choices, laying
from inference.surfaces.surface import Added, Form, Hidden, Message, Surface


class Logprobs(msgspec.Struct, gc=False):
    """A choice's, in a body or in an event: columns, and of each token those beside it."""

    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


def add(body: Message, top_k: int, most: int) -> Added | None:
    """Logprobs, ids and usage. ``logprobs`` counts the alternatives alone."""
    if body.get("echo") or body.get("use_beam_search"):
        return None
    asked = body.get("logprobs")
    own = asked is not None or bool(body.get("logprob_token_ids"))
    fields: Message = {"return_token_ids": True}
    if own:
        by_id = body.get("return_tokens_as_token_ids") and isinstance(asked, int) and asked > 0
        top_k = asked if by_id and isinstance(asked, int) else 0
    else:
        top_k = min(top_k, most)
        fields |= {"return_tokens_as_token_ids": True, "logprobs": top_k}
    usage = choices.adds_usage(body) and count(body) == 1
    if usage:
        fields |= choices.with_usage(body)
    return Added(fields, top_k, Hidden(not own, not body.get("return_token_ids"), usage))


def count(body: Message) -> int:
    """How many choices all of its prompts get."""
    prompts = 0
    for name in ("prompt", "prompt_embeds"):
        found = body.get(name)
        if isinstance(found, list):
            prompts += len(found) if found and isinstance(found[0], str | list) else bool(found)
        else:
            prompts += found is not None
    return choices.count(body) * max(1, prompts)


def asked(body: Message) -> list[Message]:
    """Each prompt as a user's message; one of token ids as JSON."""
    prompt = body.get("prompt")
    if prompt is None:
        return []
    several = isinstance(prompt, list) and all(isinstance(one, str | list) for one in prompt)
    return [
        {"role": "user", "content": one if isinstance(one, str) else orjson.dumps(one).decode()}
        for one in (prompt if several else [prompt])
    ]


def read(messages: list[Message], top_k: int) -> Answer:
    """The choices, and each one's tokens."""
    return laying.read(messages, top_k, _take, lambda one: {"content": one.get("text")})


def _take(built: Building, choice: Message) -> None:
    found = laying.logprobs(choice, Logprobs)
    if found is None or not found.tokens:
        return
    count = len(found.tokens)
    if len(found.token_logprobs or ()) < count:
        raise ValueError("a completion's tokens are more than their logprobs")
    tops = [top or {} for top in (found.top_logprobs or ())[:count]]
    tops += [{}] * (count - len(tops))
    wire = built.wire
    wire.names += found.tokens
    wire.sampled += logarithms((found.token_logprobs or [])[:count])
    wire.widths += map(len, tops)
    wire.listed += [name for top in tops for name in top]
    wire.logprobs += logarithms([logprob for top in tops for logprob in top.values()])


COMPLETIONS = Surface(
    name="completions",
    path="/v1/completions",
    asked=asked,
    read=read,
    form=Form(laying.form(Logprobs)),
    add=add,
    choices=count,
    finishes=choices.finishes,
    clean=choices.clean,
    gives_tokens=True,
    tags=True,
    lays_alike=True,
    not_parameters=frozenset(("prompt",)),
)
