"""Hostile content through the real spool, drain and pages: it shows as text and breaks nothing for others.

Each case is one exchange as a proxy could have spooled it. A case is either stored, whole, or kept aside and
counted; then every page about it is asked for, and none may run, break or hide the rest.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from inference import clickhouse
from inference.drain import Drain, read_status
from inference.raw import RawExchange
from tests import people
from tests.inference import spooled

pytestmark = pytest.mark.django_db
SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 }}{% now %}</textarea>"
DEEP = 10_000
ODD: list[Any] = [1, "x", None, True, {}, [[]], [{}], [None]]
Make = Callable[[int], RawExchange]
Drained = tuple[Path, dict[str, tuple[str, str]]]
"""The spool's folder, and each case's two exchanges."""


def said(text: str, **changes: Any) -> Make:
    """The text in every place where a text may stand."""
    everywhere = {
        "messages": [
            {"role": "system", "content": text},
            {
                "role": text[:50],
                "content": [{"type": "text", "text": text}, {"type": text[:50]}, text[:50], 5],
            },
            {"role": "user", "content": text},
        ],
        "text": text,
        "tags": {"tag": text[:256]},
        "user": text[:256],
        **changes,
    }
    return lambda number: spooled.raw(number, **everywhere)


def body(request: bytes | None = None, response: bytes | None = None, **changes: Any) -> Make:
    """Bytes that no client or engine of good will sends."""

    def make(number: int) -> RawExchange:
        one = spooled.raw(number, **changes)
        return replace(
            one,
            request=one.request if request is None else request,
            response=one.response if response is None else response,
        )

    return make


def asked(**request: Any) -> Make:
    """Valid JSON with something else in it than expected."""
    return body(orjson.dumps({"model": "icd-chapter", **request}))


def answered(**response: Any) -> Make:
    return body(response=orjson.dumps(response))


def long(piece: str, size: int) -> Make:
    text = piece * (size // len(piece))
    return lambda number: spooled.raw(number, messages=[{"role": "user", "content": text}], text=text[:size])


def nested(depth: int, inside: str = "") -> str:
    return "[" * depth + inside + "]" * depth


def call(arguments: Any, name: Any = "f") -> Make:
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": name, "arguments": arguments}}],
    }
    return answered(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}], usage={})


STREAM = b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
CASES: dict[str, Make] = {
    "script": said(SCRIPT),
    "script in a session": said("hello", session=SCRIPT),
    "five megabytes": long("lorem ipsum <b>dolor</b> 4111 1111 1111 1111 ", 5_000_000),
    "a long text to mask": long("lorem 4111 1111 1111 1111 dolor ", 100_000),
    "control characters": said("".join(map(chr, range(32))) + "\x7f\x80\x9b31m\x1b[2J"),
    "right to left": said("safe \u202e\u2066\u2067 gnp.exe \u200f\u061c\ufeff\u0000 end"),
    "zalgo and astral": said("Z" + "\u0335\u0489" * 500 + "\U0001f9d1\u200d\U0001f680" * 50),
    "half of a pair": body(b'{"model":"m","messages":[{"role":"user","content":"\\ud800 \\udfff"}]}'),
    "invalid UTF-8": body(b'{"model":"m","messages":[{"role":"user","content":"\xff\xfe\xc3("}]}'),
    "invalid UTF-8 answered": body(response=b'{"choices":[{"message":{"content":"\xff\xfe"}}]}'),
    "invalid UTF-8 streamed": body(response=STREAM % b"\xff\xfe\xc3(" + b"data: [DONE]\n\n", streamed=True),
    "deep in a text": said(nested(DEEP)),
    "a deep request": body(b'{"model":"m","messages":' + nested(DEEP).encode() + b"}"),
    "deep enough to be read": body(
        b'{"model":"m","messages":[{"role":"user","content":' + nested(900).encode() + b"}]}"
    ),
    "deep parameters": body(b'{"model":"m","messages":[],"tools":' + nested(500).encode() + b"}"),
    "a deep answer": body(response=b'{"choices":' + nested(DEEP).encode() + b"}"),
    "a deep stream": body(response=b"data: " + nested(DEEP).encode() + b"\n\n", streamed=True),
    "deep arguments of a tool": call(nested(DEEP)),
    "deep arguments, readable": call(orjson.loads(nested(200))),
    "a name that is none": call({"a": [SCRIPT]}, name={"x": SCRIPT}),
    "not JSON": body(SCRIPT.encode(), SCRIPT.encode()),
    "nothing": body(b"", b""),
    "zeros": body(b"\0" * 1000, b"\0" * 1000),
    "no messages": asked(messages=None),
    "messages that are a text": asked(messages=SCRIPT),
    "messages that are numbers": asked(messages=[1, None, [], {}, True]),
    "contents of every type": asked(
        messages=[{"role": r, "content": c} for r in ("user", 5, None) for c in ODD]
    ),
    "ten thousand messages": asked(
        messages=[{"role": "user", "content": f"turn {n}"} for n in range(10_000)]
    ),
    "huge numbers": body(b'{"model":"m","messages":[],"seed":' + b"9" * 4000 + b',"temperature":1e999}'),
    "choices of every type": answered(choices=[*ODD, {"index": "x"}, {"index": -1}, {"index": 1e9}]),
    "messages of every type": answered(choices=[{"index": 0, "message": m} for m in ODD]),
    "usage of every type": answered(choices=[], usage={"prompt_tokens": -5, "completion_tokens": "x"}),
    "logprobs of every type": answered(
        choices=[
            {
                "index": 0,
                "message": {"content": "x"},
                "logprobs": {"content": [*ODD, {"token": 7, "logprob": "NaN", "top_logprobs": [None, {}]}]},
                "token_ids": ["x", -1, 2**40],
            }
        ]
    ),
    "an error of every type": answered(error={"message": {"deep": [SCRIPT]}}),
    "a header of a wrong type": lambda n: spooled.raw(n, route=5, tags=["x"]),
    "a header without a route": lambda n: without(spooled.raw(n), "route"),
    "an unknown surface": lambda n: spooled.raw(n, surface=SCRIPT),
    "a time beyond all times": lambda n: spooled.raw(n, closed={"finished_us": 2**62}),
}  # fmt: skip


MAY_BE_ASIDE = {
    "deep enough to be read",
    "deep parameters",
    "deep arguments, readable",
    "a name that is none",
    "choices of every type",
    "messages of every type",
    "usage of every type",
    "logprobs of every type",
    "an error of every type",
    "a header of a wrong type",
    "a header without a route",
    "an unknown surface",
    "a time beyond all times",
}


def without(raw: RawExchange, name: str) -> RawExchange:
    del raw.opened[name]
    return raw


@pytest.fixture(scope="module")
def drained(clickhouse: str, tmp_path_factory: pytest.TempPathFactory) -> Drained:
    """Every case twice, plain and on a route that masks; each between two that nobody made hostile."""
    spool = tmp_path_factory.mktemp("spool")
    made: dict[str, tuple[RawExchange, RawExchange]] = {}
    for number, (name, make) in enumerate(CASES.items()):
        plain, masked = make(4 * number), make(4 * number + 1)
        # Masking what is long is only a matter of time: a hundredth of it shows as much.
        masked.opened["mask"] = not name.startswith("five megabytes")
        made[name] = (plain, masked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        migrate()
        good = list(spooled.raws(range(1000, 1000 + len(made)), session="good"))
        every = [one for pair, other in zip(made.values(), good, strict=True) for one in (*pair, other)]
        spooled.spool(spool, every)
        drain = Drain(spool, batch=20)
        try:
            while drain.step():
                pass
        finally:
            drain.close()
    return spool, {name: (a.exchange_id, b.exchange_id) for name, (a, b) in made.items()}


def migrate() -> None:
    clickhouse.migrate()


@pytest.fixture(autouse=True)
def addresses(clickhouse: str, monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    settings.SPOOL = tmp_path


def stored(table: str) -> set[str]:
    found = clickhouse.connect().query(f"SELECT toString(exchange_id) FROM {table}").result_rows
    return {row[0] for row in found}


def aside(spool: Path) -> set[str]:
    return {path.name[:36] for path in (spool / "quarantine").glob("*.json")}


def test_each_is_stored_or_kept_aside_and_counted(drained: Drained) -> None:
    spool, ids = drained
    facts, exchanges, kept = stored("facts"), stored("exchanges"), aside(spool)
    assert facts == exchanges
    expected = {one for pair in ids.values() for one in pair}
    assert expected <= facts | kept
    assert not facts & kept
    assert len(facts | kept) == len(expected) + len(CASES), "those of good will are all there"
    status = read_status(spool)
    assert status is not None
    assert (status.quarantined, status.oldest_unstored_at, status.problem) == (len(kept), None, "")
    assert not list(spool.glob("*.segment")), "nothing holds the spool back"
    # What clients say is stored, however strange; engines' and headers' nonsense may be kept aside.
    assert {name for name, pair in ids.items() if set(pair) & kept} <= MAY_BE_ASIDE


@pytest.mark.parametrize("name", CASES)
def test_every_page_shows_it_as_text(drained: Drained, name: str) -> None:
    spool, ids = drained
    kept = aside(spool)
    client = Client()
    client.force_login(people.engineer())
    plain, masked = ids[name]
    every = ("", "?view=heat", "raw/", "raw/?part=request")
    for exchange, addresses in ((plain, every), (masked, ("",))):
        for address in addresses:
            page = client.get(f"/exchanges/{exchange}/{address}")
            assert page.status_code == (404 if exchange in kept else 200), (address, page.status_code)
            if "part=" in address and page.status_code == 200:
                assert page.headers["Content-Disposition"].startswith("attachment")
                continue
            harmless(page.content)
    harmless(client.get(f"/exchanges/?q=id:{plain}").content)
    harmless(client.get(f"/exchanges/?peek={plain}").content)


def test_a_conversation_without_end_is_shown_from_both_ends(drained: Drained) -> None:
    client = Client()
    client.force_login(people.engineer())
    page = client.get(f"/exchanges/{drained[1]['ten thousand messages'][0]}/").content.decode()
    assert "9,000 messages between these are not shown" in page
    assert page.count('class="turn-label"') <= 1001
    for words in ("turn 1<", "turn 9999<"):
        assert words in page
    assert "turn 500<" not in page


def test_the_lists_show_all_of_them(drained: Drained) -> None:
    client = Client()
    client.force_login(people.engineer())
    found = 0
    address = "/exchanges/"
    page = client.get(address).content.decode()
    harmless(page.encode())
    found += page.count("/exchanges/0")
    assert found > 20
    harmless(client.get(f"/exchanges/?q={quote(SCRIPT)}").content)
    session = client.get(f"/sessions/{quote(SCRIPT, safe='')}/")
    assert session.status_code == 200
    harmless(session.content)
    assert client.get("/sessions/good/").status_code == 200


def harmless(page: bytes) -> None:
    for running in (b"<script>alert", b"<img src=x", b"</textarea>{"):
        assert running not in page, running
    page.decode("utf-8")  # raises when it is none


def test_a_drain_goes_on_from_a_copy_of_the_same_spool(drained: Drained, tmp_path: Path) -> None:
    """What was kept aside once is not kept twice, and is not tried for ever."""
    spool, _ = drained
    shutil.copytree(spool, tmp_path / "copy")
    again = Drain(tmp_path / "copy")
    again.step()
    again.close()
    assert aside(tmp_path / "copy") == aside(spool)
