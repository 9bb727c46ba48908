"""Judgements reach the trace store as events: each once, whatever was interrupted; none while it is away."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from annotations import judging, leases, mirror
from annotations.judging import Judgement
from annotations.models import Annotation, Item, Mirror, Queue
from inference import clickhouse as store
from inference import queries, storing
from inference.clickhouse import Unavailable
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_views import signed_in
from tests.inference import spooled

pytestmark = pytest.mark.django_db
OTHER = "c3" * 32


@pytest.fixture
def judged(clickhouse: str, monkeypatch: pytest.MonkeyPatch, make_queue: MakeQueue, alice: User) -> Queue:
    """Six exchanges, two by other weights, judged: three approved, one rejected, one corrected."""
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    store.migrate()
    made = [*spooled.exchanges(range(4)), *spooled.exchanges(range(4, 6), weights=OTHER, model="better")]
    storing.store(store.connect(), made, f"batch-{made[0].exchange_id}", again=False)
    queue = make_queue(6, slug=f"q{made[0].exchange_id[-8:]}")
    for item, one in zip(queue.items.order_by("position"), made, strict=True):
        Item.objects.filter(pk=item.pk).update(exchange_id=one.exchange_id)
    for said in ("approve", "reject", "approve", "cant_judge", "correct", "approve"):
        place = leases.reserve(queue, alice, 1)[0]
        answer = "Skin" if said == "correct" else ""
        judging.judge(place.item, alice, place.key, Judgement(said, answer), seconds=3.0)
    return queue


def events(queue: Queue) -> list[dict[str, Any]]:
    found = store.connect().query(
        "SELECT toString(event_id) AS id, toString(exchange_id) AS exchange, data FROM events "
        "WHERE source = {source:String} ORDER BY at",
        {"source": f"queue {queue.slug}"},
    )
    return [{**row, "data": orjson.loads(row["data"])} for row in found.named_results()]


def rates(queue: Queue) -> dict[str, tuple[int, int]]:
    mine = {str(exchange) for exchange in queue.items.values_list("exchange_id", flat=True)}
    assert mine
    since = datetime.now(UTC) - timedelta(days=2)
    return {row.weights: (row.approved, row.judged) for row in queries.approval(since, "icd-chapter")}


def test_each_judgement_is_one_event_with_the_conventions_names(judged: Queue) -> None:
    assert mirror.run() == 6
    assert mirror.run() == 0
    found = events(judged)
    labels = [one["data"]["gen_ai.evaluation.score.label"] for one in found]
    assert labels == ["approve", "reject", "approve", "cant_judge", "correct", "approve"]
    assert [one["data"].get("gen_ai.evaluation.score.value") for one in found] == [1, 0, 1, None, 0, 1]
    assert {one["data"]["gen_ai.evaluation.name"] for one in found} == {judged.slug}
    assert {one["exchange"] for one in found} == {
        str(exchange) for exchange in judged.items.values_list("exchange_id", flat=True)
    }
    assert not Annotation.objects.filter(mirrored_at=None).exists()


@pytest.mark.parametrize("stored_before_it_died", [False, True])
def test_a_mirror_that_dies_leaves_nothing_out_and_nothing_twice(
    judged: Queue, monkeypatch: pytest.MonkeyPatch, stored_before_it_died: bool
) -> None:
    real = storing.store

    def die(*given: Any, **more: Any) -> None:
        if stored_before_it_died:
            real(*given, **more)
        raise Unavailable("killed")

    monkeypatch.setattr(storing, "store", die)
    with pytest.raises(Unavailable):
        mirror.run()
    assert Annotation.objects.filter(mirrored_at=None).count() == 6
    monkeypatch.setattr(storing, "store", real)
    assert mirror.run() == 6
    assert len({one["id"] for one in events(judged)}) == len(events(judged)) == 6


def test_a_second_mirror_does_nothing_while_one_holds_the_lease(judged: Queue) -> None:
    Mirror.objects.create(pk=1, token="another", until=timezone.now() + timedelta(minutes=1))
    assert mirror.run() == 0
    assert events(judged) == []
    Mirror.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert mirror.run() == 6


def test_the_rate_by_version_counts_what_stands(judged: Queue, alice: User) -> None:
    before = rates(judged)
    mirror.run()
    after = rates(judged)
    gained = {
        weights: tuple(b - a for a, b in zip(before.get(weights, (0, 0)), counts, strict=True))
        for weights, counts in after.items()
    }
    assert gained[spooled.WEIGHTS] == (2, 3)
    assert gained[OTHER] == (1, 2)
    last = Annotation.objects.filter(decision="approve").latest("id")
    judging.undo(judged, alice, last.key)
    mirror.run()
    approved, judged_ones = after[OTHER]
    assert rates(judged)[OTHER] == (approved - 1, judged_ones - 1)


def test_with_the_store_away_judging_goes_on_and_everything_waits(make_queue: MakeQueue, alice: User) -> None:
    place = leases.reserve(make_queue(2), alice)[0]
    judging.judge(place.item, alice, place.key, Judgement("approve"))
    with pytest.raises(Unavailable):
        mirror.run()
    assert Annotation.objects.filter(mirrored_at=None).count() == 1
    holder = Mirror.objects.get()
    assert holder.until is not None
    assert holder.until <= timezone.now()


def test_the_plot_is_one_page_for_engineers(judged: Queue, carol: User, alice: User, mallory: User) -> None:
    mirror.run()
    page = signed_in(carol).get("/approval/?route=icd-chapter&days=14").content.decode()
    assert "judgements of answers of the last 14 days on icd-chapter" in page
    assert "<svg" in page
    assert "better" in page
    nothing = signed_in(carol).get("/approval/?route=no-such-route&days=nonsense").content.decode()
    assert "Nobody approved" in nothing
    for outsider in (alice, mallory):
        assert signed_in(outsider).get("/approval/").status_code == 403
    assert Client().get("/approval/").status_code == 302


def test_what_the_reference_list_judged_is_counted_apart(judged: Queue) -> None:
    before = {weights: by for weights, by, _ in _by_reference()}
    Annotation.objects.exclude(decision="approve").update(source=Annotation.Source.REFERENCE)
    mirror.run()
    gained = {weights: by - before.get(weights, 0) for weights, by, _ in _by_reference()}
    assert gained == {spooled.WEIGHTS: 1, OTHER: 1}


def _by_reference() -> list[tuple[str, int, int]]:
    found = queries.approval(datetime.now(UTC) - timedelta(days=2), "icd-chapter")
    return [(row.weights, row.by_reference, row.judged) for row in found]


def test_the_page_says_what_the_reference_list_judged(carol: User, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        queries.Approval(date(2026, 7, day), weights, model, 100, 50, by)
        for day, weights, model, by in ((1, "a", "old", 0), (2, "a", "old", 90), (2, "b", "new", 30))
    ]
    monkeypatch.setattr(queries, "approval", lambda since, route: rows)
    page = signed_in(carol).get("/approval/").content.decode()
    assert "People approved" not in page
    assert "▲ 120 of them are the reference reviewer’s, a list of known answers and not a person" in page
    page = page[page.index("By version") :]
    old = page[page.index(">old</th>") : page.index(">new</th>")]
    for told in ('data-label="Judged">200<', "50\xa0%", "(43–57)", "▲ 90"):
        assert told in old
    monkeypatch.setattr(queries, "approval", lambda since, route: rows[:1])
    page = signed_in(carol).get("/approval/").content.decode()
    assert "People approved" in page
    assert "reference" not in page


def test_without_the_store_the_plot_says_so(carol: User) -> None:
    assert signed_in(carol).get("/approval/").status_code == 503
