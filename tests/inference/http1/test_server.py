"""The server on real sockets, byte for byte: what clients may do, and what they may not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from inference.http1.client import Client
from inference.http1.failures import ClientLeftError, TooLargeError, TooSlowError
from inference.http1.request import Request
from inference.http1.server import Limits, Server

KIND = [(b"content-type", b"text/plain")]
QUICK = Limits(
    head_bytes=4096,
    uploads_bytes=300_000,
    idle_seconds=0.4,
    head_seconds=0.2,
    upload_seconds=0.3,
    stalled_seconds=0.3,
    linger_seconds=0.2,
)


@dataclass
class Desk:
    """A handler that does what the path says, and remembers."""

    seen: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: Request, client: Client) -> None:
        try:
            await self._serve(request, client)
        except (ClientLeftError, TooSlowError, TooLargeError) as error:
            self.ends.append(type(error).__name__)
            if not isinstance(error, ClientLeftError):
                client.answer(408 if isinstance(error, TooSlowError) else 413, KIND, b"no")
        except asyncio.CancelledError:
            self.ends.append("stalled" if client.was_stalled else "left" if request.left else "cut off")
            raise

    async def _serve(self, request: Request, client: Client) -> None:
        if request.path == "/refuse":
            client.answer(401, KIND, b"who?")
            return
        body = await request.read(200_000)
        self.seen.append((request.method, request.target, body))
        if request.path == "/wait":
            await self.go_on.wait()
        elif request.path == "/fail":
            raise ValueError
        elif request.path == "/half":
            client.begin(200, KIND)
            client.write(b"one")
            raise ValueError
        elif request.path == "/flood":
            client.begin(200, KIND)
            while True:
                client.write(b"x" * 100_000)
                await client.room()
        elif request.path == "/pieces":
            client.begin(200, KIND)
            client.write(b"one")
            await asyncio.sleep(0)
            client.write(b"two")
            client.end(b"three")
            return
        client.answer(200, KIND, b"%d %b" % (len(self.seen), body[:20]))


@dataclass
class Line:
    """A client of raw bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, sent: bytes, answers: int = 1) -> list[tuple[int, dict[bytes, bytes], bytes]]:
        self.writer.write(sent)
        return [await self.answer() for _ in range(answers)]

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
        headers = dict(line.split(b": ", 1) for line in lines[1:])
        if headers.get(b"transfer-encoding") == b"chunked":
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
        elif b"content-length" in headers:
            body = await self.reader.readexactly(int(headers[b"content-length"]))
        else:
            body = await self.reader.read()
        return int(lines[0].split()[1]), headers, body

    async def is_closed(self) -> bool:
        """Whether the server closes; waits for it, and nothing more may come."""
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True


@dataclass
class Served:
    desk: Desk
    server: Server
    lines: list[Line] = field(default_factory=list)

    async def line(self, limit: int = 1 << 20) -> Line:
        made = Line(*await asyncio.open_connection("127.0.0.1", self.server.port, limit=limit))
        self.lines.append(made)
        return made


@contextlib.asynccontextmanager
async def serving(limits: Limits) -> AsyncIterator[Served]:
    desk = Desk()
    server = Server(desk, lambda status, why: f"{status} {why}".encode(), limits)
    await server.start("127.0.0.1", 0)
    served = Served(desk, server)
    try:
        yield served
    finally:
        for line in served.lines:
            line.writer.close()
            with contextlib.suppress(ConnectionError):
                await line.writer.wait_closed()
        await server.stop(0.5)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(QUICK) as made:
        yield made


def post(path: str, body: bytes = b"", *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_a_connection_serves_one_request_after_the_other(served: Served) -> None:
    line = await served.line()
    for number in (1, 2, 3):
        ((status, headers, body),) = await line.ask(post(f"/echo?q={number}", b"hello"))
        assert (status, body) == (200, b"%d hello" % number)
        assert headers[b"date"].endswith(b"GMT")
        assert b"connection" not in headers
    assert [target for _, target, _ in served.desk.seen] == [b"/echo?q=1", b"/echo?q=2", b"/echo?q=3"]


async def test_pipelined_requests_are_answered_in_their_order(served: Served) -> None:
    line = await served.line()
    sent = b"".join(post("/echo", b"%d" % number) for number in range(40))
    answers = await line.ask(sent, 40)
    assert [body for _, _, body in answers] == [b"%d %d" % (number + 1, number) for number in range(40)]


async def test_a_pipelined_request_waits_for_the_one_before(served: Served) -> None:
    line = await served.line()
    line.writer.write(post("/wait") + post("/echo", b"x" * 100_000))
    await asyncio.sleep(0.05)
    assert [target for _, target, _ in served.desk.seen] == [b"/wait"]
    served.desk.go_on.set()
    assert [status for status, _, _ in [await line.answer(), await line.answer()]] == [200, 200]
    assert len(served.desk.seen[1][2]) == 100_000


async def test_bytes_may_come_one_by_one(served: Served) -> None:
    line = await served.line()
    for byte in post("/echo", b"slow"):
        line.writer.write(bytes([byte]))
        await line.writer.drain()
    assert (await line.answer())[2] == b"1 slow"


async def test_answers_in_pieces(served: Served) -> None:
    line = await served.line()
    ((_, headers, body),) = await line.ask(post("/pieces"))
    assert (headers[b"transfer-encoding"], body) == (b"chunked", b"onetwothree")
    old = await served.line()
    ((_, headers, body),) = await old.ask(b"POST /pieces HTTP/1.0\r\ncontent-length: 0\r\n\r\n")
    assert (headers[b"connection"], body) == (b"close", b"onetwothree")
    assert b"transfer-encoding" not in headers


async def test_a_chunked_body_and_one_that_asks_first(served: Served) -> None:
    line = await served.line()
    chunked = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    assert (await line.ask(chunked + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))[0][2] == b"1 abcde"
    line.writer.write(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n")
    assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await line.ask(b"xyz"))[0][2] == b"2 xyz"


async def test_close_is_heeded_and_said(served: Served) -> None:
    line = await served.line()
    ((_, headers, _),) = await line.ask(post("/echo", b"", "connection: close"))
    assert headers[b"connection"] == b"close"
    assert await line.is_closed()


async def test_a_head_request_gets_no_body(served: Served) -> None:
    line = await served.line()
    line.writer.write(b"HEAD /echo HTTP/1.1\r\nhost: x\r\n\r\n" + post("/echo", b"next"))
    head = await line.reader.readuntil(b"\r\n\r\n")
    assert b"content-length: 2\r\n" in head
    assert (await line.answer())[2] == b"2 next"


async def test_an_upgrade_is_not_taken_up(served: Served) -> None:
    line = await served.line()
    asked = post("/echo", b"", "connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMA")
    assert (await line.ask(asked + post("/echo", b"next"), 2))[1][2] == b"2 next"


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: +3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3 \r\n 4\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length : 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nhost: x\r\nx: a\rb\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\nx: a\x00b\r\n\r\n",
        b"POST / HTTP/1.1\nhost: x\n\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3;a=\nb\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"GET /\x0b HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"no http at all\r\n\r\n",
    ],
)
async def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_closed(
    served: Served, sent: bytes
) -> None:
    line = await served.line()
    line.writer.write(sent + post("/smuggled"))
    answer = await line.reader.read()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ")) or not answer
    assert b"/smuggled" not in [target for _, target, _ in served.desk.seen]


async def test_what_follows_a_request_must_be_one(served: Served) -> None:
    line = await served.line()
    ((status, _, _),) = await line.ask(post("/wait") + b"nonsense\r\n\r\n", 0) or [(0, {}, b"")]
    assert status == 0
    served.desk.go_on.set()
    assert (await line.answer())[0] == 200
    assert await line.is_closed()


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\nx: " + b"a" * 5000,
        b"POST / HTTP/1.1\r\nx: " + b"a" * 5000 + b"\r\n\r\n",
        b"POST /" + b"a" * 5000,
        b"POST / HTTP/1.1\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
    ],
)
async def test_a_head_has_a_limit(served: Served, sent: bytes) -> None:
    line = await served.line()
    ((status, headers, body),) = await line.ask(sent)
    assert (status, headers[b"connection"]) == (431, b"close")
    assert body == b"431 The request's head is larger than 4096 bytes."
    assert await line.is_closed()


async def test_a_body_has_a_limit_and_its_refusal_arrives(served: Served) -> None:
    line = await served.line()
    ((status, headers, _),) = await line.ask(post("/echo", b"x" * 3_000_000))
    assert (status, headers[b"connection"]) == (413, b"close")
    chunks = b"10000\r\n" + b"y" * 65536 + b"\r\n"
    line = await served.line()
    line.writer.write(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + chunks * 20)
    assert (await line.answer())[0] == 413
    assert served.desk.ends == ["TooLargeError", "TooLargeError"]


async def test_a_refusal_needs_no_body_and_keeps_the_connection_when_little_is_left(served: Served) -> None:
    line = await served.line()
    assert [status for status, _, _ in await line.ask(post("/refuse", b"abc") + post("/echo"), 2)] == [
        401,
        200,
    ]
    ((status, headers, _),) = await line.ask(post("/refuse", b"z" * 1_000_000))
    assert (status, headers[b"connection"]) == (401, b"close")


async def test_slow_heads_and_slow_bodies_end(served: Served) -> None:
    head, body, idle = [await served.line() for _ in range(3)]
    head.writer.write(b"POST /echo HTTP/1.1\r\nhost:")
    body.writer.write(post("/echo", b"abc")[:-1])
    assert (await head.answer())[0] == 408
    status, headers, _ = await body.answer()
    assert (status, headers[b"connection"]) == (408, b"close")
    assert served.desk.ends == ["TooSlowError"]
    for line in (head, body, idle):
        assert await line.is_closed()


async def test_who_reads_nothing_is_let_go(served: Served) -> None:
    line = await served.line(limit=1000)
    line.writer.write(post("/flood"))
    while not served.desk.ends:  # noqa: ASYNC110 – the server's clock decides
        await asyncio.sleep(0.02)
    assert served.desk.ends == ["stalled"]


async def test_a_client_that_leaves_cancels_its_handler(served: Served) -> None:
    waiting, sending = await served.line(), await served.line()
    waiting.writer.write(post("/wait"))
    sending.writer.write(post("/echo", b"abc")[:-1])
    while not served.desk.seen:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    waiting.writer.close()
    sending.writer.close()
    while len(served.desk.ends) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert sorted(served.desk.ends) == ["ClientLeftError", "left"]


@pytest.mark.parametrize("path", ["/fail", "/half"])
async def test_a_handler_that_fails_breaks_the_answer_off(served: Served, path: str) -> None:
    line = await served.line()
    line.writer.write(post(path))
    answer = await line.reader.read()
    assert not answer.endswith(b"0\r\n\r\n")


async def test_large_uploads_wait_for_room(served: Served) -> None:
    """Two that fit together and a third that does not; it comes in when the first has ended."""
    lines = [await served.line() for _ in range(3)]
    whole = post("/echo", b"u" * 150_000)
    for line in lines[:2]:
        line.writer.write(whole[:100_000])
    await asyncio.sleep(0.05)
    lines[2].writer.write(whole)
    await asyncio.sleep(0.05)
    assert served.desk.seen == []
    for line in lines[:2]:
        line.writer.write(whole[100_000:])
    assert [(await line.answer())[0] for line in lines] == [200, 200, 200]


async def test_stopping_lets_calls_end_and_takes_no_new_ones() -> None:
    async with serving(Limits()) as served:
        busy, idle, late = [await served.line() for _ in range(3)]
        assert (await idle.ask(post("/echo")))[0][0] == 200
        busy.writer.write(post("/wait"))
        while len(served.desk.seen) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        port = served.server.port
        stopping = asyncio.create_task(served.server.stop(5))
        assert await idle.is_closed()
        assert await late.is_closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        served.desk.go_on.set()
        status, headers, _ = await busy.answer()
        assert (status, headers.get(b"connection", b"close")) == (200, b"close")
        await stopping
        assert served.desk.ends == []


async def test_what_takes_longer_than_the_grace_is_cut_off() -> None:
    async with serving(Limits()) as served:
        line = await served.line()
        line.writer.write(post("/wait"))
        while not served.desk.seen:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await served.server.stop(0.05)
        assert served.desk.ends == ["cut off"]
        assert await line.is_closed()
