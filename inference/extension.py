"""What is written in Cython and compiled into the wheel, where it is (deploy/compiling.py)."""

import importlib
from typing import Any


def extension(name: str) -> Any:
    """The module of that name, or None where nothing is compiled."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
