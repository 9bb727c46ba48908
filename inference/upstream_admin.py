"""Engines in the admin: their addresses, how they are watched, and what they say of themselves."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet, URLField
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from unfold.admin import ModelAdmin

from inference import mode_checks, told
from inference.models import Upstream

_SAYS_WHERE = {"base_url", "secret_env", "logprobs_mode"}
"""Fields after whose change the engine is asked for its mode."""


@admin.register(Upstream)
class UpstreamAdmin(ModelAdmin):
    """An engine is asked for its logprobs mode when it is saved, and whenever somebody wants to know."""

    list_display = ("name", "base_url", "logprobs_mode", "mode", "enabled")
    list_filter = ("enabled",)
    actions: ClassVar = ["check_mode"]
    readonly_fields = ("mode", "capture")
    fieldsets = (
        (None, {"fields": ("name", "base_url", "secret_env", "logprobs_mode", "prompt_logprobs", "enabled")}),
        ("How it is watched", {"fields": ("metrics_url", "gpu_metrics_url", "gpus", "price_an_hour")}),
        ("What it says", {"fields": readonly_fields}),
    )

    # An engine beside the proxy speaks plain HTTP; one without a scheme is meant so.
    formfield_overrides: ClassVar = {URLField: {"assume_scheme": "http"}}

    @admin.display(description="tokens")
    def capture(self, engine: Upstream) -> str:
        """Asked of the engine when its page is opened; the proxies ask for themselves, every few seconds."""
        return told.words(engine.base_url) if engine.base_url else "–"

    @admin.display(description="mode found")
    def mode(self, engine: Upstream) -> str:
        """What the last check found; a contradiction with what to do about it."""
        if engine.found_at is None:
            return "not checked"
        when = date_format(timezone.localtime(engine.found_at), "DATETIME_FORMAT")
        if not engine.found_mode:
            return f"not known: {engine.found_why} ({when})"
        what = f"▲ {engine.contradiction}" if engine.contradiction else f"✓ {engine.found_mode}"
        return f"{what} ({when})"

    @admin.action(description="Check logprobs mode: asks the engine for a few tokens", permissions=["change"])
    def check_mode(self, request: HttpRequest, engines: QuerySet[Upstream]) -> None:
        """Ask the chosen ones, all at once, and say what was found."""
        self._check(request, list(engines))

    def save_model(self, request: HttpRequest, obj: Upstream, form: Any, change: bool) -> None:
        """Asked when it is saved, and no lock is held while an engine is waited for."""
        super().save_model(request, obj, form, change)
        if not change or _SAYS_WHERE & set(form.changed_data):
            transaction.on_commit(partial(self._check, request, [obj]))

    def _check(self, request: HttpRequest, engines: Sequence[Upstream]) -> None:
        mode_checks.check(engines)
        for engine in engines:
            words, level = _words(engine)
            self.message_user(request, f"{engine.name}: {words}", level)


def _words(engine: Upstream) -> tuple[str, int]:
    """What was found, and how loudly to say it."""
    if engine.contradiction:
        return engine.contradiction, messages.ERROR
    if not engine.found_mode:
        return f"its logprobs mode is not known: {engine.found_why}.", messages.WARNING
    return f"it gives {engine.found_mode}, as declared: {engine.found_why}.", messages.SUCCESS
