"""The engine's arithmetic for adapters against the plain formula, in the engine's own environment."""

import json
import subprocess

import pytest

from flywheel.local.home import ENGINE_PYTHON

pytestmark = [
    pytest.mark.wheel,
    pytest.mark.skipif(not ENGINE_PYTHON.exists(), reason=f"no engine at {ENGINE_PYTHON}"),
]
PROGRAM = """
import json, sys
import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper import get_punica_wrapper, punica_cpu
from inference.engine import adapters
if sys.argv[1] == "ours":
    adapters.install()
    adapters.install()
torch.manual_seed(0)
SLOTS, RANK, INPUTS, WIDTHS, SCALE = 3, 4, 16, (12, 8), 0.5
a = [torch.randn(SLOTS, 1, RANK, INPUTS) for _ in WIDTHS]
b = [torch.randn(SLOTS, 1, width, RANK) for width in WIDTHS]
worst = {}
wrapper = get_punica_wrapper(64, 8, device="cpu")
for name, slots in {
    "base alone": [-1] * 5, "one adapter": [1] * 5, "adapters": [0, 2, 2, 0, 1],
    "with the base": [-1, 2, -1, 0, 0], "one token": [2],
}.items():
    for prefill in (True, False):
        ids = tuple(slot + 1 for slot in slots)
        mapping = LoRAMapping(ids, ids, is_prefill=prefill)
        wrapper.update_metadata(mapping, [1, 2, 3], SLOTS, 100)
        x, y = torch.randn(len(slots), INPUTS), torch.randn(len(slots), sum(WIDTHS))
        right = y.clone()
        for token, slot in enumerate(slots):
            if slot >= 0:
                said = [b[i][slot, 0] @ (a[i][slot, 0] @ x[token]) * SCALE for i in range(len(WIDTHS))]
                right[token] += torch.cat(said)
        wrapper.add_lora_linear(y, x, tuple(a), tuple(b), SCALE, WIDTHS)
        worst[name] = max(worst.get(name, 0.0), (y - right).abs().max().item())
print(json.dumps({"class": type(wrapper).__name__, "worst": worst}))
"""


def computed(whose: str) -> dict[str, object]:
    ran = subprocess.run(
        [ENGINE_PYTHON, "-c", PROGRAM, whose], check=True, capture_output=True, text=True, timeout=200
    )
    found: dict[str, object] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_every_token_goes_through_its_own_adapter_or_none() -> None:
    found = computed("ours")
    assert found["class"] == "PunicaWrapperByAdapter"
    assert isinstance(found["worst"], dict)
    assert len(found["worst"]) == 5
    assert max(found["worst"].values()) < 1e-4, found["worst"]


def test_why_the_engines_own_way_is_not_used() -> None:
    """The day this fails, vLLM leaves the base model's tokens alone, and speed is the only reason."""
    found = computed("theirs")
    assert isinstance(found["worst"], dict)
    assert min(found["worst"].pop(name) for name in ("with the base", "base alone")) > 0.1
    assert max(found["worst"].values()) < 1e-4, found["worst"]
