"""Milliseconds per batch of Table I's nets on one core, beside a plain loop and its products alone.

    python benchmarks/step.py --data-dir ../shared/data

The plain loop is what one would write by hand: the same nets, samples decoded beforehand, fused
Adam, a step of the generator for every batch and of the discriminator for every second. The
products are the matrix products that no implementation of this arithmetic can leave out. All run
with one thread and the same allocator, in turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import measuring
import torch
import xarray as xr
from torch import nn
from torch.nn.functional import softplus

import gandask as gd
from gandask import presets
from gandask.methods.grid.tasks import train_batches
from gandask.training.settings import Training

FEATURES, LATENT, HIDDEN = 784, 64, 256


def ours(grid: gd.Grid, batches: int) -> float:
    """Train as a cell does; give milliseconds per batch."""
    training = grid.training
    fraction = batches * training.batch_size / len(training.data)
    with training.settled() as device:
        one = measuring.offspring(grid, "cell/0", device, fraction)
        return 1000 * measuring.seconds(lambda: train_batches([one], one)) / one.step_count


def plain(training: Training, samples: torch.Tensor, batches: int) -> float:
    """Train in a loop written by hand; give milliseconds per batch."""

    def dense(*sizes: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
        return layers[:-1]

    with training.settled():
        generator = nn.Sequential(*dense(LATENT, HIDDEN, HIDDEN, FEATURES), nn.Tanh())
        discriminator = nn.Sequential(*dense(FEATURES, HIDDEN, HIDDEN, 1))
        adams = [
            torch.optim.Adam(net.parameters(), lr=2e-4, fused=True)
            for net in (generator, discriminator)
        ]
        size = training.batch_size

        def loop() -> None:
            order = torch.randperm(len(samples))
            for batch in range(batches):
                adams[0].zero_grad()
                loss = softplus(-discriminator(generator(torch.randn(size, LATENT)))).mean()
                loss.backward()
                adams[0].step()
                loss.item()
                if batch % 2:
                    real = samples[order[batch * size : (batch + 1) * size]]
                    with torch.no_grad():
                        fake = generator(torch.randn(size, LATENT))
                    adams[1].zero_grad()
                    loss = softplus(-discriminator(real)).mean()
                    loss = loss + softplus(discriminator(fake)).mean()
                    loss.backward()
                    adams[1].step()
                    loss.item()

        return 1000 * measuring.seconds(loop) / batches


def products(training: Training, batches: int) -> float:
    """Multiply matrices of the same shapes, and do nothing else; give milliseconds per batch."""
    size = training.batch_size
    layers = {
        "generator": [(LATENT, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, FEATURES)],
        "discriminator": [(FEATURES, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)],
    }

    def pairs(net: str, kinds: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
        made = []
        for place, (inputs, outputs) in enumerate(layers[net]):
            x, weight, y = (
                torch.randn(*shape)
                for shape in ((size, inputs), (outputs, inputs), (size, outputs))
            )
            forms = {"f": (x, weight.T), "w": (y.T, x), "x": (y, weight)}
            # what goes into a net needs no gradient
            made += [forms[k] for k in kinds if k != "x" or place]
        return made

    judged = pairs("discriminator", "f") + pairs("discriminator", "x")
    first = torch.randn(size, HIDDEN), torch.randn(HIDDEN, FEATURES)  # back to the samples
    step = [*pairs("generator", "fwx"), *judged, first]
    other = pairs("generator", "f") + 2 * pairs("discriminator", "fwx")
    with training.settled():

        def multiply() -> None:
            for batch in range(batches):
                for a, b in step + other if batch % 2 else step:
                    torch.mm(a, b)

        return 1000 * measuring.seconds(multiply) / batches


def main() -> None:
    """Measure all in turn, and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    settings = presets.read("table1-mnist-2x2")
    settings.pop("method")
    contenders: dict[str, Callable[[], float]] = {}
    for precision in ("highest", "medium"):
        grid = gd.Grid(**settings, data_dir=asked.data_dir, precision=precision)
        training = grid.training
        shard = training.shard("cell/0")[: asked.batches * training.batch_size]
        samples = training.data.batch(shard).flatten(1)
        contenders |= {
            f"gandask, {precision}": lambda g=grid: ours(g, asked.batches),
            f"plain loop, {precision}": lambda t=training, s=samples: plain(t, s, asked.batches),
            f"products, {precision}": lambda t=training: products(t, asked.batches),
        }
    print(measuring.machine())
    for run in contenders.values():
        run()  # the first time loads libraries and data
    found = measuring.interleaved(contenders, asked.repeats)
    for name in contenders:
        rival = f"plain loop, {name.split(', ')[1]}"
        ratio = found.sel(contender=name) / found.sel(contender=rival)
        told = measuring.spread(found.sel(contender=name))
        print(f"{name:22} {told:24} ms per batch; of the plain loop {measuring.spread(ratio)}")
    found.attrs |= {"long_name": "time per batch", "units": "ms"}
    measuring.keep(xr.Dataset({"time": found}), asked.output)


if __name__ == "__main__":
    main()
