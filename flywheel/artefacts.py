"""Files addressed by what they hold: a SHA-256 names them, and reading checks it.

Knows the folder or bucket (setting ARTEFACTS, anything fsspec can open). Does not know what is in the files,
nor who still needs one: only erasure deletes any.
"""

import hashlib
import os
import uuid
from contextlib import suppress
from typing import Any

import fsspec
from django.conf import settings


class DamagedError(RuntimeError):
    """A file does not hold what its name says."""


class MissingError(RuntimeError):
    """There is no such file."""


def put(content: bytes) -> str:
    """Store bytes and return their SHA-256 (hex). Whole or not at all; storing the same twice is one file."""
    digest = hashlib.sha256(content).hexdigest()
    files, path = _place(digest)
    if _whole(files, path, digest):
        return digest
    files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    # fsspec's own transactions write to the temporary folder: perhaps another disk, so a copy, no rename.
    part = f"{path}.{uuid.uuid4().hex}.part"
    with files.open(part, "wb") as file:
        file.write(content)
        file.flush()
        with suppress(OSError, AttributeError):  # only a local file has a descriptor
            os.fsync(file.fileno())
    files.mv(part, path)
    return digest


def get(digest: str) -> bytes:
    """Read by SHA-256. Raises MissingError, or DamagedError when the bytes are others than were put."""
    files, path = _place(digest)
    try:
        content: bytes = files.cat_file(path)
    except FileNotFoundError as error:
        raise MissingError(f"No file {digest} in {settings.ARTEFACTS}.") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise DamagedError(f"The file {digest} in {settings.ARTEFACTS} was changed: restore it from a copy.")
    return content


def delete(digest: str) -> bool:
    """Delete a file; False when there was none. Versions that a bucket keeps are its owner's matter."""
    files, path = _place(digest)
    try:
        files.rm_file(path)
    except FileNotFoundError:
        return False
    return True


def _place(digest: str) -> tuple[Any, str]:
    files, root = fsspec.core.url_to_fs(settings.ARTEFACTS)
    return files, f"{root}/sha256/{digest[:2]}/{digest}"


def _whole(files: Any, path: str, digest: str) -> bool:
    if not files.exists(path):
        return False
    # A damaged copy is written anew instead of being believed.
    content: bytes = files.cat_file(path)
    return hashlib.sha256(content).hexdigest() == digest
