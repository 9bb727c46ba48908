"""Which engine is asked: prefixes stay where they are, load stays bounded, who fails is left alone."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import balance
from inference.balance import CHECKS_IN_A_ROW, ERRORS_IN_A_ROW, FIRST_PAUSE, MOST_PAUSE, SPREAD, Health
from inference.routing import Balance, Upstream

names = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=8, unique=True)
prefixes = st.binary(min_size=16, max_size=16)


def engines(*found: str) -> list[Upstream]:
    return [Upstream(name, f"http://{name}", "", "raw_logprobs") for name in found]


def idle(_: str) -> int:
    return 0


@pytest.mark.slow
@given(names, prefixes, st.randoms())
def test_a_prefix_knows_its_engine_in_any_order(found: list[str], prefix: bytes, random: object) -> None:
    first = balance.by_prefix(engines(*found), prefix, idle)[0]
    random.shuffle(found)  # type: ignore[attr-defined]
    assert balance.by_prefix(engines(*found), prefix, idle)[0] == first


@pytest.mark.slow
@given(names, st.text("uvwxyz", min_size=1, max_size=4), prefixes)
def test_an_engine_that_comes_takes_only_what_is_its_own(found: list[str], new: str, prefix: bytes) -> None:
    before = balance.by_prefix(engines(*found), prefix, idle)[0].name
    after = balance.by_prefix(engines(*found, new), prefix, idle)[0].name
    assert after in (before, new)


@pytest.mark.slow
@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), prefixes)
def test_load_is_bounded_whatever_the_prefixes(counts: list[int], prefix: bytes) -> None:
    in_flight = {f"e{position}": count for position, count in enumerate(counts)}
    chosen = balance.by_prefix(engines(*in_flight), prefix, lambda name: in_flight[name])[0]
    share = (sum(counts) + 1) / len(counts)
    assert in_flight[chosen.name] < SPREAD * share + 1
    assert in_flight[chosen.name] + 1 <= -(-SPREAD * share // 1)


def test_one_prefix_for_all_still_spreads() -> None:
    in_flight: dict[str, int] = defaultdict(int)
    for _ in range(90):
        in_flight[balance.by_prefix(engines("a", "b", "c"), b"same", lambda n: in_flight[n])[0].name] += 1
    assert max(in_flight.values()) <= SPREAD * 30 + 1


def test_prefixes_spread_over_engines() -> None:
    shares: dict[str, int] = defaultdict(int)
    for n in range(3000):
        shares[balance.by_prefix(engines("a", "b", "c"), b"%d" % n, idle)[0].name] += 1
    assert all(850 < count < 1150 for count in shares.values())


def test_a_conversation_keeps_its_prefix_and_others_have_their_own() -> None:
    system = {"role": "system", "content": "You code diagnoses."}
    first = {"role": "user", "content": "Fracture of the ankle"}
    grown = [system, first, {"role": "assistant", "content": "S82"}, {"role": "user", "content": "and why?"}]
    begun = balance.prefix("v", {"messages": [system, first]})
    assert begun == balance.prefix("v", {"messages": grown, "temperature": 0})
    assert begun != balance.prefix("w", {"messages": grown})
    assert begun != balance.prefix("v", {"messages": [system, {"role": "user", "content": "Flu"}]})
    assert balance.prefix("v", {"system": "a", "messages": [first]}) != balance.prefix(
        "v", {"system": "b", "messages": [first]}
    )


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "Once"},
        {"prompt": [1, 2, 3]},
        {"input": "Once", "instructions": "Be brief"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look"}, {"image_url": {}}]}]},
        {"messages": ["no message"], "prompt": None},
        {"messages": [{"role": "user"}, "x"]},
    ],
)
def test_every_surface_has_a_beginning(body: dict[str, object]) -> None:
    assert len(balance.prefix("v", body)) == 16


def test_nothing_to_go_by_is_no_prefix() -> None:
    assert balance.prefix("v", {}) == balance.prefix("v", {"messages": []}) == b""


def ordered(health: dict[str, Health], now: float = 0.0, prefix: bytes = b"") -> list[str]:
    policy: Balance = "prefix" if prefix else "busy"
    found = balance.order(engines(*health), health.__getitem__, now, balance=policy, prefix=prefix)
    return [one.name for one in found]


def test_the_least_busy_is_first_and_among_equals_the_one_asked_least() -> None:
    health = {"a": Health(in_flight=2), "b": Health(in_flight=1, picked=9), "c": Health(in_flight=1)}
    assert ordered(health) == ["c", "b", "a"]


def test_who_takes_no_calls_is_a_last_resort_soonest_back_first() -> None:
    health = {"a": Health(), "b": Health(), "c": Health(in_flight=9), "d": Health()}
    health["a"].eject(0.0)
    health["a"].eject(FIRST_PAUSE)
    health["b"].busy(0.0, 0.5)
    health["d"].eject(0.0)
    assert ordered(health, FIRST_PAUSE / 4) == ["c", "b", "d", "a"]
    assert ordered(health, FIRST_PAUSE / 4, b"prefix") == ["c", "b", "d", "a"]


def test_an_engine_that_is_away_comes_back_through_one_call() -> None:
    one = Health()
    assert one.eject(0.0)
    assert one.state(0.5) == "ejected"
    assert not one.takes_calls(0.5)
    assert one.state(1.0) == "half-open"
    assert one.takes_calls(1.0)
    one.begin(1.0)
    assert not one.takes_calls(1.0), "one call tries it, the others go elsewhere"
    one.answered()
    assert one.takes_calls(1.0)
    assert one.state(1.0) == "ok"


def test_a_trial_that_fails_doubles_the_pause_up_to_the_most() -> None:
    one, now, pauses = Health(), 0.0, []
    for _ in range(8):
        one.begin(now)
        assert one.eject(now)
        assert not one.eject(now), "calls that fail together count once"
        pauses.append(one.ejected_until - now)
        now = one.ejected_until
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == MOST_PAUSE
    one.answered()
    assert one.eject(now)
    assert one.ejected_until - now == FIRST_PAUSE


def test_a_trial_that_tells_nothing_does_not_keep_an_engine_away() -> None:
    one = Health()
    one.eject(0.0)
    one.begin(1.0)
    one.end()
    assert not one.takes_calls(1.0 + MOST_PAUSE / 2)
    assert one.takes_calls(1.0 + MOST_PAUSE)


def test_errors_eject_in_a_row_or_on_trial() -> None:
    one = Health()
    for _ in range(ERRORS_IN_A_ROW - 1):
        assert not one.erred(0.0)
    one.answered()
    for _ in range(ERRORS_IN_A_ROW - 1):
        assert not one.erred(0.0)
    assert one.erred(0.0)
    one.begin(FIRST_PAUSE)
    assert one.erred(FIRST_PAUSE)


def test_a_busy_engine_is_passed_over_and_not_ejected() -> None:
    one = Health()
    one.busy(0.0, 0.5)
    assert one.state(0.1) == "ok"
    assert not one.takes_calls(0.1)
    assert one.takes_calls(0.5)
    one.busy(0.0, 3600.0)
    assert one.takes_calls(MOST_PAUSE)


def test_checks_eject_and_let_a_call_try() -> None:
    one = Health()
    for _ in range(CHECKS_IN_A_ROW - 1):
        assert not one.checked(0.0, alive=False)
    assert one.takes_calls(0.0)
    assert one.checked(0.0, alive=False)
    for now in range(1, 20):
        one.checked(float(now), alive=False)
        assert not one.takes_calls(float(now)), "as long as checks fail nobody tries"
    one.checked(20.0, alive=True)
    assert one.state(20.0) == "half-open"
    assert one.takes_calls(20.0)


def test_a_good_check_says_nothing_for_an_engine_whose_answers_fail() -> None:
    one = Health()
    for _ in range(ERRORS_IN_A_ROW):
        one.erred(0.0)
    one.checked(0.1, alive=True)
    assert one.state(0.1) == "ejected"
