"""``manage.py erase_user``: erase one user's data everywhere. The id is read from standard input, so that it
stands in no shell's history and no list of processes.
"""

import secrets
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from flywheel import erasure, jobs
from flywheel.models import Job
from flywheel.tasks import WORK


class Command(BaseCommand):
    help = "Erase the data of the user whose id stands on standard input; print the receipt."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--here", action="store_true", help="do it in this process instead of leaving it to a worker"
        )
        parser.add_argument("--resume", type=int, help="take up the erasure of this number instead")

    def handle(self, *args: Any, **options: Any) -> None:
        job = self._resumed(options["resume"]) if options["resume"] else self._begun()
        if options["here"]:
            jobs.run(job.pk, WORK)
        job.refresh_from_db()
        self._tell(job)

    def _begun(self) -> Job:
        try:
            return erasure.start(sys.stdin.readline().rstrip("\n"), secrets.token_urlsafe(24), None).job
        except jobs.RefusedError as error:
            raise CommandError(str(error)) from error

    def _resumed(self, number: int) -> Job:
        job = Job.objects.filter(erasure=number).first()
        if job is None:
            raise CommandError(f"There is no erasure {number}.")
        jobs.resume(job)
        return job

    def _tell(self, job: Job) -> None:
        one = job.erasure
        one.refresh_from_db()
        self.stdout.write(f"{one}: {job.get_state_display()}. {job.error or job.message}")
        for place, number in one.counts.items():
            self.stdout.write(f"{number:>10,}  {place}")
        for kind, names in one.used.items():
            self.stdout.write(f"{kind}: {', '.join(names)}")
        if job.state == Job.State.FAILED:
            raise CommandError("It is not done. Resume it: manage.py erase_user --resume N --here")
