"""What a key may use: buckets, what is told, and what an answer came to."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import limits
from inference.limits import Bucket, Counts, Meter
from inference.routing import Key, Limits

amounts = st.integers(1, 500)
gaps = st.floats(0, 90)


@given(st.integers(1, 1000), st.lists(st.tuples(gaps, amounts), min_size=1, max_size=40))
def test_never_more_than_a_full_bucket_and_what_came_back(limit: int, calls: list[tuple[float, int]]) -> None:
    bucket, now, taken = Bucket(), 0.0, 0.0
    for gap, amount in calls:
        now += gap
        bucket = bucket.now(limit, now)
        if not bucket.wait(limit, amount):
            bucket = bucket.take(min(amount, limit))
            taken += min(amount, limit)
        assert taken <= limit + now * limit / 60 + 1e-3


@given(st.integers(1, 1000), st.floats(0, 2000), amounts)
def test_what_waits_as_told_gets_in_and_not_much_before(limit: int, used: float, amount: int) -> None:
    wait = Bucket(used).wait(limit, amount)
    assert not Bucket(used).now(limit, wait + 1e-3).wait(limit, amount)
    if wait > 0.01:
        assert Bucket(used).now(limit, wait * 0.9).wait(limit, amount) > 0


@given(st.floats(0, 500), st.floats(0, 100), st.floats(-100, 0))
def test_a_clock_that_goes_back_gives_nothing(used: float, at: float, step: float) -> None:
    later = Bucket(used, at).now(100, at + step)
    assert later == Bucket(used, at)


def test_giving_back_goes_no_lower_than_nothing() -> None:
    assert Bucket(5).take(-7).used == 0


def test_each_limit_refuses_for_itself_and_says_how_long() -> None:
    all_of_them = Limits(requests=60, tokens=600, concurrent=2, budget=1000)
    assert limits.refused_by(all_of_them, Counts(59, 590, 1, 999), 10) is None
    assert limits.refused_by(all_of_them, Counts(60, 0, 0, 0), 1) == ("requests", 1.0)
    assert limits.refused_by(all_of_them, Counts(0, 600, 0, 0), 10) == ("tokens", 1.0)
    assert limits.refused_by(all_of_them, Counts(0, 0, 2, 0), 1) == ("concurrent", 1.0)
    assert limits.refused_by(all_of_them, Counts(0, 0, 0, 1000), 1) == ("budget", 0.0)
    assert limits.refused_by(Limits(), Counts(1e9, 1e9, 10**9, 10**18), 10**9) is None
    assert limits.refused_by(Limits(budget=0), Counts(), 1) == ("budget", 0.0)


def test_a_request_larger_than_the_limit_waits_for_a_full_bucket() -> None:
    few = Limits(tokens=100)
    assert limits.refused_by(few, Counts(), 5000) is None
    assert limits.refused_by(few, Counts(tokens=1), 5000) == ("tokens", 0.6)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((0, "0s"), (-1, "0s"), (0.0004, "0s"), (0.12, "120ms"), (1, "1s"), (1.5, "1.5s"), (10, "10s")),
        *((59.9996, "1m0s"), (90.951, "1m30.951s"), (360, "6m0s"), (3600, "1h0m0s"), (3661.5, "1h1m1.5s")),
    ],
)
def test_durations_are_written_as_openai_does(seconds: float, said: str) -> None:
    assert limits.duration(seconds) == said


def test_headers_are_of_the_limits_that_are_set() -> None:
    found = dict(limits.headers(Limits(requests=60, tokens=6000), Counts(1, 36_000)))
    assert found == {
        b"x-ratelimit-limit-requests": b"60",
        b"x-ratelimit-remaining-requests": b"59",
        b"x-ratelimit-reset-requests": b"1s",
        b"x-ratelimit-limit-tokens": b"6000",
        b"x-ratelimit-remaining-tokens": b"0",
        b"x-ratelimit-reset-tokens": b"6m0s",
    }
    assert limits.headers(Limits(concurrent=3, budget=5), Counts()) == []


def test_retry_after_is_in_whole_seconds_and_a_budget_is_not_retried() -> None:
    assert limits.retry_after("requests", 0.2) == [(b"retry-after", b"1")]
    assert limits.retry_after("tokens", 12.01) == [(b"retry-after", b"13")]
    assert (b"x-should-retry", b"false") in limits.retry_after("budget", 5)


@pytest.mark.parametrize(
    ("now", "name", "seconds"),
    [
        (datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC), "2026-11", 1),
        (datetime(2026, 12, 31, 0, 0, 0, tzinfo=UTC), "2026-12", 86_400),
        (datetime(2027, 2, 28, 12, 0, 0, tzinfo=UTC), "2027-02", 43_200),
    ],
)
def test_months_are_utcs(now: datetime, name: str, seconds: float) -> None:
    assert limits.month(now.timestamp()) == name
    assert limits.until_next_month(now.timestamp()) == seconds


def test_apart_proxies_share_what_a_minute_allows() -> None:
    assert limits.share(Limits(60, 1000, 3, 500), 2) == Limits(30, 500, 1, 500)
    assert limits.share(Limits(1, None, 1, None), 4) == Limits(1, None, 1, None)
    assert limits.share(Limits(60), 0) == Limits(60)


@pytest.mark.parametrize("kind", ["requests", "tokens", "concurrent", "budget", "target"])
def test_a_refusal_is_openais_429(kind: limits.Kind) -> None:
    key = Key(1, "desk", None, None, False, Limits(3, 4, 5, 10**9))
    refusal = limits.refusal(key, kind)
    assert (refusal.status, refusal.end_reason) == (429, "refused")
    expected = {"budget": "insufficient_quota", "target": "model_busy"}
    assert refusal.code == expected.get(kind, "rate_limit_exceeded")


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({}, 0),
        ({"messages": [{"role": "user", "content": "x" * 40}]}, 11),
        ({"messages": [{"role": "user", "content": "x" * 40}], "max_tokens": 100}, 111),
        ({"messages": [], "max_completion_tokens": 100, "n": 3}, 300),
        ({"prompt": "x" * 41}, 11),
        ({"prompt": [1, 2, 3]}, 3),
        ({"prompt": [[1, 2], [3]]}, 3),
        ({"input": "x" * 40, "instructions": "x" * 4, "max_output_tokens": 5}, 16),
        ({"messages": [{"content": [{"type": "image_url", "image_url": {"url": "x" * 10**6}}]}]}, 259),
        ({"prompt": "x" * 4, "max_tokens": "many", "n": -3}, 1),
        ({"prompt": None, "messages": 5, "max_tokens": None}, 0),
    ],
)
def test_a_request_is_guessed_by_its_text_and_its_maximum(body: dict[str, object], tokens: int) -> None:
    assert sum(limits.estimate(body)) == tokens


CHAT = b'{"id":"x","choices":[],"usage":{"prompt_tokens":31,"total_tokens":41,"completion_tokens":10}}'
ANSWERS = {
    "chat": (CHAT, (31, 10)),
    "spaced": (CHAT.replace(b":", b": "), (31, 10)),
    "messages": (
        b'data: {"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":0}}}\n\n'
        b'data: {"type":"message_delta","usage":{"output_tokens":4}}\n\n',
        (7, 4),
    ),
    "responses": (b'{"usage":{"input_tokens":3,"output_tokens":5,"total_tokens":8}}', (3, 5)),
    "embeddings": (b'{"data":[],"usage":{"prompt_tokens":9,"total_tokens":9}}', (9, 0)),
    "told by a user": (rb'{"content":"\"prompt_tokens\":9,\"completion_tokens\":9"}', (0, 0)),
    "refused": (b'{"error":{"message":"no"},"usage":null}', (0, 0)),
    "cut off": (b'data: {"choices":[]}\n\ndata: {"choices":[]}\n\nda', (2, 2)),
}


@pytest.mark.parametrize("name", ANSWERS)
@given(data=st.data())
def test_usage_is_read_however_it_is_cut(name: str, data: st.DataObject) -> None:
    answer, expected = ANSWERS[name]
    meter, at = Meter(), 0
    while at < len(answer):
        # Engines send whole events; only what is not counted in events is cut anywhere.
        size = len(answer) if name == "cut off" else data.draw(st.integers(1, len(answer)))
        meter.feed(answer[at : at + size])
        at += size
    assert meter.usage(guessed_prompt=2) == expected
