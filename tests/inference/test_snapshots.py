"""From a change in the database to a proxy that follows it."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from inference import internal, snapshots
from inference.follower import Follower
from inference.models import ApiKey, ModelVersion, Proxy, Route, RouteTarget, Upstream
from inference.routing import Limits, Snapshot
from tests.inference.double import free_port
from tests.patience import patiently

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Route:
    """A route to an adapter over a base, on one engine; a key for it."""
    settings.INTERNAL_TOKEN = "between us"
    monkeypatch.setattr(internal, "WAIT_SECONDS", 0.0)
    engine = Upstream.objects.create(name="one", base_url="http://127.0.0.1:9/")
    base = ModelVersion.objects.create(name="small", kind="base", weights="a" * 64, tokenizer="c" * 64)
    adapter = ModelVersion.objects.create(name="small-b", kind="adapter", base=base, weights="b" * 64)
    for version in (base, adapter):
        version.upstreams.add(engine)
    route = Route.objects.create(name="desk")
    RouteTarget.objects.create(route=route, model_version=adapter, weight=10)
    return route


def issue(name: str = "clinic", **fields: Any) -> tuple[ApiKey, str]:
    key = ApiKey(name=name, **fields)
    secret = key.issue()
    key.save()
    return key, secret


def ask(after: int = 0, token: str = "between us", **more: str) -> Any:
    return Client().get(
        "/internal/routing", {"after": str(after), **more}, headers={"authorization": f"Bearer {token}"}
    )


def test_a_snapshot_says_what_people_decided(desk: Route) -> None:
    key, secret = issue(expires_at=datetime(2030, 1, 1, tzinfo=UTC))
    key.routes.add(desk)
    answer = ask()
    assert answer.status_code == 200
    found = Snapshot.parse(answer.json())
    assert found.number == snapshots.number()
    authorised = found.authorise(secret, now=1_800_000_000)
    assert authorised is not None
    assert (authorised.name, authorised.routes) == ("clinic", frozenset({"desk"}))
    assert found.authorise(secret, now=1_893_456_000) is None
    version = found.route(authorised, "desk").pick()
    assert (version.name, version.weights, version.base_weights) == ("small-b", "b" * 64, "a" * 64)
    assert version.tokenizer == "c" * 64
    assert [upstream.base_url for upstream in version.upstreams] == ["http://127.0.0.1:9"]


def test_limits_prices_and_choices_travel(desk: Route) -> None:
    _, secret = issue(requests_per_minute=60, monthly_budget=Decimal("12.50"), every_route=True)
    _, free = issue("free", every_route=True)
    ModelVersion.objects.filter(name="small").update(price_in=Decimal("0.15"), price_out=Decimal("0.6"))
    ModelVersion.objects.filter(name="small-b").update(price_out=Decimal("0.001"))
    desk.targets.update(most_in_flight=4)
    desk.sticky, desk.balance = "key", "prefix"
    desk.save()
    found = Snapshot.parse(ask().json())
    limited, unlimited = found.authorise(secret, now=0), found.authorise(free, now=0)
    assert limited is not None
    assert unlimited is not None
    assert limited.limits == Limits(requests=60, budget=12_500_000_000)
    assert unlimited.limits is None
    route = found.routes["desk"]
    assert (route.sticky, route.balance, route.most) == ("key", "prefix", {"small-b": 4})
    assert found.versions["small"].cost(1_000_000, 1_000_000) == 750_000_000
    assert found.versions["small-b"].cost(1_000_000, 1_000_000) == 151_000_000, (
        "what it has not is its base's"
    )


def test_a_key_of_one_route_may_call_nothing_when_the_route_is_gone(desk: Route) -> None:
    key, secret = issue()
    key.routes.add(desk)
    desk.targets.all().delete()
    desk.delete()
    Route.objects.create(name="other")
    authorised = Snapshot.parse(snapshots.build()).authorise(secret, now=0)
    assert authorised is not None
    assert Snapshot.parse(snapshots.build()).routes_for(authorised) == []
    key.every_route = True
    key.save()
    found = Snapshot.parse(snapshots.build())
    authorised = found.authorise(secret, now=0)
    assert authorised is not None
    assert [route.name for route in found.routes_for(authorised)] == ["other"]


def test_a_revoked_key_and_an_engine_put_aside_are_not_in_it(desk: Route) -> None:
    key, secret = issue()
    key.revoked_at = datetime(2026, 1, 1, tzinfo=UTC)
    key.save()
    engine = Upstream.objects.get(name="one")
    engine.enabled = False
    engine.save()
    found = Snapshot.parse(snapshots.build())
    assert found.authorise(secret, now=0) is None
    assert found.versions["small-b"].upstreams == ()


def test_every_change_is_published(desk: Route) -> None:
    key, _ = issue()
    target = desk.targets.get()
    engine = Upstream.objects.get(name="one")
    version = ModelVersion.objects.get(name="small")
    changes: list[Callable[[], object]] = [
        key.save,
        lambda: key.routes.add(desk),
        key.routes.clear,
        desk.save,
        target.save,
        target.delete,
        lambda: version.upstreams.remove(engine),
        version.save,
        engine.save,
        key.delete,
    ]
    for change in changes:
        before = snapshots.number()
        change()
        assert snapshots.number() > before


@pytest.mark.parametrize("token", ["", "wrong", "between us "])
def test_strangers_get_nothing(desk: Route, token: str) -> None:
    assert ask(token=token).status_code == 403


def test_without_a_token_nobody_gets_anything(desk: Route, settings: Any) -> None:
    settings.INTERNAL_TOKEN = ""
    assert ask(token="").status_code == 403


def test_nothing_new_is_said_after_a_while_and_who_asked_is_noted(desk: Route) -> None:
    assert ask(after=snapshots.number(), proxy="p1").status_code == 204
    assert Proxy.objects.get().version == snapshots.number()
    applied = Proxy.objects.get().applied_at
    ask(after=snapshots.number(), proxy="p1")
    assert Proxy.objects.get().applied_at == applied
    desk.save()
    assert ask(after=snapshots.number() - 1, proxy="p1").json()["version"] == snapshots.number()


def test_after_is_a_number(desk: Route) -> None:
    assert (
        Client().get("/internal/routing?after=x", headers={"authorization": "Bearer between us"}).status_code
        == 400
    )


@pytest.mark.django_db(transaction=True)
def test_a_proxy_follows_and_starts_again_from_what_it_kept(
    desk: Route, live_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(internal, "WAIT_SECONDS", 5.0)
    kept = tmp_path / "proxy" / "snapshot.json"
    follower = Follower(live_server.url, "between us", "p1", kept)
    changed = threading.Event()

    def change(found: Snapshot) -> None:
        if not changed.is_set():
            changed.set()
        else:
            raise asyncio.CancelledError

    def rename() -> None:
        route = Route.objects.get()
        route.name = "front-desk"
        route.save()

    def rename_later() -> None:
        changed.wait(10)
        patiently(rename)

    renaming = threading.Thread(target=rename_later)
    renaming.start()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(follower.follow(change))
    renaming.join()
    assert list(follower.snapshot.routes) == ["front-desk"]
    assert kept.stat().st_mode & 0o777 == 0o600
    again = Follower(f"http://127.0.0.1:{free_port()}", "", "p1", kept)
    again.load()
    assert again.snapshot == follower.snapshot
    kept.write_bytes(b"{torn")
    broken = Follower("http://127.0.0.1:1", "", "p1", kept)
    broken.load()
    assert not broken.known
