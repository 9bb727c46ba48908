"""The server's share of one judgement: a queue of a million items, 50 reviewers in turns, a SQLite file.

Every post goes through the whole site (middleware, view, templates) in this process, one at a time: what is
timed is the work, not the waiting for another's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client

from annotations.models import Queue

REVIEWERS, ROUNDS = 50, 8
_ITEMS = """
INSERT INTO annotations_item (queue_id, exchange_id, attempt, started_at, messages, answer, other_answer,
    other_attempt, doubt, weight, "group", probability, position, state, verdict, verdict_answer,
    verdict_values, verdict_rule, revision, uploaded, cut, other_cut, created_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %s)
SELECT %s, printf('%%032x', i), 0, '2026-11-01 00:00:00', '[{"role": "user", "content": "wheezing, case"}]',
    'Respiratory', '', 0, 0.1, 1, '', 1, i, 'waiting', '', '', '{}', '', 0, 0, 0, 0,
    '2026-11-01 00:00:00' FROM n
"""


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds at the 95th percentile, and the most and fewest queries of a judgement after the first."""

    p95_ms: float
    median_ms: float
    most_queries: int
    fewest_queries: int
    cpu_p95_ms: float
    """Of the processor's time alone, which others on the machine hardly change."""


def prepare(items: int) -> Queue:
    """A migrated database with the queue and its reviewers."""
    call_command("migrate", verbosity=0)
    queue = Queue.objects.create(slug="million", name="Million", answers=["Respiratory", "Skin"])
    queue.reviewers.set(User.objects.create_user(f"reviewer-{n}") for n in range(REVIEWERS))
    with connection.cursor() as cursor:
        cursor.execute(_ITEMS, [items, queue.pk])
    queue.size, queue.decided = items, 0
    queue.save()
    return queue


def measure(queue: Queue) -> Speed:
    """Each reviewer judges ROUNDS items, all of them in turns."""
    people = [_Reviewer(user, queue) for user in queue.reviewers.all()]
    seconds: list[float] = []
    cpu: list[float] = []
    queries: list[int] = []
    for _ in range(ROUNDS):
        for person in people:
            took, busy, asked = person.judge()
            seconds.append(took)
            cpu.append(busy)
            queries.append(asked)
    # A person's first judgement is told from the rest: the page then says what is new to them.
    later = queries[len(people) :] or queries
    return Speed(
        quantiles(seconds, n=20)[-1] * 1000,
        quantiles(seconds, n=2)[0] * 1000,
        max(later),
        min(later),
        quantiles(cpu, n=20)[-1] * 1000,
    )


class _Reviewer:
    """One browser: holds what the page holds, and posts as the outbox does."""

    def __init__(self, user: User, queue: Queue) -> None:
        self.user, self.url = user, f"/review/{queue.slug}/"
        self.client = Client()
        self.client.force_login(user)
        self.held = self._items(self.client.get(self.url).content.decode())

    def _items(self, page: str) -> list[tuple[str, str]]:
        keys = re.findall(r'name="key" value="([^"]+)"><input type="hidden" name="item" value="(\d+)"', page)
        return [(key, item) for key, item in keys]

    def judge(self) -> tuple[float, float, int]:
        """(seconds, seconds of the processor, queries) of one judgement."""
        (key, item), *self.held = self.held
        body = {"key": key, "item": item, "reviewer": self.user.pk, "decision": "approve"}
        body["held"] = ",".join(key for key, _ in self.held)
        asked = 0

        def count(execute: Callable[..., Any], *arguments: Any) -> Any:
            nonlocal asked
            asked += 1
            return execute(*arguments)

        with connection.execute_wrapper(count):
            began, busy = time.perf_counter(), time.process_time()
            answer = self.client.post(f"{self.url}judge/", body, headers={"HX-Request": "true"})
            took, busy = time.perf_counter() - began, time.process_time() - busy
        assert answer.status_code == 200, answer.content
        self.held += self._items(answer.content.decode())
        return took, busy, asked
