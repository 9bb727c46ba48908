"""Reads a chat's logprobs straight from an answer's bytes, where the drain is compiled. Pure.

Knows one layout, vLLM's with ids for names, with each token's bytes or without them:

    "logprobs":{"content":[{"token":"token_id:5","logprob":-1.5,"top_logprobs":[{"token":…,"logprob":…},…]},…]}

in the choices of a JSON body or of a stream's events. An answer in which anything lies otherwise is not read
here at all: it is decoded as JSON, and ranked, by others, and so is every answer where this is not compiled.
What is read here comes to the same.
"""

from dataclasses import dataclass

from inference.extension import extension

Columns = tuple[list[int], list[float], list[int], list[float], list[int]]
"""A choice's tokens: from ``ids`` on as in ``answer.Tokens``."""


@dataclass(frozen=True, slots=True)
class Read:
    """What was read of an answer."""

    left: bytes
    """The body, or a list of the events, as JSON: without logprobs, and not looked at for more than them."""
    count: int
    """How many bodies or events it holds."""
    streamed: bool
    columns: dict[int, Columns]
    """By the choice's index. All that its logprobs say, one part after the other."""


_COMPILED = extension("inference._listing")


def read(answer: bytes, top_k: int) -> Read | None:
    """What the answer lists, of each position the ``top_k`` likeliest; None when it is of another layout."""
    found = None if _COMPILED is None else _COMPILED.read(answer, top_k)
    if found is None:
        return None
    left, count, columns = found
    return Read(left, count, not answer.startswith(b"{"), columns)
