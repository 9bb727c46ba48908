"""Whether a page may show texts of what was built from a queue: rows, cases, questions, right answers."""

from django.contrib.auth.models import AnonymousUser, User

from annotations.access import role_in
from annotations.models import Queue


def hidden_from(user: User | AnonymousUser, queue: Queue) -> bool:
    """Copies are read by whoever may read the queue that they are from."""
    return role_in(queue, user) is None
