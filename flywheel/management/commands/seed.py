"""`manage.py seed`: what the demonstration starts with."""

import json
import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotations.models import Queue
from flywheel.local import desk, seed, traffic
from flywheel.local.home import Home


class Command(BaseCommand):
    """Prints one line of JSON with what can't be read again: passwords, or sign-in links."""

    help = "People, keys, route and queue of the demonstration; running it again changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--links", action="store_true", help="only make sign-in links for both people")
        parser.add_argument(
            "--phrases", type=int, help="only send so many phrases in all, and queue the answers"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        home = Home.open(os.environ)
        if options["links"]:
            self.stdout.write(json.dumps({"links": seed.links(home)}))
        elif options["phrases"]:
            self._send(home.running() or home, options["phrases"])
        else:
            try:
                self.stdout.write(json.dumps({"passwords": seed.plant(home)}))
            except OSError as error:
                raise CommandError(str(error)) from error

    def _send(self, home: Home, count: int) -> None:
        if desk.sent(home) >= count:
            return
        self._say(f"Sending {count} phrases as product traffic")
        try:
            missing = desk.deliver(home, count, self._say).missing
        except traffic.TrafficError as error:
            raise CommandError(str(error)) from error
        if missing:
            raise CommandError(f"{len(missing)} answered exchanges are not in ClickHouse; see drain.log")
        self._say(f"  {desk.fill(Queue.objects.get(slug=seed.QUEUE), count)} answers wait in the queue")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
