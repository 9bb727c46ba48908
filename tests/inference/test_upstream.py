"""Reaching engines over real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from inference.balance import ERRORS_IN_A_ROW, FIRST_PAUSE
from inference.http1.failures import UnreachableError
from inference.metrics import Metrics
from inference.routing import Upstream
from inference.upstream import Reached, Upstreams
from tests.inference.double import Engine, call, free_port, reply, serving

PATH = "/v1/chat/completions"


@contextlib.asynccontextmanager
async def post(
    upstreams: Upstreams, replicas: list[Upstream], body: bytes, headers: bytes = b""
) -> AsyncIterator[Reached]:
    """Ask, and leave in the end."""
    reached = await upstreams.reach(replicas, PATH, body, headers)
    try:
        yield reached
    finally:
        upstreams.leave(reached)


@pytest.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    made = Upstreams(Metrics(), silence_seconds=0.3, connect_seconds=1.0)
    made.start()
    yield made
    made.stop()


def at(url: str, name: str = "one", secret_env: str = "") -> Upstream:
    return Upstream(name, url, secret_env, "raw_logprobs")


def body(order: str, **more: Any) -> bytes:
    return orjson.dumps(call(order, **more))


async def test_the_engines_key_comes_from_the_environment(
    upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine()
    monkeypatch.setenv("ENGINE_KEY", "sesame")
    async with (
        serving(engine) as url,
        post(upstreams, [at(url, secret_env="ENGINE_KEY")], body("hi")) as reached,
    ):
        assert b"hi" in await reached.response.read()
    assert engine.asked[0][2]["authorization"] == "Bearer sesame"


async def test_the_least_busy_replica_is_asked(upstreams: Upstreams) -> None:
    first, second = Engine(), Engine()
    async with serving(first) as one, serving(second) as two:
        replicas = [at(one, "one"), at(two, "two")]
        async with (
            post(upstreams, replicas, body("wait")) as busy,
            post(upstreams, replicas, body("hi")) as reached,
        ):
            assert {busy.upstream.name, reached.upstream.name} == {"one", "two"}
        assert upstreams.health("one").in_flight == upstreams.health("two").in_flight == 0


async def test_leaving_early_stops_the_engine(upstreams: Upstreams) -> None:
    engine = Engine()
    async with serving(engine) as url:
        async with post(upstreams, [at(url)], body("wait")) as reached:
            first = asyncio.get_running_loop().create_future()
            pumping = asyncio.ensure_future(reached.response.pump(first.set_result))
            assert b"one" in b"".join(await first)
            pumping.cancel()
        while not engine.left:  # noqa: ASYNC110 – the engine learns it from its socket
            await asyncio.sleep(0.01)


class Failing(Engine):
    """Answers every call with a status, while it has one."""

    status = 0

    async def _echo(self, asked: Any, send: Any) -> None:
        if self.status:
            await reply(send, self.status, {"error": {"message": "no"}})
        else:
            await super()._echo(asked, send)


async def test_a_busy_engine_is_passed_over_for_as_long_as_it_says() -> None:
    now = 0.0
    upstreams = Upstreams(Metrics(), clock=lambda: now)
    upstreams.start()
    busy, other = Engine(), Engine()
    async with serving(busy) as one, serving(other) as two:
        replicas = [at(one, "busy"), at(two, "other")]
        async with post(upstreams, replicas, body("come later")) as reached:
            assert (reached.response.status, reached.upstream.name) == (429, "other")
            assert reached.tried == [{"upstream": "busy", "why": "HTTP 429"}]
        upstreams.health("other").answered()
        for now, who in ((0.1, "other"), (6.9, "other"), (7.1, "busy")):  # noqa: B007 – the clock reads it
            async with post(upstreams, replicas, body("hi")) as reached:
                assert reached.upstream.name == who
        assert upstreams.health("busy").ejections == 0
    upstreams.stop()


async def test_an_engine_whose_answers_fail_is_put_aside_and_comes_back_through_one_call() -> None:
    now = 0.0
    metrics = Metrics()
    upstreams = Upstreams(metrics, clock=lambda: now)
    upstreams.start()
    failing, other = Failing(), Engine()
    failing.status = 503
    async with serving(failing) as one, serving(other) as two:
        replicas = [at(one, "failing"), at(two, "other")]

        async def ask() -> str:
            async with post(upstreams, replicas, body("hi")) as reached:
                assert reached.response.status == 200
                return reached.upstream.name

        for _ in range(20):
            assert await ask() == "other"
        assert len(failing.asked) == ERRORS_IN_A_ROW, "after which nobody goes there"
        upstreams.measure()
        page = metrics.page()
        assert b'flywheel_ejections_total{upstream="failing"} 1.0' in page
        assert b'flywheel_failovers_total{upstream="failing"} 3.0' in page
        assert b'flywheel_upstream_in_order{upstream="failing"} 0.0' in page
        now, failing.status = FIRST_PAUSE, 0
        assert "failing" in [await ask() for _ in range(20)]
        upstreams.measure()
        assert b'flywheel_upstream_in_order{upstream="failing"} 1.0' in metrics.page()
    upstreams.stop()


async def test_an_engine_that_nobody_knows_any_more_is_forgotten() -> None:
    metrics = Metrics()
    upstreams = Upstreams(metrics)
    upstreams.start()
    async with serving(Engine()) as url:
        for name in ("goes", "stays"):
            async with post(upstreams, [at(url, name)], body("hi")):
                if name == "goes":
                    upstreams.keep(["stays"])
    upstreams.measure()
    assert b'{upstream="stays"} 1.0' in metrics.page()
    assert b'{upstream="goes"}' not in metrics.page()
    assert upstreams.health("goes").in_flight == 0
    upstreams.stop()


async def test_no_request_breaks_more_than_three_engines(upstreams: Upstreams) -> None:
    engines = [Engine() for _ in range(5)]
    async with contextlib.AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(serving(one)) for one in engines]
        replicas = [at(url, f"e{n}") for n, url in enumerate(urls)]
        async with post(upstreams, replicas, body("HTTP 500")) as reached:
            assert (reached.response.status, len(reached.tried)) == (500, 2)
    assert sum(len(one.asked) for one in engines) == 3


async def test_nobody_else_is_asked_after_a_long_silence(upstreams: Upstreams) -> None:
    engines = [Engine(), Engine()]
    async with serving(engines[0]) as one, serving(engines[1]) as two:
        with pytest.raises(UnreachableError) as silent:
            async with post(upstreams, [at(one, "one"), at(two, "two")], body("hang")):
                pass
    assert silent.value.timed_out
    assert sum(len(one.asked) for one in engines) == 1
    assert upstreams.health("one").in_flight == upstreams.health("two").in_flight == 0


async def test_a_conversation_goes_where_its_beginning_is_known(upstreams: Upstreams) -> None:
    engines = {name: Engine() for name in ("one", "two", "three")}
    async with contextlib.AsyncExitStack() as stack:
        replicas = [at(await stack.enter_async_context(serving(one)), n) for n, one in engines.items()]
        for prefix in (b"first", b"second", b"third", b"fourth"):
            asked = set()
            for _ in range(4):
                reached = await upstreams.reach(
                    replicas, PATH, body("hi"), b"", balance="prefix", prefix=prefix
                )
                asked.add(reached.upstream.name)
                upstreams.leave(reached)
            assert len(asked) == 1
        held = [
            await upstreams.reach(replicas, PATH, body("wait"), b"", balance="prefix", prefix=b"first")
            for _ in range(6)
        ]
        assert len({reached.upstream.name for reached in held}) > 1, "load is bounded"
        for reached in held:
            upstreams.leave(reached)


async def test_silence_and_refusal_are_told_apart(upstreams: Upstreams) -> None:
    async with serving(Engine()) as url:
        with pytest.raises(UnreachableError) as silent:
            async with post(upstreams, [at(url)], body("hang")):
                pass
    assert silent.value.timed_out
    with pytest.raises(UnreachableError, match="no connection") as refused:
        async with post(upstreams, [at(f"http://127.0.0.1:{free_port()}")], body("hi")):
            pass
    assert not refused.value.timed_out
    with pytest.raises(UnreachableError, match="no engine"):
        async with post(upstreams, [], b""):
            pass


async def test_a_kept_connection_that_the_engine_dropped_costs_nothing(upstreams: Upstreams) -> None:
    answered = 0

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers, promises to keep the connection, and drops it at the next request."""
        nonlocal answered
        await reader.readuntil(b"\r\n\r\n")
        answered += 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
        writer.close()
        gone.release()

    gone = asyncio.Semaphore(0)
    server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for _ in range(2):
        async with post(upstreams, [at(url)], b"{}") as reached:
            assert await reached.response.read() == b"{}"
    assert answered == 2
    upstreams.stop()
    for _ in range(2):
        await gone.acquire()
    server.close()


async def test_a_replica_comes_back() -> None:
    now = 0.0
    upstreams = Upstreams(Metrics(), clock=lambda: now)
    upstreams.start()
    gone, engine = at(f"http://127.0.0.1:{free_port()}", "gone"), Engine()
    tried = []
    async with serving(engine) as url:
        replicas = [gone, at(url, "there")]
        for now in (0.0, 0.5, 10.0, 10.5):  # noqa: B007 – the clock reads it
            async with post(upstreams, replicas, body("hi")) as reached:
                tried.append([one["upstream"] for one in reached.tried])
    upstreams.stop()
    assert tried == [["gone"], [], ["gone"], []], "put aside when it fails, asked again after a while"
