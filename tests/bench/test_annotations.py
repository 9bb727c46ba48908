"""The benchmark of judging keeps up with the tables."""

import pytest
from django.contrib.auth.models import User

from bench.annotations import speed

pytestmark = pytest.mark.django_db


def test_its_queue_can_be_judged() -> None:
    queue = speed.prepare(3)
    assert queue.items.filter(state="waiting").count() == 3
    assert User.objects.count() == speed.REVIEWERS
