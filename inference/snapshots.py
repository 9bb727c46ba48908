"""Routing snapshots: what people decided about serving, as one numbered value for the proxies.

Every change publishes: the number grows in the change's own transaction, so that whoever sees the number sees
the change. Proxies wait for the number at an internal address (inference.internal); how they read a snapshot
is in inference.routing.
"""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from inference.models import ApiKey, ModelVersion, Proxy, Route, RoutingVersion, Upstream


def publish() -> int:
    """Tell the proxies that something changed; call it in the transaction that changes it.

    Saves and deletes of the models here do so by themselves (inference.signals); bulk updates do not.
    Returns the new number.
    """
    RoutingVersion.objects.get_or_create(pk=1)
    RoutingVersion.objects.filter(pk=1).update(number=F("number") + 1, changed_at=timezone.now())
    return number()


def number() -> int:
    """The newest snapshot's number; 0 before anything was decided."""
    return RoutingVersion.objects.filter(pk=1).values_list("number", flat=True).first() or 0


def build() -> dict[str, Any]:
    """The snapshot of now, as JSON values."""
    with transaction.atomic():
        # Read first: what changes while the rest is read has a later number, and will be asked for.
        version = number()
        return {
            "version": version,
            "keys": {
                key.hash: _key(key)
                for key in ApiKey.objects.prefetch_related("routes")
                if key.revoked_at is None
            },
            "routes": {
                route.name: _route(route)
                for route in Route.objects.prefetch_related("targets__model_version")
            },
            "versions": {
                version.name: _version(version)
                for version in ModelVersion.objects.select_related("base").prefetch_related("upstreams")
            },
            "upstreams": {
                upstream.name: {
                    "base_url": upstream.base_url,
                    "secret_env": upstream.secret_env,
                    "logprobs_mode": upstream.logprobs_mode,
                    "prompt_logprobs": upstream.prompt_logprobs,
                }
                for upstream in Upstream.objects.filter(enabled=True)
            },
        }


def heard_from(name: str, version: int) -> None:
    """Note that a proxy follows a snapshot."""
    now = timezone.now()
    if not Proxy.objects.filter(name=name, version=version).update(seen_at=now):
        Proxy.objects.update_or_create(
            name=name, defaults={"version": version, "applied_at": now, "seen_at": now}
        )


def _key(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.pk,
        "name": key.name,
        "routes": None if key.every_route else [route.name for route in key.routes.all()],
        "expires_at": _seconds(key.expires_at),
        "may_call_versions": key.may_call_versions,
        "limits": _limits(key),
    }


def _limits(key: ApiKey) -> dict[str, int]:
    """Those that are set; money in nano-dollars."""
    budget = key.monthly_budget
    found = {
        "requests": key.requests_per_minute,
        "tokens": key.tokens_per_minute,
        "concurrent": key.concurrent_requests,
        "budget": None if budget is None else int(budget * 10**9),
    }
    return {name: value for name, value in found.items() if value is not None}


def _route(route: Route) -> dict[str, Any]:
    return {
        "capture": route.capture,
        "capture_rate": route.capture_rate,
        "mask": route.mask,
        "top_k": route.top_k,
        "durability": route.durability,
        "disk_full": route.disk_full,
        "revision": route.revision,
        "created": int(route.created_at.timestamp()),
        "sticky": route.sticky,
        "balance": route.balance,
        "targets": [
            {"version": target.model_version.name, "weight": target.weight, "most": target.most_in_flight}
            for target in route.targets.all()
        ],
    }


def _version(version: ModelVersion) -> dict[str, Any]:
    return {
        "weights": version.weights,
        "base_weights": version.base.weights if version.base else version.weights,
        "tokenizer": version.tokenizer or (version.base.tokenizer if version.base else ""),
        "kind": version.kind,
        "upstreams": [upstream.name for upstream in version.upstreams.all() if upstream.enabled],
        "price_in": version.nano_price("price_in"),
        "price_out": version.nano_price("price_out"),
    }


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
