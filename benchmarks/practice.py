"""What common practice brings: one GAN with each of its settings, against the same GAN without.

    python benchmarks/practice.py digits --seeds 3 --output practice
    python benchmarks/practice.py mnist --seeds 3 --data-dir ../shared/data --output practice
    python benchmarks/practice.py cifar10 --seeds 3 --data-dir ../shared/data --output practice
    python benchmarks/practice.py digits --output practice --tell

All have as many batches of the generator, of as many samples, and are scored on as many samples by
the same reference, all of the data. A run that `--output` holds is not run again, so that a
benchmark goes on where it ended; `--only` names contenders. `--tell` prints a table of what is
there: means over seeds, and their standard deviations.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import xarray as xr

import gandask as gd

DATA = {"cifar10": "cifar10.zip/train"}
WASSERSTEIN: Mapping[str, Any] = {
    "base": "wgan",
    "loss": "wgan_gp",
    "learning_rate": 1e-4,
    "adam_betas": (0.0, 0.9),
}
CONTENDERS: Mapping[str, Mapping[str, Any]] = {
    "dcgan": {},
    "dcgan, average of weights": {"ema": 0.999},
    "dcgan, two rates": {"discriminator_learning_rate": 4e-4},
    "dcgan, bf16": {"precision": "bf16"},
    "sngan": {"base": "sngan", "loss": "hinge"},
    "critic": {"base": "wgan", "loss": "bce"},
    "critic, r1": {"base": "wgan", "loss": "bce", "r1": 1.0},
    "critic, dragan": {"base": "wgan", "loss": "bce", "dragan": 10.0},
    "wgan_gp, 1 step": WASSERSTEIN,
    "wgan_gp, 5 steps": {**WASSERSTEIN, "discriminator_steps": 5},
    "a tenth": {"data_fraction": 0.1},
    "a tenth, augmented": {"data_fraction": 0.1, "augment": "color,translation,cutout"},
}
SCORES = ("fid", "inception_score", "tvd")


def method(asked: argparse.Namespace, name: str, seed: int) -> gd.MGGAN:
    """Make a contender: one group is one GAN in a plain loop."""
    iterations = asked.iterations or (2000 if asked.part == "digits" else 1000)
    given: dict[str, Any] = {
        "data": DATA.get(asked.part, asked.part),
        "data_dir": asked.data_dir,
        "image_size": 16 if asked.part == "cifar10" else None,
        "groups": 1,
        "interval": 0,
        "base": "dcgan",
        "iterations": iterations,
        "iterations_per_round": 100,
        "score_every": iterations,
        "batch_size": 64,
        "learning_rate": 2e-4,
        "shown_samples": 0,
        "final_samples": asked.samples,
        "device": asked.device,
        "seed": seed,
    }
    return gd.MGGAN(**given | dict(CONTENDERS[name]))


def perform(asked: argparse.Namespace, name: str, seed: int, path: Path) -> None:
    """Train a contender, and keep what it came to."""
    ds = gd.run(method(asked, name, seed), progress=False)
    told = {score: ds[f"final_{score}"].item() for score in SCORES}
    told["seconds"] = float(ds["seconds"].sel(routine=["batch", "train"]).sum())
    partial_path = path.with_suffix(".partial")
    shutil.rmtree(partial_path, ignore_errors=True)
    facts = {"contender": name, "seed": seed, "machine": measuring.machine()}
    xr.Dataset(told, attrs=facts).to_zarr(partial_path, consolidated=False)
    partial_path.rename(path)


def place(asked: argparse.Namespace, name: str, seed: int) -> Path:
    """Name the zarr of a run."""
    return Path(asked.output) / f"{asked.part}-{re.sub(r'[^a-z0-9]+', '-', name)}-{seed}.zarr"


def train(asked: argparse.Namespace) -> None:
    """Perform what is not there yet, seed by seed."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(measuring.machine(), flush=True)
    for seed in range(1, asked.seeds + 1):
        for name in asked.only or CONTENDERS:
            path = place(asked, name, seed)
            if not path.exists():
                taken = measuring.seconds(partial(perform, asked, name, seed, path))
                print(f"{path.stem}: {taken:.1f} s", flush=True)


def tell(asked: argparse.Namespace) -> None:
    """Print a table of what is there."""
    print("| " + " | ".join(("contender", "seeds", *SCORES, "seconds")) + " |")
    print("|---|" + "---|" * (len(SCORES) + 2))
    for name in CONTENDERS:
        known = [place(asked, name, seed) for seed in range(1, asked.seeds + 1)]
        rows = [xr.open_zarr(path, consolidated=False) for path in known if path.exists()]
        if not rows:
            continue
        cells = [f"{len(rows)}"]
        for key in (*SCORES, "seconds"):
            values = np.array([float(row[key]) for row in rows])
            spread = f" ± {values.std(ddof=1):.2g}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.3g}{spread}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> None:
    """Read what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("part", choices=("digits", "mnist", "cifar10"))
    parser.add_argument("--data-dir")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, help="of each; 2,000 or 1,000 by default")
    parser.add_argument("--samples", type=int, default=5000, help="that each is scored on")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", nargs="*", choices=CONTENDERS)
    parser.add_argument("--output", default="practice")
    parser.add_argument("--tell", action="store_true")
    asked = parser.parse_args()
    Path(asked.output).mkdir(parents=True, exist_ok=True)
    if not asked.tell:
        train(asked)
    tell(asked)


if __name__ == "__main__":
    main()
