"""Rare edits of queues. Judgements are never edited, so they are not here."""

from django.contrib import admin
from unfold.admin import ModelAdmin

from annotations.models import Queue


@admin.register(Queue)
class QueueAdmin(ModelAdmin):
    list_display = ("name", "slug", "state", "judgements_per_item", "created_at")
    list_filter = ("state",)
    filter_horizontal = ("reviewers",)
    readonly_fields = ("guidelines_version", "created_by", "created_at")
