"""The top k of each position are those that a plain reading gives, however the engine lists them."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import ranking
from inference.ranking import Wire
from inference.surfaces import NAMED, carried
from tests.inference.recorded import PAIRS

ids = st.integers(0, 9)
logprobs = st.sampled_from([0.0, -0.5, -1.0, -2.0, -math.inf])
ODD = (
    *("token_id:", "token_id:-1", "token_id:1.0", "token_id:1,2", "token_id:1;token_id:2", "token_id:007"),
    *("token_id: 5", "token_id:١", " a", "", "[", "token_id:1]", "token_id:null"),
)
names = st.one_of(ids.map("token_id:{}".format), st.sampled_from(ODD))


@st.composite
def wires(draw: st.DrawFn) -> Wire:
    """As engines list: mostly the sampled token first, then as many others, the likeliest first; or not."""
    made, fixed = Wire(), draw(st.one_of(st.none(), st.integers(1, 6)))
    name = draw(st.sampled_from([ids.map("token_id:{}".format), names]))
    for _ in range(draw(st.integers(0, 6))):
        width = draw(st.integers(0, 6)) if fixed is None else fixed
        listed = [(draw(name), draw(logprobs)) for _ in range(width)]
        token = draw(name), draw(logprobs)
        if width and draw(st.booleans()):
            listed = [token, *sorted(listed[1:], key=lambda one: -one[1])]
        made.names.append(token[0])
        made.sampled.append(token[1])
        made.widths.append(width)
        made.listed += [one for one, _ in listed]
        made.logprobs += [one for _, one in listed]
    return made


def plainly(wire: Wire, sampled: Sequence[int | None], top_k: int) -> list[list[tuple[int, float]]]:
    """Position after position."""
    found: list[list[tuple[int, float]]] = []
    begin = 0
    for token, logprob, width in zip(sampled, wire.sampled, wire.widths, strict=True):
        listed = list(zip(wire.listed, wire.logprobs, strict=True))[begin : begin + width]
        begin += width
        known = [(ranking.numbers([name])[0], value) for name, value in listed]
        if token is None or any(one is None for one, _ in known):
            found.append([])
            continue
        entries = [(one, value) for one, value in known if one is not None and one != token]
        if not entries or logprob >= min(value for _, value in entries):
            entries = [(token, logprob), *entries]
        found.append(sorted(entries, key=lambda entry: -entry[1])[:top_k])
    return found


@given(wires(), st.integers(0, 7))
def test_ranks_are_those_of_a_plain_reading(wire: Wire, top_k: int) -> None:
    sampled = ranking.numbers(wire.names)
    tops, values, offsets = ranking.rank(wire, sampled, top_k)
    assert (len(tops), len(offsets)) == (len(values), len(wire.names) + 1)
    cut = [list(zip(tops[begin:end], values[begin:end], strict=True)) for begin, end in pairwise(offsets)]
    assert cut == plainly(wire, sampled, top_k)


@given(st.lists(names, max_size=5))
def test_numbers_are_those_of_each_name(some: list[str]) -> None:
    assert list(ranking.numbers(some)) == [ranking.numbers([one])[0] for one in some]


def test_only_whole_numbers_are_ids() -> None:
    assert ranking.numbers(["token_id:5"]) == [5]
    assert [ranking.numbers([name])[0] for name in ODD] == [*(None,) * 5, 7, None, 1, *(None,) * 5]


@pytest.mark.parametrize("name", sorted(name for name, pair in PAIRS.items() if "completions" in pair.path))
def test_what_is_decoded_by_its_form_reads_as_all_of_it_does(name: str) -> None:
    pair = PAIRS[name]
    surface = NAMED["chat" if "chat" in pair.path else "completions"]
    assert surface.form is not None
    by_form = carried(pair.captured.body, surface.form)
    if pair.captured.status == 200:
        assert b'"bytes"' not in orjson.dumps(by_form, default=lambda one: None)
    assert asdict(surface.read(by_form, 5)) == asdict(surface.read(carried(pair.captured.body), 5))


EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"logprobs":{"content":[%s]}}]}\n\n'
TOKEN = b'{"token":"token_id:7","logprob":-0.5,"top_logprobs":[{"token":"token_id:7","logprob":-0.5}]}'


@pytest.mark.parametrize("odd", [
    b"data: {oops\n\n",
    b"data: 5\n\n",
    b'data: {"a":1},{"b":2}\n\n',
    b'data: {"choices":[{"index":0\n\ndata: }]}\n\n',
    b'data: {"usage":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n\n",
    b"data: null\n\n",
    b'data: {"x":"\xff"}\n\n',
])  # fmt: skip
def test_what_is_of_no_form_costs_itself_and_nothing_else(odd: bytes) -> None:
    chat = NAMED["chat"]
    answer = chat.read(carried(EVENT % TOKEN + odd + EVENT % TOKEN, chat.form), 5)
    assert answer.choices[0].text == "aa"
    assert (answer.tokens[0].ids, answer.tokens[0].top_ids) == ([7, 7], [7, 7])


@pytest.mark.parametrize(
    "token", [b'{"logprob":-0.5}', b'{"token":5,"logprob":-0.5}', b'{"token":"a","logprob":"b"}', b"3"]
)
def test_logprobs_that_are_none_are_refused(token: bytes) -> None:
    chat = NAMED["chat"]
    with pytest.raises(ValueError, match=r"Expected|Object"):
        chat.read(carried(EVENT % token, chat.form), 5)
