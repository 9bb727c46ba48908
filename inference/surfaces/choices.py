"""What chats and completions have in common while they pass: choices, each finished for itself. Pure.

How an answer is laid together is in inference.surfaces.laying.
"""

import re

from inference.surfaces.surface import Hidden, Message

# A quote inside a JSON string is escaped, so this finds keys alone.
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"')
IDS = ("token_ids", "prompt_token_ids")


def finishes(_: bytes, data: bytes) -> int:
    """How many choices an event finishes."""
    return len(_FINISH.findall(data))


def count(body: Message) -> int:
    """How many choices a prompt gets."""
    asked = body.get("n")
    return asked if isinstance(asked, int) and asked > 0 else 1


def adds_usage(body: Message) -> bool:
    """Whether a stream's usage can be asked for without the client seeing more than one event."""
    options = body.get("stream_options")
    quiet = options is None or (isinstance(options, dict) and not options.get("include_usage"))
    return bool(body.get("stream")) and quiet and not (options or {}).get("continuous_usage_stats")


def with_usage(body: Message) -> Message:
    """The field that asks for it."""
    return {"stream_options": {**(body.get("stream_options") or {}), "include_usage": True}}


def clean(hidden: Hidden, message: Message) -> None:
    """Null what was added, in place."""
    if hidden.ids and message.get("prompt_token_ids") is not None:
        message["prompt_token_ids"] = None
    for choice in message.get("choices") or ():
        if hidden.logprobs and choice.get("logprobs") is not None:
            choice["logprobs"] = None
        if hidden.ids:
            for name in IDS:
                if choice.get(name) is not None:
                    choice[name] = None
