"""Reaching engines over real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from inference.routing import Upstream
from inference.upstream import Reached, UnreachableError, Upstreams
from tests.inference.double import Engine, call, free_port, serving

PATH = "/v1/chat/completions"


@contextlib.asynccontextmanager
async def post(
    upstreams: Upstreams, replicas: list[Upstream], body: bytes, headers: bytes = b""
) -> AsyncIterator[Reached]:
    """Ask, and leave in the end."""
    reached = await upstreams.reach(replicas, PATH, body, headers)
    try:
        yield reached
    finally:
        upstreams.leave(reached)


@pytest.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    made = Upstreams(silence_seconds=0.3, connect_seconds=1.0)
    made.start()
    yield made
    made.stop()


def at(url: str, name: str = "one", secret_env: str = "") -> Upstream:
    return Upstream(name, url, secret_env, "raw_logprobs")


def body(order: str, **more: Any) -> bytes:
    return orjson.dumps(call(order, **more))


async def test_the_engines_key_comes_from_the_environment(
    upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine()
    monkeypatch.setenv("ENGINE_KEY", "sesame")
    async with (
        serving(engine) as url,
        post(upstreams, [at(url, secret_env="ENGINE_KEY")], body("hi")) as reached,
    ):
        assert b"hi" in await reached.response.read()
    assert engine.asked[0][2]["authorization"] == "Bearer sesame"


async def test_the_least_busy_replica_is_asked(upstreams: Upstreams) -> None:
    first, second = Engine(), Engine()
    async with serving(first) as one, serving(second) as two:
        replicas = [at(one, "one"), at(two, "two")]
        async with (
            post(upstreams, replicas, body("wait")) as busy,
            post(upstreams, replicas, body("hi")) as reached,
        ):
            assert {busy.upstream.name, reached.upstream.name} == {"one", "two"}
        assert upstreams.in_flight == {"one": 0, "two": 0}


async def test_leaving_early_stops_the_engine(upstreams: Upstreams) -> None:
    engine = Engine()
    async with serving(engine) as url:
        async with post(upstreams, [at(url)], body("wait")) as reached:
            first = asyncio.get_running_loop().create_future()
            pumping = asyncio.ensure_future(reached.response.pump(first.set_result))
            assert b"one" in await first
            pumping.cancel()
        while not engine.left:  # noqa: ASYNC110 – the engine learns it from its socket
            await asyncio.sleep(0.01)


async def test_silence_and_refusal_are_told_apart(upstreams: Upstreams) -> None:
    async with serving(Engine()) as url:
        with pytest.raises(UnreachableError) as silent:
            async with post(upstreams, [at(url)], body("hang")):
                pass
    assert silent.value.timed_out
    with pytest.raises(UnreachableError, match="no connection") as refused:
        async with post(upstreams, [at(f"http://127.0.0.1:{free_port()}")], body("hi")):
            pass
    assert not refused.value.timed_out
    with pytest.raises(UnreachableError, match="no engine"):
        async with post(upstreams, [], b""):
            pass


async def test_a_kept_connection_that_the_engine_dropped_costs_nothing(upstreams: Upstreams) -> None:
    answered = 0

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers, promises to keep the connection, and drops it at the next request."""
        nonlocal answered
        await reader.readuntil(b"\r\n\r\n")
        answered += 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
        writer.close()
        gone.release()

    gone = asyncio.Semaphore(0)
    server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for _ in range(2):
        async with post(upstreams, [at(url)], b"{}") as reached:
            assert await reached.response.read() == b"{}"
    assert answered == 2
    upstreams.stop()
    for _ in range(2):
        await gone.acquire()
    server.close()


async def test_a_replica_comes_back() -> None:
    now = 0.0
    upstreams = Upstreams(clock=lambda: now)
    upstreams.start()
    gone, engine = at(f"http://127.0.0.1:{free_port()}", "gone"), Engine()
    tried = []
    async with serving(engine) as url:
        replicas = [gone, at(url, "there")]
        for now in (0.0, 0.5, 10.0, 10.5):  # noqa: B007 – the clock reads it
            async with post(upstreams, replicas, body("hi")) as reached:
                tried.append([one["upstream"] for one in reached.tried])
    upstreams.stop()
    assert tried == [["gone"], [], ["gone"], []], "put aside when it fails, asked again after a while"
