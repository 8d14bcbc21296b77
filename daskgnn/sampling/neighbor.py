"""Fan-out sampling: of each node's in-neighbours, so many a hop."""

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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows

SAMPLE_BY = ("uniform", "edge_weight", "degree")
"""What neighbours are drawn in proportion to."""


class NeighborSampler(Sampler):
    """Draws neighbours without replacement, hop by hop.

    A node's draws depend on the step and its original id alone, and are nested: a
    smaller fan-out takes the first ones of a larger. So neighbourhoods are the same
    for any number of parts, and one CSR serves all layers.

    Parameters
    ----------
    num_neighbors : sequence of int
        Fan-out of each hop, hop 1 first; -1 takes all neighbours.
    sample_by : {"uniform", "edge_weight", "degree"}
        Draw neighbours uniformly, or in proportion to edge weights or degrees.

    Raises
    ------
    InputError
        If a fan-out or `sample_by` cannot be.

    Examples
    --------
    >>> NeighborSampler([15, 10]).num_layers
    2
    """

    def __init__(
        self, num_neighbors: Sequence[int], sample_by: str = "uniform"
    ) -> None:
        self.fan_out = _fan_out(num_neighbors)
        if sample_by not in SAMPLE_BY:
            names = ", ".join(map(repr, SAMPLE_BY))
            raise InputError(f"sample_by={sample_by!r}, expected one of {names}")
        self.sample_by = sample_by
        self.num_layers = self.rounds = self.fan_out.num_hops

    def check(self, graph: Any) -> None:
        """Raise `InputError` if draws by weights want weights that are not there."""
        if self.sample_by != "uniform" and graph.held_book is not None:
            raise InputError(
                f"sample_by={self.sample_by!r} needs a row's weights in one place, and "
                f"graph {graph.name!r} is a vertex-cut (method "
                f"{graph.partitioner['method']!r}): use sample_by='uniform', or "
                "partition it with method='fennel'"
            )
        if self.sample_by != "uniform" and graph.schema.on_demand:
            raise InputError(
                f"sample_by={self.sample_by!r} needs a row's weights before it draws, "
                f"and the rows of graph {graph.name!r} are read on demand: use "
                "sample_by='uniform', or on_demand=False in its schema"
            )
        if self.sample_by == "edge_weight" and not graph.weighted:
            raise InputError(
                f"graph {graph.name!r} has no edge weights: use sample_by='uniform', "
                "or give edge_weight when it is built"
            )

    def part_data(self, block: AdjacencyBlock, source: Any) -> dict[str, np.ndarray]:
        """Return the weights of the draws: float32 [E], one an edge, if they have any.

        Raises
        ------
        GraphFormatError
            If one of them is not positive.
        """
        if self.sample_by == "uniform":
            return {}
        if self.sample_by == "degree":
            # A source that nothing points to counts as having one in-neighbour.
            degrees = np.maximum(source.degrees(block.indices), 1)
            weights = degrees.astype(np.float32)
        elif block.weights is None:
            weights = np.ones(len(block.indices), np.float32)
        else:
            weights = block.weights
        if len(weights) and weights.min() <= 0:
            raise GraphFormatError(
                f"sample_by={self.sample_by!r} needs positive weights, and some edge "
                "weighs 0 or less: use sample_by='uniform' or repair the weights"
            )
        return {"draw_weights": weights}

    def start(
        self, seeds: list[np.ndarray], step_keys: np.ndarray, book: PartitionBook
    ) -> WindowNodes:
        """Return the seeds as the first nodes of each step."""
        return first_nodes(seeds, step_keys)

    def request(
        self, frontier: WindowNodes, round: int, owner: int, book: PartitionBook
    ) -> Request:
        """Ask for the rows of those nodes that were met last."""
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
        """Draw the rows that are asked for, in one pass over them."""
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
        """Add the rows to the nodes, and find the nodes of the next hop."""
        return merge_answers(frontier, answers, book, self.fan_out, round, threads)

    def finish(self, frontier: WindowNodes) -> list[SampledGraph]:
        """Return each step's nodes and the one CSR of its layers."""
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
        """Return the fan-outs."""
        return self.fan_out.limits

    def fingerprint(self) -> dict[str, Any]:
        """Return the fan-outs and what is drawn by."""
        fan_outs = list(self.fan_out.num_neighbors)
        return {"num_neighbors": fan_outs, "sample_by": self.sample_by}


def _fan_out(num_neighbors: Sequence[int]) -> FanOut:
    """Return the fan-outs, if they can be."""
    values = list(num_neighbors)
    for k in values:
        if not isinstance(k, int | np.integer) or (k < 1 and k != -1):
            raise InputError(
                f"num_neighbors={values} has {k!r}, expected at least 1, or -1 for all "
                "neighbours"
            )
    return FanOut(tuple(int(k) for k in values))
