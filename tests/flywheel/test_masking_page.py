"""The page that shows what masking would do: for operators, keeps nothing, works without the trace store."""

from pathlib import Path

import pytest
from django.test import Client

from inference import clickhouse
from inference.drain import Drain
from inference.models import Route
from inference.snapshots import build
from tests import people
from tests.inference import spooled

pytestmark = pytest.mark.django_db


def client_of_an_operator() -> Client:
    client = Client()
    client.force_login(people.operator())
    return client


def test_only_operators_get_in() -> None:
    for user, status in ((None, 302), (people.reviewer(), 403), (people.engineer(), 403)):
        client = Client()
        if user is not None:
            client.force_login(user)
        assert client.get("/masking/").status_code == status
        assert client.post("/masking/", {"text": "x"}).status_code == status


def test_a_text_is_shown_with_its_placeholders_and_escaped() -> None:
    Route.objects.create(name="desk", mask=True)
    text = "<script>alert(1)</script> mail anna@example.org"
    page = client_of_an_operator().post("/masking/", {"text": text}).content.decode()
    assert "<mark>[email " in page
    assert "<script>alert" not in page
    assert "1</b> of 1 route masks personal data" in page


def test_a_routes_switch_reaches_the_proxies() -> None:
    Route.objects.create(name="desk", mask=True)
    Route.objects.create(name="other")
    assert {name: one["mask"] for name, one in build()["routes"].items()} == {"desk": True, "other": False}


def test_without_the_store_it_says_so() -> None:
    Route.objects.create(name="desk")
    page = client_of_an_operator().get("/masking/?route=desk").content.decode()
    assert "can’t be asked now" in page
    assert client_of_a_second_operator().get("/masking/?route=nobody").status_code == 200


def client_of_a_second_operator() -> Client:
    client = Client()
    client.force_login(people.operator("otto"))
    return client


def test_a_routes_last_exchanges_are_shown(
    clickhouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_CLICKHOUSE_URL", clickhouse)
    migrate()
    Route.objects.create(name="icd-chapter")
    asked = [{"role": "user", "content": "card 4111 1111 1111 1111"}]
    spooled.spool(tmp_path, [spooled.raw(1, messages=asked), spooled.raw(2)])
    drain = Drain(tmp_path)
    while drain.step():
        pass
    drain.close()
    page = client_of_an_operator().get("/masking/?route=icd-chapter").content.decode()
    assert "1 text of the last 2 exchanges" in page
    assert "4111 1111" not in page


def migrate() -> None:
    clickhouse.migrate()
