"""Three answers, the strictest rule first, and what would decide."""

from flywheel import gate, statistics
from flywheel.gate import Answer


def comparison(n: int, baseline: int, candidate: int, majority: int) -> statistics.Comparison:
    """An exam of n where each was right on the first so many questions."""

    def right(count: int) -> list[bool]:
        return [i < count for i in range(n)]

    expected = ["Injury" if i < majority else f"other {i}" for i in range(n)]
    return statistics.compare(expected, "Injury", right(baseline), right(candidate))


def test_clearly_better_ships() -> None:
    decision = gate.decide(comparison(500, 0, 273, 72))
    assert decision.answer == Answer.SHIP
    assert [rule.answer for rule in decision.rules] == [Answer.SHIP, Answer.SHIP]
    assert decision.cases_needed is None
    assert "+40.2 points" in decision.rules[1].why or "+40.2 points" in decision.why


def test_better_than_the_base_is_not_enough_when_no_model_would_do_as_well() -> None:
    decision = gate.decide(comparison(500, 0, 60, 120))
    assert decision.answer == Answer.BLOCK
    assert decision.rules[0].name.startswith("better than always")
    assert decision.why.startswith("Not better: −12.0 points")


def test_undecided_says_how_many_more() -> None:
    decision = gate.decide(comparison(40, 10, 13, 4))
    assert decision.answer == Answer.MORE_DATA
    assert decision.answer.words == "not enough data"
    assert decision.cases_needed is not None
    assert decision.cases_needed > 0
    assert f"About {decision.cases_needed} more" in decision.why


def test_the_line_can_be_raised() -> None:
    seen = comparison(500, 250, 290, 50)
    assert gate.decide(seen).answer == Answer.SHIP
    assert gate.decide(seen, must_beat=0.07).answer == Answer.MORE_DATA
    assert gate.decide(seen, must_beat=0.2).answer == Answer.BLOCK


def test_equals_are_told_apart_by_no_number_of_cases() -> None:
    decision = gate.decide(comparison(100, 50, 50, 10))
    assert decision.answer == Answer.MORE_DATA
    assert decision.cases_needed is None
    assert "No affordable number" in decision.why


def test_points_are_written_with_their_sign() -> None:
    assert [gate.points(x) for x in (0.426, -0.031, 0.0, -0.0001)] == [
        "+42.6 points", "−3.1 points", "0.0 points", "0.0 points",
    ]  # fmt: skip
