"""The tag, the collector, the record's form and the recorder: without vLLM, with its arrays."""

import asyncio
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import captured
from inference.engine.collector import FLUSH_BYTES, Collector
from inference.engine.form import Holds, block
from inference.engine.recorder import Recorder
from inference.engine.tag import KEY, Tag, TagError, tagged, untagged
from inference.raw import RawExchange
from inference.spool import SpoolReader

EXCHANGE = "01938f5e-7a00-7000-8000-00000000beef"


def tag(top_k: int | None = 2, **changes: Any) -> Tag:
    return Tag(**{"exchange_id": EXCHANGE, "attempt": 0, "started_us": 1_000, "top_k": top_k, **changes})


def rows(first: int, count: int, width: int) -> tuple[Any, Any, Any, None]:
    """Arrays as an engine's core sends them: ids, logprobs, ranks, and what is unused."""
    ids = np.arange(first, first + count * width, dtype=np.int32).reshape(count, width)
    return ids, -ids.astype(np.float32) / 7, np.ones(count, np.int32), None


def read_back(folder: Path) -> list[captured.CapturedTokens]:
    with SpoolReader(folder) as reader:
        return [captured.read(raw) for _, raw in reader.read(1000)]


# The tag


@given(
    top_k=st.none() | st.integers(0, 20), prompt=st.none() | st.integers(0, 20), attempt=st.integers(0, 255)
)
def test_a_tag_is_what_was_written(top_k: int | None, prompt: int | None, attempt: int) -> None:
    one = tag(top_k, prompt_top_k=prompt, attempt=attempt, source="teacher", choice=3, prompt_from=9)
    assert Tag.parse(one.values()) == one


@pytest.mark.parametrize(
    "values",
    [None, "x", [], [2, *tag().values()[1:]], [1, "no id", *tag().values()[2:]], [*tag().values(), 1]],
)
def test_what_is_no_tag_is_refused(values: object) -> None:
    with pytest.raises(TagError):
        Tag.parse(values)


@pytest.mark.parametrize(
    ("place", "value"), [(2, 256), (3, -1), (4, 10_000), (4, "5"), (5, "w" * 300), (8, True)]
)
def test_a_tag_with_a_value_out_of_range_is_refused(place: int, value: object) -> None:
    values: list[Any] = list(tag().values())
    values[place] = value
    with pytest.raises(TagError):
        Tag.parse(values)


def test_a_clients_other_extra_arguments_stay_and_its_own_tag_goes() -> None:
    body = {"prompt": "x", "vllm_xargs": {"theirs": 1, KEY: ["forged"]}}
    assert tagged(body, tag())["vllm_xargs"] == {"theirs": 1, KEY: tag().values()}
    assert untagged(body) == {"prompt": "x", "vllm_xargs": {"theirs": 1}}
    assert body["vllm_xargs"] == {"theirs": 1, KEY: ["forged"]}
    harmless = {"prompt": "x", "vllm_xargs": {"theirs": 1}}
    assert untagged(harmless) is harmless


# The collector


class Sink:
    def __init__(self, top_k: int | None = 2, prompt_from: int = 0) -> None:
        self.blocks: list[bytes] = []
        self.ends: list[tuple[str, int]] = []
        self.collector = Collector(top_k, prompt_from, self.blocks.append, self._finish)

    def _finish(self, body: bytes, finish: str, kept: int) -> None:
        self.blocks.append(body)
        self.ends.append((finish, kept))

    def read(self, kept: int, **opened: Any) -> captured.CapturedTokens:
        header = {
            "exchange_id": EXCHANGE,
            "attempt": 0,
            "started_us": 1,
            "weights": "w",
            "tokenizer": "t",
            "logprobs_mode": "raw_logprobs",
            "choice": 0,
            "source": "engine",
            "prompt_from": 0,
            **opened,
        }
        closed = {"end_reason": "complete", "finish": "stop", "kept": kept}
        return captured.read(RawExchange("x", 0, header, b"", b"".join(self.blocks), closed))


def test_positions_come_back_with_their_alternatives_apart_from_the_sampled_token() -> None:
    sink = Sink(top_k=2)
    sink.collector.take(rows(0, 1, 3))
    sink.collector.take(rows(10, 2, 3))
    sink.collector.end("stop", 3)
    found = sink.read(3)
    assert found.complete
    assert found.tokens.ids == [0, 10, 13]
    assert found.tokens.top_ids == [1, 2, 11, 12, 14, 15]
    assert found.tokens.top_offsets == [0, 2, 4, 6]
    assert found.tokens.logprobs == [float(np.float32(-one) / np.float32(7)) for one in (0, 10, 13)]


def test_what_a_neighbour_in_the_batch_asked_for_is_cut_away() -> None:
    sink = Sink(top_k=1)
    sink.collector.take(rows(0, 1, 21))
    sink.collector.end("length", 1)
    assert sink.read(1).tokens.top_ids == [1]


def test_fewer_alternatives_than_asked_for_make_a_ragged_row() -> None:
    sink = Sink(top_k=3)
    sink.collector.take(rows(0, 1, 4))
    sink.collector.take(rows(10, 1, 2))
    sink.collector.end("stop", 2)
    found = sink.read(2).tokens
    assert found.ids == [0, 10]
    assert found.top_offsets == [0, 3, 4]
    assert found.top_ids == [1, 2, 3, 11]


def test_tokens_past_a_stop_string_go() -> None:
    sink = Sink(top_k=1)
    sink.collector.take(rows(0, 3, 2))
    sink.collector.end("stop", 2)
    found = sink.read(2)
    assert found.tokens.ids == [0, 2]
    assert found.tokens.top_offsets == [0, 1, 2]
    assert found.complete


def test_fewer_tokens_than_the_engine_counted_are_told() -> None:
    sink = Sink()
    sink.collector.take(rows(0, 1, 3))
    sink.collector.end("stop", 2)
    assert not sink.read(2).complete


def test_other_types_of_numbers_are_stored_alike() -> None:
    ids, logprobs, *_ = rows(0, 2, 3)
    sink = Sink()
    sink.collector.take((ids.astype(np.int64), logprobs.astype(np.float64), None, None))
    sink.collector.end("stop", 2)
    assert sink.read(2).tokens.top_ids == [1, 2, 4, 5]


def test_a_long_answer_leaves_memory_while_it_grows() -> None:
    sink = Sink(top_k=20)
    for position in range(2000):
        sink.collector.take(rows(position * 21, 1, 21))
    assert len(sink.blocks) > 5
    assert max(map(len, sink.blocks)) < FLUSH_BYTES * 2
    sink.collector.end("length", 2000)
    assert sink.read(2000).tokens.ids == [position * 21 for position in range(2000)]


def test_what_arrives_is_copied_out_of_the_message_that_holds_it() -> None:
    ids, logprobs, *_ = rows(0, 1, 3)
    sink = Sink()
    sink.collector.take((ids, logprobs, None, None))
    ids[:], logprobs[:] = 99, 0.0
    sink.collector.end("stop", 1)
    assert sink.read(1).tokens.ids == [0]


def test_a_choice_ends_once() -> None:
    sink = Sink()
    sink.collector.end("abort", 0)
    sink.collector.end("error", 0)
    assert sink.ends == [("abort", 0)]


def test_a_scoring_keeps_the_prompt_from_its_answer_on_and_no_generated_token() -> None:
    sink = Sink(top_k=None, prompt_from=3)
    # The first prompt token has no logprobs: row 0 is position 1.
    sink.collector.take_prompt(rows(0, 5, 3)[:3], 2)
    sink.collector.take(rows(100, 1, 3))
    sink.collector.end("length", 1)
    found = sink.read(1, prompt_from=3, source="teacher", choice=1)
    assert found.complete
    assert (found.tokens.source, found.tokens.choice) == ("teacher", 1)
    assert found.tokens.ids == [6, 9, 12]
    assert found.tokens.top_ids == [7, 8, 10, 11, 13, 14]


@given(cut=st.integers(0, 200))
def test_a_record_that_is_cut_off_is_told(cut: int) -> None:
    sink = Sink()
    sink.collector.take(rows(0, 4, 3))
    sink.collector.end("stop", 4)
    whole = b"".join(sink.blocks)
    header = {"prompt_from": 0}
    if cut % len(whole):
        with pytest.raises(ValueError, match=r"cut off|not a record"):
            captured.read(RawExchange("x", 0, header, b"", whole[: cut % len(whole)], {}))


# The recorder


async def _record(recorder: Recorder, count: int, *, prompt_ids: list[int] | None = None) -> None:
    for number in range(count):
        one = recorder.collector(tag(started_us=number), number, prompt_ids or [])
        one.take(rows(number, 2, 3))
        one.end("stop", 2)


def recorder(folder: Path, **limits: Any) -> Recorder:
    made = Recorder(folder, vllm="0.32.0", **limits)
    made.logprobs_mode = "raw_logprobs"
    return made


def test_records_are_in_the_spool_and_say_whose_they_are(tmp_path: Path) -> None:
    async def run() -> Recorder:
        one = recorder(tmp_path / "spool")
        one.start()
        await _record(one, 3, prompt_ids=[7, 8])
        one.stop()
        return one

    done = asyncio.run(run())
    assert (done.records, done.tokens, dict(done.dropped), done.problem) == (3, 6, {}, "")
    found = read_back(tmp_path / "spool")
    assert [(one.exchange_id, one.tokens.choice, one.prompt_ids) for one in found] == [
        (EXCHANGE, 0, [7, 8]),
        (EXCHANGE, 1, [7, 8]),
        (EXCHANGE, 2, [7, 8]),
    ]
    assert {one.logprobs_mode for one in found} == {"raw_logprobs"}


def test_a_record_is_written_out_when_the_event_loop_is_gone(tmp_path: Path) -> None:
    one = recorder(tmp_path / "spool")

    async def run() -> None:
        one.start()
        await _record(one, 1)

    asyncio.run(run())
    one.stop()
    assert len(read_back(tmp_path / "spool")) == 1


def test_a_full_queue_drops_and_counts_and_never_waits(tmp_path: Path) -> None:
    async def run() -> Recorder:
        one = recorder(tmp_path / "spool", queue_bytes=0)
        one.start()
        # Nothing of this is awaited, so the queue can't become shorter in between.
        for number in range(5):
            begun = one.collector(tag(), number, [])
            begun.take(rows(0, 2, 3))
            begun.end("stop", 2)
        one.stop()
        return one

    done = asyncio.run(run())
    assert (done.records, dict(done.dropped)) == (1, {"slow_disk": 4})
    assert len(read_back(tmp_path / "spool")) == 1


def test_a_record_that_is_dropped_halfway_is_no_record(tmp_path: Path) -> None:
    async def run() -> Recorder:
        one = recorder(tmp_path / "spool", queue_bytes=60_000)
        one.start()
        long = one.collector(tag(20), 0, [])
        for position in range(1000):
            long.take(rows(position, 1, 21))
        long.end("stop", 1000)
        one.stop()
        return one

    done = asyncio.run(run())
    assert dict(done.dropped) == {"slow_disk": 1}
    with SpoolReader(tmp_path / "spool") as reader:
        assert [raw.closed["end_reason"] for _, raw in reader.read(10)] == ["dropped"]


@pytest.mark.slow
def test_a_thousand_long_answers_at_once_take_a_bounded_room(tmp_path: Path) -> None:
    """Each answer comes to 252 KB; of each at most a block and a part of the spool's are in memory."""
    requests, steps, positions = 1000, 30, 50

    async def given_time(one: Recorder) -> None:
        while one.queued_bytes > 8 << 20:  # noqa: ASYNC110 – as an engine's next step gives the disk time
            await asyncio.sleep(0.01)

    async def run() -> tuple[Recorder, int]:
        one = recorder(tmp_path / "spool")
        one.start()
        tracemalloc.start()
        collectors = [one.collector(tag(20), number, []) for number in range(requests)]
        for step in range(steps):
            arrays = rows(step, positions, 21)
            for collector in collectors:
                collector.take(arrays)
            await given_time(one)
        _, most = tracemalloc.get_traced_memory()
        for collector in collectors:
            collector.end("length", steps * positions)
            await given_time(one)
        one.stop()
        return one, most

    try:
        done, most = asyncio.run(run())
    finally:
        tracemalloc.stop()
    assert (done.tokens, dict(done.dropped)) == (requests * steps * positions, {})
    assert most < 150 << 20, most


def test_a_full_disk_drops_and_says_so(tmp_path: Path) -> None:
    async def run() -> tuple[Recorder, str]:
        (tmp_path / "spool").mkdir()
        (tmp_path / "spool" / "0000000000000001-00000001.segment").write_bytes(b"x" * 100)
        one = recorder(tmp_path / "spool", limit_bytes=10)
        one.start()
        await _record(one, 1)
        problem = one.problem
        one.stop()
        return one, problem

    done, problem = asyncio.run(run())
    assert dict(done.dropped) == {"disk": 1}
    assert "limit" in problem


def test_the_second_front_end_of_an_engine_takes_a_spool_of_its_own(tmp_path: Path) -> None:
    async def run() -> list[Path]:
        both = [recorder(tmp_path / "spool"), recorder(tmp_path / "spool")]
        for one in both:
            one.start()
            await _record(one, 1)
        for one in both:
            one.stop()
        return [one.folder for one in both]

    folders = asyncio.run(run())
    assert [one.name for one in folders] == ["spool", "spool-2"]
    assert all(len(read_back(one)) == 1 for one in folders)


def test_without_an_event_loop_nothing_is_captured_and_it_says_why(tmp_path: Path) -> None:
    one = recorder(tmp_path / "spool")
    begun = one.collector(tag(), 0, [])
    begun.take(rows(0, 1, 3))
    begun.end("stop", 1)
    assert dict(one.dropped) == {"no_spool": 1}
    assert "loop" in one.problem


def test_the_blocks_say_what_they_hold() -> None:
    assert block(Holds.PROMPT_IDS, 1, 1, b"abcd", b"")[:1] == b"\x03"
