"""What Flywheel asks models for by itself, and the tag by which that is told from a product's traffic.

Whoever asks sends ``header``; the trace store keeps the purpose as a column of ``facts`` (inference/sql/
0013_purpose.sql). A product that sets one of these tags says that it is no traffic either.
"""

SUGGESTION, EVALUATION, AGAIN = "suggestion", "evaluation", "again"
"""A model's judgement of a queue's item; an answer of an exam; an exchange asked anew on another version."""

ALL = (SUGGESTION, EVALUATION, AGAIN)


def header(purpose: str, of: object, **more: str) -> dict[str, str]:
    """The header to ask with. ``of``: which queue, evaluation or exchange; ``more``: further tags."""
    tags = {purpose: of, **more}
    return {"x-flywheel-tags": ",".join(f"{name}={value}" for name, value in tags.items())}
