"""The wheel, turned once from traffic to traffic without a person, by the functions that the pages call.

Knows the order of the stages and when a stage has not done its work. The judgements are the reference
reviewer's, who looks the answer up in the tabular list, and are marked as such. What each stage does is in
the nouns' modules; the long work runs in the worker, as it does for people.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from annotations import judging, leases
from annotations.models import Annotation, Item, Queue
from flywheel import datasets, evaluation, gate, rollout, training
from flywheel.local import coding, desk, seed, traffic
from flywheel.local.home import Home
from flywheel.local.scorecard import Scorecard
from flywheel.models import DatasetVersion, Evaluation, Job, TrainingRun
from inference.models import ModelVersion, Route

SPARE = 24
"""Items beyond rows: siblings of exam rows and answers of nobody's list are left out."""
AFTERWARDS = 40
"""Phrases sent after the rollout, to see what answers now."""
FOLLOW_PATIENCE = 30.0
"""Seconds until every proxy must follow a rollout."""
UNCLAIMED_PATIENCE = 90.0
"""Seconds a job may wait for a worker."""
SPOKEN_EVERY = 10.0


class TurnError(RuntimeError):
    """A stage did not do its work; the text says which and why."""


@dataclass(frozen=True)
class Size:
    """Rows to learn from, and rows of the exam."""

    train: int = 256
    exam: int = 500


class Turn:
    """One turn. Call `run`; the scorecard fills as it goes."""

    def __init__(self, home: Home, size: Size, say: Callable[[str], None]) -> None:
        self.home, self.size, self.say = home, size, say
        self.card = Scorecard()
        self.name = f"turn-{uuid.uuid4().hex[:12]}"
        self.operator = User.objects.get(username=seed.OPERATOR)
        self.queue = Queue.objects.get(slug=seed.QUEUE)
        self.route = Route.objects.get(name=coding.ROUTE)

    def run(self) -> Scorecard:
        """Raises TurnError, and what the stages raise."""
        self._go_back()
        with self._stage("traffic"):
            self._traffic()
        with self._stage("queue"):
            self._fill()
        with self._stage("judgements"):
            self._judge()
        with self._stage("dataset"):
            version = self._dataset()
        with self._stage("training"):
            run = self._train(version)
        assert run.adapter is not None
        with self._stage("evaluation"):
            found = self._evaluate(version, run)
        with self._stage("rollout"):
            self._roll_out(found, run.adapter)
        with self._stage("new traffic"):
            self._afterwards(run.adapter)
        return self.card

    def _go_back(self) -> None:
        """Undo earlier turns' rollouts, so that this one begins with the base model as well."""
        steps = 0
        while rollout.undoes(self.route):
            rollout.back(self.route, f"{self.name}-back-{steps}", self.operator)
            steps += 1
        if steps:
            self.say(f"{self.route} went back {steps} rollouts: a turn begins with the base model")

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.say(f"{name} …")
        began = time.monotonic()
        try:
            yield
        except (TurnError, traffic.TrafficError, rollout.StaleError, ValueError) as error:
            raise TurnError(f"{name}: {error}") from error
        self.card.seconds[name] = time.monotonic() - began

    def _traffic(self) -> None:
        """Send phrases until the queue can hold enough items, beginning where the last sender stopped."""
        needed = self.size.train + self.size.exam + SPARE
        if desk.sent(self.home) >= needed:
            self.say(f"  {desk.sent(self.home)} phrases have been sent before; that is enough")
            return
        self._send(needed)

    def _send(self, until: int) -> desk.Delivery:
        delivery = desk.deliver(self.home, until, self.say)
        self.card.exchanges += len(delivery.answers)
        self.card.lost += len(delivery.missing)
        if delivery.missing:
            raise TurnError(f"{len(delivery.missing)} answered exchanges are not in ClickHouse")
        if delivery.without_tokens:
            raise TurnError(f"{len(delivery.without_tokens)} exchanges are there without their tokens")
        return delivery

    def _fill(self) -> None:
        needed = self.size.train + self.size.exam + SPARE
        found = desk.fill(self.queue, needed)
        if found < needed:
            raise TurnError(f"the queue holds {found} items; {needed} are needed")
        self.say(f"  {found} items")

    def _judge(self) -> None:
        """Approve what equals the tabular list's answer; correct the rest."""
        reviewer, key = User.objects.get(username=seed.REFERENCE), coding.answer_key()
        judged = 0
        while places := leases.reserve(self.queue, reviewer, 20):
            for place in places:
                right = key.get(str(place.item.messages[-1]["content"]).casefold())
                judging.judge(
                    place.item,
                    reviewer,
                    place.key,
                    _judgement(place.item.answer, right),
                    source=Annotation.Source.REFERENCE,
                )
                judged += 1
        settled = self.queue.items.filter(state=Item.State.SETTLED).count()
        self.say(f"  {judged} judgements by the reference reviewer, {settled} items settled")
        if settled < self.size.train + self.size.exam:
            raise TurnError(f"{settled} verdicts are too few for {self.size.train} + {self.size.exam} rows")

    def _dataset(self) -> DatasetVersion:
        recipe = datasets.Recipe(train_rows=self.size.train, exam_rows=self.size.exam)
        version = datasets.start(
            coding.ROUTE, self.queue, recipe, key=f"{self.name}-dataset", user=self.operator
        )
        self._wait(version.job)
        version.refresh_from_db()
        if (version.train_rows, version.exam_rows) != (self.size.train, self.size.exam):
            raise TurnError(f"it has {version.train_rows} + {version.exam_rows} rows")
        return version

    def _train(self, version: DatasetVersion) -> TrainingRun:
        base = ModelVersion.objects.get(kind=ModelVersion.Kind.BASE, upstreams__name=seed.UPSTREAM)
        # Another seed each time: the same rows and seed would give the same adapter, byte for byte.
        config = training.Config(seed=TrainingRun.objects.count() + 1)
        planned = training.plan(version, base, config)
        self.say(f"  {planned.rows} rows, {planned.steps} steps, about {planned.seconds:.0f} s")
        run = training.start(version, base, config, key=f"{self.name}-training", user=self.operator)
        self._wait(run.job)
        run.refresh_from_db()
        if run.adapter is None:
            raise TurnError("it ended without an adapter")
        self.card.adapter, self.card.weights = run.adapter.name, run.adapter.weights
        return run

    def _evaluate(self, version: DatasetVersion, run: TrainingRun) -> Evaluation:
        assert run.adapter is not None
        found = evaluation.start(
            version, run.base, run.adapter, self.route, key=f"{self.name}-evaluation", user=self.operator
        )
        self._wait(found.job)
        found.refresh_from_db()
        self.card.comparison = evaluation.comparison(found)
        if self.card.comparison is None:
            raise TurnError("it ended without results")
        if self.card.comparison.n != self.size.exam:
            raise TurnError(f"{self.card.comparison.n} of {self.size.exam} cases were answered by both")
        self._count(found)
        decided = gate.decide(self.card.comparison)
        self.card.decision = decided.answer.value
        self.say(f"  gate: {decided.answer.words}. {decided.why}")
        return found

    def _count(self, found: Evaluation) -> None:
        """The evaluation's calls are exchanges like any other: each must be there."""
        pairs = found.cases.values_list("baseline_exchange", "candidate_exchange")
        ids = {str(exchange) for pair in pairs for exchange in pair if exchange}
        stored, _ = desk.arrived(ids)
        lost = ids - set(stored)
        self.card.exchanges += len(ids)
        self.card.lost += len(lost)
        if lost:
            raise TurnError(f"{len(lost)} answered exchanges are not in ClickHouse")

    def _roll_out(self, found: Evaluation, adapter: ModelVersion) -> None:
        if self.card.decision != gate.Answer.SHIP:
            raise TurnError("the gate does not say ship; nothing was changed")
        planned = rollout.plan(self.route, adapter, 100)
        if planned.evaluation != found:
            raise TurnError("it does not rest on this turn's evaluation")
        made = rollout.start(
            planned, key=f"{self.name}-rollout", user=self.operator, revision=planned.revision
        )
        assert made.job is not None
        self._wait(made.job)
        made.refresh_from_db()
        if [target.name for target in rollout.targets(self.route)] != [adapter.name]:
            raise TurnError(f"{adapter.name} does not answer {self.route} alone")
        deadline = time.monotonic() + FOLLOW_PATIENCE
        while (force := rollout.in_force(made)).following < max(1, force.proxies):
            if time.monotonic() > deadline:
                raise TurnError(f"{force.following} of {force.proxies} proxies follow it")
            time.sleep(0.1)
        self.say(f"  in force on {force.following} of {force.proxies} proxies")

    def _afterwards(self, adapter: ModelVersion) -> None:
        """New phrases: answered by the adapter and recorded with its hash."""
        delivery = self._send(desk.sent(self.home) + AFTERWARDS)
        others = set(delivery.weights.values()) - {adapter.weights}
        if others:
            raise TurnError(f"exchanges were recorded with other weights: {', '.join(sorted(others))}")
        right = sum(answer.text.strip() == answer.phrase.label for answer in delivery.answers)
        self.say(f"  {len(delivery.answers)} new phrases answered by {adapter.name}, {right} of them right")
        # The wheel goes on: what it answers now waits for people.
        desk.fill(self.queue, self.queue.items.count() + AFTERWARDS)

    def _wait(self, job: Job) -> None:
        """Until the worker has done it, saying its own words as it goes. Raises TurnError."""
        began = spoken = time.monotonic()
        said = ""
        while job.active:
            time.sleep(0.25)
            job.refresh_from_db()
            now = time.monotonic()
            if job.state == Job.State.PENDING and now - began > UNCLAIMED_PATIENCE:
                raise TurnError(f"no worker has taken it after {UNCLAIMED_PATIENCE:.0f} s")
            if job.lease_until and timezone.now() > job.lease_until + timedelta(seconds=UNCLAIMED_PATIENCE):
                raise TurnError("its worker has gone silent and no other has taken over; see worker.log")
            if job.message != said and now - spoken > SPOKEN_EVERY:
                said, spoken = job.message, now
                self.say(f"  {said}")
        if job.state != Job.State.DONE:
            raise TurnError(f"{job.get_state_display()}. {job.error}")
        self.say(f"  {job.message}")


def _judgement(answer: str, right: str | None) -> judging.Judgement:
    if right is None:
        return judging.Judgement(Annotation.Decision.CANT_JUDGE, reason="Something is missing")
    if answer.strip() == right:
        return judging.Judgement(Annotation.Decision.APPROVE)
    return judging.Judgement(Annotation.Decision.CORRECT, answer=right)
