"""What answers a route changes in one step, by the gate or with a reason, and changes back at once."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from flywheel import jobs, rollout, statistics
from flywheel.gate import Answer
from flywheel.models import Evaluation, Job, Rollout
from flywheel.rollout import Target
from inference.models import ModelVersion, Proxy, Route, RouteTarget, RoutingVersion, Upstream
from tests.flywheel.desk import Desk, work
from tests.flywheel.tiny_engine import TinyEngine, serve


@pytest.fixture
def engine(desk: Desk) -> Iterator[TinyEngine]:
    with serve(TinyEngine()) as engine:
        Upstream.objects.update(base_url=engine.url)
        yield engine


@pytest.fixture
def adapter(desk: Desk) -> ModelVersion:
    return desk.adapter()


def evaluate(desk: Desk, candidate: ModelVersion, gained: int = 60, lost: int = 0) -> Evaluation:
    """A finished evaluation on 100 questions."""
    version = desk.build(uuid.uuid4().hex) if desk.queue.items.exists() else (desk.fill(6), desk.build())[1]
    job, _ = jobs.done_at_once(Job.Kind.EVALUATION, uuid.uuid4().hex, None, "Done.")
    right = [True] * gained + [False] * (100 - gained)
    before = [False] * (100 - lost) + [True] * lost
    found = statistics.compare(["Eye"] * 2 + ["Injury"] * 98, "Eye", before, right)
    return Evaluation.objects.create(
        dataset_version=version, baseline=desk.base, candidate=candidate, route=desk.route, job=job,
        results=found.as_dict(),
    )  # fmt: skip


def release(
    desk: Desk, candidate: ModelVersion, share: int = 100, key: str = "", reason: str = "To see."
) -> Rollout:
    """Plan, begin and do a rollout as it is right now."""
    desk.route.refresh_from_db()
    planned = rollout.plan(desk.route, candidate, share)
    made = rollout.start(
        planned, key=key or uuid.uuid4().hex, user=desk.engineer, revision=desk.route.revision, reason=reason
    )
    work(made.job)
    made.refresh_from_db()
    return made


def shares(route: Route) -> dict[str, int]:
    return {target.name: target.weight for target in rollout.targets(route)}


def test_a_plan_shows_now_then_and_what_the_gate_says(
    desk: Desk, adapter: ModelVersion, engine: TinyEngine
) -> None:
    compared = evaluate(desk, adapter)
    planned = rollout.plan(desk.route, adapter, 10)
    assert [(t.name, t.weight) for t in planned.now] == [("tiny", 100)]
    assert [(t.name, t.weight) for t in planned.then] == [("chapters-0a1b2c3d", 10), ("tiny", 90)]
    assert planned.evaluation == compared
    assert planned.decision is not None
    assert planned.decision.answer == Answer.SHIP
    assert not planned.needs_reason
    assert planned.replicas == [rollout.Replica("local", reachable=True)]
    assert planned.why_not == ""


def test_a_rollout_warms_the_candidate_and_switches(
    desk: Desk, adapter: ModelVersion, engine: TinyEngine
) -> None:
    evaluate(desk, adapter)
    made = release(desk, adapter, reason="")
    assert made.job.state == Job.State.DONE, made.job.error
    (asked,) = engine.asked
    assert (asked["path"], asked["model"], asked["max_tokens"]) == ("/v1/completions", adapter.name, 1)
    assert shares(desk.route) == {adapter.name: 100}
    assert (made.decision, made.route_revision, made.created_by) == ("ship", 1, desk.engineer)
    assert made.before == [
        {"model_version": desk.base.pk, "name": "tiny", "weights": "b" * 64, "weight": 100}
    ]


def test_nothing_is_switched_when_an_engine_cannot_load_it(
    desk: Desk, adapter: ModelVersion, engine: TinyEngine
) -> None:
    evaluate(desk, adapter)
    engine.status = 404
    made = release(desk, adapter)
    assert made.job.state == Job.State.FAILED
    assert "could not make chapters-0a1b2c3d ready" in made.job.error
    assert "Traffic is answered as before." in made.job.error
    assert shares(desk.route) == {"tiny": 100}
    assert made.route_revision is None
    engine.status = 200
    jobs.resume(made.job)
    assert work(made.job).state == Job.State.DONE
    assert shares(desk.route) == {adapter.name: 100}


def test_shares_grow_step_by_step_and_back_goes_step_by_step(
    desk: Desk, adapter: ModelVersion, engine: TinyEngine
) -> None:
    for share in (10, 50, 100):
        release(desk, adapter, share)
    assert shares(desk.route) == {adapter.name: 100}
    went = [rollout.back(desk.route, f"back {i}", None) for i in range(3)]
    assert [made.share for made in went] == [50, 90, 100]
    assert shares(desk.route) == {"tiny": 100}
    assert [made.route_revision for made in went] == [4, 5, 6]
    with pytest.raises(jobs.RefusedError, match="no rollout to go back from"):
        rollout.back(desk.route, "back 4", None)


def test_back_then_forward_then_back_ends_where_it_was(
    desk: Desk, adapter: ModelVersion, engine: TinyEngine
) -> None:
    other = desk.adapter("chapters-99999999")
    release(desk, adapter)
    rollout.back(desk.route, "one", None)
    release(desk, other)
    live = rollout.live(desk.route)
    assert live.rollout is not None
    assert live.rollout.candidate == other
    assert live.undoes == live.rollout
    rollout.back(desk.route, "two", None)
    assert shares(desk.route) == {"tiny": 100}


def test_back_works_with_clickhouse_broker_and_engines_down(
    desk: Desk, adapter: ModelVersion, engine: TinyEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(desk, adapter)
    Upstream.objects.update(base_url="http://127.0.0.1:9")
    settings.CLICKHOUSE_URL = "http://127.0.0.1:9/none"
    monkeypatch.setattr(jobs, "hint", lambda job_id: pytest.fail("Back waits for nobody"))
    made = rollout.back(desk.route, "back", desk.engineer)
    assert shares(desk.route) == {"tiny": 100}
    assert (made.job.state, made.candidate) == (Job.State.DONE, desk.base)


def test_back_pressed_twice_goes_one_step(desk: Desk, adapter: ModelVersion, engine: TinyEngine) -> None:
    release(desk, adapter, 10)
    release(desk, adapter, 50)
    assert rollout.back(desk.route, "key", None) == rollout.back(desk.route, "key", None)
    assert shares(desk.route) == {adapter.name: 10, "tiny": 90}
    other = Route.objects.create(name="other")
    with pytest.raises(jobs.KeyReusedError):
        rollout.back(other, "key", None)


def test_a_reason_is_given_once(desk: Desk, adapter: ModelVersion, engine: TinyEngine) -> None:
    release(desk, adapter)
    made = rollout.back(desk.route, "key", None)
    assert not rollout.give_reason(made, "  ")
    assert rollout.give_reason(made, "Coders complained about the eye chapter.")
    assert not rollout.give_reason(made, "No, it was something else.")
    made.refresh_from_db()
    assert made.reason == "Coders complained about the eye chapter."


def test_back_during_a_rollout_wins(desk: Desk, adapter: ModelVersion, engine: TinyEngine) -> None:
    release(desk, adapter, 10)
    desk.route.refresh_from_db()
    planned = rollout.plan(desk.route, adapter, 100)
    later = rollout.start(planned, key="later", user=None, revision=desk.route.revision, reason="All of it.")
    rollout.back(desk.route, "back", None)
    job = work(later.job)
    assert job.state == Job.State.FAILED
    assert "changed meanwhile" in job.error
    assert shares(desk.route) == {"tiny": 100}


def test_what_the_page_did_not_show_is_not_done(
    desk: Desk, adapter: ModelVersion, engine: TinyEngine
) -> None:
    seen = desk.route.revision
    release(desk, adapter, 10)
    desk.route.refresh_from_db()
    planned = rollout.plan(desk.route, adapter, 100)
    with pytest.raises(rollout.StaleError, match="changed meanwhile"):
        rollout.start(planned, key="stale", user=None, revision=seen, reason="All of it.")
    assert not Job.objects.filter(key="stale").exists()


@pytest.mark.parametrize("evaluated", [False, True])
def test_against_the_gate_only_with_a_reason(
    desk: Desk, adapter: ModelVersion, engine: TinyEngine, evaluated: bool
) -> None:
    if evaluated:
        evaluate(desk, adapter, gained=0, lost=50)
    planned = rollout.plan(desk.route, adapter, 100)
    assert planned.needs_reason
    with pytest.raises(jobs.RefusedError, match="give a reason"):
        release(desk, adapter, reason="  ")
    made = release(desk, adapter, reason="The base is being switched off.")
    assert made.decision == ("block" if evaluated else "")
    assert made.reason == "The base is being switched off."


def test_a_plan_is_of_the_route_as_it_is_not_as_it_was_read(
    desk: Desk, adapter: ModelVersion, engine: TinyEngine
) -> None:
    read_long_ago = Route.objects.get(pk=desk.route.pk)
    release(desk, adapter)
    rollout.back(desk.route, "k", desk.engineer)
    planned = rollout.plan(read_long_ago, adapter, 100)
    made = rollout.start(planned, key="again", user=None, revision=planned.revision, reason="To see.")
    work(made.job)
    assert shares(desk.route) == {adapter.name: 100}


def test_only_an_evaluation_against_what_answers_now_counts(
    desk: Desk, adapter: ModelVersion, engine: TinyEngine
) -> None:
    evaluate(desk, adapter)
    release(desk, desk.adapter("chapters-99999999"))
    assert rollout.plan(desk.route, adapter, 100).evaluation is None


def test_pressed_twice_is_one_rollout(desk: Desk, adapter: ModelVersion, engine: TinyEngine) -> None:
    planned = rollout.plan(desk.route, adapter, 10)
    first, second = (
        rollout.start(planned, key="key", user=None, revision=0, reason="To see.") for _ in range(2)
    )
    assert first == second
    with pytest.raises(jobs.KeyReusedError):
        rollout.start(
            rollout.plan(desk.route, adapter, 50), key="key", user=None, revision=0, reason="To see."
        )


def test_what_cannot_be_rolled_out_says_why(desk: Desk, adapter: ModelVersion, engine: TinyEngine) -> None:
    assert "already" in rollout.plan(desk.route, desk.base, 100).why_not
    assert "Nothing else answers" in rollout.plan(desk.route, desk.base, 50).why_not
    assert "between 1 and 100" in rollout.plan(desk.route, adapter, 0).why_not
    Upstream.objects.update(base_url="http://127.0.0.1:9")
    assert "local can't be reached" in rollout.plan(desk.route, adapter, 10).why_not
    adapter.upstreams.clear()
    assert "No engine serves" in rollout.plan(desk.route, adapter, 10).why_not


@pytest.mark.parametrize(
    ("weights", "share", "then"),
    [([60, 30, 10], 10, [10, 54, 27, 9]), ([1, 1, 1], 50, [50, 17, 17, 16]), ([99, 1], 99, [99, 1])],
)
def test_the_others_share_the_rest_in_proportion(
    desk: Desk, adapter: ModelVersion, weights: list[int], share: int, then: list[int]
) -> None:
    now = [Target(-i, f"v{i}", "", weight) for i, weight in enumerate(weights, 1)]
    found = rollout.shared(now, adapter, share)
    assert [target.weight for target in found] == then
    assert sum(target.weight for target in found) == 100


def test_in_force_counts_the_proxies_that_follow(
    desk: Desk, adapter: ModelVersion, engine: TinyEngine
) -> None:
    made = release(desk, adapter)
    assert made.routing_version is not None
    assert made.in_force_at is not None
    assert RoutingVersion.objects.get().number >= made.routing_version
    Proxy.objects.create(name="a", version=made.routing_version, applied_at=made.in_force_at)
    behind = Proxy.objects.create(name="b", version=made.routing_version - 1, applied_at=made.in_force_at)
    Proxy.objects.create(name="gone", version=1, seen_at=timezone.now() - timedelta(hours=1))
    assert rollout.in_force(made) == rollout.InForce(1, 2, None)
    behind.version = made.routing_version + 1
    behind.applied_at = made.in_force_at + timedelta(seconds=0.4)
    behind.save()
    assert rollout.in_force(made) == rollout.InForce(2, 2, 0.4)


def test_targets_set_by_hand_are_replaced_whole(
    desk: Desk, adapter: ModelVersion, engine: TinyEngine
) -> None:
    third = desk.adapter("chapters-99999999")
    RouteTarget.objects.create(route=desk.route, model_version=third, weight=0)
    release(desk, adapter, 50)
    assert shares(desk.route) == {adapter.name: 50, "tiny": 50}
    assert desk.route.targets.count() == 2
