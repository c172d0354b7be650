"""PerLabel: a GAN for each label against one conditional GAN, and DC-CGAN against W-CGAN.

    python benchmarks/labels.py digits --seeds 5 --output labels
    python benchmarks/labels.py mnist --seeds 3 --data-dir ../shared/data --base mlp --output labels
    python benchmarks/labels.py cifar10 --seeds 2 --data-dir ../shared/data --output labels
    python benchmarks/labels.py digits --output labels --tell

All train in process, since the numbers are the same on any number of workers. A run that `--output`
holds is not run again, so that a benchmark goes on where it ended. `--tell` prints a table of what
is there.

The conditional GAN has the same networks with the label joined to their inputs. It has as many
iterations as all labels together (*same batches*); as many as it does in the time that these took
one after the other (*same time*); and as many as it does in the time of one of them, since every
label may have a worker of its own (*same time, a worker for each label*). Times are those of the
two runs before it, on this machine. Both kinds are scored on as many samples, of each label as
many as its share of the data says; *accuracy* is that of a classifier which these samples have
taught, on real ones.
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
from torch import Tensor

import gandask as gd
from gandask.scores import features, metrics
from gandask.scores.classifier import taught
from gandask.scores.mixture import apportion
from gandask.training import networks
from gandask.training.learner import load_module
from gandask.training.settings import Noise

KINDS = {"DC": "bce", "W": "wgan_gp"}
SAME, TIME, ALONE = "same batches", "same time", "same time, a worker for each label"
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
        "base": asked.base or ("mlp" if small else {"DC": "dcgan", "W": "wgan"}[kind]),
        "loss": KINDS[kind],
        "discriminator_steps": STEPS[KINDS[kind]],
        "batch_size": 32 if small else 64,
        "learning_rate": 1e-3 if small else 2e-4,
        "score_samples": 0,
        "final_samples": 2,  # scored here, both kinds alike
        "device": asked.device,
        "seed": seed,
    }
    if given["base"] == "wgan":
        given |= {"learning_rate": 1e-4, "adam_betas": (0.0, 0.9)}
    return given


def iterations(asked: argparse.Namespace) -> int:
    """Give those of a label."""
    return int(asked.iterations or 1000)


def per_label(asked: argparse.Namespace, kind: str, seed: int) -> xr.Dataset:
    """Train a GAN for each label."""
    budget = f"iterations:{iterations(asked)}"
    method = gd.PerLabel(**settings(asked, kind, seed), budget=budget)
    with tempfile.TemporaryDirectory() as folder:
        ds = gd.run(method, store=Path(folder) / "run", progress=False)
        sampler = gd.open_run(Path(folder) / "run").sampler(labels="empirical")
        images, labels = sampler.sample(asked.samples, seed=seed)
    return table(method, images, labels, int(ds["batches"].sum()), ds)


def conditional(asked: argparse.Namespace, kind: str, seed: int, count: int) -> xr.Dataset:
    """Train one conditional GAN for so many iterations."""
    given = settings(asked, kind, seed)
    method = gd.MGGAN(
        **given | {"base": f"conditional_{given['base']}"},
        groups=1,
        interval=0,
        iterations=count,
        iterations_per_round=100,
    )
    with tempfile.TemporaryDirectory() as folder:
        ds = gd.run(method, store=Path(folder) / "run", progress=False)
        ((_, state),) = gd.open_run(Path(folder) / "run").mixture("group/0").states.items()
    images, labels = drawn(method, state, asked.samples)
    return table(method, images, labels, count, ds)


def drawn(method: gd.MGGAN, state: Mapping[str, Any], count: int) -> tuple[Tensor, Tensor]:
    """Draw samples of a conditional GAN, of each label as many as its share of the data says."""
    training = method.training
    shares = np.bincount(training.data.labels) / len(training.data)
    labels = torch.from_numpy(np.repeat(np.arange(len(shares)), apportion(shares, count)))
    return of_labels(method, state, labels), labels


def of_labels(method: gd.MGGAN, state: Mapping[str, Any], labels: Tensor) -> Tensor:
    """Draw samples of given labels from a conditional generator."""
    training = method.training
    with training.settled() as device, torch.no_grad():
        generator = load_module(training.build_generator, state, device)
        noise = Noise(training, device, "samples")
        parts = [
            generator(noise.draw(len(part))[0], part)
            for part in torch.split(labels, features.CHUNK)
        ]
    return torch.cat(parts)


def table(
    method: gd.MGGAN | gd.PerLabel, images: Tensor, labels: Tensor, batches: int, ds: xr.Dataset
) -> xr.Dataset:
    """Score samples as those of any method, and put together what is kept of a run."""
    training = method.training
    data = training.data
    with training.settled():
        extractor = features.extractor(data, training.features)

        def measured(chosen: Tensor) -> metrics.Statistics:
            return extractor.statistics(iter(torch.split(chosen, features.CHUNK)))

        found = metrics.scores(features.reference(data, training.features), measured(images))
        by_label = [
            metrics.fid(real, measured(images[labels == label]))
            for label, real in enumerate(features.references(data, training.features))
        ]
        found["accuracy"] = taught(images, labels, data)
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
    columns = ["", "seeds", "iterations", "FID", "FID of a label, mean", "inception score", "TVD"]
    columns += ["accuracy", "time"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
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
            cells += [told(one["inception_score"], 2), told(one["tvd"], 3)]
            cells += [f"{100 * float(one['accuracy'].mean()):.1f} %", f"{ratio:.2f} ×"]
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
    parser.add_argument("--base", help="networks of both kinds, such as mlp")
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
