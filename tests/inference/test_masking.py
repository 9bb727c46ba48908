"""What looks personal is masked before anything is stored, alike everywhere; nothing kept gives it back."""

import asyncio
import stat
import sys
import types
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import masking as bench
from bench.masking.__main__ import read, score
from inference import clickhouse, exchange, masking, personal
from inference.clickhouse import Store
from inference.drain import Drain
from inference.engine.tag import KEY
from inference.exchange import Exchange
from inference.masking import Masking
from inference.personal import Finder, Found
from inference.raw import RawExchange
from inference.rows import TABLES, rows
from inference.spool import SpoolReader
from tests.inference import spooled
from tests.inference.double import Engine, call, proxying, serving, snapshot
from tests.inference.test_capture_engine import CAPTURES
from tests.inference.test_erasing import application_spans

CARD, MAIL = "4111 1111 1111 1111", "anna@example.org"
ASKED = [{"role": "user", "content": f"My card {CARD} was charged, write to {MAIL}."}]


def made(key: bytes = b"k") -> Masking:
    return Masking(Finder(), key)


def parsed(raw: RawExchange) -> Exchange:
    return exchange.parse(raw)


def masked(one: Exchange, key: bytes = b"k") -> Exchange:
    return made(key).exchange(one)


def test_the_rules_find_what_the_test_set_marks() -> None:
    found = score(read(), Finder())
    assert found.recall > 0.95
    assert found.precision > 0.95
    assert Path(bench.__file__).parent.joinpath("cases.txt").is_file()


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("4111111111111111", "4111111111111112"),
        ("DE89370400440532013000", "DE88370400440532013000"),
        ("943 476 5919", "111 476 5918"),
        ("36 574 261 809", "36 574 261 808"),
        ("12345678Z", "12345678A"),
        ("390.533.447-05", "390.533.447-06"),
        ("2341 2341 2346", "2341 2341 2347"),
        ("RSSMRA85T10A562S", "RSSMRA85T10A562T"),
    ],
)
def test_a_number_counts_by_its_check(good: str, bad: str) -> None:
    assert [one for one in Finder().find(f"it is {good}.") if one.kind != "phone"]
    assert not Finder().find(f"it is {bad}.")


@given(st.text(max_size=300))
def test_finds_lie_apart_and_in_order(text: str) -> None:
    found = Finder().find(text)
    ends = [0, *(at for one in found for at in (one.start, one.end)), len(text)]
    assert ends == sorted(ends)


@pytest.mark.slow
def test_a_text_made_to_be_slow_is_still_searched_once() -> None:
    """Of what every form begins with. Past the limit nothing is checked, and nothing is let through."""
    for piece in ("4111 1111 1111 1111 ", "1 ", "a@", "AB12 ", "12-"):
        Finder().find(piece * (100_000 // len(piece)))
    many = "4111 1111 1111 1112 " * (personal.MOST + 5)
    assert {one.kind for one in Finder().find(many)} == {"number"}


def test_the_same_value_has_one_placeholder_within_a_conversation_only() -> None:
    first = masked(
        parsed(spooled.raw(1, messages=ASKED, session="one", text=f"Charged {CARD} twice: {CARD}"))
    )
    spaced = [{"role": "user", "content": "card 4111-1111-1111-1111"}]
    later = masked(parsed(spooled.raw(2, messages=spaced, session="one")))
    other = masked(parsed(spooled.raw(3, messages=ASKED, session="two")))
    elsewhere = masked(parsed(spooled.raw(4, messages=ASKED, session="one")), b"another key")
    placeholder = first.choices[0].text.removeprefix("Charged ").partition(" twice")[0]
    assert first.choices[0].text == f"Charged {placeholder} twice: {placeholder}"
    assert placeholder in str(first.messages)
    assert placeholder in str(later.messages)
    assert placeholder not in str(other.messages)
    assert placeholder not in str(elsewhere.messages)
    assert first.masked == 4 + 2  # two in the messages, two in the answer, and the request has two again
    assert first.conversation == later.conversation


def test_turns_without_a_session_stay_one_conversation() -> None:
    """It is known by its first message, which is masked alike in each turn."""
    answer = [{"role": "assistant", "content": "And?"}, {"role": "user", "content": "Nothing."}]
    first, second = (
        masked(parsed(spooled.raw(n, messages=m))) for n, m in ((1, ASKED), (2, [*ASKED, *answer]))
    )
    assert first.conversation == second.conversation
    assert first.conversation != parsed(spooled.raw(1, messages=ASKED)).conversation


def test_what_has_nothing_personal_is_kept_to_the_last_byte() -> None:
    one = parsed(spooled.raw(1))
    assert masked(one) is one


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": ASKED},
        {"text": f"Call {CARD}"},
        {"tags": {"mail": MAIL}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": MAIL}]}]},
        {"closed": {"error": f"no {MAIL}", "end_reason": "engine_error"}},
    ],
)
def test_nothing_that_is_kept_gives_it_back(changes: dict[str, Any]) -> None:
    """Wherever it stood, tokens of the whole exchange go, and the engine's bytes with them."""
    one = masked(parsed(spooled.raw(1, **changes)))
    kept = [(row.table, str(row.values)) for row in rows([one])[0]]
    assert {table for table, _ in kept} == {"spans", "exchanges", "facts"}
    assert not [table for table, values in kept if CARD in values or MAIL in values]
    assert (one.capture, one.tokens, one.prompt_token_ids) == ("masked", [], [])
    assert b"token_id" not in one.response
    assert b"[1,2]" not in one.response.replace(b" ", b"")


def test_arguments_of_a_tool_stay_json_and_long_numbers_count() -> None:
    call = {"name": "pay", "arguments": '{"card": 4111111111111111, "cents": 5}'}
    one = masked(spooled.call(1, {"function": call}, []))
    arguments = orjson.loads(one.choices[0].tool_calls[0]["function"]["arguments"])
    assert arguments["cents"] == 5
    assert arguments["card"].startswith("[card ")


def test_a_value_cut_by_a_streams_events_is_masked_whole() -> None:
    pieces = ["My card is 4111 11", "11 1111 1", "111."]
    events = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    body = b"".join(b"data: " + orjson.dumps(one) + b"\n\n" for one in events) + b"data: [DONE]\n\n"
    one = masked(parsed(replace(spooled.raw(1, streamed=True), response=body)))
    assert one.choices[0].text.startswith("My card is [card ")
    assert b"11 1111" not in one.response


def test_presidio_is_a_plug(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imported only when it is asked for; its finds count beside the rules'."""
    assert "presidio_analyzer" not in sys.modules
    asked: list[dict[str, Any]] = []

    class AnalyzerEngine:
        def analyze(self, **given: Any) -> list[Any]:
            asked.append(given)
            at = given["text"].find("Kowalska")
            sure = types.SimpleNamespace(entity_type="PERSON", start=at, end=at + 8, score=0.85)
            unsure = types.SimpleNamespace(entity_type="PERSON", start=0, end=3, score=0.1)
            return [sure, unsure] if at >= 0 else []

    fake = types.ModuleType("presidio_analyzer")
    fake.AnalyzerEngine = AnalyzerEngine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "presidio_analyzer", fake)
    monkeypatch.setenv("FLYWHEEL_MASKING_PRESIDIO", "en")
    text = f"Ask Kowalska at {MAIL}"
    assert masking.finder().find(text) == [Found("person", 4, 12), Found("email", 16, 32)]
    assert asked[0]["language"] == "en"
    monkeypatch.delenv("FLYWHEEL_MASKING_PRESIDIO")
    assert masking.finder().find(text) == [Found("email", 16, 32)]


def test_regions_are_the_operators_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not masking.finder().find("rappelez le 01 42 68 53 00")
    monkeypatch.setenv("FLYWHEEL_MASKING_REGIONS", "us, fr")
    assert [one.kind for one in masking.finder().find("rappelez le 01 42 68 53 00")] == ["phone"]


def test_the_key_is_made_once_and_nobody_elses_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = masking.load(tmp_path), masking.load(tmp_path)
    assert first.key == second.key
    assert len(first.key) == 32
    assert stat.S_IMODE((tmp_path / "masking.key").stat().st_mode) == 0o600
    monkeypatch.setenv("FLYWHEEL_MASKING_KEY", "shared")
    assert masking.load(tmp_path).key == b"shared"


@pytest.fixture
def store(clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    migrate()
    return connect()


def migrate() -> None:
    clickhouse.migrate()


def connect() -> Store:
    return clickhouse.connect()


def test_the_drain_stores_only_what_is_masked(store: Store, tmp_path: Path) -> None:
    on, off = spooled.raw(1, messages=ASKED, text=MAIL, mask=True), spooled.raw(2, messages=ASKED)
    said = spooled.event(on.exchange_id, comment=f"mine is {CARD}", thumbs="down", user="u-1")
    spans = application_spans(on.opened["trace_id"], document=MAIL)
    for one in (said, spans):
        one.opened["mask"] = True
    spooled.spool(tmp_path, [on, off, said, spans])
    drain = Drain(tmp_path)
    while drain.step():
        pass
    drain.close()
    assert drain.status.quarantined == 0
    kept = {t.name: store.query(f"SELECT * FROM {t.name}").result_rows for t in TABLES}
    hit = {name: sum(CARD in str(row) or MAIL in str(row) for row in found) for name, found in kept.items()}
    assert hit == {
        "tokens": 0,
        "spans": 0,
        "exchanges": 1,
        "facts": 1,
        "events": 0,
    }  # the route that masks nothing
    assert len(kept["tokens"]) == 1
    ((data, thumbs, user),) = store.query("SELECT data, thumbs, user FROM events").result_rows
    assert "[card " in data
    assert (thumbs, user) == ("down", "u-1")
    for path in tmp_path.iterdir():
        if path.is_file() and path.name != "status.json":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_what_masking_trips_over_is_kept_aside_and_not_stored(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trips(*_: object) -> list[Found]:
        raise ZeroDivisionError

    before = store.query("SELECT count() FROM exchanges").result_rows
    spooled.spool(tmp_path, [spooled.raw(1, messages=ASKED, mask=True)])
    monkeypatch.setattr(Finder, "find", trips)
    drain = Drain(tmp_path)
    drain.step()
    drain.close()
    assert drain.status.quarantined == 1
    assert store.query("SELECT count() FROM exchanges").result_rows == before


@pytest.fixture
async def engine() -> AsyncIterator[tuple[Engine, str]]:
    made = Engine()
    async with serving(made) as url:
        yield made, url


@pytest.mark.parametrize("mask", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_the_proxy_writes_into_each_record_whether_it_is_masked(
    engine: tuple[Engine, str], tmp_path: Path, mask: bool
) -> None:
    """Exchanges, refusals and feedback alike. An engine that could keep tokens itself is not asked to."""
    engine[0].capture = CAPTURES
    async with proxying(tmp_path, found=snapshot(engine[1], mask=mask)) as proxy:
        while True:
            await proxy.post(call("hello"))
            if mask or KEY in engine[0].asked[-1][1].get("vllm_xargs", {}):
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3 if mask else 0)  # time enough to hear that the engine could
        await proxy.post(call("hello"))
        assert (KEY in engine[0].asked[-1][1].get("vllm_xargs", {})) is not mask
        _, headers, _ = await proxy.post(call("hello"))
        await proxy.post({**call("hello"), "model": "nobody"})
        about = {"exchange_id": headers["x-flywheel-exchange-id"], "thumbs": "up"}
        assert (await proxy.post(about, "/v1/feedback"))[0] == 200
        with SpoolReader(proxy.settings.spool) as reader:
            found = [raw.opened for _, raw in reader.read(10_000)]
    assert {one.get("kind", "exchange") for one in found} == {"exchange", "event"}
    assert {one["mask"] for one in found} == {mask}
