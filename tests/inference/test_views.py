"""The pages about exchanges, on a real trace store."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import orjson
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from inference import columns, events, lookups, otlp
from inference.answer import Choice
from inference.exchange import Exchange
from inference.models import ModelVersion, Route
from inference.reading_rights import ReadingRight
from tests import people
from tests.inference import answered, spooled

pytestmark = pytest.mark.django_db
ONE = answered.exchange(1, "wheezing after exercise", session="desk-1", tags={"group": "J45"})
HOSTILE = answered.exchange(
    2,
    answered.HOSTILE,
    messages=[{"role": "user", "content": answered.HOSTILE}],
    user="<b>u</b>",
    session="desk-1",
)
DIED = answered.ended(answered.exchange(3), "engine_died", "connection reset <by> peer")
CUT = replace(answered.exchange(4, "lungs"), end_reason="length", tokens_match=False)
OFF = replace(answered.exchange(5, "no tokens"), capture="off", tokens=[])
TOOL = replace(
    answered.exchange(6, ""),
    end_reason="tool_calls",
    choices=[
        Choice(0, "", "tool_calls", "because", [{"function": {"name": "find", "arguments": '{"q":"<i>"}'}}])
    ],
)
SAID = [
    events.parse(spooled.event(ONE.exchange_id, thumbs="down", correction="<b>J45</b>", user="<u>7")),
    events.parse(spooled.event(trace_id=ONE.trace_id, score=0.25, comment="too <i>vague</i>")),
    replace(events.parse(spooled.event(CUT.exchange_id, thumbs="up")), kind="client_left", data={}),
]
STEP = otlp.SpanBatch("", [answered.step(CUT.trace_id, "9" * 16, "look <b>up</b>")])
CUT = replace(CUT, parent_span_id="9" * 16, params=CUT.params | {"response_format": {"type": "json_object"}})
ALL = [ONE, HOSTILE, DIED, CUT, OFF, TOOL]
UNKNOWN = answered.ended(
    answered.exchange(7, route="gpt-4o", model="", closed={"status": 404}), "refused", "no such model"
)
NAMELESS = answered.ended(answered.exchange(8, route="", model=""), "bad_request", "no JSON")
SHORT = replace(answered.exchange(9, "x", session="short"), completion_tokens=1)
ELSEWHERE = [UNKNOWN, NAMELESS, SHORT]
ANEW = [
    events.parse(spooled.event(SHORT.exchange_id, thumbs=thumbs, user="u7", at_us=1_795_400_000_000_000 + n))
    for n, thumbs in enumerate(("up", "down"))
]


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        answered.store(*ALL, *SAID, STEP)
    return clickhouse


@pytest.fixture(autouse=True)
def addresses(filled: str, monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled)
    settings.ARTEFACTS = str(tmp_path)
    answered.keep_tokenizer(tmp_path)


@pytest.fixture
def emil() -> Client:
    return people.client(people.engineer())


def page(client: Client, one: Exchange, query: str = "") -> str:
    answer = client.get(reverse("exchange", args=[one.exchange_id]) + query)
    assert answer.status_code == 200
    return answer.text


def every_address() -> list[str]:
    return [
        reverse("exchanges"),
        reverse("exchange", args=[ONE.exchange_id]),
        reverse("exchange-raw", args=[ONE.exchange_id]),
        reverse("session", args=["desk-1"]),
        reverse("complete"),
        f"{reverse('exchange-diff')}?a={ONE.exchange_id}&b={HOSTILE.exchange_id}",
        f"{reverse('exchanges')}?peek={ONE.exchange_id}",
        f"{reverse('exchange-send')}?id={ONE.exchange_id}",
    ]


def test_strangers_sign_in_and_reviewers_stay_out() -> None:
    stranger, rita = people.client(None), people.client(people.reviewer())
    for address in every_address():
        assert stranger.get(address).headers["Location"].startswith("/sign-in/")
        answer = rita.get(address)
        assert answer.status_code == 403
        assert "wheezing" not in answer.text


def test_engineers_and_operators_read(emil: Client) -> None:
    olga = people.client(people.operator())
    for address in every_address():
        assert emil.get(address).status_code == olga.get(address).status_code == 200


def test_the_list_counts_and_links(emil: Client) -> None:
    text = emil.get(reverse("exchanges")).text
    assert re.search(r"<b>6</b>", text)
    for one in ALL:
        assert reverse("exchange", args=[one.exchange_id]) in text
    assert text.count("button-primary") == 1
    assert "button-primary" not in page(emil, DIED)


def test_the_filter_narrows_and_its_chips_widen(emil: Client) -> None:
    text = emil.get(reverse("exchanges"), {"q": "end:length,engine_died session:desk-1"}).text
    assert "No " in text
    assert re.search(r"without <code>session:desk-1</code></a> <span[^>]*>2<", text)
    text = emil.get(reverse("exchanges"), {"q": "end:length"}).text
    assert "cut off" in text
    assert reverse("exchange", args=[CUT.exchange_id]) in text
    assert reverse("exchange", args=[ONE.exchange_id]) not in text
    sent = emil.get(reverse("exchange-send"), {"q": "end:length", "to": "queue"}).text
    assert "/queues/new/?filter=end%3Alength" in sent


def test_what_is_not_understood_is_named_and_stays(emil: Client) -> None:
    text = emil.get(reverse("exchanges"), {"q": 'rote:x "<script>"'}).text
    assert "“rote:x”: there is no rote: to filter by" in text
    assert 'value="rote:x &quot;&lt;script&gt;&quot;"' in text
    assert 'aria-invalid="true"' in text


def test_an_id_pasted_into_the_filter_opens_the_exchange(emil: Client) -> None:
    pasted = "01a20a04-9cd6-702b-b604-b7998dfff6d1"
    answer = emil.get(reverse("exchanges"), {"q": f" {pasted} "})
    assert answer.headers["Location"] == reverse("exchange", args=[pasted])
    for text in (ONE.exchange_id.upper(), ONE.exchange_id[-8:], ONE.trace_id):
        found = emil.get(reverse("exchanges"), {"q": text})
        assert found.headers["Location"] == reverse("exchange", args=[ONE.exchange_id])


def test_a_trace_of_several_exchanges_is_listed_and_words_are_looked_for(
    emil: Client, monkeypatch: pytest.MonkeyPatch, filled: str
) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled + "_traces")
    answered.store(ONE, answered.exchange(8, trace_id=ONE.trace_id))
    found = emil.get(reverse("exchanges"), {"q": ONE.trace_id})
    assert found.headers["Location"] == f"{reverse('exchanges')}?q=trace%3A{ONE.trace_id}"
    assert emil.get(found.headers["Location"]).text.count("data-row>") == 2
    assert "matches" in emil.get(reverse("exchanges"), {"q": "deadbeef"}).text
    assert "matches" in emil.get(reverse("exchanges"), {"q": "0" * 31}).text


def test_older_and_newer_lead_back(emil: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.explorer.LIMIT", 4)
    first = emil.get(reverse("exchanges")).text
    older = re.search(r'href="([^"]+)" rel="next"', first)
    assert older
    assert 'rel="prev"' not in first
    second = emil.get(older.group(1).replace("&amp;", "&")).text
    assert second.count("data-row>") == 2
    newer = re.search(r'href="([^"]+)" rel="prev"', second)
    assert newer
    assert emil.get(newer.group(1).replace("&amp;", "&")).text.count("data-row>") == 4


def test_what_came_since_is_counted_without_moving_a_row(
    emil: Client, monkeypatch: pytest.MonkeyPatch, filled: str
) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled + "_tail")
    answered.store(ONE)
    poll = re.search(r'id="newer"[^>]*hx-get="([^"]+)"', emil.get(reverse("exchanges")).text)
    assert poll
    assert emil.get(poll.group(1)).status_code == 204
    answered.store(answered.exchange(7, route="billing"))
    answer = emil.get(poll.group(1))
    assert "↑ 1 new" in answer.text
    assert "<table" not in answer.text
    assert emil.get(poll.group(1) + "&q=route:icd-chapter").status_code == 204


def test_two_are_held_against_each_other(emil: Client) -> None:
    asked = {"a": ONE.exchange_id, "b": CUT.exchange_id[-8:]}
    text = emil.get(reverse("exchange-diff"), asked).text
    assert "<del>wheezing after exercise</del><ins>lungs</ins>" in text
    assert "At token 1: A wrote" in text
    assert re.search(r"answer bound to</th>\s*<td[^>]*>–</td>\s*<td[^>]*>a JSON object", text)
    assert f'href="/exchanges/{ONE.exchange_id}/#t0"' in text
    assert "cut off at its token limit" in text
    same = emil.get(reverse("exchange-diff"), {"id": [ONE.exchange_id, f"{ONE.exchange_id}.0"]}).text
    assert "They answered the same" in same
    assert "Nowhere: as far as both go" in same
    without = emil.get(reverse("exchange-diff"), {"a": ONE.exchange_id, "b": OFF.exchange_id}).text
    assert "Without the tokens of both" in without
    hostile = emil.get(reverse("exchange-diff"), {"a": HOSTILE.exchange_id, "b": ONE.exchange_id}).text
    assert "<script>document" not in hostile
    assert "<img src=x" not in hostile


def test_two_that_are_not_both_there_are_asked_for(emil: Client) -> None:
    text = emil.get(reverse("exchange-diff"), {"a": ONE.exchange_id}).text
    assert f'value="{ONE.exchange_id}"' in text
    gone = emil.get(reverse("exchange-diff"), {"a": ONE.exchange_id, "b": "<b>nobody"})
    assert gone.status_code == 404
    assert "&lt;b&gt;nobody" in gone.text
    assert emil.get(reverse("exchange-diff"), {"a": "x", "b": ONE.exchange_id[:-1]}).status_code == 404


def test_an_exchange_is_shown_beside_the_list_and_alone_when_only_that_is_asked_for(emil: Client) -> None:
    address = f"{reverse('exchanges')}?q=end%3Astop&peek={ONE.exchange_id}"
    text = emil.get(address).text
    assert text.count('class="shown"') == 1
    assert "Thumbs down" in text
    assert "data-heat-text" in text
    part = emil.get(address, headers={"HX-Request": "true", "HX-Target": "peek"}).text
    assert "Thumbs down" in part
    assert '<table class="table exchanges' not in part
    assert 'href="/exchanges/?q=end%3Astop"' in part
    beside = emil.get(reverse("exchanges"), {"peek": HOSTILE.exchange_id}).text
    assert "<script>document" not in beside
    assert "<img src=x" not in beside
    gone = emil.get(reverse("exchanges"), {"peek": "01938f2e-1111-7000-8000-00000000aaaa"}).text
    assert "No exchange with this id is stored" in gone
    assert "peek-head" not in emil.get(reverse("exchanges"), {"peek": "'; DROP"}).text


def test_only_the_panel_asks_only_for_the_exchange(emil: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.queries.explore", None)
    monkeypatch.setattr("inference.queries.histogram", None)
    address = f"{reverse('exchanges')}?peek={ONE.exchange_id}"
    assert emil.get(address, headers={"HX-Request": "true", "HX-Target": "peek"}).status_code == 200


def test_two_fields_bound_the_time_and_leave_the_rest(emil: Client) -> None:
    asked = {"q": "since:7d end:length", "from": "2026-11-20T10:00", "to": ""}
    answer = emil.get(reverse("exchanges"), asked)
    assert answer.headers["Location"] == "/exchanges/?q=end%3Alength+since%3A2026-11-20T10%3A00%3A00"
    answer = emil.get(reverse("exchanges"), {"q": "end:length", "from": "soon", "to": "x"})
    assert answer.headers["Location"] == "/exchanges/?q=end%3Alength"
    assert "“rote:x”" in emil.get(reverse("exchanges"), {"q": "rote:x", "from": "2026-11-20"}).text


def test_a_line_is_completed_with_what_is_stored(emil: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    found = emil.get(reverse("complete"), {"line": "end:stop key:co x", "at": "15"}).json()
    assert found == {"start": 13, "end": 15, "options": [{"text": '"coding desk"', "hint": ""}]}
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/none")
    assert emil.get(reverse("complete"), {"line": "key:"}).json()["options"] == []
    names = emil.get(reverse("complete"), {"line": "le"}).json()["options"]
    assert names[0]["text"] == "least_p:"


def test_a_made_up_place_in_the_list_begins_at_the_newest(emil: Client) -> None:
    assert emil.get(reverse("exchanges"), {"before": "'; DROP TABLE facts"}).text.count("data-row>") == 6


def test_nothing_ever_says_how_to_send_the_first(
    emil: Client, monkeypatch: pytest.MonkeyPatch, filled: str, settings: Settings
) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled + "_empty")
    answered.store()
    settings.PROXY_URL = "http://proxy.example:8080"
    Route.objects.create(name="icd-chapter")
    text = emil.get(reverse("exchanges")).text
    assert "http://proxy.example:8080/v1" in text
    assert "icd-chapter" in text


def test_one_exchange_begins_with_a_sentence(emil: Client) -> None:
    text = page(emil, ONE)
    heading = re.sub(r"<[^>]+>", "", re.search(r"<h1>(.*?)</h1>", text, re.S)[1])  # type: ignore[index]
    assert heading.replace("\u00a0", " ").strip() == (
        "✓ icd-chapter answered in 1.4 s with smollm2-135m, "
        f"{ONE.completion_tokens} tokens, finished by itself."
    )


def test_an_adapter_is_named_by_its_hash_and_a_route_has_its_page(emil: Client) -> None:
    ModelVersion.objects.create(name="smollm2-135m", kind="adapter", weights=ONE.weights)
    Route.objects.create(name="icd-chapter")
    text = page(emil, ONE)
    assert f"adapter {ONE.weights[:8]}" in text
    assert 'href="/routes/icd-chapter/"' in text


def test_hostile_text_is_only_text_everywhere(emil: Client) -> None:
    pages = [page(emil, HOSTILE, f"?view={view}") for view in ("heat", "text")]
    pages += [
        emil.get(address).text for address in (reverse("exchanges"), reverse("session", args=["desk-1"]))
    ]
    pages.append(emil.get(reverse("exchange-raw", args=[HOSTILE.exchange_id])).text)
    for text in pages:
        assert "<script>document" not in text
        assert "<img src=x" not in text
        assert "<b>u</b>" not in text
    assert "<strong>bold</strong>" in pages[1]


def test_the_heat_map_reads_as_the_answer(emil: Client) -> None:
    text = page(emil, ONE)
    body = re.search(r"data-heat-text>(.*?)</div>", text, re.S)
    assert body
    assert re.sub(r"<[^>]+>", "", body.group(1)) == "wheezing after exerciseend"
    assert body.group(1).count(' h4"') == 1
    assert text.count('<data id="heat-0" hidden>') == 1


def test_a_long_answer_is_painted_by_the_windowful(emil: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.heatmap.WINDOW", 4)
    text = page(emil, ONE, "?view=heat&from=4")
    assert re.search(r"Pieces 5 to \d of", text)
    assert 'href="?view=heat&amp;from=0#heat-0-map"' in text


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (DIED, "gave no whole answer"),
        (DIED, "connection reset &lt;by&gt; peer"),
        (DIED, "Nothing was answered"),
        (CUT, "cut off at its token limit"),
        (CUT, "as many ids did not come"),
        (OFF, "No tokens kept: this route keeps exchanges without them."),
        (TOOL, "The model asked for <code>find</code>"),
    ],
)
def test_what_is_missing_or_odd_is_said_in_words(emil: Client, one: Exchange, said: str) -> None:
    assert said in page(emil, one)


def test_bytes_are_shown_and_downloaded_as_they_came(emil: Client) -> None:
    address = reverse("exchange-raw", args=[ONE.exchange_id])
    answer = emil.get(address, {"part": "request"})
    assert answer.content == ONE.request
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert "wheezing after exercise" in emil.get(address).text


def test_a_session_is_read_from_its_beginning(emil: Client) -> None:
    text = emil.get(reverse("session", args=["desk-1"])).text
    assert "<b>2</b>" in text
    assert text.index(ONE.exchange_id) < text.index(HOSTILE.exchange_id)
    assert f"?a={ONE.exchange_id}.0&amp;b={HOSTILE.exchange_id}.0" in text
    assert "ICD-10-CM chapter desk" not in text
    assert emil.get(reverse("session", args=["no such"])).status_code == 404


def test_a_long_session_is_read_a_page_at_a_time(emil: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.queries.turns.__defaults__", (None, 1))
    first = emil.get(reverse("session", args=["desk-1"])).text
    further = re.search(r'href="([^"]+)" rel="next"', first)
    assert further
    assert HOSTILE.exchange_id not in first
    second = emil.get(further.group(1)).text
    assert HOSTILE.exchange_id in second
    assert "From the beginning" in second
    assert 'rel="next"' not in second


def test_an_id_that_is_not_stored_says_so(emil: Client) -> None:
    missing = "01938f2e-1111-7000-8000-00000000aaaa"
    answer = emil.get(reverse("exchange", args=[missing]))
    assert answer.status_code == 404
    assert "within a few seconds" in answer.text


def test_with_the_trace_store_down_pages_say_what_still_works(
    emil: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/none")
    listed = emil.get(reverse("exchanges"), {"q": "end:stop"})
    assert listed.status_code == 200
    assert "can’t be read right now" in listed.text
    assert 'value="end:stop"' in listed.text
    one = emil.get(reverse("exchange", args=[ONE.exchange_id]))
    assert one.status_code == 503
    assert "judging, routes and Back work on" in one.text
    assert emil.get("/search/", {"q": ONE.exchange_id}).status_code == 200


def test_a_call_that_no_version_took_up_is_called_one(
    emil: Client, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled + "_elsewhere")
    answered.store(*ELSEWHERE, *ANEW)

    def heading(one: Exchange) -> str:
        found = re.search(r"<h1[^>]*>(.*?)</h1>", page(emil, one), re.S)
        assert found
        return re.sub(r"<[^>]+>", "", found[1]).strip()

    assert heading(UNKNOWN) == "✕ A call to “gpt-4o” was refused before it reached an engine."
    assert heading(NAMELESS) == "✕ A call was refused: nothing that an engine could serve."
    assert (
        "A call to “gpt-4o” was refused" in emil.get(reverse("exchanges"), {"peek": UNKNOWN.exchange_id}).text
    )
    assert "<dt>HTTP status</dt><dd>404</dd>" in page(emil, UNKNOWN)
    assert "<dt>HTTP status</dt><dd>200</dd>" in page(emil, SHORT)


def test_one_is_singular_and_what_was_said_anew_replaces(
    emil: Client, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled + "_elsewhere")
    answered.store(*ELSEWHERE, *ANEW)
    for text in (page(emil, SHORT), emil.get(reverse("session", args=["short"])).text):
        assert re.search(r"\b1 token\b", text)
        assert not re.search(r"\b1 (tokens|pieces)\b", text)
    said = page(emil, SHORT).split("opinions")[1]
    assert said.count(">replaced<") == 1
    assert said.index("Thumbs down") < said.index("Thumbs up") < said.index(">replaced<")


def test_search_finds_an_exchange_by_its_id_or_its_shown_end(emil: Client) -> None:
    where = reverse("exchange", args=[ONE.exchange_id])
    assert emil.get("/search/", {"q": ONE.exchange_id}).headers["Location"] == where
    assert emil.get("/search/", {"q": ONE.exchange_id[-8:]}).headers["Location"] == where
    assert emil.get("/search/", {"q": ONE.trace_id}).headers["Location"] == where


def test_what_users_said_stands_beside_the_exchange(emil: Client) -> None:
    text = page(emil, ONE)
    assert "Thumbs down" in text
    assert "&lt;b&gt;J45&lt;/b&gt;" in text
    assert "&lt;u&gt;7" in text
    assert "too &lt;i&gt;vague&lt;/i&gt;" in text
    assert "0.25" in text
    assert "on the whole trace" in text
    assert "Thumbs" not in page(emil, HOSTILE)
    found = emil.get(reverse("exchanges"), {"q": "feedback:down"}).text
    assert reverse("exchange", args=[ONE.exchange_id]) in found
    assert reverse("exchange", args=[CUT.exchange_id]) not in found


def test_an_app_that_left_after_the_end_is_said(emil: Client) -> None:
    assert "left before it had taken" in page(emil, CUT)
    assert "left before it had taken" not in page(emil, ONE)


def test_the_command_line_reads_the_same_filter_and_tells_nothing_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flywheel.management.commands.exchanges._PAGE", 2)
    call_command("exchanges", "--limit", "5")
    lines = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["exchange_id"] for line in lines] == [
        one.exchange_id for one in sorted(ALL, key=lambda one: -one.started_us)[:5]
    ]
    assert "question" not in lines[0]
    call_command("exchanges", "end:length", "--count")
    assert capsys.readouterr().out == "1\n"
    with pytest.raises(CommandError, match="rote:x"):
        call_command("exchanges", "rote:x")


def test_spans_from_outside_stand_in_one_tree(emil: Client) -> None:
    text = page(emil, CUT)
    above, mine = text.index("look &lt;b&gt;up&lt;/b&gt;"), text.index("depth-1 mine")
    assert above < mine
    assert "look" not in page(emil, ONE)


def test_chosen_columns_stand_in_the_list_and_in_its_links(emil: Client) -> None:
    price = {"price_in": 1000, "price_out": 2000}
    ModelVersion.objects.create(name=ONE.model, kind="base", weights="b" * 64, tokenizer="c" * 64, **price)
    text = emil.get(reverse("exchanges"), {"q": "since:2020-01-01", "columns": "user,cost,tags"}).text
    heads = re.findall(r"<th scope=[^>]*>([^<]+)</th>", text)
    assert heads == ["When", "Asked", "Cost", "User", "Tags"]
    assert re.search(r'data-label="Cost"[^>]*>\$\d', text)
    assert "group=J45" in text
    user = re.search(r'data-label="User"[^>]*><a [^>]*href="([^"]+)">&lt;b&gt;u&lt;/b&gt;<', text)
    assert user
    links = re.findall(r'(?:href|hx-get|data-url)="(/exchanges/\?[^"]+)"', text)
    assert links
    chosen = "columns=cost%2Cuser%2Ctags"
    assert [one for one in links if chosen not in one] == [
        "/exchanges/?q=since%3A2020-01-01"
    ]  # the usual ones
    assert user[1] in links
    assert emil.get(user[1].replace("&amp;", "&")).text.count("<tr data-row") == 1


def test_verdicts_and_corrections_are_columns_that_are_asked_for_only_when_chosen(
    emil: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[lookups.Named]] = []

    def known(named: Sequence[lookups.Named]) -> dict[lookups.Named, lookups.Settled]:
        asked.append(named)
        return {(UUID(ONE.exchange_id), 0): lookups.Settled("corrected", "<b>J46</b>")}

    monkeypatch.setattr(lookups, "_verdicts", [known])
    emil.get(reverse("exchanges"))
    assert asked == []
    text = emil.get(reverse("exchanges"), {"columns": "verdict,corrected"}).text
    assert [len(one) for one in asked] == [len(ALL)]
    assert re.search(r'data-label="Verdict"[^>]*><span[^>]*>corrected<', text)
    assert re.search(r'data-label="Corrected to"[^>]*><span[^>]*>&lt;b&gt;J46&lt;/b&gt;<', text)
    ReadingRight.objects.all().delete()
    people.may_read(role="engineers")
    numbers = emil.get(reverse("exchanges"), {"columns": "verdict,corrected"}).text
    assert re.search(r'data-label="Verdict"[^>]*><span[^>]*>corrected<', numbers)
    assert "J46" not in numbers


def test_columns_there_are_not_are_left_out(emil: Client) -> None:
    text = emil.get(reverse("exchanges"), {"columns": "nonsense,<script>"}).text
    assert "Least sure</th>" in text
    assert "nonsense" not in text


def test_every_column_can_be_shown_of_hostile_exchanges(emil: Client) -> None:
    names = [column.name for column in columns.ALL]
    text = emil.get(reverse("exchanges"), {"columns": names}).text
    assert text.count("<tr data-row") == len(ALL)
    assert "<script>document" not in text
    assert "<b>u</b>" not in text
