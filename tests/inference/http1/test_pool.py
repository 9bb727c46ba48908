"""Connections to engines on real sockets, byte for byte, and over TLS."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trustme

from inference.http1.channel import Origin
from inference.http1.failures import BrokenOffError, ConnectError, SilentError
from inference.http1.pool import Pool

REQUEST = b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
Say = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool(silence_seconds=0.4, connect_seconds=1.0)
    made.start()
    yield made
    made.stop()
    await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def engine(say: Say, tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """Calls ``say`` for each request of a connection, with the requests' number on it; then closes."""
    going: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        going.add(task)
        number = 0
        try:
            while not writer.is_closing():
                await reader.readuntil(b"\r\n\r\n")
                number += 1
                await say(reader, writer, number)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()
            going.discard(task)

    server = await asyncio.start_server(serve, "localhost", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Origin.parse(f"{'https' if tls else 'http'}://localhost:{port}/engine/")
    finally:
        server.close()
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)
        await asyncio.sleep(0.01)  # for what was aborted to close


def saying(*pieces: bytes, close: bool = False) -> Say:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.005)
        if close:
            await writer.drain()
            writer.write_eof()
            await reader.read()
            writer.close()

    return say


async def test_an_address_is_read() -> None:
    found = Origin.parse("https://user:x@engine.example/base/")
    assert (found.host, found.port, found.tls, found.prefix, found.authority) == (
        "engine.example",
        443,
        True,
        "/base",
        "engine.example",
    )
    for bad in ("engine:8000", "ftp://engine", ""):
        with pytest.raises(ValueError, match="address"):
            Origin.parse(bad)


@pytest.mark.parametrize(
    ("pieces", "close", "body"),
    [
        ([OK], False, b"ok"),
        ([OK[:20], OK[20:-1], OK[-1:]], False, b"ok"),
        ([CHUNKED, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n", b"\r\n"], False, b"abcde"),
        ([CHUNKED + b"3\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n"], False, b"abc"),
        ([b"HTTP/1.1 200 OK\r\n\r\nto the", b" end"], True, b"to the end"),
        ([b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"], True, b"ok"),
        (
            [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK],
            False,
            b"ok",
        ),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], False, b""),
    ],
)
async def test_every_way_a_body_can_be_framed(
    pool: Pool, pieces: list[bytes], close: bool, body: bytes
) -> None:
    async with engine(saying(*pieces, close=close)) as origin:
        for _ in range(2):
            response = await pool.ask(origin, REQUEST)
            assert response.status in (200, 204)
            assert await response.read() == body


@pytest.mark.parametrize(
    ("pieces", "close"),
    [
        ([b"nonsense\r\n\r\n"], True),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok"], True),
        ([CHUNKED + b"5\r\nok"], True),
        ([CHUNKED + b"zz\r\nok"], False),
        ([CHUNKED + b"2\r\nok\r\n"], True),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok"], False),
        ([b"HTTP/1.1 200 OK\r\nx: " + b"a" * 300_000], False),
        ([b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], False),
        ([b""], True),
    ],
)
async def test_an_answer_that_is_none_or_not_whole(pool: Pool, pieces: list[bytes], close: bool) -> None:
    async with engine(saying(*pieces, close=close)) as origin:
        with pytest.raises(BrokenOffError):
            await (await pool.ask(origin, REQUEST)).read()
    assert not pool.busy


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok"])
async def test_silence_ends(pool: Pool, said: bytes) -> None:
    async with engine(saying(said)) as origin:
        with pytest.raises(SilentError):
            await (await pool.ask(origin, REQUEST)).read()
    assert not pool.busy


async def test_connections_are_kept_and_carry_one_answer_at_a_time(pool: Pool) -> None:
    """Many at once; each gets its own answer, on fewer connections than there were requests."""
    connections: set[asyncio.StreamWriter] = set()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        connections.add(writer)
        name = await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(name), name))

    async def ask(number: int) -> None:
        name = b"%d\n" % number
        head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(name), name)
        assert await (await pool.ask(origin, head)).read() == name

    async with engine(say) as origin:
        for first in range(0, 600, 60):
            await asyncio.gather(*(ask(number) for number in range(first, first + 60)))
        assert len(connections) <= 60


async def test_a_channel_that_has_answered_may_be_asked_before_its_asker_wakes(pool: Pool) -> None:
    async with engine(saying(OK)) as origin:
        await (await pool.ask(origin, REQUEST)).read()
        (channel,) = pool._idle[origin]
        asked = asyncio.ensure_future(channel.ask(REQUEST))
        await asyncio.sleep(0)
        pool._idle[origin].clear()
        channel.data_received(OK)
        again = channel.ask(REQUEST)
        waiting = asyncio.ensure_future(again)
        assert await (await asked).read() == b"ok"
        await asyncio.sleep(0)
        channel.data_received(OK)
        assert await (await waiting).read() == b"ok"


async def test_what_nobody_asked_for_ends_the_connection(pool: Pool) -> None:
    async with engine(saying(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen")) as origin:
        for _ in range(3):
            assert await (await pool.ask(origin, REQUEST)).read() == b"ok"


async def test_a_request_that_is_given_up_closes_its_connection(pool: Pool) -> None:
    ended = asyncio.Event()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(CHUNKED + b"3\r\none\r\n")
        assert await reader.read() == b""
        ended.set()

    async with engine(say) as origin:
        response = await pool.ask(origin, REQUEST)
        response.close()
        await ended.wait()
        ended.clear()
        asked = asyncio.ensure_future(Pool.ask(pool, origin, REQUEST))
        reading = asyncio.ensure_future((await asked).read())
        await asyncio.sleep(0.01)
        reading.cancel()
        asked.result().close()
        await ended.wait()


async def test_a_reader_that_waits_makes_the_engine_wait(pool: Pool) -> None:
    sent = 0

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        nonlocal sent
        writer.write(CHUNKED)
        for _ in range(200):
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()
            sent += 1
        writer.write(b"0\r\n\r\n")

    async with engine(say) as origin:
        response = await pool.ask(origin, REQUEST)
        got = 0

        def take(parts: list[bytes]) -> None:
            nonlocal got
            got += sum(map(len, parts))
            if got > 1_000_000 and not waited.is_set():
                waited.set()
                response.pause()

        waited = asyncio.Event()
        pumping = asyncio.ensure_future(response.pump(take))
        await waited.wait()
        await asyncio.sleep(0.6)
        assert sent < 200
        response.resume()
        await pumping
        assert got == 200 * 65536


async def test_a_sink_that_fails_ends_the_answer(pool: Pool) -> None:
    def take(parts: list[bytes]) -> None:
        raise ValueError("no")

    async with engine(saying(CHUNKED, b"3\r\none\r\n", b"3\r\ntwo\r\n")) as origin:
        response = await pool.ask(origin, REQUEST)
        with pytest.raises(ValueError, match="no"):
            await response.pump(take)
        response.close()
    assert not pool.busy


async def test_nobody_there(pool: Pool, unused_tcp_port: int) -> None:
    with pytest.raises(ConnectError, match="no connection"):
        await pool.ask(Origin.parse(f"http://127.0.0.1:{unused_tcp_port}"), REQUEST)


async def test_tls_and_whom_it_trusts(pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with engine(saying(CHUNKED, b"3\r\none\r\n", b"0\r\n\r\n"), context) as origin:
        with pytest.raises(ConnectError, match="certificate"):
            await pool.ask(origin, REQUEST)
        with authority.cert_pem.tempfile(dir=str(tmp_path)) as trusted:
            monkeypatch.setenv("SSL_CERT_FILE", trusted)
            trusting = Pool(1.0, 1.0)
            trusting.start()
            for _ in range(2):
                assert await (await trusting.ask(origin, REQUEST)).read() == b"one"
            trusting.stop()
            await asyncio.sleep(0.05)
