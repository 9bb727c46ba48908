"""Where the hot path is compiled, all of it is, and its searches in C find what those in Python find.

Run in the compiled copy alone (flywheel.local.compiled), with the tests of every module that is compiled.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.local import compiled
from inference import cutting, listing
from inference.cutting import Cut
from tests.inference.test_cutting import HOSTILE
from tests.inference.test_layouts import event

pytestmark = pytest.mark.compiled
MADE = Cut(
    b'data: {"id":"a","choices":[{"index":',
    b'data: {"id":"b","choices":[{"index":',
    b']},"finish_reason":null,"token_ids":[',
    b',"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n',
)
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
    assert found == expected


@given(BYTES | WHOLE, st.integers(0, 30), st.integers(0, 30))
def test_both_searches_find_the_same_end_of_logprobs(data: bytes, begin: int, less: int) -> None:
    end = max(len(data) - less, 0)
    found = cutting._end(data, begin, end)
    with in_python():
        assert cutting._end(data, begin, end) == found


def test_a_real_event_is_taken_by_both() -> None:
    """Otherwise the two above might only ever agree on nothing."""
    data = event()
    tail = data[data.rindex(b"]},") : data.rindex(b"7]")]
    begin = data.index(b'"index":') + len(b'"index":')
    made = Cut(data[:begin], data[:begin], tail, b"-")
    found: list[bytes] = []
    assert made.take(data * 3, 0, found) == 3 * len(data)
    assert len(found) == 9
    with in_python():
        assert made.take(data * 3, 0, found) == 3 * len(data)
    assert found[:9] == found[9:]
