"""FID of a grid whose learning rates evolve, beside grids whose rates are fixed, on digits.

python benchmarks/mutable.py --rounds 25 --seeds 3
"""

import argparse
import collections
import statistics

import gandask as gd

ARMS = {
    "evolving, 1e-5 to 1e-2": {
        "mutation_probability": 0.0,
        "mutable": {"learning_rate": [1e-5, 1e-2]},
    },
    "2e-4": {"mutation_probability": 0.0, "learning_rate": 2e-4},
    "1e-5": {"mutation_probability": 0.0, "learning_rate": 1e-5},
    "1e-2": {"mutation_probability": 0.0, "learning_rate": 1e-2},
}


def main():
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, default=25)
    asked.add_argument("--seeds", type=int, default=3)
    given = asked.parse_args()
    found = collections.defaultdict(list)
    for seed in range(1, given.seeds + 1):
        for name, settings in ARMS.items():
            method = gd.Grid(
                data="digits", shape=(3, 3), rounds=given.rounds, seed=seed, shown_samples=0,
                fitness_samples=200, score_samples=0, final_samples=2000, **settings,
            )  # fmt: skip
            ds = gd.run(method, progress=False)
            best, median = float(ds.final_fid.min()), float(ds.final_fid.median())
            found[name].append((best, median))
            last = ds.generator_learning_rate.isel(round=-1)
            rates = f"{float(last.min()):.2g} to {float(last.max()):.2g}"
            told = f"best {best:8.2f}  median {median:8.2f}  rates {rates}"
            print(f"{name:24} seed {seed}  {told}", flush=True)
    for name, rows in found.items():
        best, median = (statistics.mean(column) for column in zip(*rows, strict=True))
        print(f"{name:24} mean    best {best:8.2f}  median {median:8.2f}")


if __name__ == "__main__":
    main()
