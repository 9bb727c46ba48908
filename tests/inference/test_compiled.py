"""Where the hot path is compiled, all of it is, and its searches in C find what those in Python find.

Run in the compiled copy alone (flywheel.local.compiled), with the tests of every module that is compiled.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flywheel.local import compiled
from inference import cutting, listing
from inference.cutting import Cut, Renaming
from tests.inference.recorded import PAIRS
from tests.inference.test_cutting import HOSTILE
from tests.inference.test_layouts import event

pytestmark = pytest.mark.compiled
MADE = Cut(
    b'data: {"id":"a","choices":[{"index":',
    b'data: {"id":"b","choices":[{"index":',
    b']},"finish_reason":null,"token_ids":[',
    b',"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n',
)
RENAMING = Renaming(b'data: {"id":"a","model":"m"', b'data: {"id":"a","model":"a longer name"')
LOGPROBS = b',"logprobs":{"content":['
PIECES = (
    *(
        MADE.head,
        MADE.tail,
        b"0",
        b',"delta":{}',
        b',"delta":{"content":"',
        b'"}',
        LOGPROBS,
    ),
    *(b"]}]}\n\n", b"]", b"{", b"}", b"7,8", b'"index":', b"x", b"\n", b"\r", b'"'),
    *(text.encode() for text in HOSTILE),
)
BYTES = st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=30).map(b"".join)
WHOLE = st.lists(
    st.tuples(
        st.sampled_from([b"0,", b"1,", b""]),
        st.sampled_from([b'"delta":{"content":"a"}', b'"delta":{}', b'"text":"{"', b""]),
        st.lists(st.sampled_from(PIECES), max_size=3).map(b"".join),
        st.sampled_from([b"7", b"7,8", b"", b"]"]),
    ),
    max_size=6,
).map(
    lambda events: b"".join(
        b"%b%b%b%b%b%b%b]}]}\n\n" % (MADE.head, index, delta, LOGPROBS, inner, MADE.tail, ids)
        for index, delta, inner, ids in events
    )
)
RENAMED = st.lists(
    st.sampled_from([RENAMING.head + b",", RENAMING.head, b"data: {", b""]).flatmap(
        lambda head: st.lists(
            st.sampled_from(
                [
                    *(b'"finish_reason":null', b'"finish_reason":"stop"', b'"finish_reason":"', b"}"),
                    *(b"\n", b"\n\n", b"\r", b'"content":"a"', b""),
                ]
            ),
            max_size=4,
        ).map(lambda inner: b"%b%b}\n\n" % (head, b",".join(inner)))
    ),
    max_size=6,
)


NEARLY = (b'],,"', b']}:"', b"]},1", b'1},"', b']},"')
PARTS = (
    *(b'"logprobs":{', b']},"finish_reason":', b'"logprobs":null', b'"logprobs":{]},"finish_reason":'),
    b'"logprobs":{"content":[{"bytes":[1]},{"bytes":[2]}]},"finish_reason":"stop"',
    *(
        b'"token_ids":[]',
        b'"token_ids":[7,8]',
        b'"prompt_token_ids":[1]',
        b'"token_ids":null',
        b'"logprobs":1',
    ),
    *(
        b'token_ids":[',
        b'"xprompt_token_ids":[1]',
        b'stop_token_ids":[1]',
        b'"token_ids":[1 ]',
        b'"token_ids":1]',
    ),
    *(b'"index":', b"x", b"]}", b"]", b",", b'"', b"nul", b"1" * 70, b'{"a":[1]},' * 9),
)
ANSWERS = st.lists(st.sampled_from(PARTS + NEARLY) | st.binary(max_size=4), max_size=12).map(b"".join)


@contextmanager
def in_python() -> Iterator[None]:
    """Without the searches in C."""
    kept, cutting._COMPILED = cutting._COMPILED, None
    try:
        yield
    finally:
        cutting._COMPILED = kept


def test_every_module_that_is_named_is_compiled() -> None:
    for module in (*compiled.modules(), *compiled.written()):
        made = importlib.import_module(".".join(module.with_suffix("").parts))
        assert str(made.__file__).endswith(".so"), made
    assert cutting._COMPILED is not None
    assert listing._COMPILED is not None


@given(WHOLE | BYTES, st.integers(0, 40), st.booleans())
def test_both_searches_take_the_same_events(data: bytes, at: int, keeps_empty: bool) -> None:
    found: list[bytes] = []
    expected: list[bytes] = []
    stopped = MADE.take(data, at, found, keeps_empty=keeps_empty)
    with in_python():
        assert MADE.take(data, at, expected, keeps_empty=keeps_empty) == stopped
    assert b"".join(found) == b"".join(expected)


@given(RENAMED | st.lists(st.binary(max_size=6)), st.integers(0, 3))
@example([RENAMING.head + b',"finish_reason":null}\n\n'] * 600, 0)
def test_both_rename_the_same_events(events: list[bytes], at: int) -> None:
    found: list[bytes] = []
    expected: list[bytes] = []
    data = b"".join(events)
    stopped = RENAMING.take(data, min(at, len(data)), found)
    with in_python():
        assert RENAMING.take(data, min(at, len(data)), expected) == stopped
    assert b"".join(found) == b"".join(expected)


@given(st.lists(WHOLE | BYTES, max_size=6) | RENAMED, st.integers(0, 7), st.sampled_from([MADE, RENAMING]))
@example([MADE.head + b'0,"delta":{"content":"a"}' + LOGPROBS + MADE.tail + b"7]}]}\n\n"] * 600, 0, MADE)
@example([b"".join([RENAMING.head + b',"finish_reason":null}\n\n'] * 300)] * 3, 0, RENAMING)
def test_both_take_the_same_pieces(parts: list[bytes], at: int, layout: Cut | Renaming) -> None:
    found: list[bytes] = []
    expected: list[bytes] = []
    stopped = layout.take_all(parts, at, found)
    with in_python():
        wanted = layout.take_all(parts, at, expected)
    # In C a piece of very many events is left to who takes them one after the other.
    assert stopped == wanted or (stopped < wanted and parts[stopped].count(b"\n\n") > 100)
    if stopped == wanted:
        assert b"".join(found) == b"".join(expected)


@given(
    BYTES | WHOLE | st.lists(st.sampled_from((*NEARLY, b"1", b"1" * 70))).map(b"".join),
    *[st.integers(0, 30)] * 2,
)
@example(b']},"', 0, 0)
def test_both_searches_find_the_same_end_of_logprobs(data: bytes, begin: int, less: int) -> None:
    end = max(len(data) - less, 0)
    found = cutting._end(data, begin, end)
    with in_python():
        assert cutting._end(data, begin, end) == found


@pytest.mark.parametrize("place", NEARLY)
@pytest.mark.parametrize("behind", [0, 1, 70, 200])
def test_what_is_nearly_an_end_is_none(place: bytes, behind: int) -> None:
    """Also where many places are looked at together."""
    data = place + b"1" * behind
    with in_python():
        found = cutting._end(data, 0, len(data))
    assert cutting._end(data, 0, len(data)) == found == (0 if place == NEARLY[-1] else -1)


@pytest.mark.parametrize("cut", [cutting.without_logprobs, cutting.without_ids])
@given(ANSWERS)
@example(b'"token_ids":[]' * 500)
@example(b'"logprobs":{]},"finish_reason":' * 500)
@example(b'"prompt_token_ids":[1]')
@example(b'"token_ids":1]')
@example(b"")
def test_both_cut_the_same_out_of_an_answer(cut: Callable[[bytes], bytes | None], answer: bytes) -> None:
    found = cut(answer)
    with in_python():
        assert cut(answer) == found


@pytest.mark.parametrize("cut", [cutting.without_logprobs, cutting.without_ids])
def test_both_cut_the_same_out_of_recorded_answers(cut: Callable[[bytes], bytes | None]) -> None:
    bodies = [pair.captured.body for pair in PAIRS.values()]
    found = [cut(body) for body in bodies]
    assert sum(made not in (None, body) for made, body in zip(found, bodies, strict=True)) > 20
    with in_python():
        assert [cut(body) for body in bodies] == found


def test_a_real_event_is_taken_by_both() -> None:
    """Otherwise the two above might only ever agree on nothing."""
    data = event()
    tail = data[data.rindex(b"]},") : data.rindex(b"7]")]
    begin = data.index(b'"index":') + len(b'"index":')
    made = Cut(data[:begin], data[:begin], tail, b"~")
    found: list[bytes] = []
    assert made.take(data * 3, 0, found) == 3 * len(data)
    assert b"".join(found).count(b"~") == 3
    expected: list[bytes] = []
    with in_python():
        assert made.take(data * 3, 0, expected) == 3 * len(data)
    assert b"".join(found) == b"".join(expected)
