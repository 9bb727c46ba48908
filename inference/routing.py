"""An immutable snapshot of keys, routes and targets, and the choice of a target. Pure.

inference.snapshots makes snapshots from what people decided; inference.follower brings them here.
"""

import random
import zlib
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Self

VERSION_PREFIX = "version:"


class UnknownModelError(LookupError):
    """No route of this name, or none that this key may call."""


@dataclass(frozen=True, slots=True)
class Key:
    """Who calls, and what they may."""

    id: int
    name: str
    routes: frozenset[str] | None
    """None: every route."""
    expires_at: float | None
    """Unix seconds."""
    may_call_versions: bool


@dataclass(frozen=True, slots=True)
class Upstream:
    """An engine."""

    name: str
    base_url: str
    secret_env: str
    logprobs_mode: str


@dataclass(frozen=True, slots=True)
class Version:
    """Weights, and the engines that serve them."""

    name: str
    weights: str
    base_weights: str
    tokenizer: str
    kind: str
    upstreams: tuple[Upstream, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A share of a route's traffic; shares are relative."""

    version: Version
    weight: int


@dataclass(frozen=True, slots=True)
class Route:
    """A public model name."""

    name: str
    targets: tuple[Target, ...]
    capture: str = "all"
    top_k: int = 5
    durability: str = "strict"
    disk_full: str = "refuse"
    revision: int = 0
    created: int = 0
    """Unix seconds."""

    def pick(self, sticky: str = "") -> Version:
        """A version, as likely as its weight; the same one for the same ``sticky`` while weights stay."""
        total = sum(target.weight for target in self.targets)
        if total <= 0:
            raise UnknownModelError(f"The route '{self.name}' has no target that takes traffic.")
        share = zlib.crc32(f"{self.name}\n{sticky}".encode()) / 2**32 if sticky else random.random()  # noqa: S311
        point = share * total
        for target in self.targets:
            point -= target.weight
            if point < 0:
                return target.version
        return next(target.version for target in reversed(self.targets) if target.weight > 0)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a proxy needs to know, as of one moment."""

    number: int = 0
    keys: dict[str, Key] = field(default_factory=dict)
    """By the SHA-256 of the secret."""
    routes: dict[str, Route] = field(default_factory=dict)
    versions: dict[str, Version] = field(default_factory=dict)

    @classmethod
    def parse(cls, found: dict[str, Any]) -> Self:
        """From the JSON that inference.snapshots makes. Raises KeyError, TypeError or ValueError."""
        upstreams = {
            name: Upstream(name, one["base_url"].rstrip("/"), one["secret_env"], one["logprobs_mode"])
            for name, one in found["upstreams"].items()
        }
        versions = {
            name: Version(
                name,
                one["weights"],
                one["base_weights"],
                one["tokenizer"],
                one["kind"],
                tuple(upstreams[upstream] for upstream in one["upstreams"]),
            )
            for name, one in found["versions"].items()
        }
        routes = {
            name: Route(
                name,
                tuple(Target(versions[target["version"]], target["weight"]) for target in one["targets"]),
                one["capture"],
                one["top_k"],
                one["durability"],
                one["disk_full"],
                one["revision"],
                one["created"],
            )
            for name, one in found["routes"].items()
        }
        keys = {
            digest: Key(
                one["id"],
                one["name"],
                None if one["routes"] is None else frozenset(one["routes"]),
                one["expires_at"],
                one["may_call_versions"],
            )
            for digest, one in found["keys"].items()
        }
        return cls(found["version"], keys, routes, versions)

    def authorise(self, secret: str, now: float) -> Key | None:
        """The key that ``secret`` is, unless it has expired. ``now`` in unix seconds."""
        key = self.keys.get(sha256(secret.encode()).hexdigest())
        return None if key is None or (key.expires_at is not None and key.expires_at <= now) else key

    def routes_for(self, key: Key) -> list[Route]:
        """The routes that a key may call, by name."""
        return sorted(
            (route for name, route in self.routes.items() if key.routes is None or name in key.routes),
            key=lambda route: route.name,
        )

    def route(self, key: Key, model: str) -> Route:
        """What ``model`` in a request means for a key. Raises UnknownModelError."""
        if model.startswith(VERSION_PREFIX) and key.may_call_versions:
            version = self.versions.get(model.removeprefix(VERSION_PREFIX))
            if version is not None:
                return Route(model, (Target(version, 1),))
        found = self.routes.get(model)
        if found is None or (key.routes is not None and model not in key.routes):
            raise UnknownModelError(f"The model '{model}' does not exist or this key may not call it.")
        return found
