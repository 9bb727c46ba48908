"""Stands in for the real trainer: same files, same signals, no learning. Runs in any Python.

The folder's config.json says how long (its epochs); a file `hold` in the folder keeps it waiting after
step 2, `fail` lets it crash there, `refuse` sends the rows back.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

folder = Path(sys.argv[1])
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())


def until_the_supervisor_dies() -> None:
    while os.read(0, 4096):
        pass
    stop.set()


threading.Thread(target=until_the_supervisor_dies, daemon=True).start()
config = json.loads((folder / "config.json").read_text())
checkpoint = folder / "checkpoint.pt"
first = int(checkpoint.read_text()) if checkpoint.exists() else 0
print("12:00:00 began at", first, flush=True)
if (folder / "refuse").exists():
    print("12:00:01 No row to learn from is short enough.", flush=True)
    os._exit(65)
total = config["epochs"] * 2
for step in range(first + 1, total + 1):
    line = {
        "step": step, "total": total, "epoch": (step + 1) // 2, "loss": 1 / step, "eval_loss": 0.5,
        "learning_rate": 1e-3, "gradient_norm": 1.0, "tokens": 100, "tokens_per_second": 50.0,
        "memory_bytes": 1, "time": time.time(),
    }  # fmt: skip
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    while step == 2 and (folder / "hold").exists() and not stop.is_set():
        time.sleep(0.01)
    if step == 2 and (folder / "fail").exists():
        raise RuntimeError("out of luck")
    if stop.is_set():
        checkpoint.write_text(str(step))
        os._exit(75)
adapter = folder / "adapter"
adapter.mkdir(exist_ok=True)
(adapter / "adapter_config.json").write_text('{"r": 16}')
(adapter / "adapter_model.safetensors").write_bytes((folder / "train.jsonl").read_bytes())
result = {"steps": total, "tokens": 100 * total, "seconds": 2.0 * total, "rows": 1}
(folder / "result.json").write_text(json.dumps(result))
os._exit(0)
