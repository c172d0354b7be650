"""The demonstration over seeds and instruction sets: who misses modes of the ring, how often.

    python benchmarks/demonstration.py --seeds 10 --keep demonstration.jsonl

What `gandask demo` compares, in process, each seed under each set of instructions; a set is a
process of its own, told by environment variables (ATEN_CPU_CAPABILITY for torch's own kernels,
MKL_CBWR for the matrix products; ONEDNN_MAX_CPU_ISA changes no bit here). Each contender trains on
as many batches in all: a step of a generator is one. A single GAN at a learning rate of its own and
a 2×2 grid (Lipizzaner), with as many, are trained under this machine's own instructions alone. What
is kept already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import measuring
import numpy as np

import gandask as gd
from gandask import presets, results
from gandask.presets import demo
from gandask.presets.demo import Outcome

INSTRUCTIONS = {
    "as it is": {},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2"},
    "without AVX": {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"},
}
GRID = "2×2 grid, best neighbourhood"
FRACTION = 0.05  # of the data, that a cell trains on: 39 batches a round


def population(seed: int) -> gd.MGGAN:
    """Make the demonstration's groups; scored at the end alone, which changes no outcome."""
    settings = presets.read("mggan-demo")
    settings.pop("method")
    return gd.MGGAN(**settings | {"seed": seed, "score_samples": 0})


def grid(groups: gd.MGGAN) -> gd.Grid:
    """Make a grid of as many cells, with the same networks and as many batches, but for a round."""
    shared = ("data", "batch_size", "latent", "activation", "initial_std", "learning_rate", "score")
    method = gd.Grid(
        **{name: getattr(groups, name) for name in (*shared, "final_samples", "seed")},
        shape=(2, groups.groups // 2),
        network="small_mlp",
        skip_discriminator_steps=0,
        data_fraction=FRACTION,
        mixture_generations=20,
    )
    per_round = len(method.training.shard("cell/0")) // method.batch_size
    return replace(method, rounds=groups.iterations // per_round)


def outcomes(seed: int, trained: set[str]) -> Iterator[tuple[str, Outcome]]:
    """Train some of the demonstration with one seed, and give what it came to."""
    methods = demo.trained(population(seed))
    runs = {name: gd.run(methods[name], progress=False) for name in methods if name in trained}
    yield from demo.outcomes(runs).items()
    if "grid" in trained:
        best = results.best(gd.run(grid(population(seed)), progress=False))
        assert best is not None
        yield GRID, Outcome(*(float(best[f"final_{name}"]) for name in Outcome._fields))


def child(name: str, seeds: int, keep: Path) -> None:
    """Train every seed under this process's instructions, and add each outcome to a file."""
    asked = {demo.SINGLE: {"population", "apart", "single"}}
    if not INSTRUCTIONS[name]:
        asked |= {demo.TUNED: {"tuned"}, GRID: {"grid"}}
    for who, trained in asked.items():
        for seed in range(1, seeds + 1):
            if [name, seed, who] in [line[:3] for line in read(keep)]:
                continue
            found = [[name, seed, one, *outcome] for one, outcome in outcomes(seed, trained)]
            with keep.open("a", encoding="utf-8") as file:
                file.write("".join(f"{json.dumps(line)}\n" for line in found))
            held = ", ".join(f"{line[2]}: {line[3]:.0f}" for line in found)
            print(f"{name}, seed {seed}: {held}", flush=True)


def read(keep: Path) -> list[list[object]]:
    """Read what was kept: instructions, seed, contender, modes, high quality, TVD."""
    if not keep.exists():
        return []
    return [json.loads(line) for line in keep.read_text(encoding="utf-8").splitlines()]


def wilson(failed: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """Give Wilson's 95 % interval of a share.

    Examples
    --------
    >>> [round(end, 3) for end in wilson(0, 30)]
    [0.0, 0.114]
    """
    share, spread = failed / of, z * z / of
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def tell(lines: list[list[object]], modes: int) -> None:
    """Print failures by contender and instructions, Wilson's interval over all, and medians."""
    names = list(dict.fromkeys(str(line[0]) for line in lines))
    heads = "".join(f"{name:>14}" for name in names)
    print(f"{'failed':36}{heads}{'all':>12} {'95 %':>12} {'modes':>6} {'quality':>8} {'TVD':>6}")
    for who in dict.fromkeys(str(line[2]) for line in lines):
        own = [line for line in lines if line[2] == who]
        shares = []
        for name in names:
            held = [line[3] for line in own if line[0] == name]
            shares.append(f"{sum(one < modes for one in held)} of {len(held)}" if held else "")
        failed = sum(line[3] < modes for line in own)
        low, high = wilson(failed, len(own))
        middle = np.median(np.array([line[3:] for line in own], float), axis=0)
        print(
            f"{who:36}{''.join(f'{share:>14}' for share in shares)}{f'{failed} of {len(own)}':>12} "
            f"{f'{low:.0%}–{high:.0%}':>12} {middle[0]:6g} {middle[1]:8.0%} {middle[2]:6.2f}"
        )
    by_run: dict[tuple[object, object], list[list[object]]] = {}
    for line in lines:
        by_run.setdefault((line[1], line[2]), []).append(line)
    several = [own for own in by_run.values() if len(own) > 1]
    for what, column in (("modes held", 3), ("TVD", 5)):
        differ = sum(len({line[column] for line in own}) > 1 for own in several)
        print(f"other instructions, other {what}: {differ} of {len(several)}")


def main() -> None:
    """Measure under each set of instructions, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--instructions", nargs="+", default=list(INSTRUCTIONS))
    parser.add_argument("--keep", type=Path, required=True, help="file to keep outcomes in")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child, asked.seeds, asked.keep)
        return
    print(measuring.machine(), flush=True)
    for name in asked.instructions:
        told = ["--seeds", str(asked.seeds), "--keep", str(asked.keep), "--child", name]
        command = [sys.executable, __file__, *told]
        subprocess.run(command, env=os.environ | INSTRUCTIONS[name], check=True)
    print(measuring.machine())
    tell(read(asked.keep), population(1).training.data.classes)


if __name__ == "__main__":
    main()
