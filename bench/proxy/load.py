"""Load by wrk: as many answers as a server gives over kept connections; and a look at one answer before."""

import json
import subprocess
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import orjson

from bench.proxy import answers

CONNECTIONS = 64
_SCRIPT = """\
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.body = [[%s]]
%s
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('\\n{"answers":%%d,"us":%%d,"bytes":%%d,"status":%%d,"socket":%%d}\\n',
    summary.requests, summary.duration, summary.bytes, e.status, e.connect + e.read + e.write + e.timeout))
end
"""


class BadAnswersError(RuntimeError):
    """A server answered something else than what was prepared."""


@dataclass(frozen=True)
class Request:
    """What is sent, again and again: a chat to one port, in the ways that one server wants it."""

    port: int
    model: str
    stream: bool
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def body(self) -> bytes:
        """About 200 bytes, as the smallest real request."""
        messages = [{"role": "user", "content": "wheezing after exercise " * 4}]
        asked = {"model": self.model, "messages": messages, "max_tokens": 64, "stream": self.stream}
        return orjson.dumps(asked)

    @property
    def all_headers(self) -> dict[str, str]:
        return {"content-type": "application/json", "authorization": "Bearer fw-bench", **dict(self.headers)}

    def raw(self) -> bytes:
        """The request's bytes."""
        lines = [f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{self.port}"]
        lines += [f"{name}: {value}" for name, value in self.all_headers.items()]
        lines += [f"content-length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode() + self.body


def rate(
    request: Request, seconds: float, folder: Path, on: set[int], connections: int = CONNECTIONS
) -> float:
    """Answers a second. Raises BadAnswersError when any of them was an error."""
    script = folder / "wrk.lua"
    headers = "\n".join(f'wrk.headers["{n}"] = "{v}"' for n, v in request.all_headers.items())
    script.write_text(_SCRIPT % (request.body.decode(), headers))
    cores = ",".join(map(str, sorted(on)))
    threads = min(len(on), 4)
    command = [
        "taskset",
        "-c",
        cores,
        "wrk",
        f"-t{threads}",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
    ]
    command += ["--timeout", "30s", "-s", str(script), f"http://127.0.0.1:{request.port}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(said.strip().splitlines()[-1])
    if found["status"] or found["socket"]:
        raise BadAnswersError(f"{found['status']} error answers and {found['socket']} broken connections")
    return float(found["answers"] / found["us"] * 1e6)


def check(request: Request) -> None:
    """Ask once. Raises BadAnswersError unless the whole text comes, and nothing that was not asked for."""
    connection = HTTPConnection("127.0.0.1", request.port, timeout=60)
    connection.request("POST", "/v1/chat/completions", request.body, request.all_headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    try:
        text, shown = read_stream(body) if request.stream else read_whole(orjson.loads(body))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise BadAnswersError(f"HTTP {response.status}: {body[:150]!r}") from error
    if response.status != 200 or text != answers.TEXT or shown:
        raise BadAnswersError(f"HTTP {response.status}, another answer than the engine gave: {body[:150]!r}")


def read_whole(answer: dict[str, Any]) -> tuple[str, bool]:
    """Its text, and whether it shows logprobs or ids."""
    (choice,) = answer["choices"]
    return choice["message"]["content"], bool(choice.get("logprobs") or choice.get("token_ids"))


def read_stream(body: bytes) -> tuple[str, bool]:
    """A stream's text, and whether it shows logprobs or ids."""
    text, shown = "", False
    for line in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        data = line.strip().removeprefix(b"data: ")
        if data in (b"", b"[DONE]"):
            continue
        for choice in orjson.loads(data)["choices"]:
            text += choice["delta"].get("content") or ""
            shown = shown or bool(choice.get("logprobs") or choice.get("token_ids"))
    return text, shown
