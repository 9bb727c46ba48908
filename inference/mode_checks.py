"""Which engines are asked for their logprobs mode when, and that what they say is kept.

How one is asked is in inference.mode_probe, what an answer means in inference.logprobs_mode. The admin asks
when somebody saves an engine or wants to know, a task by the clock.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from inference import mode_probe
from inference.logprobs_mode import UNKNOWN, Finding
from inference.models import Upstream

log = logging.getLogger(__name__)
_AGAIN = timedelta(hours=1)
"""So long what was found is believed: an engine may have been started in another mode."""
_UNKNOWN_AGAIN = timedelta(minutes=5)
"""So long one that told nothing is left alone."""
_AT_ONCE = 8


def check(engines: Sequence[Upstream]) -> None:
    """Ask them, all at once, and keep what is found. Takes seconds where one does not answer."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(_probe, engines))
    for engine, finding in zip(engines, found, strict=True):
        engine.found(finding)


def check_due() -> None:
    """Ask those that were not asked yet or for an hour; one of which nothing is known, a little later."""
    now = timezone.now()
    unknown = Q(found_mode=UNKNOWN, found_at__lt=now - _UNKNOWN_AGAIN)
    due = Q(found_at=None) | unknown | Q(found_at__lt=now - _AGAIN)
    engines = list(Upstream.objects.filter(due, enabled=True))
    check(engines)
    for engine in engines:
        if engine.contradiction:
            log.warning("%s: %s", engine.name, engine.contradiction)


def _probe(engine: Upstream) -> Finding:
    secret = os.environ.get(engine.secret_env, "") if engine.secret_env else ""
    return mode_probe.probe(engine.base_url, secret)
