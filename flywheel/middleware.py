"""Page policy: the admin's own CSP, no caching of what people wrote, the reader's zone, an id to quote."""

import logging
import secrets
import zoneinfo
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.cache import patch_vary_headers

logger = logging.getLogger("flywheel.pages")


def reader_zone(request: HttpRequest) -> zoneinfo.ZoneInfo | None:
    """The zone of the reader's cookie; None when it is missing or no zone."""
    try:
        return zoneinfo.ZoneInfo(request.COOKIES["tz"])
    except (KeyError, ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return None


class PagePolicyMiddleware:
    """Set headers that depend on which page it is."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.quote_id = secrets.token_hex(4)  # type: ignore[attr-defined]
        zone = reader_zone(request)
        with timezone.override(zone or timezone.get_default_timezone()):
            response = self.get_response(request)
        patch_vary_headers(response, ["HX-Request"])
        response.headers.setdefault("Cache-Control", "no-store")
        if request.path.startswith("/admin/"):
            response._csp_replace = settings.ADMIN_CONTENT_SECURITY_POLICY  # type: ignore[attr-defined]
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Log the id that the error page shows, so that the two can be found together."""
        quote_id = getattr(request, "quote_id", "?")
        logger.error("error %s at %s", quote_id, request.path, exc_info=exception)
