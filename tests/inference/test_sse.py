"""Event streams, however they are cut and whichever line ends they use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.sse import Splitter, StreamError, payload, payloads

EVENTS = st.lists(
    st.tuples(
        st.sampled_from([b"data: ", b"data:", b": ", b"event: x\ndata: "]),
        st.from_regex(rb"\A[a-z{}\": ]{0,30}\Z"),
    ),
    max_size=8,
)


@pytest.mark.slow
@given(EVENTS, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_cut_anywhere_the_events_are_the_same(
    events: list[tuple[bytes, bytes]], end: bytes, data: st.DataObject
) -> None:
    whole = [(kind + text).replace(b"\n", end) + end + end for kind, text in events]
    stream = b"".join(whole)
    splitter, found = Splitter(), []
    at = 0
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream) - at))
        found += splitter.feed(stream[at : at + step])
        at += step
    if end == b"\r":
        # The last blank line may yet turn out to be CRLF, so it waits.
        found += [splitter.rest] if splitter.rest else []
    assert found == whole
    for event, (kind, text) in zip(found, events, strict=True):
        expected = None if kind == b": " else text
        if expected is not None:
            expected = expected.removeprefix(b" ") if kind == b"data:" else expected
        assert payload(event) == expected


def test_several_data_lines_are_one_payload() -> None:
    assert payload(b"data: a\ndata: b\n\n") == b"a\nb"


def test_done_and_a_cut_off_event_are_no_payloads() -> None:
    assert list(payloads(b'data: {"a":1}\n\n: hello\n\ndata: [DONE]\n\ndata: {"cut')) == [b'{"a":1}']


def test_an_endless_event_is_no_stream() -> None:
    splitter = Splitter(limit=1000)
    with pytest.raises(StreamError, match="1000"):
        splitter.feed(b"x" * 1001)
