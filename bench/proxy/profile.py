"""Where the proxy's time goes, by py-spy, while it is under load."""

import re
import subprocess
from collections import Counter
from pathlib import Path

from bench.proxy.install import BIN

_SAMPLES_A_SECOND = 400
_LINE = re.compile(r":\d+\)$")


def start(pid: int, seconds: float, to: Path) -> "subprocess.Popen[bytes]":
    """Sample a process for a while, C functions included; native frames are named where they have symbols."""
    command = [str(BIN / "py-spy"), "record", "--pid", str(pid), "--duration", str(max(1, round(seconds)))]
    command += ["--rate", str(_SAMPLES_A_SECOND), "--native", "--threads", "--format", "raw"]
    return subprocess.Popen([*command, "--output", str(to)], stdout=subprocess.DEVNULL)


def report(samples: Path, most: int = 40) -> str:
    """The functions with most samples of their own, and with those of what they call; by thread."""
    own: Counter[str] = Counter()
    under: Counter[str] = Counter()
    threads: Counter[str] = Counter()
    for row in samples.read_text().splitlines():
        stack, _, count = row.rpartition(" ")
        frames = [_LINE.sub(")", frame) for frame in stack.split(";")]
        threads[frames[0]] += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames[1:]):
            under[frame] += int(count)
    total = sum(threads.values()) or 1
    parts = [f"{total} samples"]
    for title, counted in (("threads", threads), ("own time", own), ("with what they call", under)):
        parts.append(f"\n{title}")
        parts += [f"  {100 * n / total:5.1f} %  {name}" for name, n in counted.most_common(most)]
    return "\n".join(parts)
