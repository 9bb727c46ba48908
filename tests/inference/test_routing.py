"""Who may call what, and which version answers."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.routing import FullError, Key, Limits, Route, Snapshot, Target, UnknownModelError, Version
from tests.inference.double import SECRET, snapshot


def version(name: str) -> Version:
    return Version(name, "a" * 64, "a" * 64, "", "base", ())


def route(**weights: int) -> Route:
    return Route("desk", tuple(Target(version(name), weight) for name, weight in weights.items()))


def changed(**key: Any) -> Snapshot:
    found = snapshot("http://127.0.0.1:1/")
    for one in found["keys"].values():
        one.update(key)
    return Snapshot.parse(found)


def test_shares_are_as_their_weights() -> None:
    picked = Counter(route(live=80, canary=20, off=0).pick(f"user {n}").name for n in range(4000))
    assert picked["off"] == 0
    assert 650 < picked["canary"] < 950
    picked = Counter(route(live=80, canary=20).pick().name for _ in range(4000))
    assert 650 < picked["canary"] < 950


def test_a_session_stays_with_its_version() -> None:
    split = route(live=50, canary=50)
    assert all(split.pick("s1") == split.pick("s1") for _ in range(20))
    # A larger share takes sessions over; it gives none away.
    before = {n for n in range(500) if route(canary=10, live=90).pick(str(n)).name == "canary"}
    after = {n for n in range(500) if route(canary=50, live=50).pick(str(n)).name == "canary"}
    assert before < after


shares = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 100), min_size=1)


@given(shares, st.text(min_size=1, max_size=20), st.data())
def test_who_is_not_with_a_full_target_stays(weights: dict[str, int], who: str, data: st.DataObject) -> None:
    split = route(**weights)
    takes = {name for name, weight in weights.items() if weight}
    if not takes:
        return
    before = split.pick(who).name
    assert before in takes
    full = data.draw(st.sets(st.sampled_from(sorted(weights))))
    if takes <= full:
        with pytest.raises(FullError):
            split.pick(who, full)
        return
    after = split.pick(who, full).name
    assert after not in full
    assert after == before or before in full
    assert after == split.pick(who, full).name


@given(shares, st.integers(1, 100))
def test_only_proportions_count(weights: dict[str, int], factor: int) -> None:
    if not any(weights.values()):
        return
    scaled = {name: weight * factor for name, weight in weights.items()}
    agree = sum(route(**weights).pick(str(n)) == route(**scaled).pick(str(n)) for n in range(50))
    assert agree >= 49, "but for a rounding at a border"


def test_what_goes_elsewhere_goes_by_weight() -> None:
    split = route(live=60, other=20, canary=20)
    picked = Counter(split.pick(f"user {n}", {"canary"}).name for n in range(4000))
    assert picked["canary"] == 0
    assert 2850 < picked["live"] < 3150


def test_a_target_is_full_at_its_limit() -> None:
    found = snapshot("http://127.0.0.1:1", targets=[{"version": "smollm2-135m", "weight": 1, "most": 2}])
    desk = Snapshot.parse(found).routes["desk"]
    assert desk.full({("desk", "smollm2-135m"): 1, ("other", "smollm2-135m"): 9}) == []
    assert desk.full({("desk", "smollm2-135m"): 2}) == ["smollm2-135m"]


def test_what_sticks_is_the_routes_choice() -> None:
    key = Key(7, "clinic", None, None, may_call_versions=False)
    for sticky, expected in {
        "session": ["s", "u", "s", ""],
        "user": ["u", "u", "", ""],
        "key": ["7", "7", "7", "7"],
        "none": ["", "", "", ""],
    }.items():
        one = Route("desk", (), sticky=sticky)  # type: ignore[arg-type]
        who = [("u", "s"), ("u", ""), ("", "s"), ("", "")]
        assert [one.stick_to(key, user, session) for user, session in who] == expected


def test_a_key_without_limits_has_none_to_count() -> None:
    for found, expected in (({}, None), (None, None), ({"requests": 5}, Limits(requests=5))):
        key = changed(limits=found).authorise(SECRET, now=0)
        assert key is not None
        assert key.limits == expected


@pytest.mark.parametrize("weights", [{}, {"live": 0}])
def test_a_route_without_traffic_answers_nothing(weights: dict[str, int]) -> None:
    with pytest.raises(UnknownModelError, match="no target"):
        route(**weights).pick()


def test_a_key_is_its_secret_until_it_expires() -> None:
    found = changed(expires_at=100.0)
    assert found.authorise(SECRET, now=99.9) is not None
    assert found.authorise(SECRET, now=100.0) is None
    assert found.authorise("fw-other", now=0) is None


def test_a_key_calls_its_own_routes_only() -> None:
    for routes, allowed in ((None, True), (["desk"], True), (["other"], False), ([], False)):
        found = changed(routes=routes)
        key = found.authorise(SECRET, now=0)
        assert key is not None
        assert [one.name for one in found.routes_for(key)] == (["desk"] if allowed else [])
        if allowed:
            assert found.route(key, "desk").name == "desk"
        else:
            with pytest.raises(UnknownModelError):
                found.route(key, "desk")


def test_versions_by_name_are_for_those_who_may() -> None:
    may, may_not = changed(), changed(may_call_versions=False)
    for found, allowed in ((may, True), (may_not, False)):
        key = found.authorise(SECRET, now=0)
        assert key is not None
        if allowed:
            assert found.route(key, "version:smollm2-135m").pick().name == "smollm2-135m"
        else:
            with pytest.raises(UnknownModelError):
                found.route(key, "version:smollm2-135m")
        with pytest.raises(UnknownModelError):
            found.route(key, "version:none")


def test_what_is_no_snapshot_is_refused() -> None:
    broken = snapshot("http://127.0.0.1:1")
    broken["routes"]["desk"]["targets"] = [{"version": "none", "weight": 1}]
    with pytest.raises(KeyError):
        Snapshot.parse(broken)
