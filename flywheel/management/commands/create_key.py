"""``manage.py create_key NAME``: make an API key and print its secret, which can't be read again."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from inference.models import ApiKey, Route


class Command(BaseCommand):
    help = "Make an API key and print its secret once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="whose key it is; shown with every exchange it asks")
        parser.add_argument(
            "--route", action="append", default=[], help="a route it may call (default: every)"
        )
        parser.add_argument("--days", type=int, help="days until it expires (default: never)")
        parser.add_argument(
            "--versions", action="store_true", help="may ask for version:NAME; for evaluations"
        )

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        routes = list(Route.objects.filter(name__in=options["route"]))
        missing = set(options["route"]) - {route.name for route in routes}
        if missing:
            raise CommandError(f"There is no route called {', '.join(sorted(missing))}.")
        if ApiKey.objects.filter(name=options["name"]).exists():
            raise CommandError(
                f"There is a key called {options['name']} already. A secret is shown only once."
            )
        expires = timezone.now() + timedelta(days=options["days"]) if options["days"] else None
        key = ApiKey(
            name=options["name"],
            every_route=not routes,
            expires_at=expires,
            may_call_versions=options["versions"],
        )
        secret = key.issue()
        key.save()
        key.routes.set(routes)
        self.stdout.write(secret)
