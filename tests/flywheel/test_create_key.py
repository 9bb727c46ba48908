"""``manage.py create_key``."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from inference.models import ApiKey, Route, hash_key

pytestmark = pytest.mark.django_db


def create(*args: str) -> str:
    out = StringIO()
    call_command("create_key", *args, stdout=out)
    return out.getvalue().strip()


def test_it_prints_the_secret_and_keeps_the_hash() -> None:
    Route.objects.create(name="icd")
    secret = create("desk", "--route", "icd", "--days", "30", "--versions")
    key = ApiKey.objects.get()
    assert key.hash == hash_key(secret)
    assert key.expires_at is not None
    assert key.may_call_versions
    assert [route.name for route in key.routes.all()] == ["icd"]


def test_a_route_that_is_not_there_makes_no_key() -> None:
    with pytest.raises(CommandError, match="no route called icd"):
        create("desk", "--route", "icd")
    assert not ApiKey.objects.exists()


def test_a_name_is_used_once() -> None:
    create("desk")
    with pytest.raises(CommandError, match="already"):
        create("desk")
