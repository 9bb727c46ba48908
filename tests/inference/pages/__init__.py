"""What engines and GPU exporters answered at /metrics.

vllm-0.32-*: one engine on a CPU with a 135M model, seconds apart: after one answer, while the first of
twelve more is written, after them. h100-*: what `python -m inference.gpus` showed of an
H100 while it did nothing, multiplied matrices, and ran one kernel that only waits, as GPUs in a deadlock do.
The DCGM exporter's page is made from the names, types and labels that it
documents.
"""

import gzip
from pathlib import Path

HERE = Path(__file__).parent
SECONDS = {1: 19.35, 2: 21.40, 3: 32.10}
"""When each was taken."""


def vllm(number: int) -> str:
    """A recorded page."""
    return gzip.decompress((HERE / f"vllm-0.32-{number}.txt.gz").read_bytes()).decode()


def gpu(name: str) -> str:
    """A recorded page of a GPU: idle, busy or spinning."""
    return (HERE / f"h100-{name}.txt").read_text()


def dcgm(*gpus: dict[str, float]) -> str:
    """A page of the DCGM exporter: for each GPU its fields by name, without DCGM_FI_DEV_."""
    lines = []
    for name in sorted({name for gpu in gpus for name in gpu}):
        full = f"DCGM_FI_DEV_{name}"
        lines += [f"# HELP {full} x", f"# TYPE {full} gauge"]
        for index, gpu in enumerate(gpus):
            if name in gpu:
                labels = f'gpu="{index}",UUID="GPU-{index}",pci_bus_id="0",modelName="H200"'
                lines.append(f'{full}{{{labels},Hostname="gpu-1"}} {gpu[name]}')
    return "\n".join(lines) + "\n"


BUSY: dict[str, float] = {
    "GPU_UTIL": 98, "POWER_USAGE": 668, "POWER_MGMT_LIMIT": 700, "GPU_TEMP": 61, "FB_USED": 130_000,
    "FB_FREE": 13_771, "XID_ERRORS": 0,
}  # fmt: skip
"""A GPU at work."""
