"""What is read straight from an answer's bytes is what decoding them reads, whatever the bytes.

Run in the compiled copy alone (flywheel.local.compiled): elsewhere all is decoded. Short answers are changed
at every place in every way that is listed here; longer ones at random.
"""

import random
import re
from collections.abc import Callable, Iterator
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
CUT = RECORDED["chat_n2, captured"], RECORDED["chat_n2_streamed, captured"], RECORDED["chat_stop, thin"]
words = str.split
IDS = words("0 7 44 2147483648 999999999999999999")
ODD_IDS = [
    *words(
        "9223372036854775807 9223372036854775808 18446744073709551616 1000000000000000000 -1 05 00 +1 1.0 1,2"
    ),
    *words('0x1 1_0 \\u0035 ٤ 5\\" 5\\\\ 5\x00 5\\n 5\x7f / : 5"}'),
    *("", "5 ", " 5"),
]
LOGPROBS = [
    *words("-1.25 -1.3192771673202515 -1.1920928955078125e-07 -9999.0 -9998.9 -9999.1 -0.0 0.0 1e-5 -2.5"),
    *words("-0.00012345678901234567 1.0e-07 -12345678.87654321 9007199254740993.0 0.1e-17 -0.5 -0.25"),
]
ODD_LOGPROBS = [
    *words("1e5 1E-5 1e+5 1e999 -1e999 0.1e-400 1.5e-27 1.5e-28 0e-99 1e-999999999999 -9999 0 -0 1 null NaN"),
    *words("12345678901234567890.5 1234567890123456789.5 9223372036854775808.0 -Infinity - .5 1. 1.e-5 01.5"),
    *words("-01.5 00.5 1.5.5 1.5e 1.5e- 1.5e-a --1.5 +1.5 1,5 [1.5] true 1_0.0 0.1234567/ 0.1234567: 1/ 1.:"),
    *words('"1.5" 1.5\x00'),
    *("", "-1.5 ", " -1.5", "0." + "0" * 30 + "1", "1." + "0" * 40, "9" * 20 + ".0", "1" * 400),
]
BYTES = ["", ',"bytes":null', ',"bytes":[]', ',"bytes":[0]', ',"bytes":[104,10,0,255]']
PREFIX = "[116,111,107,101,110,95,105,100,58,"
ODD_BYTES = [
    *words('[01] [1,] [,1] [-1] [1.5] [[1]] ["a"] "a" nul [1 1 {} [1} [00] [1]] [1;2] [/] [:] [1/2]'),
    *(PREFIX, f"{PREFIX}]", f"{PREFIX}01]", f"{PREFIX}1,]", "[1 ]", "[1\x0b]"),
]
TEXTS = [
    *("", "a", 'quo"te', "\\", '\\"', "é漢😀", "\x1f", "[{", "}]", "]},", 'a,"logprobs":{"content":[{"'),
    *("data: {", "\n\n", "[DONE]", '"index":1,', "a" * 300),
]


def plainly(body: bytes, top_k: int) -> Any:
    return CHAT.read(carried(body, CHAT.form), top_k)


def outcome(way: Callable[..., Any], *given: Any) -> str:
    """What it gives, to the last bit of each number, or what it raises."""
    try:
        return repr(way(*given))
    except Exception as error:
        return repr(type(error))


def assert_same(body: bytes, top_k: int = 1) -> None:
    assert outcome(read, "chat", body, top_k) == outcome(plainly, body, top_k), body


def token(name: str, logprob: str, of_it: str) -> str:
    return f'{{"token":"token_id:{name}","logprob":{logprob}{of_it}'


def contents() -> st.SearchStrategy[str]:
    """The value of a choice's logprobs."""
    entry = st.builds(token, *map(st.sampled_from, (IDS, LOGPROBS, BYTES)))
    listed = st.lists(entry.map("{}}}".format), max_size=4).map(",".join)
    position = st.builds('{},"top_logprobs":[{}]}}'.format, entry, listed)
    return st.lists(position, max_size=4).map(",".join).map('{{"content":[{}]}}'.format)


def choices() -> st.SearchStrategy[str]:
    said = st.sampled_from(TEXTS).map(lambda text: orjson.dumps({"content": text}).decode())
    form = '{{"index":{},"{}":{},"logprobs":{},"finish_reason":null,"token_ids":{}}}'
    named = map(st.sampled_from, (["0", "1", "12"], ["message", "delta"]))
    ids = st.sampled_from(["null", "[]", "[7]", "[7,44]"])
    return st.builds(form.format, *named, said, st.just("null") | contents(), ids)


def answers() -> st.SearchStrategy[bytes]:
    several = st.lists(choices(), max_size=3).map(",".join)
    body = several.map('{{"id":"a","choices":[{}],"usage":null}}'.format)
    events = st.lists(body, min_size=1, max_size=5).map(
        lambda found: "".join(f"data: {one}\n\n" for one in found)
    )
    stream = st.builds("{}{}".format, events, st.sampled_from(["", "data: [DONE]\n\n", "data: {"]))
    return (body | stream).map(str.encode)


@given(answers(), st.integers(0, 5))
def test_an_answer_of_the_usual_layout_is_read_at_once_and_as_by_decoding(body: bytes, top_k: int) -> None:
    assert CHAT.read_at_once(body, top_k) is not None
    assert_same(body, top_k)


POSITION = (
    '{"token":"token_id:7","logprob":-1.25,"bytes":[104],"top_logprobs":[{"token":"token_id:44","logprob":-0.5,'
    '"bytes":[116,111,107,101,110,95,105,100,58,52,52]},{"token":"token_id:7","logprob":-1.25,"bytes":null}]}'
)
THIN = '{"token":"token_id:0","logprob":-0.0,"top_logprobs":[]}'
CHOICE = (
    f'{{"index":0,"message":{{"content":"a\\"}}"}},"logprobs":{{"content":[{POSITION},{THIN}]}},"x":[7]}}'
)
BODY = f'{{"id":"a","choices":[{CHOICE},{{"index":1,"logprobs":{{"content":[{THIN}]}}}}],"usage":null}}'
EVENT = f'data: {{"choices":[{{"index":0,"delta":{{"content":"b"}},"logprobs":{{"content":[{THIN}]}}}}]}}\n\n'
STREAM = EVENT + 'data: {"choices":[],"usage":{"completion_tokens":1}}\n\ndata: [DONE]\n\n'
MEMBERS = f"""
"index":1
"index":null
"index" :1
"\\u0069ndex":1
"logprobs":null
"logprobs" :null
"l\\u006fgprobs":null
"logprobs":{{}}
"logprobs":5
"logprobs":{{"content":[]}}
"logprobs":{{"content":null}}
"logprobs":{{"content":[{THIN}]}}
"choices":[]
"choices":null
"choices"\t:[]
"choices":[{{"index":0,"logprobs":{{"content":[{THIN}]}}}}]
"message":{{"logprobs":{{"content":[{THIN}]}}}}
"x":[{{"index":0,"logprobs":{{"content":[{THIN}]}}}}]
"x":{{"y":[[{{"index":0,"logprobs":5}}]]}}
"x":"\\\\"
"token":"a"
"bytes":[]
"logprob":null
"top_logprobs":null
"content":[]
""".strip().split("\n")
PUT = [
    *(put for member in MEMBERS for put in (f",{member}", f"{member},")),
    *' \n\r\t\0\\"[]{},-.01a',
    *("\n\n", "\r\n", "\n\ndata: ", "\n\ndata: {}\n\n", "data: ", "\r\r", "{},", "[],", "\\\\"),
]


def changed(text: str) -> Iterator[str]:
    """At every place, everything put before it, or in the place of some of what follows."""
    for at in range(len(text) + 1):
        for put in PUT:
            yield text[:at] + put + text[at:]
        for gone in (1, 2, 5):
            yield text[:at] + text[at + gone :]
        for put in ' \n\0\\"]},:-.0a':
            yield text[:at] + put + text[at + 1 :]


@pytest.mark.parametrize("text", [BODY, STREAM])
def test_an_answer_that_is_changed_anywhere_is_read_as_by_decoding(text: str) -> None:
    assert CHAT.read_at_once(text.encode(), 1) is not None
    for one in changed(text):
        assert_same(one.encode())


@pytest.mark.parametrize("before", ["", " ", "\n", "\n\n", "data: ", "d", "{}", "\0", ": ping\n\n", " " * 70])
def test_what_stands_before_and_after_is_read_as_by_decoding(before: str) -> None:
    for text in (BODY, STREAM, EVENT * 3, "", "{}", "data: ", "data: \n\n", "data: {}\n\n", "data: 1\n\n"):
        for after in ("", " ", "\n", "\n\n", "\r\n", "\0", "x", "{}", "data: {}\n\n", "data: {}", " \t\r\n "):
            assert_same(f"{before}{text}{after}".encode())


@pytest.mark.parametrize(
    ("before", "puts"),
    [
        ("token_id:", ODD_IDS),
        ('"logprob":', [*ODD_LOGPROBS, *LOGPROBS]),
        ('"bytes":', ODD_BYTES),
        ('"index":', ["1.0", "01", "-1", '"1"', "1234567890", "123456789", "[0]", "0}", "null", "0 ", "1e1"]),
        ('"content":', ["null", "[]", "{}", '""', "[null]", "[{}]", "[[]]"]),
        ('"top_logprobs":', ["null", "{}", "[null]", "[[]]"]),
        ('"choices":', ["{}", "null", "nul", '"a"', "5", "[null]", "[[]]", '[["index":0]]', "[5]"]),
    ],
)
def test_odd_values_are_read_as_by_decoding(before: str, puts: list[str]) -> None:
    value = re.compile(re.escape(before) + r"([0-9.-]+|null|\[[0-9,]*\]|)")
    for text in (BODY, STREAM):
        for found in value.finditer(text):
            for put in puts:
                assert_same((text[: found.start(1)] + put + text[found.end(1) :]).encode())


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_answer_is_read_at_once(name: str) -> None:
    body = RECORDED[name]
    wishes = b'"token":' in body and b'"token":"token_id:' not in body
    assert (CHAT.read_at_once(body, 5) is None) == wishes
    for top_k in (0, 1, 5, 6, 100):
        assert_same(body, top_k)


def test_long_answers_are_read_at_once() -> None:
    for _, body in sample.recorded():
        for one in (body, _BYTES.sub(b"", body)):
            assert CHAT.read_at_once(one, 5) is not None
            assert_same(one, 5)


@pytest.mark.parametrize("body", CUT, ids=["body", "stream", "thin stream"])
def test_an_answer_that_is_cut_off_anywhere_is_read_as_by_decoding(body: bytes) -> None:
    for end in (*range(1200), *range(max(1200, len(body) - 600), len(body))):
        assert_same(body[:end], 5)


@given(
    st.sampled_from(CUT),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.binary(max_size=3)), min_size=1, max_size=3),
)
def test_a_broken_answer_is_read_as_by_decoding(body: bytes, changes: list[tuple[float, int, bytes]]) -> None:
    for where, gone, put in changes:
        at = int(where * len(body))
        body = body[:at] + put + body[at + gone :]
    assert_same(body, 5)


@given(st.sampled_from(CUT), st.floats(0, 1), st.integers(0, 400), st.floats(0, 1))
def test_an_answer_with_a_piece_of_itself_elsewhere_is_read_as_by_decoding(
    body: bytes, begin: float, size: int, to: float
) -> None:
    piece = body[int(begin * len(body)) :][:size]
    at = int(to * len(body))
    assert_same(body[:at] + piece + body[at:], 5)


def written(digits: int, scale: int) -> str:
    text = f"{digits:0{scale + 1}d}"
    return f"{text[:-scale]}.{text[-scale:]}" if scale else f"{text}.0"


LONG = st.integers(2**52, 2**53 - 1).map(lambda half: 2 * half + 1)
NUMBERS = (
    st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.floats(-30, 0, width=32).map(repr)
    | st.from_regex(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,27})?(e-[0-9]{1,2})?", fullmatch=True)
    | st.builds(written, st.integers(0, 10**19 - 1), st.integers(0, 27))
    # Half-way between two doubles, and beside it.
    | st.builds(lambda odd, scale: written(odd * 5**scale, scale), LONG, st.integers(1, 3))
    | st.builds(lambda odd, near: written(odd * 100 + near, 2), LONG, st.integers(-1, 1))
)


def listed(content: str) -> bytes:
    return f'{{"choices":[{{"index":0,"logprobs":{{"content":[{content}]}}}}]}}'.encode()


@given(st.lists(NUMBERS, min_size=1, max_size=20))
@example(["9007199254740993.0", "9007199254740995.0", "0.1", "1e-27", "0.000000000000000000000000001"])
@example(["922337203685477580.8", "9.999999999999999999", "1.745058059692382812", "7450580596923828125.0e-5"])
def test_numbers_are_exact(numbers: list[str]) -> None:
    for text in numbers:
        body = listed(f'{{"token":"token_id:1","logprob":{text},"top_logprobs":[]}}')
        assert_same(body)
        found, digits = listing.read(body, 1), re.sub(r"e.*|\D", "", text).lstrip("0")
        if found is None:
            assert len(digits) > 19 or "e" in text or "." not in text or len(text.partition(".")[2]) > 27
        else:
            expected = float(text) if float(text) > -9999 else float("-inf")
            assert repr(found.columns[0][1]) == repr([expected])


def test_thousands_of_numbers_are_exact() -> None:
    """So many that some lie so close to the middle of two doubles that a rest alone tells on which side."""
    draw = random.Random(5)
    numbers = [written(draw.randrange(10**16, 10**19), draw.randrange(1, 28)) for _ in range(40_000)]
    body = listed(",".join(f'{{"token":"token_id:1","logprob":{one},"top_logprobs":[]}}' for one in numbers))
    found = listing.read(body, 1)
    assert found is not None
    assert found.columns[0][1] == [*map(float, numbers)]


@pytest.mark.parametrize("width", [255, 256, 257, 258, 2000])
def test_more_listed_than_there_is_room_for_are_decoded(width: int) -> None:
    others = ",".join(f'{{"token":"token_id:{at}","logprob":-{at % 7}.5}}' for at in range(width))
    for own, logprob in ((3, -2.5), (9999, -0.25), (9999, -9.5)):
        body = listed(f'{{"token":"token_id:{own}","logprob":{logprob},"top_logprobs":[{others}]}}')
        assert (listing.read(body, 5) is not None) == (width <= 256)
        for top_k in (0, 5, 256, 300):
            assert_same(body, top_k)


@pytest.mark.parametrize("nested", [100, 900, 5000])
@pytest.mark.parametrize(
    "of", ["[", '{"a":', '{"choices":[', '{"choices":[{"index":0,"logprobs":{"content":[']
)
def test_what_is_nested_deep_is_read_as_by_decoding(nested: int, of: str) -> None:
    body = (of * nested).encode()
    assert_same(b'{"x":' + body)
    assert_same(b'{"choices":[' + body)
    assert_same(b'{"x":' + b"[" * nested + b"]" * nested + b"}")
