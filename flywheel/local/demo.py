"""The demonstration: everything on one machine, started, filled, watched and stopped.

    python -m flywheel.local.demo start | turn [OPTIONS] | screenshots

Runs in the web environment once install.py made it. Joins home, processes and supervisor; what the steps do
is in seed.py, traffic.py, turn.py and screenshots.py, each run as a process of its own with the home's
settings.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Sequence

from flywheel.local import processes
from flywheel.local.home import ROOT, WEB_PYTHON, Home, HomeError
from flywheel.local.supervisor import StoppedError, Supervisor

PHRASES = 300
"""What the first start sends, so that every page has something to show."""


def say(text: str) -> None:
    """One line for the person at the console."""
    print(text, flush=True)


class Stack:
    """All processes of one home."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.env = home.environment(os.environ)
        self.supervisor = Supervisor(home.logs, lambda text: say(f"  {text}"))
        self.passwords: dict[str, str] = {}

    def up(self) -> None:
        """Start everything and wait until it works. Raises StoppedError or HomeError."""
        self.home.check_ports()
        say("Starting the engines")
        engines = processes.engines(self.home, os.environ)
        for process in engines:
            self.supervisor.start(process)
        self.supervisor.wait_ready(["clickhouse", "redis"])
        say("Bringing both databases up to date")
        self.manage("migrate", "--verbosity", "0")
        self.supervisor.run(
            [str(WEB_PYTHON), "-m", "inference.clickhouse", "migrate"], ROOT, self.env, "migrate"
        )
        self.passwords = self.ask("seed")["passwords"]
        say("Starting Flywheel")
        services = processes.services(self.home, os.environ)
        for process in services:
            self.supervisor.start(process)
        self.supervisor.wait_ready([process.name for process in services])
        if not self.home.upstream:
            self.supervisor.wait_ready(["engine"])

    def down(self) -> None:
        """Stop everything; a second Ctrl-C must not leave half of it behind."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.supervisor.stop()

    def manage(self, *arguments: str) -> None:
        """A management command with its output in manage.log."""
        self.supervisor.run([str(WEB_PYTHON), "manage.py", *arguments], ROOT, self.env, "manage")

    def ask(self, *arguments: str) -> dict[str, dict[str, str]]:
        """A management command that answers with JSON on its last line. Raises StoppedError."""
        answer = subprocess.run(
            [str(WEB_PYTHON), "manage.py", *arguments],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            raise StoppedError(f"`manage.py {arguments[0]}` failed: {answer.stderr.strip()[-2000:]}")
        parsed: dict[str, dict[str, str]] = json.loads(answer.stdout.strip().splitlines()[-1])
        return parsed

    def traffic(self) -> None:
        """Send the first phrases, once in a home's life, and put them into the queue."""
        self.supervisor.run([str(WEB_PYTHON), "manage.py", "seed", "--phrases", str(PHRASES)], ROOT, self.env)


def start() -> None:
    """`make demo`: until Ctrl-C or until a process ends by itself."""
    began = time.monotonic()
    home = Home.open(os.environ)
    with home.held():
        stack = Stack(home)
        try:
            stack.up()
            stack.traffic()
            _welcome(stack, time.monotonic() - began)
            stack.supervisor.watch()
        finally:
            say("Stopping")
            stack.down()


def against_running(command: Sequence[str]) -> int:
    """Run a command of the web environment against the running demonstration, or one started for it."""
    home = Home.open(os.environ)
    running = home.running()
    if running:
        return subprocess.run(command, cwd=ROOT, env=running.environment(os.environ), check=False).returncode
    with home.held():
        stack = Stack(home)
        try:
            stack.up()
            stack.supervisor.run(command, ROOT, stack.env)
        finally:
            stack.down()
    return 0


def _welcome(stack: Stack, seconds: float) -> None:
    links = stack.ask("seed", "--links")["links"]
    lines = ["", f"Flywheel runs after {seconds:.0f} s. Sign in with one click, once, within 15 minutes:", ""]
    for name, what in (("admin", "the operator: overview, every page"), ("coder", "a reviewer: her queue")):
        lines.append(f"  {what}\n    {links[name]}")
        if name in stack.passwords:
            lines.append(
                f"    later: {stack.home.web_url}/sign-in/ as {name}, password {stack.passwords[name]}"
            )
    lines += [
        "",
        f"An app:   base_url={stack.home.proxy_url}/v1  api_key={stack.home.secrets['product_key']}",
        "The wheel by itself: `make demo-turn` in a second terminal.",
        f"Logs: {stack.home.logs}",
        "Ctrl-C stops everything.",
        "",
    ]
    say("\n".join(lines))


def _interrupt(number: int, frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Command line. Exit 0 after Ctrl-C or a finished step, 1 with one line (and a log's end) otherwise."""
    # SIGINT too: a shell that starts this in the background has it ignored, and Python then leaves it so.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    what, rest = arguments[0], arguments[1:]
    try:
        if what == "start":
            start()
        elif what == "turn":
            return against_running([str(WEB_PYTHON), "manage.py", "turn", *rest])
        elif what == "screenshots":
            return against_running([str(WEB_PYTHON), "manage.py", "screenshots", *rest])
        else:
            raise HomeError(f"{what} is not one of start, turn, screenshots")
    except (StoppedError, HomeError) as error:
        print(f"flywheel: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0 if what == "start" else 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
