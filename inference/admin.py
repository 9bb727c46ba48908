"""Rare edits of what serves: keys, engines, versions, routes. Daily work has pages of its own.

A key's secret is shown in the answer to the form that made it, and nowhere else.
"""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.admin import ModelAdmin, TabularInline

from inference.audit import Look
from inference.models import ApiKey, ModelVersion, Proxy, Route, RouteTarget, Spool
from inference.read_only import ReadOnlyAdmin
from inference.reading_rights import ReadingRight


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """A key that could call nothing is a mistake; say so before it is made."""

    def clean(self) -> dict[str, Any]:
        found = super().clean() or {}
        if not (found.get("every_route") or found.get("routes") or found.get("may_call_versions")):
            self.add_error("routes", "Choose routes, or tick every route: this key could call nothing.")
        return found


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):
    """Keys are made and revoked, never shown again."""

    form = ApiKeyForm

    list_display = ("name", "prefix", "state", "created_by", "created_at", "expires_at")
    search_fields = ("name", "prefix")
    filter_horizontal = ("routes",)
    readonly_fields = ("prefix", "created_by", "created_at", "revoked_at")
    fieldsets = (
        (None, {"fields": ("name", "every_route", "routes", "may_call_versions", "expires_at")}),
        (
            "Limits",
            {
                "fields": (
                    "requests_per_minute",
                    "tokens_per_minute",
                    "concurrent_requests",
                    "monthly_budget",
                )
            },
        ),
        ("History", {"fields": readonly_fields}),
    )
    actions: ClassVar = ["revoke"]

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        if key.revoked_at:
            return "revoked"
        return "expired" if key.expires_at and key.expires_at <= timezone.now() else "in use"

    @admin.action(description="Revoke: proxies refuse it within seconds")
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        """One by one: each save publishes the routing anew."""
        for key in keys.filter(revoked_at=None):
            key.revoked_at = timezone.now()
            key.save(update_fields=["revoked_at"])

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user  # type: ignore[assignment]
            request.issued_secret = obj.issue()  # type: ignore[attr-defined]
        super().save_model(request, obj, form, change)
        if obj.monthly_budget is not None and (free := ModelVersion.without_price()):
            self.message_user(
                request,
                f"A budget counts nothing for versions without a price: {', '.join(free)}.",
                messages.WARNING,
            )

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "API key made",
            "key": obj,
            "secret": request.issued_secret,  # type: ignore[attr-defined]
            "opts": self.model._meta,
        }
        return TemplateResponse(request, "admin/inference/apikey/made.html", context)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Revoked instead: exchanges name the key that asked."""
        return False


@admin.register(ModelVersion)
class ModelVersionAdmin(ModelAdmin):
    list_display = ("name", "kind", "base", "short", "price_in", "price_out", "created_at")
    list_filter = ("kind",)
    search_fields = ("name", "weights")
    filter_horizontal = ("upstreams",)
    readonly_fields = ("created_at",)


class RouteTargetInline(TabularInline):
    model = RouteTarget
    extra = 0


@admin.register(Route)
class RouteAdmin(ModelAdmin):
    """Targets can be corrected here; a rollout is the way to change them, with Back."""

    list_display = ("name", "description", "sticky", "balance", "capture", "durability", "revision")
    readonly_fields = ("revision", "created_at")
    inlines = (RouteTargetInline,)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if any(formset.has_changed() for formset in formsets):
            Route.objects.filter(pk=form.instance.pk).update(revision=F("revision") + 1)


@admin.register(Proxy)
class ProxyAdmin(ModelAdmin):
    """News from the proxies; nothing here is configuration."""

    list_display = ("name", "version", "applied_at", "seen_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Spool)
class SpoolAdmin(ModelAdmin):
    """News from drains and proxies. One whose machine is gone for good, with all stored, is deleted here."""

    list_display = ("name", "heard_at", "stored_at", "unstored_since", "kept_aside", "dropped")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadingRightForm(forms.ModelForm):  # type: ignore[type-arg]
    """A right to read nothing is a mistake; say so before it is given."""

    def clean(self) -> dict[str, Any]:
        found = super().clean() or {}
        if not (found.get("every_route") or found.get("routes")):
            self.add_error("routes", "Choose routes, or tick every route: this right would read nothing.")
        return found


@admin.register(ReadingRight)
class ReadingRightAdmin(ModelAdmin):
    """Who may read which exchanges. Rights add up; who has none reads nothing."""

    form = ReadingRightForm
    list_display = ("holder", "which_routes", "depth", "created_by", "created_at")
    list_filter = ("texts", "every_route")
    search_fields = ("person__username", "group__name", "routes__name")
    autocomplete_fields = ("person",)
    filter_horizontal = ("routes",)
    readonly_fields = ("created_by", "created_at")
    fields = ("role", "group", "person", "every_route", "routes", "texts", *readonly_fields)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReadingRight]:
        found: QuerySet[ReadingRight] = super().get_queryset(request)
        return found.select_related("group", "person", "created_by").prefetch_related("routes")

    @admin.display(description="routes")
    def which_routes(self, right: ReadingRight) -> str:
        return "every route" if right.every_route else ", ".join(map(str, right.routes.all()))

    @admin.display(description="reads")
    def depth(self, right: ReadingRight) -> str:
        return "texts" if right.texts else "numbers only"

    def save_model(self, request: HttpRequest, obj: ReadingRight, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)


@admin.register(Look)
class LookAdmin(ReadOnlyAdmin):
    """Which pages gave whom texts of which exchanges. Appended by the pages; nobody edits it."""

    list_display = ("at", "who", "place", "count", "routes")
    list_filter = ("place",)
    list_select_related = ("who",)
    search_fields = ("who__username", "exchanges", "routes")
    search_help_text = "A person’s name, an exchange’s id or a route."
    date_hierarchy = "at"


# The engines are a module of their own.
from inference import upstream_admin  # noqa: E402, F401
