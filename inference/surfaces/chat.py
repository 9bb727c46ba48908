"""``/v1/chat/completions``. Pure."""

from inference.answer import Answer, Building, rank, sampled
from inference.surfaces import choices
from inference.surfaces.surface import Added, Hidden, Message, Surface


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

    def take(built: Building, choice: Message) -> None:
        for entry in (choice.get("logprobs") or {}).get("content") or ():
            token = sampled(entry["token"], entry.get("logprob"))
            listed = [sampled(other["token"], other["logprob"]) for other in entry.get("top_logprobs") or ()]
            built.sampled.append(token)
            built.ranked.append(rank(token, listed, top_k))

    return choices.read(messages, take, lambda choice: choice.get("message") or choice.get("delta") or {})


CHAT = Surface(
    name="chat",
    path="/v1/chat/completions",
    asked=asked,
    read=read,
    add=add,
    choices=choices.count,
    finishes=choices.finishes,
    clean=choices.clean,
    gives_tokens=True,
    tags=True,
    lays_alike=True,
    not_parameters=frozenset(("messages",)),
)
