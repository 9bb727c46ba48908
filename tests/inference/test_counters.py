"""Counting what keys use, for several proxies at once, on a real server; and alone while there is none."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference import counting, limits
from inference.counters import Admission, Counters, LimitedError
from inference.limits import Bucket, Counts
from inference.metrics import Metrics
from inference.routing import Key, Limits
from tests.inference.valkey import Valkey, until

Make = Callable[..., Counters]


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
async def proxies(valkey: Valkey) -> AsyncIterator[Make]:
    """Makes proxies' counters; a loaded machine is no Redis that is away, so they are patient."""
    made: list[Counters] = []

    def make(name: str, *, patience: float = 60.0) -> Counters:
        one = Counters(valkey.url, name, Metrics(), patience=patience)
        one.start()
        made.append(one)
        return one

    yield make
    for one in made:
        await one.stop()


def key(id_: int = 1, **found: int) -> Key:
    return Key(id_, "desk", None, None, may_call_versions=False, limits=Limits(**found))


async def crowd(counters: Counters, who: Key, count: int, tokens: int = 1) -> list[Admission]:
    """So many calls at once; gives those that were let in."""
    answers = await asyncio.gather(
        *(counters.admit(who, tokens) for _ in range(count)), return_exceptions=True
    )
    assert all(isinstance(one, Admission | LimitedError) for one in answers), answers
    return [one for one in answers if isinstance(one, Admission)]


async def refusal(counters: Counters, who: Key) -> LimitedError:
    """Call until one is refused."""
    while True:
        try:
            counters.settle(await counters.admit(who, 1), 0, 0)
        except LimitedError as error:
            return error


async def entry(counters: Counters, who: Key) -> Admission:
    """Call until one is let in. Raises TimeoutError when none ever is."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await counters.admit(who, 1)
            except LimitedError:
                await asyncio.sleep(0.01)


steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.floats(0, 40),
        st.one_of(st.none(), st.integers(0, 80)),
        st.integers(-30, 90),
        st.integers(0, 500),
    ),
    min_size=1,
    max_size=25,
)
maybe = st.one_of(st.none(), st.integers(1, 60))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.builds(Limits, maybe, maybe, st.one_of(st.none(), st.integers(1, 4)), maybe), steps)
def test_the_script_decides_as_the_rules_say(valkey: Valkey, found: Limits, steps: list[Any]) -> None:
    """Against the same in Python: two proxies, calls that begin and end, tokens given back, money spent."""
    valkey.client.flushall()
    requests, tokens = Bucket(), Bucket()
    in_flight, seen, spent, now = {"a": 0, "b": 0}, {"a": 0.0, "b": 0.0}, 0, 1e9
    for proxy, gap, asked, more_tokens, cost in steps:
        now += gap
        if asked is None and in_flight[proxy]:
            in_flight[proxy] -= 1
        said = counting.arguments(
            found,
            proxy,
            asked=asked,
            in_flight=in_flight[proxy],
            tokens=more_tokens,
            cost=cost,
            spent=spent,
            now=now,
        )
        reply: Any = valkey.client.eval(counting.SCRIPT, 3, *counting.names(1, "2026-11"), *said)
        kind, seconds, counts = counting.read(reply)
        requests = requests.now(found.requests, now) if found.requests else Bucket()
        tokens = tokens.now(found.tokens, now).take(more_tokens) if found.tokens else Bucket()
        spent += cost
        other = "b" if proxy == "a" else "a"
        others = in_flight[other] if seen[other] + 15 > now and found.concurrent else 0
        before = Counts(requests.used, tokens.used, others + in_flight[proxy], spent)
        refused = None if asked is None else limits.refused_by(found, before, asked)
        assert kind == (refused[0] if refused else None)
        assert seconds == pytest.approx(refused[1] if refused else 0, abs=1e-4)
        if asked is not None and refused is None:
            requests = requests.take(1) if found.requests else requests
            tokens = tokens.take(min(asked, found.tokens)) if found.tokens else tokens
            in_flight[proxy] += 1
        seen[proxy] = now
        assert counts.requests == pytest.approx(requests.used, abs=1e-3)
        assert counts.tokens == pytest.approx(tokens.used, abs=1e-3)
        assert (counts.concurrent, counts.spent) == (others + in_flight[proxy], spent)


def test_nothing_is_kept_longer_than_it_is_needed(valkey: Valkey) -> None:
    said = counting.arguments(Limits(60, 60, 2, 5), "a", asked=1, cost=3)
    valkey.client.eval(counting.SCRIPT, 3, *counting.names(1, "2026-11"), *said)
    assert sorted(valkey.client.keys()) == sorted(one.encode() for one in counting.names(1, "2026-11"))
    assert all(0 < valkey.client.ttl(name) <= 40 * 86_400 for name in counting.names(1, "2026-11"))


async def test_two_proxies_let_in_together_what_one_would(proxies: Make) -> None:
    one, two = proxies("one"), proxies("two")
    who = key(requests=40)
    began = asyncio.get_running_loop().time()
    let_in = await asyncio.gather(crowd(one, who, 30), crowd(two, who, 30))
    back = (asyncio.get_running_loop().time() - began) * 40 / 60
    assert 40 <= sum(map(len, let_in)) <= 41 + back, "but for what comes back while they ask"
    refused = await refusal(two, who)
    sent = dict(refused.headers)
    assert refused.kind == "requests"
    assert sent[b"x-ratelimit-limit-requests"] == b"40"
    assert sent[b"x-ratelimit-remaining-requests"] == b"0"
    assert 1 <= int(sent[b"retry-after"]) <= 2


async def test_places_are_shared_and_given_on(proxies: Make) -> None:
    one, two = proxies("one"), proxies("two")
    who = key(concurrent=5)
    held = await crowd(one, who, 4)
    assert len(held) == 4
    assert len(await crowd(two, who, 10)) == 1
    with pytest.raises(LimitedError, match="concurrent"):
        await one.admit(who, 1)
    one.settle(held.pop(), 1, 0)
    await entry(two, who)
    assert not await crowd(one, who, 3)


async def test_a_call_that_is_given_up_gives_its_place_back(proxies: Make) -> None:
    one = proxies("one")
    who = key(concurrent=1, tokens=100)
    for delay in (0.0, 0.0001, 0.001, 0.003):
        asking = asyncio.create_task(one.admit(who, 100))
        await asyncio.sleep(delay)
        asking.cancel()
        for found in await asyncio.gather(asking, return_exceptions=True):
            if isinstance(found, Admission):
                one.settle(found, 0, 0)
    one.settle(await entry(one, who), 0, 0)
    await until(lambda: one._use(who).in_flight == one._use(who).asking == one._use(who).tokens == 0)


async def test_a_call_that_is_given_up_while_it_is_let_in_gives_its_place_back(
    proxies: Make, valkey: Valkey
) -> None:
    one = proxies("one")
    who = key(concurrent=1)
    one.settle(await one.admit(who, 1), 0, 0)
    await until(lambda: not one._untold)
    valkey.freeze()
    asking = asyncio.create_task(one.admit(who, 1))
    await until(lambda: one._use(who).asking)
    asking.cancel()
    await asyncio.wait([asking])
    valkey.thaw()
    await until(lambda: not one._use(who).asking)
    assert one._use(who).in_flight == 0
    one.settle(await entry(one, who), 0, 0)


async def test_tokens_are_counted_as_they_were(proxies: Make) -> None:
    one = proxies("one")
    who = key(tokens=1000)
    admission = await one.admit(who, 900)
    assert dict(admission.headers)[b"x-ratelimit-remaining-tokens"] == b"100"
    with pytest.raises(LimitedError, match="tokens"):
        await one.admit(who, 900)
    one.settle(admission, 40, 0)
    again = await one.admit(who, 900)
    one.settle(again, 5000, 0)
    with pytest.raises(LimitedError, match="tokens") as refused:
        await one.admit(who, 1)
    assert 200 < int(dict(refused.value.headers)[b"retry-after"]) <= 300, "what was overdrawn is waited for"


async def test_limits_that_change_while_a_call_runs_hold_for_what_comes(proxies: Make) -> None:
    one = proxies("one")
    before = await one.admit(key(requests=5), 1)
    assert await crowd(one, key(concurrent=1), 2) == [], "the call that runs has the only place"
    one.settle(before, 1, 0)
    assert one._uses[1].key.limits == Limits(concurrent=1)
    assert await entry(one, key(concurrent=1))


async def test_a_budget_is_spent_by_all_and_ends_for_all(proxies: Make) -> None:
    one, two = proxies("one"), proxies("two")
    who = key(budget=100)
    for counters in (one, two):
        counters.settle(await counters.admit(who, 1), 1, 50)
    refused = await refusal(one, who)
    assert refused.kind == "budget"
    assert dict(refused.headers)[b"x-should-retry"] == b"false"
    assert await crowd(two, key(2, budget=100), 1), "each key for itself"


async def let_in(counters: Counters, who: Key) -> Admission:
    """Once it has heard that the others' calls have ended; within five seconds."""
    for _ in range(500):
        try:
            return await counters.admit(who, 1)
        except LimitedError as error:
            if error.kind != "concurrent":
                raise
        await asyncio.sleep(0.01)
    return await counters.admit(who, 1)


async def test_a_wiped_server_hears_again_what_was_spent_and_who_is_there(
    proxies: Make, valkey: Valkey
) -> None:
    one, two = proxies("one"), proxies("two")
    who = key(budget=100, concurrent=2)
    held = await one.admit(who, 1)
    one.settle(await let_in(one, who), 1, 60)
    two.settle(await let_in(two, who), 1, 0)
    await until(lambda: valkey.client.get(counting.names(1, limits.month(one._clock()))[2]) == b"60")
    two.settle(await let_in(two, who), 1, 0)
    valkey.client.flushall()
    valkey.client.script_flush()
    two.settle(await let_in(two, who), 1, 30)
    one.settle(await let_in(one, who), 1, 20)
    await until(lambda: valkey.client.get(counting.names(1, limits.month(one._clock()))[2]) == b"110")
    with pytest.raises(LimitedError, match="budget"):
        await two.admit(who, 1)
    assert await one.admit(key(concurrent=2), 1)
    assert not await crowd(two, key(concurrent=2), 1), "what is held is known again"
    one.settle(held, 1, 0)


async def test_without_a_server_each_lets_in_its_share_and_tells_the_rest_later(
    proxies: Make, valkey: Valkey
) -> None:
    one, two = proxies("one"), proxies("two")
    who = key(requests=40, budget=1000)
    for counters in (one, two, one, two):
        counters.settle(await counters.admit(key(2, requests=10), 1), 1, 0)
    one._beat_at = 0.0
    one.settle(await one.admit(who, 1), 1, 5)
    await until(lambda: one.proxies == 2 and valkey.client.get(counting.names(1, one._use(who).month)[2]))
    valkey.kill()
    held = await crowd(one, who, 30)
    assert 20 <= len(held) < 30, "half, and what comes back meanwhile"
    assert not one.together
    assert b"flywheel_limits_together 0.0" in one._metrics.page()
    for admission in held:
        one.settle(admission, 1, 7)
    valkey.start()
    await until(lambda: one.together)
    paid = 5 + 7 * len(held)
    await until(lambda: valkey.client.get(counting.names(1, one._use(who).month)[2]) == b"%d" % paid)


async def test_without_a_server_a_budget_still_ends(proxies: Make, valkey: Valkey) -> None:
    one = proxies("one")
    who = key(budget=100)
    one.settle(await one.admit(who, 1), 1, 60)
    await until(lambda: one._use(who).spent == 60)
    valkey.kill()
    one.settle(await one.admit(who, 1), 1, 40)
    with pytest.raises(LimitedError, match="budget"):
        await one.admit(who, 1)
    valkey.start()


async def test_a_server_that_says_nothing_holds_no_call_for_long(proxies: Make, valkey: Valkey) -> None:
    one = proxies("one", patience=0.2)
    who = key(requests=1000)
    await one.admit(who, 1)
    valkey.freeze()
    try:
        assert len(await crowd(one, who, 5)) == 5
        assert not one.together
    finally:
        valkey.thaw()
    await until(lambda: one.together)


async def test_cancelled_in_the_middle_of_a_read_it_ends(valkey: Valkey) -> None:
    one = Counters(valkey.url, "one", Metrics(), patience=60.0)
    await one.admit(key(requests=1000), 1)
    valkey.freeze()
    asking = asyncio.create_task(one.admit(key(requests=1000), 1))
    await asyncio.sleep(0.05)
    assert one._task is not None
    one._task.cancel()
    try:
        await asyncio.wait([one._task])
        assert one._task.cancelled()
        assert (await asking).together is False, "what was asked is decided all the same"
    finally:
        valkey.thaw()


async def test_a_server_that_was_never_there_is_as_one_that_is_away() -> None:
    counters = Counters("redis://127.0.0.1:1/0", "one", Metrics())
    who = key(requests=3)
    assert len(await crowd(counters, who, 5)) == 3
    await counters.stop()
