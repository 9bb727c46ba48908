"""The standing cast: Alice leads and reviews, Bob reviews too, Carol is an engineer, Mallory a stranger."""

import uuid
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from annotations.models import Item, Queue
from tests import people

LABELS = ["Circulatory", "Digestive", "Respiratory", "Skin"]


def person(name: str) -> User:
    return User.objects.create_user(name, f"{name}@example.org", people.PASSWORD)


@pytest.fixture
def alice(db: None) -> User:
    return person("alice")


@pytest.fixture
def bob(db: None) -> User:
    return person("bob")


@pytest.fixture
def carol(db: None) -> User:
    return people.engineer("carol")


@pytest.fixture
def mallory(db: None) -> User:
    return person("mallory")


MakeQueue = Callable[..., Queue]


def fill(queue: Queue, count: int) -> list[Item]:
    """Put ``count`` questions into the queue, each answered "Respiratory" by the model."""
    first = queue.items.count()
    return Item.objects.bulk_create(
        Item(
            queue=queue,
            exchange_id=uuid.uuid4(),
            started_at=timezone.now(),
            messages=[
                {"role": "system", "content": "ICD-10-CM chapter desk."},
                {"role": "user", "content": f"wheezing, case {first + i + 1}"},
            ],
            answer="Respiratory",
            position=first + i,
        )
        for i in range(count)
    )


@pytest.fixture
def make_queue(alice: User, bob: User) -> MakeQueue:
    def make(items: int = 5, **fields: object) -> Queue:
        defaults: dict[str, object] = {
            "slug": "chapters",
            "name": "Chapters",
            "answers": LABELS,
            "reasons": ["Wrong chapter", "Not one answer"],
            "guidelines": "Choose the **chapter** the phrase belongs to.",
        }
        queue = Queue.objects.create(**(defaults | fields))
        queue.reviewers.add(alice, bob)
        fill(queue, items)
        return queue

    return make
