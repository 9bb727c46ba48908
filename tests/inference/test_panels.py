"""Other rooms speak on an exchange's page without this one knowing them."""

from uuid import UUID

import pytest

from inference import panels
from inference.panels import Panel, Subject

SUBJECT = Subject(UUID(int=1), 0, "a" * 64, "icd")


def test_rooms_are_asked_once_each_and_their_cards_stand_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "_sources", [])

    def late(subject: Subject) -> list[Panel]:
        return [Panel(f"late {subject.route}", "x.html", order=200)]

    def early(subject: Subject) -> list[Panel]:
        return [Panel("early", "x.html", order=10)]

    for source in (late, early, late):
        panels.register(source)
    assert [panel.title for panel in panels.panels(SUBJECT)] == ["early", "late icd"]
