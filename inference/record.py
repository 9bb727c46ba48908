"""An exchange's record in the making: what the spool gets to know of one call, and when.

Opened before an engine is asked, written as the answer comes, closed once with the reason of the end. Knows
the operator's two choices for a route: whether an end waits for the disk, and what a full disk means.
"""

import time

from inference import events
from inference.capture import Plan
from inference.exchange import Closed, Opened
from inference.headers import Context
from inference.limits import Meter
from inference.metrics import Metrics
from inference.routing import Key, Route, Version
from inference.spool import Recording, Spool, SpoolFailedError
from inference.surfaces import Surface
from inference.uuid7 import uuid7


class Record:
    """One call's record. ``id`` is the exchange's."""

    def __init__(
        self, spool: Spool, metrics: Metrics, *, key: Key, surface: Surface, context: Context, proxy: str
    ) -> None:
        self.id = uuid7()
        self.closed: Closed = {}
        """What is known of the end so far."""
        self.meter: Meter | None = None
        """Reads the answer along, for a key whose tokens are counted."""
        self._spool, self._metrics = spool, metrics
        self._key, self._surface, self._proxy = key, surface, proxy
        self.context = context
        """Until it is opened, more may become known of where the call belongs."""
        self._started_us = time.time_ns() // 1000
        self._clock = time.perf_counter()
        self._recording: Recording | None = None
        self.is_begun = self._ended = False
        self._strict, self._serves_unrecorded = True, False
        self._route = ""
        """The name of a route that there is: what else is asked for is a client's, and no label."""

    @property
    def started_us(self) -> int:
        """Microseconds since 1970."""
        return self._started_us

    def open(
        self,
        request: bytes,
        *,
        model: str = "",
        snapshot: int = 0,
        streamed: bool = False,
        route: Route | None = None,
        version: Version | None = None,
        plan: Plan | None = None,
        mask: bool = False,
    ) -> None:
        """Begin, with what is known. Raises SpoolFailedError when the route serves only what is kept.

        ``mask``: whether it is masked though no route is known.
        """
        self.is_begun, self._route = True, route.name if route else ""
        if not self._surface.is_exchange:
            return
        if route is not None:
            self._strict = route.durability == "strict"
            self._serves_unrecorded = route.disk_full == "serve"
        first = version.upstreams[0] if version and version.upstreams else None
        header: Opened = {
            "surface": self._surface.name,
            "streamed": streamed,
            "route": model,
            "model": version.name if version else "",
            "weights": version.weights if version else "",
            "base_weights": version.base_weights if version else "",
            "tokenizer": version.tokenizer if version else "",
            "upstream": first.name if first else "",
            "logprobs_mode": first.logprobs_mode if first else "",
            "key": self._key.name,
            "user": self.context.user,
            "session": self.context.session,
            "tags": self.context.tags,
            "trace_id": self.context.trace_id,
            "span_id": self.context.span_id,
            "parent_span_id": self.context.parent_span_id,
            "started_us": self._started_us,
            "capture": plan.capture if plan else "off",
            "top_k": plan.top_k if plan else 0,
            "proxy": self._proxy,
            "snapshot": snapshot,
            "mask": route.mask if route else mask,
        }
        recording = self._spool.record(self.id)
        try:
            recording.open(dict(header), request)
        except SpoolFailedError:
            if not self._serves_unrecorded:
                self._ended = True
                raise
            self._metrics.dropped.inc()
        else:
            self._recording = recording

    def write(self, parts: list[bytes]) -> None:
        """Add bytes as the engine sent them."""
        if "first_byte_us" not in self.closed:
            self.closed["first_byte_us"] = self._now_us()
            self._metrics.first_byte.observe(time.perf_counter() - self._clock)
        if self._recording is not None:
            self._recording.write_all(parts)
        if self.meter is not None:
            for part in parts:
                self.meter.feed(part)

    async def close(self, end_reason: str, status: int, error: str = "", *, durable: bool = True) -> None:
        """End, once; what comes after does not count. With ``durable`` returns when it is on disk.

        Raises SpoolFailedError when it can't be kept and the route serves only what is.
        """
        if self._ended:
            return
        self._ended = True
        self._metrics.exchanges.add(self._surface.name, self._route, end_reason)
        self.closed |= {"end_reason": end_reason, "status": status, "finished_us": self._now_us()}
        if error:
            self.closed["error"] = error
        if self._recording is None:
            return
        began = time.perf_counter()
        try:
            await self._recording.close(
                dict(self.closed), durable=durable and self._strict, on_loss=self._metrics.dropped.inc
            )
        except SpoolFailedError:
            if not self._serves_unrecorded:
                raise
            self._metrics.dropped.inc()
        self._metrics.durable.observe(time.perf_counter() - began)

    @property
    def is_complete(self) -> bool:
        """Whether it was ended with an engine's whole answer."""
        return self.closed.get("end_reason") == "complete"

    async def add(self, event: str) -> None:
        """Say what came to be known of it after its end, as a record of its own."""
        if self._recording is None:
            return
        recording = self._spool.record(uuid7())
        header = events.header(
            event,
            exchange_id=str(self.id),
            trace_id="",
            at_us=self._now_us(),
            source=self._proxy,
        )
        try:
            recording.open(header, b"{}")
        except SpoolFailedError:
            return  # nobody waits for it, and the metrics say that the disk takes nothing
        await recording.close({"end_reason": "complete"}, durable=False)

    def _now_us(self) -> int:
        """Now, on a clock that does not step: the start's time plus what has passed since."""
        return self._started_us + int((time.perf_counter() - self._clock) * 1e6)
