"""Starts a process under a recorder.

    python -m tests.faults.recorded LOG FOLDER [BREAK] inference.proxy --port 8080

LOG gets what the process does to FOLDER. BREAK is a way of tests.faults.broken.
"""

import sys
from pathlib import Path

from tests.faults import broken, recorder

if __name__ == "__main__":
    log, folder, *rest = sys.argv[1:]
    recorder.recorder = recorder.Recorder(Path(log), Path(folder).resolve())
    recorder.recorder.install()
    if rest[0] in broken.WAYS:
        broken.break_it(rest.pop(0))
    broken.run(rest[0], rest[1:])
