"""Fan-out sampling: a number of in-neighbours of each node at each hop."""

from __future__ import annotations

from dataclasses import replace as changed
from typing import TYPE_CHECKING, Any

from daskgnn.errors import InputError
from daskgnn.kernels.hops import answer
from daskgnn.kernels.merge import layers_of, merge_answers
from daskgnn.kernels.neighbor import FanOut
from daskgnn.kernels.sampled import LocalRows, SampledGraph
from daskgnn.sampling.columns import (
    check_drawable,
    check_undivided_rows,
    draw_weights,
    drawable_of,
    named_sample_by,
    weight_bytes,
)
from daskgnn.sampling.fanout import FanOutSampler
from daskgnn.sampling.size import grown
from daskgnn.values import fan_outs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.kernels.hops import Request, SampledRows, WindowNodes
    from daskgnn.sampling.size import GraphStats, SampleSize


class NeighborSampler(FanOutSampler):
    """Samples neighbours hop by hop, uniformly or by weight.

    A node's draws depend only on the step and its original id, and they are nested: a
    smaller fan-out takes the first of a larger one's. So neighbourhoods are the same
    for any number of parts and any partitioner, and a row of draws serves all layers.

    Parameters
    ----------
    num_neighbors : sequence of int or float
        Fan-out of each hop, hop 1 first; -1 for all neighbours. A float is a share of
        the node's neighbours, rounded, but at least one: 0.25 for a quarter.
    sample_by : {"uniform", "edge_weight", "degree"} or array_like, default "uniform"
        What a neighbour's chance of being drawn is proportional to; an array [N] has a
        weight for each node, by original id. What weighs 0 is never drawn: a node whose
        neighbours all do has none.
    replace : bool, default False
        Whether a neighbour can be drawn several times. Then a node that has neighbours
        gets as many as its fan-out says.

    Raises
    ------
    InputError
        If a fan-out or `sample_by` is invalid, or all neighbours are to be drawn with
        replacement.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgnn import AdjacencyBlock
    >>> from daskgnn.sampling import NeighborSampler, PartitionBook, PartRows
    >>> sampler = NeighborSampler([15, 10])
    >>> sampler.num_layers, sampler.neighbors_per_layer()
    (2, (15, 10))
    >>> sampler.fingerprint()
    {'num_neighbors': [15, 10], 'sample_by': 'uniform'}
    >>> NeighborSampler([0.25, 5], replace=True).fingerprint()
    {'num_neighbors': [0.25, 5], 'sample_by': 'uniform', 'replace': True}

    One round by hand, on a path of four nodes in one part:

    >>> indices = np.array([1, 0, 2, 1, 3, 2], np.int32)
    >>> block = AdjacencyBlock(0, np.array([0, 1, 3, 5, 6]), indices, np.arange(4))
    >>> book, keys = PartitionBook(np.array([0, 4])), np.array([7], np.uint64)
    >>> sampler = NeighborSampler([-1])
    >>> rows = PartRows(block, sampler.part_data(block, None))
    >>> frontier = sampler.start([np.array([1], np.int32)], keys, book)
    >>> asked = sampler.request(frontier, 0, 0, book)
    >>> found = sampler.answer(rows, asked, keys, 0, book)
    >>> frontier = sampler.merge(frontier, {0: found}, 0, 0, book)
    >>> sampler.finish(frontier)[0].ids  # the seed and its neighbours
    array([1, 0, 2], dtype=int32)

    Drawing by weight needs a graph with weights:

    >>> import daskgnn
    >>> graph = daskgnn.open_graph(daskgnn.load_dataset("karate").partition())
    >>> NeighborSampler([5], sample_by="edge_weight").check(graph)
    Traceback (most recent call last):
        ...
    daskgnn.errors.InputError: graph 'karate' has no edge weights: ...
    """

    def __init__(
        self,
        num_neighbors: Sequence[int | float],
        sample_by: str | np.ndarray = "uniform",
        *,
        replace: bool = False,
    ) -> None:
        given = tuple(fan_outs("num_neighbors", num_neighbors))
        fan_out = FanOut(given, bool(replace))
        if replace and -1 in given:
            raise InputError(
                f"num_neighbors={list(given)} has -1, all "
                "neighbours, which are not drawn with replacement: give a number, a "
                "share such as 1.0, or replace=False"
            )
        self.replace = fan_out.replace
        super().__init__(fan_out, sample_by)

    def check(self, graph: Any) -> None:
        """Check that a graph has the weights that neighbours are to be drawn by.

        Raises
        ------
        InputError
            If it has none, or rows are not in one place, as in a vertex-cut.
        """
        if self._weighted:
            what = f"sample_by={named_sample_by(self.sample_by)!r}"
            check_undivided_rows(graph, what, "use sample_by='uniform'")
            check_drawable(graph, self.sample_by)

    def part_data(self, block: AdjacencyBlock, source: Any) -> dict[str, np.ndarray]:
        """Return the weights that neighbours are drawn by.

        Returns
        -------
        dict of numpy.ndarray
            "draw_weights", float32 [E], and "drawable", int64 [n], how many of each
            row's are not 0, where some are; empty for uniform draws.

        Raises
        ------
        GraphFormatError
            If a weight is negative or not finite.
        """
        weights = draw_weights(block, source, self.sample_by)
        if weights is None:
            return {}
        drawable = {} if weights.all() else {"drawable": drawable_of(block, weights)}
        return {"draw_weights": weights, **drawable}

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
        weights, drawable = rows.data.get("draw_weights"), rows.data.get("drawable")
        given = (rows.block, asked, step_keys, self.fan_out, round)
        return answer(*given, weights, threads, drawable)

    def merge(
        self,
        frontier: WindowNodes,
        answers: dict[int, SampledRows],
        round: int,
        part: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> WindowNodes:
        """Add the sampled rows to the frontier, and find the nodes of the next hop."""
        return merge_answers(frontier, answers, book, self.fan_out, round, threads)

    def finish(self, frontier: WindowNodes) -> list[SampledGraph]:
        """Return each step's nodes, and the one CSR of its layers.

        With shares as fan-outs each layer has a CSR of its own.
        """
        graphs = []
        for step in frontier.steps:
            # They are there after the last hop.
            assert step.indptr is not None
            assert step.indices is not None
            rows: tuple[LocalRows, ...]
            rows = (LocalRows(step.indptr, step.indices, step.weights),)
            limits: tuple[int, ...] | None = self.fan_out.limits
            if self.fan_out.shares:
                rows, limits = layers_of(step, self.fan_out), None
            known = step.original_ids, step.degree, step.weighted_degree
            graphs.append(SampledGraph(step.ids, step.sizes, rows, *known, limits))
        return graphs

    def estimate(self, stats: GraphStats, num_seeds: int) -> SampleSize:
        """Estimate from the mean degree what one step of one part samples."""
        degree = max(stats.num_edges / max(stats.num_nodes, 1), 1.0)
        taken = tuple(
            max(k * degree, 1.0) if isinstance(k, float) else limit
            for k, limit in zip(
                self.fan_out.num_neighbors, self.fan_out.limits, strict=True
            )
        )
        size = grown(stats, num_seeds, taken)
        edges = size.computed * taken[-1] if self.replace else size.edges
        return changed(size, edges=edges, kept=weight_bytes(stats, self.sample_by))

    def fingerprint(self) -> dict[str, Any]:
        """Return the fan-outs and what neighbours are drawn by."""
        known = {
            "num_neighbors": list(self.fan_out.num_neighbors),
            "sample_by": named_sample_by(self.sample_by),
        }
        return {**known, "replace": True} if self.fan_out.replace else known
