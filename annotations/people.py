"""Who may do what in a queue: roles, and invitations by link.

A queue's reviewers are listed on the queue; this knows the other roles. A link's secret is never kept: only
its hash, like an API key's, and it is used once.
"""

import hashlib
import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, models, transaction
from django.utils import timezone
from django.utils.text import slugify

from annotations import audit
from annotations.audit import Act

if TYPE_CHECKING:
    from annotations.models import Queue


class Role(models.TextChoices):
    """What a person is in a queue. A reviewer judges; the others look on, lead or run it."""

    REVIEWER = "reviewer", "reviewer"
    READER = "reader", "reader"
    LEAD = "lead", "lead"
    ADMIN = "admin", "admin"


RANKS = (Role.READER, Role.LEAD, Role.ADMIN)
"""Each may do what the one before may. A reviewer is none of them: judging and looking on are two things."""


class QueueRole(models.Model):
    """A person who reads, leads or runs a queue."""

    queue = models.ForeignKey("annotations.Queue", models.CASCADE, related_name="roles")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="queue_roles")
    role = models.CharField(max_length=8, choices=[(role.value, role.label) for role in RANKS])
    given_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    given_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        app_label = "annotations"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["queue", "person"], name="one_role_a_person_and_queue")
        ]

    def __str__(self) -> str:
        return f"{self.person}, {self.role} of {self.queue}"


class Invitation(models.Model):
    """A link that gives one person a role in one queue, once, until it expires or is taken back."""

    queue = models.ForeignKey("annotations.Queue", models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=8, choices=Role, default=Role.REVIEWER)
    note = models.CharField(max_length=100, blank=True, help_text="For whom it is, for yourselves.")
    outside = models.BooleanField(
        default=True, help_text="Whether a new account that it makes is one from outside."
    )
    hash = models.CharField(max_length=64, unique=True)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    made_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    used_at = models.DateTimeField(null=True)
    used_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")

    class Meta:
        app_label = "annotations"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"invitation {self.pk} to {self.queue}"

    @property
    def is_usable(self) -> bool:
        """Neither used nor taken back nor expired."""
        return self.used_at is None and self.revoked_at is None and self.expires_at > timezone.now()


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def invite(
    queue: "Queue", made_by: User, role: str, days: int, note: str = "", *, outside: bool = False
) -> str:
    """A new invitation; its secret, which nobody can read again."""
    token = secrets.token_urlsafe(32)
    expires_at = timezone.now() + timedelta(days=days)
    Invitation.objects.create(
        queue=queue, role=role, note=note, hash=_hash(token), made_by=made_by, expires_at=expires_at,
        outside=outside,
    )  # fmt: skip
    where = " from outside" if outside else ""
    audit.record(queue, made_by, Act.INVITED, f"{role}{where}, for {days} days{', ' + note if note else ''}")
    return token


def waiting(queue: "Queue") -> models.QuerySet[Invitation]:
    """Invitations that can still be used."""
    return queue.invitations.filter(used_at=None, revoked_at=None, expires_at__gt=timezone.now())


def invitation(token: str) -> Invitation | None:
    """The invitation of a link, usable or not; None: made up."""
    return Invitation.objects.filter(hash=_hash(token)).select_related("queue", "made_by").first()


def accept(found: Invitation, person: User) -> bool:
    """Use an invitation up for a person: of two who race, one gets False, and nothing."""
    with transaction.atomic():
        now: datetime = timezone.now()
        mine = Invitation.objects.filter(pk=found.pk, used_at=None, revoked_at=None, expires_at__gt=now)
        if mine.update(used_at=now, used_by=person) != 1:
            return False
        _give(found.queue, person, found.role, found.made_by)
        audit.record(found.queue, person, Act.JOINED, f"as {found.role}, invited by {found.made_by}")
    return True


def sign_in_name(name: str) -> str:
    """A person's name in the letters that one signs in with; empty when nothing of it can be."""
    return slugify(name, allow_unicode=True)[:100].strip("-_")


def create_person(name: str) -> User:
    """An account without a password, called as they call themselves; a namesake's name gets a number."""
    base = sign_in_name(name)
    for username in (base, *(f"{base}-{number}" for number in range(2, 1000))):
        if User.objects.filter(username__iexact=username).exists():
            continue
        with suppress(IntegrityError), transaction.atomic():  # somebody else took it a moment ago
            return User.objects.create_user(username, first_name=name)
    raise ValueError(f"a thousand people are called {name}")


def revoke(queue: "Queue", pk: int, who: User) -> bool:
    """Take an invitation back. False when it was used, taken back or over already."""
    if waiting(queue).filter(pk=pk).update(revoked_at=timezone.now()) != 1:
        return False
    audit.record(queue, who, Act.REVOKED, f"invitation {pk}")
    return True


def give(queue: "Queue", person: User, role: str, who: User) -> None:
    """Give a person a role; a reader, lead or admin has one of the three."""
    with transaction.atomic():
        _give(queue, person, role, who)
        audit.record(queue, who, Act.ROLE, f"{role} to {person}")


def _give(queue: "Queue", person: User, role: str, who: User) -> None:
    if role == Role.REVIEWER:
        queue.reviewers.add(person)
        return
    held = queue.roles.filter(person=person).first()
    if held is None or RANKS.index(Role(held.role)) < RANKS.index(Role(role)):
        QueueRole.objects.update_or_create(
            queue=queue, person=person, defaults={"role": role, "given_by": who, "given_at": timezone.now()}
        )


def take(queue: "Queue", person: User, role: str, who: User) -> None:
    """Take a role away. A reviewer's reserved items go back; what was judged stays."""
    with transaction.atomic():
        if role == Role.REVIEWER:
            queue.reviewers.remove(person)
            queue.assignments.filter(reviewer=person, done_at=None).delete()
        else:
            queue.roles.filter(person=person, role=role).delete()
        audit.record(queue, who, Act.REMOVED, f"{role} from {person}")
