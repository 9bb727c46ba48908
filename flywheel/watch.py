"""The watch: every few seconds, how each engine, GPU and spool does, kept as vitals.

A process of its own (`python manage.py watch`) and no task that beat sends: those wait behind long jobs,
and do not come while Redis is away, which is when somebody must look. With the trace store away it goes on;
what it then saw is not kept. Asks all engines at once, for seconds at most. Knows no metric by name:
inference.engine_vitals and inference.gpu_vitals do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from clickhouse_connect.driver.exceptions import DatabaseError as StoreError
from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from flywheel import alerts, losses, telling
from flywheel.models import Sweep
from inference import engine_vitals, exposition, gpu_vitals, vitals
from inference.clickhouse import RejectedError, Unavailable
from inference.engine_vitals import Reading
from inference.models import Upstream
from inference.vitals import Sample

log = logging.getLogger(__name__)
Ask = Callable[[list[str]], list[exposition.Page]]


@dataclass(frozen=True, slots=True)
class Seen:
    """One sweep: what was measured, and who did not answer, with why."""

    at: datetime
    samples: list[Sample]
    silent: dict[str, str]


class Watch:
    """Sweeps, one after the other; remembers each engine's last page, since most of it is differences."""

    def __init__(self, ask: Ask = exposition.ask, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock = ask, clock
        self._before: dict[str, Reading] = {}
        self._kept_for = 0

    def look(self) -> Seen:
        """Ask everyone now."""
        upstreams = list(Upstream.objects.filter(enabled=True).order_by("name"))
        exporters = sorted({one.gpu_metrics_url for one in upstreams if one.gpu_metrics_url})
        pages = self._ask([one.metrics_address for one in upstreams] + exporters)
        engines, gpus = pages[: len(upstreams)], dict(zip(exporters, pages[len(upstreams) :], strict=True))
        seen = Seen(timezone.now().replace(microsecond=0), [], {})
        for upstream, page in zip(upstreams, engines, strict=True):
            self._engine(upstream.name, Reading(self._clock(), page), seen)
            if upstream.gpu_metrics_url:
                _gpus(upstream, gpus[upstream.gpu_metrics_url], seen)
        self._before = {name: self._before[name] for name in (one.name for one in upstreams)}
        seen.samples.extend(_spools())
        return seen

    def _engine(self, name: str, reading: Reading, seen: Seen) -> None:
        found = engine_vitals.vitals(self._before.get(name), reading)
        self._before[name] = reading
        if reading.why:
            seen.silent[name] = reading.why
        seen.samples.extend(Sample(metric, name, "", value) for metric, value in found.items())

    def sweep(self) -> Seen:
        """Look, judge, keep, and say that it was done. Raises django.db.DatabaseError."""
        began = time.monotonic()
        seen = self.look()
        alerts.evaluate(seen.samples, timezone.now())
        problem = self._keep(seen)
        Sweep.objects.update_or_create(
            pk=1,
            defaults={
                "at": timezone.now(),
                "seconds": time.monotonic() - began,
                "problem": problem[:300],
                "silent": seen.silent,
            },
        )
        return seen

    def _keep(self, seen: Seen) -> str:
        """Into the trace store; what it does not take is gone. Returns why."""
        try:
            if self._kept_for != settings.VITALS_DAYS:
                vitals.keep_for(settings.VITALS_DAYS)
                self._kept_for = settings.VITALS_DAYS
            vitals.keep(seen.samples, seen.at)
        except (Unavailable, RejectedError, StoreError) as error:
            return str(error) or type(error).__name__
        return ""

    def run(self, stopping: threading.Event) -> None:
        """Sweep until told to stop; whatever goes wrong in one costs that one."""
        threading.Thread(target=telling.run, args=(stopping,), name="telling", daemon=True).start()
        while not stopping.is_set():
            began = time.monotonic()
            close_old_connections()
            try:
                self.sweep()
            except DatabaseError as error:
                log.warning("the SQL database can't be asked: %s", error)
            except Exception:
                log.exception("a sweep failed")
            stopping.wait(max(settings.WATCH_SECONDS - (time.monotonic() - began), 0.1))


def _gpus(upstream: Upstream, page: exposition.Page, seen: Seen) -> None:
    found = gpu_vitals.vitals(page, [one for one in upstream.gpus.split(",") if one])
    seen.samples.append(Sample("gpu_up", upstream.name, "", 1.0 if found else 0.0))
    if not found:
        seen.silent[f"{upstream.name}: GPUs"] = page.why or "its page shows none of the GPUs"
    for gpu, values in found.items():
        seen.samples.extend(Sample(metric, upstream.name, gpu, value) for metric, value in values.items())


def _spools() -> list[Sample]:
    """Every spool, as its drain and its proxy last said."""
    now = timezone.now()
    found: list[Sample] = []
    for one in losses.states(now):
        values = {
            "unstored_seconds": one.unstored_age or 0.0,
            "drain_silent_seconds": losses.silent_seconds(one.spool, now),
            "dropped": float(one.spool.dropped_unseen),
            "kept_aside": float(one.spool.kept_aside + one.spool.damaged),
        }
        found.extend(Sample(metric, one.spool.name, "", value) for metric, value in values.items())
    return found
