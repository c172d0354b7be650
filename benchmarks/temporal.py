"""Sequences: a grid of LSTM GANs beside a plain LSTM GAN with as many batches in all.

    pip install statsmodels
    python benchmarks/temporal.py --seeds 3

Two data sets: 1,000 of the sines, and all windows of 24 years of the yearly sunspot numbers that
statsmodels ships, scaled to [-1, 1]. The plain loop is a dozen lines of PyTorch with its fused
LSTM, of the same sizes, learning rate, batch size and loss. Both draw 2,000 samples, which are
scored alike: by FID, and by the final scores of sequences.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import measuring
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

import gandask as gd
from gandask.data import Data
from gandask.scores import features, metrics, series
from gandask.training import recurrent

SAMPLES, LATENT, STEPS = 2_000, 32, 24
SCORES = ("FID", "autocorrelation distance", "prediction error")


def sines(folder: Path) -> Path:
    """Write some of the sines down."""
    np.save(folder / "sines.npy", gd.data.load("sines").samples[:1000])
    return folder / "sines.npy"


def sunspots(folder: Path) -> Path:
    """Write windows of the sunspot numbers down."""
    from statsmodels.datasets import sunspots as shipped

    numbers = shipped.load_pandas().data["SUNACTIVITY"].to_numpy()
    scaled = 2 * (numbers - numbers.min()) / np.ptp(numbers) - 1
    windows = np.lib.stride_tricks.sliding_window_view(scaled, STEPS)[..., None]
    np.save(folder / "sunspots.npy", windows)
    return folder / "sunspots.npy"


SETS: dict[str, Callable[[Path], Path]] = {"sines": sines, "sunspots": sunspots}


class Over(nn.Module):
    """torch's fused LSTM, without its last states."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.fused = nn.LSTM(inputs, hidden, batch_first=True)

    def forward(self, steps: Tensor) -> Tensor:
        """Give what is carried after each step."""
        carried: Tensor = self.fused(steps)[0]
        return carried


def plain(data: Data, grid: gd.Grid, batches: int) -> Tensor:
    """Train one GAN as people do, and draw samples."""
    torch.manual_seed(grid.seed)
    chance = np.random.default_rng(grid.seed)
    (steps, channels), hidden, inputs = data.shape, recurrent.HIDDEN, recurrent.INPUTS
    generator = nn.Sequential(
        nn.Linear(LATENT, steps * inputs), nn.Unflatten(1, (steps, inputs)),
        Over(inputs, hidden), nn.Linear(hidden, channels), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        Over(channels, hidden), nn.Linear(hidden, 1), recurrent.MeanOverSteps()
    )
    rates = {"lr": grid.learning_rate, "betas": grid.adam_betas}
    of_generator = torch.optim.Adam(generator.parameters(), **rates)
    of_discriminator = torch.optim.Adam(discriminator.parameters(), **rates)
    for _ in range(batches):
        real = data.batch(chance.integers(len(data), size=grid.batch_size))
        fake = generator(torch.randn(grid.batch_size, LATENT))
        of_discriminator.zero_grad()
        judged = softplus(-discriminator(real)).mean()
        (judged + softplus(discriminator(fake.detach())).mean()).backward()
        of_discriminator.step()
        of_generator.zero_grad()
        softplus(-discriminator(fake)).mean().backward()
        of_generator.step()
    with torch.no_grad():
        return torch.as_tensor(generator(torch.randn(SAMPLES, LATENT)))


def population(grid: gd.Grid) -> Tensor:
    """Train a grid, and draw samples of its best mixture."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "run"
        gd.run(grid, store=store, checkpoint_every=grid.rounds, progress=False)
        return gd.open_run(store).best_mixture().sample(SAMPLES, seed=grid.seed)


def scored(data: Data, samples: Tensor) -> tuple[float, float, float]:
    """Score samples."""
    drawn = features.extractor(data).statistics(iter([samples]))
    real = data.batch(np.arange(len(data)))
    return (
        metrics.fid(features.reference(data), drawn),
        series.autocorrelation_distance(real, samples),
        series.prediction_error(samples, data),
    )


def main() -> None:
    """Measure every seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[*SETS])
    parser.add_argument("--side", type=int, default=2, help="of the grid")
    asked = parser.parse_args()
    print(measuring.machine())
    rows: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for seed in range(1, asked.seeds + 1):
        for name in asked.sets:
            with tempfile.TemporaryDirectory() as folder:
                path = SETS[name](Path(folder))
                grid = gd.Grid(
                    data=str(path), network="lstm", latent=LATENT, shape=(asked.side,) * 2,
                    rounds=asked.rounds, batch_size=50, learning_rate=3e-3, seed=seed,
                    skip_discriminator_steps=0, score_samples=500, final_samples=SAMPLES,
                )  # fmt: skip
                data = gd.data.load(path)
                batches = asked.side**2 * asked.rounds * (len(data) // grid.batch_size)
                contenders: dict[str, Callable[[], Tensor]] = {
                    "grid": lambda grid=grid: population(grid),
                    "plain loop": lambda data=data, grid=grid, n=batches: plain(data, grid, n),
                }
                for who, train in contenders.items():
                    begun = time.process_time()
                    found = scored(data, train())
                    rows.setdefault((name, who), []).append(found)
                    told = "  ".join(f"{n} {v:.3f}" for n, v in zip(SCORES, found, strict=True))
                    taken = f"{time.process_time() - begun:.0f} s of CPU"
                    print(f"seed {seed}  {name:9} {who:11} {told}  {batches} batches, {taken}")
                if seed == 1:
                    print(f"        {name:9} real ones teach: {series.real_error(data):.3f}")
    for (name, who), found in rows.items():
        mean, spread = np.mean(found, 0), np.std(found, 0)
        told = ", ".join(
            f"{n} {m:.3f} ± {s:.3f}" for n, m, s in zip(SCORES, mean, spread, strict=True)
        )
        print(f"{name:9} {who:11} {told}")


if __name__ == "__main__":
    main()
