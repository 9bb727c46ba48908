"""A file is what its name says, or it is not given out."""

import hashlib
from pathlib import Path

import pytest
from pytest_django import Settings

from flywheel import artefacts


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_what_is_put_is_got(where: str, settings: Settings) -> None:
    if where == "memory":
        settings.ARTEFACTS = "memory://bucket/artefacts"
    digest = artefacts.put(b"rows")
    assert digest == hashlib.sha256(b"rows").hexdigest()
    assert artefacts.put(b"rows") == digest
    assert artefacts.get(digest) == b"rows"


def test_nothing_but_the_file_is_left(home: Path) -> None:
    digest = artefacts.put(b"rows")
    files = [path for path in (home / "artefacts").rglob("*") if path.is_file()]
    assert [path.name for path in files] == [digest]


def test_a_changed_file_is_refused_and_put_right_by_another_put(home: Path) -> None:
    digest = artefacts.put(b"rows")
    (path,) = (home / "artefacts").rglob(digest)
    path.write_bytes(b"other rows")
    with pytest.raises(artefacts.DamagedError, match="restore"):
        artefacts.get(digest)
    artefacts.put(b"rows")
    assert artefacts.get(digest) == b"rows"


def test_what_was_never_put_is_missing() -> None:
    with pytest.raises(artefacts.MissingError):
        artefacts.get("0" * 64)
