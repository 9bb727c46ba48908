"""Who may see and do what: the one place where roles are decided. What of the exchanges a person may read is
a right of its own (inference.reading_rights).

Three roles, by what a person came for (docs/operate.md): a *reviewer* is anyone who can sign in and sees only
queues that list them; an *engineer* (group ``engineers``) sees every page and builds, trains and evaluates;
an *operator* (staff) also changes what takes traffic, people and keys. Each includes the one before.
"""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeAlias

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import prefetch_related_objects
from django.http import HttpRequest, HttpResponseBase

from inference import readers

ENGINEERS = "engineers"
NOTHING_TO_READ = "You may read no exchanges. An administrator can give you the right."
P = ParamSpec("P")
View: TypeAlias = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def is_operator(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Staff: may change what takes traffic."""
    return isinstance(user, User) and user.is_active and user.is_staff


def is_engineer(user: AbstractBaseUser | AnonymousUser) -> bool:
    """May build, train and evaluate."""
    if not isinstance(user, User) or not user.is_active:
        return False
    if user.is_staff:
        return True
    # Once a request: a page asks this several times.
    prefetch_related_objects([user], "groups")
    return any(group.name == ENGINEERS for group in user.groups.all())


def _only(test: Callable[[AbstractBaseUser | AnonymousUser], bool]) -> Callable[[View[P]], View[P]]:
    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            if not test(request.user):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return guarded

    return decorate


def reader_required(view: View[P]) -> View[P]:
    """Send strangers to sign in; answer 403 to who may read no exchange at all."""

    def test(user: AbstractBaseUser | AnonymousUser) -> bool:
        if not readers.rights().any:
            raise PermissionDenied(NOTHING_TO_READ)
        return True

    return _only(test)(view)


def engineer_required(view: View[P]) -> View[P]:
    """Send strangers to sign in; answer reviewers 403."""
    return _only(is_engineer)(view)


def operator_required(view: View[P]) -> View[P]:
    """Send strangers to sign in; answer reviewers and engineers 403."""
    return _only(is_operator)(view)
