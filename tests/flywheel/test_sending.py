"""Exchanges go from the explorer into queues, whole lists or ticked ones; never into a draw by chance."""

from collections.abc import Iterator

import pytest
from django.urls import reverse

from annotations.models import Queue
from flywheel.models import Dataset
from tests import people
from tests.inference import answered

pytestmark = pytest.mark.django_db
ALL = [answered.exchange(number, f"case {number}") for number in range(1, 5)]


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
        answered.store(*ALL)
        yield clickhouse


@pytest.fixture(autouse=True)
def queues(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", filled)
    picked = Queue.objects.create(slug="picked", name="Picked", order="newest")
    Queue.objects.create(slug="drawn", name="Drawn", order="random")
    Queue.objects.create(slug="over", name="Finished", order="newest", state="closed")
    Dataset.objects.create(name="chapters", queue=picked)


def items(slug: str) -> set[str]:
    return {str(one) for one in Queue.objects.get(slug=slug).items.values_list("exchange_id", flat=True)}


def test_who_may_not_get_in() -> None:
    stranger, rita = people.client(None), people.client(people.reviewer())
    for send in ({"q": ""}, {"id": ALL[0].exchange_id}):
        assert stranger.get(reverse("exchange-send"), send).headers["Location"].startswith("/sign-in/")
        answer = rita.get(reverse("exchange-send"), send)
        assert answer.status_code == 403
        assert "case" not in answer.text
        assert rita.post(reverse("exchange-send"), {**send, "queue": "picked"}).status_code == 403
    assert items("picked") == set()


def test_ticked_ones_go_into_a_queue_once() -> None:
    emil = people.client(people.engineer())
    ids = [ALL[0].exchange_id, ALL[2].exchange_id]
    page = emil.get(reverse("exchange-send"), {"id": ids, "q": "end:stop", "to": "queue"})
    assert "2 exchanges match" in page.text
    assert "Finished" not in page.text
    sent = {"q": f"id:{','.join(ids)}", "queue": "picked"}
    assert emil.post(reverse("exchange-send"), sent).headers["Location"] == "/queues/picked/"
    assert items("picked") == set(ids)
    emil.post(reverse("exchange-send"), sent)
    assert Queue.objects.get(slug="picked").size == 2
    emil.post(reverse("exchange-send"), {"q": "", "queue": "picked"})
    assert len(items("picked")) == 4


@pytest.mark.parametrize("slug", ["drawn", "over"])
def test_a_draw_by_chance_and_a_closed_queue_take_none(slug: str) -> None:
    emil = people.client(people.engineer())
    answer = emil.post(reverse("exchange-send"), {"q": "", "queue": slug}, follow=True)
    assert "Nothing was added" in answer.text
    assert items(slug) == set()


def test_a_dataset_takes_them_through_its_queue() -> None:
    emil = people.client(people.engineer())
    page = emil.get(reverse("exchange-send"), {"q": "", "to": "dataset"}).text
    assert "chapters" in page
    assert "Drawn" not in page
    assert "Drawn" in emil.get(reverse("exchange-send"), {"q": "", "to": "queue"}).text


def test_a_line_that_is_not_understood_is_named() -> None:
    emil = people.client(people.engineer())
    assert "“rote:x”" in emil.get(reverse("exchange-send"), {"q": "rote:x"}).text
    answer = emil.post(reverse("exchange-send"), {"q": "rote:x", "queue": "picked"}, follow=True)
    assert "“rote:x”" in answer.text
