"""What every test may use."""

import asyncio
import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop
from django import conf
from django.core.management.commands import flush
from hypothesis import settings

from inference import readers
from tests.patience import patiently

# How long an example takes says something of the machine, not of the code.
settings.register_profile("untimed", settings(), deadline=None)
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile("untimed")

# Nothing listens there: a test that wants a trace store asks for one, and none meets a running Flywheel's.
os.environ["FLYWHEEL_CLICKHOUSE_URL"] = "http://127.0.0.1:9/flywheel"

pytest_plugins = ["tests.clickhouse_fixture"]


def pytest_configure() -> None:
    """What is made slow for good reasons elsewhere is quick here."""
    # Static files are looked up when asked for: reading all for each client is a tenth of all time.
    conf.settings.WHITENOISE_AUTOREFRESH = True
    # A password made to be slow to guess takes longer than most tests.
    conf.settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def asked_by_the_system() -> Iterator[None]:
    """What a test asks the trace store itself, it asks for nobody; pages ask for their readers."""
    with readers.as_the_system():
        yield


@pytest.fixture(autouse=True, scope="session")
def patient_flush() -> Iterator[None]:
    """Tables are emptied after a test even if the server's thread is still at its last answer."""
    once = flush.Command.handle

    def handle(self: flush.Command, **options: Any) -> None:
        patiently(lambda: once(self, **options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush.Command, "handle", handle)
        yield


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the proxy runs on: in which order it calls back is part of what is tested."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the trace store's engine, a process and a gigabyte, is left out of the inner loop."""
    for item in items:
        if "clickhouse" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """What was imported stays: the collector of cycles need not look through it again and again."""
    gc.collect()
    gc.freeze()
