"""The wheel's cards on an exchange's page: what made the weights that answered, what became of the answer,
and where the same was asked of another version.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.urls import reverse
from django.utils.http import urlencode

from flywheel import lineage
from flywheel.models import Rerun, TrainingRun
from inference.panels import Panel, Subject

MOST_RERUNS = 20
"""The newest are shown."""


@dataclass(frozen=True, slots=True)
class Again:
    """An exchange that was asked again, and what came of it."""

    rerun: Rerun
    answered_by: UUID

    @property
    def first_url(self) -> str:
        attempt = f"?attempt={self.rerun.attempt}" if self.rerun.attempt else ""
        return reverse("exchange", args=[self.rerun.exchange_id]) + attempt

    @property
    def second_url(self) -> str:
        return reverse("exchange", args=[self.answered_by])

    @property
    def diff_url(self) -> str:
        pair = {"a": f"{self.rerun.exchange_id}.{self.rerun.attempt}", "b": str(self.answered_by)}
        return f"{reverse('exchange-diff')}?{urlencode(pair)}"


def again(subject: Subject) -> list[Panel]:
    """One card: of which exchange this asks the question again, and where its own was."""
    reruns = Rerun.objects.exclude(answered_by=None).select_related("version").order_by("-at")
    tried = reruns.filter(exchange_id=subject.exchange_id, attempt=subject.attempt)[:MOST_RERUNS]
    of = reruns.filter(answered_by=subject.exchange_id)[:1]
    found = {"of": _answered(of), "tried": _answered(tried)}
    return [Panel("Asked again", "flywheel/parts/panel_again.html", found, 50)] if any(found.values()) else []


def _answered(reruns: Iterable[Rerun]) -> list[Again]:
    return [Again(one, one.answered_by) for one in reruns if one.answered_by]


def beside(subject: Subject) -> list[Panel]:
    """Three cards at most: weights → run → dataset, exchange → dataset → run → adapter, and what was asked
    again.
    """
    found = again(subject)
    runs = (
        TrainingRun.objects.filter(adapter__weights=subject.weights)
        if subject.weights
        else TrainingRun.objects.none()
    )
    made = list(runs.select_related("dataset_version__dataset", "base", "adapter")[:3])
    if made:
        found.append(Panel("What made this version", "flywheel/parts/panel_made.html", {"runs": made}, 60))
    use = lineage.of_exchange(subject.exchange_id)
    if use.rows or use.cases:
        found.append(
            Panel(
                "What became of it",
                "flywheel/parts/panel_use.html",
                {"use": use, "hidden": subject.hidden},
                70,
            )
        )
    return found
