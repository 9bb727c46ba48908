"""Django's entry to this room."""

from django.apps import AppConfig


class InferenceConfig(AppConfig):
    """Listens for changes that proxies must hear of."""

    name = "inference"

    def ready(self) -> None:
        from inference import signals  # noqa: PLC0415 – models can't be imported earlier

        signals.connect()
