"""The admin says how an engine's tokens are captured, and never waits long for it."""

import asyncio

import pytest

from inference import told
from tests.inference.double import Engine, Message, free_port, serving

CAPTURES = {"capture": True, "version": "0.1.0", "vllm": "0.32.0", "dropped": {"disk": 2}}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (None, "has no capture plugin"),
        ({**CAPTURES, "capture": False, "why": "the spool takes nothing"}, "Over the wire: the spool takes"),
        (CAPTURES, "Inside the engine: plugin 0.1.0, vLLM 0.32.0; 2 records were lost"),
    ],
)
async def test_what_the_engine_says(said: Message | None, words: str) -> None:
    async with serving(Engine(capture=said)) as url:
        assert words in await asyncio.to_thread(told.words, url)


def test_an_engine_that_is_away_is_no_error() -> None:
    assert "does not say" in told.words(f"http://127.0.0.1:{free_port()}")
    assert "none of HTTP" in told.words("file:///etc")
