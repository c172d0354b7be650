"""Quality of BPGAN beside data parallelism and MD-GAN, at equal samples, bytes and seconds.

    python benchmarks/split_quality.py digits --seeds 10 --output quality
    python benchmarks/split_quality.py cifar10 --data-dir ../shared/data --seeds 2 \
        --iterations 600 --processes 16 --output quality
    python benchmarks/split_quality.py digits --output quality --tell

All train in process, since the numbers are the same on any number of workers. A run that `--output`
holds is not run again, so that a benchmark goes on where it ended, and folders of several machines
may be put together. Scores are taken at POINTS points of the course, and with more samples at the
end. `--tell` prints tables of the best generator by FID, of the mean of all, and of their mixture.

Who has fewer nodes with data than BPGAN's two takes more exchanges, so that all come to see as many
real samples. Between points FID is interpolated. Seconds are exchanges × the seconds of one: those
that `--seconds` gives, as benchmarks/split_time.py measures them, or else what `gandask.cost`
predicts here for one link that all nodes share.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import xarray as xr

import gandask as gd
from gandask import presets

Method = gd.BPGAN | gd.DataParallel
Courses = dict[str, list[xr.Dataset]]
"""By contender, one for each seed."""
Value = Callable[[str, xr.Dataset, str], float]
"""What a course of a contender has for a score."""
POINTS = 12
LINKS = ("1Mbit", "10Mbit", "100Mbit", "inf")
SCORES = {"fid": 1, "inception_score": 2}
"""Scores that are told, with the digits of their decimals."""
WHICH = ("best", "mean", "mixture")
JUDGES = 2
"""Of the BPGAN that sets how many real samples all are to see."""

PARTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "digits": ("bpgan-digits", {}),
    "mnist": ("bpgan-cifar10", {"data": "mnist", "image_size": None}),
    "cifar10": ("bpgan-cifar10", {"data": "cifar10.zip/train"}),
}
"""By its name, the preset that a part takes its settings from, and what is changed."""
BASES = {"DCGAN": "dcgan", "WGAN": "wgan"}
"""Their generators are the same here: DCWGAN would be WGAN bit for bit, and WDCGAN DCGAN."""
SCHEDULES = ("simultaneous", "alternating")


def pairs(generators: int, schedule: str, **others: Any) -> dict[str, Any]:
    """Give the settings of BPGAN with two judges."""
    made = {"method": "bpgan", "discriminators": JUDGES, "generators": generators}
    return made | {"schedule": schedule} | others


CONTENDERS: Mapping[str, dict[str, Any]] = {
    **{f"BPGAN 2+2, {schedule}": pairs(2, schedule) for schedule in SCHEDULES},
    "BPGAN 2+2, alternating, fresh": pairs(2, "alternating", fakes="fresh"),
    **{
        f"DP {nodes}, {schedule}": {
            "method": "data_parallel",
            "nodes": nodes,
            "schedule": schedule,
        }
        for nodes in (4, 2, 3)
        for schedule in SCHEDULES
    },
    **{f"BPGAN 2+1, {schedule}": pairs(1, schedule) for schedule in SCHEDULES},
    "MD-GAN 3+1": {
        "method": "bpgan",
        "discriminators": 3,
        "generators": 1,
        "share": "none",
        "swap_every": 100,
        "fakes": "fresh",
        "schedule": "alternating",
    },
    # a node that averages with nobody: the ordinary loop, and nothing travels
    "single GAN": {
        "method": "data_parallel",
        "nodes": 1,
        "combine": "all_reduce",
        "schedule": "alternating",
    },
}
MEASURE = "BPGAN 2+2, simultaneous"
FEW = (MEASURE, "BPGAN 2+2, alternating", "DP 4, simultaneous", "DP 4, alternating")
"""What is compared where there are several bases."""
OPPONENTS = {
    **{f"BPGAN 2+2, {schedule}": f"DP 4, {schedule}" for schedule in SCHEDULES},
    **{f"BPGAN 2+1, {schedule}": f"DP 3, {schedule}" for schedule in SCHEDULES},
}
"""On as many nodes, by contender."""
CLAIMED = {"inception_score": 0.10, "fid": 0.065}
"""By how much BPGAN may be worse than data parallelism; the thesis says 5 % of FID, and has 6.2."""


# ---- what is run


def contenders(asked: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Give what a part compares: all, or a few of each base."""
    found = dict(CONTENDERS)
    if asked.part == "cifar10":
        found = {
            f"{base}: {name}": CONTENDERS[name] | {"base": networks}
            for base, networks in BASES.items()
            for name in FEW
        }
    return {name: one for name, one in found.items() if re.search(asked.only, name)}


def methods(asked: argparse.Namespace, seed: int) -> dict[str, Method]:
    """Make the contenders, each with as many exchanges as see the samples of BPGAN at least."""
    preset, changes = PARTS[asked.part]
    shared = presets.read(preset) | changes | {"data_dir": asked.data_dir}
    if asked.data:  # the same as an array, resized already
        shared |= {"data": asked.data, "image_size": None}
    for name in ("method", "discriminators", "generators"):
        del shared[name]
    shared |= {"device": asked.device, "seed": seed, "score_every": asked.iterations // POINTS}
    shared |= {"score_samples": asked.score_samples, "final_samples": asked.final_samples}
    made: dict[str, Method] = {}
    for name, own in contenders(asked).items():
        readers = own.get("discriminators") or own["nodes"]
        iterations = asked.iterations * max(1, JUDGES // readers)
        given = shared | own | {"iterations": iterations}
        maker = {"bpgan": gd.BPGAN, "data_parallel": gd.DataParallel}[given.pop("method")]
        made[name] = maker(**given)
    return made


def place(asked: argparse.Namespace, name: str, seed: int) -> Path:
    """Name the zarr of a run."""
    spoken = re.sub(r"\W+", "-", name)
    return Path(asked.output) / f"{asked.part}-{asked.iterations}-{spoken}-{seed}.zarr"


def train(method: Method, path: Path) -> str:
    """Train, and keep the Dataset: whole, or not at all."""
    ds = gd.run(method, progress=False)
    scratch = path.with_suffix(".part")
    shutil.rmtree(scratch, ignore_errors=True)
    measuring.keep(ds, scratch)
    scratch.rename(path)
    seconds, fid = float(ds["elapsed"].max()), float(ds["final_fid"].min())
    return f"{path.stem}: {seconds:.0f} s, FID {fid:.1f}"


def run(asked: argparse.Namespace) -> None:
    """Train what is not there yet, seed by seed."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(measuring.machine(), flush=True)
    jobs = []
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        made = [(method, place(asked, name, seed)) for name, method in methods(asked, seed).items()]
        jobs += sorted(made, key=lambda job: -sum(map(len, job[0].exchange(2))))  # longest first
    jobs = [(method, path) for method, path in jobs if not path.exists()]
    if jobs:
        Path(asked.output).mkdir(parents=True, exist_ok=True)
        jobs[0][0].prepare()  # classifier and real statistics, once for all processes
    with ProcessPoolExecutor(asked.processes, get_context("spawn")) as pool:
        under_way = [pool.submit(train, *job) for job in jobs]
        for count, done in enumerate(as_completed(under_way), 1):
            print(f"{count}/{len(jobs)} {done.result()}", flush=True)


# ---- what is told


def by_generator(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Give a score along ``generator``, also of methods that have one."""
    values = ds[name].rename({"node": "generator"}) if "node" in ds[name].dims else ds[name]
    return values if "generator" in values.dims else values.expand_dims("generator")


def summary(ds: xr.Dataset, prefix: str = "") -> dict[str, xr.DataArray]:
    """Give the scores of the best generator by FID, the mean of all, and those of the mixture."""
    best = by_generator(ds, f"{prefix}fid").fillna(np.inf).argmin("generator")
    found = {}
    for score in SCORES:
        values = by_generator(ds, prefix + score)
        mixture = f"{prefix}mixture_{score}"
        found[f"best_{score}"] = values.isel(generator=best)
        found[f"mean_{score}"] = values.mean("generator", skipna=False)
        found[f"mixture_{score}"] = ds[mixture] if mixture in ds else found[f"best_{score}"]
    return found


def course(ds: xr.Dataset, method: Method) -> xr.Dataset:
    """Give the scores at each point, what had been seen and sent by then, and the final scores."""
    exchanges = ds["round"].astype(float)
    found = xr.Dataset(summary(ds))
    found["exchanges"] = exchanges
    found["samples"] = exchanges * len(method.holders) * method.batch_size
    sent = ds["sent_bytes"]
    sent = sent.sum([dim for dim in sent.dims if dim != "round"])
    found["bytes"] = sent.cumsum("round").astype(float)
    found = found.isel(round=(ds["round"] % method.score_every == 0).values)
    return found.assign({f"final_{name}": one for name, one in summary(ds, "final_").items()})


def at(one: xr.Dataset, score: str, along: str, budget: float) -> float:
    """Interpolate a score where a budget is used up; the last one where it never is."""
    return float(np.interp(budget, one[along], one[score], left=np.nan))


def told(values: Sequence[float], digits: int) -> str:
    """Write mean and deviation over seeds."""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def table(title: str, courses: Courses, exchanges: Mapping[str, str], value: Value) -> None:
    """Print the scores of all contenders, and how many exchanges they had for it."""
    columns = [f"{score}, {which}" for score in SCORES for which in WHICH]
    print(f"\n**{title}**\n\n| | exchanges | {' | '.join(columns)} |")
    print(f"|---|---|{'---|' * len(columns)}")
    for name, found in courses.items():
        row = [
            told([value(name, one, f"{which}_{score}") for one in found], digits)
            for score, digits in SCORES.items()
            for which in WHICH
        ]
        print(f"| {name} | {exchanges[name]} | {' | '.join(row)} |")


def finals(courses: Courses) -> None:
    """Print the scores of the last networks, on many samples."""
    exchanges = {name: f"{float(found[0].exchanges[-1]):.0f}" for name, found in courses.items()}
    table(
        "at the end, on the final samples",
        courses,
        exchanges,
        lambda name, one, score: float(one[f"final_{score}"]),
    )


def equals(courses: Courses, along: str, what: str) -> None:
    """Print the scores where all have used as much as BPGAN at its end: ``*`` if they never do."""
    budgets = {name: float(courses[peer(name, MEASURE)][0][along][-1]) for name in courses}
    exchanges = {}
    for name, found in courses.items():
        ended = float(found[0][along][-1]) < budgets[name] * (1 - 1e-9)
        exchanges[name] = f"{at(found[0], 'exchanges', along, budgets[name]):.0f}{'*' * ended}"
    largest = ", ".join(f"{budget:.4g}" for budget in dict.fromkeys(budgets.values()))
    table(
        f"at equal {what}: {largest}",
        courses,
        exchanges,
        lambda name, one, score: at(one, score, along, budgets[name]),
    )


def growth(courses: Courses) -> None:
    """Print the FID of the mixture after shares of the real samples."""
    shares = (0.25, 0.5, 0.75, 1.0)
    print("\n**FID of the mixture by real samples seen**\n")
    print(f"| | {' | '.join(f'{share:.0%}' for share in shares)} |\n|---|{'---|' * len(shares)}")
    for name, found in courses.items():
        whole = float(courses[peer(name, MEASURE)][0].samples[-1])
        row = [
            told([at(one, "mixture_fid", "samples", share * whole) for one in found], 1)
            for share in shares
        ]
        print(f"| {name} | {' | '.join(row)} |")


def claims(courses: Courses) -> None:
    """Print by how much BPGAN's scores differ from data parallelism's at equal samples."""
    print("\n**BPGAN / data parallelism - 1 at equal samples, the thesis's equal epochs**\n")
    print("| | exchanges of both | IS, mixture | FID, mixture | FID, best | claim |")
    print("|---|---|---|---|---|---|")
    for name, found in courses.items():
        other = next((peer(name, dp) for bp, dp in OPPONENTS.items() if name.endswith(bp)), None)
        if other not in courses:
            continue
        budget = float(found[0].samples[-1])
        scores = {
            score: np.mean([at(one, score, "samples", budget) for one in found])
            / np.mean([at(one, score, "samples", budget) for one in courses[other]])
            - 1
            for score in ("mixture_inception_score", "mixture_fid", "best_fid")
        }
        score, fid, best = scores.values()
        holds = score >= -CLAIMED["inception_score"] and fid <= CLAIMED["fid"]
        exchanges = [at(one[0], "exchanges", "samples", budget) for one in (found, courses[other])]
        print(
            f"| {name} / {other} | {exchanges[0]:.0f}, {exchanges[1]:.0f} | {score:+.1%} "
            f"| {fid:+.1%} | {best:+.1%} | {'holds' if holds else 'does not hold'} |"
        )


def peer(name: str, contender: str) -> str:
    """Give the name of another contender with the same base."""
    base, colon, _ = name.rpartition(": ")
    return f"{base}{colon}{contender}"


def seconds(asked: argparse.Namespace, made: Mapping[str, Method]) -> dict[str, dict[str, float]]:
    """Give the seconds of an exchange, by link and contender: measured, or predicted here."""
    measured = json.loads(Path(asked.seconds).read_text()) if asked.seconds else {}
    found: dict[str, dict[str, float]] = {link: {} for link in LINKS}
    for name, method in made.items():
        if all(name in measured.get(link, {}) for link in LINKS):
            found = {link: found[link] | {name: measured[link][name]} for link in LINKS}
            continue
        taken = json.loads(gd.cost(method, None).attrs["task_seconds"])
        for link in LINKS:
            predicted = gd.cost(method, link, seconds=taken)["seconds"].sum()
            found[link][name] = float(measured.get(link, {}).get(name, predicted))
    return found


def tell(asked: argparse.Namespace) -> None:
    """Print all tables of a part."""
    made = methods(asked, asked.first_seed)
    courses: Courses = {}
    for name, method in made.items():
        kept = [place(asked, name, seed) for seed in range(1, asked.first_seed + asked.seeds)]
        found = [course(xr.open_zarr(path).load(), method) for path in kept if path.exists()]
        courses |= {name: found} if found else {}
    courses = {name: found for name, found in courses.items() if peer(name, MEASURE) in courses}
    counts = ", ".join(f"{name} {len(found)}" for name, found in courses.items())
    print(f"{asked.part}: means ± deviations over seeds; seeds: {counts}")
    finals(courses)
    growth(courses)
    equals(courses, "samples", "real samples")
    equals(courses, "bytes", "bytes")
    for link, by_name in seconds(asked, made).items():
        for name, found in courses.items():
            courses[name] = [one.assign(seconds=one.exchanges * by_name[name]) for one in found]
        equals(courses, "seconds", f"seconds, on a link of {link}")
    claims(courses)


def main() -> None:
    """Train what is not there yet, or tell what is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data-dir", help="folder of MNIST/raw and cifar10.zip")
    parser.add_argument("--data", help="array that holds the part's data, already resized")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=600, help="a multiple of 12")
    parser.add_argument("--score-samples", type=int, default=2000)
    parser.add_argument("--final-samples", type=int, default=10_000)
    parser.add_argument("--only", default="", help="regular expression of contenders")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", required=True, help="folder of one zarr for each run")
    parser.add_argument("--tell", action="store_true", help="print tables of what is there")
    parser.add_argument("--seconds", help="JSON: by link and contender, measured for an exchange")
    asked = parser.parse_args()
    if asked.iterations < 1 or asked.iterations % POINTS:
        parser.error(f"--iterations {asked.iterations}: expected a multiple of {POINTS}")
    tell(asked) if asked.tell else run(asked)


if __name__ == "__main__":
    main()
