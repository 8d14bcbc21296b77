"""Draw what each sampler takes of a small graph for three seeds, as a picture.

python benchmarks/draw_samplers.py docs/images/samplers.svg
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")
import matplotlib.pyplot as plt

import daskgnn
from daskgnn.kernels.counter import derive_key
from daskgnn.kernels.entries import PartRows
from daskgnn.kernels.seeds import SeedPlan
from daskgnn.sampling import PartitionBook, Sampler
from daskgnn.sampling.rounds import sample_parts
from daskgnn.tasks import NodeClassification, Targets
from daskgnn.train.checks import planned
from daskgnn.train.options.samplers import make_sampler

NODES, NEAR = 90, 4
PANELS = {
    "neighbor, fan-outs 3 and 2": "neighbor",
    "labor, fan-outs 3 and 2": "labor",
    "ladies, 8 nodes a layer": "ladies:size=8",
    "fastgcn, 24 nodes a layer": "fastgcn:size=24",
    "cluster, 2 of 6 clusters": "cluster:clusters=2,subgraphs=1",
    "saint, 4 walks of 4 steps": "saint:kind=walk,roots=4,length=4,subgraphs=1",
    "shadow, 1 hop, at most 4": "shadow:hops=1,fanout=4",
}
TOLD = """One small graph, seven times. Red: three seeds, or the nodes that a sampler
chooses to train on. Blue: the nodes and edges that the step uses besides. neighbor and
labor take neighbours of the seeds in two hops, labor fewer different ones; ladies and
fastgcn take a number of nodes a layer; cluster takes two clusters with all edges
between their nodes; saint the nodes of random walks; shadow a subgraph around each
seed."""
ONE_KEY = np.array([derive_key(1, 2)], np.uint64)


def small_graph() -> tuple[np.ndarray, Any]:
    """Return places in the plane [N, 2], and the graph of near ones, opened."""
    rng = np.random.default_rng(3)
    places = rng.random((NODES, 2))
    far = ((places[:, None] - places) ** 2).sum(2) + 10 * np.eye(NODES)
    near = np.argsort(far, axis=1)[:, :NEAR]
    edges = np.stack([near.ravel(), np.repeat(np.arange(NODES), NEAR)])
    labels = np.zeros(NODES, np.int64)
    labels[1] = 1
    everyone = np.ones(NODES, bool)
    known = {"features": places, "labels": labels, "train": everyone}
    data = daskgnn.from_edge_index(edges, num_nodes=NODES, **known)
    return places, daskgnn.open_graph(data.partition(num_clusters=6, method="metis"))


def sampled(text: str, graph: Any, seeds: np.ndarray) -> Any:
    """Return the graph that a sampler takes in one step of one part."""
    fan_outs = [3, 2] if text in ("neighbor", "labor") else None
    sampler: Sampler = make_sampler(text, fan_outs).for_graph(graph, 2)
    block = graph.source.load_rows(0, graph.num_nodes)
    rows = PartRows(block, sampler.part_data(block, graph.source))
    sampler = sampler.with_summaries([sampler.summarize(rows)])
    book = PartitionBook(np.array([0, graph.num_nodes]))
    train = graph.splits["train"]
    targets = Targets(graph.original_ids_of(train), train[:, None])
    plan = planned(sampler, SeedPlan(targets, 3, 0), 1, NodeClassification())
    starts = seeds if plan.chosen is None else plan.chosen.starts(0, 1)
    (graphs,) = sample_parts(sampler, [rows], book, [[starts]], ONE_KEY)
    return graphs[0]


def edges_of(graph: Any) -> set[tuple[int, int]]:
    """Return source and destination of all edges of all layers, as storage ids."""
    found = set()
    for number in range(graph.num_layers):
        starts, ends, indices, *_ = graph.layer(number)
        for row, (a, b) in enumerate(zip(starts, ends, strict=True)):
            found |= {(int(graph.ids[j]), int(graph.ids[row])) for j in indices[a:b]}
    return found


def lines(edges: set[tuple[int, int]], places: np.ndarray) -> np.ndarray:
    """Return one broken line through the ends of all edges, [2, 3 E]."""
    ends = np.array(sorted(edges), np.int64).reshape(-1, 2)
    gap = np.full((len(ends), 2), np.nan)
    return np.stack([*places[ends.T], gap], axis=1).reshape(-1, 2).T


def draw(axis: Any, places: np.ndarray, block: Any, taken: Any, title: str) -> None:
    """Draw one panel: all edges, those taken, nodes, seeds."""
    rows = np.repeat(np.arange(len(places)), np.diff(block.indptr))
    every = {
        (min(e), max(e))
        for e in zip(block.indices.tolist(), rows.tolist(), strict=True)
    }
    own = {(min(edge), max(edge)) for edge in edges_of(taken)}
    axis.plot(*lines(every - own, places), color="0.85", linewidth=0.8)
    axis.plot(*lines(own, places), color="tab:blue", linewidth=1.4)
    axis.scatter(*places.T, s=8, color="0.75", zorder=2)
    axis.scatter(*places[taken.ids].T, s=16, color="tab:blue", zorder=3)
    axis.scatter(*places[taken.seeds].T, s=34, color="tab:red", zorder=4)
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()


def main(out: str) -> None:
    """Write the picture."""
    places, graph = small_graph()
    block = graph.source.load_rows(0, graph.num_nodes)
    stored = places[block.original_ids]
    middle = np.argsort(((stored - [[0.25, 0.3]]) ** 2).sum(1))[:2]
    other = np.argsort(((stored - [[0.75, 0.7]]) ** 2).sum(1))[:1]
    seeds = np.sort(np.concatenate([middle, other])).astype(block.indices.dtype)
    mpl.rcParams["svg.hashsalt"] = "samplers"
    mpl.rcParams["svg.fonttype"] = "none"
    figure, axes = plt.subplots(2, 4, figsize=(11, 6), layout="constrained")
    for axis in axes.ravel():
        axis.set_axis_off()
    for axis, (title, text) in zip(axes.ravel(), PANELS.items(), strict=False):
        draw(axis, stored, block, sampled(text, graph, seeds), title)
    file = Path(out)
    figure.savefig(file, metadata={"Date": None})
    head, tag, rest = file.read_text().partition("<metadata>")
    file.write_text(f"{head}<desc>{TOLD}</desc>\n {tag}{rest}")


if __name__ == "__main__":
    main(*sys.argv[1:])
