"""``/tokenize`` and ``/detokenize``: an engine's tokenizer without its model; answered, not recorded."""

from inference.answer import Answer
from inference.surfaces import chat, completions
from inference.surfaces.surface import Message, Surface


def asked(body: Message) -> list[Message]:
    """A prompt or a chat."""
    return completions.asked(body) or chat.asked(body)


def read(_: list[Message], __: int) -> Answer:
    """Nothing was generated."""
    return Answer(is_whole=True)


TOKENIZE = Surface(name="tokenize", path="/tokenize", asked=asked, read=read, is_exchange=False)
DETOKENIZE = Surface(name="detokenize", path="/detokenize", asked=asked, read=read, is_exchange=False)
