"""A proxy killed under load: whatever a client saw complete can be read from the spool, once."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import orjson
import pytest

from inference.exchange import Exchange, parse
from inference.spool import SpoolReader
from tests.inference.double import SECRET, Engine, call, free_port, serving, snapshot

KILLS = int(os.environ.get("KILLS", "3"))
CLIENTS = 8


def start(home: Path, port: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "FLYWHEEL_HOME": str(home),
        "FLYWHEEL_SPOOL": str(home / "spool"),
        "FLYWHEEL_WEB_URL": "http://127.0.0.1:1",
    }
    command = [sys.executable, "-m", "inference.proxy", "--port", str(port), "--name", "killed"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


async def ready(http: aiohttp.ClientSession, url: str) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            async with http.get(url + "/ready") as response:
                if response.status == 200:
                    return
        await asyncio.sleep(0.02)


async def one_call(http: aiohttp.ClientSession, url: str, number: int) -> str | None:
    """The exchange's id if the client saw the answer's end."""
    body = call(f"hello {number} " + "x" * random.choice([0, 1000, 100_000]), stream=number % 2 == 0)
    headers = {"authorization": f"Bearer {SECRET}"}
    async with http.post(url + "/v1/chat/completions", json=body, headers=headers) as response:
        answer = await response.read()
    complete = response.status == 200 and b'"finish_reason":"stop"' in answer
    return response.headers["x-flywheel-exchange-id"] if complete else None


async def load(http: aiohttp.ClientSession, url: str, acknowledged: list[str]) -> None:
    for number in range(100_000):
        with contextlib.suppress(aiohttp.ClientError):
            if exchange_id := await one_call(http, url, number):
                acknowledged.append(exchange_id)
                continue
        await asyncio.sleep(0.01)


def spooled(directory: Path) -> list[Exchange]:
    with SpoolReader(directory) as reader:
        found = [parse(raw) for _, raw in reader.read(1_000_000)]
        assert {damage.reason for damage in reader.damage} <= {"torn"}
        return found


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    (tmp_path / "proxy").mkdir()
    acknowledged: list[str] = []
    async with serving(Engine()) as engine, aiohttp.ClientSession() as http:
        (tmp_path / "proxy" / "snapshot.json").write_bytes(orjson.dumps(snapshot(engine)))
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        for _ in range(KILLS):
            proxy = start(tmp_path, port)
            await ready(http, url)
            clients = [asyncio.create_task(load(http, url, acknowledged)) for _ in range(CLIENTS)]
            before = len(acknowledged)
            await asyncio.sleep(random.uniform(0.1, 0.6))
            while len(acknowledged) == before:  # noqa: ASYNC110 – other tasks append
                await asyncio.sleep(0.01)
            proxy.send_signal(signal.SIGKILL)
            await asyncio.to_thread(proxy.wait)
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
    found = spooled(tmp_path / "spool")
    ids = [exchange.exchange_id for exchange in found]
    assert len(ids) == len(set(ids))
    complete = {exchange.exchange_id for exchange in found if exchange.end_reason == "stop"}
    assert set(acknowledged) <= complete
    ends = {exchange.end_reason for exchange in found}
    assert ends <= {"stop", "proxy_died", "client_left"}
    print(orjson.dumps({"kills": KILLS, "acknowledged": len(acknowledged), "spooled": len(ids)}).decode())
