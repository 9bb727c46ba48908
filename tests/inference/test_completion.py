"""Where in a line a completion goes, and that what it puts there is understood."""

import pytest

from inference import completion, filters
from inference.completion import Place, place


@pytest.mark.parametrize(
    ("line", "at", "where"),
    [
        ("", 0, Place(0, 0, "", "")),
        ("rou", 3, Place(0, 3, "", "rou")),
        ("route:", 6, Place(6, 6, "route", "")),
        ("end:stop route:ic since:7d", 17, Place(15, 17, "route", "ic")),
        ("route:a,bc", 10, Place(8, 10, "route", "bc")),
        ("route:abc", 7, Place(6, 9, "route", "a")),
        ('"chest pa', 9, None),
        ('key:"coding desk" ro', 20, Place(18, 20, "", "ro")),
        ("x", 99, Place(0, 1, "", "x")),
        ("a -rou", 6, Place(3, 6, "", "rou")),
        ("a -route:ic", 11, Place(9, 11, "route", "ic")),
        ("-", 1, Place(1, 1, "", "")),
    ],
)
def test_the_place_of_a_completion(line: str, at: int, where: Place | None) -> None:
    assert place(line, at) == where


def test_every_name_offered_is_one_that_filters_know() -> None:
    known = {*filters.NAMES, *filters.WORDS, *filters.NUMBERS, *filters.TIMES, *filters.ALIASES, "tag"}
    offered = [option.text.removesuffix(":") for option in completion.options(Place(0, 0, "", ""))]
    assert set(offered) <= known
    assert offered[0] == "route"


def offered(name: str, beginning: str) -> list[str]:
    return [one.text for one in completion.options(Place(0, 0, name, beginning))]


def test_words_and_times_need_no_store() -> None:
    assert offered("feedback", "co") == ["comment", "correction"]
    assert offered("label", "app") == ["approved"]
    assert offered("since", "2") == ["24h"]
    assert offered("least_p", "") == offered("nonsense", "") == []
