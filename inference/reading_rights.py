"""What a person may read of the exchanges: of every route or some, with texts or numbers only.

Rights add up. Who has none reads nothing, whatever role they have. Every page is answered for the person
who asked (``ReadingMiddleware``); what comes of it in a question to the trace store:
inference.queries.asking.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, Group, User
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from inference import audit, readers
from inference.access import is_engineer, is_operator
from inference.readers import NOTHING, Reading, Rights


class ReadingRight(models.Model):
    """That somebody may read exchanges: a role, a group or one person."""

    class Role(models.TextChoices):
        ENGINEERS = "engineers", "every engineer and operator"
        OPERATORS = "operators", "every operator"

    role = models.CharField(max_length=10, choices=Role, blank=True)
    group = models.ForeignKey(Group, models.CASCADE, null=True, blank=True, related_name="+")
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="reading_rights"
    )
    every_route = models.BooleanField(
        default=False,
        help_text="Every route, also those made later and calls of a version by its name. Otherwise only the "
        "chosen ones.",
    )
    routes: "models.ManyToManyField[models.Model, models.Model]" = models.ManyToManyField(
        "inference.Route", blank=True
    )
    texts = models.BooleanField(
        default=False,
        help_text="Also what was asked and answered, and its tokens. Otherwise numbers only: when, how long, "
        "how many, how sure.",
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="a_right_is_of_one",
                condition=(
                    models.Q(group=None, person=None) & ~models.Q(role="")
                    | models.Q(role="", person=None, group__isnull=False)
                    | models.Q(role="", group=None, person__isnull=False)
                ),
            )
        ]

    def __str__(self) -> str:
        return f"{self.holder}: {'texts' if self.texts else 'numbers only'}"

    @property
    def holder(self) -> str:
        """Whose it is, in words."""
        return self.get_role_display() or str(self.group or self.person)

    def clean(self) -> None:
        """Raises ValidationError for a right of nobody, or of several."""
        if sum(map(bool, (self.role, self.group_id, self.person_id))) != 1:
            raise ValidationError("Choose one: a role, a group or a person.")


def rights_of(user: AbstractBaseUser | AnonymousUser | None) -> Rights:
    """All that somebody may read. One query, and none for who is not signed in."""
    if not isinstance(user, User) or not user.is_active:
        return NOTHING
    held = models.Q(person=user) | models.Q(group__user=user)
    if is_engineer(user):
        held |= models.Q(role=ReadingRight.Role.ENGINEERS)
    if is_operator(user):
        held |= models.Q(role=ReadingRight.Role.OPERATORS)
    rows = list(ReadingRight.objects.filter(held).values_list("texts", "every_route", "routes__name"))
    return Rights(_routes(rows), _routes([row for row in rows if row[0]]))


def _routes(rows: Sequence[tuple[bool, bool, str | None]]) -> frozenset[str] | None:
    if any(every for _, every, _ in rows):
        return None
    return frozenset(name for _, _, name in rows if name)


class ReadingMiddleware:
    """Answer every page for whoever asks, and note in one entry which exchanges' texts the page was made of.

    The entry is written before the answer leaves: what can't be noted is not shown.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with readers.reading(Reading(lambda: rights_of(request.user))) as reading:
            response = self.get_response(request)
        if reading.looked:
            assert isinstance(request.user, User)
            audit.looked(request.user, _place(request), reading.looked)
        return response


def _place(request: HttpRequest) -> str:
    found = request.resolver_match
    return (found.view_name if found else "") or request.path
