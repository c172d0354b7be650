"""How long a user waits: for help, for the import, and for the first round of the demonstration.

    python benchmarks/startup.py --repeats 5

"Under way" is when the first cell of the first round trains on a worker of a new local cluster, as
its heartbeat tells; "done" is when every cell has completed it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import xarray as xr


def command(*arguments: str) -> float:
    """Time a command from start to end."""
    run = [sys.executable, *arguments]
    return measuring.seconds(lambda: subprocess.run(run, check=True, stdout=subprocess.DEVNULL))


def training() -> tuple[float, float]:
    """Start the demonstration's grid; give the seconds until it trains, and of its first round."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "run"
        begun = time.perf_counter()
        arguments = ["train", "demo", "--workers", "2", "--set", "rounds=1", "--store", str(store)]
        process = subprocess.Popen(
            [sys.executable, "-m", "gandask", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        under_way = done = None
        while under_way is None or done is None:
            if process.poll() not in (None, 0):
                raise RuntimeError("the demonstration failed: run gandask train demo")
            now = time.perf_counter() - begun
            under_way = under_way or (now if trains(store / "heartbeat.json") else None)
            done = done or (now if completed(store / "run.json") else None)
            time.sleep(0.02)
        process.wait()
    return under_way, done


def read(path: Path) -> dict[str, Any]:
    """Read a file that is replaced whole, or nothing."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def trains(heartbeat: Path) -> bool:
    """Tell whether any slot is at work on the first round."""
    slots = dict(read(heartbeat).get("slots", {}))
    return any(told.get("round") == 1 and told["state"] == "processing" for told in slots.values())


def completed(description: Path) -> bool:
    """Tell whether every slot has done the first round."""
    return read(description).get("round") == 1


def main() -> None:
    """Measure in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    print(measuring.machine(), flush=True)
    rows = []
    for _ in range(asked.repeats):
        rows.append(
            [
                command("-c", "pass"),
                command("-m", "gandask", "--help"),
                command("-c", "import gandask"),
                *training(),
            ]
        )
    names = ["python alone", "gandask --help", "import gandask", "round under way", "round done"]
    found = xr.DataArray(
        np.array(rows).T, {"what": names}, ("what", "repeat"), attrs={"units": "s"}
    )
    for name in names:
        print(f"{name:16} {measuring.spread(found.sel(what=name))} s")
    measuring.keep(xr.Dataset({"time": found}), asked.output)


if __name__ == "__main__":
    main()
