"""Bytes of an exchange of BPGAN and data parallelism: measured, predicted, and on a wire.

    python benchmarks/split_bytes.py --data-dir ../shared/data

`sent_bytes` of a run is held to what `gandask.cost` predicts, and to the table of the guide. On
real Dask workers, each in a network namespace of its own (root is needed), what crosses links is
counted besides: what nodes say to each other, what they say to scheduler and client, and the
headers of packets. All methods run on one cluster, of workers with all names.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

import links
import measuring
import numpy as np
import xarray as xr
from distributed import Client

import gandask as gd
from gandask.methods.split.method import Split
from gandask.methods.split.traffic import Volumes, flows
from gandask.training.wire import size

BATCH_SIZE, EXCHANGES = 64, 6
WIDTH = 4  # bytes of a float32
COUNTED = ("measured", "predicted", "guide", "states", "between_nodes", "on_wire", "packets")


def methods(base: str, nodes: int, data_dir: str) -> dict[str, Split]:
    """Give what is compared, on as many nodes but for servers."""
    common = {"data": "mnist", "data_dir": data_dir, "base": base, "batch_size": BATCH_SIZE}
    common |= {"iterations": EXCHANGES, "score_samples": 0, "final_samples": 100}
    pairs = {"discriminators": nodes // 2, "generators": nodes // 2}
    judges = {"discriminators": nodes - 1, "generators": 1, "share": "none"}
    return {
        "DP, server": gd.DataParallel(nodes=nodes, combine="server", **common),
        "DP, all-reduce": gd.DataParallel(nodes=nodes, combine="all_reduce", **common),
        "BPGAN, shared": gd.BPGAN(**pairs, **common),
        "BPGAN, fresh": gd.BPGAN(**pairs, fakes="fresh", **common),
        "MD-GAN": gd.BPGAN(**judges, fakes="fresh", schedule="alternating", **common),
    }


def by_guide(method: Split) -> int:
    """Evaluate the guide's table of what travels, with buffers, where no discriminators swap."""
    volumes, holders = Volumes.of(method), len(method.holders)
    w, g, b = (
        {kind: size(shapes, method.wire) for kind, shapes in each.items()}
        for each in (volumes.weights, volumes.gradients, volumes.buffers)
    )
    if isinstance(method, gd.DataParallel):
        if method.combine == "server":
            return holders * sum(sum(each.values()) for each in (w, g, b))
        return 2 * (holders - 1) * sum(g.values()) + holders * (holders - 1) * sum(b.values())
    batches = 3 if method.fakes == "fresh" else 2
    fakes = batches * holders * volumes.batch * volumes.sample * WIDTH
    if method.share == "none":
        return fakes
    kind = "discriminator"
    return fakes + holders * (w[kind] + g[kind] + b[kind])


def crossed(nodes: links.Nodes, names: Iterable[str]) -> np.ndarray:
    """Sum over nodes what they have sent: to each other, all on the wire, and packets."""
    return np.sum([(nodes.sent_to_nodes(name), *nodes.sent(name)) for name in names], axis=0)


def measure(method: Split, nodes: links.Nodes, client: Client) -> xr.Dataset:
    """Run a method, and count what goes with an exchange more: the first has others."""
    predicted = float(gd.cost(method, None, seconds=free(method))["bytes"].sum())
    found, names = [], set(method.places().values())
    # one that opens connections, and two whose difference has nothing of beginning and end
    for exchanges in (2, 2, EXCHANGES):
        shorter = gd.config.replace(method, {"iterations": exchanges})
        before = crossed(nodes, names)
        ds = gd.run(shorter, client=client, progress=False, strict_places=True)
        found.append(crossed(nodes, names) - before)
    sent = ds["sent_bytes"].sum([dim for dim in ds["sent_bytes"].dims if dim != "round"]).values
    between, wire, packets = (found[2] - found[1]) / (EXCHANGES - 2)
    states = np.mean([sum(map(len, flows(method, r))) for r in range(2, EXCHANGES + 1)])
    counted = (sent[1:].mean(), predicted, by_guide(method), states, between, wire, packets)
    made = {name: ((), float(value)) for name, value in zip(COUNTED, counted, strict=True)}
    return xr.Dataset(made)


def free(method: Split) -> Mapping[str, float]:
    """Give tasks that take no time."""
    return {task.name: 0.0 for stage in method.exchange(2) for task in stage}


def tell(title: str, one: xr.Dataset) -> None:
    """Print what was counted of a method."""
    value = {name: float(one[name]) for name in COUNTED}
    messages = value["between_nodes"] - value["measured"]
    headers = links.PACKET * value["packets"]
    rest = value["on_wire"] - value["between_nodes"] - headers
    print(
        f"{title}: {value['measured']:,.0f} B measured, {value['predicted']:,.0f} predicted, "
        f"{value['guide']:,.0f} by the guide, {value['states']:.0f} states; between nodes "
        f"{messages / value['states']:,.0f} B more a state; on the wire {value['on_wire']:,.0f}: "
        f"{headers:,.0f} are headers of packets, {rest:,.0f} go to scheduler and client",
        flush=True,
    )


def main() -> None:
    """Count for each method, network and number of nodes, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--bases", nargs="+", default=["mlp", "dcgan"])
    parser.add_argument("--nodes", type=int, nargs="+", default=[2, 4, 6])
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    print(measuring.machine(), flush=True)
    compared = {
        (base, count): methods(base, count, asked.data_dir)
        for base in asked.bases
        for count in asked.nodes
    }
    every = [method for each in compared.values() for method in each.values()]
    names = sorted({label for method in every for label in method.places().values()})
    with links.nodes(names, whole_packets=True) as nodes, links.workers(nodes) as client:
        bases = []
        for base in asked.bases:
            rows = []
            for count in asked.nodes:
                each = []
                for name, method in compared[base, count].items():
                    each.append(measure(method, nodes, client))
                    tell(f"{base}, {count} nodes, {name}", each[-1])
                rows.append(xr.concat(each, "method"))
            bases.append(xr.concat(rows, "nodes"))
    coords = {"base": asked.bases, "nodes": asked.nodes, "method": [*compared[base, count]]}
    measuring.keep(xr.concat(bases, "base").assign_coords(coords), asked.output)


if __name__ == "__main__":
    main()
