"""The demonstration's chapters and their codes."""

import pytest

from flywheel.local import coding


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_codes_are_those_that_the_tabular_list_names() -> None:
    import simple_icd_10_cm  # noqa: PLC0415  (it reads its files the old way, and warns)

    for number in coding.LABELS:
        heading = simple_icd_10_cm.get_description(str(number))
        heading = heading.replace("QA0", "Q99")  # new in 2026
        assert heading.endswith(f"({coding.CODES[number].replace('–', '-')})"), heading
