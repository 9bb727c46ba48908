"""`manage.py turn`: the whole wheel once, unattended."""

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from flywheel.local.home import Home
from flywheel.local.turn import Size, Turn, TurnError


class Command(BaseCommand):
    """Prints progress, one table, and one line of JSON; fails when a stage did not do its work."""

    help = "Turn the wheel once against the running demonstration, judged by the reference reviewer."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--train", type=int, default=Size.train, help="rows to learn from")
        parser.add_argument("--exam", type=int, default=Size.exam, help="rows of the exam")

    def handle(self, *args: Any, **options: Any) -> None:
        home = Home.open(os.environ)
        turn = Turn(home.running() or home, Size(options["train"], options["exam"]), self._say)
        try:
            card = turn.run()
        except TurnError as error:
            raise CommandError(str(error)) from error
        self._say(f"\n{card.table()}\n")
        self._say(card.json_line())

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
