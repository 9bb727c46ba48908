"""What people decided about serving: keys, upstreams, model versions, routes.

The proxies never read these tables: inference.snapshots turns them into one immutable snapshot.
"""

import hashlib
import itertools
import math
import secrets
from decimal import Decimal
from typing import ClassVar, Literal

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.urls import reverse
from django.utils import timezone

from inference.logprobs_mode import MODES, UNKNOWN, Finding
from inference.lookups import Price

sha256_hex = RegexValidator(r"^[0-9a-f]{64}$", "A SHA-256 has 64 hexadecimal digits.")

at_least_one = MinValueValidator(1)


def hash_key(secret: str) -> str:
    """SHA-256 of an API key. The key has 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiKey(models.Model):
    """A client's key. Only its hash is kept; ``prefix`` is what people recognise it by."""

    name = models.CharField(max_length=100, unique=True)
    prefix = models.CharField(max_length=12, editable=False)
    hash = models.CharField(max_length=64, unique=True, editable=False)
    every_route = models.BooleanField(
        default=False, help_text="Every route, also those made later. Otherwise only the chosen ones."
    )
    routes: "models.ManyToManyField[Route, models.Model]" = models.ManyToManyField("Route", blank=True)
    may_call_versions = models.BooleanField(
        default=False, help_text="May ask for model=version:NAME, past the routes. For evaluations."
    )
    requests_per_minute = models.PositiveIntegerField(
        null=True, blank=True, validators=[at_least_one], help_text="Empty: as many as it likes."
    )
    tokens_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[at_least_one],
        help_text="Prompt and completion together. Empty: as many as it likes.",
    )
    concurrent_requests = models.PositiveIntegerField(
        null=True, blank=True, validators=[at_least_one], help_text="In flight. Empty: as many as it likes."
    )
    monthly_budget = models.DecimalField(
        max_digits=9,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0)), MaxValueValidator(Decimal(5_000_000))],
        help_text="Dollars a calendar month (UTC), at the prices of the model versions. Empty: no budget.",
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def issue(self) -> str:
        """Set a new secret and return it; it can't be read again. Call before save()."""
        secret = "fw-" + secrets.token_urlsafe(32)
        self.prefix, self.hash = secret[:8], hash_key(secret)
        return secret


class Upstream(models.Model):
    """An engine: one base address that speaks the OpenAI protocol."""

    name = models.SlugField(unique=True)
    base_url = models.URLField(help_text="Without /v1, for example http://127.0.0.1:8001")
    secret_env = models.CharField(
        max_length=100,
        blank=True,
        help_text="Name of the proxy's environment variable with the engine's key.",
    )
    logprobs_mode = models.CharField(
        max_length=24,
        choices=[(mode, mode) for mode in MODES],
        default="raw_logprobs",
        help_text="What the engine was started with (--logprobs-mode).",
    )
    prompt_logprobs = models.BooleanField(
        "gives prompt logprobs",
        default=True,
        help_text="Off: calls that ask for a prompt's logprobs are refused, lest they end the engine.",
    )
    enabled = models.BooleanField(default=True)
    metrics_url = models.URLField(
        blank=True, help_text="Where it shows vLLM's metrics. Empty: /metrics at its address."
    )
    gpu_metrics_url = models.URLField(
        "GPU metrics URL",
        blank=True,
        help_text="A DCGM exporter's, or inference.gpus', on its machine. Empty: GPUs are not watched.",
    )
    gpus = models.CharField(
        "GPUs",
        max_length=100,
        blank=True,
        validators=[RegexValidator(r"^\d+(,\d+)*$", "Write numbers and commas: 0,1")],
        help_text="Which of that machine's GPUs it runs on, for example 0,1. Empty: all.",
    )
    price_an_hour = models.DecimalField(
        max_digits=8,
        decimal_places=3,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0))],
        help_text="Dollars an hour for all its GPUs together. Empty: what it costs is not said.",
    )
    found_mode = models.CharField(max_length=24, blank=True, editable=False)
    found_why = models.CharField(max_length=300, blank=True, editable=False)
    found_at = models.DateTimeField(null=True, editable=False)

    def __str__(self) -> str:
        return self.name

    def found(self, finding: Finding) -> None:
        """Keep what a check of the logprobs mode found. No snapshot has it, so none is published."""
        self.found_mode, self.found_why, self.found_at = finding.mode, finding.why[:300], timezone.now()
        Upstream.objects.filter(pk=self.pk).update(
            found_mode=self.found_mode, found_why=self.found_why, found_at=self.found_at
        )

    @property
    def contradiction(self) -> str:
        """What to do about an engine that was found in another mode than declared; nothing where none was."""
        if self.found_mode in (UNKNOWN, self.logprobs_mode):
            return ""
        return (
            f"It gives {self.found_mode}; {self.logprobs_mode} is declared, and stored with its answers. "
            f"Start it with --logprobs-mode {self.logprobs_mode}, or declare {self.found_mode}."
        )

    @property
    def metrics_address(self) -> str:
        """Where its metrics are asked for."""
        return self.metrics_url or self.base_url.rstrip("/") + "/metrics"


class ModelVersion(models.Model):
    """Weights that an engine can serve: a base model, or an adapter over one."""

    class Kind(models.TextChoices):
        BASE = "base", "base model"
        ADAPTER = "adapter", "adapter"

    name = models.CharField(max_length=120, unique=True, help_text="The name the engine serves it under.")
    kind = models.CharField(max_length=8, choices=Kind)
    base = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="adapters")
    weights = models.CharField("SHA-256 of the weights", max_length=64, validators=[sha256_hex])
    tokenizer = models.CharField("SHA-256 of the tokenizer", max_length=64, blank=True)
    path = models.CharField(
        max_length=400, blank=True, help_text="Folder with the weights, if they are ours."
    )
    upstreams = models.ManyToManyField(Upstream, related_name="model_versions")
    price_in = models.DecimalField(
        "price in",
        max_digits=8,
        decimal_places=3,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0))],
        help_text="Dollars a million prompt tokens, for keys' budgets. Empty: the base model's, or nothing.",
    )
    price_out = models.DecimalField(
        "price out",
        max_digits=8,
        decimal_places=3,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0))],
        help_text="Dollars a million completion tokens.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return self.name

    @property
    def short(self) -> str:
        """Eight characters of the hash: how people tell versions apart."""
        return self.weights[:8]

    @classmethod
    def without_price(cls) -> list[str]:
        """Names of the versions that cost nothing, though a route may send them traffic."""
        served = cls.objects.filter(targets__weight__gt=0).select_related("base").distinct()
        return sorted(
            one.name for one in served if not (one.nano_price("price_in") or one.nano_price("price_out"))
        )

    @classmethod
    def prices(cls) -> dict[str, Price]:
        """What every version that costs anything costs now, by name."""
        found = ((one.name, one.price) for one in cls.objects.select_related("base"))
        return {name: price for name, price in found if any(price)}

    @property
    def price(self) -> Price:
        """Nano-dollars a token, in and out."""
        return Price(self.nano_price("price_in"), self.nano_price("price_out"))

    def nano_price(self, side: Literal["price_in", "price_out"]) -> int:
        """Nano-dollars a token: a thousand times the dollars a million. An adapter may have its base's."""
        price: Decimal | None = getattr(self, side)
        if price is None and self.base is not None:
            price = getattr(self.base, side)
        return int((price or 0) * 1000)


class Route(models.Model):
    """A public model name that apps call; its targets decide which version answers."""

    class Capture(models.TextChoices):
        ALL = "all", "every exchange with tokens"
        OFF = "off", "exchanges without tokens"

    class Durability(models.TextChoices):
        STRICT = "strict", "on disk before the answer ends"
        RELAXED = "relaxed", "no wait"

    class DiskFull(models.TextChoices):
        REFUSE = "refuse", "refuse traffic"
        SERVE = "serve", "serve without capture, and count it"

    class Sticky(models.TextChoices):
        SESSION = "session", "a session, else a user"
        USER = "user", "a user"
        KEY = "key", "an API key"
        NONE = "none", "nothing: each call is drawn anew"

    class Balance(models.TextChoices):
        BUSY = "busy", "the least busy"
        PREFIX = "prefix", "the one that knows the conversation's beginning"

    name = models.SlugField(unique=True)
    description = models.CharField(max_length=200, blank=True)
    capture = models.CharField(max_length=4, choices=Capture, default=Capture.ALL)
    capture_rate = models.FloatField(
        "share captured",
        default=1.0,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text="Of the exchanges, which share is kept with tokens (0 to 1). Every exchange is kept.",
    )
    top_k = models.PositiveSmallIntegerField(
        default=5, validators=[MinValueValidator(0), MaxValueValidator(20)]
    )
    durability = models.CharField(max_length=8, choices=Durability, default=Durability.STRICT)
    disk_full = models.CharField(max_length=8, choices=DiskFull, default=DiskFull.REFUSE)
    sticky = models.CharField(
        max_length=7, choices=Sticky, default=Sticky.SESSION, help_text="What stays with one target."
    )
    balance = models.CharField(
        max_length=6,
        choices=Balance,
        default=Balance.BUSY,
        help_text="Which of a version's engines is asked.",
    )
    mask = models.BooleanField(
        "mask personal data",
        default=False,
        help_text="Cards, IBANs, phones, emails and national ids become placeholders before anything is "
        "stored. An exchange with any keeps no tokens.",
    )
    tokens_days = models.PositiveIntegerField(
        "days that tokens are kept",
        null=True,
        blank=True,
        validators=[at_least_one],
        help_text="Ids, probabilities and alternatives. Empty: for ever.",
    )
    bodies_days = models.PositiveIntegerField(
        "days that bodies are kept",
        null=True,
        blank=True,
        validators=[at_least_one],
        help_text="What was asked, answered and said about it. Not shorter than tokens, which spell it.",
    )
    metadata_days = models.PositiveIntegerField(
        "days that metadata are kept",
        null=True,
        blank=True,
        validators=[at_least_one],
        help_text="When, who, how long, how sure. Not shorter than bodies.",
    )
    revision = models.PositiveIntegerField(
        default=0, editable=False, help_text="Grows with every change of targets."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """What spells a text, or belongs to it, can't outlive it."""
        kept = ("tokens_days", "bodies_days", "metadata_days")
        for shorter, longer in itertools.pairwise(kept):
            days = getattr(self, longer)
            if days is not None and (getattr(self, shorter) or math.inf) > days:
                what = shorter.removesuffix("_days")
                raise ValidationError(
                    {shorter: f"Not longer than {days} days: {what} can't outlive the rest."}
                )


class RouteTarget(models.Model):
    """A share of a route's traffic for one model version. Shares of a route are relative weights."""

    route = models.ForeignKey(Route, models.CASCADE, related_name="targets")
    model_version = models.ForeignKey(ModelVersion, models.PROTECT, related_name="targets")
    weight = models.PositiveIntegerField(default=100)
    most_in_flight = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[at_least_one],
        help_text="Calls in flight that one proxy sends here at most; more go to the other targets.",
    )

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["route", "model_version"], name="one_target_a_version")
        ]

    def __str__(self) -> str:
        return f"{self.route} → {self.model_version} ({self.weight})"


class RoutingVersion(models.Model):
    """The number of the newest routing snapshot; one row. Proxies wait for it to grow."""

    number = models.PositiveBigIntegerField(default=1)
    changed_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return str(self.number)


class Proxy(models.Model):
    """A proxy as last heard from: which snapshot it follows. Rows are only news, never configuration."""

    name = models.CharField(max_length=100, unique=True)
    version = models.PositiveBigIntegerField(default=0)
    applied_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "proxies"

    def __str__(self) -> str:
        return self.name


class Spool(models.Model):
    """A spool as last heard from its drain and its proxy (inference.report). Rows are only news."""

    name = models.CharField(max_length=200, unique=True, help_text="FLYWHEEL_SPOOL_NAME, or host:folder.")
    known_at = models.DateTimeField(default=timezone.now, help_text="When it was first heard of.")
    heard_at = models.DateTimeField(null=True, help_text="When its drain last reported.")
    worked_at = models.DateTimeField(null=True, help_text="When its drain last came round.")
    stopped = models.BooleanField(default=False, help_text="Its drain said that it ends.")
    stored_at = models.DateTimeField(null=True)
    newest = models.UUIDField(null=True, help_text="The exchange that was stored last.")
    unstored_since = models.DateTimeField(null=True, help_text="When the oldest unstored record began.")
    stored = models.PositiveBigIntegerField(default=0)
    rate = models.FloatField(default=0.0, help_text="Records a second over the last minute.")
    kept_aside = models.PositiveIntegerField(default=0, help_text="Records that no table would take.")
    damaged = models.PositiveIntegerField(default=0, help_text="Places that could not be read.")
    disk_bytes = models.PositiveBigIntegerField(default=0)
    problem = models.CharField(max_length=300, blank=True, help_text="Why nothing can be stored now.")
    proxy = models.CharField(max_length=100, blank=True)
    proxy_seen_at = models.DateTimeField(null=True)
    proxy_run = models.CharField(max_length=32, blank=True, help_text="Which process of it counts.")
    proxy_problem = models.CharField(max_length=300, blank=True, help_text="Why nothing can be spooled now.")
    run_dropped = models.PositiveBigIntegerField(default=0, help_text="Captures that process dropped.")
    dropped = models.PositiveBigIntegerField(default=0, help_text="Captures dropped ever.")
    dropped_at = models.DateTimeField(null=True)
    dropped_seen = models.PositiveBigIntegerField(default=0, help_text="How many of them somebody knows of.")

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def dropped_unseen(self) -> int:
        """Captures dropped that nobody has said to know of."""
        return max(self.dropped - self.dropped_seen, 0)


class SavedViewQuerySet(models.QuerySet["SavedView"]):
    def for_user(self, user: User) -> "SavedViewQuerySet":
        """Those that a person made, and those that others share."""
        return self.filter(models.Q(owner=user) | models.Q(shared=True))


class SavedView(models.Model):
    """A filter that somebody gave a name. Its number is its address."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="saved_views")
    name = models.CharField(max_length=80)
    filter = models.TextField(help_text="The explorer's filter line, in its one text form.")
    columns = models.CharField(
        max_length=300, blank=True, help_text="Which are shown; empty: the usual ones."
    )
    shared = models.BooleanField(default=False, help_text="Everyone who sees exchanges sees it too.")
    changed_at = models.DateTimeField(default=timezone.now)

    objects = SavedViewQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["name", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "name"], name="a_view_name_once_a_person")
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("saved-view", args=[self.pk])


# Rooms of their own, which Django looks for here.
from inference.audit import Look  # noqa: E402, F401
from inference.reading_rights import ReadingRight  # noqa: E402, F401
