"""PerLabel where labels are unequally frequent: what rare ones gain by a GAN of their own.

    python benchmarks/labels_zipf.py --seeds 5

Of digit k there are 150 / (k + 1) samples, from 150 down to 15. A GAN for each label has the same
budget each, or in proportion to its samples; one conditional GAN has as many iterations as all of
them. Each label's samples are scored against all real samples of that digit.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import labels
import measuring
import numpy as np
import torch

import gandask as gd
from gandask.scores import features, metrics

MOST = 150  # samples of the most frequent label


def made_rare(path: Path) -> Path:
    """Write digits of which each is rarer than the one before."""
    digits = gd.PerLabel(data="digits").training.data
    chosen = np.concatenate(
        [np.flatnonzero(digits.labels == k)[: MOST // (k + 1)] for k in range(10)]
    )
    np.savez(path, samples=digits.samples[chosen], labels=digits.labels[chosen])
    return path


def by_label(draw: Callable[[int], torch.Tensor], count: int) -> np.ndarray[Any, Any]:
    """Score `count` samples of each label against all real samples of it."""
    training = gd.PerLabel(data="digits").training
    with training.settled():
        extractor = features.extractor(training.data, training.features)
        known = features.references(training.data, training.features)
        return np.array(
            [
                metrics.fid(real, extractor.statistics(iter([draw(label)[:count]])))
                for label, real in enumerate(known)
            ]
        )


def per_label(given: dict[str, Any], share: str, iterations: int, count: int) -> Any:
    """Train a GAN for each label, and score them."""
    method = gd.PerLabel(**given, share=share, budget=f"iterations:{iterations}", min_samples=8)
    with tempfile.TemporaryDirectory() as folder:
        gd.run(method, store=Path(folder) / "run", progress=False)
        sampler = gd.open_run(Path(folder) / "run").sampler()
        return by_label(lambda label: sampler.sample(count, label=label, seed=0), count)


def conditional(given: dict[str, Any], iterations: int, count: int) -> Any:
    """Train one conditional GAN, and score its samples of each label."""
    method = gd.MGGAN(
        **given | {"base": "conditional_mlp"}, groups=1, interval=0, iterations=iterations
    )
    with tempfile.TemporaryDirectory() as folder:
        gd.run(method, store=Path(folder) / "run", progress=False)
        ((_, state),) = gd.open_run(Path(folder) / "run").mixture("group/0").states.items()
    return by_label(
        lambda label: labels.of_labels(method, state, torch.full((count,), label)), count
    )


def main() -> None:
    """Train all three for each seed, and print the FID of the frequent and of the rare half."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=1000, help="of the average label")
    parser.add_argument("--samples", type=int, default=1000, help="of each label")
    asked = parser.parse_args()
    print(measuring.machine(), flush=True)
    found: dict[str, list[Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = made_rare(Path(folder) / "rare.npz")
        for seed in range(1, asked.seeds + 1):
            given: dict[str, Any] = {
                "data": str(data),
                "base": "mlp",
                "batch_size": 8,
                "learning_rate": 1e-3,
                "score_samples": 0,
                "final_samples": 2,
                "seed": seed,
            }
            for share in ("equal", "samples"):
                one = per_label(given, share, asked.iterations, asked.samples)
                found.setdefault(f"a GAN for each label, {share}", []).append(one)
            one = conditional(given, 10 * asked.iterations, asked.samples)
            found.setdefault("one conditional GAN", []).append(one)
    for name, seeds in found.items():
        halves = np.array(seeds).reshape(len(seeds), 2, 5).mean(2)
        told = [f"{half.mean():.1f} ± {half.std(ddof=1):.1f}" for half in halves.T]
        print(f"| {name} | {told[0]} | {told[1]} |", flush=True)


if __name__ == "__main__":
    main()
