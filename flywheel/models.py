"""The turn of the wheel: jobs, datasets, training runs, evaluations, rollouts, and sign-in links."""

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from annotations.models import Item, Queue
from flywheel.alert_models import Alert, AlertChannel, AlertCondition, AlertMessage, AlertRule
from inference.models import ModelVersion, Route, sha256_hex

__all__ = ["Alert", "AlertChannel", "AlertCondition", "AlertMessage", "AlertRule"]

User = settings.AUTH_USER_MODEL


class Job(models.Model):
    """Long work: a row claimed by compare-and-set, with lease and heartbeat. A Celery task only hints."""

    class State(models.TextChoices):
        PENDING = "pending", "waiting"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    class Kind(models.TextChoices):
        DATASET = "dataset", "build a dataset version"
        TRAINING = "training", "train an adapter"
        EVALUATION = "evaluation", "evaluate"
        ROLLOUT = "rollout", "roll out"
        ERASURE = "erasure", "erase a user's data"

    kind = models.CharField(max_length=12, choices=Kind)
    key = models.CharField(max_length=120, unique=True, help_text="The form's key: pressed twice, done once.")
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    message = models.CharField(max_length=300, blank=True, help_text="What it does now, as a sentence.")
    error = models.TextField(blank=True, help_text="Why it failed, what is safe, what to do.")
    attempts = models.PositiveSmallIntegerField(default=0)
    cancel_requested = models.BooleanField(default=False)
    lease_token = models.CharField(max_length=32, blank=True)
    lease_until = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    created_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["state", "lease_until"])]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk} ({self.state})"

    @property
    def active(self) -> bool:
        return self.state in (self.State.PENDING, self.State.RUNNING)


class Dataset(models.Model):
    """A name under which versions are built from one queue's verdicts."""

    name = models.SlugField(unique=True)
    queue = models.ForeignKey(Queue, models.PROTECT, related_name="datasets")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.name


class DatasetVersion(models.Model):
    """An immutable version: files addressed by hash, one manifest, and the rows they came from."""

    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    job = models.OneToOneField(Job, models.PROTECT, related_name="dataset_version")
    recipe = models.JSONField(
        default=dict, help_text="exam_rows, train_rows (or null), seed, system_prompt …"
    )
    hash = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the manifest.")
    train_rows = models.PositiveIntegerField(default=0)
    exam_rows = models.PositiveIntegerField(default=0)
    judgements = models.PositiveIntegerField(default=0)
    sources = models.JSONField(default=dict, help_text="who judged the rows: person, reference → judgements")
    left_out = models.JSONField(default=dict, help_text="reason → rows")
    balance = models.JSONField(default=dict, help_text="answer → {train, exam}")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["dataset", "number"], name="a_number_once")]

    def __str__(self) -> str:
        return f"{self.dataset} v{self.number}"

    def get_absolute_url(self) -> str:
        return reverse("dataset-version", args=[self.dataset.name, self.number])

    @property
    def judged(self) -> int:
        """Judgements behind its rows. ``judgements`` of older versions counts all that their queue had."""
        return sum(self.sources.values())


class DatasetRow(models.Model):
    """Which item, and so which exchange and which judgements, a row of a version came from."""

    class Split(models.TextChoices):
        TRAIN = "train", "to learn from"
        EXAM = "exam", "kept for the exam"

    version = models.ForeignKey(DatasetVersion, models.CASCADE, related_name="rows")
    item = models.ForeignKey(Item, models.PROTECT, related_name="dataset_rows")
    split = models.CharField(max_length=5, choices=Split)
    hash = models.CharField(max_length=64, validators=[sha256_hex], help_text="SHA-256 of the row's line.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "item"], name="an_item_once_a_version")
        ]

    def __str__(self) -> str:
        return f"{self.version} {self.split} {self.item_id}"


class TrainingRun(models.Model):
    """A fine-tune of a base model on one dataset version; gives an adapter."""

    dataset_version = models.ForeignKey(DatasetVersion, models.PROTECT, related_name="training_runs")
    base = models.ForeignKey(ModelVersion, models.PROTECT, related_name="+")
    job = models.OneToOneField(Job, models.PROTECT, related_name="training_run")
    config = models.JSONField(
        default=dict, help_text="rank, alpha, learning_rate, batch_size, epochs, seed …"
    )
    folder = models.CharField(max_length=400, blank=True, help_text="Checkpoints, metrics.jsonl, log.txt …")
    results = models.JSONField(default=dict, help_text="steps, tokens, seconds, tokens_per_second, loss …")
    # Not one to one: the same rows, settings and seed can give the very same weights twice.
    adapter = models.ForeignKey(
        ModelVersion, models.PROTECT, null=True, blank=True, related_name="training_runs"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"Training run {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("training-run", args=[self.pk])


class Evaluation(models.Model):
    """A candidate against a baseline on the exam rows of one dataset version."""

    dataset_version = models.ForeignKey(DatasetVersion, models.PROTECT, related_name="evaluations")
    baseline = models.ForeignKey(ModelVersion, models.PROTECT, related_name="+")
    candidate = models.ForeignKey(ModelVersion, models.PROTECT, related_name="evaluations")
    route = models.ForeignKey(Route, models.PROTECT, related_name="evaluations")
    job = models.OneToOneField(Job, models.PROTECT, related_name="evaluation")
    results = models.JSONField(default=dict, help_text="flywheel.statistics.Comparison as a dictionary")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"Evaluation {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("evaluation", args=[self.pk])


class EvaluationCase(models.Model):
    """One exam row answered by both."""

    evaluation = models.ForeignKey(Evaluation, models.CASCADE, related_name="cases")
    row = models.ForeignKey(DatasetRow, models.PROTECT, related_name="+")
    question = models.TextField()
    expected = models.TextField()
    baseline_answer = models.TextField(blank=True)
    candidate_answer = models.TextField(blank=True)
    baseline_right = models.BooleanField(null=True)
    candidate_right = models.BooleanField(null=True)
    baseline_exchange = models.UUIDField(null=True)
    candidate_exchange = models.UUIDField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["evaluation", "row"], name="a_row_once_an_exam")
        ]

    def __str__(self) -> str:
        return f"{self.evaluation}: {self.question}"


class Rollout(models.Model):
    """A change of what answers a route. Appended, never edited; the newest in force is live."""

    class Action(models.TextChoices):
        FORWARD = "forward", "roll out"
        BACK = "back", "back"

    route = models.ForeignKey(Route, models.PROTECT, related_name="rollouts")
    action = models.CharField(max_length=8, choices=Action)
    candidate = models.ForeignKey(ModelVersion, models.PROTECT, related_name="rollouts")
    share = models.PositiveSmallIntegerField(help_text="Percent of the route that the candidate answers.")
    before = models.JSONField(help_text="Targets it replaced: [{model_version, name, weights, weight}, …]")
    after = models.JSONField(help_text="Targets it set.")
    evaluation = models.ForeignKey(Evaluation, models.PROTECT, null=True, blank=True, related_name="rollouts")
    decision = models.CharField(
        max_length=20, blank=True, help_text="What the gate said: ship, block, more_data"
    )
    reason = models.TextField(blank=True, help_text="Why, when it goes against the gate; or why back.")
    job = models.OneToOneField(Job, models.PROTECT, related_name="rollout")
    planned_revision = models.PositiveIntegerField(help_text="The route's revision that it was decided on.")
    route_revision = models.PositiveIntegerField(
        null=True, help_text="The revision it made; null until in force."
    )
    routing_version = models.PositiveBigIntegerField(
        null=True, help_text="The first routing snapshot that has it: a proxy at or past it follows."
    )
    in_force_at = models.DateTimeField(null=True)
    created_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.action} {self.route}: {self.candidate} {self.share} %"

    def get_absolute_url(self) -> str:
        return reverse("rollout", args=[self.pk])


class Erasure(models.Model):
    """The receipt of one user's erasure. Holds no personal data: whose it was is a salted hash.

    What it says of the user's data are places and numbers; what it says of what used them are names of ours.
    """

    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    job = models.OneToOneField(Job, models.PROTECT, related_name="erasure")
    salt = models.CharField(max_length=64, editable=False)
    hash = models.CharField(max_length=64, db_index=True, help_text="SHA-256 of salt and user id.")
    before = models.DateTimeField(help_text="What began before this is erased.")
    counts = models.JSONField(default=dict, help_text="place → how many were there")
    used = models.JSONField(default=dict, help_text="kind → names of what was made with the data")
    files = models.JSONField(default=list, help_text="SHA-256 of files still to be deleted")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"Erasure {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("erasure", args=[self.pk])


class Expiry(models.Model):
    """One run of retention: when, and what it began to remove. ``uid`` names what was held then."""

    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    at = models.DateTimeField(default=timezone.now, editable=False)
    removed = models.JSONField(default=dict, help_text="what → rows")

    class Meta:
        ordering: ClassVar = ["-id"]
        verbose_name_plural = "expiries"

    def __str__(self) -> str:
        return f"Expiry of {self.at:%Y-%m-%d %H:%M}"


class Rerun(models.Model):
    """Somebody asked an exchange's question once more, of another version. Holds ids, nothing said."""

    key = models.CharField(
        max_length=100, unique=True, help_text="The form's key: pressed twice, asked once."
    )
    exchange_id = models.UUIDField(db_index=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="+")
    answered_by = models.UUIDField(null=True, db_index=True, help_text="The exchange that came of it.")
    asked_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["asked_by", "at"])]

    def __str__(self) -> str:
        return f"{self.exchange_id} asked again of {self.version}"


class SignInLink(models.Model):
    """Signs one person in, once, from this machine, for a quarter of an hour. Only its hash is kept."""

    user = models.ForeignKey(User, models.CASCADE)
    hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"link for {self.user}"


class ApiPrice(models.Model):
    """What an API charges, as somebody read it somewhere."""

    name = models.CharField(max_length=100, unique=True)
    price_in = models.DecimalField(
        max_digits=8, decimal_places=3, help_text="Dollars a million prompt tokens."
    )
    price_out = models.DecimalField(
        max_digits=8, decimal_places=3, help_text="Dollars a million written tokens."
    )
    source = models.CharField(max_length=300, help_text="Where that was read.")
    seen_on = models.DateField(help_text="When.")

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name = "API price"

    def __str__(self) -> str:
        return self.name

    def per_million(self, prompt_share: float) -> float:
        """Dollars a million tokens of which that share is prompts."""
        return float(self.price_in) * prompt_share + float(self.price_out) * (1 - prompt_share)


class Sweep(models.Model):
    """When vitals were last gathered, and what went wrong with it; one row. Only news."""

    at = models.DateTimeField(default=timezone.now)
    seconds = models.FloatField(default=0.0, help_text="What it took.")
    problem = models.CharField(max_length=300, blank=True, help_text="Why nothing could be kept.")
    silent = models.JSONField(default=dict, help_text="What did not answer, and why: name → sentence.")

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S}"
