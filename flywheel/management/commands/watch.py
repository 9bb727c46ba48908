"""python manage.py watch: see how engines, GPUs and spools do, until ended."""

import logging
import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from flywheel.watch import Watch


class Command(BaseCommand):
    help = "Watch engines, GPUs and spools until SIGTERM or SIGINT."

    def handle(self, *args: Any, **options: Any) -> None:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        Watch().run(stopping)
