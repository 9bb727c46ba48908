"""What is kept of an answer: what the client got, and the engine's own where columns do not say all of it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from inference import kept
from inference.surfaces import SURFACES
from tests.inference.double import Engine, Running, proxying, serving
from tests.inference.recorded import PAIRS


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(Engine()) as url, proxying(tmp_path, url) as running:
        yield running


@pytest.mark.parametrize(
    "name", sorted(name for name, pair in PAIRS.items() if SURFACES[pair.path].is_exchange)
)
async def test_it_is_what_the_client_got(proxy: Running, name: str) -> None:
    pair = PAIRS[name]
    status, _, body = await proxy.post({**pair.request, "model": "desk"}, pair.path)
    (exchange,) = await proxy.exchanges(1)
    told = exchange.tokens and exchange.tokens_match
    if status == 200 and (told or exchange.capture not in ("wire", "withheld")):
        assert kept.answer(exchange) == body
        assert len(body) < len(exchange.response) or not exchange.tokens
    else:
        assert kept.answer(exchange) == exchange.response


async def test_where_tokens_are_missing_the_engines_own_is_kept(proxy: Running) -> None:
    await proxy.post({**PAIRS["chat"].request, "model": "desk"})
    (whole,) = await proxy.exchanges(1)
    assert kept.answer(whole) != whole.response
    for lacking in (
        replace(whole, tokens=[]),
        replace(whole, tokens_match=False),
        replace(whole, tokens_match=None),
        replace(whole, status=499),
        replace(whole, tokens=[replace(whole.tokens[0], choice=1)]),
        replace(whole, request=b"{nonsense"),
        replace(whole, response=whole.response[:-1]),
        replace(whole, streamed=True),
    ):
        assert kept.answer(lacking) == lacking.response


@pytest.mark.parametrize("name", ["chat", "chat_streamed"])
async def test_what_an_engine_captured_is_kept_as_the_client_got_it(proxy: Running, name: str) -> None:
    """The public name, and no usage that the client did not ask for."""
    pair = PAIRS[name]
    await proxy.post({**pair.request, "model": "desk"})
    (wire,) = await proxy.exchanges(1)
    plain = pair.plain.body
    usage = b'data: {"id":"x","object":"chat.completion.chunk","model":"m","choices":[],"usage":{}}\n\n'
    came = plain.replace(b"data: [DONE]", usage + b"data: [DONE]")
    one = replace(wire, capture="engine", tokens=[], tokens_match=None, response=came)
    got = kept.answer(one)
    assert b'"model":"desk"' in got
    assert f'"model":"{wire.model}"'.encode() not in got
    assert b'"usage":{}' not in got


async def test_a_stream_that_was_cut_off_is_kept_as_it_came(proxy: Running) -> None:
    await proxy.post({**PAIRS["chat_streamed"].request, "model": "desk"})
    (whole,) = await proxy.exchanges(1)
    assert b"token_id:" not in kept.answer(whole)
    cut = replace(whole, response=whole.response[: len(whole.response) // 2])
    assert kept.answer(cut) == cut.response
    broken = replace(whole, response=b"data: {oops\n\n" + whole.response)
    assert kept.answer(broken) == broken.response
    assert orjson.loads(whole.request)["stream"]
