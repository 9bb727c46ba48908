"""What has already used an item's answers: then they stand, and nobody takes one back.

Other rooms (dataset versions) are built on this one, so they register here when the apps are ready.
"""

from collections.abc import Callable, Collection

Use = Callable[[Collection[int]], dict[int, str]]
"""Of items, by their keys, those that something used, and its name as a sentence begins with it."""
_asked: list[Use] = []


def register(use: Use) -> None:
    """Ask ``use`` before an answer is taken back. Registering the same one again changes nothing."""
    if use not in _asked:
        _asked.append(use)


def of(items: Collection[int]) -> dict[int, str]:
    """What used each of the items; those that nothing used are left out."""
    return {item: name for use in _asked for item, name in use(items).items()}
