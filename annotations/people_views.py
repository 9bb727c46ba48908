"""Who is in a queue: roles, invitations, what was done; and the page that an invitation's link opens.

Who may see these is in annotations.access; what a role or a link is, in annotations.people.
"""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotations import audit, people
from annotations.access import OUTSIDE, is_outside, only, reaches, role_in, set_outside
from annotations.audit import Act
from annotations.models import Queue
from annotations.people import Invitation, Role
from annotations.posts import posted_from
from inference.access import is_engineer

LONGEST_DAYS = 30
_SHOWN = 100


class InvitationForm(forms.Form):
    """What a new link gives, and until when."""

    role = forms.ChoiceField(choices=Role.choices, initial=Role.REVIEWER)
    days = forms.IntegerField(min_value=1, max_value=LONGEST_DAYS, initial=7, label="Days it can be used")
    note = forms.CharField(required=False, max_length=100, label="For whom (only you see it)")
    outside = forms.BooleanField(
        required=False,
        initial=True,
        label="From outside",
        help_text="A new account then reads placeholders where personal data stands, in every queue. "
        "Who has an account already stays what they are.",
    )


class JoinForm(forms.Form):
    """A new account in one field. The link is what lets somebody in; a password is chosen later, by who wants
    to come back: somebody who waits to begin should not have to think one up.
    """

    name = forms.CharField(
        max_length=100,
        label="Your name",
        help_text="Whoever asked you sees it beside your answers.",
        widget=forms.TextInput(attrs={"autocomplete": "name", "autofocus": True}),
    )

    def clean_name(self) -> str:
        name = " ".join(self.cleaned_data["name"].split())
        if not people.sign_in_name(name):
            raise forms.ValidationError("A name has letters or digits.")
        return name

    def save(self) -> User:
        """The account: a person, in no group, without a password."""
        return people.create_person(self.cleaned_data["name"])


@require_safe
@only(Role.READER)
def queue_people(request: HttpRequest, queue: Queue) -> HttpResponse:
    """Everybody in the queue, open invitations, and what was done."""
    return render(request, "annotations/people.html", _people(request, queue, InvitationForm()))


def _people(request: HttpRequest, queue: Queue, form: InvitationForm) -> dict[str, Any]:
    role = role_in(queue, request.user)
    return {
        "queue": queue,
        "roles": queue.roles.select_related("person", "given_by").order_by("role", "person__username"),
        "reviewers": queue.reviewers.order_by("username"),
        "leads": reaches(role, Role.LEAD),
        "runs": reaches(role, Role.ADMIN),
        "outside": set(User.objects.filter(groups__name=OUTSIDE).values_list("pk", flat=True)),
        "invitations": people.waiting(queue).select_related("made_by"),
        "form": form,
        "events": queue.events.select_related("who")[:_SHOWN] if reaches(role, Role.LEAD) else [],
    }


def _may_give(request: HttpRequest, queue: Queue, role: str) -> None:
    """A lead brings reviewers and readers; only an admin makes leads and admins."""
    if role in (Role.LEAD, Role.ADMIN) and not reaches(role_in(queue, request.user), Role.ADMIN):
        raise PermissionDenied


@posted_from("queue-people", "slug")
@only(Role.LEAD)
def queue_invite(request: HttpRequest, queue: Queue) -> HttpResponse:
    """Make a link; it is shown once."""
    assert isinstance(request.user, User)
    form = InvitationForm(request.POST)
    if not form.is_valid():
        return render(request, "annotations/people.html", _people(request, queue, form), status=422)
    given = form.cleaned_data
    _may_give(request, queue, given["role"])
    # Nobody lets others see what they may not see themselves.
    given["outside"] = given["outside"] or is_outside(request.user)
    token = people.invite(
        queue, request.user, given["role"], given["days"], given["note"], outside=given["outside"]
    )
    context = _people(request, queue, InvitationForm()) | {
        "link": request.build_absolute_uri(reverse("join", args=[token])),
        "given": given,
    }
    return render(request, "annotations/people.html", context)


@require_POST
@only(Role.LEAD)
def queue_uninvite(request: HttpRequest, queue: Queue, pk: int) -> HttpResponse:
    """Take a link back."""
    assert isinstance(request.user, User)
    if people.revoke(queue, pk, request.user):
        messages.success(request, "Taken back. The link opens nothing now.")
    else:
        messages.warning(request, "Nothing was taken back: the invitation was used or over already.")
    return redirect("queue-people", queue.slug)


@require_POST
@only(Role.LEAD)
def queue_remove(request: HttpRequest, queue: Queue, pk: int) -> HttpResponse:
    """Take a role away. Nobody takes their own last way in by mistake: an admin can't remove themselves."""
    assert isinstance(request.user, User)
    role = request.POST.get("role", "")
    if role not in Role.values:
        raise PermissionDenied
    _may_give(request, queue, role)
    person = get_object_or_404(User, pk=pk)
    if person == request.user and role == Role.ADMIN:
        messages.warning(request, "You run this queue: somebody else must take that from you.")
    else:
        people.take(queue, person, role, request.user)
        messages.success(request, f"{person.get_full_name() or person.username} is no {role} of it any more.")
    return redirect("queue-people", queue.slug)


@require_POST
@only(Role.READER)
def queue_outside(request: HttpRequest, queue: Queue, pk: int) -> HttpResponse:
    """Say that somebody is from outside, or of the house: it holds in every queue, so it is an engineer's."""
    assert isinstance(request.user, User)
    if not is_engineer(request.user):
        raise PermissionDenied
    person = get_object_or_404(User, pk=pk)
    outside = request.POST.get("outside") == "yes"
    name = person.get_full_name() or person.username
    set_outside(person, outside=outside)
    audit.record(queue, request.user, Act.ROLE if outside else Act.REMOVED, f"from outside, {person}")
    reads = "placeholders where personal data stands" if outside else "everything, as it is"
    messages.success(request, f"{name} reads {reads}, in every queue.")
    return redirect("queue-people", queue.slug)


@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HttpRequest, token: str) -> HttpResponse:
    """What an invitation is for, and a button that takes it; a stranger gets an account with it.

    Opening it uses nothing up: mail programs look at links before people do.
    """
    found = people.invitation(token)
    if found and request.user == found.used_by:
        return redirect(_landing(found))
    if found is None or not found.is_usable:
        return _refused(request, found)
    known = isinstance(request.user, User)
    form = None if known else JoinForm(request.POST or None)
    if request.method == "POST" and (form is None or form.is_valid()):
        person = _taken(request, found, form)
        if person is None:
            return _refused(request, people.invitation(token))
        return redirect(_landing(found))
    status = 422 if form is not None and form.errors else 200
    context = {"invitation": found, "queue": found.queue, "form": form, "token": token}
    return render(request, "annotations/join.html", context, status=status)


def _refused(request: HttpRequest, found: Invitation | None) -> HttpResponse:
    """Says which of the reasons it is to whoever holds the link."""
    return render(request, "annotations/join_refused.html", {"invitation": found}, status=410)


def _taken(request: HttpRequest, found: Invitation, form: JoinForm | None) -> User | None:
    """Who joined; None, and no account, when somebody else used the link meanwhile."""
    if form is None:
        assert isinstance(request.user, User)
        return request.user if people.accept(found, request.user) else None
    with transaction.atomic():
        person = form.save()
        set_outside(person, outside=found.outside)
        if not people.accept(found, person):
            transaction.set_rollback(True)
            return None
    login(request, person, backend="django.contrib.auth.backends.ModelBackend")
    return person


def _landing(found: Invitation) -> str:
    name = "review" if found.role == Role.REVIEWER else "queue"
    return reverse(name, args=[found.queue.slug])
