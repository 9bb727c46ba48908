"""The proxy in front of the scripted engine."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients import scripted
from tests.inference.double import Engine, Running, proxying, serving


@pytest.fixture(scope="session")
def recorded() -> Iterator[dict[str, Any]]:
    found = scripted.load()
    yield found
    if scripted.ENGINE:
        scripted.save(found)


@pytest.fixture
async def proxy(recorded: dict[str, Any], tmp_path: Path) -> AsyncIterator[Running]:
    """In front of an engine that answers what a real one answered."""
    async with serving(scripted.Script(recorded)) as engine, proxying(tmp_path, engine) as running:
        yield running


@pytest.fixture
async def ordered(tmp_path: Path) -> AsyncIterator[Running]:
    """In front of an engine that does what the last message orders: fails, hangs, breaks off."""
    async with serving(Engine()) as engine, proxying(tmp_path, engine, silence_seconds=0.5) as running:
        yield running
