"""An answer, laid together: its choices, its usage, and its tokens. Pure.

The forms that answers come in are in inference.surfaces, each in its own module; here is what they come to.
"""

from dataclasses import dataclass, field
from typing import Any

from inference.listing import Columns
from inference.ranking import Wire, agree, numbers, rank


@dataclass(frozen=True, slots=True)
class Tokens:
    """One choice's generated tokens; n positions. Arrays as lists; offsets as in a ragged array.

    The alternatives of position i are ``top_ids[top_offsets[i]:top_offsets[i + 1]]`` in descending order of
    probability, without the sampled token unless it is among the top k itself.
    """

    choice: int
    source: str
    """``wire``, ``engine``, or the name of the model version that scored it later."""
    ids: list[int]
    logprobs: list[float]
    """Natural logarithms, in the mode of ``Exchange.logprobs_mode``."""
    top_ids: list[int]
    top_logprobs: list[float]
    top_offsets: list[int]
    """n + 1 numbers from 0 to len(top_ids)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What one choice came to."""

    index: int
    text: str
    finish_reason: str = ""
    """As the engine gave it; empty when it never finished."""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Building:
    """A choice while its parts are laid together."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    finish_reason: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    wire: Wire = field(default_factory=Wire)
    """What its logprobs say."""
    columns: Columns | None = None
    """The same, where it was read at once."""


@dataclass(slots=True)
class Answer:
    """An answer laid together."""

    choices: list[Choice] = field(default_factory=list)
    tokens: list[Tokens] = field(default_factory=list)
    prompt_token_ids: list[int] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str = ""
    """The message of an error object, if one came."""
    aligned: bool = True
    """Whether each choice has as many ids as logprobs, and the same ones where both name them."""
    id_count: int = 0
    """How many generated tokens were named by id."""
    is_whole: bool = False
    """Whether it came whole, of a surface whose answers finish without saying so."""

    def take_error(self, error: object) -> None:
        """Of an error object, what it says."""
        if error:
            self.error = str(error.get("message", error) if isinstance(error, dict) else error)

    def take_usage(self, prompt: int | None, completion: int | None) -> None:
        """Counts, the last ones count."""
        self.prompt_tokens = prompt or self.prompt_tokens
        self.completion_tokens = completion or self.completion_tokens

    def take_prompt(self, ids: list[int] | None) -> None:
        """The prompt's ids; the first ones count."""
        if ids and not self.prompt_token_ids:
            self.prompt_token_ids = ids

    def add(self, index: int, built: Building, top_k: int = 0) -> None:
        """A choice that is laid together. ``top_k`` is how many alternatives a position may have."""
        calls = [call for call in built.tool_calls if call]
        self.choices.append(
            Choice(index, "".join(built.text), built.finish_reason, "".join(built.reasoning), calls)
        )
        tokens, aligned = _tokens(index, built, top_k)
        if tokens is not None:
            self.tokens.append(tokens)
        self.aligned = self.aligned and aligned
        self.id_count += len(built.ids) or len(tokens.ids if tokens else ())


def _tokens(index: int, built: Building, top_k: int) -> tuple[Tokens | None, bool]:
    """The choice's arrays, and whether ids and logprobs agree.

    Logprobs name their tokens, so where both lists came and differ, theirs count.
    """
    if (columns := built.columns) is not None:
        return Tokens(index, "wire", *columns), not built.ids or built.ids == columns[0]
    wire = built.wire
    if not wire.names:
        return None, True
    named = numbers(wire.names)
    aligned = not built.ids or agree(named, built.ids)
    ids = [one for one in named if one is not None]
    if len(ids) != len(named):
        ids = built.ids
    if len(ids) != len(named):
        return None, aligned
    return Tokens(index, "wire", ids, wire.sampled, *rank(wire, named, top_k)), aligned
