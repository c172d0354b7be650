"""Milliseconds per batch of DCGAN, 28×28 and 32×32, beside a plain loop in PyTorch's best layout.

    python benchmarks/step_dcgan.py
    python benchmarks/step_dcgan.py --device cuda

The plain loop is what one would write by hand: the same networks, samples on the device beforehand,
fused Adam, a step of the discriminator and one of the generator for every batch; with its tensors
as they come, and *channels last*. The better of the two is the rival, in float32 and in bf16. What
the images show does not matter to a clock: they are random. All run with one thread and the same
allocator, in turn; on a CPU it is the processor's time that is told, since these machines are
shared.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import measuring
import numpy as np
import torch
import xarray as xr
from torch.nn.functional import softplus

import gandask as gd
from gandask.methods.grid.tasks import train_batches
from gandask.training.learner import ADAM_EPSILON
from gandask.training.networks import build
from gandask.training.settings import Training

SHAPES = {"28×28": (1, 28, 28), "32×32": (3, 32, 32)}
LAYOUTS = {"as they come": torch.contiguous_format, "channels last": torch.channels_last}


def clock(device: torch.device) -> Callable[[Callable[[], object]], float]:
    """Choose what tells the time of a call."""
    return measuring.processor_seconds if device.type == "cpu" else measuring.seconds


def ours(grid: gd.Grid, batches: int) -> float:
    """Train as a cell does; give milliseconds per batch."""
    training = grid.training
    fraction = batches * training.batch_size / len(training.data)
    with training.settled() as device:
        one = measuring.offspring(grid, "cell/0", device, fraction)

        def train() -> None:
            train_batches([one], one)
            one.pair.outcome()  # a GPU may still be at work

        return 1000 * clock(device)(train) / one.step_count


def plain(training: Training, batches: int, layout: torch.memory_format) -> float:
    """Train in a loop written by hand; give milliseconds per batch."""
    size, bf16 = training.batch_size, training.precision == "bf16"
    with training.settled() as device:
        generator, discriminator = (
            build(training.builder(kind), seed).to(device, memory_format=layout).train()
            for seed, kind in enumerate(("generator", "discriminator"))
        )
        adams = [
            torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999), ADAM_EPSILON, fused=True)
            for net in (generator, discriminator)
        ]
        samples = training.data.batch(np.arange(batches * size)).to(device, memory_format=layout)
        autocast = partial(torch.autocast, device.type, torch.bfloat16, bf16)

        def noise() -> torch.Tensor:
            return torch.randn(size, training.latent, device=device)

        def loop() -> None:
            totals = [torch.zeros((), device=device) for _ in adams]
            for real in samples.split(size):
                with autocast(), torch.no_grad():
                    fake = generator(noise())
                with autocast():
                    judged = softplus(-discriminator(real).float()).mean()
                    loss = judged + softplus(discriminator(fake).float()).mean()
                adams[1].zero_grad()
                loss.backward()
                adams[1].step()
                totals[1] += loss.detach()
                with autocast():
                    loss = softplus(-discriminator(generator(noise())).float()).mean()
                adams[0].zero_grad()
                loss.backward()
                adams[0].step()
                totals[0] += loss.detach()
            [float(total) for total in totals]  # a GPU may still be at work

        return 1000 * clock(device)(loop) / batches


def contenders(
    asked: argparse.Namespace, folder: Path
) -> dict[tuple[str, str], dict[str, Callable[[], float]]]:
    """Give what is compared, by side and precision."""
    made = {}
    for side, shape in SHAPES.items():
        path = folder / f"{shape[1]}.npy"
        count = asked.batches * asked.batch_size
        np.save(path, np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8))
        for precision in asked.precisions:
            grid = gd.Grid(
                data=str(path), network="dcgan", precision=precision, device=asked.device,
                batch_size=asked.batch_size, skip_discriminator_steps=0, score_samples=0,
                adam_betas=(0.5, 0.999),
            )  # fmt: skip
            made[side, precision] = {"gandask": partial(ours, grid, asked.batches)} | {
                f"plain, {name}": partial(plain, grid.training, asked.batches, layout)
                for name, layout in LAYOUTS.items()
            }
    return made


def tell(title: str, found: xr.DataArray) -> None:
    """Print medians, and the ratio to the better plain loop."""
    rivals = [f"plain, {name}" for name in LAYOUTS]
    best = min(rivals, key=lambda name: float(found.sel(contender=name).median()))
    for name in found["contender"].values:
        ratio = found.sel(contender=name) / found.sel(contender=best)
        told = measuring.spread(found.sel(contender=name))
        print(f"{title}, {name:20} {told:24} ms; of the best plain loop {measuring.spread(ratio)}")


def main() -> None:
    """Measure all in turn, and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precisions", nargs="+", default=["highest", "bf16"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    print(f"{measuring.machine()}; {asked.device}", flush=True)
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for (side, precision), runs in contenders(asked, Path(folder)).items():
            for run in runs.values():
                run()  # the first time loads libraries and data
            found = measuring.interleaved(runs, asked.repeats)
            tell(f"{side}, {precision}", found)
            tables.append(found.expand_dims(case=[f"{side}, {precision}"]))
    table = xr.concat(tables, "case")
    table.attrs |= {"long_name": "time per batch", "units": "ms"}
    measuring.keep(xr.Dataset({"time": table}), asked.output)


if __name__ == "__main__":
    main()
