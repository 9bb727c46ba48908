"""What the wheel's tests share: a home of their own, and a coding desk with judged answers."""

from pathlib import Path

import pytest
from pytest_django import Settings

from flywheel.celery import app
from tests.flywheel.desk import Desk, open_desk

# Hints go nowhere: only tests/flywheel/test_tasks.py has a broker and workers, as processes of their own.
app.conf.update(broker_url="memory://")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Settings) -> Path:
    """No test writes into the machine's own home."""
    settings.HOME = tmp_path
    settings.ARTEFACTS = str(tmp_path / "artefacts")
    settings.ADAPTERS = tmp_path / "adapters"
    return tmp_path


@pytest.fixture
def desk(db: None) -> Desk:
    return open_desk()
