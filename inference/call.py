"""One call: from the client's request to the answer's last byte, recorded on the way.

The order is what matters here. An exchange is opened before an engine is asked and closed after it has
answered; what tells the client that its answer is complete goes out only when the close is on disk. Whatever
ends a call early (a refusal, a broken engine, a client that leaves) is closed with its reason.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from inference import balance, capture, errors, headers, limits
from inference.allowance import Allowance, Targets
from inference.capture import Plan
from inference.counters import Counters, LimitedError
from inference.engine.tag import Tag
from inference.errors import Refusal
from inference.follower import Follower
from inference.http1.client import Client, Header
from inference.http1.failures import (
    BrokenOffError,
    ClientLeftError,
    SilentError,
    TooLargeError,
    TooSlowError,
    UnreachableError,
)
from inference.http1.request import Request
from inference.layouts import Layouts
from inference.metrics import Metrics
from inference.record import Record
from inference.relay import Relay
from inference.routing import Key, Route, Snapshot, UnknownModelError, Version
from inference.spool import Spool, SpoolFailedError
from inference.sse import StreamError, event
from inference.surfaces import Surface
from inference.surfaces.surface import MOST_LOGPROBS
from inference.upstream import Reached, Upstreams

log = logging.getLogger(__name__)
_CLIENT_LEFT = 499
_REFUSAL_SECONDS = 300.0
"""How long an engine that refused what capture adds is not asked again."""


class RefusedError(Exception):
    """The call ends with an error object of the proxy's own."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(slots=True)
class Room:
    """What all calls of a process share."""

    follower: Follower
    spool: Spool
    upstreams: Upstreams
    counters: Counters
    metrics: Metrics
    name: str
    body_limit: int
    """Bytes."""
    refusing: dict[str, float] = field(default_factory=dict)
    """Versions whose engine refused what capture adds, and until when (monotonic) it is left alone."""
    targets: Targets = field(default_factory=Targets)
    layouts: Layouts = field(default_factory=Layouts)
    most: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Versions whose engine gives fewer logprobs than usual: how many, and until when (monotonic)."""


class Call:
    """One authenticated request to an engine's path."""

    def __init__(self, room: Room, key: Key, surface: Surface, request: Request, client: Client) -> None:
        self._room, self._key = room, key
        self._asked, self._client = request, client
        self._surface = surface
        self._context = headers.context(request.headers)
        self._record = Record(
            room.spool,
            room.metrics,
            key=key,
            surface=self._surface,
            context=self._context,
            proxy=room.name,
        )
        self._allowance = Allowance(room.counters, room.targets, key)
        self._request = b""
        self._model = ""
        self._prefix = b""
        self._planned: tuple[dict[str, Any], Route, Version, str]
        """What the plan was made of. No function that knows the call: that would be a cycle."""

    async def serve(self) -> None:
        """Answer, whatever happens."""
        try:
            await self._answer()
        except ClientLeftError:
            self._request = self._asked.received
            await self._record_refusal(Refusal(_CLIENT_LEFT, "", "", "", end_reason="client_left"))
        except asyncio.CancelledError:
            if self._record.is_complete and self._asked.left:
                await self._record.add("client_left")
            await self._record.close(self._why_cancelled(), _CLIENT_LEFT, durable=False)
            if not self._asked.left:
                raise
        finally:
            self._allowance.leave()

    def _why_cancelled(self) -> str:
        if not self._asked.left:
            return "proxy_died"
        return "client_slow" if self._client.was_stalled else "client_left"

    async def _answer(self) -> None:
        try:
            self._request = await self._asked.read(self._room.body_limit)
            body, snapshot = self._load(), self._room.follower.snapshot
            route = self._route(snapshot)
            await self._allowance.enter(body)
            self._record.meter = self._allowance.meter
            plan, version = self._prepare(body, route, snapshot)
            await self._ask(plan, version, route)
        except RefusedError as refused:
            await self._refuse(refused.refusal)
        except LimitedError as limited:
            await self._limit(limited.kind, limited.headers)
        except TooLargeError:
            await self._refuse(errors.too_large(self._room.body_limit))
        except TooSlowError:
            self._request = self._asked.received
            await self._refuse(errors.too_slow())
        except UnreachableError as error:
            self._record.closed["tried"] = error.tried
            await self._refuse(errors.timed_out() if error.timed_out else errors.unreachable(str(error)))
        except SilentError:
            await self._refuse(errors.timed_out())
        except BrokenOffError as error:
            await self._refuse(errors.broke_off(str(error)))
        except StreamError as error:
            await self._refuse(errors.unreadable(str(error)))
        except SpoolFailedError as error:
            self._say(errors.not_recorded(str(error)))
        except ClientLeftError:
            raise
        except Exception:
            log.exception("exchange %s failed", self._record.id)
            await self._refuse(errors.internal())

    def _route(self, snapshot: Snapshot) -> Route:
        try:
            return snapshot.route(self._key, self._model)
        except UnknownModelError as error:
            raise RefusedError(errors.unknown_model(str(error))) from error

    def _prepare(self, body: dict[str, Any], route: Route, snapshot: Snapshot) -> tuple[Plan, Version]:
        """Choose who answers, open the record. Raises RefusedError, LimitedError, SpoolFailedError."""
        try:
            version = self._allowance.pick(
                route, route.stick_to(self._key, self._context.user, self._context.session)
            )
        except UnknownModelError as error:
            raise RefusedError(errors.unknown_model(str(error))) from error
        if capture.asks_about_prompt(body) and not all(one.prompt_logprobs for one in version.upstreams):
            raise RefusedError(errors.not_served("its engine gives no prompt logprobs"))
        if route.balance == "prefix":
            self._prefix = balance.prefix(version.name, body)
        capturing = self._capturing(route, version)
        self._planned = body, route, version, capturing
        plan = self._plan(*self._planned)
        self._room.metrics.captures.add(plan.capture)
        self._record.open(
            self._request,
            model=self._model,
            snapshot=snapshot.number,
            streamed=bool(body.get("stream")),
            route=route,
            version=version,
            plan=plan,
        )
        return plan, version

    def _capturing(self, route: Route, version: Version) -> str:
        if route.capture == "off":
            return "off"
        if route.capture_rate < 1 and random.random() >= route.capture_rate:  # noqa: S311
            return "unsampled"
        return "refused" if self._room.refusing.get(version.name, 0.0) > time.monotonic() else "wire"

    def _plan(self, body: dict[str, Any], route: Route, version: Version, capturing: str) -> Plan:
        most, until = self._room.most.get(version.name, (MOST_LOGPROBS, 0.0))
        return capture.plan(
            self._surface,
            body,
            served=version.name,
            public=self._model,
            capture=capturing,
            top_k=route.top_k,
            most=most if until > time.monotonic() else MOST_LOGPROBS,
            tag=self._tag(route, version),
        )

    def _tag(self, route: Route, version: Version) -> Tag | None:
        """For engines that capture tokens themselves."""
        # What is masked must be seen with its text: tokens that an engine keeps come without.
        if route.mask or not self._room.upstreams.all_capture(version.upstreams):
            return None
        return Tag(
            str(self._record.id),
            0,
            self._record.started_us,
            route.top_k,
            weights=version.weights,
            tokenizer=version.tokenizer,
        )

    def _load(self) -> dict[str, Any]:
        try:
            body = capture.load(self._request, deep=not self._surface.model_first)
        except (ValueError, RecursionError) as error:
            raise RefusedError(errors.malformed(str(error))) from error
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise RefusedError(errors.no_model())
        self._model = model
        self._context = self._record.context = self._context.for_user(body)
        if why := self._surface.refuses(body):
            raise RefusedError(errors.not_served(why))
        return body

    async def _ask(self, plan: Plan, version: Version, route: Route) -> None:
        """Ask an engine and relay its answer; where it refuses what was added, with less, then without."""
        blamed = False
        while True:
            reached = await self._reach(version, route, plan.body, plan.again)
            try:
                status = reached.response.status
                if not (plan.adds and status in (400, 422)):
                    if plan.capture == "refused" and status < 400:
                        self._record.closed["capture"] = "refused"
                        if blamed:
                            self._room.refusing[version.name] = time.monotonic() + _REFUSAL_SECONDS
                    await self._relay(plan, reached)
                    return
                # Read to its end, so that the connection can be used again.
                said = await reached.response.read()
            finally:
                self._room.upstreams.leave(reached)
            plan, blamed = self._with_less(plan, version, said), capture.blames(plan, said)

    def _with_less(self, plan: Plan, version: Version, said: bytes) -> Plan:
        """What to ask for after a refusal: as many logprobs as it says it gives, else nothing besides."""
        most, now = capture.most_logprobs(said), time.monotonic()
        known, until = self._room.most.get(version.name, (MOST_LOGPROBS, 0.0))
        if most is not None and plan.hidden.logprobs and (until <= now or most < known):
            self._room.most[version.name] = most, now + _REFUSAL_SECONDS
            less = self._plan(*self._planned)
            self._record.closed["top_k"] = less.top_k
            return less
        return plan.refused()

    async def _reach(
        self, version: Version, route: Route, body: bytes, again: Callable[[int], bytes] | None = None
    ) -> Reached:
        reached = await self._room.upstreams.reach(
            version.upstreams,
            self._surface.path,
            body,
            self._context.outgoing,
            balance=route.balance,
            prefix=self._prefix,
            again=again,
        )
        closed = self._record.closed
        closed["upstream"] = reached.upstream.name
        if reached.tried:
            closed["tried"], closed["attempt"] = reached.tried, len(reached.tried)
        return reached

    async def _relay(self, plan: Plan, reached: Reached) -> None:
        response = reached.response
        head = headers.forwarded(response.headers)
        if self._allowance.headers:
            # What an engine allows the proxy is no matter of the client's.
            head = [one for one in head if not one[0].startswith(b"x-ratelimit-")] + self._allowance.headers
        head += self._exchange_header
        relay = Relay(self._room.spool, self._record, self._client, response, head)
        if response.header(b"content-type").startswith(b"text/event-stream"):
            await relay.stream(plan, self._room.layouts)
        else:
            await relay.body(plan)

    @property
    def _exchange_header(self) -> list[Header]:
        if not self._surface.is_exchange:
            return []
        made = str(self._record.id).encode()
        return [(b"x-flywheel-exchange-id", made), (b"x-request-id", made)]

    async def _limit(self, kind: limits.Kind, sent: list[Header]) -> None:
        self._room.metrics.limited.labels(kind).inc()
        self._allowance.headers = sent
        await self._refuse(limits.refusal(self._key, kind))

    async def _refuse(self, refusal: Refusal) -> None:
        await self._record_refusal(refusal)
        self._say(refusal)

    async def _record_refusal(self, refusal: Refusal) -> None:
        """Close the record with a refusal, or make one. A disk that takes nothing changes no refusal."""
        try:
            if not self._record.is_begun:
                masks = self._room.follower.snapshot.masks(self._key)
                self._record.open(self._request, model=self._model, mask=masks)
            await self._record.close(refusal.end_reason, refusal.status, refusal.message)
        except SpoolFailedError:
            return

    def _say(self, refusal: Refusal) -> None:
        """Tell the client; in a stream that has begun, as its last event."""
        begun = self._client.has_begun
        said = self._surface.error(refusal.status, refusal.body, in_stream=begun)
        if begun:
            self._client.end(event(said, b"error" if self._surface.names_events else b""))
        else:
            head = [headers.JSON, *self._allowance.headers, *self._exchange_header]
            self._client.answer(refusal.status, head, said)
