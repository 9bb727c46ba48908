"""The real trainer on a tiny random Llama: it learns, stops when told, goes on as if it never had."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

PYTHON = Path(settings.TRAIN_PYTHON)
TRAINER = Path(__file__).parents[2] / "flywheel" / "trainer" / "train_lora.py"
pytestmark = [
    pytest.mark.wheel,
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no training environment at {PYTHON}"),
]
MAKE_MODEL = """
import sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
import torch
torch.manual_seed(0)
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.train_from_iterator([], trainers.BpeTrainer(
    vocab_size=300, special_tokens=["<|start|>", "<|end|>"], show_progress=False,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
fast.chat_template = (
    "{% for m in messages %}<|start|>{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant: {% endif %}")
config = LlamaConfig(vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                     num_attention_heads=2, num_key_value_heads=1, eos_token_id=1, pad_token_id=1)
LlamaForCausalLM(config).save_pretrained(sys.argv[1])
fast.save_pretrained(sys.argv[1])
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    subprocess.run([PYTHON, "-c", MAKE_MODEL, folder], check=True, capture_output=True)
    return folder


def chat(i: int) -> str:
    said = [("user", f"q{i}"), ("assistant", "yes" if i % 2 else "no")]
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in said]})


def prepare(folder: Path, model: Path, **config: Any) -> Path:
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(chat(i) + "\n" for i in range(16)))
    (folder / "watch.jsonl").write_text("".join(chat(i) + "\n" for i in range(16, 17)))
    told = {"model": str(model), "base_name": "tiny", "rank": 8, "alpha": 16, "learning_rate": 0.02,
            "batch_size": 4, "epochs": 10, "seed": 1, "max_tokens": 64}  # fmt: skip
    (folder / "config.json").write_text(json.dumps({**told, **config}))
    return folder


def begin(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [PYTHON, TRAINER, folder], stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def finish(folder: Path) -> int:
    with begin(folder) as trainer:
        return trainer.wait()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def wait_for_step(folder: Path, step: int) -> None:
    while not (folder / "metrics.jsonl").exists() or len(lines(folder / "metrics.jsonl")) < step:
        time.sleep(0.005)


def weights(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


def test_it_learns_and_goes_on_as_if_never_stopped(tmp_path: Path, model: Path) -> None:
    whole = prepare(tmp_path / "whole", model)
    assert finish(whole) == 0, (whole / "log.txt").read_text()
    steps = lines(whole / "metrics.jsonl")
    assert [step["step"] for step in steps] == list(range(1, 41))
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.3  # on random frozen weights, an adapter learns little
    assert [step["step"] for step in steps if step["eval_loss"] is not None] == list(range(4, 41, 4))
    assert [said["epoch"] for said in lines(whole / "answers.jsonl")] == list(range(11))
    assert [a["question"] for a in lines(whole / "answers.jsonl")[0]["answers"]] == ["q16"]
    result = json.loads((whole / "result.json").read_text())
    assert (result["steps"], result["rows"]) == (40, 16)
    settings = json.loads((whole / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "tiny"
    assert settings["target_modules"] == sorted(settings["target_modules"])
    assert (settings["peft_type"], settings["r"], settings["lora_alpha"]) == ("LORA", 8, 16)

    stopped = prepare(tmp_path / "stopped", model)
    with begin(stopped) as trainer:
        wait_for_step(stopped, 6)
        trainer.send_signal(signal.SIGTERM)
        assert trainer.wait() == 75
    with begin(stopped) as trainer:  # and once more: its supervisor dies
        wait_for_step(stopped, 16)
        assert trainer.stdin is not None
        trainer.stdin.close()
        assert trainer.wait() == 75
    assert finish(stopped) == 0
    again = lines(stopped / "metrics.jsonl")
    assert [step["step"] for step in again] == list(range(1, 41))
    assert [step["loss"] for step in again] == [step["loss"] for step in steps]
    assert weights(stopped) == weights(whole)


def test_rows_that_are_all_too_long_are_sent_back(tmp_path: Path, model: Path) -> None:
    folder = prepare(tmp_path / "run", model, max_tokens=16)
    assert finish(folder) == 65
    assert "shorter than 16 tokens" in (folder / "log.txt").read_text().splitlines()[-1]
