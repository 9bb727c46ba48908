"""`manage.py screenshots`: pictures of the pages for the documentation."""

import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from flywheel.local import screenshots, seed
from flywheel.local.home import ROOT, Home


class Command(BaseCommand):
    """Against a running demonstration in which the wheel was turned."""

    help = "Pictures of the pages, light and dark, wide and narrow."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", type=Path, default=ROOT / "docs" / "screenshots")

    def handle(self, *args: Any, **options: Any) -> None:
        home = Home.open(os.environ)
        home = home.running() or home
        # What needs the database comes first: the browser runs an event loop, in which Django refuses to.
        seen, links = screenshots.sights(), seed.links(home)
        try:
            screenshots.take(home, seen, links, options["to"], self.stdout.write)
        except screenshots.ScreenshotError as error:
            raise CommandError(str(error)) from error
