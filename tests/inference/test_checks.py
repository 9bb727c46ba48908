"""Health checks on real sockets: an engine that is away gets no calls, one that is back gets one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from inference.balance import Health
from inference.checks import Checks
from inference.metrics import Metrics
from inference.routing import Upstream
from inference.upstream import Upstreams
from tests.inference.double import Engine, free_port, serving


@contextlib.asynccontextmanager
async def checking(url: str) -> AsyncIterator[Health]:
    upstreams = Upstreams(Metrics())
    engine = Upstream("one", url, "", "raw_logprobs")
    checks = Checks(0.01, lambda: [engine, engine], upstreams.checked)
    checks.start()
    yield upstreams.health("one")
    await checks.stop()


async def becomes(health: Health, state: str) -> None:
    while health.state(asyncio.get_running_loop().time()) != state:  # noqa: ASYNC110 – checks go on beside it
        await asyncio.sleep(0.005)


async def test_an_engine_that_says_it_is_unwell_is_put_aside_until_it_is_well() -> None:
    engine = Engine()
    async with serving(engine) as url, checking(url) as health:
        engine.is_well = False
        await becomes(health, "ejected")
        engine.is_well = True
        await becomes(health, "half-open")
        health.answered()
        await asyncio.sleep(0.1)
        assert health.state(asyncio.get_running_loop().time()) == "ok"
    assert engine.asked == []


async def test_an_engine_that_is_not_there_is_put_aside() -> None:
    async with checking(f"http://127.0.0.1:{free_port()}") as health:
        await becomes(health, "ejected")
    async with checking("nowhere") as health:
        await becomes(health, "ejected")


async def test_an_engine_without_such_a_path_is_there_all_the_same() -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    asked: list[bytes] = []
    server = await asyncio.start_server(other, "127.0.0.1", 0)
    async with checking(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/base") as health:
        health.eject(asyncio.get_running_loop().time())
        await becomes(health, "half-open")
        assert asked[0].startswith(b"GET /base/health HTTP/1.1\r\n")
        assert b"authorization" not in b"".join(asked).lower()
    server.close()


async def test_without_an_interval_nobody_is_asked() -> None:
    checks = Checks(0.0, list, lambda _engine, _alive: None)
    checks.start()
    await checks.stop()
