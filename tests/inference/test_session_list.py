"""The page that lists conversations, on a real trace store."""

import re

import pytest
from django.http import QueryDict
from django.test import Client
from django.urls import reverse

from inference import explorer, readers, session_list
from inference.models import ModelVersion
from tests import people
from tests.inference import answered

pytestmark = pytest.mark.django_db
HOUR = 3_600_000_000
NOON = 1_795_400_000_000_000
MADE = [
    answered.exchange(1, "desk 1", session="desk-1", user="<u>7", started_us=NOON + 1 * HOUR),
    answered.exchange(3, "desk 3", session="desk-1", user="<u>7", started_us=NOON + 3 * HOUR),
    answered.ended(
        answered.exchange(2, session="desk/2 é", started_us=NOON + 2 * HOUR), "engine_died", "gone"
    ),
    answered.exchange(
        4,
        answered.HOSTILE,
        started_us=NOON + 4 * HOUR,
        messages=[{"role": "user", "content": answered.HOSTILE}],
    ),
]
HERE = "/sessions/"


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        answered.store(*MADE)
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse + "_none")
        answered.store()
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse + "_ours")
        answered.store(answered.exchange(5, tags={"evaluation": "1"}))
    return clickhouse


@pytest.fixture(autouse=True)
def addresses(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled)


@pytest.fixture
def emil() -> Client:
    return people.client(people.engineer())


def test_only_engineers_get_in() -> None:
    assert people.client(None).get(HERE).headers["Location"].startswith(reverse("sign-in"))
    assert people.client(people.reviewer()).get(HERE).status_code == 403


def test_each_conversation_with_what_it_came_to(emil: Client) -> None:
    price = {"price_in": 1000, "price_out": 2000}
    ModelVersion.objects.create(
        name=MADE[0].model, kind="base", weights="b" * 64, tokenizer="c" * 64, **price
    )
    text = emil.get(HERE).text
    assert re.search(r"<b>3</b> conversations?, the one last spoken in first", text)
    rows = text.split("<tr data-row>")[1:]
    assert len(rows) == 3
    assert f'href="{reverse("session", args=["desk-1"])}"' in rows[1]
    assert re.search(r'data-label="Turns" class="num">2<', rows[1])
    assert "in 2 hours" in rows[1]
    assert "&lt;u&gt;7" in rows[1]
    assert "15&nbsp;%" in rows[1] or "15\N{NO-BREAK SPACE}%" in rows[1]
    assert re.search(r'data-label="Cost"[^>]*>\$\d', rows[1])
    assert f'href="{reverse("session", args=["desk/2 é"])}"' in rows[2]
    assert re.search(r'data-label="Failed".*?1</span>', rows[2])
    assert "<script>document" not in text


def test_every_link_of_a_row_leads_somewhere(emil: Client) -> None:
    for row in emil.get(HERE).text.split("<tr data-row>")[1:]:
        for link in re.findall(r'href="([^"]+)"', row):
            assert emil.get(link).status_code == 200


def test_the_explorers_line_filters_and_chips_drop_its_parts(emil: Client) -> None:
    text = emil.get(HERE, {"q": "session:desk-1 since:2026-11-01"}).text
    assert text.count("<tr data-row>") == 1
    assert 'href="/sessions/?q=session%3Adesk-1"' in text
    assert 'href="/exchanges/?q=session%3Adesk-1+since%3A2026-11-01"' in text
    listed = emil.get(reverse("exchanges"), {"q": "session:desk-1"}).text
    assert 'href="/sessions/?q=session%3Adesk-1"' in listed


def test_an_id_opens_its_exchange(emil: Client) -> None:
    found = emil.get(HERE, {"q": MADE[0].exchange_id})
    assert found.headers["Location"] == reverse("exchange", args=[MADE[0].exchange_id])


def test_older_and_newest_lead_through_all(emil: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer, "LIMIT", 2)
    first = emil.get(HERE).text
    older = re.search(r'href="(/sessions/\?before=[^"]+)" rel="next"', first)
    assert older
    second = emil.get(older[1]).text
    assert (first.count("<tr data-row>"), second.count("<tr data-row>")) == (2, 1)
    assert 'href="/sessions/">← Newest' in second
    assert 'rel="next"' not in second


def test_what_was_not_understood_is_named_and_stays(emil: Client) -> None:
    text = emil.get(HERE, {"q": "colour:red desk"}).text
    assert "there is no colour: to filter by" in text
    assert 'value="colour:red desk"' in text
    assert "nothing is shown" in text
    assert emil.get(HERE, {"before": "nonsense"}).text.count("<tr data-row>") == 3


def test_nothing_ever_nothing_found_and_nothing_to_ask(
    emil: Client, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No conversation has an" in emil.get(HERE, {"q": "user:nobody"}).text
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled + "_none")
    assert "Send the first one" in emil.get(HERE).text
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled + "_ours")
    with readers.as_the_system() as reading:
        assert session_list.context(QueryDict())["only_ours"]
        assert not reading.looked  # nobody is said to have seen what no page shows
    assert "Nobody but Flywheel itself has asked" in emil.get(HERE).text
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", "http://127.0.0.1:9/nobody")
    text = emil.get(HERE, {"q": "user:x"}).text
    assert "The trace store does not answer" in text
    assert 'value="user:x"' in text
