"""How a proxy comes to its routing snapshot: long-polls web for a newer one and keeps the last on disk.

With web away the proxy goes on with, or starts from, what it has.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import aiohttp
import orjson

from inference.routing import Snapshot
from inference.spool.files import replace

log = logging.getLogger(__name__)
_POLL_SECONDS = 40.0
_PAUSE_SECONDS = 0.5
_MOST_PAUSE_SECONDS = 1.0
"""Web that is back is heard within a second, as a change is."""


class Follower:
    """Keeps ``snapshot`` the newest that could be had."""

    def __init__(
        self,
        web_url: str,
        token: str,
        name: str,
        path: Path,
        news: Callable[[], dict[str, str]] = dict,
    ) -> None:
        """``news``: what web is told with each question."""
        self._url = f"{web_url.rstrip('/')}/internal/routing"
        self._news = news
        self._token, self._name, self._path = token, name, path
        self.snapshot = Snapshot()

    @property
    def known(self) -> bool:
        """Whether there is a snapshot at all."""
        return self.snapshot.number > 0

    def load(self) -> None:
        """Take the snapshot that was kept on disk, if there is one that can be read."""
        try:
            self.snapshot = Snapshot.parse(orjson.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            log.warning("the kept routing snapshot can't be read: %r", error)

    async def follow(self, on_change: Callable[[Snapshot], None] | None = None) -> None:
        """Poll for ever."""
        pause = _PAUSE_SECONDS
        timeout = aiohttp.ClientTimeout(total=_POLL_SECONDS)
        headers = {"authorization": f"Bearer {self._token}"}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            while True:
                try:
                    changed = await self._poll(session)
                except Exception as error:
                    # Whatever web says, or does not: what is known stays in force, and web is asked again.
                    log.log(
                        logging.WARNING if pause == _PAUSE_SECONDS else logging.DEBUG,
                        "no routing snapshot from %s: %s",
                        self._url,
                        str(error) or type(error).__name__,
                    )
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _MOST_PAUSE_SECONDS)
                else:
                    pause = _PAUSE_SECONDS
                    if changed and on_change is not None:
                        on_change(self.snapshot)

    async def _poll(self, session: aiohttp.ClientSession) -> bool:
        params = {**self._news(), "after": str(self.snapshot.number), "proxy": self._name}
        async with session.get(self._url, params=params) as response:
            if response.status == 204:
                return False
            response.raise_for_status()
            content = await response.read()
        self.snapshot = Snapshot.parse(orjson.loads(content))
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            await asyncio.to_thread(replace, self._path, content)
        except OSError as error:
            log.warning("the routing snapshot is in force, but can't be kept: %s", error)
        return True
