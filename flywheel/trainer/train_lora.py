"""Fine-tune a LoRA adapter in a folder of its own, and be stoppable and resumable at any time.

Run by flywheel.training as `python train_lora.py FOLDER` in the environment that has torch and peft. Knows
files only. In the folder it reads config.json (see Config), train.jsonl and watch.jsonl (one chat a line, its
last message the answer), and writes metrics.jsonl (a line a step), answers.jsonl (a line an epoch),
checkpoint.pt, and at the end adapter/ and result.json.

SIGTERM, and the end of standard input (the supervisor died), mean: write the checkpoint and stop with
STOPPED. Order of rows, learning rate and initial weights depend on the seed and the step alone, so a resumed
run goes on as if it had never stopped.
"""

import fcntl
import json
import math
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

STOPPED = 75
"""Exit status: stopped on request, checkpoint written."""
REFUSED = 65
"""Exit status: the rows or the settings can't be trained on; the last line of output says why."""
WARM_UP = 0.05
"""Share of the steps in which the learning rate rises from zero."""
LARGEST_GRADIENT = 1.0
# What Llama-like models call their linear layers, and what vLLM can apply an adapter to.
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
IGNORED = -100
"""The label that the loss leaves out."""


@dataclass(frozen=True)
class Config:
    """What config.json holds. ``model``: the base model's folder; ``base_name``: its name at the engine."""

    model: str
    base_name: str
    rank: int
    alpha: int
    learning_rate: float
    batch_size: int
    epochs: int
    seed: int
    max_tokens: int


@dataclass(frozen=True)
class Example:
    """A row in tokens: the loss is taken over ids[prompt:] only."""

    ids: list[int]
    prompt: int
    question: str
    answer: str


class Stop:
    """Set by SIGTERM, and by the end of standard input."""

    def __init__(self) -> None:
        self._event = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self._event.set())
        signal.signal(signal.SIGINT, lambda *_: self._event.set())
        if not sys.stdin.isatty():
            threading.Thread(target=self._until_the_supervisor_dies, daemon=True).start()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def _until_the_supervisor_dies(self) -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        self._event.set()


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """Can't be trained; the text says why."""


class Run:
    """One fine-tune: everything that ``train`` needs at hand."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder, self.config = folder, config
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        # Without oneDNN's kernels for them, 16-bit floats take far longer than 32-bit ones.
        fast = self.device == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self.precision = torch.bfloat16 if fast else torch.float32
        logging.disable_progress_bar()  # half a log of control characters
        say(f"loading {config.base_name} on {self.device} with {torch.get_num_threads()} threads")
        torch.manual_seed(config.seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(config.model)
        self.train = self.load("train.jsonl")
        self.watch = self.load("watch.jsonl")
        if not self.train:
            raise Refused(f"No row to learn from is shorter than {config.max_tokens} tokens.")
        base: Any = AutoModelForCausalLM.from_pretrained(config.model, dtype=self.precision)
        layers = sorted({n.rsplit(".", 1)[-1] for n, _ in base.named_modules()} & set(LAYERS))
        if not layers:
            raise Refused(f"{config.base_name} has none of the layers {', '.join(LAYERS)}.")
        lora = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=0.0,
            target_modules=layers,
            task_type="CAUSAL_LM",
        )
        self.model: Any = get_peft_model(base, lora).to(self.device)
        self.weights = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=config.learning_rate, weight_decay=0.0)
        self.steps_an_epoch = math.ceil(len(self.train) / config.batch_size)
        self.total = self.steps_an_epoch * config.epochs
        self.step = self.tokens = 0
        self.seconds = 0.0

    # Rows

    def load(self, name: str) -> list[Example]:
        """Rows of a file that are short enough, in tokens."""
        lines = (self.folder / name).read_text(encoding="utf-8").split("\n")
        examples = [self.tokenize(json.loads(line)["messages"]) for line in lines if line]
        kept = [e for e in examples if len(e.ids) <= self.config.max_tokens]
        if len(kept) < len(examples):
            say(f"{name}: {len(examples) - len(kept)} rows are longer than {self.config.max_tokens} tokens")
        return kept

    def tokenize(self, messages: list[dict[str, Any]]) -> Example:
        """With the model's own chat template, exactly as the engine will build the prompt."""
        *asked, answer = messages
        prompt = self.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        whole = self.tokenizer.apply_chat_template(messages, tokenize=False)
        if not whole.startswith(prompt):
            raise Refused("The model's chat template does not continue a prompt with its answer.")
        prompt_ids = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        # Apart, so that no token straddles the border: generation begins with a token of its own, too.
        answer_ids = self.tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"]
        return Example(prompt_ids + answer_ids, len(prompt_ids), str(asked[-1]["content"]), answer["content"])

    def batches(self, epoch: int) -> Iterator[list[Example]]:
        """The epoch's batches, in an order that only seed and epoch decide."""
        order = list(range(len(self.train)))
        random.Random(f"{self.config.seed} {epoch}").shuffle(order)  # noqa: S311 - an order, not a secret
        for start in range(0, len(order), self.config.batch_size):
            yield [self.train[i] for i in order[start : start + self.config.batch_size]]

    def autocast(self) -> torch.autocast:
        """Computes in the precision that the weights have."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision is torch.bfloat16)

    def loss(self, batch: list[Example]) -> torch.Tensor:
        """Mean negative log likelihood of the answers' tokens; rows padded to the longest of this batch."""
        longest = max(len(e.ids) for e in batch)
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
        for row, example in enumerate(batch):
            n = len(example.ids)
            ids[row, :n], mask[row, :n] = torch.tensor(example.ids), 1
            labels[row, example.prompt : n] = ids[row, example.prompt : n]
        ids, mask, labels = ids.to(self.device), mask.to(self.device), labels.to(self.device)
        with self.autocast():
            logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        scored = labels[:, 1:] != IGNORED
        return torch.nn.functional.cross_entropy(logits[:, :-1][scored].float(), labels[:, 1:][scored])

    # Steps

    def rate(self) -> float:
        """The step's learning rate: a short rise, then a straight fall to zero."""
        rise = max(1, round(self.total * WARM_UP))
        share = min((self.step + 1) / rise, (self.total - self.step) / max(1, self.total - rise))
        return self.config.learning_rate * min(1.0, share)

    def learn(self, batch: list[Example]) -> dict[str, Any]:
        """One step; returns its line of metrics."""
        began = time.monotonic()
        rate = self.rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        loss = self.loss(batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.weights, LARGEST_GRADIENT)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        took = time.monotonic() - began
        tokens = sum(len(e.ids) for e in batch)
        self.step, self.tokens, self.seconds = self.step + 1, self.tokens + tokens, self.seconds + took
        return {
            "step": self.step,
            "total": self.total,
            "epoch": math.ceil(self.step / self.steps_an_epoch),
            "loss": loss.item(),
            "eval_loss": None,
            "learning_rate": rate,
            "gradient_norm": norm.item(),
            "tokens": tokens,
            "tokens_per_second": tokens / took,
            "memory_bytes": self.memory(),
            "time": time.time(),
        }

    def memory(self) -> int:
        """Most memory held so far: the accelerator's, or the process's."""
        if self.device == "cuda":
            return int(torch.cuda.max_memory_allocated())
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def watch_loss(self) -> float | None:
        """Loss on rows never learned from, weighted by rows."""
        self.model.eval()
        total, size = 0.0, self.config.batch_size
        with torch.no_grad():
            for start in range(0, len(self.watch), size):
                batch = self.watch[start : start + size]
                total += self.loss(batch).item() * len(batch)
        return total / len(self.watch) if self.watch else None

    def answers(self, count: int = 5) -> list[dict[str, str]]:
        """What the model says by now to the first watched questions, asked together: the same each time."""
        watched = self.watch[:count]
        if not watched:
            return []
        self.model.eval()
        longest = max(e.prompt for e in watched)
        ids = torch.full((len(watched), longest), self.tokenizer.eos_token_id)
        mask = torch.zeros_like(ids)
        for row, example in enumerate(watched):  # to the left, where they go on from
            ids[row, longest - example.prompt :] = torch.tensor(example.ids[: example.prompt])
            mask[row, longest - example.prompt :] = 1
        with torch.no_grad(), self.autocast():
            out = self.model.generate(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                do_sample=False,
                max_new_tokens=max(len(e.ids) - e.prompt for e in watched) + 8,
                pad_token_id=self.tokenizer.eos_token_id,
            )
        said = self.tokenizer.batch_decode(out[:, longest:], skip_special_tokens=True)
        return [
            {"question": e.question, "expected": e.answer, "answer": text.strip()}
            for e, text in zip(watched, said, strict=True)
        ]

    # Files

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "adapter": get_peft_model_state_dict(self.model),
            "optimizer": self.optimizer.state_dict(),
        }
        part = self.folder / "checkpoint.part"
        torch.save(state, part)
        part.replace(self.folder / "checkpoint.pt")
        say(f"checkpoint at step {self.step}")

    def resume(self) -> None:
        """Go back to the checkpoint, if there is one; lines of later steps are dropped."""
        checkpoint = self.folder / "checkpoint.pt"
        if checkpoint.exists():
            state = torch.load(checkpoint, map_location=self.device, weights_only=True)
            set_peft_model_state_dict(self.model, state["adapter"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
            say(f"resumed at step {self.step}")
        for name in ("metrics.jsonl", "answers.jsonl"):
            self.drop_after(self.folder / name, self.step)

    @staticmethod
    def drop_after(path: Path, step: int) -> None:
        """Keep the whole lines up to a step; the last one may be torn."""
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def append(self, name: str, value: dict[str, Any]) -> None:
        """Add a line in one write, so that a reader sees it whole."""
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(value, ensure_ascii=False) + "\n")

    def write_adapter(self) -> None:
        """The adapter as peft and vLLM read it; equal weights give equal bytes."""
        folder = self.folder / "adapter"
        folder.mkdir(exist_ok=True)
        # In the precision the engine applies it in: what is hashed is what answers.
        weights = get_peft_model_state_dict(self.model)
        weights = {name: w.detach().to("cpu", torch.bfloat16).contiguous() for name, w in weights.items()}
        save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        (folder / "adapter_model.safetensors").chmod(0o644)  # the engine may run as somebody else
        settings = self.model.peft_config["default"].to_dict()
        settings["base_model_name_or_path"] = self.config.base_name  # the engine's resolver compares it
        settings["inference_mode"] = True
        text = json.dumps(settings, indent=2, sort_keys=True, default=sorted)
        (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")


def train(run: Run, stop: Stop) -> int:
    """Learn to the end or until stopped; the exit status."""
    run.resume()
    if not run.step:
        run.append("answers.jsonl", {"step": 0, "epoch": 0, "answers": run.answers()})
    while run.step < run.total:
        epoch, done = divmod(run.step, run.steps_an_epoch)
        for batch in list(run.batches(epoch))[done:]:
            if stop:
                run.save()
                return STOPPED
            line = run.learn(batch)
            if run.step % run.steps_an_epoch == 0:
                line["eval_loss"] = run.watch_loss()
                run.append("answers.jsonl", {"step": run.step, "epoch": epoch + 1, "answers": run.answers()})
            run.append("metrics.jsonl", line)
        run.save()
    run.write_adapter()
    result = {"steps": run.step, "tokens": run.tokens, "seconds": run.seconds, "rows": len(run.train)}
    part = run.folder / "result.part"
    part.write_text(json.dumps(result) + "\n", encoding="utf-8")
    part.replace(run.folder / "result.json")
    return 0


def alone(folder: Path) -> int:
    """Wait until no other trainer works in the folder; one whose supervisor died ends after its step.

    The lock is the process's: it ends with it. Returns the descriptor that holds it.
    """
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def say(text: str) -> None:
    """A line for the log."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def main() -> int:
    """Command line: the folder. Exit 0 with the adapter written, STOPPED, REFUSED, or a crash's status."""
    folder = Path(sys.argv[1])
    stop = Stop()
    os.nice(10)  # where an engine shares the machine, learning waits for answering
    alone(folder)
    try:
        config = Config(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
        return train(Run(folder, config), stop)
    except Refused as why:
        say(str(why))
        return REFUSED


if __name__ == "__main__":
    status = main()
    # The watching thread may be inside a read: leave without waiting for it.
    sys.stdout.flush()
    os._exit(status)
