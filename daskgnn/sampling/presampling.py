"""Samplers that draw before training, to count how often nodes and edges are drawn."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from daskgnn.kernels.induced import SubgraphRows, count_rows, induced_rows
from daskgnn.sampling.coverage import (
    Presampled,
    PresampledSteps,
    distinct,
    next_window,
)
from daskgnn.sampling.induced import SubgraphSampler
from daskgnn.sampling.size import SampleSize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.kernels.induced import InducedRows, NodeSets
    from daskgnn.kernels.targets import Targets
    from daskgnn.sampling.size import GraphStats

UNKNOWN = 0.1
"""How often a node counts as drawn that was not."""


class PresampledSampler(SubgraphSampler):
    """Base of samplers of subgraphs that divide by how often nodes and edges are drawn.

    Before training, the rounds of a sampler are run for steps of their own, window by
    window (`presampling`). In the last round owners do not answer: they add what they
    are asked for to their counts (`tally`). In training the counts are among the data
    of a part's rows, as "node_counts" and "edge_counts".

    Parameters
    ----------
    coverage : float
        How often a training node is to be drawn on average.

    Examples
    --------
    What is done before training, of a graph in one part:

    >>> import numpy as np
    >>> import daskgnn
    >>> from daskgnn.sampling import PartitionBook, PartRows, SaintSampler
    >>> graph = daskgnn.open_graph(daskgnn.load_dataset("karate").partition())
    >>> sampler = SaintSampler(roots=5).for_graph(graph, num_layers=2)
    >>> block = graph.source.load_rows(0, 34)
    >>> rows = PartRows(block, sampler.part_data(block, graph.source))
    >>> sampler = sampler.with_summaries([sampler.summarize(rows)])
    >>> sampler.presampling(0) > 0  # steps of the first window
    True
    >>> book = PartitionBook(np.array([0, 34]))
    >>> counts = sampler.tally(rows, {}, [], book)  # nothing was asked for yet
    >>> sampler.drawn(rows, counts)
    0
    >>> sampler.presampled(steps=10, drawn=15).plan.steps_per_epoch
    2
    """

    weights_targets = True
    num_train: int
    """Number of training nodes."""
    num_nodes: int
    """Number of nodes."""
    num_drawn: int
    """Nodes that are drawn for a subgraph, each as often as it is."""

    def __init__(self, coverage: float) -> None:
        self.coverage = coverage
        self.done = Presampled()
        """What was sampled before."""

    def for_graph(self, graph: Any, num_layers: int) -> Self:
        """Return the sampler as it is used with a graph and a model.

        Raises
        ------
        InputError
            As `check`.
        """
        sampler: Self = super().for_graph(graph, num_layers)
        sampler.repeats_nodes = sampler.num_subgraphs > graph.num_parts
        sampler.num_train = len(graph.splits.get("train", ()))
        sampler.num_nodes = graph.num_nodes
        sampler.done = Presampled(subgraphs=sampler.num_subgraphs)
        return sampler

    @property
    def plan(self) -> PresampledSteps:
        """The steps of an epoch: roughly, before training nodes are counted."""
        mean = self.done.mean
        if not self.done.drawn:
            found = distinct(self.num_drawn, self.num_nodes) * self.num_subgraphs
            mean = found * self.num_train / self.num_nodes
        return PresampledSteps(self.num_train, mean, self.num_subgraphs)

    def presampling(self, number: int) -> int:
        """Return how many steps the next window of pre-sampling has.

        Parameters
        ----------
        number : int
            Number of the window, from 0.

        Returns
        -------
        int
            0 if enough is known.

        Raises
        ------
        InputError
            If training nodes are drawn too rarely.
        """
        wanted, draws = self.coverage * self.num_train, self.num_drawn
        given = wanted, draws * self.num_subgraphs
        return next_window(self.name, self.done, number, *given)

    def tally(
        self,
        rows: PartRows,
        counts: dict[str, np.ndarray],
        asked: Sequence[NodeSets],
        book: PartitionBook,
    ) -> dict[str, np.ndarray]:
        """Return a part's counts after a window of pre-sampling.

        Parameters
        ----------
        rows : PartRows
            The rows of the part.
        counts : dict of numpy.ndarray
            Those before; empty at first.
        asked : sequence of NodeSets
            What all parts ask of this one in the last round.
        book : PartitionBook
            Which part owns which nodes.

        Returns
        -------
        dict of numpy.ndarray
            "node_counts", int32 [rows], in how many subgraphs each node was, and
            "edge_counts", int32 [edges of the rows].
        """
        sizes = {"node_counts": rows.block.num_rows}
        sizes["edge_counts"] = int(rows.block.indptr[-1])
        after = {
            name: counts[name].copy() if counts else np.zeros(size, np.int32)
            for name, size in sizes.items()
        }

        def count(members: np.ndarray, own: np.ndarray) -> None:
            count_rows(rows, members, own, after)

        for sets in asked:
            self._of_sets(rows, sets, book, 1, count)
        return after

    def drawn(self, rows: PartRows, counts: dict[str, np.ndarray]) -> int:
        """Return how many training nodes of a part were drawn.

        Parameters
        ----------
        rows : PartRows
            The rows of the part.
        counts : dict of numpy.ndarray
            See `tally`.

        Returns
        -------
        int
            Each counts as often as it was drawn.
        """
        return int(counts["node_counts"][rows.data["is_train"]].sum())

    def presampled(self, steps: int, drawn: int) -> Self:
        """Return the sampler after some pre-sampling.

        Parameters
        ----------
        steps : int
            Steps in all.
        drawn : int
            Training nodes of all parts: see `drawn`.

        Returns
        -------
        PresampledSampler
            A copy.
        """
        sampler = copy.copy(self)
        sampler.done = replace(self.done, steps=steps, drawn=drawn)
        return sampler

    def answer(
        self,
        rows: PartRows,
        asked: Any,
        step_keys: np.ndarray,
        round: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> Any:
        """Return the rows of the subgraphs' nodes, with their weights in the loss."""
        if "node_counts" not in rows.data:
            return super().answer(rows, asked, step_keys, round, book, threads)

        def weighted(members: np.ndarray, own: np.ndarray) -> InducedRows:
            weights = self._target_weights(rows.data["node_counts"][own])
            return replace(induced_rows(rows, members, own), target_weights=weights)

        return SubgraphRows(tuple(self._of_sets(rows, asked, book, threads, weighted)))

    def _target_weights(self, counts: np.ndarray) -> np.ndarray:
        """Return what the losses of training nodes are multiplied by.

        The sum of a step's weighted losses, divided by its number of targets, is on
        average the mean over all training nodes.
        """
        share = np.maximum(counts, UNKNOWN) / self.done.num_subgraphs
        targets = self.plan.seeds_per_step
        scale = targets / (self.num_train * self.num_subgraphs)
        return (scale / share).astype(np.float32)

    def steps(self, targets: Targets, seed: int, num_parts: int) -> PresampledSteps:
        """Return how many steps an epoch has; each has the same subgraphs to draw.

        Raises
        ------
        InputError
            If the targets are not the nodes of the training split.
        """
        self._check_targets(targets)
        return self.plan

    def estimate(self, stats: GraphStats, num_seeds: int) -> SampleSize:
        """Estimate what one step of one part samples."""
        each = distinct(self.num_drawn, stats.num_nodes)
        share, nodes = each / stats.num_nodes, each * self.most_in_part
        edges = stats.num_edges * share**2 * self.most_in_part + 2 * nodes
        kept = 4 * stats.num_edges + 5 * stats.num_nodes  # counts, and training nodes
        return SampleSize(nodes, nodes, edges, kept / stats.num_parts)
