"""The wheel's cards on an exchange's page: what made the weights that answered, what became of the answer."""

from flywheel import lineage
from flywheel.models import TrainingRun
from inference.panels import Panel, Subject


def beside(subject: Subject) -> list[Panel]:
    """Two cards at most: weights → run → dataset, and exchange → dataset → run → adapter."""
    found = []
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
