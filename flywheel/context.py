"""What every page's frame shows: the bar by role, what waits, whether exchanges are being stored, the theme.

A few indexed counts a page. Leaves who may see what to inference.access.
"""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.urls import reverse

from annotations import flagging
from annotations.models import Item, Queue
from flywheel import alerts, losses
from inference import readers
from inference.access import is_engineer, is_operator

THEMES = ("light", "dark")


@dataclass(frozen=True, slots=True)
class NavItem:
    """One word of the bar. ``waiting`` shows unless zero; ``waits`` says what it counts."""

    label: str
    url: str
    current: bool = False
    waiting: int = 0
    waits: str = ""


# Label, address name, and the address prefixes at which it is the current one: the order of the wheel.
STAGES = (
    ("Overview", "overview", ("/",)),
    ("Exchanges", "exchanges", ("/exchanges/", "/sessions/")),
    ("Review", "review-home", ("/review/", "/queues/")),
    ("Datasets", "datasets", ("/datasets/",)),
    ("Training", "training", ("/training/",)),
    ("Evaluations", "evaluations", ("/evaluations/",)),
    ("Rollouts", "rollouts", ("/rollouts/", "/routes/")),
    ("Engine room", "engine-room", ("/engine/",)),
)


def waiting_items(user: User) -> int:
    """Items that wait for a judgement in open queues that list the person: nobody else can judge them."""
    queues = Queue.objects.visible_to(user).filter(state=Queue.State.OPEN)
    return Item.objects.filter(queue__in=queues, state=Item.State.WAITING).count()


def _is_current(path: str, prefixes: tuple[str, ...]) -> bool:
    return path in prefixes if prefixes == ("/",) else path.startswith(prefixes)


def navigation(user: User, path: str) -> list[NavItem]:
    """The bar's items for a person, in the order of the wheel."""
    engineer = is_engineer(user)
    items = []
    for label, name, prefixes in STAGES:
        if not engineer and name != "review-home" and not (name == "exchanges" and readers.rights().any):
            continue
        waiting = waiting_items(user) if name == "review-home" else 0
        items.append(
            NavItem(label, reverse(name), _is_current(path, prefixes), waiting, "waiting for review")
        )
    return items


def alarms(spools: list[losses.SpoolState]) -> list[losses.CaptureState]:
    """The lines at the top of every page: what may be lost, and what critical fires."""
    return [line for line in (losses.line(spools), alerts.line()) if line is not None]


def page(request: HttpRequest) -> dict[str, Any]:
    """Context of every template. ``theme`` is "" when the reader's system decides."""
    theme = request.COOKIES.get("theme", "")
    found: dict[str, Any] = {"theme": theme if theme in THEMES else ""}
    user: User | AnonymousUser | None = getattr(request, "user", None)
    if not isinstance(user, User) or request.headers.get("HX-Request") == "true":
        return found
    nav = navigation(user, request.path)
    current = next((item.label for item in nav if item.current), "Menu")
    engineer = is_engineer(user)
    spools = losses.states() if engineer else []
    return found | {
        "nav": nav,
        "nav_title": current,
        "is_engineer": engineer,
        "is_operator": is_operator(user),
        "flags_waiting": flagging.undecided(user).count(),
        "capture_state": losses.capture_state(spools),
        "alarms": alarms(spools) if engineer else [],
    }
