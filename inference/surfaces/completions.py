"""``/v1/completions``. Pure."""

import orjson

from inference.answer import Answer, Building, rank, sampled
from inference.surfaces import choices
from inference.surfaces.surface import Added, Hidden, Message, Surface


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

    def take(built: Building, choice: Message) -> None:
        logprobs = choice.get("logprobs") or {}
        tops = logprobs.get("top_logprobs") or ()
        for position, name in enumerate(logprobs.get("tokens") or ()):
            token = sampled(name, logprobs["token_logprobs"][position])
            top = (tops[position] if position < len(tops) else None) or {}
            built.sampled.append(token)
            built.ranked.append(rank(token, [sampled(*other) for other in top.items()], top_k))

    return choices.read(messages, take, lambda choice: {"content": choice.get("text")})


COMPLETIONS = Surface(
    name="completions",
    path="/v1/completions",
    asked=asked,
    read=read,
    add=add,
    choices=count,
    finishes=choices.finishes,
    clean=choices.clean,
    gives_tokens=True,
    tags=True,
    lays_alike=True,
    not_parameters=frozenset(("prompt",)),
)
