"""One machine's Flywheel: its folder, its ports, its secrets, and the settings that follow from them.

Standard library only, because the installer reads it before any environment exists. Starts nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
"""The checkout."""
WEB_PYTHON = ROOT / ".venv" / "bin" / "python"
ENGINE_PYTHON = ROOT / ".venv-vllm" / "bin" / "python"

PORTS: dict[str, tuple[str, int]] = {
    "web": ("FLYWHEEL_WEB_PORT", 8000),
    "proxy": ("FLYWHEEL_PROXY_PORT", 8080),
    "clickhouse": ("FLYWHEEL_CLICKHOUSE_PORT", 8123),
    "redis": ("FLYWHEEL_REDIS_PORT", 6379),
    "engine": ("FLYWHEEL_ENGINE_PORT", 8001),
}
"""Process to the variable that moves it and its usual port; all on 127.0.0.1."""

_SECRETS = {
    # An API key starts like every other one, so that scanners and people recognise it.
    "evaluation_key": "fw-",
    "product_key": "fw-",
    "secret_key": "",
    "internal_token": "",
    "clickhouse_password": "",
    "redis_password": "",
}


class HomeError(RuntimeError):
    """The folder can't be used; the text says why in one line."""


@dataclass(frozen=True)
class Home:
    """The folder with everything this machine's Flywheel keeps.

    upstream: base address of an engine that exists already, without /v1; empty: ours is started.
    """

    root: Path
    ports: Mapping[str, int]
    secrets: Mapping[str, str]
    upstream: str = ""

    @classmethod
    def open(cls, environ: Mapping[str, str]) -> Home:
        """The home that the environment names, made on first use. Raises HomeError."""
        root = Path(environ.get("FLYWHEEL_HOME", ROOT / "var")).resolve()
        try:
            root.mkdir(parents=True, exist_ok=True)
            for folder in ("logs", "models", "adapters"):
                (root / folder).mkdir(exist_ok=True)
            known = _secrets(root / "secrets.json")
        except OSError as error:
            raise HomeError(f"{error.filename or root} can't be used: {error.strerror}") from error
        return cls(root, _ports(environ), known, environ.get("UPSTREAM", "").rstrip("/").removesuffix("/v1"))

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def adapters(self) -> Path:
        return self.root / "adapters"

    @property
    def engine_spool(self) -> Path:
        """Where our engine keeps captured tokens, until a drain of its own has stored them."""
        return self.root / "engine-spool"

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['web']}"

    @property
    def proxy_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['proxy']}"

    @property
    def engine_url(self) -> str:
        return self.upstream or f"http://127.0.0.1:{self.ports['engine']}"

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """`inherited` with the settings that every process of this home shares."""
        secret = self.secrets
        return {
            **inherited,
            "DJANGO_SETTINGS_MODULE": "flywheel.settings",
            "FLYWHEEL_HOME": str(self.root),
            "FLYWHEEL_SECRET_KEY": secret["secret_key"],
            "FLYWHEEL_INTERNAL_TOKEN": secret["internal_token"],
            "FLYWHEEL_EVALUATION_KEY": secret["evaluation_key"],
            "FLYWHEEL_WEB_URL": self.web_url,
            "FLYWHEEL_PROXY_URL": self.proxy_url,
            "FLYWHEEL_CLICKHOUSE_URL": (
                f"http://default:{secret['clickhouse_password']}@127.0.0.1:{self.ports['clickhouse']}/flywheel"
            ),
            "FLYWHEEL_REDIS_URL": f"redis://:{secret['redis_password']}@127.0.0.1:{self.ports['redis']}/0",
            "PYTHONUNBUFFERED": "1",
        }

    def check_ports(self) -> None:
        """Raises HomeError naming the first port that somebody else has."""
        for name, port in self.ports.items():
            if name == "engine" and self.upstream:
                continue
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    raise HomeError(
                        f"port {port} for {name} is taken by another program: stop it, or choose another "
                        f"with {PORTS[name][0]}=…"
                    ) from error

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the home for a supervisor; while held, `running` finds its ports. Raises HomeError."""
        note = self.root / "running.json"
        with (self.root / "running.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise HomeError(f"Flywheel already runs from {self.root}, at {self.web_url}") from error
            note.write_text(
                json.dumps({"ports": dict(self.ports), "upstream": self.upstream}), encoding="utf-8"
            )
            try:
                yield
            finally:
                note.unlink(missing_ok=True)

    def running(self) -> Home | None:
        """The same home with the addresses that a supervisor gave it, or None when none holds it."""
        with (self.root / "running.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                note = json.loads((self.root / "running.json").read_text(encoding="utf-8"))
                return Home(self.root, note["ports"], self.secrets, note["upstream"])
        return None


def _ports(environ: Mapping[str, str]) -> dict[str, int]:
    ports = {}
    for name, (variable, usual) in PORTS.items():
        given = environ.get(variable, "")
        if given and not (given.isdecimal() and 0 < int(given) < 65536):
            raise HomeError(f"{variable} is {given!r}; a port is a number from 1 to 65535")
        ports[name] = int(given or usual)
    return ports


def _secrets(path: Path) -> dict[str, str]:
    """Read the secrets, adding those that are missing; the file is its owner's alone.

    Of processes that begin at the same time, one makes them and the others read them.
    """
    with path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        missing = {
            name: start + secrets.token_urlsafe(32) for name, start in _SECRETS.items() if name not in known
        }
        if missing:
            known |= missing
            part = path.with_suffix(".part")
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(known, file, indent=2)
            part.replace(path)
    return known
