"""The turn of the wheel as a Django app."""

from django.apps import AppConfig


class FlywheelConfig(AppConfig):
    name = "flywheel"

    def ready(self) -> None:
        """Say what became of an exchange on its page."""
        from flywheel.pages.panels import beside  # noqa: PLC0415 - models can be read from here on only
        from inference.panels import register  # noqa: PLC0415

        register(beside)
