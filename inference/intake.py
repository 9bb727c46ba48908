"""What the proxy takes in without asking an engine: an end user's feedback, and spans of applications.

Each is a record of the spool that is opened and closed at once, and the answer goes out when it is on disk:
who is told 200 may forget it. What is well formed is in inference.feedback and inference.traces.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import orjson

from inference import errors, events, feedback, headers, limits, traces
from inference.counters import Admission, Counters, LimitedError
from inference.errors import Refusal
from inference.feedback import FeedbackError
from inference.http1.client import Client, Header
from inference.http1.failures import ClientLeftError, TooLargeError, TooSlowError
from inference.http1.request import Request
from inference.metrics import Metrics
from inference.routing import Key
from inference.spool import Spool, SpoolFailedError
from inference.traces import TracesError
from inference.uuid7 import uuid7

FEEDBACK_BYTES = 256 << 10
SPANS_BYTES = 16 << 20
"""Of a request of spans, as sent and inflated."""
_INFLATING = 2
"""Requests of spans that are inflated at once: it bounds memory, and threads."""
Answer = tuple[bytes, bytes]
"""A content type and a body."""


class _RefusedError(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Intake:
    """Takes records in; its methods serve one path each, for whoever has a key."""

    def __init__(
        self,
        spool: Spool,
        counters: Counters,
        metrics: Metrics,
        body_limit: int,
        *,
        masks: Callable[[Key], bool],
    ) -> None:
        """``masks``: whether what comes with a key is masked before it is stored."""
        self._masks = masks
        self._spool, self._counters, self._metrics = spool, counters, metrics
        self._body_limit = body_limit
        self._inflating = asyncio.Semaphore(_INFLATING)

    async def feedback(self, key: Key, request: Request, client: Client) -> None:
        """``POST /v1/feedback``: about an exchange or a trace."""
        await self._answer(key, client, lambda: self._feedback(key, request))

    async def traces(self, key: Key, request: Request, client: Client) -> None:
        """``POST /v1/traces``: OTLP over HTTP, as OpenTelemetry's exporters send it."""
        await self._answer(key, client, lambda: self._traces(key, request))

    async def _feedback(self, key: Key, request: Request) -> Answer:
        body = await _body(request, min(self._body_limit, FEEDBACK_BYTES))
        found = feedback.read(body, headers.context(request.headers).user)
        at_us = time.time_ns() // 1000
        header = events.header(
            "feedback",
            exchange_id=found.exchange_id,
            trace_id=found.trace_id,
            at_us=at_us,
            source=key.name,
        )
        made = await self._keep("feedback", header | {"mask": self._masks(key)}, orjson.dumps(found.data))
        about = {"exchange_id": found.exchange_id} if found.exchange_id else {"trace_id": found.trace_id}
        said = {"id": str(made), "object": "feedback", "created": at_us // 1_000_000, **about}
        return b"application/json", orjson.dumps(said)

    async def _traces(self, key: Key, request: Request) -> Answer:
        limit = min(self._body_limit, SPANS_BYTES)
        form = traces.form(_header(request, b"content-type"))
        body = await _body(request, limit)
        async with self._inflating:
            inflated = await asyncio.to_thread(
                traces.read, body, form, _header(request, b"content-encoding"), limit
            )
        header = traces.header(form, at_us=time.time_ns() // 1000, source=key.name)
        await self._keep("spans", header | {"mask": self._masks(key)}, inflated)
        # An empty ExportTraceServiceResponse: everything was taken.
        return form.encode(), b"{}" if form == traces.JSON else b""

    async def _keep(self, kind: str, header: dict[str, Any], body: bytes) -> UUID:
        """Spool a record and wait until it is on disk. Raises SpoolFailedError."""
        await self._spool.room()
        made = uuid7()
        recording = self._spool.record(made)
        recording.open(header, body)
        await recording.close({"end_reason": "complete"})
        self._metrics.records.labels(kind).inc()
        return made

    async def _answer(self, key: Key, client: Client, take: Callable[[], Awaitable[Answer]]) -> None:
        """Within the key's limits: a request like the others, of no tokens."""
        admission: Admission | None = None
        try:
            if key.limits is not None:
                admission = await self._counters.admit(key, 0)
            kind, body = await take()
        except ClientLeftError:
            return
        except LimitedError as limited:
            self._metrics.limited.labels(limited.kind).inc()
            _refuse(client, limits.refusal(key, limited.kind), *limited.headers)
        except FeedbackError as error:
            _refuse(client, errors.bad_feedback(error.message, error.param))
        except TracesError as error:
            _refuse(client, errors.bad_spans(error.status, error.message))
        except _RefusedError as refused:
            _refuse(client, refused.refusal)
        except TooSlowError:
            _refuse(client, errors.too_slow())
        except SpoolFailedError as error:
            _refuse(client, errors.not_kept(str(error)))
        else:
            told = admission.headers if admission else []
            client.answer(200, [(b"content-type", kind), *told], body)
        finally:
            if admission is not None:
                self._counters.settle(admission, 0, 0)


async def _body(request: Request, limit: int) -> bytes:
    try:
        return await request.read(limit)
    except TooLargeError as error:
        raise _RefusedError(errors.too_large(limit)) from error


def _refuse(client: Client, refusal: Refusal, *more: Header) -> None:
    client.answer(refusal.status, [headers.JSON, *more], refusal.body)


def _header(request: Request, name: bytes) -> str:
    return request.headers.get(name, b"").decode("latin-1")
