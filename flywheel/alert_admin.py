"""Alert rules, whom to tell, and what was told. The history can only be looked at."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from flywheel.alert_models import Alert, AlertChannel, AlertCondition, AlertMessage, AlertRule
from inference.read_only import ReadOnlyAdmin


class ConditionInline(TabularInline):
    model = AlertCondition
    extra = 0
    min_num = 1
    validate_min = True


@admin.register(AlertRule)
class AlertRuleAdmin(ModelAdmin):
    """All conditions must hold at once, for the time given, on one engine, GPU or spool."""

    list_display = ("name", "severity", "when", "for_seconds", "enabled")
    list_filter = ("severity", "enabled")
    inlines = (ConditionInline,)

    @admin.display(description="when")
    def when(self, rule: AlertRule) -> str:
        return " and ".join(map(str, rule.conditions.all()))


@admin.register(AlertChannel)
class AlertChannelAdmin(ModelAdmin):
    list_display = ("name", "kind", "address", "warnings", "enabled")


class MessageInline(TabularInline):
    model = AlertMessage
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ("rule", "source", "part", "state", "since", "fired_at", "ended_at")
    list_filter = ("state", "rule")
    inlines = (MessageInline,)
