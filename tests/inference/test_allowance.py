"""What keys and targets may, at the proxy's socket: two proxies, a Redis that comes and goes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from inference.counting import names
from inference.limits import month
from tests.inference.double import SECRET, Engine, Message, Running, call, proxying, serving, snapshot
from tests.inference.valkey import Valkey, until

Proxying = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    made = Valkey(tmp_path_factory.mktemp("valkey"))
    yield made
    made.stop()


@pytest.fixture
def valkey(server: Valkey) -> Valkey:
    server.client.flushall()
    return server


@pytest.fixture
async def engine() -> AsyncIterator[tuple[Engine, str]]:
    made = Engine(usage={"prompt_tokens": 30, "total_tokens": 100, "completion_tokens": 70})
    async with serving(made) as url:
        yield made, url


@pytest.fixture
def proxy(engine: tuple[Engine, str], valkey: Valkey, tmp_path: Path) -> Proxying:
    """Makes proxies whose one key has these limits."""

    @contextlib.asynccontextmanager
    async def start(name: str = "one", **limits: int) -> AsyncIterator[Running]:
        found = limited(snapshot(engine[1]), **limits)
        async with proxying(tmp_path / name, found=found, redis_url=valkey.url) as running:
            # A loaded machine is no Redis that is away.
            running.app._counters._patience = 60.0
            yield running

    return start


def limited(found: Message, **limits: int) -> Message:
    for key in found["keys"].values():
        key["limits"] = limits
    found["versions"]["smollm2-135m"] |= {"price_in": 100, "price_out": 400}
    return found


async def crowd(proxy: Running, count: int, order: str = "hi") -> list[tuple[int, Any, bytes]]:
    return await asyncio.gather(*(proxy.post(call(order)) for _ in range(count)))


async def test_two_proxies_let_a_key_make_its_requests_and_no_more(proxy: Proxying) -> None:
    began = asyncio.get_running_loop().time()
    async with proxy("one", requests=30) as one, proxy("two", requests=30) as two:
        answers = [*(await crowd(one, 5)), *(await crowd(two, 5))]
        for crowds in [await asyncio.gather(crowd(one, 20), crowd(two, 20)) for _ in range(2)]:
            answers += [one for answered in crowds for one in answered]
        back = (asyncio.get_running_loop().time() - began) * 30 / 60
        assert 30 <= sum(status == 200 for status, _, _ in answers) <= 31 + back, "and what came back"
        status, headers, body = await one.post(call("hi"))
        while status == 200:
            status, headers, body = await one.post(call("hi"))
    assert status == 429
    assert headers["x-ratelimit-limit-requests"] == "30"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    assert 1 <= int(headers["retry-after"]) <= 2
    assert orjson.loads(body)["error"]["code"] == "rate_limit_exceeded"


async def test_a_refused_call_is_kept_and_counted(proxy: Proxying, engine: tuple[Engine, str]) -> None:
    async with proxy(requests=1) as one:
        assert (await one.post(call("hi")))[0] == 200
        with pytest.raises(openai.RateLimitError) as error:
            await one.openai.chat.completions.create(
                model="desk", messages=[{"role": "user", "content": "hi"}]
            )
        assert error.value.type == "requests"
        kept = {exchange.status: exchange for exchange in await one.exchanges(2)}
        assert kept[429].end_reason == "refused"
        assert kept[429].request
        page = (await (await one.http.get(one.url + "/metrics")).read()).decode()
    assert 'flywheel_limited_total{limit="requests"} 1.0' in page
    assert "flywheel_limits_together 1.0" in page
    assert len(engine[0].asked) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_are_what_the_answer_came_to(proxy: Proxying, stream: bool) -> None:
    async with proxy(tokens=100_000, budget=10**9) as one:
        _, headers, _ = await one.post(call("hi", stream=stream, max_tokens=5000))
        assert headers["x-ratelimit-limit-tokens"] == "100000"
        assert int(headers["x-ratelimit-remaining-tokens"]) <= 95_000, "as it may come to, in advance"
        (use,) = one.app._counters._uses.values()
        await until(lambda: use.spent == 30 * 100 + 70 * 400)
        _, headers, _ = await one.post(call("hi", stream=stream, max_tokens=1))
        assert int(headers["x-ratelimit-remaining-tokens"]) > 99_800, "as it was, after it"


async def test_a_stream_that_is_left_is_counted_as_far_as_it_came(
    proxy: Proxying, engine: tuple[Engine, str]
) -> None:
    async with proxy(budget=10**9, concurrent=1) as one:
        response = await one.http.post(
            one.url + "/v1/chat/completions",
            data=orjson.dumps(call("wait", stream=True)),
            headers={"authorization": f"Bearer {SECRET}"},
        )
        await response.content.readany()
        (use,) = one.app._counters._uses.values()
        assert use.in_flight == 1
        assert (await one.post(call("hi")))[0] == 429
        response.close()
        await until(lambda: use.in_flight == 0 and use.spent)
        assert use.spent % 100 == 0
        assert 400 < use.spent < 10_000, "one event, and the prompt as guessed"
        await until(lambda: engine[0].left)


async def test_a_client_hears_of_its_own_limits_alone(proxy: Proxying) -> None:
    async with proxy(requests=50) as one:
        _, headers, _ = await one.post(call("come later"))
        assert headers.getall("x-ratelimit-limit-requests") == ["50"]
        assert headers["retry-after"] == "7"


async def test_a_spent_budget_is_not_retried(proxy: Proxying) -> None:
    async with proxy(budget=31_000) as one:
        assert (await one.post(call("hi")))[0] == 200
        (use,) = one.app._counters._uses.values()
        await until(lambda: use.spent == 31_000)
        status, headers, body = await one.post(call("hi"))
        assert (status, headers["x-should-retry"]) == (429, "false")
        assert orjson.loads(body)["error"]["code"] == "insufficient_quota"
        assert "$0.00" in orjson.loads(body)["error"]["message"]


async def test_what_failed_costs_nothing(proxy: Proxying) -> None:
    async with proxy(tokens=1000, budget=10**6) as one:
        for order in ("HTTP 500", "HTTP 429", "no json"):
            await one.post(call(order))
        (use,) = one.app._counters._uses.values()
        await until(lambda: use.in_flight == 0 and not one.app._counters._untold)
        assert (use.spent, use.cost) == (0, 0)


async def test_when_redis_dies_and_comes_back_no_call_is_lost(proxy: Proxying, valkey: Valkey) -> None:
    async with proxy(requests=100_000, budget=10**12, concurrent=1000) as one:
        statuses: list[int] = []
        done = asyncio.Event()

        async def load() -> None:
            while not done.is_set():
                statuses.append((await one.post(call("hi")))[0])

        async def more(count: int) -> None:
            before = len(statuses)
            await until(lambda: len(statuses) >= before + count)

        running = [asyncio.create_task(load()) for _ in range(4)]
        await more(20)
        counters = one.app._counters
        await asyncio.to_thread(valkey.kill)
        await until(lambda: not counters.together)
        await more(20)
        await asyncio.to_thread(valkey.start)
        await until(lambda: counters.together)
        await more(20)
        done.set()
        await asyncio.gather(*running)
        assert set(statuses) == {200}
        paid = len(statuses) * (30 * 100 + 70 * 400)
        name = names(1, month(counters._clock()))[2]
        await until(lambda: int(valkey.client.get(name) or 0) == paid)


async def test_a_key_without_limits_never_asks_redis(engine: tuple[Engine, str], tmp_path: Path) -> None:
    came = []

    async def listen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(1)
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    async with proxying(tmp_path, engine[1], redis_url=url) as one:
        status, headers, _ = await one.post(call("hi"))
        assert status == 200
        assert not [name for name in headers if name.startswith("x-ratelimit")]
        assert one.app._counters._task is None
    server.close()
    assert not came


async def test_a_full_target_gives_to_the_others_and_a_full_route_says_so(
    engine: tuple[Engine, str], tmp_path: Path
) -> None:
    found = snapshot(engine[1], sticky="none")
    found["versions"]["canary"] = dict(found["versions"]["smollm2-135m"])
    found["routes"]["desk"]["targets"] = [
        {"version": "canary", "weight": 1_000_000, "most": 1},
        {"version": "smollm2-135m", "weight": 1, "most": 1},
    ]
    async with proxying(tmp_path, found=found) as one, contextlib.AsyncExitStack() as stack:
        for version in ("canary", "smollm2-135m"):
            response = await stack.enter_async_context(
                one.http.post(
                    one.url + "/v1/chat/completions",
                    data=orjson.dumps(call("wait", stream=True)),
                    headers={"authorization": f"Bearer {SECRET}"},
                )
            )
            await response.content.readany()
            assert engine[0].asked[-1][1]["model"] == version
        status, headers, body = await one.post(call("hi"))
        assert (status, headers["retry-after"]) == (429, "1")
        assert orjson.loads(body)["error"]["code"] == "model_busy"
        engine[0].go_on.set()
        await until(lambda: not +one.app._room.targets)
        assert (await one.post(call("hi")))[0] == 200


async def test_a_failed_answer_goes_to_no_other_once_it_has_begun(tmp_path: Path) -> None:
    first, second = Engine(), Engine()
    async with serving(first) as a, serving(second) as b, proxying(tmp_path, a, b) as one:
        for order in ("begin and stop", "error inside", "malformed"):
            before = len(first.asked) + len(second.asked)
            status, _, body = await one.post(call(order, stream=True))
            assert status == 200
            assert b"error" in body
            assert len(first.asked) + len(second.asked) == before + 1


@pytest.mark.parametrize("sticky", ["session", "user", "key"])
async def test_who_sticks_stays_with_one_target(
    engine: tuple[Engine, str], tmp_path: Path, sticky: str
) -> None:
    found = snapshot(engine[1], sticky=sticky)
    for name in ("a", "b", "c"):
        found["versions"][name] = dict(found["versions"]["smollm2-135m"])
    found["routes"]["desk"]["targets"] = [{"version": name, "weight": 1} for name in ("a", "b", "c")]
    async with proxying(tmp_path, found=found) as one:
        for who in range(6):
            headers = {} if sticky == "key" else {f"x_flywheel_{sticky}": f"who {who}"}
            for _ in range(3):
                await one.post(call("hi"), **headers)
    asked = [body["model"] for _, body, _ in engine[0].asked]
    each = [set(asked[at : at + 3]) for at in range(0, 18, 3)]
    assert all(len(one) == 1 for one in each)
    assert (len(set(asked)) == 1) == (sticky == "key")
