"""Alerts: rules that people set, what they came to, whom to tell and what was told."""

from typing import ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, validate_email
from django.db import models
from django.utils import timezone

from inference.vitals import METRICS


class Severity(models.TextChoices):
    CRITICAL = "critical", "critical: something is lost or users get errors"
    WARNING = "warning", "warning: it gets worse unless somebody looks"


class AlertRule(models.Model):
    """When somebody must look, and what they need to know then. All its conditions must hold at once."""

    name = models.CharField(max_length=100, unique=True)
    severity = models.CharField(max_length=8, choices=Severity, default=Severity.WARNING)
    for_seconds = models.PositiveIntegerField(
        default=60,
        validators=[MaxValueValidator(86_400)],
        help_text="How long it must hold without a break. 0: at once.",
    )
    meaning = models.TextField("what it means")
    users_notice = models.TextField("what users notice")
    first_step = models.TextField("what to do first")
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering: ClassVar = ["severity", "name"]

    def __str__(self) -> str:
        return self.name


class AlertCondition(models.Model):
    """One metric against one line."""

    class Operator(models.TextChoices):
        ABOVE = ">", "above"
        AT_LEAST = ">=", "at least"
        BELOW = "<", "below"
        AT_MOST = "<=", "at most"

    rule = models.ForeignKey(AlertRule, models.CASCADE, related_name="conditions")
    metric = models.CharField(
        max_length=40, choices=[(one.name, f"{one.title} ({one.unit})") for one in METRICS.values()]
    )
    operator = models.CharField(max_length=2, choices=Operator, default=Operator.ABOVE)
    threshold = models.FloatField(help_text="Shares are from 0 to 1.")

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{METRICS[self.metric].title} {self.operator} {self.threshold:g}"

    def holds(self, value: float) -> bool:
        """Whether a value is over the line."""
        found = {
            self.Operator.ABOVE: value > self.threshold,
            self.Operator.AT_LEAST: value >= self.threshold,
            self.Operator.BELOW: value < self.threshold,
            self.Operator.AT_MOST: value <= self.threshold,
        }
        return found[self.Operator(self.operator)]


class Alert(models.Model):
    """A rule that holds, or held, for one engine, GPU or spool."""

    class State(models.TextChoices):
        WAITING = "waiting", "holds, not yet for long enough"
        FIRING = "firing", "firing"
        RESOLVED = "resolved", "over"

    rule = models.ForeignKey(AlertRule, models.CASCADE, related_name="alerts")
    source = models.CharField(max_length=200, help_text="An upstream or a spool.")
    part = models.CharField(max_length=20, blank=True, help_text="One of its GPUs.")
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    values = models.JSONField(default=dict, help_text="What was measured last: metric → value")
    since = models.DateTimeField(default=timezone.now)
    fired_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-since", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["rule", "source", "part"],
                condition=models.Q(ended_at=None),
                name="one_open_alert",
            )
        ]
        indexes: ClassVar = [models.Index(fields=["state", "since"], name="alert_state")]

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}"

    @property
    def subject(self) -> str:
        """What it is about, as people say it."""
        return f"{self.source}, GPU {self.part}" if self.part else self.source


class AlertChannel(models.Model):
    """Somebody who is told."""

    class Kind(models.TextChoices):
        WEBHOOK = "webhook", "webhook"
        EMAIL = "email", "e-mail"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=8, choices=Kind)
    address = models.CharField(max_length=500, help_text="An address of HTTP that takes JSON, or of e-mail.")
    warnings = models.BooleanField(default=True, help_text="Off: only what is critical.")
    enabled = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """An address that could never be reached is a mistake; say so before it is needed."""
        if self.kind == self.Kind.WEBHOOK and not self.address.startswith(("http://", "https://")):
            raise ValidationError({"address": "A webhook begins with http:// or https://."})
        if self.kind == self.Kind.EMAIL:
            try:
                validate_email(self.address)
            except ValidationError as error:
                raise ValidationError({"address": error.messages}) from error


class AlertMessage(models.Model):
    """That one channel is to be told of one alert's beginning or end: once, tried until it works."""

    class Kind(models.TextChoices):
        FIRING = "firing", "firing"
        RESOLVED = "resolved", "over"

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="messages")
    channel = models.ForeignKey(AlertChannel, models.CASCADE, related_name="messages")
    kind = models.CharField(max_length=8, choices=Kind)
    created_at = models.DateTimeField(default=timezone.now)
    next_at = models.DateTimeField(default=timezone.now, help_text="Not tried before.")
    attempts = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    given_up_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=300, blank=True, help_text="Why the last try failed.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["alert", "channel", "kind"], name="told_once")
        ]
        indexes: ClassVar = [models.Index(fields=["sent_at", "next_at"], name="message_due")]

    def __str__(self) -> str:
        return f"{self.alert} {self.kind} to {self.channel}"
