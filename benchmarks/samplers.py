"""Samplers against fan-out sampling, and against those of other libraries.

    python benchmarks/samplers.py [--only labor,cluster,peers] [--shape arxiv]

- labor: GraphSAGE with LABOR-0 and with fan-out sampling on two workers, alternately:
  training seeds a second, input nodes and bytes between parts a step.
- cluster: Cluster-GCN and fan-out sampling on two workers: seconds an epoch, and
  seconds until test accuracy is that of fan-out sampling less one point.
- peers: on one core, seconds of that core: LABOR against DGL's, subgraphs against PyG's
  ClusterLoader and SAINT sampler, where `make bench-env` has installed them; others are
  named and left out.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from report import show
from sampler import bind_to_one_core, dgl_graph, import_dgl, rates
from sampler_accuracy import of_steps
from workloads import WORKLOADS, add_options, store_of

import daskgnn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.kernels.allocator import keep_freed_memory
from daskgnn.kernels.counter import derive_key
from daskgnn.kernels.entries import PartRows
from daskgnn.kernels.targets import Targets
from daskgnn.sampling import PartitionBook, Sampler
from daskgnn.sampling.rounds import presample_parts, sample_parts
from daskgnn.train.options.samplers import make_sampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from workloads import Workload

PARTS, CLUSTERS = 2, {"arxiv": 512, "products": 2048}
FAN_OUT, BATCH = [15, 10, 5], 2048
MOST_EPOCHS = 12
"""Of Cluster-GCN."""
TEST_NODES = 20_000


def trainer_of(
    work: Workload, path: str, client: Any, sampler: str, fan_out: Any, **options: Any
) -> daskgnn.Trainer:
    """Return a trainer; all are alike but for the sampler."""
    graph = daskgnn.open_graph(path, PARTS)
    torch.manual_seed(0)
    sizes = graph.num_features, work.hidden, graph.num_classes, len(fan_out or FAN_OUT)
    given = {"num_neighbors": fan_out} if fan_out else {}
    return daskgnn.Trainer(
        daskgnn.nn.GraphSAGE(*sizes),
        graph,
        sampler=sampler,
        batch_size=BATCH,
        client=client,
        progress=None,
        **given,
        **options,
    )


def measure_labor(
    work: Workload, path: str, repeats: int, steps: int
) -> list[dict[str, Any]]:
    """Return a row for each thing that is measured of both samplers."""
    names = ("neighbor", "labor")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with own_cluster(PARTS) as client:
        runs = {n: trainer_of(work, path, client, n, FAN_OUT) for n in names}
        for _ in range(repeats):
            for name, run in runs.items():
                found[name].append(_times(run.profile(steps).to_dict()))
    told = {n: of_steps(trainer_of(work, path, None, n, FAN_OUT), 4) for n in names}
    sides = {
        name: {
            **{
                k: float(np.median([t[k] for t in found[name]])) for k in found[name][0]
            },
            "input nodes a step": told[name]["input_nodes"],
            "remote rows a step": told[name]["remote_rows"],
            "remote MB a step": told[name]["remote_bytes"] / 1e6,
        }
        for name in names
    }
    base, labor = (sides[name] for name in names)
    return [
        {"": what, "neighbor": base[what], "labor": labor[what]}
        | {"ratio": labor[what] / base[what] if base[what] else 0.0}
        for what in base
    ]


def _times(profile: dict[str, Any]) -> dict[str, float]:
    """Return seeds a second, and what a part's step takes, in CPU ms."""
    ahead, lines = profile["ahead"]["lines"], profile["lines"]
    return {
        "seeds/s": 1000 * BATCH / profile["wall_ms"],
        "sample CPU ms": ahead["sample"]["cpu_ms"],
        "gather CPU ms": ahead["gather"]["cpu_ms"],
        "forward CPU ms": lines["forward"]["cpu_ms"],
        "backward CPU ms": lines["backward"]["cpu_ms"],
    }


def test_batches(path: str) -> daskgnn.Minibatches:
    """Return minibatches of some test nodes, the same in each pass but the epoch's.

    An exact evaluation of the products shape takes more memory than its training.
    """
    graph = daskgnn.open_graph(path, 1)
    ids = np.sort(graph.original_ids_of(graph.splits["test"]))
    chosen = np.random.default_rng(0).permutation(ids)[:TEST_NODES]
    return daskgnn.Minibatches(graph, FAN_OUT, chosen, shuffle=False)


def accuracy_of(model: torch.nn.Module, batches: daskgnn.Minibatches) -> float:
    """Return the share of seeds that a model is right about, in per cent."""
    batches.epoch = right = total = 0
    model.eval()
    with torch.no_grad():
        for batch in batches:
            found = model(batch.x, batch.blocks).argmax(1)
            right += int((found == batch.labels).sum())
            total += len(found)
    return 100 * right / total


def measure_cluster(work: Workload, path: str, epochs: int) -> list[dict[str, Any]]:
    """Return a row a sampler: seconds, accuracy, what parts send.

    Fan-out sampling trains `epochs` epochs, Cluster-GCN until it is as accurate less a
    point, or `MOST_EPOCHS`. Accuracy is that of test nodes with sampled neighbours.
    """
    rows: list[dict[str, Any]] = []
    batches = test_batches(path)
    texts = {"neighbor": FAN_OUT, f"cluster:clusters={CLUSTERS[work.name] // 16}": None}
    with own_cluster(PARTS) as client:
        for text, fan_out in texts.items():
            run = trainer_of(
                work, path, client, text, fan_out, eval_every=10 * MOST_EPOCHS
            )
            done = 1 if rows else epochs
            while True:
                run.fit(done)
                accuracy = accuracy_of(run.model, batches)
                wanted = rows[0]["test %"] - 1 if rows else 0.0
                print(f"  {text}: {accuracy:.1f} % after {done}", flush=True)
                if accuracy >= wanted or done == MOST_EPOCHS:
                    break
                done += 1
            seconds = run.run_state.total.seconds
            told = of_steps(trainer_of(work, path, None, text, fan_out), 4)
            rows.append(
                {
                    "sampler": text,
                    "s an epoch": seconds / done,
                    "epochs": done,
                    "s of training": seconds,
                    "steps": run.run_state.state.step,
                    "test %": accuracy,
                    "remote rows a step": told["remote_rows"],
                }
            )
    for row in rows:
        for name in ("s an epoch", "s of training"):
            row[f"ratio of {name}"] = row[name] / rows[0][name]
    return rows


class OnePart:
    """A graph in one part, and samplers of it."""

    def __init__(self, path: str) -> None:
        self.graph = daskgnn.open_graph(path, 1)
        self.block = self.graph.source.load_rows(0, self.graph.num_nodes)
        self.book = PartitionBook(np.array([0, self.graph.num_nodes]))
        self.train = self.graph.splits["train"]

    def ready(self, text: str, fan_out: Any = None) -> tuple[Sampler, PartRows]:
        """Return a sampler that knows the graph, and the rows that it reads."""
        sampler = make_sampler(text, fan_out).for_graph(self.graph, 2)
        data = sampler.part_data(self.block, self.graph.source)
        rows = PartRows(self.block, data)
        sampler = sampler.with_summaries([sampler.summarize(rows)])
        if hasattr(sampler, "tally"):
            sampler, (rows,) = presample_parts(sampler, [rows], self.book, 0)
        return sampler, rows

    def sample(self, ready: tuple[Sampler, PartRows], starts: list[Any]) -> list[Any]:
        """Return the graphs of some steps."""
        keys = np.array([derive_key(1, s) for s in range(len(starts))], np.uint64)
        sampler, rows = ready
        (graphs,) = sample_parts(sampler, [rows], self.book, [starts], keys)
        return graphs

    def subgraphs(self, text: str, count: int) -> Callable[[], int]:
        """Return a function that samples so many subgraphs and returns their number."""
        ready = self.ready(text)
        targets = Targets(self.graph.original_ids_of(self.train), self.train[:, None])
        plan = ready[0].steps(targets, 0, 1)
        plan = getattr(ready[0], "plan", None) or plan
        starts = [plan.starts(0, s % plan.steps_per_epoch) for s in range(count)]
        return lambda: sum(len(self.sample(ready, [one])) for one in starts)

    def edge_index(self) -> torch.Tensor:
        """Return int64 [2, E], sources and destinations."""
        row = np.repeat(np.arange(self.graph.num_nodes), self.block.degree)
        return torch.from_numpy(np.stack([self.block.indices.astype(np.int64), row]))


def edges_of(graphs: list[Any]) -> int:
    """Return the edges of all layers."""
    layers = [g.layer(h) for g in graphs for h in range(g.num_layers)]
    return sum(int((layer.ends - layer.starts).sum()) for layer in layers)


def measure_peers(path: str, repeats: int) -> list[dict[str, Any]]:
    """Return a row a sampler: ours, theirs and the ratio of their rates."""
    bind_to_one_core()
    keep_freed_memory()
    part, rows = OnePart(path), []
    rng = np.random.default_rng(0)
    drawn = [rng.choice(part.graph.num_nodes, 1024, replace=False) for _ in range(8)]
    seeds = [ids.astype(part.block.indices.dtype) for ids in drawn]
    dgl = import_dgl()
    if dgl is not None:
        graph = dgl_graph(dgl, part.block)
        for fan_out in ([25, 10], FAN_OUT):
            ready = part.ready("labor", fan_out)
            theirs = dgl.dataloading.LaborSampler(fan_out[::-1])

            def of_dgl(sampler: Any = theirs) -> int:
                found = [
                    sampler.sample_blocks(graph, torch.from_numpy(s)) for s in drawn
                ]
                return sum(
                    block.num_edges() for _, _, blocks in found for block in blocks
                )

            def of_ours(ready: Any = ready) -> int:
                return edges_of(part.sample(ready, seeds))

            found = rates([of_ours, of_dgl], repeats)
            rows.append(_compared(f"labor {fan_out}, M edges/s", *found))
    rows += _against_pyg(part, repeats)
    return rows


def _compared(name: str, ours: float, theirs: float) -> dict[str, Any]:
    return {"what": name, "daskgnn": ours, "peer": theirs, "ratio": ours / theirs}


def _against_pyg(part: OnePart, repeats: int) -> list[dict[str, Any]]:
    """Return rows for clusters and random walks, where PyG can be imported."""
    try:
        from torch_geometric.data import Data
        from torch_geometric.loader import ClusterData, ClusterLoader
    except ImportError as error:
        print(f"PyG is not measured: {error}")
        return []
    edges, size = part.edge_index(), part.graph.num_nodes
    data = Data(edge_index=edges, num_nodes=size)
    bounds = part.graph.clusters.bounds
    given = ClusterData.__new__(ClusterData)
    given.num_parts, given.recursive = len(bounds) - 1, False
    given.keep_inter_cluster_edges, given.sparse_format = True, "csr"
    number = np.searchsorted(bounds, np.arange(size), side="right") - 1
    given.partition = given._partition(edges, torch.from_numpy(number))
    given.data = given._permute_data(data, given.partition)
    batches, together = 8, 8
    loader = ClusterLoader(given, batch_size=together, shuffle=True)
    own = part.subgraphs(f"cluster:clusters={together},subgraphs=1", batches)
    found = rates([own, lambda: _first(loader, batches)], repeats)
    found = [rate * 1e6 for rate in found]
    rows = [_compared(f"{together} clusters, batches/s", *found)]
    try:
        import torch_sparse  # noqa: F401
        from torch_geometric.loader import GraphSAINTRandomWalkSampler
    except ImportError as error:
        print(f"PyG's SAINT sampler is not measured: {error}")
        return rows
    loader = GraphSAINTRandomWalkSampler(
        data, batch_size=3000, walk_length=2, num_steps=batches, sample_coverage=0
    )
    own = part.subgraphs("saint:kind=walk,roots=3000,length=2,subgraphs=1", batches)
    found = [r * 1e6 for r in rates([own, lambda: _first(loader, batches)], repeats)]
    return [*rows, _compared("saint walks, subgraphs/s", *found)]


def _first(loader: Any, count: int) -> int:
    """Take so many batches of a loader."""
    done = 0
    for _ in loader:
        done += 1
        if done == count:
            break
    return done


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, "arxiv")
    parser.add_argument("--only", default="labor,cluster,peers")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=24, help="a profile of labor has")
    parser.add_argument("--epochs", type=int, default=4, help="of fan-out sampling")
    parser.add_argument("--json", help="a folder for the tables")
    given = parser.parse_args()
    work = WORKLOADS[given.shape]
    path = store_of(work, given.cache, given.store, CLUSTERS[given.shape])
    kinds: dict[str, tuple[str, Callable[[], list[dict[str, Any]]]]] = {
        "labor": (
            f"{given.shape}, {FAN_OUT}, batch {BATCH}, two workers",
            lambda: measure_labor(work, path, given.repeats, given.steps),
        ),
        "cluster": (
            f"{given.shape}, to equal accuracy on two workers",
            lambda: measure_cluster(work, path, given.epochs),
        ),
        "peers": (
            f"{given.shape}, rates a second of one core",
            lambda: measure_peers(path, given.repeats),
        ),
    }
    for name in given.only.split(","):
        title, measure = kinds[name]
        out = given.json and os.path.join(given.json, f"samplers-{name}.json")
        show(title, measure(), out, markdown=True)


if __name__ == "__main__":
    main()
