"""What many labels cost: weak scaling, start-up, and the memory of a thousand.

    python benchmarks/many_labels.py weak --data-dir ../shared/data --repeats 3
    python benchmarks/many_labels.py startup --data-dir ../shared/data
    python benchmarks/many_labels.py memory --labels 50 1000

`weak` trains 1 to 10 labels of MNIST for as many iterations each, on one worker and on two, in
turn. `startup` tells what of a run's time goes by before its first task trains, and what finding
the samples of labels takes. `memory` trains labels of made-up points two at a time on two workers,
and looks at every process meanwhile; then it says by the model of `simulate.py`, from the time that
client and scheduler were at work for each of these tasks, what more workers would bring.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import psutil
from distributed import Client
from simulate import asynchronous

import gandask as gd
from gandask import cluster
from gandask.methods.perlabel.tasks import rows

MIB = 2**20
WORKERS = (10, 100, 1_000, 2_000)


# ---- weak scaling


def weak(asked: argparse.Namespace) -> None:
    """Print the time of 1 to 10 labels on one and on two workers, by that of one label on one."""
    with contextlib.ExitStack() as stack:
        clients = {n: stack.enter_context(cluster.local(n)) for n in (1, 2)}
        for client in clients.values():
            timed(mnist(asked, 2, 10), client)  # processes load torch and the data at first
        contenders = {
            f"{labels} labels, {workers} workers": lambda labels=labels, client=client: timed(
                mnist(asked, labels, asked.iterations), client
            )
            for labels in asked.labels
            for workers, client in clients.items()
        }
        found = measuring.interleaved(contenders, asked.repeats)
    found = found.assign_coords(
        contender=[name.replace("1 labels", "1 label") for name in contenders]
    )
    one = found.isel(contender=0)
    for name in found["contender"].values:
        labels, workers = (int(part.split()[0]) for part in name.split(", "))
        took = found.sel(contender=name)
        efficiency = one * labels / workers / took
        print(f"{name}: {measuring.spread(took, '.1f')} s, of ideal {measuring.spread(efficiency)}")
    measuring.keep(found.to_dataset(name="seconds"), asked.output)


def mnist(asked: argparse.Namespace, labels: int, iterations: int) -> gd.PerLabel:
    """Make the method that trains the first labels."""
    return gd.PerLabel(
        data="mnist",
        data_dir=asked.data_dir,
        base="dcgan",
        labels=tuple(range(labels)),
        budget=f"iterations:{iterations}",
        iterations_per_round=50,
        score_samples=0,
        final_samples=100,
        seed=1,
    )


def timed(method: gd.PerLabel, client: Client) -> float:
    """Time one run."""
    return measuring.seconds(lambda: gd.run(method, client=client, progress=False))


# ---- what is not training


def startup(asked: argparse.Namespace) -> None:
    """Print the share of a run's time that goes by before its first label trains."""
    method = mnist(asked, 10, asked.iterations)
    method.prepare()
    with cluster.local(2) as client, tempfile.TemporaryDirectory() as folder:
        begun = time.time()
        gd.run(method, client=client, store=Path(folder) / "run", progress=False)
        whole = time.time() - begun
        reports = [r for _, step in gd.open_run(Path(folder) / "run").store.steps() for r in step]
    trained = [report for report in reports if report.round]
    before = min(report.started for report in trained) - begun
    filtering = measuring.seconds(
        lambda: [rows(method.training, f"label/{label}", label) for label in range(10)]
    )
    inside = sum(sum(report.seconds.values()) for report in trained)
    told = f"a run of {whole:.1f} s, its processes new: {before:.2f} s, {before / whole:.1%}"
    print(f"{told}, before the first label trains; {inside / 2 / whole:.1%} in tasks")
    print(f"finding the samples of 10 labels: {filtering * 1000:.1f} ms, "
          f"{2 * filtering / whole:.3%} in both")  # fmt: skip


# ---- a thousand labels


def memory(asked: argparse.Namespace) -> None:
    """Print the memory of every process for each number of labels, and what the engine took."""
    with tempfile.TemporaryDirectory() as folder:
        data = made_up(Path(folder) / "points.npz", max(asked.labels))
        for labels in asked.labels:
            method = points(asked, data, labels)
            method.check()
            method.prepare()
            with cluster.local(2) as client:
                gd.run(points(asked, data, 2), client=client, progress=False)  # processes load
                kept = Path(folder) / f"run-{labels}"
                found = watched(partial(gd.run, method, client=client, store=kept, progress=False))
            tell_memory(labels, found, gd.open_run(kept))


def made_up(path: Path, labels: int) -> Path:
    """Write points around a centre for each label."""
    chance = np.random.default_rng(1)
    centres = chance.uniform(-0.8, 0.8, (labels, 2))
    samples = np.repeat(centres, 64, axis=0) + chance.normal(0, 0.02, (64 * labels, 2))
    np.savez(path, samples=samples.astype(np.float32), labels=np.repeat(np.arange(labels), 64))
    return path


def points(asked: argparse.Namespace, data: Path, labels: int) -> gd.PerLabel:
    """Make the method that trains the first labels, two at a time."""
    return gd.PerLabel(
        data=str(data),
        base=asked.base,
        labels=tuple(range(labels)),
        at_once=2,
        batch_size=32,
        budget="iterations:40",
        iterations_per_round=20,
        score_samples=0,
        final_samples=200,
        seed=1,
    )


def watched(function: Any) -> dict[str, list[float]]:
    """Run, and look at the memory that this process and its workers alone have, in MiB."""
    seen: dict[str, list[float]] = {"client": [], "workers": [], "seconds": [], "cpu": []}
    over = threading.Event()
    me = psutil.Process()

    def look() -> None:
        begun = time.monotonic()
        while not over.wait(0.5):
            workers = [p.memory_full_info().uss / MIB for p in me.children(recursive=True)]
            seen["client"].append(me.memory_full_info().uss / MIB)
            seen["workers"].append(sum(workers))
            seen["seconds"].append(time.monotonic() - begun)

    watch = threading.Thread(target=look)
    watch.start()
    before = time.process_time()
    try:
        function()
    finally:
        over.set()
        watch.join()
    seen["cpu"].append(time.process_time() - before)
    return seen


def tell_memory(labels: int, found: dict[str, list[float]], run: gd.Run) -> None:
    """Print what was seen, and what the model says of more workers."""
    reports = [report for _, step in run.store.steps() for report in step]
    size = sum(file.stat().st_size for file in run.store.checkpoints.all()[-1].iterdir())
    print(f"\n{labels} labels, {len(reports)} tasks, {found['seconds'][-1]:.0f} s, states of "
          f"{size / MIB:.0f} MiB in the store")  # fmt: skip
    for who in ("client", "workers"):
        course = found[who]
        marks = [course[int(share * (len(course) - 1))] for share in (0.1, 0.5, 1.0)]
        told = ", ".join(f"{mark:.0f}" for mark in marks)
        print(f"  {who}: {told} MiB after a tenth, a half, all; most {max(course):.0f}")
    pace = found["cpu"][0] / len(reports)
    print(f"  client and scheduler, one process here: {1000 * pace:.1f} ms of CPU a task")
    for workers in WORKERS:
        # every worker at work on a label of its own, in tasks of a minute
        times = np.full((1, workers), 60.0)
        share = 60.0 / asynchronous(workers, np.array([pace / 2]), times)
        print(f"  {workers} workers, tasks of 60 s: {share:.0%} of their time in tasks")


def main() -> None:
    """Measure the part that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["weak", "startup", "memory"])
    parser.add_argument("--data-dir", help="folder of MNIST/raw")
    parser.add_argument("--labels", type=int, nargs="+", default=[1, 2, 4, 6, 8, 10])
    parser.add_argument("--iterations", type=int, default=200, help="of a label of MNIST")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--base", default="mlp", help="networks of made-up points")
    parser.add_argument("--output", type=Path, help="zarr to keep weak scaling in")
    asked = parser.parse_args()
    print(measuring.machine(), flush=True)
    {"weak": weak, "startup": startup, "memory": memory}[asked.part](asked)


if __name__ == "__main__":
    main()
