"""How far a queue is: for a reviewer in her words, and for the lead by state, place and person."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from django.contrib.auth.models import User
from django.db.models import Count, Max, Min, Q
from django.utils import timezone

from annotations import estimates, golds, judging, leases, pace
from annotations.estimates import Estimate, Judged
from annotations.golds import Accuracy
from annotations.models import Annotation, Assignment, Item, Queue
from annotations.pace import Pace

_BREAK = timedelta(minutes=30)
"""A longer pause than this between two judgements ends a sitting."""
_MEDIAN_OF = 500
"""A reviewer's latest judgements, of whose seconds the median is told."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Of ``total`` items, how many need nothing more from this person; and how many she judged herself."""

    done: int
    total: int
    mine: int = 0

    @property
    def left(self) -> int | None:
        """How many wait for her; None where others judge too: a count that moves by itself only puzzles."""
        return max(0, self.total - self.done) if self.done <= self.mine else None

    @property
    def next_number(self) -> int:
        """The next item's number: her own count, since others judge the same queue."""
        return self.mine + 1


def of(queue: Queue, reviewer: User) -> Progress:
    """A reviewer's progress: what is decided, or waits for others only."""
    total, done = Queue.objects.values_list("size", "decided").get(pk=queue.pk)
    if total is None or done is None:
        total, done = counted(queue)
    hers = Assignment.objects.filter(queue=queue, reviewer=reviewer, done_at__isnull=False)
    if queue.judgements_per_item == 1:
        return Progress(done, total, hers.count())
    waiting = Count("pk", filter=Q(item__state=Item.State.WAITING))
    counts = hers.aggregate(mine=Count("pk"), waiting=waiting)
    return Progress(done + counts["waiting"], total, counts["mine"])


def counted(queue: Queue) -> tuple[int, int]:
    """(items, those that no longer wait), by counting."""
    counts = queue.items.drawn().aggregate(
        total=Count("pk"), waiting=Count("pk", filter=Q(state=Item.State.WAITING))
    )
    return counts["total"], counts["total"] - counts["waiting"]


def waiting_for(queue: Queue, reviewer: User) -> int:
    """Items this person could judge now: reserved for them, or free and not judged by them."""
    mine = Assignment.objects.filter(reviewer=reviewer, done_at__isnull=False).values("item")
    held = leases.held(queue, reviewer).count()
    free = (
        leases.free_items(queue)
        .exclude(pk__in=mine)
        .exclude(pk__in=leases.held(queue, reviewer).values("item"))
    )
    return held + free.count()


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Items that wait, but are reserved for others, and when the last of those places ends."""

    count: int
    until: datetime | None


def elsewhere(queue: Queue, reviewer: User) -> Elsewhere:
    """Why nothing is here for this person although something waits."""
    now = timezone.now()
    places = Assignment.objects.filter(
        queue=queue, done_at=None, slot__isnull=False, leased_until__gte=now
    ).exclude(reviewer=reviewer)
    ends = list(places.order_by("-leased_until").values_list("leased_until", flat=True))
    return Elsewhere(len(ends), ends[0] if ends else None)


@dataclass(frozen=True, slots=True)
class Sitting:
    """What a person did in one go."""

    judged: int
    minutes: int
    settled: int
    second_opinion: int
    waiting_for_others: int


def sitting(queue: Queue, reviewer: User) -> Sitting:
    """The person's latest sitting in this queue; breaks of half an hour divide sittings. 1,000 at most."""
    judged = list(judging.standing(queue, reviewer)[:1000])
    latest: list[Annotation] = []
    for annotation in judged:
        if latest and latest[-1].created_at - annotation.created_at > _BREAK:
            break
        latest.append(annotation)
    if not latest:
        return Sitting(0, 0, 0, 0, 0)
    passed = latest[0].created_at - latest[-1].created_at
    states = [a.item.state for a in latest]
    return Sitting(
        len(latest),
        max(1, round(passed.total_seconds() / 60)),
        states.count(Item.State.SETTLED),
        states.count(Item.State.CONFLICT),
        states.count(Item.State.WAITING),
    )


@dataclass(frozen=True, slots=True)
class Work:
    """One reviewer's share. ``reference`` says that a list answered, not a person."""

    reviewer: User
    count: int
    median_seconds: float | None
    reference: bool
    last_at: datetime | None
    fast: float | None = None
    """The share of judgements given in under two seconds."""
    checks: Accuracy | None = None
    """On check questions."""


_WRONG = (Item.Verdict.REJECTED, Item.Verdict.CORRECTED)


def error_rate(queue: Queue) -> Estimate | None:
    """The estimated share of wrong answers in all traffic that the queue was drawn from.

    None where answers are not approved or corrected, exchanges were not drawn by chance, or too few are
    judged. What has a key beyond the first that still waits does not count yet: it would favour what is
    judged quickly. Items that can't be judged are taken as being like the others.
    """
    if not queue.by_verdict or queue.population is None:
        return None
    undecided = (Item.State.WAITING, Item.State.CONFLICT)
    waiting = queue.items.filter(state__in=undecided).aggregate(first=Min("position"))["first"]
    known = [key for key in (waiting, queue.threshold) if key is not None]
    threshold = min(known) if known else None
    settled = queue.items.drawn().filter(state=Item.State.SETTLED)
    if threshold is not None:
        settled = settled.filter(position__lt=threshold)
    rows = settled.values_list("verdict", "weight", "position", "doubt")
    judged = [Judged(verdict in _WRONG, weight, key, doubt) for verdict, weight, key, doubt in rows]
    return estimates.error_rate(judged, threshold, queue.population, queue.mean_doubt)


@dataclass(frozen=True, slots=True)
class Overview:
    """A queue for its lead."""

    total: int
    by_state: dict[str, int]
    reserved: list[Assignment]
    work: list[Work]
    attention: list[Item]
    """What needs the lead: flagged, in conflict, can't be judged; the newest 50."""
    wrong: Estimate | None
    """The share of wrong answers in all traffic that was drawn from."""
    pace: Pace

    @property
    def by_reference(self) -> int:
        """Judgements that a reference list gave."""
        return sum(work.count for work in self.work if work.reference)

    @property
    def fingerprint(self) -> str:
        """Changes when anything shown does, but for the passing of time."""
        shown = (
            sorted(self.by_state.items()),
            [(place.pk, place.leased_until) for place in self.reserved],
            [(work.reviewer.pk, work.count, work.last_at) for work in self.work],
            [(item.pk, item.state) for item in self.attention],
        )
        return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]

    @property
    def waiting(self) -> int:
        return self.by_state.get(Item.State.WAITING, 0)


def overview(queue: Queue) -> Overview:
    """What waits, who holds what, and who did how much."""
    # What came in a file is known from the start: it shows only when somebody found personal data in it.
    shown = queue.items.exclude(uploaded=True, state=Item.State.SETTLED)
    by_state = dict(shown.order_by().values_list("state").annotate(n=Count("pk")))
    reserved = (
        Assignment.objects.filter(
            queue=queue, done_at=None, slot__isnull=False, leased_until__gt=timezone.now()
        )
        .select_related("item", "reviewer")
        .order_by("leased_until", "id")
    )
    states = (Item.State.FLAGGED, Item.State.CONFLICT, Item.State.UNJUDGED)
    attention = queue.items.filter(state__in=states).order_by("-settled_at")[:50]
    return Overview(
        sum(by_state.values()),
        by_state,
        list(reserved),
        _work(queue),
        list(attention),
        error_rate(queue),
        pace.of(queue),
    )


def _work(queue: Queue) -> list[Work]:
    """Each reviewer's share, the busiest first; listed reviewers who have not begun come last."""
    standing = Annotation.objects.standing().filter(item__queue=queue)
    shares = (
        standing.order_by().values_list("reviewer", "source").annotate(n=Count("pk"), last=Max("created_at"))
    )
    listed = queue.reviewers.order_by("username")
    people = {person.pk: person for person in listed} | User.objects.in_bulk([share[0] for share in shares])
    checks = golds.accuracy(queue)
    work = []
    for reviewer, source, count, last in shares:
        given = standing.filter(reviewer=reviewer, source=source).order_by("-id")
        times = [float(s) for s in given.values_list("seconds", flat=True)[:_MEDIAN_OF] if s is not None]
        seconds, fast = (median(times), pace.fast(times)) if times else (None, None)
        by_list = source == Annotation.Source.REFERENCE
        work.append(Work(people[reviewer], count, seconds, by_list, last, fast, checks.get(reviewer)))
    work.sort(key=lambda share: -share.count)
    begun = {share.reviewer.pk for share in work}
    return work + [Work(person, 0, None, False, None) for person in listed if person.pk not in begun]
