"""The app, and what it tells other rooms when it is ready."""

from django.apps import AppConfig


class AnnotationsConfig(AppConfig):
    name = "annotations"
    verbose_name = "Judgements"

    def ready(self) -> None:
        from annotations import adjudications, golds, labels, panels, uses  # noqa: PLC0415 - models exist only now

        labels.connect()
        panels.connect()
        uses.register(adjudications.used)
        uses.register(golds.used)
