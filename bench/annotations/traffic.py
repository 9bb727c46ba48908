"""The demonstration model's real traffic: phrases, answers, right answers, each token's probability.

Kept in traffic.jsonl, so that later benches need neither engine nor minutes. Made anew by

    python -m bench.annotations.traffic

from the desk's own traffic: the demonstration's model learns from the first phrases of it, as many as four
turns of the wheel judge, with the project's own trainer, and answers those that come next. Same phrases each
time; the arithmetic of another machine may differ in the last digit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flywheel.local import coding, traffic
from flywheel.local.engine import BASE_MODEL
from flywheel.local.home import ENGINE_PYTHON, ROOT, Home

SAMPLE = Path(__file__).with_name("traffic.jsonl")
LEARNT, WATCHED, ASKED, EPOCHS = 1024, 8, 2400, 3
_CONFIG = {"rank": 16, "alpha": 32, "learning_rate": 1e-3, "batch_size": 8, "seed": 1, "max_tokens": 128}


@dataclass(frozen=True, slots=True)
class Answered:
    """One exchange of the sample."""

    asked: str
    right: str
    answer: str
    p: list[float]
    """Of each token of the answer, the end included."""
    top: list[list[float]]
    """The five likeliest at each place."""

    @property
    def wrong(self) -> bool:
        return self.answer.strip() != self.right


def load(path: Path = SAMPLE) -> list[Answered]:
    """The sample; made first, in minutes, where it is not there."""
    if not path.exists():
        print("there is no sample of traffic yet: the model learns and answers first …", flush=True)
        make(Home.open(os.environ).models / BASE_MODEL, path)
    return [Answered(**json.loads(line)) for line in path.read_text().splitlines()]


def _messages(phrase: coding.Phrase) -> list[dict[str, str]]:
    return [{"role": "system", "content": coding.SYSTEM_PROMPT}, {"role": "user", "content": phrase.text}]


def _write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make(model: Path, out: Path = SAMPLE) -> None:
    """Train, answer, and write the sample, whole or not at all. Minutes long."""
    phrases = coding.draw(LEARNT + WATCHED + ASKED, traffic.SEED)
    learnt, asked = phrases[: LEARNT + WATCHED], phrases[LEARNT + WATCHED :]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            {"messages": [*_messages(one), {"role": "assistant", "content": one.label}]} for one in learnt
        ]
        _write(folder / "train.jsonl", rows[WATCHED:])
        _write(folder / "watch.jsonl", rows[:WATCHED])
        config = _CONFIG | {"model": str(model), "base_name": BASE_MODEL, "epochs": EPOCHS}
        (folder / "config.json").write_text(json.dumps(config))
        _write(folder / "asked.jsonl", [{"messages": _messages(one), "right": one.label} for one in asked])
        trainer = ROOT / "flywheel" / "trainer" / "train_lora.py"
        command = [str(ENGINE_PYTHON), str(trainer), name]
        # Its standard input stays open as long as we live: its end would mean to stop.
        with subprocess.Popen(command, stdin=subprocess.PIPE) as training:
            if training.wait():
                raise SystemExit("The training failed; its last line above says why.")
        answering = Path(__file__).with_name("answering.py")
        arguments = [str(model), str(folder / "adapter"), str(folder / "asked.jsonl"), name + "/told"]
        subprocess.run([str(ENGINE_PYTHON), str(answering), *arguments], check=True)
        out.write_bytes((folder / "told").read_bytes())


if __name__ == "__main__":
    home = Home.open(os.environ)
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else home.models / BASE_MODEL)
