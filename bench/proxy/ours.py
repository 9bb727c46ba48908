"""The proxy that all of this is about, as it is run in production: captured, and on disk before the end."""

import hashlib
import json
import sys
from pathlib import Path

from bench.proxy.load import Request
from bench.proxy.processes import Process, free_port
from bench.proxy.upstream import Canned
from inference.exchange import parse
from inference.spool import SpoolReader

SECRET = "fw-bench"


class NotCapturedError(RuntimeError):
    """An exchange is not in the spool, or not as it should be."""


def snapshot(ports: dict[str, int]) -> bytes:
    """Routes by name, each to a canned engine's port; ``off-…`` capture nothing, ``relaxed-…`` don't wait."""
    key = {"id": 1, "name": "bench", "routes": None, "expires_at": None, "may_call_versions": False}
    route = {"top_k": 5, "disk_full": "refuse", "revision": 0, "created": 0}
    version = {"weights": "", "base_weights": "", "tokenizer": "", "kind": "base"}
    upstream = {"secret_env": "", "logprobs_mode": "raw_logprobs"}
    return json.dumps(
        {
            "version": 1,
            "keys": {hashlib.sha256(SECRET.encode()).hexdigest(): key},
            "routes": {
                name: {
                    **route,
                    "capture": "off" if name.startswith("off-") else "all",
                    "durability": "relaxed" if name.startswith("relaxed-") else "strict",
                    "targets": [{"version": f"m-{name}", "weight": 1}],
                }
                for name in ports
            },
            "versions": {f"m-{name}": {**version, "upstreams": [name]} for name in ports},
            "upstreams": {
                name: {"base_url": f"http://127.0.0.1:{port}", **upstream} for name, port in ports.items()
            },
        }
    ).encode()


class Ours:
    """One proxy process with a home and a spool of its own."""

    def __init__(
        self,
        home: Path,
        canned: Canned,
        burst: int,
        paced: int,
        *,
        on: set[int],
        code: Path,
        shared_port: int | None = None,
    ) -> None:
        """``code``: the folder whose code is run. ``shared_port``: listens there, beside others."""
        self.port, self.home = shared_port or free_port(), home
        routes = {
            "json": canned.large_json,
            "stream": burst,
            "relaxed-json": canned.large_json,
            "relaxed-stream": burst,
            "off-json": canned.small_json,
            "off-stream": canned.small_stream,
            "paced": paced,
        }
        (home / "proxy").mkdir(parents=True)
        (home / "proxy" / "snapshot.json").write_bytes(snapshot(routes))
        command = [sys.executable, "-m", "inference.proxy", "--port", str(self.port), "--name", "bench"]
        command += ["--share-port"] if shared_port else []
        env = {
            "FLYWHEEL_HOME": str(home),
            "FLYWHEEL_SPOOL": str(home / "spool"),
            "FLYWHEEL_WEB_URL": f"http://127.0.0.1:{free_port()}",
        }
        self.process = Process("flywheel", command, log=home / "said.log", on=on, env=env, folder=code)
        self.process.wait_for(self.port)

    def request(self, route: str) -> Request:
        """What is sent to one of its routes."""
        return Request(self.port, route, stream=route.endswith(("stream", "paced")))

    def check_captured(self, count: int) -> None:
        """Whether the spool's first exchanges are whole, with all tokens. Raises NotCapturedError."""
        with SpoolReader(self.home / "spool") as reader:
            found = [parse(raw) for _, raw in reader.read(count)]
        whole = [one for one in found if one.tokens and one.tokens_match and one.end_reason == "length"]
        if len(whole) < count:
            raise NotCapturedError(f"of {count} exchanges {len(whole)} are in the spool with their tokens")
