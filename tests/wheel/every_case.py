"""``python -m tests.wheel.every_case``: the whole differential, for which `make test` has no time.

With parsers for tools and reasoning, and so small a token budget that long prompts are prefilled in chunks.
Another engine: ``python -m tests.wheel.every_case "vllm serve MODEL …" [NAME]``, with the name of an adapter
that it serves, say.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from bench.engine.server import running
from flywheel.local.engine import CpuEngine
from flywheel.local.home import ENGINE_PYTHON, Home
from inference.answer import Tokens
from inference.captured import read
from inference.spool import SpoolReader
from tests.wheel import differential

FLAGS = (
    "--enable-auto-tool-choice --tool-call-parser hermes --reasoning-parser qwen3 "
    "--max-num-batched-tokens 256"
)


def main(arguments: list[str]) -> int:
    """Exit 1 when anything differs."""
    home = Home.open(os.environ)
    engine = CpuEngine(ENGINE_PYTHON, home.models, home.adapters, 0)
    command = engine.command()
    at = command.index("--port")
    own = " ".join([*command[:at], *command[at + 2 :]])
    asked = arguments[0] if arguments else f"{own} {FLAGS}"
    environment = dict(os.environ) if arguments else engine.environment(os.environ)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(
            asked,
            Path(folder),
            "none" if arguments else "lora_filesystem_resolver",
            environment,
            capture=True,
            cwd=None if arguments else engine.folder,
        ) as server,
    ):
        server.wait(600)
        assert server.spool is not None
        reader, seen = SpoolReader(server.spool), dict[str, list[Tokens]]()

        def fetch(exchange_id: str) -> list[Tokens]:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                batch = reader.read(100)
                for position, raw in batch:
                    one = read(raw)
                    seen.setdefault(one.exchange_id, []).append(one.tokens)
                    reader.commit(position)
                if exchange_id in seen and not batch:
                    return seen[exchange_id]
                time.sleep(0.1)
            return []

        model = arguments[1] if len(arguments) > 1 else server.model
        asking = differential.Engine(f"http://127.0.0.1:{server.port}", model, 600)
        bad = 0
        for name in [*(case.name for case in differential.CASES), differential.SCORING]:
            outcome = differential.run(asking, name, fetch)
            bad += bool(outcome.problems)
            said = "FAILED" if outcome.problems else "    ok"
            print(said, name, f"{outcome.tokens} tokens", *outcome.problems, flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
