"""Is anything being lost: every spool as last heard from, in a glyph and words.

Reads only what drains and proxies reported (inference.spools), so it speaks with ClickHouse and Redis away.
A drain that is not heard from may be storing or not: that is said as loudly as a record that waits.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from flywheel.templatetags.flywheel import span
from inference.models import Spool

PATIENCE = timedelta(seconds=60)
"""How long a record may wait, and a drain say nothing, before every page says so."""
GLYPHS = {"good": "●", "warn": "▲", "bad": "✕"}


@dataclass(frozen=True, slots=True)
class CaptureState:
    """Whether anything is being lost, in a glyph and words."""

    tone: str
    words: str

    @property
    def glyph(self) -> str:
        return GLYPHS[self.tone]


@dataclass(frozen=True, slots=True)
class SpoolState:
    """One spool. ``alarms``: what every page says, worst first; empty when nothing waits or is lost."""

    spool: Spool
    alarms: tuple[CaptureState, ...]

    @property
    def tone(self) -> str:
        if self.alarms:
            return self.alarms[0].tone
        return "warn" if self.spool.kept_aside or self.spool.damaged else "good"

    @property
    def glyph(self) -> str:
        return GLYPHS[self.tone]

    @property
    def words(self) -> str:
        """In one line, for the table."""
        if self.alarms:
            return "; ".join(alarm.words for alarm in self.alarms).capitalize() + "."
        if at_rest(self.spool):
            return "Its drain has stopped, with everything stored."
        if self.spool.kept_aside or self.spool.damaged:
            return "Stores; something was kept aside."
        return "Everything is stored."

    @property
    def advice(self) -> str:
        """What is safe and what to do first."""
        return "" if self.tone == "good" else _advice(self)

    @property
    def unstored_age(self) -> float | None:
        since = self.spool.unstored_since
        return None if since is None else max((timezone.now() - since).total_seconds(), 0.0)


def at_rest(spool: Spool) -> bool:
    """Whether its drain ended by itself with all stored, and no proxy wrote into it since."""
    if not spool.stopped or spool.unstored_since is not None or spool.heard_at is None:
        return False
    return spool.proxy_seen_at is None or spool.proxy_seen_at <= spool.heard_at


def state(spool: Spool, now: datetime) -> SpoolState:
    """How one spool stands."""
    found = []
    if spool.dropped_unseen:
        n = spool.dropped_unseen
        found.append(CaptureState("bad", f"{n:,} capture{'' if n == 1 else 's'} dropped"))
    if spool.proxy_problem and spool.proxy_seen_at and now - spool.proxy_seen_at <= PATIENCE:
        found.append(CaptureState("bad", "the spool takes nothing"))
    if (silence := _silence(spool, now)) is not None:
        found.append(CaptureState("bad", silence))
    since = spool.unstored_since
    if since is not None and now - since > PATIENCE:
        found.append(CaptureState("warn", f"oldest unstored {span((now - since).total_seconds())}"))
    return SpoolState(spool, tuple(found))


def silent_seconds(spool: Spool, now: datetime) -> float:
    """How long its drain says nothing, or reports and does not come round; 0 when there is no need to."""
    if at_rest(spool):
        return 0.0
    heard = spool.heard_at or spool.known_at
    if spool.worked_at is not None and not spool.stopped:
        # What a stopped drain last said is true until a proxy writes again.
        heard = min(heard, spool.worked_at)
    return max((now - heard).total_seconds(), 0.0)


def _silence(spool: Spool, now: datetime) -> str | None:
    """That its drain has been silent for too long."""
    silent = silent_seconds(spool, now)
    if silent <= PATIENCE.total_seconds():
        return None
    return "no drain has been heard from" if spool.heard_at is None else f"drain silent for {span(silent)}"


def _advice(state: SpoolState) -> str:
    spool, words = state.spool, " ".join(alarm.words for alarm in state.alarms)
    said = []
    if "dropped" in words:
        said.append("These were answered and not kept: make room on the spool's disk.")
    if "takes nothing" in words:
        said.append(f"{spool.proxy_problem}. Make room; the proxy takes up capture by itself.")
    if "drain" in words:
        said.append("What waits is safe on its disk: start its drain.")
    if "unstored" in words:
        said.append(f"{spool.problem or 'It is behind the traffic'}; nothing is lost.")
    if spool.kept_aside or spool.damaged:
        said.append("What was kept aside lies in the spool's quarantine folder, with why.")
    return " ".join(said)


def states(now: datetime | None = None) -> list[SpoolState]:
    """Every spool, those with an alarm first."""
    now = now or timezone.now()
    found = [state(spool, now) for spool in Spool.objects.all()]
    return sorted(found, key=lambda one: (not one.alarms, one.spool.name))


def capture_state(found: list[SpoolState]) -> CaptureState | None:
    """For the bar: the worst of all, else when anything was last stored; None before any was heard from."""
    if not found:
        return None
    alarms = [alarm for one in found for alarm in one.alarms]
    if alarms:
        return min(alarms, key=lambda alarm: list(reversed(GLYPHS)).index(alarm.tone))
    last = max((one.spool.stored_at for one in found if one.spool.stored_at), default=None)
    passed = (timezone.now() - last).total_seconds() if last else 0.0
    return CaptureState("good", f"stored {span(passed)} ago" if last else "all stored")


def line(found: list[SpoolState]) -> CaptureState | None:
    """What stands at the top of every page while a record waits for too long or a capture was dropped."""
    troubled = [one for one in found if one.alarms]
    if not troubled:
        return None
    first = troubled[0]
    said = f"{first.spool.name}: {'; '.join(alarm.words for alarm in first.alarms)}"
    more = f"; and {len(troubled) - 1} more" if len(troubled) > 1 else ""
    tone = "bad" if any(alarm.tone == "bad" for one in troubled for alarm in one.alarms) else "warn"
    return CaptureState(tone, f"{said}{more}.")
