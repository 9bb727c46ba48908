"""Tokens become pieces that people can read, in five classes."""

import math

import pytest

from inference import heatmap
from inference.heatmap import HeatMap, paint
from inference.vocabulary import Vocabulary
from tests.inference import tiny

KNOWN = Vocabulary(tiny.tokenizer_json())
IDS = tiny.tokenizer()


def painted(text: str, probability: float = 0.95) -> HeatMap:
    ids = IDS.encode(text).ids
    return paint(tiny.tokens(ids, [probability] * len(ids), [[(i, probability)] for i in ids]), KNOWN)


def read(heat: HeatMap) -> str:
    """The text as the template lays it out."""
    return "".join(piece.lead + "".join(s.text or s.code for s in piece.segments) for piece in heat.pieces)


@pytest.mark.parametrize(
    "text", ["wheezing after exercise", "two  spaces\n\nand\tmore ", "naïve ☃ 𝄞 中文 👩‍⚕️ é"]
)
def test_the_pieces_read_and_copy_as_the_text(text: str) -> None:
    assert read(painted(text)) == text


def test_a_character_of_several_tokens_is_one_piece_with_its_parts() -> None:
    heat = painted("☃", 0.5)
    assert len(IDS.encode("☃").ids) == 3
    (piece,) = heat.pieces
    assert piece.text == "☃"
    assert piece.probability == pytest.approx(0.125)
    assert [part.text for part in piece.alternatives] == [
        "part of a character (E2)",
        "part of a character (98)",
        "part of a character (83)",
    ]


def test_a_combining_mark_joins_the_letter_before_it() -> None:
    heat = painted("e\u0301")
    assert [piece.text for piece in heat.pieces] == ["e\u0301"]


def test_an_unfinished_character_is_shown_and_not_lost() -> None:
    ids = IDS.encode("a☃").ids[:-1]
    heat = paint(tiny.tokens(ids, [0.9] * 3, [[]] * 3), KNOWN)
    assert [piece.text for piece in heat.pieces] == ["a", "\ufffd"]


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        (1.0, "h0"),
        (0.9, "h0"),
        (0.89, "h1"),
        (0.7, "h1"),
        (0.69, "h2"),
        (0.5, "h2"),
        (0.49, "h3"),
        (0.19, "h4"),
        (0, "h4"),
    ],
)
def test_five_classes_by_probability(probability: float, expected: str) -> None:
    assert heatmap.heat(probability) == expected


def test_a_sampled_token_outside_the_top_is_ranked_by_words_and_drawn_in_order() -> None:
    a, b, c = (IDS.encode(letter).ids[0] for letter in "abc")
    (piece,) = paint(tiny.tokens([c], [0.1], [[(a, 0.5), (b, 0.3)]]), KNOWN).pieces
    assert piece.rank is None
    assert [(x.text, x.chosen) for x in piece.alternatives] == [("a", False), ("b", False), ("c", True)]
    assert piece.rest == pytest.approx(0.1)
    assert piece.margin == pytest.approx(0.2)
    assert piece.runner_up is not None
    assert piece.runner_up.text == "a"


def test_entropy_counts_the_rest_as_one_lump() -> None:
    assert heatmap.entropy([0.5, 0.25]) == pytest.approx(1.5)
    assert heatmap.entropy([1.0]) == 0


def test_the_whole_answer_is_the_product_of_all_tokens_even_beyond_the_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heatmap, "WINDOW", 2)
    ids = IDS.encode("abcd").ids
    heat = paint(tiny.tokens(ids, [0.5] * 4, [[]] * 4), KNOWN, start=2)
    assert len(heat.pieces) == 2
    assert heat.probability == pytest.approx(0.0625)
    assert (heat.first, heat.last, heat.earlier, heat.later) == (3, 4, 0, None)


def test_the_end_is_a_named_piece_with_its_chance() -> None:
    end = tiny.special_id("<|im_end|>")
    heat = paint(tiny.tokens([*IDS.encode("a").ids, end], [0.9, 0.3], [[], []]), KNOWN)
    assert heat.pieces[-1].special == "end"
    assert heat.pieces[-1].heat == "h3"


def test_control_and_bidi_characters_are_named_not_shown() -> None:
    assert [s.code for s in heatmap.segments("a\u202eb\x07") if s.code] == ["U+202E", "U+0007"]
    assert "\u202e" not in read(painted("safe \u202e evil"))


def test_a_zero_chance_as_the_wire_writes_it_is_no_error() -> None:
    (piece,) = paint(tiny.tokens(IDS.encode("a").ids, [0.0], [[]]), KNOWN).pieces
    assert piece.probability == 0
    assert math.isfinite(piece.entropy)


def test_without_the_tokenizer_pieces_are_numbers_and_it_says_so() -> None:
    heat = paint(tiny.tokens([7, 8], [0.9, 0.4], [[(7, 0.9)], [(8, 0.4)]]), None)
    assert [piece.visible for piece in heat.pieces] == ["#7", "#8"]
    assert not heat.known


def test_only_engineers_get_ids_and_logprobs() -> None:
    tokens = tiny.tokens([IDS.encode("a").ids[0]], [0.9], [[]])
    assert "lp" not in paint(tokens, KNOWN).data["pieces"][0]
    assert paint(tokens, KNOWN, details=True).data["pieces"][0]["ids"] == tokens.ids


def test_pieces_standing_alone_show_what_is_invisible() -> None:
    assert heatmap.visible(" resp") == "resp"
    assert heatmap.visible("\n\n") == "↵↵"
    assert heatmap.visible(" ") == "·"
