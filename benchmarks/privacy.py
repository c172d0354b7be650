"""PrivacyGAN: what a teacher brings, what leaks, and what is sent.

    python benchmarks/privacy.py digits --seeds 5 --output privacy
    python benchmarks/privacy.py iid --seeds 5 --output privacy
    python benchmarks/privacy.py audit --seeds 3 --output privacy
    python benchmarks/privacy.py mnist --data-dir ../shared/data --output privacy
    python benchmarks/privacy.py cifar10 --data-dir ../shared/data --output privacy
    python benchmarks/privacy.py digits --output privacy --tell
    python benchmarks/privacy.py bytes

All train in process, since the numbers are the same on any number of workers. A run that `--output`
holds is not run again, so that a benchmark goes on where it ended. `--tell` prints tables of what
is there.

`digits` and `iid` hold one client of few samples against a teacher of public data, for every share
α, and against what needs no method: the client's data alone, the teacher alone, the teacher as a
start, and one GAN on data that are put together. `pooled` are the public data and the client's,
`full` those of them that are of the client's classes. `audit` lets clients train long on few
samples, and attackers look at them. `bytes` computes what an iteration sends.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import torch
import xarray as xr
from torch import Tensor

import gandask as gd
from gandask.clients.held import Held, public_part
from gandask.clients.spending import sigma_for
from gandask.core import Array
from gandask.methods.tasks import samples
from gandask.scores import features, metrics
from gandask.scores.metrics import Reference
from gandask.training.wire import WIRES

ALPHAS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
FEW = (0.9, 0.7, 0.5, 0.1)
LOCAL, FULL = "local only", "full data"
THESIS = {
    "CIFAR-10": (107, 57, (102, 90, 69, 81, 79, 79, 62, 69, 72)),
    "LFW": (345, 46, (122, 247, 170, 204, 197, 226, 176, 189, 188)),
}
"""FID of local data, of full data, and by α in the order of `ALPHAS` (Wu 2022, Tables 5.3–5.6)."""


@dataclass(frozen=True)
class Contender:
    """What is compared: a method, and what becomes of it."""

    method: gd.PrivacyGAN
    perform: Callable[[gd.PrivacyGAN], xr.Dataset]


Contenders = dict[str, Contender]


# ---- what is performed


def run(method: gd.PrivacyGAN) -> xr.Dataset:
    """Train students and their client."""
    return gd.run(method, progress=False)


def teacher_alone(method: gd.PrivacyGAN) -> xr.Dataset:
    """Score the teacher that a run begins with."""
    task = method.start()[1][0][0]
    (generator, _), _ = task.function(**task.arguments)
    drawn = samples(method.training, task.writes[0], generator, method.final_samples, method.seed)
    return scored(method, torch.from_numpy(drawn))


def members_themselves(method: gd.PrivacyGAN) -> xr.Dataset:
    """Score the client's own training data: what a generator that only copies would get."""
    held = Held.part(method.training.source, method.part(0))
    return scored(method, held.data.batch(held.members))


def pooled(method: gd.PrivacyGAN) -> xr.Dataset:
    """Train one GAN on the public data and the client's."""
    return _together(method, lambda labels, own: np.ones(len(labels), bool))


def full(method: gd.PrivacyGAN) -> xr.Dataset:
    """Train one GAN on the client's data, and all public data of its classes."""
    return _together(method, np.isin)


def _together(method: gd.PrivacyGAN, chosen: Callable[[Array, Array], Array]) -> xr.Dataset:
    """Train as a client alone would, on data that are put together, less two to be kept apart."""
    held = Held.part(method.training.source, method.part(0))
    public = public_part(len(held.data), method.public_fraction, method.seed)
    own = np.unique(held.data.labels[held.members])
    rows = np.concatenate([held.members, public[chosen(held.data.labels[public], own)]])
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "together.npz"
        np.savez(kept, samples=held.data.samples[rows], labels=held.data.labels[rows])
        alone = replace(
            method,
            data=str(kept),
            data_dir=None,
            split="iid",
            public_fraction=1e-9,
            local_samples=len(rows) - 2,
            features="coordinates",
            score_samples=0,
        )
        gd.run(alone, store=Path(folder) / "run", progress=False)
        mixture = gd.open_run(Path(folder) / "run").best_mixture()
        drawn = mixture.sample(method.final_samples, method.seed)
    return scored(method, drawn)


def scored(method: gd.PrivacyGAN, images: Tensor) -> xr.Dataset:
    """Score images as a run scores its students at the end."""
    training = method.training
    held = Held.part(training.source, method.part(0))
    with training.settled():
        extractor = features.extractor(training.data, training.features)
        fake = extractor.statistics(iter(images.split(features.CHUNK)))
        apart = held.data.batch(held.apart).split(features.CHUNK)
        local = Reference.of(extractor.statistics(iter(apart)))
        whole = features.reference(training.data, training.features)
    found = {"final_fid": metrics.fid(whole, fake), "final_fid_local": metrics.fid(local, fake)}
    return xr.Dataset({name: ("client", [value]) for name, value in found.items()})


# ---- what is compared


def sweep(given: Mapping[str, Any], alphas: Iterable[float], live: Iterable[float]) -> Contenders:
    """Give a run for each share of the client, and the rows that it is held against."""
    lonely = gd.PrivacyGAN(alpha=1, teacher_iterations=0, **without(given, "teacher_iterations"))
    taught = gd.PrivacyGAN(**given)
    rows = {
        "the client's data themselves": Contender(lonely, members_themselves),
        LOCAL: Contender(lonely, run),
        FULL: Contender(lonely, full),
        "pooled": Contender(lonely, pooled),
        "teacher alone": Contender(taught, teacher_alone),
        "fine-tuned teacher": Contender(replace(taught, alpha=1.0, start_from_teacher=True), run),
    }
    for alpha in alphas:
        rows[f"α = {alpha}"] = Contender(replace(taught, alpha=alpha), run)
    for alpha in live:
        method = replace(taught, alpha=alpha, teacher_mode="live")
        rows[f"α = {alpha}, live"] = Contender(method, run)
    return rows


def digits(asked: argparse.Namespace, seed: int, split: str = "classes:2") -> Contenders:
    """Give a client of two classes, or one of all, and 40 samples."""
    given = {
        "clients": 1,
        "data": "digits",
        "base": "small_mlp",
        "split": split,
        "local_samples": 40,
        "iterations": asked.iterations or 2000,
        "teacher_iterations": 1000,
        "batch_size": 20,
        "learning_rate": 1e-3,
        "adam_betas": (0.5, 0.999),
        "score_every": 100,
        "final_samples": 2000,
        "device": asked.device,
        "seed": seed,
    }
    return sweep(given, ALPHAS, FEW)


def iid(asked: argparse.Namespace, seed: int) -> Contenders:
    """Give a client of all classes."""
    return digits(asked, seed, "iid")


def mnist(asked: argparse.Namespace, seed: int) -> Contenders:
    """Give clients of 600 and of 6,000 samples."""
    given = of_images(asked, seed) | {
        "data": "mnist",
        "base": asked.base,
        "public_fraction": 0.4,
        "iterations": asked.iterations or 2000,
        "teacher_iterations": 1500,
    }
    found = {}
    for count in (600, 6000):
        rows = sweep(given | {"local_samples": count}, FEW, ())
        found |= {f"{count} samples: {name}": one for name, one in rows.items()}
    return found


def cifar10(asked: argparse.Namespace, seed: int) -> Contenders:
    """Give a client of 1,000 images, 16 pixels wide."""
    given = of_images(asked, seed) | {
        "data": "cifar10.zip/train",
        "image_size": 16,
        "base": "dcgan",
        "local_samples": 1000,
        "iterations": asked.iterations or 1000,
        "teacher_iterations": 1000,
    }
    return sweep(given, FEW, FEW[:2])


def of_images(asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Give the settings that both sets of images have."""
    return {
        "clients": 1,
        "data_dir": asked.data_dir,
        "split": asked.split,
        "batch_size": 64,
        "learning_rate": 2e-4,
        "adam_betas": (0.5, 0.999),
        "final_samples": 5000,
        "device": asked.device,
        "seed": seed,
    }


def audit(asked: argparse.Namespace, seed: int) -> Contenders:
    """Give clients that train long on 180 samples, alone."""
    given = {
        "clients": 1,
        "data": "digits",
        "base": "mlp",
        "public_fraction": 0.1,
        "local_samples": 180,
        "iterations": asked.iterations or 1200,
        "batch_size": 60,
        "learning_rate": 1e-3,
        "adam_betas": (0.5, 0.999),
        "alpha": 1,
        "score_every": 1000,
        "final_samples": 2000,
        "device": asked.device,
        "seed": seed,
    }
    found = {
        f"{told}, feedback_norm={norm}": gd.PrivacyGAN(**given, split=split, feedback_norm=norm)
        for told, split in (("IID", "iid"), ("two classes", "classes:2"))
        for norm in ("none", "unit")
    }
    rate, steps = given["batch_size"] / given["local_samples"], given["iterations"]
    for epsilon in (10, 1):
        noise = sigma_for(epsilon, 1e-5, rate, steps)
        found[f"IID, epsilon {epsilon}"] = gd.PrivacyGAN(**given, **noised(noise))
    found["IID, noise 200"] = gd.PrivacyGAN(**given, **noised(200.0))
    return {name: Contender(method, run) for name, method in found.items()}


def noised(noise: float) -> dict[str, Any]:
    """Give settings of differential privacy, with scores that are told all the same."""
    return {"privacy": gd.DPSGD(noise=noise), "report_private_scores": True}


def without(given: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Leave one setting out."""
    return {name: value for name, value in given.items() if name != key}


PARTS: Mapping[str, Callable[[argparse.Namespace, int], Contenders]] = {
    "digits": digits,
    "iid": iid,
    "audit": audit,
    "mnist": mnist,
    "cifar10": cifar10,
}


def contenders(asked: argparse.Namespace, seed: int) -> Contenders:
    """Give what a part compares, as far as it is asked for."""
    found = PARTS[asked.part](asked, seed)
    return {name: one for name, one in found.items() if re.search(asked.only, name)}


def place(asked: argparse.Namespace, name: str, seed: int) -> Path:
    """Name the zarr of a run."""
    return Path(asked.output) / f"{asked.part}-{re.sub(r'[^.0-9a-zA-Zα]+', '-', name)}-{seed}.zarr"


def train(asked: argparse.Namespace) -> None:
    """Perform what is not there yet, seed by seed."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(measuring.machine(), flush=True)
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        for name, one in contenders(asked, seed).items():
            path = place(asked, name, seed)
            if not path.exists():
                taken = measuring.seconds(partial(keep, one, path))
                print(f"{path.stem}: {taken:.1f} s", flush=True)


def keep(one: Contender, path: Path) -> None:
    """Keep what comes of a contender: whole, or not at all."""
    scratch = path.with_suffix(".part")
    shutil.rmtree(scratch, ignore_errors=True)
    measuring.keep(one.perform(one.method), scratch)
    scratch.rename(path)


# ---- what is told


def told(values: Sequence[float], digits: int = 0) -> str:
    """Write mean and deviation over seeds."""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def ending(path: Path) -> xr.Dataset:
    """Read what a run has at its end."""
    ds = xr.open_zarr(path)
    wanted = [name for name in ds if str(name).startswith("final_")]
    return ds[wanted].isel(client=0, drop=True).load()


def finals(asked: argparse.Namespace) -> dict[str, xr.Dataset]:
    """Read what is kept, and give the variables of its end along ``seed``, by contender."""
    found = {}
    last = asked.first_seed + asked.seeds
    for name in contenders(asked, asked.first_seed):
        kept = [place(asked, name, seed) for seed in range(asked.first_seed, last)]
        ended = [ending(path) for path in kept if path.exists()]
        if ended:
            found[name] = xr.concat(ended, "seed")
    return found


def closed(value: float, local: float, whole: float) -> float:
    """Give the share of the gap between local and full data that is closed; NaN without a gap."""
    return (local - value) / (local - whole) if whole < local else np.nan


def tell_sweep(asked: argparse.Namespace) -> None:
    """Print scores, and the share of the gap that is closed, in the mean over seeds."""
    found = finals(asked)
    for prefix in dict.fromkeys(name.rpartition(": ")[0] for name in found):
        rows = {
            name.rpartition(": ")[2]: one
            for name, one in found.items()
            if name.rpartition(": ")[0] == prefix
        }
        print(f"\n**{': '.join(filter(None, (asked.part, prefix)))}**\n")
        print("| | seeds | fid_local | gap closed | fid |\n|---|---|---|---|---|")
        ends = [
            float(rows[end]["final_fid_local"].mean()) if end in rows else np.nan
            for end in (LOCAL, FULL)
        ]
        for name, one in rows.items():
            local, whole = one["final_fid_local"], one["final_fid"]
            share = closed(float(local.mean()), *ends)
            cells = [told(local.values), f"{share:.0%}", told(whole.values)]
            print(f"| {name} | {one.sizes['seed']} | {' | '.join(cells)} |")
    for name, (local, whole, by_alpha) in THESIS.items():
        shares = [closed(value, local, whole) for value in by_alpha]
        told_shares = ", ".join(f"{share:.0%}" for share in shares)
        print(
            f"\nThe thesis, {name}, α from {ALPHAS[0]} to {ALPHAS[-1]}: {told_shares}; "
            f"median {np.median(shares):.0%}, best {max(shares):.0%}"
        )


def tell_audit(asked: argparse.Namespace) -> None:
    """Print what attackers find."""
    kinds = ("samples", "feedback", "discriminator")
    print(
        "\n| | seeds | " + " | ".join(f"AUC, {kind}" for kind in kinds) + " | TPR at 10 % FPR, "
        "feedback | memorised | fid_local |\n|---|---|" + "---|" * 6
    )
    for name, one in finals(asked).items():
        row = [f"{name} | {one.sizes['seed']}"]
        for kind in kinds:
            areas = one["final_audit_auc"].sel(attack=kind)
            # of a mean of independent seeds
            errors = one["final_audit_auc_error"].sel(attack=kind)
            error = float(np.sqrt((errors**2).sum())) / one.sizes["seed"]
            row.append(f"{float(areas.mean()):.3f} ± {error:.3f}")
        rates = one["final_audit_tpr"].sel(attack="feedback", fpr=0.1)
        row += [told(rates.values, 2), told(one["final_memorised"].values, 3)]
        row.append(told(one["final_fid_local"].values))
        print(f"| {' | '.join(row)} |")


def tell_bytes() -> None:
    """Print what a client's iteration sends both ways, measured, and what others would send."""
    print(
        "| network | wire | PrivacyGAN | D once, up | both networks, both ways (FedAvg) "
        "| D / PrivacyGAN | FedAvg / PrivacyGAN |\n|---|---|---|---|---|---|---|"
    )
    images = {"mlp": (1, 28, 28), "dcgan-28": (1, 28, 28), "dcgan-32×3": (3, 32, 32)}
    for name, shape in images.items():
        base = name.partition("-")[0]
        network = gd.NETWORKS[base]
        judge, maker = (
            4
            * sum(
                value.numel() for value in made.state_dict().values() if value.is_floating_point()
            )
            for made in (network.discriminator(shape), network.generator(shape, network.latent))
        )
        for wire in WIRES:
            sent = measured_bytes(base, shape, wire)
            others = judge, 2 * (judge + maker)
            cells = [f"{value / 1e6:.3f} MB" for value in (sent, *others)]
            cells += [f"{value / sent:.1f}" for value in others]
            print(f"| {name} | {wire} | {' | '.join(cells)} |")


def measured_bytes(base: str, shape: tuple[int, ...], wire: str) -> int:
    """Run two rounds on noise, with batches of 64, and give the bytes of the second."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "noise.npy"
        np.save(kept, np.random.default_rng(1).integers(0, 256, (400, *shape), np.uint8))
        given = {"clients": 1, "alpha": 1, "iterations": 3, "score_samples": 0, "wire": wire}
        given |= {"final_samples": 10, "audit_samples": 10, "features": "coordinates"}
        ds = run(gd.PrivacyGAN(data=str(kept), base=base, batch_size=64, **given))
    return int(ds["sent_bytes"].sel(round=2).sum())


def main() -> None:
    """Perform what is not there yet, or tell what is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=[*PARTS, "bytes"])
    parser.add_argument("--data-dir", help="folder of MNIST/raw and cifar10.zip")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--iterations", type=int, help="the part's own by default")
    parser.add_argument("--base", default="mlp", help="networks of mnist")
    parser.add_argument("--split", default="iid", help="of mnist and cifar10")
    parser.add_argument("--only", default="", help="regular expression of contenders")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", default="privacy", help="folder of one zarr for each run")
    parser.add_argument("--tell", action="store_true", help="print tables of what is there")
    asked = parser.parse_args()
    if asked.part == "bytes":
        tell_bytes()
    elif asked.tell:
        tell_audit(asked) if asked.part == "audit" else tell_sweep(asked)
    else:
        train(asked)


if __name__ == "__main__":
    main()
