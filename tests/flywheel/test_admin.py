"""The admin: for staff only, secrets once, decisions never edited."""

import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from inference.models import ApiKey, ModelVersion, Route, RouteTarget, hash_key
from tests import people

pytestmark = pytest.mark.django_db


def operator() -> Client:
    client = Client()
    client.force_login(people.operator())
    return client


@pytest.mark.parametrize("who", [people.engineer, people.reviewer])
def test_only_staff_get_in(who: object) -> None:
    client = Client()
    client.force_login(who())  # type: ignore[operator]
    assert client.get(reverse("admin:index")).status_code == 302
    assert client.get(reverse("admin:inference_apikey_add")).status_code == 302


@pytest.mark.slow
@pytest.mark.parametrize("model", [m._meta.label_lower for m in admin.site._registry])
def test_every_list_and_form_opens(model: str) -> None:
    client = operator()
    name = model.replace(".", "_")
    assert client.get(reverse(f"admin:{name}_changelist")).status_code == 200
    assert client.get(reverse(f"admin:{name}_add")).status_code in (200, 403)


def test_its_clock_has_24_hours_as_all_others() -> None:
    ApiKey.objects.create(name="desk", created_at=datetime(2026, 11, 23, 18, 7, 3, tzinfo=UTC))
    page = operator().get(reverse("admin:inference_apikey_changelist")).content.decode()
    assert "23 November 2026, 18:07:03" in page


def test_a_keys_secret_is_shown_once_and_kept_nowhere() -> None:
    client = operator()
    answer = client.post(reverse("admin:inference_apikey_add"), {"name": "coding desk", "every_route": "on"})
    secrets = re.findall(r"fw-[\w-]{43}", answer.text)
    assert len(secrets) == 1
    key = ApiKey.objects.get()
    assert key.hash == hash_key(secrets[0])
    assert key.created_by is not None
    again = client.get(reverse("admin:inference_apikey_change", args=[key.pk])).text
    listed = client.get(reverse("admin:inference_apikey_changelist")).text
    assert secrets[0] not in again + listed


def test_changing_a_key_leaves_its_secret_working() -> None:
    client = operator()
    key = ApiKey(name="desk", every_route=True)
    key.issue()
    key.save()
    client.post(
        reverse("admin:inference_apikey_change", args=[key.pk]), {"name": "front desk", "every_route": "on"}
    )
    changed = ApiKey.objects.get()
    assert (changed.name, changed.hash) == ("front desk", key.hash)


def test_a_key_that_could_call_nothing_is_not_made() -> None:
    answer = operator().post(reverse("admin:inference_apikey_add"), {"name": "desk"})
    assert "this key could call nothing" in answer.text
    assert not ApiKey.objects.exists()


def test_limits_are_set_where_the_key_is_and_a_budget_without_prices_warns() -> None:
    client = operator()
    version = ModelVersion.objects.create(name="base", kind="base", weights="a" * 64)
    RouteTarget.objects.create(route=Route.objects.create(name="icd"), model_version=version)
    form = {"name": "desk", "every_route": "on", "requests_per_minute": "60", "monthly_budget": "12.50"}
    warning = "without a price: base"
    assert warning in client.post(reverse("admin:inference_apikey_add"), form).text
    key = ApiKey.objects.get()
    assert (key.requests_per_minute, key.tokens_per_minute, key.monthly_budget) == (60, None, Decimal("12.5"))
    for field in ("requests_per_minute", "tokens_per_minute", "concurrent_requests"):
        answer = client.post(reverse("admin:inference_apikey_add"), form | {"name": "x", field: "0"})
        assert "greater than or equal to 1" in answer.text
    ModelVersion.objects.update(price_out=Decimal("0.2"))
    changed = client.post(reverse("admin:inference_apikey_change", args=[key.pk]), form, follow=True)
    assert changed.status_code == 200
    assert warning not in changed.text


def test_keys_are_revoked_not_deleted() -> None:
    client = operator()
    key = ApiKey(name="desk", every_route=True)
    key.issue()
    key.save()
    listed = reverse("admin:inference_apikey_changelist")
    client.post(listed, {"action": "revoke", "_selected_action": [key.pk]})
    assert ApiKey.objects.get().revoked_at is not None
    assert client.get(reverse("admin:inference_apikey_delete", args=[key.pk])).status_code == 403


def test_correcting_targets_makes_a_new_revision() -> None:
    client = operator()
    route = Route.objects.create(name="icd")
    version = ModelVersion.objects.create(name="base", kind="base", weights="a" * 64)
    form = {
        "name": "icd", "description": "", "capture": "all", "top_k": 5, "durability": "strict",
        "disk_full": "refuse", "sticky": "session", "balance": "busy", "targets-TOTAL_FORMS": 0,
        "targets-INITIAL_FORMS": 0, "capture_rate": 1,
    }  # fmt: skip
    address = reverse("admin:inference_route_change", args=[route.pk])
    client.post(address, form | {"description": "chapters"})
    assert Route.objects.get().revision == 0
    target = {"targets-TOTAL_FORMS": 1, "targets-0-model_version": version.pk, "targets-0-weight": 100}
    client.post(address, form | target)
    assert Route.objects.get().revision == 1
    assert Route.objects.get().targets.get().model_version == version


@pytest.mark.parametrize("model", ["flywheel_rollout", "flywheel_job"])
def test_what_was_decided_or_done_can_only_be_looked_at(model: str) -> None:
    assert operator().get(reverse(f"admin:{model}_add")).status_code == 403
