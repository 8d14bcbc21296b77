"""ShaDow: a small subgraph for each seed, and a model of any depth on it."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels import ranking, subgraphs
from daskgnn.kernels.neighbor import ALL
from daskgnn.kernels.ranking import PushRule
from daskgnn.sampling.columns import check_undivided_rows
from daskgnn.sampling.optionchecks import positive, whole, word
from daskgnn.sampling.sampler import Sampler
from daskgnn.sampling.size import (
    GraphStats,
    SampleSize,
    expected_draws,
    some_degrees,
)

if TYPE_CHECKING:
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.kernels.sampled import SampledGraph

METHODS = ("fanout", "ppr")
"""How the nodes of a subgraph are chosen."""
READOUTS = ("seed", "mean")
"""What a seed's output is made of."""
HOPS = {"fanout": 2, "ppr": 4}
"""Default hops of each method."""


class ShadowSampler(Sampler):
    """Gives each seed a subgraph of its own, on which a model of any depth computes.

    ShaDow-GNN (Zeng et al., "Decoupling the Depth and Scope of Graph Neural Networks",
    NeurIPS 2021). The subgraph is induced: it has all edges between its nodes, and
    layers aggregate over the neighbours inside. A GCN's coefficients are made of the
    degrees in the whole graph, and rows that lack neighbours are scaled as for any
    sampler, by the degree over the number of neighbours inside. Where a subgraph holds
    all nodes within as many hops as the model has layers, outputs are exact.

    A node can be in the subgraphs of many seeds, and is computed in each. Draws depend
    on the step, the seed's original id and the node's, and "ppr" draws nothing: the
    subgraphs are the same for any number of workers and parts, and any partitioner.

    Parameters
    ----------
    method : {"fanout", "ppr"}, default "fanout"
        Which nodes a subgraph has: those met by drawing `fanout` neighbours of each
        node, hop by hop; or the `size` nodes of the highest personalised PageRank,
        found by local push.
    hops : int, optional
        How far from its seed a subgraph reaches; by default 2, with "ppr" 4.
    fanout : int, default 10
        Neighbours that are drawn of each node, without replacement.
    size : int, default 100
        Most nodes of a subgraph by "ppr", the seed among them.
    alpha : float, default 0.15
        Probability that a step of the random walk of "ppr" is its last one.
    epsilon : float, default 0.001
        Precision of "ppr": a node's residual is pushed on while it is at least so much
        times its degree. A smaller one finds more nodes, and takes longer: with a mean
        degree of 50, 0.001 finds 72 of 100 nodes, and 0.0005 finds 98 in about five
        times as long.
    readout : {"seed", "mean"}, default "seed"
        What the output of a seed is: its own row, or the mean over all rows of its
        subgraph. Then evaluation computes with subgraphs, too; of a seed's own row it
        takes all neighbours, as for other samplers.

    Raises
    ------
    InputError
        If an argument is invalid.

    Examples
    --------
    A model of five layers on neighbourhoods of two hops:

    >>> import daskgnn
    >>> from daskgnn.sampling import ShadowSampler
    >>> graph = daskgnn.open_graph(daskgnn.load_dataset("karate").partition())
    >>> sampler = ShadowSampler(hops=2, fanout=5).for_graph(graph, num_layers=5)
    >>> sampler.num_layers, sampler.rounds, sampler.evaluates
    (5, 3, False)
    >>> sampler.fingerprint()
    {'sampler': 'shadow', 'method': 'fanout', 'hops': 2, 'fanout': 5, 'readout': 'seed'}
    >>> ShadowSampler(method="ppr", size=50, readout="mean").evaluates
    True

    Two hops on a path of four nodes, from its first node:

    >>> import numpy as np
    >>> from daskgnn import AdjacencyBlock
    >>> from daskgnn.sampling import PartitionBook, PartRows
    >>> from daskgnn.sampling.rounds import sample_parts
    >>> indices = np.array([1, 0, 2, 1, 3, 2], np.int32)
    >>> block = AdjacencyBlock(0, np.array([0, 1, 3, 5, 6]), indices, np.arange(4))
    >>> book, keys = PartitionBook(np.array([0, 4])), np.array([7], np.uint64)
    >>> seeds = [[np.array([0], np.int32)]]
    >>> ((found,),) = sample_parts(sampler, [PartRows(block)], book, seeds, keys)
    >>> found.ids, found.sizes
    (array([0, 1, 2], dtype=int32), (1, 2, 3, 3, 3, 3))
    >>> found.layer(4).indices  # node 3 is not inside
    array([1, 0, 2, 1], dtype=int32)
    """

    any_depth = repeats_nodes = True
    num_layers = 0
    draws: tuple[float, float] | None = None
    """What `expected_draws` says of the graph; None before `for_graph`."""

    def __init__(
        self,
        *,
        method: str = "fanout",
        hops: int | None = None,
        fanout: int = 10,
        size: int = 100,
        alpha: float = 0.15,
        epsilon: float = 0.001,
        readout: str = "seed",
    ) -> None:
        ppr = "method=ppr"
        self.method = word("shadow", "method", method, METHODS)
        self.readout = word("shadow", "readout", readout, READOUTS)
        hops = HOPS[method] if hops is None else hops
        self.hops = whole("shadow", "hops", hops, "hops=2")
        self.fanout = whole("shadow", "fanout", fanout, "fanout=10")
        self.size = whole("shadow", "size", size, f"{ppr},size=100")
        self.alpha = positive("shadow", "alpha", alpha, f"{ppr},alpha=0.15", 1)
        self.epsilon = positive("shadow", "epsilon", epsilon, f"{ppr},epsilon=0.001", 1)
        self.rounds = self.hops + 1
        self.evaluates = readout == "mean"

    def for_graph(self, graph: Any, num_layers: int) -> ShadowSampler:
        """Return the sampler for a model."""
        found = copy(self)
        found.num_layers = num_layers
        if graph is not None:
            found.draws = self._draws_of(some_degrees(graph))
        return found

    def check(self, graph: Any) -> None:
        """Check that whole rows are in one place.

        Raises
        ------
        InputError
            If they are not, as in a vertex-cut.
        """
        check_undivided_rows(graph, "sampler 'shadow'")

    def start(
        self, seeds: list[np.ndarray], step_keys: np.ndarray, book: PartitionBook
    ) -> Any:
        """Return a subgraph of one node for each seed."""
        if self.method == "ppr":
            return ranking.first_ranking(seeds)
        return subgraphs.first_sets(seeds, step_keys)

    def request(
        self, frontier: Any, round: int, owner: int, book: PartitionBook
    ) -> Any:
        """Return what a part asks of an owner: rows, and in the last round edges."""
        if round == self.hops:
            return subgraphs.ask_sets(frontier, book, owner)
        if self.method == "ppr":
            return ranking.ask_rows(frontier, book, owner)
        return subgraphs.ask_draws(frontier, book, owner)

    def answer(
        self,
        rows: PartRows,
        asked: Any,
        step_keys: np.ndarray,
        round: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> Any:
        """Draw neighbours, or return rows; in the last round, edges inside."""
        if round == self.hops:
            return subgraphs.answer_sets(rows.block, asked, threads)
        if self.method == "ppr":
            given = rows.block, asked, self._rule(book)
            return ranking.answer_rows(*given, first=round == 0)
        return subgraphs.answer_draws(rows.block, asked, self.fanout, round, threads)

    def merge(
        self,
        frontier: Any,
        answers: dict[int, Any],
        round: int,
        part: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> Any:
        """Let subgraphs grow by what was answered."""
        if round == self.hops:
            return subgraphs.merge_sets(frontier, answers, book)
        last = round + 1 == self.hops
        if self.method == "ppr":
            merge = ranking.last_rows if last else ranking.merge_rows
            return merge(frontier, answers, self._rule(book), threads)
        grown = subgraphs.merge_draws(frontier, answers, book, round, threads)
        return grown.sets if last else grown

    def finish(self, frontier: Any) -> list[SampledGraph]:
        """Return each step's subgraphs as one graph."""
        layers = self.num_layers or self.hops
        if self.readout == "mean":
            return subgraphs.pooled_graphs(frontier, layers)
        return subgraphs.graphs_by_hop(frontier, layers)

    def neighbors_per_layer(self) -> tuple[int, ...]:
        """Return about how many neighbours of a node each hop visits."""
        if self.method == "fanout":
            return (self.fanout,) * self.hops
        return (max(round(self.size ** (1 / self.hops)), 1),) * self.hops

    def estimate(self, stats: GraphStats, num_seeds: int) -> SampleSize:
        """Estimate from degrees what one step of one part samples."""
        mean_degree = stats.num_edges / max(stats.num_nodes, 1)
        first, later = self.draws or self._draws_of(np.array([mean_degree]))
        most = min(self.size if self.method == "ppr" else ALL, stats.num_nodes)
        within, met = [1.0], first
        for _ in range(self.hops):
            within.append(min(within[-1] + met, float(most)))
            met *= later
        layers = self.num_layers or self.hops
        reached = within[-1 if self.evaluates else min(layers, self.hops)]
        inner = within[-1 if self.evaluates else min(layers - 1, self.hops)]
        if 1 < inner < within[-1]:  # a third of the other neighbours are met later
            inner += max(mean_degree - first, 0.0) / 3
        edges = inner * min(mean_degree, within[-1])
        return SampleSize(*(num_seeds * size for size in (reached, inner, edges)))

    def _draws_of(self, degree: np.ndarray) -> tuple[float, float]:
        limit = self.fanout if self.method == "fanout" else int(ALL)
        return expected_draws(degree, limit)

    def _rule(self, book: PartitionBook) -> PushRule:
        size = min(self.size, book.num_nodes)
        return PushRule(size, self.alpha, self.epsilon)

    def fingerprint(self) -> dict[str, Any]:
        """Return what decides which subgraphs there are."""
        known: dict[str, Any] = {"sampler": "shadow", "method": self.method}
        known["hops"] = self.hops
        if self.method == "ppr":
            known |= {name: getattr(self, name) for name in PushRule._fields}
        else:
            known["fanout"] = self.fanout
        return {**known, "readout": self.readout}
