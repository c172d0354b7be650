"""Seconds of an exchange of BPGAN and data parallelism on limited links, against their prediction.

    python benchmarks/split_time.py --data-dir ../shared/data --bases mlp dcgan --nodes 2 4 \
        --links 1Mbit 10Mbit 100Mbit inf

Each node, and the server, is a Dask worker in a network namespace of its own, whose link is limited
both ways (root is needed); scheduler and client are on the host, without limit. With `--shared`
everything that nodes send goes through one queue instead. Beside it, PyTorch's
DistributedDataParallel over gloo does the same in the same namespaces.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import links
import measuring
import numpy as np
import xarray as xr
from distributed import Client

import gandask as gd
from gandask.methods.split.cost import node_count, spent
from gandask.methods.split.method import Split
from gandask.methods.split.traffic import bits_per_second

BATCH_SIZE = 64
DP, DDP = "DP, server, simultaneous", "DDP, gloo"
PORT = 29500
SLOW = 2e6  # bits a second below which three exchanges have to do
Rows = list[tuple[str, str, np.ndarray]]
"""Of a method's name and a link: the seconds of exchanges."""


def methods(base: str, nodes: int, data_dir: str) -> dict[str, Split]:
    """Give what is compared, on as many nodes but for servers."""
    common = {"data": "mnist", "data_dir": data_dir, "base": base, "batch_size": BATCH_SIZE}
    common |= {"iterations": 10, "score_samples": 0, "final_samples": 100}
    pairs = {"discriminators": nodes // 2, "generators": nodes // 2}
    found: dict[str, Split] = {DP: gd.DataParallel(nodes=nodes, combine="server", **common)}
    for schedule in ("simultaneous", "alternating"):
        given = common | {"schedule": schedule}
        found[f"BPGAN, {schedule}"] = gd.BPGAN(**given, **pairs)
        found[f"DP, all-reduce, {schedule}"] = gd.DataParallel(
            nodes=nodes, combine="all_reduce", **given
        )
    return found


def repeats(link: str, most: int) -> int:
    """Say how many exchanges are timed at a link."""
    return min(3, most) if bits_per_second(link) < SLOW else most


def timed(method: Split, client: Client, exchanges: int) -> np.ndarray:
    """Run one exchange that does not count, and some more: the seconds of each."""
    method = gd.config.replace(method, {"iterations": exchanges + 1})
    ds = gd.run(method, client=client, progress=False, strict_places=True)
    return ds["elapsed"].max([d for d in ds["elapsed"].dims if d != "round"]).diff("round").values


def on_workers(compared: Mapping[str, Split], asked: argparse.Namespace) -> Rows:
    """Time methods whose nodes have the same names, on one cluster."""
    names = sorted({label for method in compared.values() for label in method.places().values()})
    rows: Rows = []
    with links.nodes(names) as nodes, links.workers(nodes) as client:
        for method in compared.values():
            timed(method, client, 1)  # processes load torch and the data
        for link in asked.links:
            nodes.limit(None if link == "inf" else link, asked.shared, asked.queue)
            for name, method in compared.items():
                taken = timed(method, client, repeats(link, asked.exchanges))
                rows.append((name, link, taken))
                print(f"  {name}, {link}: {np.round(taken, 3)}", flush=True)
    return rows


@contextlib.contextmanager
def ddp(nodes: links.Nodes, base: str, data_dir: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Start one process of DistributedDataParallel on each node."""
    script = str(Path(__file__).with_name("ddp.py"))
    address = f"{nodes.address(nodes.names[0])}:{PORT}"
    started = []
    try:
        for rank, name in enumerate(nodes.names):
            told = [str(rank), str(len(nodes.names)), address, base, data_dir]
            started.append(
                subprocess.Popen(
                    nodes.inside(name, [sys.executable, script, *told]),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | {"GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1"},
                )
            )
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def steps(processes: Sequence[subprocess.Popen[str]], count: int) -> np.ndarray:
    """Let all take steps, and give the seconds of each step where it took longest."""
    for process in processes:
        print(count, file=process.stdin, flush=True)
    return np.max([json.loads(process.stdout.readline()) for process in processes], axis=0)


def by_ddp(base: str, count: int, asked: argparse.Namespace) -> Rows:
    """Time steps of DistributedDataParallel."""
    rows: Rows = []
    names = [f"node-{index}" for index in range(count)]
    with links.nodes(names) as nodes, ddp(nodes, base, asked.data_dir) as processes:
        steps(processes, 2)
        for link in asked.links:
            nodes.limit(None if link == "inf" else link, asked.shared, asked.queue)
            taken = steps(processes, repeats(link, asked.exchanges) + 1)[1:]
            rows.append((DDP, link, taken))
            print(f"  {DDP}, {link}: {np.round(taken, 3)}", flush=True)
    return rows


def published(method: Split, link: str, taken: Mapping[str, float]) -> float:
    """Give the thesis's seconds of a pass over the data, where it has any."""
    try:
        found = gd.cost(method, link, seconds=taken, published=True)
    except gd.SettingError:  # no server
        return np.nan
    return float(found["T_BP" if method.name == "bpgan" else "T_DP"])


def compare(base: str, nodes: int, asked: argparse.Namespace) -> xr.Dataset:
    """Measure and predict all methods at all links."""
    compared = {
        name: method
        for name, method in methods(base, nodes, asked.data_dir).items()
        if any(part in name for part in asked.only)
    }
    calibrated = {
        name: json.loads(gd.cost(method, None).attrs["task_seconds"])
        for name, method in compared.items()
    }
    print(f"{base}, {nodes} nodes: {calibrated}", flush=True)
    rows: Rows = []
    for kind in ("BPGAN", "DP"):
        of_kind = {name: one for name, one in compared.items() if name.startswith(kind)}
        rows += on_workers(of_kind, asked) if of_kind else []
    rows += by_ddp(base, nodes, asked)
    shape = len(compared) + 1, len(asked.links)
    found = {key: np.full(shape, np.nan) for key in ("predicted", "published", "samples")}
    measured = np.full((*shape, asked.exchanges), np.nan)
    names = [*compared, DDP]
    for name, link, taken in rows:
        at = names.index(name), asked.links.index(link)
        measured[(*at, slice(len(taken)))] = taken
        found["samples"][at] = nodes * BATCH_SIZE
        if name != DDP:
            method, speed = compared[name], bits_per_second(link)
            _, seconds = spent(method, speed, asked.shared, calibrated[name])
            found["predicted"][at] = sum(seconds.values())
            found["published"][at] = published(method, link, calibrated[name])
            found["samples"][at] = len(method.holders) * BATCH_SIZE
            assert node_count(method) == nodes
    made = {key: (("method", "link"), values) for key, values in found.items()}
    made["measured"] = (("method", "link", "repeat"), measured)
    attrs = {"task_seconds": json.dumps(calibrated), "shared": int(asked.shared)}
    return xr.Dataset(made, {"method": names, "link": asked.links}, attrs)


def tell(base: str, nodes: int, table: xr.Dataset) -> None:
    """Print measured against predicted, and against data parallelism and DDP."""
    middle = table["measured"].median("repeat")
    by_sample = middle / table["samples"]

    def relative(values: xr.DataArray, to: str) -> float:
        return float(values.sel(at) / values.reindex({"method": [to]}).sel(at | {"method": to}))

    for link in table["link"].values:
        print(f"{base}, {nodes} nodes, {link}")
        for name in table["method"].values:
            at = {"method": name, "link": link}
            one = table.sel(at)
            told = measuring.spread(one["measured"].dropna("repeat"), ".3f")
            print(
                f"  {name}: {told} s, {float(middle.sel(at) / one['predicted']):.2f} of predicted "
                f"{float(one['predicted']):.3f}; published pass {float(one['published']):.0f} s; "
                f"{relative(middle, DDP):.2f} of DDP; saved against {DP}: "
                f"{1 - relative(middle, DP):.0%} of an exchange, "
                f"{1 - relative(by_sample, DP):.0%} at equal samples",
                flush=True,
            )


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--bases", nargs="+", default=["mlp", "dcgan"])
    parser.add_argument("--nodes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--links", nargs="+", default=["1Mbit", "10Mbit", "100Mbit", "inf"])
    parser.add_argument("--exchanges", type=int, default=5, help="timed; three at slow links")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of names of methods")
    parser.add_argument("--queue", default=links.QUEUE, help="how long packets may wait")
    parser.add_argument("--shared", action="store_true", help="one link for all nodes")
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    print(measuring.machine(), flush=True)
    bases = []
    for base in asked.bases:
        rows = []
        for nodes in asked.nodes:
            rows.append(compare(base, nodes, asked))
            tell(base, nodes, rows[-1])
        bases.append(xr.concat(rows, "nodes").assign_coords(nodes=asked.nodes))
    table = xr.concat(bases, "base").assign_coords(base=asked.bases)
    measuring.keep(table, asked.output)


if __name__ == "__main__":
    main()
