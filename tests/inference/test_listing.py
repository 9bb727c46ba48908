"""What is read straight from an answer's bytes is what decoding them reads, whatever the bytes.

Run in the compiled copy alone (flywheel.local.compiled): elsewhere all is decoded.
"""

import re
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.store import sample
from inference import listing
from inference.surfaces import CHAT, carried, read
from tests.inference.recorded import PAIRS

pytestmark = pytest.mark.compiled
_BYTES = re.compile(rb',"bytes":(\[[0-9,]*\]|null)')
RECORDED = {
    f"{name}, {kind}": body
    for name, pair in PAIRS.items()
    if pair.path == CHAT.path
    for kind, body in (
        ("plain", pair.plain.body),
        ("captured", pair.captured.body),
        ("thin", _BYTES.sub(b"", pair.captured.body)),
    )
}
SHORT = RECORDED["chat_n2, captured"], RECORDED["chat_n2_streamed, captured"], RECORDED["chat_stop, thin"]
IDS = ("0", "7", "44", "2147483648", "999999999999999999")
ODD_IDS = (
    *(
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "1000000000000000000",
        "-1",
        "05",
    ),
    *("", "+1", "1.0", "1,2", "5 ", " 5", "0x1", "1_0", "\\u0035", "٤", '5\\"', "5\\\\", "5\x00", "5\\n"),
)
LOGPROBS = (
    *("-1.25", "-1.3192771673202515", "-1.1920928955078125e-07", "-9999.0", "-9998.9", "-0.0", "0.0", "1e-5"),
    *("-0.00012345678901234567", "1.0e-07", "-12345678.87654321", "9007199254740993.0", "0.1e-17", "-2.5"),
)
ODD_LOGPROBS = (
    *("1e5", "1E-5", "1e+5", "1e999", "-1e999", "0.1e-400", "1.5e-27", "1.5e-28", "0e-99", "1e-999999999999"),
    *("12345678901234567890.5", "1234567890123456789.5", "-9999", "0", "-0", "1", "null", "NaN", "-Infinity"),
    *(
        "",
        "-",
        ".5",
        "1.",
        "01.5",
        "-01.5",
        "1.5.5",
        "1.5e",
        "1.5e-",
        "--1.5",
        "+1.5",
        "1,5",
        '"1.5"',
        "[1.5]",
    ),
    *("0." + "0" * 30 + "1", "1." + "0" * 40, "9" * 20 + ".0", "-1.5 ", " -1.5", "true", "1.5\x00", "1_0.0"),
)
BYTES = ("", ',"bytes":null', ',"bytes":[]', ',"bytes":[0]', ',"bytes":[104,10,0,255]')
ODD_BYTES = (
    *(
        "[01]",
        "[1,]",
        "[,1]",
        "[1 ]",
        "[-1]",
        "[1.5]",
        "[[1]]",
        '["a"]',
        '"a"',
        "nul",
        "[1",
        "1",
        "{}",
        "[1}",
    ),
    *("[116,111,107,101,110,95,105,100,58,", "[116,111,107,101,110,95,105,100,58,]", "[00]", "[1]]"),
)
TEXTS = (
    *(
        "",
        "a",
        'quo"te',
        "\\",
        '\\"',
        "é漢😀",
        "\x1f",
        "[{",
        "}]",
        "]},",
        'a,"logprobs":{"content":[{"token":',
    ),
    *("data: {", "\n\n", "[DONE]", '"index":1,', "a" * 300),
)


def plainly(body: bytes, top_k: int) -> Any:
    return CHAT.read(carried(body, CHAT.form), top_k)


def outcome(way: Any, *given: Any) -> str:
    """What it gives, to the last bit of each number, or what it raises."""
    try:
        return repr(way(*given))
    except Exception as error:
        return repr(type(error))


def assert_same(body: bytes, top_k: int) -> None:
    assert outcome(read, "chat", body, top_k) == outcome(plainly, body, top_k)


def token(name: str, logprob: str, of_it: str) -> str:
    return f'{{"token":"token_id:{name}","logprob":{logprob}{of_it}'


def entries(ids: Any, logprobs: Any, of_it: Any) -> Any:
    return st.builds(token, ids, logprobs, of_it)


def contents(entry: Any, between: Any) -> Any:
    """The value of a choice's logprobs. ``between`` stands between one part and the next."""
    listed = st.lists(entry.map("{}}}".format), max_size=4).map(",".join)
    position = st.builds('{}{},"top_logprobs":[{}]}}'.format, entry, between, listed)
    several = st.lists(position, max_size=4).map(",".join)
    return st.builds('{{"content":[{}{}]}}'.format, several, between)


def choices(logprobs: Any, index: Any, between: Any) -> Any:
    said = st.sampled_from(TEXTS).map(lambda text: orjson.dumps({"content": text}).decode())
    ids = st.sampled_from(["null", "[]", "[7]", "[7,44]"])
    form = '{{"index":{},"{}":{},"logprobs":{}{},"finish_reason":null,"token_ids":{}}}'
    return st.builds(form.format, index, st.sampled_from(["message", "delta"]), said, logprobs, between, ids)


def answers(choice: Any, between: Any) -> Any:
    several = st.lists(choice, max_size=3).map(",".join)
    body = st.builds('{{"id":"a","choices":[{}]{},"usage":null}}'.format, several, between)
    events = st.lists(body, max_size=5).map(lambda found: "".join(f"data: {one}\n\n" for one in found))
    return (body | st.builds("{}{}".format, events, st.sampled_from(["", "data: [DONE]\n\n"]))).map(
        str.encode
    )


NOTHING = st.just("")
USUAL = entries(st.sampled_from(IDS), st.sampled_from(LOGPROBS), st.sampled_from(BYTES))
USUAL_LOGPROBS = st.just("null") | contents(USUAL, NOTHING)
USUAL_ANSWERS = answers(choices(USUAL_LOGPROBS, st.sampled_from(["0", "1", "12"]), NOTHING), NOTHING)
ODDLY = st.sampled_from(
    [
        *(
            "",
            "",
            "",
            "",
            " ",
            "\n",
            ",",
            "}",
            "]",
            '"',
            "\\",
            "{",
            "[",
            ',"x":1',
            ',"logprobs":null',
            "\r",
            "\x00",
        ),
        *(
            ',"index":1',
            ',"logprobs":{"content":[]}',
            ',"choices":[]',
            ',"choices":null',
            ',"l\\u006fgprobs":null',
        ),
        *(
            ',"logprobs":{"content":null}',
            ',"logprobs":{}',
            ',"logprobs":5',
            ',"logprobs" :null',
            "\n\ndata: {}",
        ),
        *(
            ',"top_logprobs":null',
            ',"content":[]',
            ',"token":"a"',
            ',"x":{"logprobs":{"content":[]}}',
            ',"x":"',
        ),
        ',"message":{"content":"b","logprobs":{"content":[{"token":"token_id:1","logprob":-0.5}]}}',
    ]
)
ODD = entries(
    st.sampled_from(IDS) | st.sampled_from(ODD_IDS),
    st.sampled_from(LOGPROBS) | st.sampled_from(ODD_LOGPROBS),
    st.sampled_from(BYTES) | st.sampled_from(ODD_BYTES).map(',"bytes":{}'.format),
)
ODD_INDEX = st.sampled_from(
    ["0", "0", "1", "null", "-1", "01", "1.0", '"1"', "1234567890", "[0]", "0 ", "0}", "{}"]
)
ODD_ANSWERS = answers(
    choices(USUAL_LOGPROBS | contents(ODD, NOTHING) | contents(USUAL, ODDLY), ODD_INDEX, ODDLY) | ODDLY, ODDLY
)


@given(USUAL_ANSWERS, st.integers(0, 5))
def test_an_answer_of_the_usual_layout_is_read_at_once_and_as_by_decoding(body: bytes, top_k: int) -> None:
    assert listing.read(body, top_k) is not None
    assert_same(body, top_k)


@given(ODD_ANSWERS, st.integers(0, 3))
def test_an_answer_of_another_layout_is_read_as_by_decoding(body: bytes, top_k: int) -> None:
    assert_same(body, top_k)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_answer_is_read_at_once(name: str) -> None:
    body = RECORDED[name]
    wishes = name.startswith("chat_logprobs") or (b'"token":"token_id:' not in body and b'"token":' in body)
    assert (listing.read(body, 5) is None) == wishes
    for top_k in (0, 1, 5, 6, 100):
        assert_same(body, top_k)


def test_long_answers_are_read_at_once() -> None:
    for _, body in sample.recorded():
        for one in (body, _BYTES.sub(b"", body)):
            assert listing.read(one, 5) is not None
            assert_same(one, 5)


@pytest.mark.parametrize("body", SHORT, ids=["body", "stream", "thin stream"])
def test_an_answer_that_is_cut_off_anywhere_is_read_as_by_decoding(body: bytes) -> None:
    for end in range(min(len(body), 6000)):
        assert_same(body[:end], 5)
    for end in range(max(0, len(body) - 1500), len(body)):
        assert_same(body[:end], 5)


@given(
    st.sampled_from(SHORT),
    st.lists(
        st.tuples(
            st.floats(0, 1),
            st.integers(0, 12),
            st.sampled_from([*map(str.encode, '\n\r\0\\ "[]{},:-.e01'), b"", b"null"])
            | st.binary(max_size=3),
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 6),
)
def test_a_broken_answer_is_read_as_by_decoding(
    body: bytes, changes: list[tuple[float, int, bytes]], top_k: int
) -> None:
    for where, gone, put in changes:
        at = int(where * len(body))
        body = body[:at] + put + body[at + gone :]
    assert_same(body, top_k)


@given(st.sampled_from(SHORT), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_an_answer_with_a_piece_of_itself_elsewhere_is_read_as_by_decoding(
    body: bytes, begin: float, end: float, to: float
) -> None:
    piece = body[int(begin * len(body)) :][: int(end * 400)]
    at = int(to * len(body))
    assert_same(body[:at] + piece + body[at:], 5)


def written(digits: int, scale: int) -> str:
    text = f"{digits:0{scale + 1}d}"
    return f"{text[:-scale]}.{text[-scale:]}" if scale else f"{text}.0"


NUMBERS = (
    st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.floats(-30, 0, width=32).map(repr)
    | st.from_regex(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,27})?(e-[0-9]{1,2})?", fullmatch=True)
    | st.builds(written, st.integers(0, 10**19 - 1), st.integers(0, 27))
    # Half-way between two doubles.
    | st.builds(
        lambda odd, scale: written((2 * odd + 1) * 5**scale, scale),
        st.integers(2**52, 2**53 - 1),
        st.integers(0, 3),
    )
    | st.builds(
        lambda odd, near: written((2 * odd + 1) * 2**9 + near, 0),
        st.integers(2**52, 2**53 - 1),
        st.integers(-1, 1),
    )
)


@given(st.lists(NUMBERS, min_size=1, max_size=20))
@example(["9007199254740993.0", "9007199254740995.0", "0.1", "1e-27", "0.000000000000000000000000001"])
@example(["9223372036854775808.0", "9999999999999999999.0", "1.7450580596923828125", "7450580596923828125.0"])
def test_numbers_are_exact(numbers: list[str]) -> None:
    one = '{{"token":"token_id:1","logprob":{},"top_logprobs":[]}}'.format
    content = ",".join(map(one, numbers))
    body = f'{{"choices":[{{"index":0,"logprobs":{{"content":[{content}]}}}}]}}'.encode()
    assert_same(body, 1)
    alone = {text: listing.read(body.replace(content.encode(), one(text).encode()), 1) for text in numbers}
    for text, found in alone.items():
        digits = re.sub(r"e.*|\D", "", text).lstrip("0")
        if found is None:
            assert len(digits) > 19 or "e" in text or "." not in text or len(text.partition(".")[2]) > 27
        else:
            expected = float(text) if float(text) > -9999 else float("-inf")
            assert repr(found.columns[0][1]) == repr([expected])


@pytest.mark.parametrize("width", [255, 256, 257, 2000])
def test_more_listed_than_there_is_room_for_are_decoded(width: int) -> None:
    listed = ",".join(f'{{"token":"token_id:{at}","logprob":-{at % 7}.5}}' for at in range(width))
    position = f'{{"token":"token_id:3","logprob":-2.5,"top_logprobs":[{listed}]}}'
    body = f'{{"choices":[{{"index":0,"logprobs":{{"content":[{position}]}}}}]}}'.encode()
    assert (listing.read(body, 5) is not None) == (width <= 256)
    for top_k in (0, 5, 300):
        assert_same(body, top_k)
    assert_same(
        body.replace(b'"token":"token_id:3","logprob":-2.5', b'"token":"token_id:9999","logprob":-0.25'), 300
    )


@pytest.mark.parametrize("nested", [100, 900, 5000])
@pytest.mark.parametrize(
    "of", ["[", '{"a":', '{"choices":[', '{"choices":[{"index":0,"logprobs":{"content":[']
)
def test_what_is_nested_deep_is_read_as_by_decoding(nested: int, of: str) -> None:
    body = (of * nested).encode()
    assert_same(b'{"x":' + body, 5)
    assert_same(b'{"choices":[' + body, 5)
    assert_same(b'{"x":' + b"[" * nested + b"]" * nested + b"}", 5)
