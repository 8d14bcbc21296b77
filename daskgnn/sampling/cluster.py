"""Cluster-GCN: a step trains on some of the graph's clusters and the edges in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.counter import PERMUTATION, derive_key, keys_below
from daskgnn.kernels.frontier import offsets
from daskgnn.kernels.induced import NodeSets, nodes_between
from daskgnn.sampling.induced import Subgraphs, SubgraphSampler
from daskgnn.sampling.optionchecks import whole
from daskgnn.sampling.size import SampleSize, default_share
from daskgnn.sampling.steps import StepPlan

if TYPE_CHECKING:
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.targets import Targets
    from daskgnn.sampling.size import GraphStats

STEPS = 8
"""About how many steps an epoch has unless it is said how many clusters a step has."""


class ClusterSampler(SubgraphSampler):
    """Trains on whole clusters: those of the graph's partition, some in each step.

    Every edge between a step's clusters is kept, all others are dropped. An epoch
    visits each cluster once, in an order that depends on the seed and the epoch alone.

    The clusters of a step are shared by `subgraphs` subgraphs, and edges between these
    are dropped, too. Each has clusters that lie near each other in the partition: with
    one subgraph a part, the default, they lie in its own part, and nothing is sent.
    Results depend on the partition and on the number of subgraphs, not on workers.

    Parameters
    ----------
    clusters : int, optional
        Clusters of a step, over all parts; by default an eighth of the graph's, at
        least one a subgraph, or as many as have 32 training nodes on average (of a
        large graph, at most 32,768 nodes).
    subgraphs : int, optional
        Subgraphs of a step, over all parts; by default one a part.

    Raises
    ------
    InputError
        If one of them is not a positive whole number.

    Examples
    --------
    >>> import daskgnn
    >>> from daskgnn.sampling import ClusterSampler
    >>> partitioned = daskgnn.load_dataset("karate").partition(num_clusters=8)
    >>> graph = daskgnn.open_graph(partitioned, num_parts=2)
    >>> sampler = ClusterSampler(clusters=4).for_graph(graph, num_layers=2)
    >>> from daskgnn.tasks import NodeClassification
    >>> targets = NodeClassification().targets(graph, "train")
    >>> plan = sampler.steps(targets, seed=0, num_parts=2)
    >>> plan.steps_per_epoch
    2
    >>> plan.starts(epoch=0, step=0).shape  # two clusters for each of two subgraphs
    (2, 2)
    >>> sampler.fingerprint()
    {'sampler': 'cluster', 'clusters': 4, 'subgraphs': None}
    """

    name = "cluster"
    size_options = ("clusters", "subgraphs")
    rounds = 1
    num_clusters: int
    """`clusters`, as it is used."""
    bounds: np.ndarray
    """int64 [C + 1], first node of each of the graph's clusters."""
    groups: np.ndarray
    """int64 [s + 1], the first cluster that each subgraph draws from."""
    train_counts: np.ndarray
    """int64 [C], training nodes of each cluster."""
    kept_share: float
    """About which share of a step's edges is kept."""

    def __init__(
        self, clusters: int | None = None, subgraphs: int | None = None
    ) -> None:
        for option, value in {"clusters": clusters, "subgraphs": subgraphs}.items():
            if value is not None:
                whole("cluster", option, value, f"{option}=8")
        self.clusters, self.subgraphs = clusters, subgraphs

    def check(self, graph: Any) -> None:
        """Check that a graph has that many clusters.

        Raises
        ------
        InputError
            If it has not, or is a vertex-cut.
        """
        super().check(graph)
        for option in ("clusters", "subgraphs"):
            count = getattr(self, option) or 1
            if count > graph.num_clusters:
                raise InputError(
                    f"sampler 'cluster': {option}={count} is more than the "
                    f"{graph.num_clusters} clusters of graph {graph.name!r}: use "
                    f"sampler='cluster:{option}={graph.num_clusters}' at most, or "
                    "partition the graph into more clusters"
                )

    def for_graph(self, graph: Any, num_layers: int) -> ClusterSampler:
        """Return the sampler as it is used with a graph and a model.

        Raises
        ------
        InputError
            As `check`.
        """
        sampler: ClusterSampler = super().for_graph(graph, num_layers)
        bounds, subgraphs = graph.clusters.bounds, sampler.num_subgraphs
        alike = type(graph)(graph.source, subgraphs)
        train = graph.splits.get("train", np.empty(0, np.int64))
        sampler.num_clusters = self.clusters or max(
            min(subgraphs, graph.num_clusters),
            graph.num_clusters // STEPS,
            round(default_share(graph) * graph.num_clusters),
        )
        sampler.bounds = np.asarray(bounds, np.int64)
        sampler.groups = np.searchsorted(bounds, alike.partition_book)
        sampler.train_counts = np.diff(np.searchsorted(train, bounds))
        # Of the edges between clusters, those are kept whose clusters are both drawn.
        cut = float(graph.partitioner.get("edge_cut", 0.5))
        each = sampler.num_clusters / subgraphs
        others = max(graph.num_clusters / subgraphs - 1, 1)
        sampler.kept_share = 1 - cut + cut * min(max(each - 1, 0) / others, 1)
        return sampler

    def steps(self, targets: Targets, seed: int, num_parts: int) -> ClusterSteps:
        """Return which clusters each step has.

        Raises
        ------
        InputError
            If the targets are not the nodes of the training split.
        """
        self._check_targets(targets)
        return ClusterSteps(self, seed)

    def start(
        self, seeds: list[np.ndarray], step_keys: np.ndarray, book: PartitionBook
    ) -> Subgraphs:
        """Return the clusters of a part's subgraphs: rows of seeds end with -1s."""
        rows = [np.sort(row[row >= 0]) for step in seeds for row in step]
        steps = offsets([len(step) for step in seeds])
        return Subgraphs(NodeSets.join(rows, np.int64), steps)

    def _set_bounds(self, book: PartitionBook) -> np.ndarray:
        """Return the first cluster of each part, int64 [P + 1]."""
        return np.searchsorted(self.bounds, book.bounds)

    def _nodes_of(self, members: np.ndarray) -> np.ndarray:
        """Return the nodes of some clusters, ascending."""
        return nodes_between(self.bounds, members, self.index_dtype)

    def estimate(self, stats: GraphStats, num_seeds: int) -> SampleSize:
        """Estimate what one step of one part samples: clusters of mean size."""
        each = self.num_clusters / self.num_subgraphs
        # Subgraphs without training nodes are left out.
        lacking = np.mean(self.train_counts == 0) ** each
        share = (1 - lacking) * each * self.most_in_part / len(self.train_counts)
        nodes = stats.num_nodes * share
        edges = stats.num_edges * share * self.kept_share
        return SampleSize(nodes, nodes, edges, stats.num_nodes / stats.num_parts)

    def fingerprint(self) -> dict[str, Any]:
        """Return the options."""
        known = {"clusters": self.clusters, "subgraphs": self.subgraphs}
        return {"sampler": self.name, **known}


class ClusterSteps(StepPlan):
    """The clusters of each step: every cluster once an epoch.

    Each step has the same number of clusters (the last one of an epoch may have fewer),
    and each subgraph its share of them, as even as whole clusters allow.

    Parameters
    ----------
    sampler : ClusterSampler
        The sampler, of a graph.
    seed : int
        Seed of the run.
    """

    def __init__(self, sampler: ClusterSampler, seed: int) -> None:
        self._groups, self._counts = sampler.groups, sampler.train_counts
        self._size, self._seed = sampler.num_clusters, seed
        self._epoch, self._order = -1, np.empty(0, np.int64)
        self.steps_per_epoch = -(-len(self._counts) // self._size)
        mean = self._counts.sum() * self._size / len(self._counts)
        self.seeds_per_step = max(int(mean), 1)

    def starts(self, epoch: int, step: int) -> np.ndarray:
        """Return the clusters of each subgraph of a step."""
        clusters = np.sort(self._chosen(epoch, step))
        ends = np.searchsorted(clusters, self._groups)
        rows = np.full((len(ends) - 1, int(np.diff(ends).max())), -1, np.int64)
        for group, row in enumerate(rows):
            mine = clusters[ends[group] : ends[group + 1]]
            row[: len(mine)] = mine
        return rows

    def num_targets(self, epoch: int, step: int) -> int:
        """Return the number of training nodes in the clusters of a step."""
        return int(self._counts[self._chosen(epoch, step)].sum())

    def _chosen(self, epoch: int, step: int) -> np.ndarray:
        """Return the clusters of a step, of all subgraphs."""
        if epoch != self._epoch:
            self._order, self._epoch = self._order_of(epoch), epoch
        return self._order[step * self._size : (step + 1) * self._size]

    def _order_of(self, epoch: int) -> np.ndarray:
        """Return all clusters as an epoch visits them.

        Each group of clusters is shuffled and spread evenly over the epoch.
        """
        key = np.uint64(derive_key(PERMUTATION, self._seed, epoch))
        numbers = np.arange(len(self._counts))
        drawn = keys_below(key, numbers)
        group = np.searchsorted(self._groups, numbers, side="right") - 1
        in_group = np.diff(self._groups)[group]
        shuffled = np.lexsort((drawn, group))
        rank = np.empty(len(numbers), np.int64)
        rank[shuffled] = numbers - self._groups[group[shuffled]]
        phase = (group + 0.5) / (len(self._groups) - 1)
        return np.lexsort((drawn, (rank + phase) / in_group))
