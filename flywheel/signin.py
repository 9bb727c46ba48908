"""Where a person lands after signing in, and links that sign one person in once, from this machine only.

Knows nothing of pages. A link's secret is never kept: only its hash, like an API key's.
"""

import hashlib
import ipaddress
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

from flywheel.models import SignInLink
from inference.access import is_engineer

LIFETIME = timedelta(minutes=15)


def landing(user: User) -> str:
    """The first page by role: the wheel for who turns it, the queue for who judges."""
    return reverse("overview") if is_engineer(user) else reverse("review-home")


def wanted(request: HttpRequest, user: User) -> str:
    """Where someone was going when asked to sign in, if that is a page of this site."""
    to = request.POST.get("next") or request.GET.get("next") or ""
    safe = url_has_allowed_host_and_scheme(to, {request.get_host()}, require_https=request.is_secure())
    return to if safe and to != "/" else landing(user)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def make_link(user: User) -> str:
    """Return the path of a new link for an active person."""
    token = secrets.token_urlsafe(32)
    SignInLink.objects.create(user=user, hash=_hash(token), expires_at=timezone.now() + LIFETIME)
    return reverse("sign-in-link", args=[token])


def redeem(token: str) -> User | None:
    """The person of an unused, unexpired link, once: of two who race, one gets None."""
    now = timezone.now()
    link = SignInLink.objects.filter(hash=_hash(token), user__is_active=True)
    if link.filter(used_at=None, expires_at__gt=now).update(used_at=now) != 1:
        return None
    return link.select_related("user").get().user


def from_this_machine(request: HttpRequest) -> bool:
    """Whether the client itself is here. A forwarded request is not: its address is only the forwarder's."""
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
