import pytest

from annotations.models import Annotation
from annotations.verdicts import Verdict, decide


def said(*decisions: str) -> list[Annotation]:
    """Each as "decision" or "decision:answer"."""
    parts = [d.partition(":") for d in decisions]
    return [Annotation(decision=decision, answer=answer) for decision, _, answer in parts]


@pytest.mark.parametrize(
    ("judgements", "needed", "expected"),
    [
        ([], 1, Verdict("waiting")),
        (["approve"], 2, Verdict("waiting")),
        (["approve"], 1, Verdict("settled", "approved", "A", "one judgement")),
        (["correct:B"], 1, Verdict("settled", "corrected", "B", "one judgement")),
        (["reject"], 1, Verdict("settled", "rejected", "", "one judgement")),
        (["cant_judge"], 1, Verdict("unjudged", rule="one judgement")),
        (["approve", "approve"], 2, Verdict("settled", "approved", "A", "all 2 agree")),
        (["correct:B", "correct:B "], 2, Verdict("settled", "corrected", "B", "all 2 agree")),
        (["correct:B", "correct:C"], 2, Verdict("conflict", rule="2 judgements differ")),
        (["approve", "cant_judge"], 2, Verdict("conflict", rule="2 judgements differ")),
        (["cant_judge", "cant_judge"], 2, Verdict("unjudged", rule="all 2 agree")),
        (["flag"], 3, Verdict("flagged", rule="flagged as personal data")),
    ],
)
def test_the_rule(judgements: list[str], needed: int, expected: Verdict) -> None:
    got = decide(said(*judgements), needed, "A")
    assert (got.state, got.verdict, got.answer.strip(), got.rule) == (
        expected.state,
        expected.verdict,
        expected.answer,
        expected.rule,
    )


def test_a_reference_judgement_is_named_in_the_rule() -> None:
    [judgement] = said("approve")
    judgement.source = Annotation.Source.REFERENCE
    assert decide([judgement], 1, "A").rule == "one judgement, by the reference reviewer"
    assert decide([judgement, *said("approve")], 2, "A").rule == "all 2 agree, with the reference reviewer"
