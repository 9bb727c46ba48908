"""An immutable snapshot of keys, routes and targets, and the choice of a target. Pure.

inference.snapshots makes snapshots from what people decided; inference.follower brings them here. What a key
has used is in inference.limits, which of a version's engines is asked in inference.balance.
"""

import random
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal, Self

VERSION_PREFIX = "version:"
Sticky = Literal["session", "user", "key", "none"]
Balance = Literal["busy", "prefix"]


class UnknownModelError(LookupError):
    """No route of this name, or none that this key may call."""


class FullError(Exception):
    """Every target of a route has as many calls in flight as it may."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key may use. None: as much as it likes."""

    requests: int | None = None
    """A minute."""
    tokens: int | None = None
    """A minute, prompt and completion together."""
    concurrent: int | None = None
    """Calls in flight."""
    budget: int | None = None
    """Nano-dollars a calendar month, UTC."""


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
    limits: Limits | None = None
    """None: nothing is counted for this key."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """An engine."""

    name: str
    base_url: str
    secret_env: str
    logprobs_mode: str
    prompt_logprobs: bool = True
    """Whether it may be asked for a prompt's logprobs."""


@dataclass(frozen=True, slots=True)
class Version:
    """Weights, and the engines that serve them."""

    name: str
    weights: str
    base_weights: str
    tokenizer: str
    kind: str
    upstreams: tuple[Upstream, ...]
    price_in: int = 0
    """Nano-dollars a prompt token: a thousand times the price in dollars a million."""
    price_out: int = 0

    def cost(self, prompt: int, completion: int) -> int:
        """What a call of so many tokens costs, in nano-dollars."""
        return self.price_in * prompt + self.price_out * completion


@dataclass(frozen=True, slots=True)
class Target:
    """A share of a route's traffic; shares are relative."""

    version: Version
    weight: int
    most: int | None = None
    """Calls in flight at most, of one proxy."""


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
    sticky: Sticky = "session"
    balance: Balance = "busy"
    most: Mapping[str, int] = field(default_factory=dict)
    """Versions with a limit of calls in flight."""
    capture_rate: float = 1.0
    """The share of exchanges that are captured with their tokens."""
    mask: bool = False
    """Whether personal data is masked before an exchange is stored."""

    def stick_to(self, key: Key, user: str, session: str) -> str:
        """What stays with its version on this route; nothing: every call is drawn anew."""
        if self.sticky == "session":
            return session or user
        if self.sticky == "user":
            return user
        return str(key.id) if self.sticky == "key" else ""

    def full(self, in_flight: Mapping[tuple[str, str], int]) -> Collection[str]:
        """Versions that may take no call more; ``in_flight`` by the names of route and version."""
        return [name for name, most in self.most.items() if in_flight.get((self.name, name), 0) >= most]

    def pick(self, sticky: str = "", full: Collection[str] = ()) -> Version:
        """A version, as likely as its weight; the same one for the same ``sticky`` while weights stay.

        What would go to a ``full`` one goes to the others by their weights; nobody else's version changes.
        Raises UnknownModelError when none takes traffic, FullError when all that do are full.
        """
        if len(self.targets) == 1 and not full and self.targets[0].weight > 0:
            return self.targets[0].version
        found = _at(self._share(sticky), self.targets)
        if found is None:
            raise UnknownModelError(f"The route '{self.name}' has no target that takes traffic.")
        if found.version.name in full:
            rest = [one for one in self.targets if one.version.name not in full]
            # Another draw: those who were sent to one target have shares that lie together.
            found = _at(self._share(sticky and sticky + "\nelse"), rest)
            if found is None:
                raise FullError(f"The route '{self.name}' has as many calls in flight as it may.")
        return found.version

    def _share(self, sticky: str) -> float:
        return zlib.crc32(f"{self.name}\n{sticky}".encode()) / 2**32 if sticky else random.random()  # noqa: S311


def _at(share: float, targets: Collection[Target]) -> Target | None:
    """The target at ``share`` (from 0 to below 1) of the summed weights; None when they sum to nothing."""
    point = share * sum(target.weight for target in targets)
    last = None
    for target in targets:
        if target.weight > 0:
            point -= target.weight
            last = target
            if point < 0:
                break
    return last


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
        upstreams = {name: _upstream(name, one) for name, one in found["upstreams"].items()}
        versions = {name: _version(name, one, upstreams) for name, one in found["versions"].items()}
        routes = {name: _route(name, one, versions) for name, one in found["routes"].items()}
        keys = {digest: _key(one) for digest, one in found["keys"].items()}
        return cls(found["version"], keys, routes, versions)

    def authorise(self, secret: str, now: float) -> Key | None:
        """The key that ``secret`` is, unless it has expired. ``now`` in unix seconds."""
        key = self.keys.get(sha256(secret.encode()).hexdigest())
        return None if key is None or (key.expires_at is not None and key.expires_at <= now) else key

    def masks(self, key: Key) -> bool:
        """Whether any route that a key may call masks: then what it says beside its calls is masked, too."""
        return any(route.mask for route in self.routes_for(key))

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


# What snapshots did not always have has a default: a proxy may start from one that an older release kept.


def _upstream(name: str, one: Mapping[str, Any]) -> Upstream:
    return Upstream(
        name,
        one["base_url"].rstrip("/"),
        one["secret_env"],
        one["logprobs_mode"],
        one.get("prompt_logprobs", True),
    )


def _version(name: str, one: Mapping[str, Any], upstreams: Mapping[str, Upstream]) -> Version:
    return Version(
        name,
        one["weights"],
        one["base_weights"],
        one["tokenizer"],
        one["kind"],
        tuple(upstreams[upstream] for upstream in one["upstreams"]),
        one.get("price_in", 0),
        one.get("price_out", 0),
    )


def _route(name: str, one: Mapping[str, Any], versions: Mapping[str, Version]) -> Route:
    targets = tuple(
        Target(versions[target["version"]], target["weight"], target.get("most")) for target in one["targets"]
    )
    return Route(
        name,
        targets,
        one["capture"],
        one["top_k"],
        one["durability"],
        one["disk_full"],
        one["revision"],
        one["created"],
        one.get("sticky", "session"),
        one.get("balance", "busy"),
        {target.version.name: target.most for target in targets if target.most is not None},
        one.get("capture_rate", 1.0),
        one.get("mask", False),
    )


def _key(one: Mapping[str, Any]) -> Key:
    limits = Limits(**(one.get("limits") or {}))
    return Key(
        one["id"],
        one["name"],
        None if one["routes"] is None else frozenset(one["routes"]),
        one["expires_at"],
        one["may_call_versions"],
        None if limits == Limits() else limits,
    )
