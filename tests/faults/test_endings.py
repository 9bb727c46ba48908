"""Every way a call can end, through the proxy's process: a row, its reason, and the tokens that had come."""

import asyncio
import socket
from pathlib import Path

import aiohttp
import orjson
import pytest

from inference.exchange import Exchange, parse
from inference.spool import SpoolReader
from tests.faults.clients import PATH, body
from tests.faults.stack import SECRET, Stack, running, until

HEADERS = {"authorization": f"Bearer {SECRET}"}
ENDINGS = [
    # What the engine is told, whether streamed, how it ends, and how many tokens had come.
    ("tokens=5 then=stop", True, "stop", 5),
    ("tokens=5 then=stop", False, "stop", 5),
    ("tokens=5 then=die", True, "engine_died", 5),
    ("tokens=5 then=die", False, "engine_died", 0),
    ("tokens=5 then=quiet", True, "engine_died", 5),
    ("tokens=5 then=hang", True, "engine_timeout", 5),
    ("tokens=5 then=hang", False, "engine_timeout", 0),
    ("tokens=5 then=malformed", True, "engine_error", 5),
    ("tokens=5 then=malformed", False, "engine_error", 0),
    ("tokens=5 then=error", True, "engine_error", 5),
    ("tokens=5 then=error", False, "engine_error", 0),
    ("status=500", False, "engine_error", 0),
    ("status=429", True, "refused", 0),
    ("leave tokens=1000 pace=20", True, "client_left", 1),
    ("x" * 120_000, False, "refused", 0),
]


async def call(http: aiohttp.ClientSession, stack: Stack, order: str, stream: bool) -> str:
    """One call to its end; gives the exchange's id."""
    async with http.post(stack.url + PATH, json=body(order, stream=stream), headers=HEADERS) as response:
        if order.startswith("leave"):
            await response.content.readany()
            response.close()
        else:
            await response.read()
        return response.headers["x-flywheel-exchange-id"]


async def upload_slowly(stack: Stack) -> str:
    """A body of which only the beginning comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(stack))
    writer.write(head(50_000) + b'{"model":"desk","messages":[{"role":"us')
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":{"message":' in answer
    return exchange_id(answer)


async def read_slowly(stack: Stack) -> str:
    """A stream of which only the beginning is read."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", port_of(stack)))
    sent = orjson.dumps(body("tokens=200000 pace=0", stream=True))
    reader, writer = await asyncio.open_connection(sock=narrow, limit=4096)
    writer.write(head(len(sent)) + sent)
    begun = await reader.readuntil(b"\r\n\r\n")
    await until(lambda: stack.seen()["running"] == 0, 20)
    writer.transport.abort()
    return exchange_id(begun)


def port_of(stack: Stack) -> int:
    return int(stack.url.rpartition(":")[2])


def head(length: int) -> bytes:
    lines = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\ncontent-length: {length}"
    return f"{lines}\r\n\r\n".encode()


def exchange_id(answer: bytes) -> str:
    return answer.partition(b"x-flywheel-exchange-id: ")[2][:36].decode()


async def all_calls(stack: Stack) -> list[str]:
    async with aiohttp.ClientSession() as http:
        ids = await asyncio.gather(*(call(http, stack, order, stream) for order, stream, _, _ in ENDINGS))
        async with http.post(
            stack.url + PATH, json=body("hi", stream=False), headers={**HEADERS, "x-big": "y" * 100_000}
        ) as response:
            assert response.status == 431
            assert (await response.json())["error"]["message"]
    # Whoever left, and whatever hung, is not worked for any more.
    await until(lambda: stack.seen()["running"] == 0)
    return [*ids, await upload_slowly(stack), await read_slowly(stack)]


@pytest.mark.slow
def test_every_ending_is_a_row_with_its_reason_and_what_had_come(tmp_path: Path) -> None:
    limits = {
        "FLYWHEEL_ENGINE_SILENCE": "1.5",
        "FLYWHEEL_BODY_LIMIT": "100000",
        "FLYWHEEL_UPLOAD_SECONDS": "1",
        "FLYWHEEL_STALLED_SECONDS": "1",
    }
    stack = Stack(tmp_path, env=limits)
    with running(stack, "engine", "proxy"):
        ids = asyncio.run(all_calls(stack))
        assert stack["proxy"].stop() == 0
    with SpoolReader(stack.spool) as reader:
        found: dict[str, Exchange] = {raw.exchange_id: parse(raw) for _, raw in reader.read(1000)}
    *ids, uploaded, unread = ids
    assert (found[uploaded].end_reason, found[uploaded].status) == ("client_slow", 408)
    assert found[unread].end_reason == "client_slow"
    assert sum(len(one.ids) for one in found[unread].tokens) > 100
    for one, (order, stream, reason, tokens) in zip(ids, ENDINGS, strict=True):
        exchange = found[one]
        came = sum(len(one.ids) for one in exchange.tokens)
        assert exchange.end_reason == reason, (order[:40], stream, exchange.error)
        assert came >= tokens if reason == "client_left" else came == tokens, (order[:40], stream, came)
