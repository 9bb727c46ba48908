"""Queues, to look at: they are run on their own pages, which write down who did what.

With a deleted queue its judgements would go, and those are never lost.
"""

from django.contrib import admin

from annotations.models import Queue
from inference.read_only import ReadOnlyAdmin


@admin.register(Queue)
class QueueAdmin(ReadOnlyAdmin):
    list_display = ("name", "slug", "state", "judgements_per_item", "created_at")
    list_filter = ("state",)
