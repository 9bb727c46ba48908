"""Django's entry to this room."""

from django.apps import AppConfig


class InferenceConfig(AppConfig):
    """Listens for changes that proxies must hear of."""

    name = "inference"

    def ready(self) -> None:
        from inference import lookups, signals  # noqa: PLC0415 – models can't be imported earlier
        from inference.models import ModelVersion  # noqa: PLC0415

        signals.connect()
        lookups.know_prices(ModelVersion.prices)
