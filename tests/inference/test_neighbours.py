"""From an exchange to the next in the list it was opened from."""

import re
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import reverse

from inference import filters, queries, readers
from inference.exchange import Exchange
from inference.queries import Cursor
from tests import people
from tests.inference import answered

pytestmark = pytest.mark.django_db
AT = 1_795_400_000_000_000
# Two of one moment, and one of another route between the others.
MANY = [
    answered.exchange(n, f"cough {n}", route="billing" if n == 2 else "icd", started_us=AT + max(n, 1) * 1000)
    for n in range(5)
]


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse + "_along")
        answered.store(*MANY)
    return clickhouse + "_along"


@pytest.fixture(autouse=True)
def address(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled)


@pytest.fixture
def emil() -> Client:
    return people.client(people.engineer())


def listed(line: str) -> list[Cursor]:
    with readers.as_the_system():
        return [row.cursor for row in queries.explore(filters.parse(line)).rows]


def walk(client: Client, address: str, way: str) -> Iterator[str]:
    """The ids of the exchanges to which ``way`` leads, one after the other."""
    while found := re.search(rf'rel="{way}" href="([^"]+)"', client.get(address).text):
        address = found[1].replace("&amp;", "&")
        yield address.split("/")[2]


@pytest.mark.parametrize("line", ["", "route:icd"])
def test_the_way_along_a_list_meets_each_of_its_exchanges_once(emil: Client, line: str) -> None:
    ids = [one.exchange_id for one in listed(line)]
    assert len(ids) == (4 if line else 5)
    page = emil.get(reverse("exchanges"), {"q": line}).text
    first, last = (re.search(rf'href="(/exchanges/{one}/[^"]*)"', page) for one in (ids[0], ids[-1]))
    assert first
    assert last
    assert list(walk(emil, first[1].replace("&amp;", "&"), "next")) == ids[1:]
    assert list(walk(emil, last[1].replace("&amp;", "&"), "prev")) == ids[-2::-1]


def test_an_exchange_that_the_list_does_not_hold_has_neighbours_in_it(emil: Client) -> None:
    ids = [one.exchange_id for one in listed("route:icd")]
    other = reverse("exchange", args=[MANY[2].exchange_id]) + "?list=route:icd"
    assert next(walk(emil, other, "prev")) == ids[ids.index(MANY[3].exchange_id)]
    assert next(walk(emil, other, "next")) in (MANY[0].exchange_id, MANY[1].exchange_id)


def page(emil: Client, one: Exchange, query: str) -> str:
    answer = emil.get(reverse("exchange", args=[one.exchange_id]) + query)
    assert answer.status_code == 200
    return answer.text


def test_the_view_and_the_list_stay_on_the_way(emil: Client) -> None:
    text = page(emil, MANY[3], "?view=text&list=route:icd")
    assert 'href="/exchanges/?q=route%3Aicd">Exchanges</a>' in text
    assert re.search(r'rel="prev" href="[^"]+\?view=text&amp;list=route%3Aicd"', text)
    assert re.search(r'rel="next" href="[^"]+\?view=text&amp;list=route%3Aicd"', text)
    assert 'href="?view=heat&amp;list=route%3Aicd"' in text


@pytest.mark.parametrize("query", ["", "?list=nobody:knows", "?list=%22", "?list=since:yesterday-ish"])
def test_without_a_list_that_can_be_read_there_is_no_way(emil: Client, query: str) -> None:
    text = page(emil, MANY[3], query)
    assert 'rel="next"' not in text
    assert 'rel="prev"' not in text
    assert 'href="/exchanges/">Exchanges</a>' in text


def test_the_ends_of_a_list_lead_nowhere(emil: Client) -> None:
    assert 'rel="prev"' not in page(emil, MANY[4], "?list=")
    assert "the oldest of its list" in page(emil, MANY[0], "?list=") + page(emil, MANY[1], "?list=")
