"""LABOR: the layers of a step sample the same nodes where they can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.counter import combine
from daskgnn.kernels.merge import layered_graphs, merge_layer
from daskgnn.kernels.neighbor import FanOut
from daskgnn.kernels.variaterows import LaborPart, LaborRule, answer_by_variates
from daskgnn.sampling.columns import (
    check_drawable,
    check_undivided_rows,
    column_names,
    draw_weights,
    named_sample_by,
    weight_bytes,
)
from daskgnn.sampling.fanout import FanOutSampler
from daskgnn.sampling.optionchecks import switch, whole, word
from daskgnn.sampling.size import SampleSize
from daskgnn.values import fan_outs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.kernels.hops import Request, SampledRows, WindowNodes
    from daskgnn.kernels.sampled import SampledGraph
    from daskgnn.sampling.size import GraphStats

VARIANTS = ("0", "i", "*")
ESTIMATORS = ("hajek", "ht")


class LaborSampler(FanOutSampler):
    """Samples neighbours as fan-out sampling does, but far fewer distinct nodes.

    Each source has one random variate a step, and is kept by all nodes that would keep
    it with a higher probability: a node with d neighbours and fan-out k keeps those
    whose variates are below ``k / d``, which are k on average (Balin and Catalyurek,
    "Layer-Neighbor Sampling", NeurIPS 2023). With variants "i" and "*" probabilities
    are shifted to sources that many nodes share, so that fewer sources are kept, with
    the same variance of each node's mean.

    A source's variate depends only on the step and its original id. So the
    neighbourhoods of "0" are the same for any number of parts and any partitioner. For
    "i" and "*", every part weighs sources by the rows that one other part asks of it in
    a step: their neighbourhoods are the same for any number of workers, but not for
    another partition.

    Parameters
    ----------
    num_neighbors : sequence of int or float
        Neighbours of a node that each hop keeps on average, hop 1 first; -1 for all. A
        float is a share of the node's neighbours, rounded, but at least one.
    variant : {"0", "i", "*"}, default "0"
        Uniform probabilities, or such as are improved `iterations` times, or until the
        expected number of sources changes by less than 1 in 10,000.
    iterations : int, optional
        For "i": 1 to 10; by default 1.
    estimator : {"hajek", "ht"}, default "hajek"
        How a node's mean is estimated: by weights that add up to 1, or by unbiased ones
        (Horvitz and Thompson), whose variance is larger.
    sample_by : {"uniform", "edge_weight", "degree"} or array_like, default "uniform"
        What probabilities are proportional to at first; an array [N] has a weight for
        each node, by original id. What weighs 0 is never kept, nor estimated.
    shared : bool, default True
        Whether all layers of a step use the same variates: fewer distinct nodes, in
        exchange for layers that are not independent.

    Raises
    ------
    InputError
        If an option is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgnn import AdjacencyBlock
    >>> from daskgnn.sampling import LaborSampler, PartitionBook, PartRows
    >>> LaborSampler([15, 10], variant="i").fingerprint()["iterations"]
    1

    All neighbours of node 1 of a path:

    >>> indices = np.array([1, 0, 2, 1, 3, 2], np.int32)
    >>> block = AdjacencyBlock(0, np.array([0, 1, 3, 5, 6]), indices, np.arange(4))
    >>> book, keys = PartitionBook(np.array([0, 4])), np.array([7], np.uint64)
    >>> rows, sampler = PartRows(block), LaborSampler([-1])
    >>> frontier = sampler.start([np.array([1], np.int32)], keys, book)
    >>> asked = sampler.request(frontier, 0, 0, book)
    >>> found = sampler.answer(rows, asked, keys, 0, book)
    >>> frontier = sampler.merge(frontier, {0: found}, 0, 0, book)
    >>> sampler.finish(frontier)[0].ids
    array([1, 0, 2], dtype=int32)
    """

    def __init__(
        self,
        num_neighbors: Sequence[int | float],
        *,
        variant: str = "0",
        iterations: int | None = None,
        estimator: str = "hajek",
        sample_by: str | np.ndarray = "uniform",
        shared: bool = True,
    ) -> None:
        given = tuple(fan_outs("num_neighbors", num_neighbors))
        super().__init__(FanOut(given), sample_by)
        self.needs_whole_rows = True
        self.variant = word("labor", "variant", str(variant), VARIANTS)
        self.estimator = word("labor", "estimator", estimator, ESTIMATORS)
        self.iterations = iterations
        self.updates = _updates(self.variant, iterations)
        self.shared = switch("labor", "shared", shared)

    def check(self, graph: Any) -> None:
        """Check that a graph has whole rows, and the weights that are drawn by.

        Raises
        ------
        InputError
            If it has not.
        """
        check_undivided_rows(graph, "sampler 'labor'")
        check_drawable(graph, self.sample_by)

    def part_data(self, block: AdjacencyBlock, source: Any) -> dict[str, np.ndarray]:
        """Return what variates of the neighbours are hashed from, and their weights.

        Returns
        -------
        dict of numpy.ndarray
            "names", uint32 [E], unless original ids are the storage ids;
            "draw_weights", float32 [E], unless draws are uniform.

        Raises
        ------
        GraphFormatError
            If a weight is negative or not finite.
        """
        names = column_names(block, source)
        weights = draw_weights(block, source, self.sample_by)
        known = {"names": names, "draw_weights": weights}
        return {name: array for name, array in known.items() if array is not None}

    def answer(
        self,
        rows: PartRows,
        asked: Request,
        step_keys: np.ndarray,
        round: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> SampledRows:
        """Sample the neighbours of the requested nodes."""
        names = rows.data.get("names")
        if names is None:
            names = rows.block.indices.view(np.uint32)
        weights = rows.data.get("draw_weights")
        part = LaborPart(rows.block, names, weights, book.num_nodes)
        layer = np.uint64(0 if self.shared else round + 1)
        keys = np.array([combine(key, layer) for key in step_keys], np.uint64)
        rule = LaborRule(self.updates, self.estimator == "hajek")
        limits = self.fan_out.row_limits
        return answer_by_variates(
            part, asked, keys, lambda degree: limits(round, degree), rule, threads
        )

    def merge(
        self,
        frontier: WindowNodes,
        answers: dict[int, SampledRows],
        round: int,
        part: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> WindowNodes:
        """Make the sampled rows a layer, and find the nodes of the next one."""
        return merge_layer(frontier, answers, book, threads)

    def finish(self, frontier: WindowNodes) -> list[SampledGraph]:
        """Return each step's nodes, and a CSR for each layer."""
        return layered_graphs(frontier)

    def estimate(self, stats: GraphStats, num_seeds: int) -> SampleSize:
        """Estimate from the mean degree what one step of one part samples.

        Nodes are taken to have their neighbours anywhere in the graph, and as many each
        way.
        """
        total = float(max(stats.num_nodes, 1))
        degree = max(stats.num_edges / total, 1.0)
        nodes, edges = [float(num_seeds)], 0.0
        for k in self.fan_out.num_neighbors:
            share = k if isinstance(k, float) else k / degree
            share = 1.0 if k < 0 else min(max(share, 1 / degree), 1.0)
            edges = nodes[-1] * degree * share
            # Sources that are next to some node at all, and whose variate is small.
            next_to = total * (1 - np.exp(-nodes[-1] * degree / total))
            known = nodes[-1] / total
            nodes.append(nodes[-1] + float(next_to) * share * (1 - known))
        names = 4 * stats.num_edges / stats.num_parts
        kept = names + weight_bytes(stats, self.sample_by)
        edges = min(edges, float(stats.num_edges))
        return SampleSize(nodes[-1], nodes[-2], edges, kept)

    def fingerprint(self) -> dict[str, Any]:
        """Return the fan-outs and the other options."""
        return {
            "sampler": "labor",
            "num_neighbors": list(self.fan_out.num_neighbors),
            "variant": self.variant,
            "iterations": self.updates if self.variant == "i" else None,
            "estimator": self.estimator,
            "sample_by": named_sample_by(self.sample_by),
            "shared": self.shared,
        }


def _updates(variant: str, iterations: int | None) -> int:
    """Return how often probabilities are improved; -1 until they settle."""
    if variant != "i":
        if iterations is not None:
            raise InputError(
                f"sampler 'labor': iterations={iterations} is for variant=i, not "
                f"variant={variant}: labor:variant=i,iterations=2"
            )
        return -1 if variant == "*" else 0
    given = 1 if iterations is None else iterations
    return whole("labor", "iterations", given, "variant=i,iterations=2", most=10)
