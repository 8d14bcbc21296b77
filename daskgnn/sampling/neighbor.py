"""Fan-out sampling: a number of in-neighbours of each node at each hop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskgnn.errors import InputError
from daskgnn.kernels.hops import (
    Request,
    SampledRows,
    WindowNodes,
    answer,
    first_nodes,
    request,
)
from daskgnn.kernels.merge import layers_of, merge_answers
from daskgnn.kernels.neighbor import FanOut
from daskgnn.kernels.sampled import LocalRows, SampledGraph
from daskgnn.sampling.columns import (
    check_drawable,
    check_some_drawable,
    check_whole_rows,
    checked_sample_by,
    draw_weights,
    drawable_of,
    named_sample_by,
    some_drawable,
)
from daskgnn.sampling.sampler import Sampler
from daskgnn.sampling.size import SampleSize
from daskgnn.values import fan_outs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.sampling.size import GraphStats


class NeighborSampler(Sampler):
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
        self.fan_out = FanOut(
            tuple(fan_outs("num_neighbors", num_neighbors)), bool(replace)
        )
        if replace and -1 in self.fan_out.num_neighbors:
            raise InputError(
                f"num_neighbors={list(self.fan_out.num_neighbors)} has -1, all "
                "neighbours, which are not drawn with replacement: give a number, a "
                "share such as 1.0, or replace=False"
            )
        self.sample_by = checked_sample_by(sample_by)
        self.replace = self.fan_out.replace
        self.needs_summaries = self._weighted
        self.num_layers = self.rounds = self.fan_out.num_hops

    @property
    def _weighted(self) -> bool:
        return not isinstance(self.sample_by, str) or self.sample_by != "uniform"

    def check(self, graph: Any) -> None:
        """Check that a graph has the weights that neighbours are to be drawn by.

        Parameters
        ----------
        graph : Graph
            The graph that is to be trained on.

        Raises
        ------
        InputError
            If it has none, or rows are not in one place, as in a vertex-cut.
        """
        if self._weighted:
            what = f"sample_by={named_sample_by(self.sample_by)!r}"
            check_whole_rows(graph, what, "use sample_by='uniform'")
            check_drawable(graph, self.sample_by)

    def part_data(self, block: AdjacencyBlock, source: Any) -> dict[str, np.ndarray]:
        """Return the weights that neighbours are drawn by.

        Parameters
        ----------
        block : AdjacencyBlock
            The part's rows.
        source : object
            Has ``degrees(ids)``, the in-degrees of any nodes, and their original ids.

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

    def summarize(self, rows: PartRows) -> dict[str, np.ndarray]:
        """Return whether a part has neighbours that can be drawn, of weighted draws.

        Parameters
        ----------
        rows : PartRows
            The rows of the part.

        Returns
        -------
        dict of numpy.ndarray
            "drawable", bool [1]; empty for uniform draws.
        """
        return some_drawable(rows)

    def with_summaries(
        self, summaries: Sequence[dict[str, np.ndarray]]
    ) -> NeighborSampler:
        """Return the sampler, if some neighbour can be drawn.

        Parameters
        ----------
        summaries : sequence of dict
            What `summarize` has returned, by part.

        Returns
        -------
        NeighborSampler
            The sampler as it is.

        Raises
        ------
        InputError
            If the weights of all edges are 0.
        """
        check_some_drawable(summaries, self.sample_by)
        return self

    def start(
        self, seeds: list[np.ndarray], step_keys: np.ndarray, book: PartitionBook
    ) -> WindowNodes:
        """Return the seeds as the first nodes of each step.

        Parameters
        ----------
        seeds : list of numpy.ndarray
            int [k] for each of W steps: the part's seeds, distinct storage ids.
        step_keys : numpy.ndarray
            uint64 [W], the key of each step's draws.
        book : PartitionBook
            Which part owns which nodes.

        Returns
        -------
        WindowNodes
            The frontier.
        """
        return first_nodes(seeds, step_keys)

    def request(
        self, frontier: WindowNodes, round: int, owner: int, book: PartitionBook
    ) -> Request:
        """Return the nodes of the last hop that a part owns.

        Parameters
        ----------
        frontier : WindowNodes
            The part's frontier.
        round : int
            Number of the hop, from 0.
        owner : int
            The part that is asked.
        book : PartitionBook
            Which part owns which nodes.

        Returns
        -------
        Request
            Storage ids, step after step.
        """
        return request(frontier, book, owner)

    def answer(
        self,
        rows: PartRows,
        asked: Request,
        step_keys: np.ndarray,
        round: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> SampledRows:
        """Sample the neighbours of the requested nodes.

        Parameters
        ----------
        rows : PartRows
            The rows of the owner.
        asked : Request
            Storage ids, step after step.
        step_keys : numpy.ndarray
            uint64 [W], the key of each step's draws.
        round : int
            Number of the hop, from 0.
        book : PartitionBook
            Which part owns which nodes.
        threads : int, default 1
            Threads that may be used.

        Returns
        -------
        SampledRows
            Neighbours, weights, original ids and degrees.
        """
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
        """Add the sampled rows to the frontier, and find the nodes of the next hop.

        Parameters
        ----------
        frontier : WindowNodes
            The part's frontier before.
        answers : dict of SampledRows
            Sampled rows by part.
        round : int
            Number of the hop, from 0.
        part : int
            Number of the part.
        book : PartitionBook
            Which part owns which nodes.
        threads : int, default 1
            Threads that may be used.

        Returns
        -------
        WindowNodes
            The frontier.
        """
        return merge_answers(frontier, answers, book, self.fan_out, round, threads)

    def finish(self, frontier: WindowNodes) -> list[SampledGraph]:
        """Return each step's nodes, and the one CSR of its layers.

        With shares as fan-outs each layer has a CSR of its own.

        Parameters
        ----------
        frontier : WindowNodes
            The part's frontier after the last hop.

        Returns
        -------
        list of SampledGraph
            One for each step of the window.
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

    def neighbors_per_layer(self) -> tuple[int, ...]:
        """Return the fan-outs.

        Returns
        -------
        tuple of int
            One for each layer; a very large number for all neighbours or a share.
        """
        return self.fan_out.limits

    def estimate(self, stats: GraphStats, num_seeds: int) -> SampleSize:
        """Estimate from the mean degree what one step of one part samples.

        Parameters
        ----------
        stats : GraphStats
            Size of the graph.
        num_seeds : int
            Seeds of the part.

        Returns
        -------
        SampleSize
            Nodes and edges.
        """
        degree = max(stats.num_edges / max(stats.num_nodes, 1), 1.0)
        nodes, edges = [float(num_seeds)], 0.0
        for k in self.fan_out.num_neighbors:
            taken = min(float(k), degree) if k > 0 else degree
            if isinstance(k, float):
                taken = max(k * degree, 1.0)
            drawn = float(k) if self.fan_out.replace and k >= 1 else taken
            edges = nodes[-1] * drawn
            nodes.append(min(nodes[-1] * (1 + taken), float(stats.num_nodes)))
        if not self.fan_out.replace:
            edges = min(edges, float(stats.num_edges))
        return SampleSize(nodes[-1], nodes[-2], edges)

    def fingerprint(self) -> dict[str, Any]:
        """Return the fan-outs and what neighbours are drawn by.

        Returns
        -------
        dict
            "num_neighbors" and "sample_by", a hash of an array; "replace" if it is.
        """
        known = {
            "num_neighbors": list(self.fan_out.num_neighbors),
            "sample_by": named_sample_by(self.sample_by),
        }
        return {**known, "replace": True} if self.fan_out.replace else known
