"""Where a key's use is counted: in Redis for all proxies together, or, while Redis is away, here.

Calls that come while a round trip is under way share the next one, and what is known only after an answer
travels along, so that a call waits for one round trip at most, or two when it just missed one. A key without
limits never comes here.

Redis owns nothing. Calls in flight are told as they are, not as changes: a wiped Redis knows them again with
the next word from each proxy, and forgets those of a proxy that is gone. Money is told together with what is
known to have been spent before; what no living proxy knows, inference.budgets adds. While Redis is away each
proxy lets through its share of the minute's limits, and keeps what is to be told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from inference import counting, limits
from inference.limits import Bucket, Counts, Header, Kind
from inference.metrics import Metrics
from inference.routing import Key, Limits

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)
_BEAT_SECONDS = 5.0
"""How often a proxy says that it lives; the script forgets its calls after three."""
_GATHER_SECONDS = 0.05
"""How long the end of a call may wait to be told, when nothing else is."""
_MOST_PAUSE_SECONDS = 5.0


class LimitedError(Exception):
    """A call does not fit into a limit of its key's; ``headers`` say when to come again."""

    def __init__(self, kind: Kind, headers: list[Header]) -> None:
        super().__init__(kind)
        self.kind, self.headers = kind, headers


@dataclass(frozen=True, slots=True)
class Admission:
    """A call that was let in; ``Counters.settle`` must hear of its end, once."""

    key: Key
    headers: list[Header]
    tokens: int
    """Taken in advance from the minute's."""
    together: bool
    """Whether Redis counted it."""


@dataclass(slots=True)
class _Use:
    """What this proxy knows of one key."""

    key: Key
    month: str
    in_flight: int = 0
    asking: int = 0
    tokens: int = 0
    """To tell: more than was taken in advance, or less."""
    cost: int = 0
    """To tell: nano-dollars."""
    spent: int = 0
    """This month, as last heard."""
    requests_alone: Bucket = field(default_factory=Bucket)
    tokens_alone: Bucket = field(default_factory=Bucket)

    @property
    def limits(self) -> Limits:
        return self.key.limits or Limits()


@dataclass(slots=True)
class _Word:
    """One key's part of a round trip: what is told, and whether a call asks to be let in."""

    use: _Use
    asked: int | None = None
    answer: asyncio.Future[Admission] | None = None
    tokens: int = 0
    cost: int = 0

    def arguments(self, proxy: str) -> list[counting.Argument]:
        """Takes over what its key has to tell."""
        use = self.use
        self.tokens, self.cost, use.tokens, use.cost = use.tokens, use.cost, 0, 0
        said = counting.arguments(
            use.limits,
            proxy,
            asked=self.asked,
            in_flight=use.in_flight + use.asking,
            tokens=self.tokens,
            cost=self.cost,
            spent=use.spent,
        )
        use.asking += self.asked is not None
        return said

    def take_back(self) -> None:
        """It was not heard, or nobody knows: it will be told again. That may count a call's cost twice."""
        self.use.tokens += self.tokens
        self.use.cost += self.cost
        self.use.asking -= self.asked is not None
        self.tokens = self.cost = 0


class Counters:
    """One proxy's way to what keys have used. ``patience`` is how many seconds Redis may take."""

    def __init__(
        self,
        url: str,
        proxy: str,
        metrics: Metrics,
        *,
        patience: float = 0.5,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url, self._proxy, self._metrics = url, proxy, metrics
        self._patience, self._clock = patience, clock
        self._uses: dict[int, _Use] = {}
        self._asking: list[_Word] = []
        self._untold: set[int] = set()
        self._task: asyncio.Task[None] | None = None
        self._gathering: asyncio.TimerHandle | None = None
        self._beat_at = 0.0
        self._set_together(True)
        self.proxies = 1
        """How many count together, as last heard."""

    def start(self) -> None:
        """Begin to speak with Redis; again does nothing. Needless while no key has limits."""
        if self._task is None:
            self._wake, self._ended = asyncio.Event(), asyncio.Event()
            self._task = asyncio.create_task(self._speak())

    async def stop(self) -> None:
        """Tell what is left, if Redis listens."""
        if self._task is not None:
            # Told, not cancelled: there may be something left to tell.
            self._ended.set()
            self._wake.set()
            await self._task
            self._task = None

    async def admit(self, key: Key, tokens: int) -> Admission:
        """Let a call in that may come to so many tokens. Raises LimitedError. For keys with limits."""
        self.start()
        use = self._use(key)
        if not self.together:
            return self._admit_alone(use, tokens)
        answer: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()
        self._asking.append(_Word(use, tokens, answer))
        self._wake.set()
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                self.settle(answer.result(), 0, 0)
            raise

    def settle(self, admission: Admission, tokens: int, cost: int) -> None:
        """The call is over; it came to so many tokens and nano-dollars. Never waits."""
        # As it is known now: the key may have other limits by now than it was let in with.
        use = self._uses[admission.key.id]
        use.in_flight -= 1
        use.cost += cost
        if admission.together:
            use.tokens += tokens - admission.tokens
        else:
            # Of a minute that Redis did not count it need not know the tokens either.
            use.tokens_alone = use.tokens_alone.take(tokens - admission.tokens)
        self._untold.add(admission.key.id)
        if use.limits.concurrent is not None:
            # At another proxy a call may be waiting for the place.
            self._wake.set()
        elif self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self._wake.set()

    def _use(self, key: Key) -> _Use:
        month = limits.month(self._clock())
        use = self._uses.get(key.id)
        if use is None:
            use = self._uses[key.id] = _Use(key, month)
        use.key = key
        if use.month != month:
            use.month, use.spent = month, 0
        return use

    def _admit_alone(self, use: _Use, tokens: int) -> Admission:
        """By this proxy's share of the limits and what it knows of the budget."""
        mine, now = limits.share(use.limits, self.proxies), self._clock()
        requests = use.requests_alone.now(mine.requests, now) if mine.requests else Bucket()
        spoken = use.tokens_alone.now(mine.tokens, now) if mine.tokens else Bucket()
        before = Counts(requests.used, spoken.used, use.in_flight, use.spent + use.cost)
        if refused := limits.refused_by(mine, before, tokens):
            raise self._limited(mine, before, *refused)
        taken = min(tokens, mine.tokens) if mine.tokens else 0
        use.requests_alone, use.tokens_alone = requests.take(1), spoken.take(taken)
        use.in_flight += 1
        after = Counts(use.requests_alone.used, use.tokens_alone.used, use.in_flight, before.spent)
        return Admission(use.key, limits.headers(mine, after), taken, together=False)

    def _limited(self, found: Limits, counts: Counts, kind: Kind, seconds: float) -> LimitedError:
        if kind == "budget":
            seconds = limits.until_next_month(self._clock())
        return LimitedError(kind, [*limits.retry_after(kind, seconds), *limits.headers(found, counts)])

    async def _speak(self) -> None:
        # Only who counts pays for the client: its import takes a tenth of a second and 9 MB.
        from redis.asyncio import Redis  # noqa: PLC0415
        from redis.exceptions import RedisError  # noqa: PLC0415

        away = (RedisError, OSError, TimeoutError)
        client = Redis.from_url(
            self._url, socket_timeout=self._patience, socket_connect_timeout=self._patience, retry=None
        )
        pause = 0.0
        try:
            while True:
                is_last = self._ended.is_set()
                if not is_last:
                    await self._something_to_tell(pause)
                try:
                    await self._tell(client)
                except away as error:
                    if (task := asyncio.current_task()) is not None and task.cancelling():
                        # The client takes a cancellation in the middle of a read for a timeout.
                        raise asyncio.CancelledError from error
                    if self.together:
                        log.warning("limits are counted by each proxy alone: Redis is away: %s", error)
                    self._set_together(False)
                    pause = min(_MOST_PAUSE_SECONDS, max(_GATHER_SECONDS, 2 * pause))
                else:
                    if not self.together:
                        log.warning("limits are counted together again")
                    self._set_together(True)
                    pause = 0.0
                if is_last:
                    return
        finally:
            await client.aclose()

    def _set_together(self, together: bool) -> None:
        self.together = together
        self._metrics.limits_together.set(together)

    async def _something_to_tell(self, pause: float) -> None:
        """Wait for it; after a failure only for a while, and then see whether Redis is back."""
        wait, event = max(0.0, self._beat_at - time.monotonic()), self._wake
        if pause:
            wait, event, self._beat_at = pause, self._ended, 0.0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await event.wait()
        self._wake.clear()

    async def _tell(self, client: Redis) -> None:
        """One round trip with all there is to tell and to ask; what could not be told is kept."""
        now = time.monotonic()
        is_beat = now >= self._beat_at
        # Who has gone meanwhile asks no more.
        words, self._asking = [word for word in self._asking if not _gone(word)], []
        untold, self._untold = self._untold, set()
        if is_beat:
            untold |= {id_ for id_, use in self._uses.items() if use.in_flight}
        words += [_Word(self._uses[id_]) for id_ in untold - {word.use.key.id for word in words}]
        if not words and not is_beat:
            return
        try:
            replies = await self._round_trip(client, words, is_beat=is_beat)
        except BaseException:
            self._set_together(False)
            for word in words:
                self._decide_alone(word)
            raise
        if is_beat:
            self.proxies, self._beat_at = replies.pop(), now + _BEAT_SECONDS
        for word, reply in zip(words, replies, strict=True):
            self._hear(word, reply)

    async def _round_trip(self, client: Redis, words: Sequence[_Word], *, is_beat: bool) -> list[Any]:
        """The script's answers; on a beat, then the number of living proxies. Raises RedisError, OSError."""
        from redis.exceptions import NoScriptError  # noqa: PLC0415

        said = [
            (*counting.names(word.use.key.id, word.use.month), *word.arguments(self._proxy)) for word in words
        ]
        while True:
            pipeline = client.pipeline(transaction=False)
            for one in said:
                pipeline.evalsha(counting.SHA, 3, *one)
            if is_beat:
                pipeline.eval(counting.COUNT_LIVING, 1, counting.LIVING, self._proxy)
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
            errors = [reply for reply in replies if isinstance(reply, Exception)]
            if not errors:
                return replies
            if not isinstance(errors[0], NoScriptError):
                raise errors[0]
            # Wiped, or new: it has to be given the script.
            await client.script_load(counting.SCRIPT)

    def _hear(self, word: _Word, reply: Sequence[bytes]) -> None:
        use, answer = word.use, word.answer
        kind, seconds, counts = counting.read(reply)
        use.spent = counts.spent
        if word.asked is None or answer is None:
            return
        use.asking -= 1
        if kind is not None:
            # Calls that asked along with it said one too many.
            self._untold.add(use.key.id)
            if not answer.done():
                answer.set_exception(self._limited(use.limits, counts, kind, seconds))
            return
        use.in_flight += 1
        taken = min(word.asked, use.limits.tokens) if use.limits.tokens else 0
        admission = Admission(use.key, limits.headers(use.limits, counts), taken, together=True)
        if answer.done():
            self.settle(admission, 0, 0)
        else:
            answer.set_result(admission)

    def _decide_alone(self, word: _Word) -> None:
        word.take_back()
        self._untold.add(word.use.key.id)
        if word.answer is None or word.asked is None or word.answer.done():
            return
        try:
            word.answer.set_result(self._admit_alone(word.use, word.asked))
        except LimitedError as error:
            word.answer.set_exception(error)


def _gone(word: _Word) -> bool:
    return word.answer is not None and word.answer.done()
