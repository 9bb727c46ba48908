"""Queues, the items in them, and what people said: judgements are appended, never edited.

Knows what is stored and what one row can say about itself. Reserving is in annotations.leases, judging in
annotations.judging, what judgements add up to in annotations.verdicts.
"""

import secrets
from functools import cached_property
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils import timezone

from annotations import questions
from annotations.adjudications import Adjudication
from annotations.audit import QueueEvent
from annotations.flags import Flag
from annotations.golds import Gold
from annotations.people import Invitation, QueueRole
from annotations.questions import Kind, Question

__all__ = [
    "MOST_REASONS",
    "Adjudication",
    "Annotation",
    "AnnotationQuerySet",
    "Assignment",
    "Flag",
    "Gold",
    "Invitation",
    "Item",
    "Mirror",
    "OldGuidelines",
    "Queue",
    "QueueEvent",
    "QueueRole",
    "Suggestion",
    "new_key",
]

MOST_REASONS = 9
"""As many as there are number keys."""


def new_key() -> str:
    """For one showing of a form."""
    return secrets.token_urlsafe(16)


class QueueQuerySet(models.QuerySet["Queue"]):
    def visible_to(self, user: User | AnonymousUser) -> "QueueQuerySet":
        """Queues the person may review in: only those that list them, whatever else they may do."""
        return self.filter(reviewers=user.pk) if user.is_active else self.none()


class Queue(models.Model):
    """Exchanges that wait for people's judgement, and how they are judged."""

    class State(models.TextChoices):
        OPEN = "open", "open"
        PAUSED = "paused", "paused"
        CLOSED = "closed", "closed"

    class HeatMap(models.TextChoices):
        NEVER = "never", "never"
        REQUEST = "request", "when the reviewer asks"
        AFTER = "after", "after judging"

    class Order(models.TextChoices):
        """A policy of inference.queries.policies, in words."""

        RANDOM = "random", "at random"
        UNCERTAIN = "uncertain", "least sure first, by the least sure word"
        MEAN = "mean", "least sure first, on the whole"
        ENTROPY = "entropy", "most undecided first"
        MARGIN = "margin", "closest second choice first"
        FEEDBACK = "feedback", "what users were unhappy with first"
        STRATIFIED = "stratified", "as many of each answer"
        DIVERSE = "diverse", "as many of each group"
        MIXED = "uncertain+feedback+random", "a third least sure, a third unhappy users, a third at random"
        BROAD = "uncertain+stratified", "half least sure, half as many of each answer"
        NEWEST = "newest", "newest first"

    class Rule(models.TextChoices):
        UNANIMITY = "unanimity", "all must agree"
        MAJORITY = "majority", "more than half must agree"

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    key = models.CharField(
        max_length=43,
        unique=True,
        default=new_key,
        editable=False,
        help_text="The form's: pressed twice, made once.",
    )
    filter = models.TextField(blank=True, help_text="Which exchanges: the explorer's filter line.")
    order = models.CharField(max_length=60, choices=Order, default=Order.RANDOM)
    kind = models.CharField(max_length=9, choices=list(questions.KINDS.items()), default=Kind.APPROVE)
    question = models.CharField(max_length=200, default="Is this the right answer?")
    population = models.PositiveIntegerField(
        null=True, editable=False, help_text="How many exchanges the last draw was made from."
    )
    size = models.PositiveIntegerField(
        null=True, editable=False, help_text="Items, kept up to date; null: to be counted."
    )
    decided = models.PositiveIntegerField(
        null=True, editable=False, help_text="Items that no longer wait, likewise."
    )
    mean_doubt = models.FloatField(default=0.0, editable=False, help_text="Of the population.")
    threshold = models.FloatField(
        null=True, editable=False, help_text="The first key of the last draw that was not taken."
    )
    answers = models.JSONField(
        default=list,
        blank=True,
        help_text="The leading question's options; of a correction the closed list, empty for free text.",
    )
    hints = models.JSONField(
        default=dict,
        blank=True,
        help_text="What stands beside an answer in the closed list, such as its code.",
    )
    also = models.JSONField(default=list, blank=True, help_text="Further questions, as Question.as_dict.")
    against = models.TextField(
        blank=True, help_text="Where the second answer of a pair comes from: a filter line."
    )
    reasons = models.JSONField(default=list, blank=True, help_text="Why an answer is rejected, at most nine.")
    guidelines = models.TextField(blank=True, help_text="Markdown, beside every item.")
    guidelines_version = models.PositiveIntegerField(default=1, editable=False)
    heat_map = models.CharField(max_length=8, choices=HeatMap, default=HeatMap.REQUEST)
    judgements_per_item = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(9)]
    )
    rule = models.CharField(max_length=9, choices=Rule, default=Rule.UNANIMITY)
    gold_every = models.PositiveSmallIntegerField(
        default=0, blank=True, help_text="One of so many items is a check question, by chance; 0: none."
    )
    daily_cap = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="New exchanges that match flow in by themselves, so many a day. Empty: only when asked.",
    )
    suggested_by = models.CharField(
        max_length=120, blank=True, help_text="The model that judges along, as the proxy is asked for it."
    )
    suggested_before = models.BooleanField(
        default=False, help_text="Whether reviewers see it before their own judgement."
    )
    masked = models.BooleanField(
        default=False, help_text="Whether everybody who reviews reads placeholders for personal data."
    )
    lease_minutes = models.PositiveSmallIntegerField(default=30, validators=[MinValueValidator(1)])
    reviewers = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="queues", blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    state_changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )
    state_changed_at = models.DateTimeField(null=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = QueueQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("queue", args=[self.slug])

    @property
    def lead(self) -> Question:
        """The question whose answer makes the verdict."""
        return Question(questions.MAIN, self.kind, self.question, tuple(self.answers))

    @property
    def closed_list(self) -> list[tuple[str, str]]:
        """What a correction is chosen from, each with its hint."""
        return [(answer, self.hints.get(answer, "")) for answer in self.answers]

    @cached_property
    def further(self) -> list[Question]:
        """What else is asked of each item."""
        return [Question.from_dict(stored) for stored in self.also]

    @property
    def asked(self) -> list[Question]:
        """Every question, the leading one first."""
        return [self.lead, *self.further]

    @property
    def suggestible(self) -> bool:
        """Whether a model can be asked: of a text that is approved, rejected or corrected."""
        return self.kind == Kind.APPROVE

    @property
    def by_verdict(self) -> bool:
        """Whether items are approved, rejected or corrected."""
        return self.kind in questions.VERDICTS

    def change_state(self, old: str, new: str, user: User) -> bool:
        """Whether this call changed it: False when someone was faster, and then nothing is done."""
        changed = Queue.objects.filter(pk=self.pk, state=old).update(
            state=new, state_changed_by=user, state_changed_at=timezone.now()
        )
        return changed == 1

    def rewrite_guidelines(self, text: str, user: User) -> None:
        """Set new guidelines under the next number; the text that judgements so far followed is kept."""
        if text == self.guidelines:
            return
        OldGuidelines.objects.create(
            queue=self, version=self.guidelines_version, text=self.guidelines, replaced_by=user
        )
        self.guidelines = text
        self.guidelines_version += 1
        self.save(update_fields=["guidelines", "guidelines_version"])


class OldGuidelines(models.Model):
    """Guidelines that were replaced: what the judgements of that version followed."""

    queue = models.ForeignKey(Queue, models.CASCADE, related_name="old_guidelines")
    version = models.PositiveIntegerField()
    text = models.TextField(blank=True)
    replaced_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    replaced_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = "old guidelines"
        ordering: ClassVar = ["-version"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["queue", "version"], name="a_guidelines_version_once")
        ]

    def __str__(self) -> str:
        return f"{self.queue}, guidelines {self.version}"


class ItemQuerySet(models.QuerySet["Item"]):
    def drawn(self) -> "ItemQuerySet":
        """Items that are traffic, drawn into their queue: not what came in a file."""
        return self.filter(uploaded=False)


class Item(models.Model):
    """One exchange in one queue. Keeps what the reviewer reads, so judging needs no ClickHouse."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        SETTLED = "settled", "settled"
        CONFLICT = "conflict", "needs a second opinion"
        UNJUDGED = "unjudged", "can't be judged"
        FLAGGED = "flagged", "personal data"

    class Verdict(models.TextChoices):
        APPROVED = "approved", "approved"
        REJECTED = "rejected", "rejected"
        CORRECTED = "corrected", "corrected"
        ANSWERED = "answered", "answered"

    queue = models.ForeignKey(Queue, models.CASCADE, related_name="items")
    exchange_id = models.UUIDField(db_index=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    started_at = models.DateTimeField(
        help_text="When the exchange began; with its id, the key into ClickHouse."
    )
    messages = models.JSONField(help_text="What was asked, in the chat form: a list of {role, content, …}.")
    answer = models.TextField(help_text="What the model answered (first choice); a tool call as JSON.")
    tools = models.JSONField(
        null=True, blank=True, help_text="The tools the model had, when the answer is a call; else null."
    )
    cut = models.BooleanField(
        default=False, help_text="The answer reached its allowed length and ends there."
    )
    other_answer = models.TextField(blank=True, help_text="The second answer of a pair.")
    other_cut = models.BooleanField(default=False, help_text="The second answer did.")
    other_exchange_id = models.UUIDField(null=True, help_text="Which exchange the second answer is from.")
    other_attempt = models.PositiveSmallIntegerField(default=0)
    doubt = models.FloatField(
        default=0.0, help_text="1 − the probability of the answer's least likely token; ½ if unknown."
    )
    weight = models.FloatField(default=1.0, help_text="How readily it is drawn, beside others.")
    group = models.CharField(max_length=200, blank=True, help_text="Siblings share it and stay together.")
    probability = models.FloatField(default=1.0, help_text="With which the item was drawn from what matched.")
    position = models.FloatField(
        default=0.0, help_text="Smaller is shown sooner; when drawn by chance, the draw's key."
    )
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    verdict = models.CharField(max_length=9, choices=Verdict, blank=True)
    verdict_answer = models.TextField(blank=True, help_text="The right answer, as the verdict has it.")
    verdict_values = models.JSONField(
        default=dict, blank=True, help_text="What all judgements say to a question, by its name."
    )
    verdict_rule = models.CharField(max_length=100, blank=True, help_text="The rule that decided.")
    settled_at = models.DateTimeField(null=True)
    revision = models.PositiveIntegerField(default=0, editable=False, help_text="Grows with every judgement.")
    uploaded = models.BooleanField(
        default=False, help_text="Came in a file as a check question: there is no such exchange."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ItemQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["queue", "exchange_id", "attempt"], name="an_exchange_once_a_queue"
            )
        ]
        indexes: ClassVar = [models.Index(fields=["queue", "state", "position", "id"])]

    def __str__(self) -> str:
        return f"Item {self.pk} of {self.queue}"

    @property
    def told(self) -> list[str]:
        """What the verdict says to questions, in words."""
        return questions.all_told(self.queue.asked, self.verdict_values)


class Assignment(models.Model):
    """A place for one judgement on an item, reserved for a person until the lease ends.

    A place that is given up (released, or its lease ran out and somebody wants it) is deleted; one that was
    skipped keeps its row without a slot, so that it comes back to that person later.
    """

    queue = models.ForeignKey(Queue, models.CASCADE, related_name="assignments")
    item = models.ForeignKey(Item, models.CASCADE, related_name="assignments")
    slot = models.PositiveSmallIntegerField(
        null=True, default=0, help_text="0 … judgements_per_item − 1; null when skipped."
    )
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="assignments")
    leased_until = models.DateTimeField()
    key = models.CharField(
        max_length=43, unique=True, help_text="Made for this showing; travels with the post."
    )
    reserved_at = models.DateTimeField(default=timezone.now)
    done_at = models.DateTimeField(null=True)
    skipped_at = models.DateTimeField(null=True)
    reopened_at = models.DateTimeField(null=True, help_text="When its judgement was taken back.")
    heat_map_seen = models.BooleanField(default=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["item", "slot"], name="a_slot_has_one_holder"),
            models.UniqueConstraint(fields=["item", "reviewer"], name="a_reviewer_once_an_item"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["queue", "reviewer", "done_at"]),
            models.Index(fields=["queue", "done_at", "leased_until"]),
        ]

    def __str__(self) -> str:
        return f"{self.item} for {self.reviewer}"


class AnnotationQuerySet(models.QuerySet["Annotation"]):
    def standing(self) -> "AnnotationQuerySet":
        """Judgements that were not taken back: at most one a person and item."""
        return self.filter(undone_by=None).exclude(decision=Annotation.Decision.UNDO)


class Annotation(models.Model):
    """A judgement. Never edited: an undo or a change of mind is a newer row of the same reviewer."""

    class Decision(models.TextChoices):
        APPROVE = "approve", "approved"
        REJECT = "reject", "rejected"
        CORRECT = "correct", "corrected"
        ANSWER = "answer", "answered"
        CANT_JUDGE = "cant_judge", "can't judge"
        FLAG = "flag", "flagged as personal data"
        UNDO = "undo", "taken back"

    class Source(models.TextChoices):
        PERSON = "person", "a person"
        REFERENCE = "reference", "the reference reviewer"

    item = models.ForeignKey(Item, models.CASCADE, related_name="annotations")
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="annotations")
    decision = models.CharField(max_length=10, choices=Decision)
    answer = models.TextField(blank=True, help_text="The right answer, of a correction.")
    reason = models.CharField(max_length=200, blank=True)
    note = models.TextField(blank=True)
    values = models.JSONField(default=dict, blank=True, help_text="Answers to questions, by their name.")
    sides_swapped = models.BooleanField(
        null=True, help_text="Of a pair: whether the first answer stood right."
    )
    undoes = models.OneToOneField("self", models.CASCADE, null=True, blank=True, related_name="undone_by")
    source = models.CharField(max_length=9, choices=Source, default=Source.PERSON)
    key = models.CharField(
        max_length=64, unique=True, help_text="The showing's key: a double send counts once."
    )
    seconds = models.FloatField(null=True, help_text="Time on the item while visible and in use.")
    heat_map_seen = models.BooleanField(default=False, help_text="Before judging.")
    masked = models.BooleanField(
        default=False, help_text="Whether personal data was masked in what the person read."
    )
    guidelines_version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    mirrored_at = models.DateTimeField(
        null=True, editable=False, help_text="When its event had been read back from the trace store."
    )

    objects = AnnotationQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [
            models.Index(fields=["reviewer", "-created_at"]),
            models.Index(fields=["id"], condition=models.Q(mirrored_at=None), name="waits_to_be_mirrored"),
        ]

    def __str__(self) -> str:
        return f"{self.decision} by {self.reviewer} on {self.item}"

    @property
    def past(self) -> str:
        """What the person did to it: "Approved the last one"."""
        return _PAST[Annotation.Decision(self.decision)]

    @property
    def told(self) -> list[str]:
        """The answers to questions in words, each with its question where there are several."""
        return questions.all_told(self.item.queue.asked, self.values)

    @property
    def by_reference(self) -> bool:
        """Whether a reference list gave it, not a person: said wherever it is shown."""
        return self.source == self.Source.REFERENCE


class Suggestion(models.Model):
    """What a model said of an item. ``decision`` is empty when its reply was no judgement."""

    item = models.ForeignKey(Item, models.CASCADE, related_name="suggestions")
    model = models.CharField(max_length=120)
    decision = models.CharField(max_length=10, choices=Annotation.Decision, blank=True)
    answer = models.TextField(blank=True)
    reason = models.CharField(max_length=200, blank=True)
    made_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["item", "model"], name="a_model_once_an_item")
        ]

    def __str__(self) -> str:
        return f"{self.model} on {self.item}: {self.decision}"

    @property
    def words(self) -> str:
        """As a reviewer reads it."""
        said = {"approve": "would approve it", "reject": "would reject it"}.get(
            self.decision, "would correct it"
        )
        return f"{said}: {self.answer[:80]}" if self.answer else said


class Mirror(models.Model):
    """The one row whose holder mirrors judgements into the trace store (annotations.mirror)."""

    token = models.CharField(max_length=32, blank=True)
    until = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"mirror until {self.until}"


_PAST = {
    Annotation.Decision.APPROVE: "Approved",
    Annotation.Decision.REJECT: "Rejected",
    Annotation.Decision.CORRECT: "Corrected",
    Annotation.Decision.ANSWER: "Answered",
    Annotation.Decision.CANT_JUDGE: "Couldn’t judge",
    Annotation.Decision.FLAG: "Flagged",
    Annotation.Decision.UNDO: "Took back",
}
