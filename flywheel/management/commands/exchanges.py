"""``manage.py exchanges FILTER``: what matches, a line of JSON each, by the explorer's own filter line.

Prints who asked what of which version and how it went; never what was said.
"""

from dataclasses import asdict
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference import filters, queries, readers
from inference.clickhouse import Unavailable
from inference.queries import Cursor, ExchangeSummary

_SAID = ("question", "answer")
_PAGE = 500


class Command(BaseCommand):
    help = "List exchanges that match a filter, the newest first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("filter", nargs="?", default="", help="as in the explorer; none: all")
        parser.add_argument("--limit", type=int, default=50, help="at most so many (50)")
        parser.add_argument("--count", action="store_true", help="only about how many there are")

    @readers.as_the_system()
    def handle(self, *args: Any, **options: Any) -> None:
        try:
            chosen = filters.parse(options["filter"])
            if options["count"]:
                self.stdout.write(str(queries.count(chosen)))
            else:
                self._list(chosen, options["limit"])
        except filters.FilterError as error:
            raise CommandError(f"“{error.part}”: {error.message}") from error
        except Unavailable as error:
            raise CommandError(f"The trace store does not answer: {error}") from error

    def _list(self, chosen: filters.Filter, left: int) -> None:
        before: Cursor | None = None
        while left > 0:
            page = queries.explore(chosen, before, min(left, _PAGE))
            for one in page.rows:
                self.stdout.write(_line(one))
            left, before = left - len(page.rows), page.older
            if before is None:
                return


def _line(one: ExchangeSummary) -> str:
    shown = {name: value for name, value in asdict(one).items() if name not in _SAID}
    return orjson.dumps(shown).decode()
