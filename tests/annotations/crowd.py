"""Eight reviewers judge 24 items at once until nothing waits, on the database that the environment names.

Run as a program by test_leases_threads, so that it has the settings' own connections. While they work, one
thread keeps ending every lease, so that places change hands all the time. Ends with what came of it.
"""

# ruff: noqa: E402 - models can only be imported after setup()

import os
import sys
import threading
import time
import uuid
from datetime import timedelta

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flywheel.settings")

import django

django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from annotations import judging, leases
from annotations.judging import Judgement, Lost
from annotations.models import Annotation, Assignment, Item, Queue

ITEMS, PEOPLE = 24, 8


def review(queue: Queue, person: User, taken: list[str], faults: list[BaseException]) -> None:
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            places = leases.reserve(Queue.objects.get(pk=queue.pk), person)
            if not places and not waiting(queue, person):
                return
            for place in places:
                try:
                    judging.judge(place.item, person, place.key, Judgement("approve"))
                    judging.judge(place.item, person, place.key, Judgement("approve"))
                except Lost:
                    continue
                taken.append(place.key)
    except BaseException as fault:  # told to the test
        faults.append(fault)
    finally:
        connection.close()


def waiting(queue: Queue, person: User) -> bool:
    return (
        Item.objects.filter(queue=queue, state=Item.State.WAITING)
        .exclude(annotations__reviewer=person)
        .exists()
    )


def end_leases(stop: threading.Event) -> None:
    while not stop.wait(0.05):
        Assignment.objects.filter(done_at=None).update(leased_until=timezone.now() - timedelta(seconds=1))
    connection.close()


def main(per_item: int) -> None:
    call_command("migrate", verbosity=0)
    people = [User.objects.create(username=f"person{n}") for n in range(PEOPLE)]
    queue = Queue.objects.create(slug="crowd", name="Crowd", judgements_per_item=per_item)
    queue.reviewers.add(*people)
    now = timezone.now()
    Item.objects.bulk_create(
        Item(queue=queue, exchange_id=uuid.uuid4(), started_at=now, messages=[], answer="A", position=n)
        for n in range(ITEMS)
    )
    taken: list[str] = []
    faults: list[BaseException] = []
    stop = threading.Event()
    ender = threading.Thread(target=end_leases, args=[stop])
    crowd = [threading.Thread(target=review, args=[queue, person, taken, faults]) for person in people]
    for thread in (ender, *crowd):
        thread.start()
    for thread in crowd:
        thread.join()
    stop.set()
    ender.join()
    if faults:
        raise faults[0]
    stored = set(Annotation.objects.values_list("key", flat=True))
    assert stored == set(taken), "what was taken and what is stored differ"
    assert len(taken) == len(stored), "a judgement counted twice"
    places = Assignment.objects.exclude(done_at=None).values_list("item", "slot")
    assert len(places) == len(set(places)) == len(stored), "a place was shared"
    decided = Item.objects.exclude(state=Item.State.WAITING).count()
    print(f"{len(stored)} judgements, {decided} items decided")


if __name__ == "__main__":
    main(int(sys.argv[1]))
