"""Which columns a reader chose, in one text form, and what stands in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import columns
from inference.columns import ALL, USUAL
from inference.filters import NAMES

names = st.lists(st.sampled_from([column.name for column in ALL]), unique=True)


@given(names)
def test_a_choice_comes_back_from_its_text(given: list[str]) -> None:
    found = columns.chosen(given)
    assert columns.chosen([columns.text(found)]) == found
    assert {column.name for column in found} == set(given or USUAL)


@pytest.mark.parametrize("given", [[], [""], ["nonsense"], ["nonsense,<b>"], [",".join(USUAL)]])
def test_none_and_what_there_is_not_give_the_usual_ones(given: list[str]) -> None:
    found = columns.chosen(given)
    assert tuple(column.name for column in found) == USUAL
    assert columns.text(found) == ""


def test_boxes_of_a_form_and_a_text_are_one() -> None:
    assert columns.chosen(["cost", "user"]) == columns.chosen(["user,cost"])
    assert columns.text(columns.chosen(["user", "cost"])) == "cost,user"


def test_what_a_value_narrows_to_is_a_name_of_filters() -> None:
    assert {column.narrows for column in ALL if column.kind == "name"} <= set(NAMES)
