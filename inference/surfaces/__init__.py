"""The API surfaces, each in a module of its own: what a path means to the proxy and to the drain. Pure."""

from inference.answer import Answer
from inference.surfaces.chat import CHAT
from inference.surfaces.completions import COMPLETIONS
from inference.surfaces.embeddings import EMBEDDINGS
from inference.surfaces.messages import MESSAGES
from inference.surfaces.responses import RESPONSES
from inference.surfaces.surface import Added, Hidden, Surface, carried
from inference.surfaces.tokenizing import DETOKENIZE, TOKENIZE

_ALL = (CHAT, COMPLETIONS, RESPONSES, MESSAGES, EMBEDDINGS, TOKENIZE, DETOKENIZE)
SURFACES = {surface.path: surface for surface in _ALL}
NAMED = {surface.name: surface for surface in _ALL}

__all__ = [
    "CHAT",
    "COMPLETIONS",
    "DETOKENIZE",
    "EMBEDDINGS",
    "MESSAGES",
    "NAMED",
    "RESPONSES",
    "SURFACES",
    "TOKENIZE",
    "Added",
    "Hidden",
    "Surface",
    "carried",
    "read",
]


def read(name: str, response: bytes, top_k: int) -> Answer:
    """Lay an answer's bytes together. ``top_k`` is how many alternatives a position may have.

    Bytes that are no answer at all give an empty one; a cut-off stream gives what came before the cut.
    """
    surface = NAMED[name]
    answer = surface.read_at_once(response, top_k)
    return answer if answer is not None else surface.read(carried(response, surface.form), top_k)
