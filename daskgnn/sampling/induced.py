"""What samplers of subgraphs share: all edges between the nodes that are drawn."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.induced import (
    NodeSets,
    SubgraphRows,
    induced_rows,
    member_words,
)
from daskgnn.kernels.threads import for_each
from daskgnn.kernels.union import join_subgraphs
from daskgnn.sampling.columns import check_undivided_rows
from daskgnn.sampling.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.kernels.induced import InducedRows
    from daskgnn.kernels.sampled import SampledGraph
    from daskgnn.kernels.targets import Targets


@dataclass(frozen=True)
class Subgraphs:
    """What is known of a part's subgraphs, for all steps of a window."""

    sets: NodeSets
    """The nodes of each, or what they are drawn from."""
    steps: np.ndarray
    """int64 [W + 1], where each step's subgraphs begin."""


class SubgraphSampler(Sampler):
    """Base of samplers whose steps consist of subgraphs: sets of nodes, and all edges
    between them.

    All layers use the same edges. Training nodes come first, so that the last layer is
    computed for them alone; a subgraph without any is left out.

    Subclasses draw the sets. `for_graph` gives them what is declared here.
    """

    name: str
    """Of the sampler, in messages."""
    subgraphs: int | None
    """Number of subgraphs of a step, over all parts; None for one a part."""
    size_options: tuple[str, ...] = ("subgraphs",)
    """Options that say how large a step is; None where they follow from the graph."""
    num_layers: int = 0
    any_depth = True
    num_subgraphs: int
    """`subgraphs`, as it is used."""
    most_in_part: int
    """Subgraphs of a step that a part has at most."""
    index_dtype: np.dtype
    """Of storage ids."""
    train_digest: str
    """Identifies the training split."""

    def for_graph(self, graph: Any, num_layers: int) -> Any:
        """Return the sampler as it is used with a graph and a model.

        Raises
        ------
        InputError
            As `check`.
        """
        self.check(graph)
        sampler = copy.copy(self)
        sampler.num_layers = num_layers
        sampler.num_subgraphs = self.subgraphs or graph.num_parts
        sampler.most_in_part = -(-sampler.num_subgraphs // graph.num_parts)
        sampler.index_dtype = graph.index_dtype
        sampler.train_digest = _digest(graph.splits.get("train", np.empty(0)))
        return sampler

    def check(self, graph: Any) -> None:
        """Check that parts have whole rows.

        Raises
        ------
        InputError
            If it is a vertex-cut.
        """
        check_undivided_rows(graph, f"sampler {self.name!r}")

    def _check_targets(self, targets: Targets) -> None:
        """Refuse targets other than the nodes of the training split.

        Raises
        ------
        InputError
            In one line.
        """
        if not targets.are_nodes():
            single = targets.nodes.shape[1] == 1
            what = "have values of their own" if single else "are no single nodes"
            raise InputError(
                f"sampler {self.name!r} chooses nodes to train on, and the task's "
                f"targets {what}: use sampler='neighbor'"
            )
        if _digest(targets.nodes[:, 0]) != self.train_digest:
            raise InputError(
                f"sampler {self.name!r} trains on the graph's training split, and the "
                "task has other targets: give these as the split, or use "
                "sampler='neighbor'"
            )

    def part_data(self, block: AdjacencyBlock, source: Any) -> dict[str, np.ndarray]:
        """Return which nodes are for training.

        Returns
        -------
        dict of numpy.ndarray
            "is_train", bool [rows].
        """
        is_train = np.zeros(block.num_rows, np.bool_)
        nodes = source.schema.splits.get("train", np.empty(0, np.int64)) - block.start
        is_train[nodes[(nodes >= 0) & (nodes < block.num_rows)]] = True
        return {"is_train": is_train}

    def request(
        self, frontier: Any, round: int, owner: int, book: PartitionBook
    ) -> Any:
        """Return the sets of those subgraphs that a part has nodes of."""
        low, high = (int(bound) for bound in self._set_bounds(book)[owner : owner + 2])
        sets = [frontier.sets.of(number) for number in range(len(frontier.sets))]
        asked = [s if _any_between(s, low, high) else s[:0] for s in sets]
        return NodeSets.join(asked, frontier.sets.ids.dtype)

    def _set_bounds(self, book: PartitionBook) -> np.ndarray:
        """Return where each part begins among what sets consist of: int64 [P + 1]."""
        return book.bounds

    def _nodes_of(self, members: np.ndarray) -> np.ndarray:
        """Return the nodes of a set, ascending: it may consist of something else."""
        return members

    def answer(
        self,
        rows: PartRows,
        asked: NodeSets,
        step_keys: np.ndarray,
        round: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> Any:
        """Return the rows of the subgraphs' nodes, with neighbours that are inside."""
        found = self._of_sets(rows, asked, book, threads, partial(induced_rows, rows))
        return SubgraphRows(tuple(found))

    def _of_sets(
        self,
        rows: PartRows,
        asked: NodeSets,
        book: PartitionBook,
        threads: int,
        function: Callable[[np.ndarray, np.ndarray], Any],
    ) -> list[Any]:
        """Return what a function says of each set; None of those not asked for.

        It is given the set, as of `member_words`, and the part's own nodes of it,
        int64 [r], counted from the part's first row.
        """
        block = rows.block

        def called(number: int) -> Any:
            members = asked.of(number)
            if not len(members):
                return None
            nodes = self._nodes_of(members)
            ends = (block.start, block.start + block.num_rows)
            first, last = np.searchsorted(nodes, ends)
            own = nodes[first:last].astype(np.int64) - block.start
            return function(member_words(nodes, book.num_nodes), own)

        return for_each(called, range(len(asked)), threads)

    def merge(
        self,
        frontier: Subgraphs,
        answers: dict[int, SubgraphRows],
        round: int,
        part: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> Any:
        """Return the graph of each step."""
        given = [answers[owner].subgraphs for owner in sorted(answers)]

        def joined(step: tuple[int, int]) -> SampledGraph:
            known = [
                (self._nodes_of(frontier.sets.of(number)), _rows_of(given, number))
                for number in range(*step)
            ]
            return join_subgraphs(known, self.num_layers, self.index_dtype)

        return for_each(joined, list(pairwise(frontier.steps.tolist())), threads)

    def finish(self, frontier: list[SampledGraph]) -> list[SampledGraph]:
        """Return the graph of each step."""
        return frontier


def with_default_sizes(sampler: SubgraphSampler) -> SubgraphSampler:
    """Return a copy that fits a graph of any size."""
    found = copy.copy(sampler)
    for option in sampler.size_options:
        setattr(found, option, None)
    return found


def _rows_of(
    answers: Sequence[tuple[InducedRows | None, ...]], number: int
) -> list[InducedRows]:
    """Return a subgraph's rows, in the order of the parts that have them."""
    given = (answer[number] for answer in answers)
    return [rows for rows in given if rows is not None]


def _any_between(members: np.ndarray, low: int, high: int) -> bool:
    """Return whether some of the ascending numbers are in [low, high)."""
    first, last = np.searchsorted(members, (low, high))
    return bool(last > first)


def _digest(ids: np.ndarray) -> str:
    """Return a short name of some ids."""
    return hashlib.sha256(np.ascontiguousarray(ids, np.int64).tobytes()).hexdigest()
