"""Who may call what, and which version answers."""

from collections import Counter
from typing import Any

import pytest

from inference.routing import Route, Snapshot, Target, UnknownModelError, Version
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
