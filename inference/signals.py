"""Publishes a routing snapshot whenever a row that it is made of changes."""

from typing import Any

from django.db.models.signals import m2m_changed, post_delete, post_save

from inference import snapshots
from inference.models import ApiKey, ModelVersion, Route, RouteTarget, Upstream


def connect() -> None:
    """Begin to listen; called once, when Django is ready."""
    for model in (ApiKey, ModelVersion, Route, RouteTarget, Upstream):
        for signal in (post_save, post_delete):
            signal.connect(_publish, sender=model, dispatch_uid=f"publish {model.__name__}")
    for through in (ApiKey.routes.through, ModelVersion.upstreams.through):
        m2m_changed.connect(_publish_link, sender=through, dispatch_uid=f"publish {through.__name__}")


def _publish(**_: Any) -> None:
    snapshots.publish()


def _publish_link(action: str, **_: Any) -> None:
    if action.startswith("post_"):
        snapshots.publish()
