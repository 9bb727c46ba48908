"""``manage.py sign_in_link NAME``: print a link that signs NAME in once, soon, and from this machine only."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from flywheel import signin


class Command(BaseCommand):
    help = "Print a link that signs one person in once, within 15 minutes, from this machine only."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="who is signed in")
        parser.add_argument("--base", default="", help="address of web, for example http://127.0.0.1:8000")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["name"], is_active=True).first()
        if user is None:
            raise CommandError(f"Nobody active is called {options['name']}.")
        self.stdout.write(options["base"].rstrip("/") + signin.make_link(user))
