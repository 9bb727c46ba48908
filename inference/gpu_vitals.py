"""A GPU's vitals from the metrics of NVIDIA's DCGM exporter. The one place that knows DCGM's names.

`python -m inference.gpus` shows the same names where there is no such exporter, so this is the only way in.
The exporter's own list has no power cap: add DCGM_FI_DEV_POWER_MGMT_LIMIT to its counters, or a GPU's power
is known in watts only and no share of anything.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # inference.gpus takes the names from here, on machines that have no HTTP client
    from inference.exposition import Page

UTILISATION = "DCGM_FI_DEV_GPU_UTIL"
POWER = "DCGM_FI_DEV_POWER_USAGE"
POWER_CAP = "DCGM_FI_DEV_POWER_MGMT_LIMIT"
TEMPERATURE = "DCGM_FI_DEV_GPU_TEMP"
MEMORY_USED = "DCGM_FI_DEV_FB_USED"
MEMORY_FREE = "DCGM_FI_DEV_FB_FREE"
XID = "DCGM_FI_DEV_XID_ERRORS"
NAMES = {
    UTILISATION: "GPU utilisation (in %).",
    POWER: "Power draw (in W).",
    POWER_CAP: "Current power limit (in W).",
    TEMPERATURE: "GPU temperature (in C).",
    MEMORY_USED: "Framebuffer memory used (in MiB).",
    MEMORY_FREE: "Framebuffer memory free (in MiB).",
    XID: "Value of the last XID error encountered.",
}
"""Each with the help that the exporter gives it."""


def vitals(page: Page, only: Collection[str] = ()) -> dict[str, dict[str, float]]:
    """Our metrics (inference.vitals) by GPU, named by its index; with ``only``, of those."""
    seen: dict[str, dict[str, float]] = {}
    for name in NAMES:
        for one in page.values(name):
            gpu = one.labels.get("gpu", "")
            # An instance of a GPU that is cut into several has no utilisation or power of its own.
            if gpu and "GPU_I_ID" not in one.labels and (not only or gpu in only):
                seen.setdefault(gpu, {})[name] = one.value
    return {gpu: _of(values) for gpu, values in seen.items()}


def _of(values: dict[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    if UTILISATION in values:
        found["gpu_utilisation"] = values[UTILISATION] / 100
    if POWER in values:
        found["gpu_power"] = values[POWER]
        if values.get(POWER_CAP, 0) > 0:
            found["gpu_power_share"] = values[POWER] / values[POWER_CAP]
    if TEMPERATURE in values:
        found["gpu_temperature"] = values[TEMPERATURE]
    if MEMORY_USED in values and values.get(MEMORY_FREE, -1) >= 0:
        whole = values[MEMORY_USED] + values[MEMORY_FREE]
        if whole > 0:
            found["gpu_memory"] = values[MEMORY_USED] / whole
    if XID in values:
        found["gpu_xid"] = values[XID]
    return found
