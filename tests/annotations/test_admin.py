"""The admin shows queues and changes none: what is done to one is written down on its own pages."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from annotations.models import Queue
from tests import people
from tests.annotations.conftest import MakeQueue
from tests.annotations.test_views import signed_in


@pytest.mark.django_db
def test_an_operator_looks_and_neither_changes_nor_deletes(make_queue: MakeQueue, alice: User) -> None:
    queue = make_queue(1)
    client = signed_in(people.operator())
    address = reverse("admin:annotations_queue_change", args=[queue.pk])
    page = client.get(address)
    assert page.status_code == 200
    assert 'name="_save"' not in page.content.decode()
    assert client.post(address, {"name": "Mine", "slug": "mine", "state": "closed"}).status_code == 403
    assert client.get(reverse("admin:annotations_queue_add")).status_code == 403
    gone = reverse("admin:annotations_queue_delete", args=[queue.pk])
    assert client.post(gone, {"post": "yes"}).status_code == 403
    listed = {"action": "delete_selected", "_selected_action": queue.pk, "post": "yes"}
    client.post(reverse("admin:annotations_queue_changelist"), listed)
    assert Queue.objects.get().name == "Chapters"
    assert signed_in(alice).get(address).status_code == 302
