"""``openai`` for Node: tests/clients/node/*.test.mjs, run by Node's own test runner."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from tests.inference.double import SECRET, Running

FOLDER = Path(__file__).parent / "node"


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.test.mjs")), ids=lambda path: path.name)
async def test_it_gets_what_it_asks_for(proxy: Running, file: Path) -> None:
    node = shutil.which("node")
    assert node, "Node 20 or newer is missing: as root, `apt-get install nodejs npm`"
    assert (FOLDER / "node_modules").exists(), "run `python3 -m flywheel.local.install node`"
    env = {**os.environ, "BASE_URL": f"{proxy.url}/v1", "API_KEY": SECRET}
    process = await asyncio.create_subprocess_exec(
        node,
        "--test",
        "--test-reporter=tap",
        str(file),
        cwd=FOLDER,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert b"# pass 0" not in said
