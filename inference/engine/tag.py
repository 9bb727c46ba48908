"""The tag: what the proxy writes into a request so that the engine's plugin captures its tokens. Pure.

It travels in vLLM's ``vllm_xargs``, whose values are texts, numbers or lists of them, so it is a flat list
that begins with its form's number. A client's own value under this key never reaches an engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

KEY = "flywheel_capture"
"""The name in ``vllm_xargs``."""
PATH = "/flywheel/capture"
"""Where an engine says whether it captures."""
_FORM = 1
MOST_ALTERNATIVES = 1000


class TagError(ValueError):
    """The tag is not one that this plugin reads."""


@dataclass(frozen=True, slots=True)
class Tag:
    """Which exchange a request belongs to, and what is wanted of it."""

    exchange_id: str
    attempt: int
    """0, or the number of replicas tried before this one."""
    started_us: int
    """The exchange's beginning, microseconds since 1970: token rows are sorted by it."""
    top_k: int | None
    """Alternatives a generated token; None: generated tokens are not captured (a scoring)."""
    weights: str = ""
    """SHA-256 of what gives these probabilities."""
    tokenizer: str = ""
    source: str = "engine"
    """``engine``; for a scoring, the name of the model version that scores."""
    choice: int = 0
    """The first choice's number; a scoring names the choice that it scores."""
    prompt_top_k: int | None = None
    """Alternatives a prompt token; None: the prompt is not scored."""
    prompt_from: int = 0
    """The first prompt position that is kept: a scoring keeps the answer, not the question before it."""

    def values(self) -> list[str | int]:
        """As ``vllm_xargs`` takes it; ``parse`` is the inverse."""
        return [
            *(_FORM, self.exchange_id, self.attempt, self.started_us, _number(self.top_k)),
            *(self.weights, self.tokenizer, self.source, self.choice),
            *(_number(self.prompt_top_k), self.prompt_from),
        ]

    @classmethod
    def parse(cls, values: object) -> Self:
        """Raises TagError on what ``values`` did not make."""
        if not isinstance(values, list) or len(values) != 11 or values[0] != _FORM:
            raise TagError("not a tag of this form")
        _, exchange_id, attempt, started_us, top_k, weights, tokenizer, source, choice, prompt, start = values
        numbers = (attempt, started_us, top_k, choice, prompt, start)
        texts = (exchange_id, weights, tokenizer, source)
        if not all(type(one) is int for one in numbers) or not all(type(one) is str for one in texts):
            raise TagError("a tag's value is of another type")
        if not 0 <= attempt <= 255 or started_us < 0 or choice < 0 or start < 0:
            raise TagError("a tag's number is out of range")
        if max(top_k, prompt) > MOST_ALTERNATIVES or max(map(len, texts)) > 200:
            raise TagError("a tag's value is too large")
        try:
            canonical = str(UUID(exchange_id))
        except ValueError as error:
            raise TagError("a tag's exchange id is no UUID") from error
        return cls(
            *(canonical, attempt, started_us, _known(top_k), weights, tokenizer, source, choice),
            *(_known(prompt), start),
        )


def _number(top_k: int | None) -> int:
    return -1 if top_k is None else top_k


def _known(top_k: int) -> int | None:
    return None if top_k < 0 else top_k


def tagged(body: dict[str, Any], tag: Tag) -> dict[str, Any]:
    """A request's body with the tag; the client's other extra arguments stay."""
    return {**body, "vllm_xargs": {**_extra(body), KEY: tag.values()}}


def untagged(body: dict[str, Any]) -> dict[str, Any]:
    """A request's body without a tag that its client wrote; the same object when there is none."""
    if KEY not in _extra(body):
        return body
    kept = {name: value for name, value in _extra(body).items() if name != KEY}
    return {**body, "vllm_xargs": kept}


def _extra(body: dict[str, Any]) -> dict[str, Any]:
    given = body.get("vllm_xargs")
    return given if isinstance(given, dict) else {}
