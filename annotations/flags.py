"""Personal data that should not be here: who said so of which exchange, and what a lead decided."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone


class Flag(models.Model):
    """One person's word that an exchange holds personal data: until a lead finds none, or it is undone."""

    exchange_id = models.UUIDField(db_index=True)
    item = models.ForeignKey("annotations.Item", models.CASCADE, related_name="flags")
    annotation = models.OneToOneField("annotations.Annotation", models.CASCADE, related_name="flag")
    raised_at = models.DateTimeField(default=timezone.now, editable=False)
    upheld = models.BooleanField(null=True, help_text="What a lead found; null: nobody has looked yet.")
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "annotations"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.exchange_id} flagged"
