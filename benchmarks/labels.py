"""PerLabel: a GAN for each label against one conditional GAN, and DC-CGAN against W-CGAN.

    python benchmarks/labels.py digits --seeds 5 --output labels
    python benchmarks/labels.py mnist --seeds 3 --data-dir ../shared/data --output labels
    python benchmarks/labels.py cifar10 --seeds 2 --data-dir ../shared/data --output labels
    python benchmarks/labels.py digits --output labels --tell

All train in process, since the numbers are the same on any number of workers. A run that `--output`
holds is not run again, so that a benchmark goes on where it ended. `--tell` prints a table of what
is there.

The conditional GAN has the same networks with the label joined to their inputs. It has as many
iterations as all labels together (*same batches*); as many as it does in the time that these took
one after the other (*same time*); and as many as it does in the time of one of them, since every
label may have a worker of its own (*same time, a worker for each label*). Times are those of the
two runs before it, on this machine. Both kinds are scored on as many samples.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import torch
import xarray as xr

import gandask as gd
from gandask.scores import features, metrics
from gandask.training import networks
from gandask.training.learner import load_module
from gandask.training.settings import Noise

KINDS = {"DC": "bce", "W": "wgan_gp"}
SAME, TIME, ALONE = "same batches", "same time", "same time, a worker for each label"
SCORES = ("fid", "inception_score", "tvd")
DATA = {"cifar10": "cifar10.zip/train"}
STEPS = {"bce": 1, "wgan_gp": 5}

gd.NETWORKS["conditional_wgan"] = gd.Network(
    partial(networks.ConditionalGenerator, body=networks.dcgan_generator),
    partial(
        networks.ConditionalDiscriminator,
        body=partial(networks.dcgan_discriminator, critic=True),
        flatten=False,
    ),
    latent=100,
    conditional=True,
    sizes=networks.Pyramids(),
    loss="wgan_gp",
)


def settings(asked: argparse.Namespace, kind: str, seed: int) -> dict[str, Any]:
    """Give what both kinds of methods share."""
    small = asked.part == "digits"
    given: dict[str, Any] = {
        "data": DATA.get(asked.part, asked.part),
        "data_dir": asked.data_dir,
        "image_size": 16 if asked.part == "cifar10" else None,
        "base": "mlp" if small else {"DC": "dcgan", "W": "wgan"}[kind],
        "loss": KINDS[kind],
        "discriminator_steps": STEPS[KINDS[kind]],
        "batch_size": 32 if small else 64,
        "learning_rate": 1e-3 if small else 2e-4,
        "score_samples": 0,
        "device": asked.device,
        "seed": seed,
    }
    if kind == "W" and not small:
        given |= {"learning_rate": 1e-4, "adam_betas": (0.0, 0.9)}
    return given


def iterations(asked: argparse.Namespace) -> int:
    """Give those of a label."""
    return int(asked.iterations or 1000)


def per_label(asked: argparse.Namespace, kind: str, seed: int) -> xr.Dataset:
    """Train a GAN for each label."""
    ds = gd.run(
        gd.PerLabel(
            **settings(asked, kind, seed),
            budget=f"iterations:{iterations(asked)}",
            final_samples=asked.samples // 10,
        ),
        progress=False,
    )
    found = {name: float(ds[f"final_mixture_{name}"]) for name in SCORES}
    return table(found, ds["final_fid"].values, int(ds["batches"].sum()), ds)


def conditional(asked: argparse.Namespace, kind: str, seed: int, count: int) -> xr.Dataset:
    """Train one conditional GAN for so many iterations, and score it by label too."""
    given = settings(asked, kind, seed)
    method = gd.MGGAN(
        **given | {"base": f"conditional_{given['base']}"},
        groups=1,
        interval=0,
        iterations=count,
        iterations_per_round=100,
        final_samples=asked.samples,
    )
    with tempfile.TemporaryDirectory() as folder:
        ds = gd.run(method, store=Path(folder) / "run", progress=False)
        ((_, state),) = gd.open_run(Path(folder) / "run").mixture("group/0").states.items()
    found = {name: float(ds[f"final_{name}"].item()) for name in SCORES}
    return table(found, by_label(method, state, asked.samples), count, ds)


def by_label(method: gd.MGGAN, state: Mapping[str, Any], count: int) -> np.ndarray[Any, Any]:
    """Score the samples of each label, of as many as asked for in all."""
    training = method.training
    known = features.references(training.data, training.features)
    extractor = features.extractor(training.data, training.features)
    with training.settled() as device, torch.no_grad():
        generator = load_module(training.build_generator, state, device)
        noise = Noise(training, device, "by label")
        drawn = [noise.draw(features.CHUNK) for _ in range(-(-count // features.CHUNK))]
        labels = torch.cat([labels for _, labels in drawn])
        images = torch.cat([generator(*inputs) for inputs in drawn])
        return np.array(
            [
                metrics.fid(real, extractor.statistics(iter(images[labels == label].split(500))))
                for label, real in enumerate(known)
            ]
        )


def table(
    found: Mapping[str, float], by_label: np.ndarray[Any, Any], batches: int, ds: xr.Dataset
) -> xr.Dataset:
    """Put together what is kept of a run."""
    trained = ds["seconds"].sel(routine=["batch", "train"])
    told = {"batches": batches, "seconds": float(trained.sum())}
    return xr.Dataset({**found, **told, "fid_by_label": ("label", by_label)})


# ---- what is performed, and told


def perform(asked: argparse.Namespace, kind: str, name: str, seed: int) -> xr.Dataset:
    """Perform a contender, after those that it is measured by."""
    if name == "per label":
        return per_label(asked, kind, seed)
    labels = 10
    total = labels * iterations(asked)
    if name != SAME:
        own, other = (
            float(xr.open_zarr(place(asked, kind, one, seed))["seconds"])
            for one in ("per label", SAME)
        )
        total = max(1, round(total * own / other / (1 if name == TIME else labels)))
    return conditional(asked, kind, seed, total)


def place(asked: argparse.Namespace, kind: str, name: str, seed: int) -> Path:
    """Name the zarr of a run."""
    spelt = re.sub(r"[^a-zA-Z]+", "-", name)
    return Path(asked.output) / f"{asked.part}-{kind}-{spelt}-{seed}.zarr"


def train(asked: argparse.Namespace) -> None:
    """Perform what is not there yet, seed by seed."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(measuring.machine(), flush=True)
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        for kind in KINDS:
            for name in ("per label", SAME, TIME, ALONE):
                path = place(asked, kind, name, seed)
                if not path.exists():
                    taken = measuring.seconds(partial(keep, asked, kind, name, seed))
                    print(f"{path.stem}: {taken:.1f} s", flush=True)


def keep(asked: argparse.Namespace, kind: str, name: str, seed: int) -> None:
    """Keep what comes of a contender: whole, or not at all."""
    path = place(asked, kind, name, seed)
    scratch = path.with_suffix(".part")
    shutil.rmtree(scratch, ignore_errors=True)
    measuring.keep(perform(asked, kind, name, seed), scratch)
    scratch.rename(path)


def told(values: xr.DataArray, digits: int) -> str:
    """Write mean and deviation over seeds."""
    spread = f" ± {float(values.std(ddof=1)):.{digits}f}" if values.size > 1 else ""
    return f"{float(values.mean()):.{digits}f}{spread}"


def tell(asked: argparse.Namespace) -> None:
    """Print what is there, in the mean over seeds."""
    print(f"\n**{asked.part}**\n")
    print("| | seeds | iterations | FID | FID of a label, mean | inception score | TVD | time |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in KINDS:
        first: xr.Dataset | None = None
        for name in ("per label", SAME, TIME, ALONE):
            seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
            kept = [place(asked, kind, name, seed) for seed in seeds]
            known = [xr.open_zarr(path).load() for path in kept if path.exists()]
            if not known:
                continue
            one = xr.concat(known, "seed")
            first = one if first is None else first
            # of the same machine, in one run of this benchmark: a ratio alone means something
            ratio = float(one["seconds"].mean() / first["seconds"].mean())
            cells = [told(one["fid"], 1), told(one["fid_by_label"].mean("label"), 1)]
            cells += [told(one["inception_score"], 2), told(one["tvd"], 3), f"{ratio:.2f} ×"]
            row = [f"{kind}, {name}", one.sizes["seed"], told(one["batches"], 0), *cells]
            print(f"| {' | '.join(map(str, row))} |")


def main() -> None:
    """Perform what is not there yet, or tell what is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["digits", "mnist", "cifar10"])
    parser.add_argument("--data-dir", help="folder of MNIST/raw and cifar10.zip")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--iterations", type=int, help="of a label; 1,000 by default")
    parser.add_argument("--samples", type=int, default=10_000, help="of a whole generator")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", default="labels", help="folder of one zarr for each run")
    parser.add_argument("--tell", action="store_true", help="print a table of what is there")
    asked = parser.parse_args()
    if asked.tell:
        tell(asked)
    else:
        train(asked)


if __name__ == "__main__":
    main()
