"""Adapters on a CPU: one multiplication for each adapter of a batch, and none for the base model's tokens.

vLLM's own way on CPUs (lora/ops/torch_ops) copies an adapter's weights once for every token, which costs
more than the model itself; and a token of the base model that shares a batch with an adapter's takes slot
-1, which is the last slot, so that with every slot in use it is answered through somebody else's adapter.
The slots, the order of the slices and the arithmetic (float32 between the two matrices) are vLLM's. For the
engine of one machine (flywheel/local/engine.py); on GPUs vLLM has kernels of its own, and this is not
loaded.
"""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger("vllm.flywheel")


def install() -> None:
    """The entry point of ``vllm.general_plugins``; a vLLM that looks otherwise is left as it is."""
    try:
        from vllm.lora.punica_wrapper import punica_cpu  # noqa: PLC0415 - only in an engine's environment

        own = punica_cpu.PunicaWrapperCPU
        if not issubclass(own, ByAdapter):
            punica_cpu.PunicaWrapperCPU = type("PunicaWrapperByAdapter", (ByAdapter, own), {})
    except Exception as error:
        log.warning("adapters are applied token by token: %s", error)


class ByAdapter:
    """What is put before vLLM's class; ``_groups`` holds a step's tokens by adapter."""

    _groups: list[tuple[int, Any]]

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """Once a step: which tokens go through which slot. None: all of them."""
        super().update_metadata(*args, **kwargs)  # type: ignore[misc]
        slots = self.token_lora_indices  # type: ignore[attr-defined]
        used = slots.unique().tolist()
        if len(used) == 1:
            self._groups = [(used[0], None)] if used[0] >= 0 else []
        else:
            self._groups = [(slot, (slots == slot).nonzero().flatten()) for slot in used if slot >= 0]

    def add_lora_linear(  # noqa: PLR0917 - vLLM's order
        self,
        y: Any,
        x: Any,
        lora_a_stacked: tuple[Any, ...],
        lora_b_stacked: tuple[Any, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **kwargs: Any,
    ) -> None:
        """Add what the adapters say to ``y`` (tokens, outputs), in place; ``x`` is (tokens, inputs)."""
        x, y = x.view(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        for slot, tokens in self._groups:
            some = (x if tokens is None else x[tokens]).float()
            start = 0
            for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                narrow = (some @ a[slot, 0].float().T) * scale
                added = narrow.to(y.dtype) @ b[slot, 0].to(y.dtype).T
                part = y[:, start : start + width]
                part.add_(added) if tokens is None else part.index_add_(0, tokens, added)
                start += width
