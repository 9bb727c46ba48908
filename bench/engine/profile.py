"""Where a step's time goes when its tokens are captured: ``python -m bench.engine.profile``, beside vLLM.

One step of ``--requests`` requests, part by part: on the device (log-softmax over the vocabulary, top k, the
One step of ``--requests`` requests, part by part: on the device (log-softmax over the vocabulary, top k,
front end (reading the message, what each way makes of the rows). Milliseconds a step, medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
from vllm.v1.engine.logprobs import LogprobsProcessor
from vllm.v1.outputs import LogprobsLists
from vllm.v1.sample.sampler import Sampler
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

from inference.engine.collector import Collector


def _device_times(requests: int, vocabulary: int, top_k: int, device: str) -> dict[str, float]:
    logits = torch.randn(requests, vocabulary, device=device, dtype=torch.bfloat16)
    sampled = torch.randint(0, vocabulary, (requests,), device=device)
    logprobs = logits.log_softmax(dim=-1, dtype=torch.float32)
    gathered = Sampler.gather_logprobs(logprobs, top_k, sampled)
    return {
        "log_softmax": _timed(lambda: logits.log_softmax(dim=-1, dtype=torch.float32), device),
        "top_k": _timed(lambda: torch.topk(logprobs, top_k, dim=-1), device),
        "top_k_rank_and_gather": _timed(lambda: Sampler.gather_logprobs(logprobs, top_k, sampled), device),
        "copy_to_host": _timed(gathered.tolists, device),
    }


def _host_times(requests: int, top_k: int, tokenizer: Any) -> dict[str, float]:
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 40_000, (requests, top_k + 1), dtype=np.int32)
    logprobs = rng.standard_normal((requests, top_k + 1), dtype=np.float32)
    lists = LogprobsLists(ids, logprobs, np.ones(requests, np.int32), None)

    def outputs() -> EngineCoreOutputs:
        return EngineCoreOutputs(
            outputs=[
                EngineCoreOutput(f"chatcmpl-{one:032x}", [1], lists.slice_request(one, 1))
                for one in range(requests)
            ]
        )

    encoder, decoder, made = MsgpackEncoder(), MsgpackDecoder(EngineCoreOutputs), outputs()
    plain = EngineCoreOutputs(
        outputs=[EngineCoreOutput(f"chatcmpl-{one:032x}", [1]) for one in range(requests)]
    )
    frames, plain_frames = encoder.encode(made), MsgpackEncoder().encode(plain)
    arrived = decoder.decode(frames)
    collector = Collector(top_k, 0, lambda block: None, lambda block, reason, kept: None)

    def collect() -> None:
        for output in arrived.outputs:
            collector.take(output.new_logprobs)

    def dictionaries() -> None:
        processor = LogprobsProcessor(tokenizer, [], None, 0.0, top_k, None)
        for output in arrived.outputs:
            processor.update_from_output(output)

    return {
        "core_rows": _timed(outputs, "cpu"),
        "core_message": _timed(lambda: encoder.encode(made), "cpu"),
        "core_message_without": _timed(lambda: MsgpackEncoder().encode(plain), "cpu"),
        "front_message": _timed(lambda: decoder.decode(frames), "cpu"),
        "front_message_without": _timed(lambda: decoder.decode(plain_frames), "cpu"),
        "front_collector": _timed(collect, "cpu"),
        "front_dictionaries": _timed(dictionaries, "cpu"),
    }


def _timed(work: Callable[[], Any], device: str, rounds: int = 30) -> float:
    """Milliseconds, the median; on a GPU with everything before it done."""
    took = []
    for number in range(rounds + 5):
        if device != "cpu":
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        if number >= 5:
            took.append(time.perf_counter() - began)
    return round(1000 * statistics.median(took), 4)


def main(arguments: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine.profile", description=__doc__)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=128_256)
    parser.add_argument("--tokenizer", required=True, help="a model's folder, for what the wire decodes")
    given = parser.parse_args(arguments)
    from transformers import AutoTokenizer  # noqa: PLC0415 - slow, and only after the arguments are right

    tokenizer = AutoTokenizer.from_pretrained(given.tokenizer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    told: dict[str, Any] = {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu"}
    for top_k in (5, 20):
        told[f"top{top_k}"] = {
            **_device_times(given.requests, given.vocabulary, top_k, device),
            **_host_times(given.requests, top_k, tokenizer),
        }
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
