"""Queues, to look at: they are run on their own pages, which write down who did what.

Nothing is changed or deleted here. With a queue its judgements would go, and those are never lost.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from annotations.models import Queue


@admin.register(Queue)
class QueueAdmin(ModelAdmin):
    list_display = ("name", "slug", "state", "judgements_per_item", "created_at")
    list_filter = ("state",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
