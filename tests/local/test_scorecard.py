"""What a turn of the wheel prints at its end."""

import json

from flywheel.local.scorecard import Scorecard
from flywheel.statistics import compare


def card() -> Scorecard:
    expected = ["Injury" if n % 7 == 0 else "Ear" for n in range(100)]
    found = Scorecard(exchanges=240, decision="ship", adapter="icd-12345678", weights="12" * 32)
    found.comparison = compare(expected, "Injury", [False] * 100, [n < 60 for n in range(100)])
    found.seconds = {"traffic": 12.34, "training": 100.0}
    return found


def test_the_table_has_all_three_with_intervals_and_the_time_of_each_stage() -> None:
    table = card().table()
    assert "base model" in table
    assert "always “Injury”" in table
    assert " 60.0 %   50.2–69.1" in table
    assert "240 answered, 0 lost" in table
    assert "112.3 s" in table


def test_the_last_line_is_for_programs() -> None:
    line = card().json_line()
    assert "\n" not in line
    result = json.loads(line)
    assert (result["base_accuracy"], result["adapter_accuracy"], result["n"]) == (0.0, 0.6, 100)
    assert result["p_value"] < 1e-10
    assert result["exchanges_lost"] == 0
    assert result["seconds"] == {"traffic": 12.3, "training": 100.0}
