"""The GPUs of this machine at /metrics, through NVML, under the names of NVIDIA's DCGM exporter.

    python -m inference.gpus --port 9400

For machines without that exporter. Needs `pip install nvidia-ml-py` and a driver; knows nothing else of
Flywheel. What a GPU does not tell is left out. XID errors come as events: the last one since this process
began is shown.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from inference.gpu_vitals import (
    MEMORY_FREE,
    MEMORY_USED,
    NAMES,
    POWER,
    POWER_CAP,
    TEMPERATURE,
    UTILISATION,
    XID,
)

LABELS = ("gpu", "UUID", "modelName")


class Gpus(Collector):
    """Every GPU as NVML knows it, read when asked. ``nvml``: the module pynvml, initialised."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        count = nvml.nvmlDeviceGetCount()
        self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        self._labels = [
            (str(index), _text(nvml.nvmlDeviceGetUUID(one)), _text(nvml.nvmlDeviceGetName(one)))
            for index, one in enumerate(self._handles)
        ]
        self._xid = [0] * count

    def collect(self) -> Iterable[GaugeMetricFamily]:
        families = {name: GaugeMetricFamily(name, text, labels=LABELS) for name, text in NAMES.items()}
        for index, handle in enumerate(self._handles):
            for name, value in self._read(handle, index):
                families[name].add_metric(self._labels[index], value)
        return families.values()

    def _read(self, handle: Any, index: int) -> Iterator[tuple[str, float]]:
        nvml = self._nvml
        readers: dict[str, Callable[[], float]] = {
            UTILISATION: lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            POWER: lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            POWER_CAP: lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000,
            TEMPERATURE: lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            MEMORY_USED: lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used / 2**20,
            MEMORY_FREE: lambda: nvml.nvmlDeviceGetMemoryInfo(handle).free / 2**20,
            XID: lambda: self._xid[index],
        }
        for name, read in readers.items():
            with contextlib.suppress(nvml.NVMLError):
                yield name, float(read())

    def listen(self) -> None:
        """Note XID errors as they come; returns when the driver reports none."""
        nvml = self._nvml
        try:
            events = nvml.nvmlEventSetCreate()
            for handle in self._handles:
                nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, events)
        except nvml.NVMLError:
            return
        while True:
            try:
                event = nvml.nvmlEventSetWait_v2(events, 10_000)
            except nvml.NVMLError_Timeout:
                continue
            except nvml.NVMLError:
                return
            self.note(nvml.nvmlDeviceGetIndex(event.device), event.eventData)

    def note(self, index: int, xid: int) -> None:
        """An XID error of a GPU."""
        self._xid[index] = int(xid)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def main(arguments: list[str] | None = None) -> int:
    """Serve until ended. Exit 1, with one line, where there is no NVML or no GPU."""
    parser = argparse.ArgumentParser(prog="python -m inference.gpus", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9400)
    options = parser.parse_args(arguments)
    try:
        import pynvml  # noqa: PLC0415 - optional: only GPU machines have it
    except ImportError:
        print("gpus: nvidia-ml-py is not installed", file=sys.stderr)
        return 1
    try:
        pynvml.nvmlInit()
        gpus = Gpus(pynvml)
        registry = CollectorRegistry()
        registry.register(gpus)
        _, serving = start_http_server(options.port, options.host, registry)
    except (pynvml.NVMLError, OSError) as error:
        print(f"gpus: {error}", file=sys.stderr)
        return 1
    threading.Thread(target=gpus.listen, name="xid", daemon=True).start()
    serving.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
