"""Prometheus' text as values: what engines and GPU exporters answer at /metrics, asked with patience.

Whatever an address answers, or does not, comes out as a page or as one sentence why not: never as an error.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

_PATIENCE_SECONDS = 5.0
_MOST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Value:
    """A sample of a page, with its labels."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Page:
    """What an address showed: samples by name. ``why``: why there is none."""

    why: str = ""
    samples: Mapping[str, list[Value]] = field(default_factory=dict)

    def values(self, *names: str) -> list[Value]:
        """The samples of the first of the names that the page has: newest names first."""
        return next((self.samples[name] for name in names if name in self.samples), [])

    def total(self, *names: str) -> float | None:
        """Their sum; None when the page has none."""
        found = self.values(*names)
        return math.fsum(one.value for one in found) if found else None

    def most(self, *names: str) -> float | None:
        """The largest of them."""
        return max((one.value for one in self.values(*names)), default=None)


def parse(text: str) -> Page:
    """Read a page; what can't be read makes a page without samples that says so."""
    samples: dict[str, list[Value]] = {}
    try:
        for name, labels, value in _samples(text):
            samples.setdefault(name, []).append(Value(labels, value))
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        return Page(why=f"its page is no Prometheus text ({type(error).__name__})")
    return Page(samples=samples)


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if math.isfinite(sample.value):
                yield sample.name, sample.labels, float(sample.value)


def ask(urls: list[str]) -> list[Page]:
    """All at once, in the given order; takes seconds at most, whatever they do."""
    return asyncio.run(_ask_all(urls))


async def _ask_all(urls: list[str]) -> list[Page]:
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        return list(await asyncio.gather(*(_ask(session, url) for url in urls)))


async def _ask(session: aiohttp.ClientSession, url: str) -> Page:
    try:
        async with session.get(url, allow_redirects=False) as answer:
            if answer.status != 200:
                return Page(why=f"answers {answer.status}")
            content = await _read(answer.content)
    except TimeoutError:
        return Page(why=f"no word within {_PATIENCE_SECONDS:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Page(why=f"does not answer ({str(error)[:200] or type(error).__name__})")
    if content is None:
        return Page(why=f"its page is larger than {_MOST_BYTES >> 20} MiB")
    return parse(content.decode(errors="replace"))


async def _read(stream: aiohttp.StreamReader) -> bytes | None:
    content = bytearray()
    async for piece in stream.iter_any():
        content += piece
        if len(content) > _MOST_BYTES:
            return None
    return bytes(content)
