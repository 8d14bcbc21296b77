"""What samplers of fan-outs have in common: frontiers, requests, and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskgnn.kernels.hops import first_nodes, request
from daskgnn.sampling.columns import (
    check_some_drawable,
    checked_sample_by,
    named_sample_by,
    some_drawable,
)
from daskgnn.sampling.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.kernels.hops import Request, WindowNodes
    from daskgnn.kernels.neighbor import FanOut


class FanOutSampler(Sampler):
    """Samples a number of neighbours of each node, hop by hop, perhaps by weight.

    Parameters
    ----------
    fan_out : FanOut
        How many, of each hop.
    sample_by : str or array_like
        What neighbours' chances are proportional to.

    Raises
    ------
    InputError
        If `sample_by` is invalid.
    """

    def __init__(self, fan_out: FanOut, sample_by: str | np.ndarray) -> None:
        self.fan_out = fan_out
        self.sample_by = checked_sample_by(sample_by)
        self.needs_summaries = self.needs_whole_rows = self._weighted
        self.num_layers = self.rounds = fan_out.num_hops

    @property
    def _weighted(self) -> bool:
        return named_sample_by(self.sample_by) != "uniform"

    def summarize(self, rows: PartRows) -> dict[str, np.ndarray]:
        """Return whether a part has neighbours that can be drawn, of weighted draws.

        Returns
        -------
        dict of numpy.ndarray
            "drawable", bool [1]; empty for uniform draws.
        """
        return some_drawable(rows)

    def with_summaries(
        self, summaries: Sequence[dict[str, np.ndarray]]
    ) -> FanOutSampler:
        """Return the sampler, if some neighbour can be drawn.

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
        """Return the seeds as the first nodes of each step."""
        return first_nodes(seeds, step_keys)

    def request(
        self, frontier: WindowNodes, round: int, owner: int, book: PartitionBook
    ) -> Request:
        """Return the nodes that a part owns of those whose rows are wanted next."""
        return request(frontier, book, owner)

    def neighbors_per_layer(self) -> tuple[int, ...]:
        """Return the fan-outs."""
        return self.fan_out.limits
