"""A real server of Redis's protocol for tests: can be killed, frozen and started again on its port."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import redis

from flywheel.local import broker
from tests.inference.double import free_port

PASSWORD = "between us"


class Valkey:
    """A running server that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.port = folder, free_port()
        self.url = f"redis://:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/0"
        self.start()
        self.client = redis.Redis.from_url(self.url)

    def start(self) -> None:
        """Start it; returns when it answers."""
        command = broker.command(self._folder, self.port, f'"{PASSWORD}"')
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not broker.answers(self.port):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def kill(self) -> None:
        """As a power cut would end it."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """It accepts, and says nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it was."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop it for good."""
        self.client.close()
        self.thaw()
        self.kill()


async def until(happened: Callable[[], object]) -> None:
    """Wait until a function says yes. Raises TimeoutError when it never does."""
    async with asyncio.timeout(60):
        while not happened():  # noqa: ASYNC110 – it happens in another process
            await asyncio.sleep(0.01)
