"""The turn of the wheel as a Django app."""

from django.apps import AppConfig


class FlywheelConfig(AppConfig):
    name = "flywheel"

    def ready(self) -> None:
        """Say what became of an exchange on its page, and what was made from an item."""
        from annotations import uses  # noqa: PLC0415 - models can be read from here on only
        from flywheel.lineage import used_in  # noqa: PLC0415
        from flywheel.pages.panels import beside  # noqa: PLC0415
        from inference.panels import register  # noqa: PLC0415

        register(beside)
        uses.register(used_in)
