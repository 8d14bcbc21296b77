"""Fan-out sampling: a number of in-neighbours of each node at each hop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import GraphFormatError, InputError
from daskgnn.kernels.hops import (
    Request,
    SampledRows,
    WindowNodes,
    answer,
    first_nodes,
    request,
)
from daskgnn.kernels.merge import merge_answers
from daskgnn.kernels.neighbor import FanOut
from daskgnn.kernels.sampled import LocalRows, SampledGraph
from daskgnn.sampling.sampler import Sampler
from daskgnn.values import fan_outs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows

SAMPLE_BY = ("uniform", "edge_weight", "degree")
"""What neighbours are drawn in proportion to."""


class NeighborSampler(Sampler):
    """Samples neighbours hop by hop, uniformly or by weight, without replacement.

    A node's draws depend only on the step and its original id, and they are nested: a
    smaller fan-out takes the first of a larger one's. So neighbourhoods are the same
    for any number of parts, and one CSR serves all layers.

    Parameters
    ----------
    num_neighbors : sequence of int
        Fan-out of each hop, hop 1 first; -1 for all neighbours.
    sample_by : {"uniform", "edge_weight", "degree"}, default "uniform"
        What a neighbour's chance of being drawn is proportional to.

    Raises
    ------
    InputError
        If a fan-out or `sample_by` is invalid.

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
        self, num_neighbors: Sequence[int], sample_by: str = "uniform"
    ) -> None:
        self.fan_out = FanOut(tuple(fan_outs("num_neighbors", num_neighbors)))
        if sample_by not in SAMPLE_BY:
            names = ", ".join(map(repr, SAMPLE_BY))
            raise InputError(f"sample_by={sample_by!r}, expected one of {names}")
        self.sample_by = sample_by
        self.num_layers = self.rounds = self.fan_out.num_hops

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
        if self.sample_by != "uniform" and graph.held_book is not None:
            raise InputError(
                f"sample_by={self.sample_by!r} needs undivided rows, and "
                f"graph {graph.name!r} is a vertex-cut (method "
                f"{graph.partitioner['method']!r}): use sample_by='uniform', or "
                "partition it with method='fennel'"
            )
        if self.sample_by != "uniform" and graph.schema.on_demand:
            raise InputError(
                f"sample_by={self.sample_by!r} needs whole rows in memory, and "
                f"those of graph {graph.name!r} are read on demand: use "
                "sample_by='uniform', or on_demand=False in its schema"
            )
        if self.sample_by == "edge_weight" and not graph.weighted:
            raise InputError(
                f"graph {graph.name!r} has no edge weights: use sample_by='uniform', "
                "or give edge_weight when it is built"
            )

    def part_data(self, block: AdjacencyBlock, source: Any) -> dict[str, np.ndarray]:
        """Return the weights that neighbours are drawn by.

        Parameters
        ----------
        block : AdjacencyBlock
            The part's rows.
        source : object
            Has ``degrees(ids)``, the in-degrees of any nodes.

        Returns
        -------
        dict of numpy.ndarray
            "draw_weights", float32 [E]; empty for uniform draws.

        Raises
        ------
        GraphFormatError
            If a weight is not positive.
        """
        if self.sample_by == "uniform":
            return {}
        if self.sample_by == "degree":
            # A source that nothing points to counts as having one in-neighbour.
            weights = np.maximum(source.degrees(block.indices), 1).astype(np.float32)
        elif block.weights is None:
            weights = np.ones(len(block.indices), np.float32)
        else:
            weights = block.weights
        if len(weights) and weights.min() <= 0:
            raise GraphFormatError(
                f"sample_by={self.sample_by!r} needs positive weights, and some edge "
                "has 0 or less: use sample_by='uniform' or repair the weights"
            )
        return {"draw_weights": weights}

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
        weights = rows.data.get("draw_weights")
        given = (rows.block, asked, step_keys, self.fan_out, round)
        return answer(*given, weights, threads)

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
            rows = LocalRows(step.indptr, step.indices, step.weights)
            known = step.original_ids, step.degree, step.weighted_degree
            given = step.ids, step.sizes, (rows,), *known, self.fan_out.limits
            graphs.append(SampledGraph(*given))
        return graphs

    def neighbors_per_layer(self) -> tuple[int, ...]:
        """Return the fan-outs.

        Returns
        -------
        tuple of int
            One for each layer; a very large number for all neighbours.
        """
        return self.fan_out.limits

    def fingerprint(self) -> dict[str, Any]:
        """Return the fan-outs and what neighbours are drawn by.

        Returns
        -------
        dict
            "num_neighbors" and "sample_by".
        """
        known = list(self.fan_out.num_neighbors)
        return {"num_neighbors": known, "sample_by": self.sample_by}
