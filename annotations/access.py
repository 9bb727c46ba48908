"""Who gets into a queue's pages: by role in that queue. Engineers and operators run every queue if they may
read the texts of every route's exchanges: a queue holds copies of them. Who reads fewer needs a role in it.

To everybody else a queue's pages answer the same whether it exists or not. Reviewing is for listed reviewers
only (annotations.views), whatever else they may do. Who reads personal data masked is decided here too; how,
in annotations.masks.
"""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, prefetch_related_objects
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from annotations.models import Queue
from annotations.people import RANKS, Role
from inference import readers
from inference.access import is_engineer

OUTSIDE = "from outside"
"""The group of people who are not of the house: they read every item masked, in every queue."""
P = ParamSpec("P")
QueueView = Callable[Concatenate[HttpRequest, Queue, ...], HttpResponseBase]


def runs_every_queue(user: User | AnonymousUser) -> bool:
    """Whether a person needs no role; of whoever asks for the page, whose rights inference.readers has."""
    return is_engineer(user) and readers.rights().texts is None


def managed(user: User | AnonymousUser) -> QuerySet[Queue]:
    """Queues whose own pages the person may see."""
    if runs_every_queue(user):
        return Queue.objects.all()
    return Queue.objects.filter(roles__person=user.pk) if user.is_active else Queue.objects.none()


def role_in(queue: Queue, user: User | AnonymousUser) -> Role | None:
    """Reader, lead or admin; None for who is none of them."""
    if runs_every_queue(user):
        return Role.ADMIN
    if not user.is_active:
        return None
    held = queue.roles.filter(person=user.pk).values_list("role", flat=True).first()
    return Role(held) if held else None


def is_outside(user: User | AnonymousUser) -> bool:
    """Whether somebody is from outside, whatever else they are."""
    if not isinstance(user, User):
        return True
    # Once a request, as is_engineer does.
    prefetch_related_objects([user], "groups")
    return any(group.name == OUTSIDE for group in user.groups.all())


def set_outside(person: User, *, outside: bool) -> None:
    """Somebody is from outside from now on, or no longer."""
    group, _ = Group.objects.get_or_create(name=OUTSIDE)
    (person.groups.add if outside else person.groups.remove)(group)


def reviews_masked(queue: Queue, user: User) -> bool:
    """Whether who reviews reads the items masked: in such a queue everybody, from outside everywhere."""
    return queue.masked or is_outside(user)


def looks_masked(queue: Queue, user: User | AnonymousUser) -> bool:
    """Whether who looks at a queue's pages reads its items masked: who leads it and is not from outside sees
    them as they are.
    """
    return is_outside(user) or (queue.masked and not reaches(role_in(queue, user), Role.LEAD))


def reaches(role: Role | None, least: Role) -> bool:
    """Whether a role may do what ``least`` may."""
    return role is not None and RANKS.index(role) >= RANKS.index(least)


def only(least: Role) -> Callable[[QueueView], Callable[..., HttpResponseBase]]:
    """Give the view its queue; strangers sign in, who has a lower role or none gets 403."""

    def decorate(view: QueueView) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def guarded(request: HttpRequest, slug: str, **more: int | str) -> HttpResponseBase:
            if not isinstance(request.user, User):
                return redirect_to_login(request.get_full_path())
            queue = Queue.objects.select_related("state_changed_by").filter(slug=slug).first()
            if queue is None and runs_every_queue(request.user):
                raise Http404
            if queue is None or not reaches(role_in(queue, request.user), least):
                raise PermissionDenied
            return view(request, queue, **more)

        return guarded

    return decorate


def manager_required(view: Callable[P, HttpResponse]) -> Callable[..., HttpResponse]:
    """The list of queues: for whoever has a role in one."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        request = args[0]
        assert isinstance(request, HttpRequest)
        if not isinstance(request.user, User):
            return redirect_to_login(request.get_full_path())
        if not is_engineer(request.user) and not managed(request.user).exists():
            raise PermissionDenied
        return view(*args, **kwargs)

    return guarded
