"""``/v1/embeddings``: vectors, and no tokens. Pure."""

from inference.answer import Answer
from inference.surfaces import chat, completions
from inference.surfaces.surface import Message, Surface


def asked(body: Message) -> list[Message]:
    """Each text as a user's message; a chat as it is."""
    texts = body.get("input")
    if isinstance(texts, list) and texts and isinstance(texts[0], dict):
        return [one for one in texts if isinstance(one, dict)]
    return completions.asked({"prompt": texts}) or chat.asked(body)


def read(messages: list[Message], _: int) -> Answer:
    """Usage, and that it came whole: vectors are in the bytes, and no text."""
    answer = Answer()
    for message in messages:
        answer.take_error(message.get("error"))
        usage = message.get("usage") or {}
        answer.take_usage(usage.get("prompt_tokens"), usage.get("completion_tokens"))
        answer.is_whole = answer.is_whole or isinstance(message.get("data"), list)
    return answer


EMBEDDINGS = Surface(
    name="embeddings",
    path="/v1/embeddings",
    asked=asked,
    read=read,
    not_parameters=frozenset(("input", "messages")),
)
