"""The spool: what is durable stays, in order, once; what is damaged costs only itself."""

import asyncio
import contextlib
import os
import pickle
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.raw import RawExchange
from inference.spool import (
    Position,
    Recording,
    Spool,
    SpoolBusyError,
    SpoolFailedError,
    SpoolReader,
    frames,
    writer,
)
from inference.spool.reader import decode
from inference.uuid7 import uuid7

# ruff: noqa: ASYNC240 – a test may wait for its disk


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    made = Spool(tmp_path / "spool", lazy_seconds=0.001)
    made.start()
    yield made
    await made.stop()


async def put(spool: Spool, request: bytes = b"{}", response: bytes = b"ok", **closed: Any) -> str:
    recording = begin(spool, request)
    recording.write(response)
    await recording.close({"end_reason": "complete", **closed})
    return name(recording)


def begin(spool: Spool, request: bytes = b"{}") -> Recording:
    recording = spool.record(uuid7())
    recording.open({"route": "desk"}, request)
    return recording


def name(recording: Recording) -> str:
    return str(UUID(bytes=recording.exchange_id))


async def fill(spool: Spool) -> None:
    for _ in range(100):
        await put(spool, response=os.urandom(5000))


async def healthy(spool: Spool) -> None:
    while spool.error:  # noqa: ASYNC110 – the thread that clears it knows no events
        await asyncio.sleep(0.01)


def everything(directory: Path) -> list[RawExchange]:
    with SpoolReader(directory) as reader:
        return [raw for _, raw in reader.read(10_000)]


async def test_what_was_closed_is_read_back_whole(spool: Spool) -> None:
    request, response = os.urandom(5000), os.urandom(300_000)
    exchange_id = await put(spool, request, response, status=200, attempt=2)
    with SpoolReader(spool.directory) as reader:
        ((_, raw),) = reader.read(10)
    assert raw == RawExchange(
        exchange_id,
        2,
        {"route": "desk"},
        request,
        response,
        {"end_reason": "complete", "status": 200, "attempt": 2},
    )


async def test_order_is_that_of_the_ends(spool: Spool) -> None:
    first, second = begin(spool), begin(spool)
    await second.close({"end_reason": "complete"})
    await first.close({"end_reason": "complete"})
    assert [raw.exchange_id for raw in everything(spool.directory)] == [name(second), name(first)]


async def test_a_checkpoint_keeps_what_began_before_it_and_ends_after(spool: Spool) -> None:
    long = begin(spool)
    long.write(b"x" * 100_000)
    short = await put(spool)
    with SpoolReader(spool.directory) as reader:
        ((position, raw),) = reader.read(10)
        assert raw.exchange_id == short
        reader.commit(position)
    await long.close({"end_reason": "complete"})
    (raw,) = everything(spool.directory)
    assert raw.exchange_id == name(long)
    assert raw.response == b"x" * 100_000


async def test_a_recorded_batch_is_read_again_as_it_was(spool: Spool) -> None:
    ids = [await put(spool) for _ in range(7)]
    with SpoolReader(spool.directory) as reader:
        batch = reader.read(3)
        end = batch[-1][0]
        assert reader.read(3)[0][1].exchange_id == ids[3]
    with SpoolReader(spool.directory) as reader:
        assert reader.read(1, until=Position.parse(str(end))) == batch
        assert [raw.exchange_id for _, raw in reader.read(100)] == ids[3:]
        reader.rewind()
        assert [raw.exchange_id for _, raw in reader.read(100)] == ids


async def test_an_old_segment_leaves_the_disk_without_more_traffic(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_seconds=0.05)
    spool.start()
    with SpoolReader(tmp_path) as reader:
        await put(spool, response=b"stored long ago")
        ((end, _),) = reader.read(5)
        reader.commit(end)
        first = tmp_path / end.segment
        while first.exists():  # else the test's own limit ends it
            await asyncio.sleep(0.01)
            reader.read(5)
            reader.retire()
        (second,) = tmp_path.glob("*.segment")
        assert second.stat().st_size == 0
        await asyncio.sleep(0.2)  # an empty one stays
        assert list(tmp_path.glob("*.segment")) == [second]
    await spool.stop()


async def test_reading_follows_the_writer_over_segments_and_retires_them(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=2000)
    spool.start()
    with SpoolReader(tmp_path) as reader:
        seen = []
        for _ in range(20):
            written = await put(spool, response=os.urandom(1000))
            found = reader.read(5)
            seen += [raw.exchange_id for _, raw in found]
            assert seen[-1] == written
            reader.commit(found[-1][0])
        assert reader.oldest_unread() is None
        assert reader.retire() > 3
        assert len(list(tmp_path.glob("*.segment"))) == 1
        later = await put(spool)
        oldest = reader.oldest_unread()
        assert oldest is not None
        assert int(oldest * 1000) == int(later.replace("-", "")[:12], 16)
    await spool.stop()
    assert [raw.exchange_id for raw in everything(tmp_path)] == [later]


async def test_a_dead_epochs_open_exchanges_end_as_proxy_died(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.start()
    orphans = [begin(spool, b"asked"), begin(spool)]
    orphans[0].write(b"y" * 70_000)
    done = await put(spool)
    with SpoolReader(tmp_path) as reader:
        assert [raw.exchange_id for _, raw in reader.read(10)] == [done]
    await spool.stop()
    with SpoolReader(tmp_path) as reader:
        found = reader.read(10)
        assert [raw.exchange_id for _, raw in found] == [done, *map(name, orphans)]
        assert found[1][1].closed == {"end_reason": "proxy_died"}
        assert found[1][1].response == b"y" * 70_000
        reader.commit(found[1][0])
    # Committing one of the dead does not lose the other, nor does a new epoch.
    spool = Spool(tmp_path)
    spool.start()
    newest = await put(spool)
    with SpoolReader(tmp_path) as reader:
        found = reader.read(10)
        assert [raw.exchange_id for _, raw in found] == [name(orphans[1]), newest]
        reader.commit(found[-1][0])
        assert reader.retire() == 1
        assert len(list(tmp_path.glob("*.lock"))) == 3  # writer, reader, and the living epoch
    await spool.stop()


async def test_one_writer_and_one_reader(spool: Spool) -> None:
    with pytest.raises(SpoolBusyError):
        Spool(spool.directory).start()
    with SpoolReader(spool.directory), pytest.raises(SpoolBusyError):
        SpoolReader(spool.directory)


async def test_epochs_go_up_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Spool(tmp_path)
    first.start()
    await first.stop()
    monkeypatch.setattr("time.time_ns", lambda: 10**18)
    second = Spool(tmp_path)
    second.start()
    await second.stop()
    assert second.epoch > first.epoch


async def test_files_are_private(spool: Spool) -> None:
    await put(spool)
    modes = {path.name.split(".")[-1]: path.stat().st_mode & 0o777 for path in spool.directory.iterdir()}
    assert set(modes.values()) == {0o600}
    assert spool.directory.stat().st_mode & 0o777 == 0o700


async def test_a_close_returns_only_after_its_sync(tmp_path: Path) -> None:
    synced: list[int] = []

    def sync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)

    spool = Spool(tmp_path, sync=sync)
    spool.start()
    for count in range(1, 4):
        await put(spool)
        assert len(synced) == count
        (segment,) = tmp_path.glob("*.segment")
        assert synced[-1] == segment.stat().st_size
    await spool.stop()


async def test_load_shares_syncs(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.start()
    ids = await asyncio.gather(*(put(spool) for _ in range(500)))
    assert spool.commits < 100
    await spool.stop()
    assert {raw.exchange_id for raw in everything(tmp_path)} == set(ids)


async def test_a_failed_sync_moves_everything_unsynced_to_a_new_file(tmp_path: Path) -> None:
    failing: set[int] = set()
    calls: list[str] = []

    def sync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        calls.append(path)
        if failing:
            failing.clear()
            raise OSError(5, "Input/output error")

    spool = Spool(tmp_path, sync=sync)
    spool.start()
    before = await put(spool)
    long = begin(spool)
    long.write(b"z" * 100_000)
    failing.add(1)
    hit = await put(spool)
    await long.close({"end_reason": "complete"})
    await spool.stop()
    assert len(set(calls)) == 2
    assert calls[-1] != calls[1]
    assert calls.count(calls[1]) == 2  # one good, one bad: never again
    assert [raw.exchange_id for raw in everything(tmp_path)] == [before, hit, name(long)]
    # What the first file held unsynced may be gone: the new one has all of it.
    first = sorted(tmp_path.glob("*.segment"))[0]
    with first.open("r+b") as file:
        file.truncate(0)
    assert [raw.exchange_id for raw in everything(tmp_path)][-2:] == [hit, name(long)]


async def test_what_was_written_twice_is_in_doubt_for_the_next_reader(tmp_path: Path) -> None:
    failing: set[int] = set()

    def sync(descriptor: int) -> None:
        if failing:
            failing.clear()
            raise OSError(5, "Input/output error")

    spool = Spool(tmp_path, sync=sync)
    spool.start()
    await put(spool)
    long = begin(spool)
    await put(spool)  # the beginning of the long one is durable, its end goes twice
    with SpoolReader(tmp_path) as reader:
        failing.add(1)
        await asyncio.gather(put(spool), long.close({"end_reason": "complete"}))
        first, _ = reader.take(2)
        assert not any(one.doubtful for one in first)
        second = reader.read(10)
        assert len(second) == 2
        # Stored from the first copy; then this reader dies.
        copies = sorted(tmp_path.glob("*.segment"))
        assert len(copies) == 2
        at = [position for position, _ in second if position.segment == copies[0].name]
        assert len(at) == 2, "the reader reads in the order of writing"
        reader.commit(at[-1])
    with SpoolReader(tmp_path) as reader:
        taken, _ = reader.take(10)
        again = [decode(one).exchange_id for one in taken]
        assert set(again) <= {raw.exchange_id for _, raw in second}
        assert again
        assert all(one.doubtful for one in taken)
        assert not reader.damage
    await spool.stop()
    assert first


async def test_what_a_power_cut_reopens_is_in_doubt(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.start()
    holder, cut = begin(spool), begin(spool)
    await put(spool)
    (segment,) = tmp_path.glob("*.segment")
    synced = segment.stat().st_size
    await cut.close({"end_reason": "complete"})
    with SpoolReader(tmp_path) as reader:
        reader.commit(reader.read(10)[-1][0])
    await holder.close({"end_reason": "complete"})
    await spool.stop()
    with segment.open("r+b") as file:
        file.truncate(synced)
    with SpoolReader(tmp_path) as reader:
        taken, _ = reader.take(10)
        assert name(cut) in [decode(one).exchange_id for one in taken if one.doubtful]


async def test_what_began_first_is_kept_until_all_that_was_given_with_it_is_committed(spool: Spool) -> None:
    """Exchanges end in another order than they begin; the earliest beginning not committed is read from."""
    recordings = [begin(spool) for _ in range(6)]
    for one in (3, 0, 5, 1, 4, 2):
        await recordings[one].close({"end_reason": "complete"})
    for committed in range(7):
        with SpoolReader(spool.directory) as reader:
            given, _ = reader.take(10)
            assert len(given) == 6 - max(0, committed - 1)
            if committed:
                reader.commit(given[0].at)
            left = [one.started.at for one in given[committed > 0 :]]
            said = orjson.loads((spool.directory / "checkpoint").read_bytes())["from"] if committed else None
            assert said is None or said == str(min([*left, given[0].at]))


async def test_an_unreadable_checkpoint_puts_everything_in_doubt(spool: Spool) -> None:
    ids = [await put(spool) for _ in range(3)]
    with SpoolReader(spool.directory) as reader:
        reader.commit(reader.read(2)[-1][0])
    (spool.directory / "checkpoint").write_bytes(b"{nonsense")
    with SpoolReader(spool.directory) as reader:
        found, _ = reader.take(10)
        assert [decode(one).exchange_id for one in found] == ids
        assert all(one.doubtful for one in found)
        assert [one.segment for one in reader.damage] == ["checkpoint"]
        reader.commit(found[-1].at)
    assert everything(spool.directory) == []


async def test_a_disk_that_takes_nothing_is_said_and_got_over(tmp_path: Path) -> None:
    full = False

    def sync(descriptor: int) -> None:
        if full:
            raise OSError(28, "No space left on device")

    spool = Spool(tmp_path, sync=sync)
    spool.start()
    kept = await put(spool)
    full = True
    with pytest.raises(SpoolFailedError, match="No space left"):
        await put(spool)
    with pytest.raises(SpoolFailedError, match="No space left"):
        begin(spool)
    full = False
    await healthy(spool)
    after = await put(spool)
    await spool.stop()
    found = [raw.exchange_id for raw in everything(tmp_path)]
    assert found[0] == kept
    assert found[-1] == after


async def test_what_the_disk_lost_holds_no_segment_back(tmp_path: Path) -> None:
    full = False

    def sync(descriptor: int) -> None:
        if full:
            raise OSError(28, "No space left on device")

    spool = Spool(tmp_path, segment_bytes=2000, lazy_seconds=0.001, sync=sync)
    spool.start()
    lost = begin(spool, os.urandom(3000))
    await put(spool, response=os.urandom(3000))
    full = True
    with pytest.raises(SpoolFailedError):
        await lost.close({"end_reason": "complete"})
    full = False
    await healthy(spool)
    last = await put(spool, response=os.urandom(3000))
    with SpoolReader(tmp_path) as reader:
        found = reader.read(10)
        assert [raw.exchange_id for _, raw in found][1:] == [last]
        assert not reader.damage
        reader.commit(found[-1][0])
        reader.retire()
        assert len(list(tmp_path.glob("*.segment"))) == 1
    await spool.stop()
    assert everything(tmp_path) == []


@pytest.mark.slow
async def test_a_disk_that_stays_full_fills_up_with_no_files(tmp_path: Path) -> None:
    spool = Spool(tmp_path, sync=_no_space)
    spool.start()
    for _ in range(5):
        with pytest.raises(SpoolFailedError):
            await put(spool)
        await asyncio.sleep(0.2)  # it tries again by itself, too
    await spool.stop()
    assert len(list(tmp_path.glob("*.segment"))) <= 2


def _no_space(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.interpreted
async def test_what_cannot_be_encoded_costs_itself_alone(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = spool.record(uuid7())
    half.open({"route": "a lone surrogate \ud800"}, b"{}")
    await half.close({"end_reason": "bad_request"})

    def laid_out(header: dict[str, Any] | None, body: list[bytes]) -> bytes:
        if body == [b"poison"]:
            raise RuntimeError("no such thing")
        return frames.lay_out(header, body)

    monkeypatch.setattr(writer, "lay_out", laid_out)
    poisoned, other = begin(spool), begin(spool)
    poisoned.write(b"poison")
    with pytest.raises(SpoolFailedError, match="no such thing"):
        await poisoned.close({"end_reason": "complete"})
    await other.close({"end_reason": "complete"})
    assert not spool.error
    with SpoolReader(spool.directory) as reader:
        found = reader.read(10)
        assert [raw.exchange_id for _, raw in found] == [name(half), name(other)]
        assert found[0][1].opened == {"route": "a lone surrogate ?"}
        reader.commit(found[-1][0])
        assert reader._from == found[-1][0], "the poisoned one is waited for"


async def test_what_is_lost_after_its_end_is_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, sync=_no_space)
    spool.start()
    lost: list[int] = []
    recording = begin(spool)
    await recording.close({"end_reason": "complete"}, durable=False, on_loss=lambda: lost.append(1))
    with pytest.raises(SpoolFailedError):
        await put(spool)
    await spool.stop()
    assert lost == [1]


async def test_a_spool_at_its_limit_is_taken_and_got_over(tmp_path: Path) -> None:
    first = Spool(tmp_path, segment_bytes=1 << 20)
    first.start()
    for _ in range(40):
        await put(first, response=os.urandom(100_000))
    await first.stop()
    spool = Spool(tmp_path, limit_bytes=2 << 20)
    spool.start()
    assert "limit" in spool.error
    with SpoolReader(tmp_path) as reader:
        reader.commit(reader.read(1000)[-1][0])
        reader.retire()
    await healthy(spool)
    await put(spool)
    await spool.stop()


async def test_the_limit_counts_as_full(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=10_000, limit_bytes=50_000)
    spool.start()
    with pytest.raises(SpoolFailedError, match="limit"):
        await fill(spool)
    with SpoolReader(tmp_path) as reader:
        found = reader.read(1000)
        assert len(found) >= 8
        reader.commit(found[-1][0])
        reader.retire()
    await healthy(spool)
    await put(spool)
    await spool.stop()


async def test_a_slow_disk_holds_writers_back_not_in_memory(tmp_path: Path) -> None:
    gate = threading.Event()

    def sync(descriptor: int) -> None:
        gate.wait()

    spool = Spool(tmp_path, queue_bytes=1_000_000, sync=sync)
    spool.start()
    recording = begin(spool)
    tasks = [asyncio.create_task(put(spool)) for _ in range(3)]

    async def flood() -> None:
        for _ in range(100):
            recording.write(b"w" * 100_000)
            await spool.room()

    flooding = asyncio.create_task(flood())
    await asyncio.sleep(0.1)
    assert spool.queued_bytes < 1_300_000
    assert not flooding.done()
    gate.set()
    await flooding
    await recording.close({"end_reason": "complete"})
    await asyncio.gather(*tasks)
    await spool.stop()
    assert max(len(raw.response) for raw in everything(tmp_path)) == 10_000_000


def written(directory: Path, sizes: list[int]) -> tuple[list[str], bytes, Path]:
    """A spool of exchanges with answers of these sizes, all open at once; its ids in order and its bytes."""

    async def write() -> list[str]:
        spool = Spool(directory)
        spool.start()
        recordings = [begin(spool) for _ in sizes]
        for recording, size in zip(recordings, sizes, strict=True):
            recording.write(os.urandom(size))
        for recording in recordings:
            await recording.close({"end_reason": "complete"})
        await spool.stop()
        return [name(recording) for recording in recordings]

    ids = asyncio.run(write())
    (segment,) = directory.glob("*.segment")
    return ids, segment.read_bytes(), segment


Damager = Callable[[bytes, int], bytes]


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 150_000), min_size=1, max_size=5), data=st.data())
def test_a_flipped_byte_costs_at_most_its_exchange_and_is_reported(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    ids, content, segment = written(directory, sizes)
    segment.write_bytes(flip(content, data.draw(st.integers(0, len(content) - 1))))
    with SpoolReader(directory) as reader:
        found = [raw for _, raw in reader.read(100)]
        assert reader.damage
    complete = [raw.exchange_id for raw in found if raw.closed["end_reason"] == "complete"]
    assert len(complete) >= len(ids) - 1
    assert complete == [exchange_id for exchange_id in ids if exchange_id in complete]
    lengths = dict(zip(ids, sizes, strict=True))
    assert all(len(raw.response) == lengths[raw.exchange_id] for raw in found if raw.exchange_id in complete)


@pytest.mark.parametrize("place", [2, 9, 12, 20, 30, 42, 60])  # in its header, and in its payload
async def test_a_damaged_end_holds_no_segment_back(tmp_path: Path, place: int) -> None:
    spool = Spool(tmp_path, segment_bytes=2000)
    spool.start()
    hit = begin(spool)
    await put(spool)
    (segment,) = tmp_path.glob("*.segment")
    at = segment.stat().st_size
    await hit.close({"end_reason": "complete"})
    segment.write_bytes(flip(segment.read_bytes(), at + place))
    for _ in range(6):
        await put(spool, response=os.urandom(1000))
    with SpoolReader(tmp_path) as reader:
        found = reader.read(100)
        assert len(found) == 7
        assert [one.exchange_id for one in reader.damage] == [hit.exchange_id]
        reader.commit(found[-1][0])
        reader.retire()
        assert len(list(tmp_path.glob("*.segment"))) == 1
    await spool.stop()


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 150_000), min_size=1, max_size=5), data=st.data())
def test_a_torn_tail_costs_only_what_was_not_wholly_written(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    ids, content, segment = written(directory, sizes)
    with SpoolReader(directory) as reader:
        ends = [position.offset for position, _ in reader.read(100)]
    cut = data.draw(st.integers(0, len(content)))
    segment.write_bytes(content[:cut])
    found = everything(directory)
    complete = [raw.exchange_id for raw in found if raw.closed["end_reason"] == "complete"]
    assert complete == [exchange_id for exchange_id, end in zip(ids, ends, strict=True) if end <= cut]


@pytest.mark.parametrize(
    "text", ["", "x", "0-0:0", "0123456789abcdef-00000001", "0123456789abcdef-00000001:-1"]
)
def test_a_position_is_its_text(text: str) -> None:
    position = Position(0x123456789ABCDEF, 7, 12345678901234)
    assert Position.parse(str(position)) == position
    with pytest.raises(ValueError, match="position"):
        Position.parse(text)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.binary(max_size=40), st.integers(0, 40))
def test_a_payload_that_cannot_be_unpacked_costs_the_next_nothing(
    plain: list[bytes], broken: bytes, cut: int
) -> None:
    packed = frames.Packer().pack(plain)
    for payload, expected in zip(packed, plain, strict=True):
        for bad in (broken, payload[:cut], payload[:cut] + broken):
            if bad != payload:
                with contextlib.suppress(ValueError):
                    frames.unpack(bad)
        assert frames.unpack(payload) == expected


def test_threads_unpack_at_once() -> None:
    plain = [bytes([at]) * 200_000 for at in range(8)]
    packed = frames.Packer().pack(plain)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(frames.unpack, packed * 20)) == plain * 20


def test_a_place_goes_to_another_process() -> None:
    """As part of what a drain's processes prepare, compiled too."""
    at = Position(7, 2, 99)
    assert pickle.loads(pickle.dumps(at)) == at
