"""`manage.py seed`: what the demonstration starts with."""

import json
import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from flywheel.local import seed
from flywheel.local.home import Home


class Command(BaseCommand):
    """Prints one line of JSON with what can't be read again: passwords, or sign-in links."""

    help = "People, keys, route and queue of the demonstration; running it again changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--links", action="store_true", help="only make sign-in links for both people")

    def handle(self, *args: Any, **options: Any) -> None:
        home = Home.open(os.environ)
        if options["links"]:
            self.stdout.write(json.dumps({"links": seed.links(home)}))
            return
        try:
            self.stdout.write(json.dumps({"passwords": seed.plant(home)}))
        except OSError as error:
            raise CommandError(str(error)) from error
