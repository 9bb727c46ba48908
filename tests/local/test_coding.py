"""The coding desk's phrases: clinical, unambiguous, and never split apart from their siblings."""

from collections import Counter

import pytest

from flywheel.local import coding

# Reading the whole tabular list takes seconds.
pytestmark = pytest.mark.slow


def test_21_labels_each_with_phrases_enough_for_an_exam() -> None:
    counts = Counter(phrase.label for phrase in coding.phrases())
    assert set(counts) == set(coding.LABELS.values())
    assert len(counts) == 21
    assert min(counts.values()) > 50


def test_phrases_are_short_and_each_stands_once() -> None:
    texts = [phrase.text for phrase in coding.phrases()]
    assert len({text.casefold() for text in texts}) == len(texts) > 10_000
    assert all(4 <= len(text) <= coding.MAX_LENGTH for text in texts)
    assert not [text for text in texts if "encounter" in text or "unspecified" in text.lower()]


def test_known_answers() -> None:
    key = coding.answer_key()
    assert key["sciatica"] == "Musculoskeletal"
    assert key["congenital cataract"] == "Congenital"
    assert key["wheezing"] == "Symptoms"


@pytest.mark.parametrize(
    ("entry", "phrase"),
    [
        ("Fracture of nasal bones, initial encounter for closed fracture", "Fracture of nasal bones"),
        ("Keratoconus, stable, right eye", "Keratoconus, stable"),
        ("Burn of second degree of left forearm", "Burn of second degree of forearm"),
        ("Other disorders of pituitary gland", ""),
        ("Conditions in J45", ""),
        ("Anemia, unspecified", ""),
        ("x" * 61, ""),
    ],
)
def test_visit_side_and_noise_are_cut_off(entry: str, phrase: str) -> None:
    assert coding.clean(entry) == phrase


def test_draws_are_the_same_each_time_and_grow_without_repeating() -> None:
    assert coding.draw(50, seed=3) == coding.draw(80, seed=3)[:50]
    assert coding.draw(50, seed=3) != coding.draw(50, seed=4)
    with pytest.raises(ValueError, match="asked for"):
        coding.draw(10**6)


def test_the_most_frequent_answer_is_not_enough() -> None:
    counts = Counter(phrase.label for phrase in coding.draw(1000))
    assert 0.10 < counts.most_common(1)[0][1] / 1000 < 0.25


def test_no_category_lies_on_both_sides_of_a_split() -> None:
    train, exam = coding.split(coding.phrases(), exam_share=0.3)
    assert not {phrase.category for phrase in train} & {phrase.category for phrase in exam}
    assert 0.2 < len(exam) / (len(exam) + len(train)) < 0.4
