"""What the proxy costs: rates, added latency and CPU, with full capture, in front of a canned engine.

``python bench/proxy.py --seconds 5`` from the repository's root. Three processes on one machine: a canned
engine (bare asyncio Protocols, answers of 64 tokens with their top 5: one body, or 66 events), the proxy, and
this client. The proxy injects, strips, spools and waits for the disk, as in production. Prints a table and
ends with one line of JSON. Read ratios, not rates: the three share the machine.
"""

import argparse
import asyncio
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import uvloop

TOKENS = 64
SECRET = "fw-bench"


def _entry(token: int) -> dict[str, Any]:
    text = f"token_id:{token}"
    return {"token": text, "logprob": -1.8448139429092407, "bytes": list(text.encode())}


def _position(token: int) -> dict[str, Any]:
    return {**_entry(token), "top_logprobs": [_entry(token + rank) for rank in range(6)]}


def whole() -> bytes:
    """A chat's answer as vLLM sends it with logprobs."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": " word" * TOKENS},
        "logprobs": {"content": [_position(1000 + position) for position in range(TOKENS)]},
        "finish_reason": "length",
        "token_ids": list(range(1000, 1000 + TOKENS)),
    }
    usage = {"prompt_tokens": 20, "completion_tokens": TOKENS}
    return _dump(
        {"id": "x", "model": "m", "choices": [choice], "usage": usage, "prompt_token_ids": list(range(20))}
    )


def events() -> list[bytes]:
    """The same as a stream."""
    made = [_event({"role": "assistant", "content": ""}, None, None)]
    for position in range(TOKENS):
        finish = "length" if position == TOKENS - 1 else None
        made.append(_event({"content": " word"}, 1000 + position, finish))
    usage = {"prompt_tokens": 20, "completion_tokens": TOKENS}
    made.append(b"data: " + _dump({"id": "x", "model": "m", "choices": [], "usage": usage}) + b"\n\n")
    return [*made, b"data: [DONE]\n\n"]


def _event(delta: dict[str, str], token: int | None, finish: str | None) -> bytes:
    choice = {
        "index": 0,
        "delta": delta,
        "logprobs": None if token is None else {"content": [_position(token)]},
        "finish_reason": finish,
        "token_ids": None if token is None else [token],
    }
    return b"data: " + _dump({"id": "x", "model": "m", "choices": [choice]}) + b"\n\n"


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Canned(asyncio.Protocol):
    """Answers every request with what was prepared; streams all at once."""

    JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

    whole = stream = b""

    def __init__(self) -> None:
        self._rest = b""

    @classmethod
    def prepare(cls) -> None:
        """Make the answers once."""
        body = whole()
        cls.whole = cls.JSON % len(body) + body
        cls.stream = (
            cls.STREAM + b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in events()) + b"0\r\n\r\n"
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            head = self._rest[:end].lower()
            length = (
                int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0
            )
            if len(self._rest) < end + 4 + length:
                return
            body, self._rest = self._rest[end + 4 : end + 4 + length], self._rest[end + 4 + length :]
            self._transport.write(self.stream if b'"stream":true' in body else self.whole)


async def can(port: int) -> None:
    """Serve canned answers for ever."""
    Canned.prepare()
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", port)
    await server.serve_forever()


async def ask(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes) -> None:
    """One request on a kept connection, read to its end."""
    reader, writer = connection
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"content-length:" in head:
        body = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        assert head.startswith(b"http/1.1 200"), body
    else:
        await reader.readuntil(b"\r\n0\r\n\r\n")


def request(port: int, *, stream: bool) -> bytes:
    """The bytes of a chat request."""
    body = _dump(
        {"model": "desk", "messages": [{"role": "user", "content": "hello " * 20}], "stream": stream}
    )
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {SECRET}\r\n"
    )
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def load(port: int, *, stream: bool, connections: int, seconds: float) -> list[float]:
    """Ask as fast as answers come; gives every answer's seconds."""
    sent, took = request(port, stream=stream), []
    deadline = time.perf_counter() + seconds

    async def client() -> None:
        connection = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        while (began := time.perf_counter()) < deadline:
            await ask(connection, sent)
            took.append(time.perf_counter() - began)
        connection[1].close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return took


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def snapshot(engine: int) -> bytes:
    """The routing snapshot of the run."""
    key = {"id": 1, "name": "bench", "routes": None, "expires_at": None, "may_call_versions": False}
    route = {
        "capture": "all",
        "top_k": 5,
        "durability": "strict",
        "disk_full": "refuse",
        "revision": 0,
        "created": 0,
    }
    version = {"weights": "", "base_weights": "", "tokenizer": "", "kind": "base", "upstreams": ["e"]}
    upstream = {"base_url": f"http://127.0.0.1:{engine}", "secret_env": "", "logprobs_mode": "raw_logprobs"}
    return _dump(
        {
            "version": 1,
            "keys": {hashlib.sha256(SECRET.encode()).hexdigest(): key},
            "routes": {"desk": {**route, "targets": [{"version": "m", "weight": 1}]}},
            "versions": {"m": version},
            "upstreams": {"e": upstream},
        }
    )


def percentile(values: list[float], share: float) -> float:
    """In milliseconds."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000


async def measure(engine: int, proxy: int, pid: int, seconds: float) -> dict[str, float]:
    """All figures, the engine alone and through the proxy in turns."""
    figures: dict[str, float] = {}
    for kind, stream in (("json", False), ("stream", True)):
        await load(proxy, stream=stream, connections=32, seconds=1)
        direct = await load(engine, stream=stream, connections=32, seconds=seconds)
        before = cpu_seconds(pid)
        through = await load(proxy, stream=stream, connections=32, seconds=seconds)
        cpu = cpu_seconds(pid) - before
        figures[f"{kind}_per_second"] = round(len(through) / seconds, 1)
        figures[f"{kind}_vs_direct"] = round(len(through) / len(direct), 4)
        figures[f"{kind}_cpu_us"] = round(cpu / len(through) * 1e6, 1)
        alone = await load(engine, stream=stream, connections=1, seconds=seconds / 2)
        single = await load(proxy, stream=stream, connections=1, seconds=seconds / 2)
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            figures[f"{kind}_added_{name}_ms"] = round(
                percentile(single, share) - percentile(alone, share), 3
            )
    figures["rss_mb"] = round(rss_mb(pid), 1)
    return figures


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until something listens."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


def main() -> None:
    """Start the three, measure, and say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="a measurement")
    parser.add_argument("--can", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.can:
        uvloop.run(can(options.can))
        return
    engine, proxy = free_port(), free_port()
    with tempfile.TemporaryDirectory(dir=os.environ.get("FLYWHEEL_HOME")) as home:
        kept = Path(home, "proxy", "snapshot.json")
        kept.parent.mkdir()
        kept.write_bytes(snapshot(engine))
        environment = {**os.environ, "FLYWHEEL_HOME": home, "FLYWHEEL_WEB_URL": "http://127.0.0.1:1"}
        environment.pop("FLYWHEEL_SPOOL", None)
        processes = [
            subprocess.Popen([sys.executable, __file__, "--can", str(engine)]),
            subprocess.Popen(
                [sys.executable, "-m", "inference.proxy", "--port", str(proxy)], env=environment
            ),
        ]
        try:
            wait_for(engine)
            wait_for(proxy)
            figures = uvloop.run(measure(engine, proxy, processes[1].pid, options.seconds))
        finally:
            for process in processes:
                process.terminate()
                process.wait()
    for name, value in figures.items():
        print(f"{name:24} {value:>10}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
