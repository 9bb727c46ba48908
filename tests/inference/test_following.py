"""Changed routes under load, and everything that web can do to a proxy that follows it."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from inference import follower, internal, snapshots
from inference.models import ApiKey, ModelVersion, Route, RouteTarget, Upstream, hash_key
from inference.proxy import Settings
from tests.inference.double import (
    SECRET,
    Engine,
    Message,
    Receive,
    Send,
    call,
    proxying,
    reply,
    running,
    serving,
    snapshot,
)
from tests.inference.valkey import until
from tests.patience import patiently


class Load:
    """Calls without a pause, streamed and not, until told to stop."""

    def __init__(self, post: Callable[[Message], Any], callers: int = 4) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self._post, self._done = post, asyncio.Event()
        self._running = [asyncio.create_task(self._call(bool(n % 2))) for n in range(callers)]

    async def _call(self, stream: bool) -> None:
        while not self._done.is_set():
            status, _, body = await self._post(call("hi", stream=stream))
            self.answers.append((status, body))

    async def more(self, count: int) -> None:
        """Wait for so many answers more."""
        before = len(self.answers)
        await until(lambda: len(self.answers) >= before + count)

    async def stop(self) -> None:
        """Let the last ones end."""
        self._done.set()
        await asyncio.gather(*self._running)


class Web:
    """Answers the proxy's question for a snapshot as it is told to."""

    def __init__(self) -> None:
        self.mode = "down"
        self.found: Message = {}
        self.heard: list[str] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        mode = self.mode
        self.heard.append(mode)
        if mode == "down":
            await reply(send, 500, {"error": "no such table"})
        elif mode == "hang up":
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"99")]}
            )
            raise ConnectionError("hung up on purpose")
        elif mode == "found":
            after = f"after={self.found['version']}".encode()
            if after in scope["query_string"]:
                await asyncio.sleep(0.05)
                await send({"type": "http.response.start", "status": 204, "headers": []})
                await send({"type": "http.response.body"})
            else:
                await reply(send, 200, self.found)
        else:
            await reply(send, 200, orjson.loads(mode))


async def test_whatever_web_says_the_proxy_serves_on_and_starts_from_what_it_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(follower, "_MOST_PAUSE_SECONDS", 0.02)
    engine, web = Engine(), Web()
    async with serving(engine) as url, serving(web) as web_url:
        found = snapshot(url)
        async with proxying(tmp_path, found=found, web_url=web_url) as one:
            load = Load(one.post, callers=2)
            broken = {**found, "version": 5, "routes": {"desk": {}}}
            for mode in (
                "down",
                "hang up",
                "[]",
                '{"version": 9}',
                '{"version": 9, "keys": [], "routes": [], "versions": [], "upstreams": []}',
                orjson.dumps(broken).decode(),
            ):
                web.mode = mode
                web.heard.clear()
                await until(lambda: len(web.heard) > 2)
                await load.more(5)
                assert one.app.follower.snapshot.number == 1
            web.mode, web.found = "found", {**snapshot(url), "version": 3}
            await until(lambda: one.app.follower.snapshot.number == 3)
            await load.stop()
            assert {status for status, _ in load.answers} == {200}
            kept = tmp_path / "proxy"
            await until(lambda: orjson.loads((kept / "snapshot.json").read_bytes())["version"] == 3)
            shutil.rmtree(kept)
            kept.write_bytes(b"")  # a place where nothing can be kept
            web.found = {**snapshot(url), "version": 4}
            await until(lambda: one.app.follower.snapshot.number == 4)
            assert (await one.post(call("hi")))[0] == 200


@pytest.mark.parametrize("kept", [b"", b"{torn", b"[]", b"null", b'{"version": 2, "keys": 5}'])
async def test_a_kept_snapshot_that_can_not_be_read_is_as_none(tmp_path: Path, kept: bytes) -> None:
    async with proxying(tmp_path, found={}) as one:
        assert (await one.http.get(one.url + "/ready")).status == 503
    (tmp_path / "proxy" / "snapshot.json").write_bytes(kept)
    again = follower.Follower("http://127.0.0.1:1", "", "p1", tmp_path / "proxy" / "snapshot.json")
    again.load()
    assert not again.known


async def test_a_snapshot_that_an_older_release_kept_serves(tmp_path: Path) -> None:
    """The one in ``double`` has nothing of what came later: limits, prices, what sticks, who is asked."""
    engine = Engine()
    async with serving(engine) as url:
        found = snapshot(url)
        assert not {"limits", "sticky", "balance", "price_in"} & set(orjson.dumps(found).decode().split('"'))
        async with proxying(tmp_path, found=found) as one:
            assert (await one.post(call("hi")))[0] == 200


def decide(urls: dict[str, str]) -> None:
    """Two versions, each on an engine of its own; the route goes to the first."""
    key = ApiKey(name="clinic", every_route=True, prefix="fw-", hash=hash_key(SECRET))
    key.save()
    route = Route.objects.create(name="desk")
    for name, url in urls.items():
        version = ModelVersion.objects.create(name=name, kind="base", weights="a" * 64)
        version.upstreams.add(Upstream.objects.create(name=name, base_url=url))
        RouteTarget.objects.create(route=route, model_version=version, weight=int(name == "old"))


def switch() -> None:
    """All traffic to the other version, in two changes, as an operator might make them."""
    for name, weight in (("new", 1), ("old", 0)):
        RouteTarget.objects.filter(model_version__name=name).update(weight=weight)
        Route.objects.get().save()


@pytest.mark.django_db(transaction=True)
async def test_a_changed_route_is_in_force_without_a_restart_and_without_a_lost_call(
    live_server: Any, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.INTERNAL_TOKEN = "between us"
    monkeypatch.setattr(internal, "WAIT_SECONDS", 0.3)
    old, new = Engine(), Engine()
    async with serving(old) as old_url, serving(new) as new_url:
        await asyncio.to_thread(decide, {"old": old_url, "new": new_url})
        made = Settings(tmp_path, tmp_path / "spool", live_server.url, "between us", "one")
        async with running(made) as one:
            await until(lambda: one.app.follower.known)
            load = Load(one.post)
            await load.more(20)
            assert not new.asked
            await asyncio.to_thread(patiently, switch)
            number = await asyncio.to_thread(snapshots.number)
            await until(lambda: one.app.follower.snapshot.number == number)
            await load.more(8)
            before = len(old.asked)
            await load.more(20)
            assert len(old.asked) == before
            await load.stop()
        assert {status for status, _ in load.answers} == {200}
        assert all(b"stop" in body for _, body in load.answers)
        assert len(load.answers) == len(old.asked) + len(new.asked)
        await asyncio.sleep(0.5)  # until web no longer waits with the proxy's last question
