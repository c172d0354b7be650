"""Few labels: a grid whose discriminators tell classes, a single pair, and plain classifiers.

    python benchmarks/semi_supervised.py digits --seeds 5 --keep digits.jsonl
    python benchmarks/semi_supervised.py mnist --data-dir ../shared/data --keep mnist.jsonl
    python benchmarks/semi_supervised.py digits --keep digits.jsonl --tell

The grid is the preset `semi-digits` or `semi-mnist`. The *single pair* takes as many batches as one
cell; the *long single pair* as many as all cells together. The *plain classifier* is the grid's
discriminator alone: the same network, labelled samples, batches of these, learning rate and number
of steps, without a generator and without the other samples; and *five* of them together tell the
mean of their probabilities, as a neighbourhood does. All are tested on the same held-out samples.

*Together* is the accuracy of a neighbourhood, in the mean over cells; *alone* that of a cell's own
discriminator. The *best cell* is chosen by the samples that it is tested on, and so looks better
than it is. A line that `--keep` holds is not made again: other settings want a file
of their own. `--tell` prints a table of what is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import torch

import gandask as gd
from gandask import config, presets
from gandask.core import torch_seed
from gandask.methods.grid.classes import OWN
from gandask.scores.accuracy import ACCURACY, accuracy, held_out, probabilities
from gandask.training.learner import Learner, fresh_moments
from gandask.training.networks import build
from gandask.training.supervision import Labelled

Found = Mapping[str, float]
GRID, SINGLE, LONG, PLAIN, FIVE = (
    "grid",
    "single pair",
    "long single pair",
    "plain classifier",
    "five plain classifiers",
)
CPU = torch.device("cpu")
UNSEEN = {"shown_samples": 0, "score_samples": 0}  # what happens on the way is not looked at


def grid(asked: argparse.Namespace, seed: int) -> gd.Grid:
    """Make the grid of a seed."""
    given = presets.read(f"semi-{asked.part}") | {"seed": seed, **UNSEEN}
    given |= {"data_dir": asked.data_dir} if asked.data_dir else {}
    given |= {"rounds": asked.rounds} if asked.rounds else {}
    given |= {"data_fraction": asked.data_fraction}
    given |= {"network": asked.network} if asked.network else {}
    given |= {"labelled": asked.labelled} if asked.labelled else {}
    made = config.from_dict(given, gd.METHODS)
    assert isinstance(made, gd.Grid)
    return made


def trained(method: gd.Grid) -> Found:
    """Train cells, and tell how accurate they are at the end."""
    ds = gd.run(method, progress=False)
    together, alone = ds[f"final_{ACCURACY}"], ds[f"final_{OWN}"]
    return {
        "together": float(together.mean()),
        "alone": float(alone.mean()),
        "best": float(together.max()),
        "fid": float(ds["final_fid"].mean()),
    }


def plain(method: gd.Grid, count: int) -> Found:
    """Train as many classifiers on the labelled samples alone."""
    t = method.training
    each = len(t.shard("cell/0")) // t.batch_size * method.epochs_per_round
    steps = method.rounds * each // (method.skip_discriminator_steps + 1)
    modules = []
    with t.settled():
        for index in range(count):
            key = ("plain", index)
            module = build(t.build_discriminator, torch_seed(t.seed, *key), t.initial_std)
            rate = t.rate("discriminator")
            learner = Learner.of(module, fresh_moments(module, rate), t.adam_betas)
            stream, changes = Labelled(t, CPU, *key), t.changes(CPU, *key)
            for _ in range(steps):
                learner.step(stream.loss(module, changes))
            modules.append(module)
        samples, classes = held_out(t, method.final_samples, CPU)
        found = probabilities(modules, samples)
    alone = [accuracy(one, classes) for one in found]
    return {"together": accuracy(found.sum(0), classes), "alone": float(np.mean(alone))}


def perform(asked: argparse.Namespace, name: str, seed: int) -> Found:
    """Perform a contender."""
    method = grid(asked, seed)
    if name in (PLAIN, FIVE):
        return plain(method, 5 if name == FIVE else 1)
    if name == GRID:
        return trained(method)
    cells = method.shape[0] * method.shape[1] if name == LONG else 1
    return trained(dataclasses.replace(measuring.single(method, cells), tournament_size=2))


def kept(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Read what is there."""
    path = Path(asked.keep)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def work(asked: argparse.Namespace) -> None:
    """Perform what is not there yet, seed by seed."""
    print(measuring.machine(), flush=True)
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        for name in asked.only or (GRID, SINGLE, LONG, PLAIN, FIVE):
            if any((one["name"], one["seed"]) == (name, seed) for one in kept(asked)):
                continue
            line = {"name": name, "seed": seed, **perform(asked, name, seed)}
            print(line, flush=True)
            with Path(asked.keep).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def told(lines: list[dict[str, Any]], key: str, scale: float = 100) -> str:
    """Write mean and deviation over seeds."""
    values = np.array([line[key] for line in lines if key in line]) * scale
    if not len(values):
        return ""
    return f"{values.mean():.1f}" + (f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else "")


def tell(asked: argparse.Namespace) -> None:
    """Print what is there, in the mean over seeds: accuracies in percent."""
    print("| | seeds | together | alone | best cell | FID |\n|---|---|---|---|---|---|")
    known = kept(asked)
    for name in dict.fromkeys(line["name"] for line in known):
        own = [line for line in known if line["name"] == name]
        cells = [told(own, key) for key in ("together", "alone", "best")]
        print(f"| {name} | {len(own)} | {' | '.join([*cells, told(own, 'fid', 1)])} |")


def main() -> None:
    """Perform what is not there yet, or tell what is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["digits", "mnist"])
    parser.add_argument("--data-dir", help="folder of MNIST/raw")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, help="fewer than the preset's")
    parser.add_argument("--data-fraction", type=float, default=1.0, help="per cell")
    parser.add_argument("--network", help="other than the preset's")
    parser.add_argument("--labelled", type=int, help="samples with labels, other than the preset's")
    parser.add_argument("--only", action="append", help="a contender; may be given again")
    parser.add_argument("--keep", default="semi_supervised.jsonl", help="file of one line a run")
    parser.add_argument("--tell", action="store_true", help="print a table of what is there")
    asked = parser.parse_args()
    if asked.tell:
        tell(asked)
    else:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        work(asked)


if __name__ == "__main__":
    main()
