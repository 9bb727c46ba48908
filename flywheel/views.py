"""Pages that belong to no stage of the wheel: signing in, the glossary, settings, search, health, errors."""

import zoneinfo
from typing import Any

from django.contrib import messages
from django.contrib.auth import login, logout
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import get_template
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from flywheel import finding, losses, signin
from flywheel.context import THEMES, alarms
from flywheel.glossary import WORDS
from inference.access import engineer_required, is_engineer

YEAR = 365 * 86400


def sign_in(request: HttpRequest) -> HttpResponse:
    """Ask for name and password; then to the page wanted, or the one of the person's role."""
    if isinstance(request.user, User):
        return redirect(signin.wanted(request, request.user))
    form = AuthenticationForm(request, data=request.POST or None)
    if request.method == "POST" and form.is_valid():
        login(request, form.get_user())
        return redirect(signin.wanted(request, form.get_user()))
    context = {
        "form": form,
        "next": request.POST.get("next") or request.GET.get("next", ""),
        "signed_out": "out" in request.GET,
    }
    return render(request, "registration/sign_in.html", context, status=422 if form.errors else 200)


@require_GET
def sign_in_link(request: HttpRequest, token: str) -> HttpResponse:
    """Sign in the one person a link was made for: once, within its time, from this machine."""
    if not signin.from_this_machine(request):
        return render(request, "registration/link_refused.html", {"elsewhere": True}, status=403)
    user = signin.redeem(token)
    if user is None:
        return render(request, "registration/link_refused.html", status=410)
    login(request, user)
    return redirect(signin.landing(user))


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session; GET is not allowed, so that no picture or link can do it.

    The page after it empties what the browser kept of the person's work. Who has no password yet could not
    come back, and is asked first.
    """
    user = request.user
    if isinstance(user, User) and not user.has_usable_password() and "without" not in request.POST:
        return redirect(reverse("password") + "?leaving")
    logout(request)
    return redirect(reverse("sign-in") + "?out")


@require_GET
def words(request: HttpRequest) -> HttpResponse:
    """The glossary; open to everyone, since the sign-in page uses its words too."""
    for_reviewers = [word for word in WORDS if word.to_reviewers]
    shown = WORDS if is_engineer(request.user) else for_reviewers
    return render(request, "flywheel/words.html", {"words": shown})


@login_required
def settings(request: HttpRequest) -> HttpResponse:
    """Theme and time zone, kept in this browser; both are read before the page is drawn."""
    zones = sorted(zoneinfo.available_timezones())
    if request.method != "POST":
        zone = request.COOKIES.get("tz", "UTC")
        return render(
            request, "flywheel/settings.html", {"zones": zones, "zone": zone, "keys": _keys(request)}
        )
    response = redirect("settings")
    _keep(response, "theme", request.POST.get("theme", ""), THEMES)
    _keep(response, "tz", request.POST.get("zone", ""), zones)
    messages.success(request, "Saved in this browser.")
    return response


def _keys(request: HttpRequest) -> list[tuple[str, list[tuple[str, str]]]]:
    """Keys of the pages that the person has."""
    return KEYS if is_engineer(request.user) else [each for each in KEYS if each[0] != "Exchanges"]


def _keep(response: HttpResponse, name: str, value: str, allowed: Any) -> None:
    if value in allowed:
        response.set_cookie(name, value, max_age=YEAR, samesite="Lax")
    else:
        response.delete_cookie(name)


KEYS = [
    ("Everywhere", [("/", "go to the search box"), ("Esc", "close what floats")]),
    (
        "An answer's pieces",
        [
            ("← →", "move by one piece"),
            ("U", "next unsure piece"),
            ("Shift U", "the one before"),
            ("Enter", "keep its alternatives open"),
            ("H", "show or hide how sure"),
        ],
    ),
    (
        "Review",
        [
            ("A", "approve"),
            ("R", "reject, then a number for the reason"),
            ("C", "correct"),
            ("S", "skip"),
            ("N", "can't judge"),
            ("F", "flag personal data"),
            ("Z", "undo"),
            ("M", "note"),
            ("G", "guidelines"),
            ("?", "all keys"),
        ],
    ),
    ("Exchanges", [("J K", "next and previous row"), ("Enter", "open it")]),
]


@require_GET
@engineer_required
def search(request: HttpRequest) -> HttpResponse:
    """Straight to the one thing that is meant; else what it could be."""
    text = request.GET.get("q", "").strip()
    found = finding.find(text) if text else finding.Findings([], readable=True)
    if len(found.hits) == 1:
        return redirect(found.hits[0].url)
    context = {"text": text, "found": found, "text_filter": f'"{text}"'}
    return render(request, "flywheel/search.html", context)


@require_GET
@engineer_required
def capture(request: HttpRequest) -> HttpResponse:
    """The bar's word on whether everything is stored, and the line under it, for pages that stand open."""
    spools = losses.states()
    state = losses.capture_state(spools)
    if state is None:
        return HttpResponse(status=204)
    context = {"capture_state": state, "alarms": alarms(spools), "oob": True}
    return render(request, "parts/capture.html", context)


@require_GET
def healthz(request: HttpRequest) -> HttpResponse:
    """200 when the SQL database answers. The other processes have health checks of their own."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return HttpResponse("The database does not answer.\n", status=503, content_type="text/plain")
    return HttpResponse("ok\n", content_type="text/plain")


def server_error(request: HttpRequest) -> HttpResponse:
    """The page for a fault of ours: drawn without the database, with the id that the log has."""
    context = {"quote_id": getattr(request, "quote_id", "")}
    return HttpResponse(get_template("500.html").render(context), status=500)
