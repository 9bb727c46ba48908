"""An encrypted spool: nothing of it can be read without its key, and nothing is lost for want of one."""

import asyncio
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference import drain as drain_module
from inference import quarantine
from inference.drain import Drain, read_status
from inference.engine.recorder import Recorder
from inference.raw import RawExchange
from inference.spool import Damage, KeyMissingError, Keys, Spool, SpoolReader, frames
from inference.spool.frames import HEADER_BYTES, Position, Segment
from inference.uuid7 import uuid7
from tests.faults.workload import ModelStore
from tests.inference import spooled
from tests.inference.test_engine_record import rows, tag

# ruff: noqa: ASYNC240 – a test may wait for its disk

OLD, NEW = "0f" * 32, "a1" * 32
MARK = "xyzzy wheezes after exercise"
ZSTD = b"\x28\xb5\x2f\xfd"


def keys(*texts: str) -> Keys:
    return Keys.parse(" ".join(texts))


def raws(count: int = 3) -> list[RawExchange]:
    return [spooled.raw(number, user="anna", text=f"{MARK} {number}") for number in range(count)]


def everything(directory: Path, given: Keys | None) -> list[str]:
    with SpoolReader(directory, given) as reader:
        found = [raw.exchange_id for _, raw in reader.read(10_000)]
        assert reader.damage == []
    return found


def written(directory: Path) -> dict[str, bytes]:
    """All bytes of a spool's folder, but for what a reader writes of itself."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in ("status.json", "reader.lock", "masking.key")
    }


def segment_of(directory: Path) -> Path:
    (found,) = directory.glob("*.segment")
    return found


def pieces(path: Path, given: Keys | None) -> Iterator[tuple[int, frames.Frame | Damage]]:
    """A segment's frames and where each begins."""
    segment = Segment(path.parent, Position.parse(f"{path.stem}:0"), given)
    try:
        at = segment.offset
        while (found := segment.next()) is not None:
            yield at, found
            at = segment.offset
    finally:
        segment.close()


# What is written


async def test_nothing_of_a_text_is_on_the_disk_and_nothing_merely_compressed(tmp_path: Path) -> None:
    full = False

    def sync(descriptor: int) -> None:
        if full:
            raise OSError(28, "No space left on device")

    spool = Spool(tmp_path, keys=keys(NEW), lazy_seconds=0.001, sync=sync)
    spool.start()
    long = spool.record(uuid7())
    long.open({"route": "desk", "user": "anna"}, MARK.encode())
    long.write(os.urandom(70_000) + MARK.encode())
    await long.close({"end_reason": "complete", "error": MARK})
    lost = spool.record(uuid7())
    lost.open({"route": "desk"}, MARK.encode())
    await asyncio.sleep(0.02)
    full = True
    with pytest.raises(RuntimeError):
        await lost.close({"end_reason": "complete"})
    full = False
    while spool.error:  # noqa: ASYNC110 – the thread that clears it knows no events
        await asyncio.sleep(0.01)
    await spool.stop()
    content = b"".join(written(tmp_path).values())
    assert len(content) > 70_000
    for secret in (MARK.encode(), b"desk", b"anna", b"complete", ZSTD):
        assert secret not in content
    kinds = {
        found.kind
        for path in sorted(tmp_path.glob("*.segment"))
        for _, found in pieces(path, keys(NEW))
        if isinstance(found, frames.Frame)
    }
    assert kinds == set(frames.Kind)


async def test_what_was_closed_is_read_back_whole(tmp_path: Path) -> None:
    request, response = os.urandom(5000), os.urandom(300_000)
    spool = Spool(tmp_path, keys=keys(NEW))
    spool.start()
    recording = spool.record(uuid7())
    recording.open({"route": "desk"}, request)
    for start in range(0, len(response), 50_000):
        recording.write(response[start : start + 50_000])
    await recording.close({"end_reason": "complete", "status": 200})
    await spool.stop()
    with SpoolReader(tmp_path, keys(NEW)) as reader:
        ((_, raw),) = reader.read(10)
    assert (raw.opened, raw.request, raw.response) == ({"route": "desk"}, request, response)
    assert raw.closed == {"end_reason": "complete", "status": 200}


async def test_a_checkpoint_knows_where_an_encrypted_beginning_is(tmp_path: Path) -> None:
    spool = Spool(tmp_path, keys=keys(NEW))
    spool.start()
    with SpoolReader(tmp_path, keys(NEW)) as reader:
        first = spool.record(uuid7())
        first.open({}, b"one")
        await first.close({"end_reason": "complete"})
        long = spool.record(uuid7())
        long.open({}, b"asked")
        second = spool.record(uuid7())
        second.open({}, b"two")
        await second.close({"end_reason": "complete"})
        reader.commit(reader.read(10)[-1][0])
    await long.close({"end_reason": "complete"})
    await spool.stop()
    with SpoolReader(tmp_path, keys(NEW)) as reader:
        assert [raw.request for _, raw in reader.read(10)] == [b"asked"]
        assert reader.damage == []


async def test_what_is_written_again_after_a_failed_sync_can_be_read(tmp_path: Path) -> None:
    failing = {1}

    def sync(descriptor: int) -> None:
        if failing:
            failing.clear()
            raise OSError(5, "Input/output error")

    spool = Spool(tmp_path, keys=keys(NEW), sync=sync)
    spool.start()
    recording = spool.record(uuid7())
    recording.open({}, b"asked")
    await recording.close({"end_reason": "complete"})
    await spool.stop()
    first, second = sorted(tmp_path.glob("*.segment"))
    first.write_bytes(b"")
    assert second.stat().st_size > 0
    assert len(everything(tmp_path, keys(NEW))) == 1


def test_an_engines_records_are_encrypted_too(tmp_path: Path) -> None:
    async def run() -> None:
        one = Recorder(tmp_path / "spool", vllm="0.32.0", keys=keys(NEW))
        one.logprobs_mode = "raw_logprobs"
        one.start()
        for number in range(2):
            begun = one.collector(tag(), number, [7, 8])
            begun.take(rows(number, 2, 3))
            begun.end("stop", 2)
        one.stop()

    asyncio.run(run())
    content = b"".join(written(tmp_path / "spool").values())
    assert ZSTD not in content
    with SpoolReader(tmp_path / "spool", keys(NEW)) as reader:
        assert len(reader.read(10)) == 2


# A key that is missing, and one that is another


@pytest.mark.parametrize("given", [None, OLD], ids=["no key", "another key"])
def test_without_its_key_nothing_is_passed_over_or_called_damage(tmp_path: Path, given: str | None) -> None:
    ids = spooled.spool(tmp_path, raws(), keys(NEW))
    before = written(tmp_path)
    with SpoolReader(tmp_path, keys(given) if given else None) as reader:
        for _ in range(20):  # oftener than there are frames
            with pytest.raises(KeyMissingError, match=keys(NEW).ids[0]):
                reader.read(10)
        assert reader.damage == []
        oldest = reader.oldest_unread()
        assert oldest is not None
        assert int(oldest * 1000) == int(ids[0].replace("-", "")[:12], 16)
        reader.rewind()
        with pytest.raises(KeyMissingError):
            reader.take(10)
        assert reader.retire() == 0
    assert written(tmp_path) == before
    assert everything(tmp_path, keys(NEW)) == ids


@pytest.mark.parametrize("given", [None, OLD], ids=["no key", "another key"])
def test_a_drain_without_the_key_ends_with_one_line_and_leaves_all_as_it_was(
    tmp_path: Path, given: str | None
) -> None:
    ids = [*spooled.spool(tmp_path, raws()), *spooled.spool(tmp_path, raws(), keys(NEW))]
    before = written(tmp_path)
    env = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_SPOOL_KEY")}
    done = subprocess.run(
        [sys.executable, "-m", "inference.drain", "--spool", str(tmp_path)],
        env={**env, **({"FLYWHEEL_SPOOL_KEY": given} if given else {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = (one for one in done.stderr.splitlines() if " INFO " not in one)
    missing = keys(NEW).ids[0]
    assert line == (
        f"drain: the spool is encrypted under key {missing}, which neither FLYWHEEL_SPOOL_KEY nor "
        "FLYWHEEL_SPOOL_KEY_FILE gives; nothing was passed over"
    )
    assert written(tmp_path) == before
    status = read_status(tmp_path)
    assert status is not None
    assert missing in status.problem
    assert status.oldest_unstored_at is not None
    assert (status.stored, status.damaged, status.quarantined) == (0, 0, 0)
    drained = drain(tmp_path, keys(NEW), store := ModelStore())
    assert (drained.status.stored, drained.status.damaged) == (6, 0)
    assert sorted(str(row["exchange_id"]) for row in store.rows["exchanges"]) == sorted(ids)


def drain(spool: Path, given: Keys | None, store: ModelStore, **options: Any) -> Drain:
    made = Drain(spool, store.connect, keys=given, **options)
    try:
        while made.step():
            pass
    finally:
        made.close()
    return made


def test_plain_and_encrypted_frames_of_several_keys_are_one_spool(tmp_path: Path) -> None:
    """Plain first, then a key, then another one before it; then plain once more."""
    ids = spooled.spool(tmp_path, raws(2))
    ids += spooled.spool(tmp_path, raws(2), keys(OLD))
    ids += spooled.spool(tmp_path, raws(2), keys(NEW, OLD))
    ids += spooled.spool(tmp_path, raws(2))
    for missing, there in ((OLD, keys(NEW)), (NEW, keys(OLD)), (OLD, None)):
        with (
            SpoolReader(tmp_path, there) as reader,
            pytest.raises(KeyMissingError, match=keys(missing).ids[0]),
        ):
            reader.read(100)
    assert everything(tmp_path, keys(NEW, OLD)) == ids
    assert everything(tmp_path, keys(OLD, NEW)) == ids


def test_a_key_that_is_lost_takes_only_its_segments(tmp_path: Path) -> None:
    """As docs/govern.md says it: with them out of the way, the drain goes on with what came later."""
    spooled.spool(tmp_path, raws(2), keys(OLD))
    later = spooled.spool(tmp_path, raws(2), keys(NEW))
    store = ModelStore()
    with pytest.raises(KeyMissingError):
        drain(tmp_path, keys(NEW), store)
    first, _ = sorted(tmp_path.glob("*.segment"))
    first.rename(tmp_path / "lost")
    assert drain(tmp_path, keys(NEW), store).status.damaged == 0
    assert sorted(str(row["exchange_id"]) for row in store.rows["exchanges"]) == sorted(later)


def test_processes_that_prepare_need_no_key(tmp_path: Path) -> None:
    spooled.spool(tmp_path, raws(), keys(NEW))
    store = ModelStore()
    assert drain(tmp_path, keys(NEW), store, processes=1).status.stored == 3
    assert len(store.rows["exchanges"]) == 3


# What is not as it was written


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**9))
def test_a_flipped_byte_costs_at_most_its_exchange(
    tmp_path_factory: pytest.TempPathFactory, place: int
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    ids = spooled.spool(directory, raws(4), keys(NEW))
    path = segment_of(directory)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 0x10
    path.write_bytes(content)
    with SpoolReader(directory, keys(NEW)) as reader:
        found = [raw.exchange_id for _, raw in reader.read(100) if raw.closed["end_reason"] == "complete"]
        assert reader.damage
    assert len(found) >= 3
    assert found == [one for one in ids if one in found]


def test_a_flipped_byte_of_a_payload_is_told_from_a_missing_key(tmp_path: Path) -> None:
    """The checksum is over what is written, so that damage is known as such by who has no key."""
    spooled.spool(tmp_path, raws(1), keys(NEW))
    path = segment_of(tmp_path)
    for inside in (0, 10, 25):  # its key's id, its nonce, its text
        content = bytearray(path.read_bytes())
        content[HEADER_BYTES + inside] ^= 0x10
        (tmp_path / f"flipped-{inside}").mkdir()
        (tmp_path / f"flipped-{inside}" / path.name).write_bytes(content)
        with SpoolReader(tmp_path / f"flipped-{inside}", keys(NEW)) as reader:
            assert reader.read(10) == []
            assert [one.reason for one in reader.damage] == ["payload"]


@pytest.mark.parametrize("field", ["exchange", "kind", "sequence", "epoch"])
def test_no_frame_can_stand_for_another(tmp_path: Path, field: str) -> None:
    first, second = spooled.spool(tmp_path, raws(2), keys(NEW))
    path = segment_of(tmp_path)
    begins = [at for at, _ in pieces(path, keys(NEW))]
    content = path.read_bytes()
    cut = [content[at:end] for at, end in zip(begins, [*begins[1:], len(content)], strict=True)]
    assert len(cut) == 4  # an open and a close frame each
    if field == "exchange":  # one user's question before another's answer
        cut[2] = reframed(cut[0], like=cut[2])
    elif field == "epoch":  # a frame of an earlier start of the proxy
        spooled.spool(tmp_path / "other", [spooled.raw(7)], keys(NEW))
        other = segment_of(tmp_path / "other").read_bytes()
        (_, opened), _ = pieces(segment_of(tmp_path / "other"), keys(NEW))
        assert isinstance(opened, frames.Frame)
        cut[2] = reframed(other[: opened.size], like=cut[2])
    else:
        cut[2] = reframed(cut[2], kind=3 * (field == "kind"), sequence=3 * (field == "sequence"))
    path.write_bytes(b"".join(cut))
    with SpoolReader(tmp_path, keys(NEW)) as reader:
        assert [raw.exchange_id for _, raw in reader.read(10)] == [first]
        assert any("not what was written" in one.reason for one in reader.damage)
        assert {one.exchange_id.hex() for one in reader.damage if one.exchange_id} <= {
            second.replace("-", "")
        }


def reframed(frame: bytes, *, like: bytes = b"", kind: int = 0, sequence: int = 0) -> bytes:
    """A frame's payload behind another header, with the checksums that belong there."""
    payload = frame[HEADER_BYTES:]
    fields = list(frames._HEADER.unpack_from(like or frame))
    fields[1], fields[4] = kind or fields[1], sequence or fields[4]
    fields[5], fields[8] = len(payload), zlib.crc32(payload)
    head = frames._HEADER.pack(*fields)
    return head + zlib.crc32(head).to_bytes(4, "little") + payload


# The keys


def test_nonces_differ_and_an_epoch_has_a_key_of_its_own() -> None:
    one = keys(NEW)
    sealed = [one.seal(b"text", b"about", epoch=7) for _ in range(2000)]
    assert len({each[8:20] for each in sealed}) == 2000
    assert {one.open(each, b"about", epoch=7) for each in sealed} == {b"text"}
    for about, epoch in ((b"other", 7), (b"about", 8)):
        with pytest.raises(ValueError, match="not what was written"):
            one.open(sealed[0], about, epoch=epoch)


def test_an_epochs_key_is_made_again_after_many_others() -> None:
    one = keys(NEW, OLD)
    sealed = {epoch: one.seal(b"text", b"", epoch=epoch) for epoch in range(250)}
    other = keys(OLD, NEW)
    assert {other.open(each, b"", epoch=epoch) for epoch, each in reversed(sealed.items())} == {b"text"}


@pytest.mark.parametrize("text", ["", " \n", "secret", "0f" * 31, "0f" * 33, "0g" * 32, f"{NEW},short"])
def test_what_is_no_key_is_refused_and_not_shown(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_SPOOL_KEY", text)
    with pytest.raises(ValueError, match="FLYWHEEL_SPOOL_KEY") as caught:
        Keys.from_environment()
    assert all(one not in str(caught.value) for one in text.replace(",", " ").split())


def test_keys_come_from_the_variable_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLYWHEEL_SPOOL_KEY", raising=False)
    monkeypatch.delenv("FLYWHEEL_SPOOL_KEY_FILE", raising=False)
    assert Keys.from_environment() is None
    monkeypatch.setenv("FLYWHEEL_SPOOL_KEY", f"{NEW.upper()},{OLD}")
    found = Keys.from_environment()
    assert found is not None
    assert found.ids == keys(NEW, OLD).ids
    path = tmp_path / "keys"
    monkeypatch.setenv("FLYWHEEL_SPOOL_KEY_FILE", str(path))
    with pytest.raises(ValueError, match="both"):
        Keys.from_environment()
    monkeypatch.delenv("FLYWHEEL_SPOOL_KEY")
    with pytest.raises(ValueError, match="can't be read"):
        Keys.from_environment()
    path.write_text(f"{OLD}\n{NEW}\n")
    found = Keys.from_environment()
    assert found is not None
    assert found.ids == keys(OLD, NEW).ids


def test_without_a_key_the_package_is_not_even_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLYWHEEL_SPOOL_KEY", raising=False)
    code = (
        "import sys, tempfile, pathlib\n"
        "import inference.proxy, inference.drain, inference.engine.recorder\n"
        "from tests.inference import spooled\n"
        "from inference.spool import SpoolReader\n"
        "folder = pathlib.Path(tempfile.mkdtemp())\n"
        "spooled.spool(folder, [spooled.raw(1)])\n"
        "assert len(SpoolReader(folder).read(5)) == 1\n"
        "print([one for one in sys.modules if one.startswith('cryptography')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("process", ["drain", "quarantine"])
def test_a_bad_key_ends_the_start_with_one_line(
    process: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLYWHEEL_SPOOL_KEY", "hunter2")
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    if process == "drain":
        assert drain_module.main(["--spool", str(tmp_path)]) == 2
    else:
        assert quarantine.main([str(tmp_path / "x.json")]) == 2
    said = f"{process}: a key of FLYWHEEL_SPOOL_KEY or FLYWHEEL_SPOOL_KEY_FILE is not 64 hexadecimal digits\n"
    assert capsys.readouterr().err == said


# What was kept aside


def kept_aside(tmp_path: Path, given: Keys | None) -> Path:
    """A spool whose only exchange can't be stored, drained."""
    broken = spooled.raw(1, user="anna", text=MARK)
    del broken.opened["route"]
    broken.opened["surface"] = MARK
    spooled.spool(tmp_path, [broken], given)
    assert drain(tmp_path, given, ModelStore()).status.quarantined == 1
    (found,) = (tmp_path / "quarantine").glob("*.json")
    return found


def test_what_is_kept_aside_of_an_encrypted_spool_is_encrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = kept_aside(tmp_path, keys(NEW))
    content = b"".join(written(tmp_path).values())
    for secret in (MARK.encode(), b"anna", b"opened", b"reason"):
        assert secret not in content
    assert set(orjson.loads(path.read_bytes())) == {"exchange_id", "attempt", "sealed"}
    monkeypatch.setenv("FLYWHEEL_SPOOL_KEY", f"{OLD},{NEW}")
    assert quarantine.main([str(path)]) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert (told["opened"]["user"], told["opened"]["surface"]) == ("anna", MARK)
    assert told["reason"]
    monkeypatch.setenv("FLYWHEEL_SPOOL_KEY", OLD)
    assert quarantine.main([str(path)]) == 2
    assert f"{path} is encrypted under key {keys(NEW).ids[0]}" in capsys.readouterr().err


def test_what_was_kept_aside_before_there_was_a_key_is_read_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = kept_aside(tmp_path, None)
    monkeypatch.setenv("FLYWHEEL_SPOOL_KEY", NEW)
    assert quarantine.main([str(path)]) == 0
    assert orjson.loads(capsys.readouterr().out)["opened"]["user"] == "anna"
    assert quarantine.main([str(tmp_path / "quarantine" / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err
