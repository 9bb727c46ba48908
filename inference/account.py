"""What an exchange came to, in words: how it ended, how long each part took, why tokens are missing.

Pure. Leaves numbers' wording to the template filters.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ending:
    """How an exchange ended: ``short`` for a cell, ``words`` for a sentence; tone: good, warn or bad."""

    short: str
    words: str
    tone: str
    answered: bool = True

    @property
    def glyph(self) -> str:
        return {"good": "✓", "warn": "▲", "bad": "✕"}[self.tone]


ENDINGS = {
    "stop": Ending("finished", "finished by itself", "good"),
    "tool_calls": Ending("tool call", "asked for a tool", "good"),
    "length": Ending("cut off", "cut off at its token limit", "warn"),
    "content_filter": Ending("filtered", "stopped by a content filter", "warn"),
    "client_left": Ending("app left", "the app left before the end", "warn"),
    "client_slow": Ending("app too slow", "the app sent or read too slowly", "warn"),
    "engine_died": Ending(
        "engine died", "the engine broke off or could not be reached", "bad", answered=False
    ),
    "engine_error": Ending("engine error", "the engine answered with an error", "bad", answered=False),
    "engine_timeout": Ending("timed out", "the engine took too long", "bad", answered=False),
    "refused": Ending("refused", "refused before it reached an engine", "bad", answered=False),
    "bad_request": Ending("bad request", "nothing that an engine could serve", "bad", answered=False),
    "proxy_died": Ending("proxy died", "the proxy died before the end", "bad", answered=False),
}
MISSING = {
    "masked": "No tokens kept: personal data was masked here, and tokens would spell it.",
    "off": "No tokens kept: this route keeps exchanges without them.",
    "unsampled": "No tokens kept: this route keeps them for a share of its exchanges.",
    "refused": "No tokens kept: the engine refused logprobs.",
    "unsupported": "No tokens kept: asking for them would have changed this request’s answer.",
    "untold": "No tokens kept: this kind of call tells none.",
    "withheld": "No tokens kept: the engine was asked for them and gave none.",
}


def ending(reason: str) -> Ending:
    """The ending of a reason; one that an engine made up is shown as it came."""
    return ENDINGS.get(reason) or Ending(reason or "unknown", reason or "how it ended is not known", "warn")


def why_no_tokens(
    capture: str, completion_tokens: int, *, expected: bool = False, missing: bool = False
) -> str:
    """What stands in the place of the heat map. ``expected``: they should come; ``missing``: and are late."""
    if capture in MISSING:
        return MISSING[capture]
    if missing and capture == "engine":
        return (
            "The tokens are missing: the engine kept them itself and they have not come in time. "
            "If they still come, they will be shown."
        )
    if expected and capture == "engine":
        return "The tokens are on their way: the engine keeps them itself and they come on their own."
    if not completion_tokens:
        return "No tokens: nothing was answered."
    return "No tokens have arrived for this answer."


@dataclass(frozen=True, slots=True)
class Timing:
    """An exchange's two parts in seconds, and where they meet on a bar of 1,000 units."""

    waiting: float | None
    writing: float
    total: float
    tokens: int

    @property
    def meeting(self) -> int:
        if self.waiting is None:
            return 1000
        if self.total <= 0:
            return 0
        return min(1000, max(0, round(1000 * self.waiting / self.total)))

    @property
    def rest(self) -> int:
        return 1000 - self.meeting

    @property
    def rate(self) -> float | None:
        """Tokens a second while writing; None when it is too short to say."""
        return self.tokens / self.writing if self.tokens > 1 and self.writing > 0.001 else None


def timing(seconds: float, first_token_seconds: float | None, tokens: int) -> Timing:
    """Waiting for the first piece, then writing. Without a first piece all of it was waiting."""
    if first_token_seconds is None:
        return Timing(None, seconds, seconds, tokens)
    return Timing(first_token_seconds, max(0.0, seconds - first_token_seconds), seconds, tokens)
