"""Re-purposed ensembles: generators trained alone, ensembles of them for TVD or FID, or for both.

    python benchmarks/ensembles.py train --data-dir ../shared/data --output ensembles
    python benchmarks/ensembles.py search --output ensembles
    python benchmarks/ensembles.py tell --output ensembles
    python benchmarks/ensembles.py speed

`train` trains plain GANs, each on a share of the data of its own: `--runs 5` are 20 generators.
`search` chooses ensembles from all of them, of each size of the slides and of at most 8, by every
search; those that draw, by five seeds. `tell` prints tables of what is there, beside that of the
slides (Toutouh 2021, from Toutouh et al. 2020). All generators are one pool: each is sampled once.
What `--output` holds is not done again.
`speed` tells how much faster many ensembles are scored at once than one by one.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path

import measuring
import numpy as np
import pandas as pd
import xarray as xr

import gandask as gd
from gandask.repurposing.genomes import Genomes, Limit
from gandask.repurposing.pool import Pool
from gandask.scores import metrics
from gandask.scores.metrics import Reference

SIZES, MOST = (1, 3, 4, 5, 6, 8), 8
SLIDES = {
    "size 1": (0.113, 36.393),
    "size 3": (0.046, 27.576),
    "size 4": (0.043, 27.890),
    "size 5": (0.046, 28.225),
    "size 6": (0.045, 27.077),
    "at most 8": (0.033, 27.342),
}
"""TVD and FID of ensembles for TVD, by their own classifier."""
DRAWING = ("evolve", "random")
"""Searches that differ by seed."""


def populations(asked: argparse.Namespace) -> Iterator[tuple[Path, gd.MGGAN]]:
    """Make the plain GANs that are chosen from, in runs of four."""
    for seed in range(1, asked.runs + 1):
        yield (
            asked.output / "runs" / f"plain-{seed}",
            gd.MGGAN(
                data=asked.data,
                data_dir=asked.data_dir,
                data_fraction=asked.fraction,
                base=asked.base,
                loss="wgan_gp",
                discriminator_steps=5,
                learning_rate=1e-3,
                groups=4,
                interval=0,
                iterations=asked.iterations,
                iterations_per_round=100,
                score_samples=0,
                seed=seed,
            ),
        )


def train(asked: argparse.Namespace) -> None:
    """Train the GANs that are not there yet, and go on with those that broke off."""
    for path, population in populations(asked):
        if path.exists() and gd.open_run(path).state == "finished":
            continue
        ds = gd.run(population, store=path, resume=path.exists())
        print(path, f"FID {measuring.spread(ds['final_fid'], '.1f')}", flush=True)


def contenders(seeds: int) -> Iterator[tuple[str, tuple[str, ...], str, int]]:
    """Name what is searched: a folder, objectives, a search and its seed."""
    for search in ("evolve", "greedy", "random", "exact"):
        for seed in range(1, 1 + (seeds if search in DRAWING else 1)):
            yield f"tvd-{search}-{seed}", ("tvd",), search, seed
            if search != "exact":
                yield f"fid-{search}-{seed}", ("fid",), search, seed
    for seed in range(1, seeds + 1):
        yield f"front-{seed}", ("tvd", "fid"), "evolve", seed


def search(asked: argparse.Namespace) -> None:
    """Choose the ensembles that are not there yet."""
    runs = sorted((asked.output / "runs").iterdir())
    for name, objective, how, seed in contenders(asked.seeds):
        path = asked.output / "found" / name
        if path.exists() and gd.open_run(path).state == "finished":
            continue
        shutil.rmtree(path, ignore_errors=True)  # it broke off as it was written
        gd.ensembles(
            runs,
            objective=objective,
            size=SIZES if len(objective) == 1 else None,
            at_most=MOST,
            search=how,
            seed=seed,
            samples=asked.samples,
        ).save(path)
        print(path, flush=True)


def tell(asked: argparse.Namespace) -> None:
    """Print tables of what is there."""
    found = {path.name: gd.open_run(path).ds for path in sorted((asked.output / "found").iterdir())}
    any_ = next(iter(found.values()))
    print(measuring.machine())
    print(f"{any_.sizes['member']} generators; alone, by the half that judges:")
    for name in ("tvd", "fid"):
        print(f"  {name} {measuring.spread(any_[f'member_{name}'], '.4g')}")
    for objective in ("tvd", "fid"):
        table = _table({k: v for k, v in found.items() if k.startswith(f"{objective}-")}, objective)
        if len(table):
            print(f"\nfor {objective}: medians over seeds (least to largest)\n")
            print(table.to_string())
    print("\nthe slides, for TVD, by another classifier: compare falls, not values")
    print(pd.DataFrame(SLIDES, ["TVD", "FID"]).T.to_string())
    _tell_fronts({name: ds for name, ds in found.items() if name.startswith("front-")})


def _table(found: dict[str, xr.Dataset], objective: str) -> pd.DataFrame:
    """Give a row for each search and limit."""
    rows = {}
    for search_ in ("evolve", "greedy", "random", "exact"):
        of = [ds for name, ds in found.items() if name.split("-")[1] == search_]
        for label in of[0]["ensemble"].values if of else ():
            one = xr.concat(
                [ds.sel(ensemble=label, drop=True).isel(round=0) for ds in of],
                "seed",
                join="override",
            )
            columns = ["final_tvd", "final_fid", "tvd", "fid"]
            told = {name: measuring.spread(one[name], ".4g") for name in columns}
            if objective == "tvd":
                told |= {"gap": measuring.spread(one["gap"], ".2g")}
            rows[search_, label] = told | {"members": measuring.spread(one["members"], ".0f")}
    return pd.DataFrame(rows).T


def _tell_fronts(found: dict[str, xr.Dataset]) -> None:
    for name, ds in found.items():
        print(f"\n{name}: {ds.sizes['ensemble']} ensembles of at most {MOST}, every fifth")
        columns = ["tvd", "fid", "final_tvd", "final_fid", "members"]
        print(ds[columns].isel(round=0).to_dataframe()[columns][::5].to_string())


def speed() -> None:
    """Print the ratio of scoring 10,000 ensembles of 20 generators one by one and at once."""
    chance = np.random.default_rng(0)

    def sums(count: int) -> metrics.Statistics:
        probabilities = chance.dirichlet(np.ones(10), count)
        return metrics.measure(chance.normal(size=(count, 10)), probabilities)

    real, candidates = Reference.of(sums(5000)), [sums(1000) for _ in range(20)]
    rules = Genomes(20, Limit(8, False), 0.01, chance)
    weights = rules.weights(rules.drawn(10_000))
    pool = Pool(real, candidates)

    def one_by_one() -> None:
        for row in weights[::10]:
            metrics.fid(real, metrics.merge(candidates, list(row)))

    timed = measuring.interleaved(
        {
            "at once": lambda: measuring.seconds(lambda: pool.scores("fid", weights)),
            "one by one": lambda: 10 * measuring.seconds(one_by_one),
        },
        repeats=5,
    )
    print(measuring.machine())
    for name in timed["contender"].values:
        print(
            f"10,000 FIDs of 10 features, {name}: {measuring.spread(timed.sel(contender=name))} s"
        )
    ratio = timed.sel(contender="one by one") / timed.sel(contender="at once")
    print(f"ratio {measuring.spread(ratio, '.1f')}")


def main() -> None:
    """Do the part that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["train", "search", "tell", "speed"])
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--data-dir", help="folder of MNIST/raw")
    parser.add_argument("--base", default="mlp", help="networks")
    parser.add_argument("--runs", type=int, default=5, help="of four generators each")
    parser.add_argument("--iterations", type=int, default=800, help="of each generator")
    parser.add_argument("--fraction", type=float, default=0.25, help="of the data, for each GAN")
    parser.add_argument("--samples", type=int, default=10_000, help="in either half")
    parser.add_argument("--seeds", type=int, default=5, help="of searches that draw")
    parser.add_argument("--output", type=Path, default=Path("ensembles"))
    asked = parser.parse_args()
    parts = {"train": train, "search": search, "tell": tell}
    speed() if asked.part == "speed" else parts[asked.part](asked)


if __name__ == "__main__":
    main()
