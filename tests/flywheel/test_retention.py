"""What a route keeps no longer goes, apart; what is held stays; a run is bounded; a page says it first."""

import os
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import models
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from annotations.models import Item
from flywheel import copies, retention, tasks
from flywheel.models import Erasure, Evaluation, EvaluationCase, Expiry, Job
from inference import audit, clickhouse
from inference import retention as store_retention
from inference.aside import LOOK_SECONDS, Aside
from inference.audit import Look
from inference.clickhouse import Store, Unavailable
from inference.drain import Drain
from inference.models import Route
from inference.quarantine import Quarantine
from inference.raw import RawExchange
from inference.rows import TABLES
from inference.spool import KeyMissingError, Keys
from tests import people
from tests.clickhouse_fixture import ClickHouseProcess
from tests.flywheel.desk import open_desk
from tests.inference import spooled
from tests.inference.test_erasing import application_spans

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.fixture
def store(clickhouse_process: ClickHouseProcess, clickhouse: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    migrate()
    for table in (*(table.name for table in TABLES), "held", "kept_from"):
        clickhouse_process.run(f"TRUNCATE TABLE {clickhouse.rpartition('/')[2]}.{table}")
    return connect()


def migrate() -> None:
    clickhouse.migrate()


def connect() -> Store:
    return clickhouse.connect()


def keep(
    store: Store, spool: Path, *days: int, route: str = "icd-chapter", model: str = "smollm2-135m"
) -> list[str]:
    """An exchange so many days old each, with feedback and a span of the application's; returns their ids."""
    raws = []
    for number, age in enumerate(days):
        at = int((NOW - timedelta(days=age)).timestamp() * 1e6)
        one = spooled.raw(
            uuid.uuid4().int >> 66, started_us=at, route=route, model=model, text="secret answer"
        )
        said = spooled.event(one.exchange_id, comment="secret", thumbs="down", score=0.25, at_us=at)
        raws += [one, said, application_spans(one.opened["trace_id"], document=f"secret {number}")]
    spooled.spool(spool, raws)
    drain = Drain(spool)
    while drain.step():
        pass
    drain.close()
    return [raw.exchange_id for raw in raws if "kind" not in raw.opened]


def rows(store: Store) -> dict[str, int]:
    return {t.name: store.query(f"SELECT count() FROM {t.name}").result_rows[0][0] for t in TABLES}


def run_all() -> int:
    """As beat does, hour after hour, until nothing is due. Returns how many runs began something."""
    runs = 0
    for _ in range(50):
        while store_retention.busy(clickhouse.connect()):
            time.sleep(0.02)
        if retention.run(NOW) is None:
            break
        runs += 1
    return runs


def test_bodies_tokens_and_metadata_expire_apart(store: Store, tmp_path: Path) -> None:
    Route.objects.create(name="icd-chapter", tokens_days=5, bodies_days=10, metadata_days=20)
    Route.objects.create(name="other")
    _, tokens, bodies, gone = keep(store, tmp_path, 1, 6, 11, 21)
    keep(store, tmp_path, 400, route="other")
    due = {(one.route, one.part): one.exchanges for one in retention.preview(NOW) if one.exchanges}
    assert due == {("icd-chapter", "tokens"): 3, ("icd-chapter", "bodies"): 2, ("icd-chapter", "metadata"): 1}
    assert run_all() <= 4
    assert rows(store) == {"tokens": 2, "exchanges": 4, "facts": 4, "events": 4, "spans": 4 + 3}
    found = store.query(
        "SELECT toString(exchange_id), request = '', cleared, length(prompt_token_ids) FROM exchanges "
        "WHERE route = 'icd-chapter' ORDER BY started_at"
    ).result_rows
    assert [tuple(row) for row in found][:2] == [(bodies, 1, "expired", 0), (tokens, 0, "", 2)]
    ((question, answer, cleared),) = store.query(
        "SELECT question, answer, cleared FROM facts WHERE exchange_id = {id:UUID}", {"id": bodies}
    ).result_rows
    assert (question, answer, cleared) == ("", "", "expired")
    ((data, thumbs, score),) = store.query(
        "SELECT data, thumbs, score FROM events WHERE exchange_id = {id:UUID}", {"id": bodies}
    ).result_rows
    assert "secret" not in data
    assert (thumbs, score) == ("down", 0.25)
    assert not store.query("SELECT 1 FROM facts WHERE exchange_id = {id:UUID}", {"id": gone}).result_rows
    assert [one for one in retention.preview(NOW) if one.exchanges] == []
    client = Client()
    client.force_login(people.engineer())
    assert "is not kept any longer" in client.get(f"/exchanges/{bodies}/").content.decode()
    assert "is not kept any longer" not in client.get(f"/exchanges/{tokens}/").content.decode()


def test_what_a_dataset_uses_is_held_and_a_queues_copy_expires(store: Store, tmp_path: Path) -> None:
    desk = open_desk()
    Route.objects.filter(name="icd-chapter").update(tokens_days=5, bodies_days=5, metadata_days=5)
    ids = keep(store, tmp_path / "spool", *([9] * 12))
    for exchange_id in ids[:10]:
        item = desk.judge(f"phrase {exchange_id}", "Eye")
        Item.objects.filter(pk=item.pk).update(exchange_id=exchange_id, started_at=NOW - timedelta(days=9))
    desk.build(exam_rows=3, train_rows=2)
    used = set(Item.objects.exclude(dataset_rows=None).values_list("exchange_id", flat=True))
    assert len(used) == 5
    run_all()
    stored = {
        (str(i), bool(body))
        for i, body in store.query("SELECT exchange_id, request != '' FROM exchanges").result_rows
    }
    assert {i for i, whole in stored if whole} == set(map(str, used))
    assert store.query("SELECT count() FROM tokens").result_rows == [(5,)]
    emptied = Item.objects.filter(verdict_rule=copies.EXPIRED_RULE)
    assert {str(item.exchange_id) for item in emptied} == set(ids[:10]) - set(map(str, used))
    assert all("phrase" not in str(item.messages) + item.answer for item in emptied)
    # Nothing but what a version uses is left: the copies are gone, so nobody needs their metadata.
    assert {i for i, _ in stored} == set(map(str, used))


def test_nothing_is_begun_while_something_is_at_work(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Route.objects.create(name="icd-chapter", tokens_days=5)
    keep(store, tmp_path, 9)
    monkeypatch.setattr(store_retention, "busy", lambda _: True)
    assert retention.run(NOW) is None
    assert rows(store)["tokens"] == 1


def test_a_run_is_bounded_and_later_ones_go_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Route.objects.create(name="icd-chapter", tokens_days=5)
    keep(store, tmp_path, 9, 70, 140)  # in three months
    monkeypatch.setattr(store_retention, "MOST", 1)
    assert run_all() == 3
    assert rows(store)["tokens"] == 0


@pytest.mark.parametrize(
    ("tokens", "bodies", "metadata", "wrong"),
    [(5, 10, 20, ""), (None, None, None, ""), (5, None, None, ""), (10, 10, 10, ""),
     (11, 10, None, "tokens_days"), (None, 10, None, "tokens_days"), (5, None, 20, "bodies_days"),
     (5, 30, 20, "bodies_days")],
)  # fmt: skip
def test_what_spells_a_text_cannot_outlive_it(
    tokens: int | None, bodies: int | None, metadata: int | None, wrong: str
) -> None:
    route = Route(name="r", tokens_days=tokens, bodies_days=bodies, metadata_days=metadata)
    if not wrong:
        route.full_clean()
        return
    with pytest.raises(ValidationError) as error:
        route.full_clean()
    assert set(error.value.message_dict) == {wrong}


def test_the_page_is_for_operators_and_works_without_the_store() -> None:
    Route.objects.create(name="icd-chapter", bodies_days=30, tokens_days=30)
    Expiry.objects.create(removed={"bodies in exchanges": 12}, at=timezone.now())
    for user, status in ((None, 302), (people.reviewer(), 403), (people.engineer(), 403)):
        client = Client()
        if user is not None:
            client.force_login(user)
        assert client.get("/retention/").status_code == status
    client = Client()
    client.force_login(people.operator())
    page = client.get("/retention/").content.decode()
    for words in ("can’t be asked", "30 days", "for ever", "12 bodies in exchanges"):
        assert words in page


def test_calls_by_a_versions_name_go_by_the_fewest_days_of_any_route(store: Store, tmp_path: Path) -> None:
    Route.objects.create(name="icd-chapter", bodies_days=10, tokens_days=10, metadata_days=30)
    Route.objects.create(name="other", bodies_days=20, tokens_days=5)
    young, tokens, bodies, gone = keep(store, tmp_path, 4, 6, 11, 31, route="version:desk-0a1b")
    due = {one.part: one.exchanges for one in retention.preview(NOW) if one.route == "version:"}
    assert due == {"tokens": 3, "bodies": 2, "metadata": 1}
    run_all()
    left = {
        str(one): bool(body)
        for one, body in store.query("SELECT exchange_id, request != '' FROM exchanges").result_rows
    }
    assert left == {young: True, tokens: True, bodies: False}
    assert store.query("SELECT toString(exchange_id) FROM tokens").result_rows == [(young,)]
    assert gone not in left


def test_what_a_deleted_route_left_is_told_and_kept(store: Store, tmp_path: Path) -> None:
    Route.objects.create(name="icd-chapter", bodies_days=10, tokens_days=10, metadata_days=30)
    keep(store, tmp_path, 400, 401, route="deleted")
    keep(store, tmp_path, 1)
    assert retention.gone() == [("deleted", 2)]
    client = Client()
    client.force_login(people.operator())
    page = client.get("/retention/").content.decode()
    assert "2 exchanges kept for ever" in page
    run_all()
    assert rows(store)["exchanges"] == 3


def test_what_was_refused_before_it_had_a_route_goes_by_the_fewest_days(store: Store, tmp_path: Path) -> None:
    Route.objects.create(name="icd-chapter", bodies_days=10, tokens_days=10, metadata_days=30)
    Route.objects.create(name="other", bodies_days=20, tokens_days=20)
    young, old, gone = keep(store, tmp_path, 9, 11, 31, route="")
    (deleted,) = keep(store, tmp_path, 400, route="deleted")
    run_all()
    found = store.query("SELECT toString(exchange_id), request != '' FROM exchanges").result_rows
    left = {str(one): bool(body) for one, body in found}
    assert left == {young: True, old: False, deleted: True}
    assert gone not in left


def test_a_model_that_never_was_makes_no_route(store: Store, tmp_path: Path) -> None:
    """What was asked for stands in the row of a refused call; whoever has a key can ask for anything."""
    Route.objects.create(name="icd-chapter", bodies_days=10, tokens_days=10, metadata_days=30)
    Route.objects.create(name="kept")
    young, gone = keep(store, tmp_path, 9, 31, route="gpt-4o' OR 1", model="")
    (refused,) = keep(store, tmp_path, 400, route="kept", model="")
    assert retention.gone() == []
    run_all()
    left = {str(one) for (one,) in store.query("SELECT toString(exchange_id) FROM exchanges").result_rows}
    assert left == {young, refused}
    assert gone not in left


def test_an_exams_answers_to_a_held_row_are_held(store: Store, tmp_path: Path) -> None:
    desk = open_desk()
    Route.objects.filter(name="icd-chapter").update(tokens_days=5, bodies_days=5, metadata_days=5)
    first, second, third = keep(store, tmp_path, 9, 9, 9, route="version:desk-0a1b")
    desk.fill(10)
    version, adapter = desk.build(), desk.adapter()
    evaluation = Evaluation.objects.create(
        dataset_version=version,
        baseline=desk.base,
        candidate=adapter,
        route=desk.route,
        job=Job.objects.create(kind=Job.Kind.EVALUATION, key="e"),
    )
    EvaluationCase.objects.create(
        evaluation=evaluation,
        row=version.rows.all()[0],
        question="q",
        expected="a",
        baseline_exchange=first,
        candidate_exchange=second,
    )
    run_all()
    stored = store.query("SELECT toString(exchange_id) FROM exchanges WHERE request != ''").result_rows
    assert {one for (one,) in stored} == {first, second}
    assert store.query("SELECT count() FROM tokens").result_rows == [(2,)]
    assert third not in {first, second}


def aside(spool: Path, *records: tuple[str, int | None]) -> Path:
    """A quarantine with a record for each route, so many days old; None: its header doesn't say."""
    folder = spool / "quarantine"
    folder.mkdir(parents=True, exist_ok=True)
    for number, (route, age) in enumerate(records):
        opened: dict[str, object] = {"route": route} if route else {"kind": "event"}
        if age is not None:
            opened["started_us" if route else "at_us"] = int((NOW - timedelta(days=age)).timestamp() * 1e6)
        content = {"exchange_id": str(number), "attempt": 0, "opened": opened, "closed": {}}
        (folder / f"{number}-0.json").write_bytes(orjson.dumps(content | {"request": "", "response": ""}))
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_kept_aside_goes_by_its_route(store: Store, tmp_path: Path) -> None:
    Route.objects.create(name="icd-chapter", bodies_days=10)
    other = Route.objects.create(name="other", bodies_days=20)
    records = [("icd-chapter", 9), ("icd-chapter", 11), ("other", 19), ("other", 21), ("version:x", 11)]
    folder = aside(tmp_path, *records, ("", 11), ("", 21), ("deleted", 19), ("icd-chapter", None))
    (folder / "a note.json").write_text("[]")
    (folder / "damage.jsonl").write_text("{}")
    old = (NOW - timedelta(days=400)).timestamp()
    os.utime(folder / "8-0.json", (old, old))
    now = 1000.0
    quarantine = Aside(tmp_path, connect, lambda: now)
    assert quarantine.expire() == 0  # nothing is known of any route
    run_all()
    assert quarantine.expire() == 0  # and that holds for a while
    now += LOOK_SECONDS
    assert quarantine.expire() == 5
    left = ["0-0.json", "2-0.json", "5-0.json", "7-0.json", "a note.json", "damage.jsonl"]
    assert names(folder) == left
    # One that keeps for ever keeps also what is of no route.
    Route.objects.filter(pk=other.pk).update(bodies_days=None)
    aside(tmp_path, *records)
    retention.run(NOW)
    now += LOOK_SECONDS
    assert quarantine.expire() == 2
    assert names(folder) == sorted([*left, "3-0.json"])


def test_what_was_kept_aside_encrypted_expires_with_its_key_only(store: Store, tmp_path: Path) -> None:
    Route.objects.create(name="icd-chapter", bodies_days=10)
    keys = Keys.parse("0f" * 32)
    quarantine = Quarantine(tmp_path, keys)
    for number, age in enumerate((9, 11)):
        at_us = int((NOW - timedelta(days=age)).timestamp() * 1e6)
        opened = {"route": "icd-chapter", "started_us": at_us}
        quarantine.keep(RawExchange(str(number), 0, opened, b"", b"", {}), "as a test")
    retention.run(NOW)
    run_all()
    for missing in (None, Keys.parse("a1" * 32)):
        with pytest.raises(KeyMissingError, match=keys.ids[0]):
            Aside(tmp_path, connect, keys=missing).expire()
    drain = Drain(tmp_path, keys=keys)
    drain.step()
    drain.close()
    assert names(tmp_path / "quarantine") == ["0-0.json"]


def test_a_drain_lets_expire_what_it_kept_aside(store: Store, tmp_path: Path) -> None:
    Route.objects.create(name="icd-chapter", bodies_days=10)
    folder = aside(tmp_path, ("icd-chapter", 11), ("icd-chapter", 9))
    retention.run(NOW)
    keep(store, tmp_path, 1)
    assert names(folder) == ["1-0.json"]


def looks(*moments: datetime) -> list[int]:
    """A look at each moment; returns their keys."""
    who = people.engineer("lola")
    return [Look.objects.create(who=who, place="exchange", count=1, at=at).pk for at in moments]


def left() -> list[int]:
    return sorted(Look.objects.values_list("pk", flat=True))


def test_old_looks_go_with_the_trace_store_away_and_younger_ones_stay(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LOOKS_DAYS = 10
    monkeypatch.setattr(audit, "_AT_ONCE", 2)
    midnight = datetime(2026, 11, 10, tzinfo=UTC)
    before = [
        midnight - timedelta(microseconds=1),
        *(midnight - timedelta(days=age) for age in (1, 9, 90, 900)),
    ]
    # Entries are not always in the order of their times: clocks are set back.
    young = looks(NOW, *before[:3], midnight, *before[3:], NOW - timedelta(days=9))
    young = [young[0], young[4], young[-1]]
    with pytest.raises(Unavailable):
        retention.run(NOW)
    assert left() == young
    assert Expiry.objects.get().removed == {retention.LOOKS: 5}
    with pytest.raises(Unavailable):
        retention.run(NOW)
    assert left() == young
    assert Expiry.objects.count() == 1, "a run that removed nothing is none"


@pytest.mark.parametrize("days", [0, -1])
def test_looks_are_kept_for_ever_unless_somebody_says_otherwise(settings: Settings, days: int) -> None:
    assert settings.LOOKS_DAYS == 0
    settings.LOOKS_DAYS = days
    kept = looks(NOW - timedelta(days=4000), NOW + timedelta(days=1))
    tasks.expire()
    assert left() == kept
    assert not Expiry.objects.exists()


def test_nothing_else_goes_with_the_looks_however_old_it_is(settings: Settings) -> None:
    settings.LOOKS_DAYS = 10
    desk = open_desk()
    desk.fill(10)
    desk.build()
    desk.adapter()
    desk.queue.events.create(who=people.operator("otto"), act="made")
    Expiry.objects.create(removed={"bodies in exchanges": 12})
    Erasure.objects.create(job=Job.objects.create(kind=Job.Kind.ERASURE, key="erased"), before=NOW)
    looks(NOW)
    kept = [model for model in apps.get_models() if model is not Look]
    everything: list[type[models.Model]] = [Look, *kept]
    for model in everything:
        times = [one.name for one in model._meta.fields if isinstance(one, models.DateTimeField)]
        model._default_manager.update(**dict.fromkeys(times, NOW - timedelta(days=4000)))
    before = {model: model._default_manager.count() for model in kept}
    tasks.expire()
    assert left() == []
    before[Expiry] += 1  # the note of it
    assert {model: model._default_manager.count() for model in kept} == before
    assert sum(map(bool, before.values())) > 15, "too little was there to lose"


def test_what_is_held_stays_known_when_looks_go(store: Store, tmp_path: Path, settings: Settings) -> None:
    desk = open_desk()
    Route.objects.filter(name="icd-chapter").update(tokens_days=5, bodies_days=5, metadata_days=5)
    (used, _) = keep(store, tmp_path / "spool", 9, 9)
    desk.fill(10)
    Item.objects.filter(pk=desk.build().rows.all()[0].item_id).update(exchange_id=used)
    run_all()
    held = [(one.part, one.held) for one in retention.preview(NOW) if one.held]
    assert held
    settings.LOOKS_DAYS = 10
    looks(NOW - timedelta(days=11))
    # It ends before it is noted anew what is held.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_retention, "busy", lambda _: True)
        assert retention.run(NOW) is None
    assert retention.LOOKS in Expiry.objects.all()[0].removed
    assert [(one.part, one.held) for one in retention.preview(NOW) if one.held] == held


def test_the_page_says_how_long_looks_are_kept(settings: Settings) -> None:
    client = people.client(people.operator())
    assert "log of looks for ever" in client.get("/retention/").content.decode()
    settings.LOOKS_DAYS = 400
    Expiry.objects.create(removed={retention.LOOKS: 12})
    page = client.get("/retention/").content.decode()
    assert "log of looks for 400 days" in page
    assert "12 entries in the log of looks" in page
