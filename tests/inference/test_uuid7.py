"""Ids that sort as they were made, whatever the clock does."""

import threading
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from inference.uuid7 import Generator, milliseconds, uuid7


@given(st.lists(st.integers(1, 2**48 - 1), min_size=2, max_size=50))
def test_they_never_step_back(clock: list[int]) -> None:
    times = iter(clock)
    make = Generator(lambda: next(times))
    made = [make() for _ in clock]
    assert made == sorted(set(made), key=lambda one: one.bytes)
    assert [milliseconds(one) for one in made] == [max(clock[: at + 1]) for at in range(len(clock))]
    assert all((one.version, one.variant) == (7, uuid7().variant) for one in made)


def test_threads_get_different_ones() -> None:
    made: list[UUID] = []
    threads = [threading.Thread(target=lambda: made.extend(uuid7() for _ in range(2000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8000
