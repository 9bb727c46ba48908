"""What a route keeps no longer goes, apart; what is held stays; a run is bounded; a page says it first."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from annotations.models import Item
from flywheel import copies, retention
from flywheel.models import Expiry
from inference import clickhouse
from inference import retention as store_retention
from inference.clickhouse import Store
from inference.drain import Drain
from inference.models import Route
from inference.rows import TABLES
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
    for table in (*(table.name for table in TABLES), "held"):
        clickhouse_process.run(f"TRUNCATE TABLE {clickhouse.rpartition('/')[2]}.{table}")
    return connect()


def migrate() -> None:
    clickhouse.migrate()


def connect() -> Store:
    return clickhouse.connect()


def keep(store: Store, spool: Path, *days: int, route: str = "icd-chapter") -> list[str]:
    """An exchange so many days old each, with feedback and a span of the application's; returns their ids."""
    raws = []
    for number, age in enumerate(days):
        at = int((NOW - timedelta(days=age)).timestamp() * 1e6)
        one = spooled.raw(uuid.uuid4().int >> 66, started_us=at, route=route, text="secret answer")
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
        runs += retention.run(NOW) is not None
    return runs


def test_bodies_tokens_and_metadata_expire_apart(store: Store, tmp_path: Path) -> None:
    Route.objects.create(name="icd-chapter", tokens_days=5, bodies_days=10, metadata_days=20)
    Route.objects.create(name="other")
    _, tokens, bodies, gone = keep(store, tmp_path, 1, 6, 11, 21)
    keep(store, tmp_path, 400, route="other")
    due = {(one.route, one.part): one.exchanges for one in retention.preview(NOW)}
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
