"""A coding desk with judged answers: people, a route with a base model, a queue. Ten answers a chapter."""

import uuid
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from annotations.models import Annotation, Item, Queue
from flywheel import datasets, jobs
from flywheel.models import DatasetVersion, Job
from inference.models import ModelVersion, Route, RouteTarget, Upstream
from tests import people

CHAPTERS = ["Injury", "Respiratory", "Eye"]


@dataclass
class Desk:
    """Everything a turn starts from."""

    engineer: User
    reviewer: User
    upstream: Upstream
    base: ModelVersion
    route: Route
    queue: Queue

    def judge(
        self,
        question: str,
        answer: str,
        right: str | None = None,
        *,
        group: str = "",
        decision: str = Annotation.Decision.APPROVE,
        source: str = Annotation.Source.PERSON,
    ) -> Item:
        """An item answered with ``answer`` and judged; ``right``: what it was corrected to."""
        if right is not None:
            decision = Annotation.Decision.CORRECT
        verdict = {"approve": "approved", "reject": "rejected", "correct": "corrected"}[decision]
        item = Item.objects.create(
            queue=self.queue,
            exchange_id=uuid.uuid4(),
            started_at=timezone.now(),
            messages=[{"role": "system", "content": "Desk."}, {"role": "user", "content": question}],
            answer=answer,
            group=group,
            state=Item.State.SETTLED,
            verdict=verdict,
            verdict_answer={"approved": answer, "corrected": right or "", "rejected": ""}[verdict],
            verdict_rule="one judgement",
        )
        Annotation.objects.create(
            item=item, reviewer=self.reviewer, decision=decision, answer=right or "", source=source,
            key=uuid.uuid4().hex,
        )  # fmt: skip
        return item

    def fill(self, count: int = 30) -> list[Item]:
        """Approved answers, two siblings a group, chapters in turn."""
        return [self.judge(f"phrase {i}", CHAPTERS[i % 3], group=f"category {i // 2}") for i in range(count)]

    def build(self, key: str = "build", name: str = "chapters", **recipe: Any) -> DatasetVersion:
        """A built version of the queue's verdicts."""
        version = datasets.start(name, self.queue, datasets.Recipe(**recipe), key, self.engineer)
        work(version.job)
        version.refresh_from_db()
        return version

    def adapter(self, name: str = "chapters-0a1b2c3d") -> ModelVersion:
        """A version that no run made."""
        version = ModelVersion.objects.create(
            name=name, kind=ModelVersion.Kind.ADAPTER, base=self.base, weights=f"{uuid.uuid4().hex}" * 2
        )
        version.upstreams.add(self.upstream)
        return version


def work(job: Job) -> Job:
    """Do a job here and now, as a worker would."""
    from flywheel.tasks import WORK  # noqa: PLC0415 - tests of single modules need not load them all

    jobs.run(job.pk, WORK)
    job.refresh_from_db()
    return job


def open_desk(engine: str = "http://127.0.0.1:9") -> Desk:
    """Nobody listens at the default engine's address."""
    upstream = Upstream.objects.create(name="local", base_url=engine)
    base = ModelVersion.objects.create(
        name="tiny", kind=ModelVersion.Kind.BASE, weights="b" * 64, tokenizer="c" * 64
    )
    base.upstreams.add(upstream)
    route = Route.objects.create(name="icd-chapter")
    RouteTarget.objects.create(route=route, model_version=base, weight=100)
    queue = Queue.objects.create(slug="chapters", name="Chapters", answers=CHAPTERS)
    return Desk(people.engineer(), people.reviewer(), upstream, base, route, queue)
