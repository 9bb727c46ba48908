"""A call that has ended leaves nothing in memory: the proxy looks for cycles rarely, they would pile up."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.call import Call
from inference.http1.request import Request
from tests.inference.double import Engine, Running, call, free_port, proxying, serving, snapshot

WAYS: dict[str, dict[str, Any]] = {
    "answered": {},
    "streamed": {"stream": True},
    "the engine breaks off": {"text": "break off"},
    "the engine hangs": {"text": "hang"},
    "refused": {"model": "no such model"},
}


@pytest.fixture
async def engine() -> AsyncIterator[str]:
    made = Engine()
    made.go_on.set()
    async with serving(made) as url:
        yield url


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    gc.disable()
    gc.freeze()  # what was there before is none of a call's, and need not be looked at
    yield
    gc.unfreeze()
    gc.enable()


def left() -> list[object]:
    return [one for one in gc.get_objects() if isinstance(one, Call | Request)]


async def asked(proxy: Running, **more: Any) -> int:
    before = len(left())
    body = call(more.pop("text", "hello"), **more)
    status, _, _ = await proxy.post(body)
    assert len(left()) == before, "a call that has ended is still in memory"
    return status


async def test_a_disk_that_takes_nothing(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxying(tmp_path, found=snapshot(engine)) as proxy:
        monkeypatch.setattr(proxy.app.spool._tail, "_sync", fail)
        for stream in (False, False, True, True):
            await asked(proxy, stream=stream)


def fail(_: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("way", WAYS)
async def test_whatever_happens(engine: str, tmp_path: Path, way: str) -> None:
    async with proxying(tmp_path, found=snapshot(engine), silence_seconds=0.3) as proxy:
        for _ in range(2):
            await asked(proxy, **WAYS[way])


async def test_no_engine(tmp_path: Path) -> None:
    async with proxying(tmp_path, found=snapshot(f"http://127.0.0.1:{free_port()}")) as proxy:
        for _ in range(2):
            assert await asked(proxy) == 503


async def test_a_client_that_leaves(engine: str, tmp_path: Path) -> None:
    async with proxying(tmp_path, found=snapshot(engine)) as proxy:
        before = len(left())
        for stream in (False, True):
            body = call("begin and hang" if stream else "hang", stream=stream)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(proxy.post(body), 0.3)
        await proxy.exchanges(2)
        while proxy.app.server.clients:  # noqa: ASYNC110 – until the proxy has seen them go
            await asyncio.sleep(0.01)
        assert len(left()) == before
