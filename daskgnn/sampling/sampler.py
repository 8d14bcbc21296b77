"""What a sampler is: rounds of request, answer and merge, for a window of steps.

A part's task starts a frontier with its seeds of each step. In each round it asks the
owners for what the frontier needs, owners answer where their rows lie, and the part
merges the answers. After the last round the frontier is finished: a graph a step.
Everything is a pure function of arrays; who carries them from part to part, and counts
their bytes, is not known here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daskgnn.errors import InputError
from daskgnn.kernels.neighbor import ALL
from daskgnn.seams import required

if TYPE_CHECKING:
    import numpy as np

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.kernels.sampled import SampledGraph


@dataclass(frozen=True)
class GraphStats:
    """Sizes of a graph, for estimates."""

    num_nodes: int
    num_edges: int
    """Directed edges."""


@dataclass(frozen=True)
class SampleSize:
    """A rough estimate of what one step of one part samples; not a bound."""

    nodes: float
    computed: float
    """Nodes that some layer computes: all but the outermost."""
    edges: float


class Sampler:
    """From the seeds of a part's steps to a `SampledGraph` of each.

    Pure numpy, and picklable: a sampler goes to the workers, so do its frontiers,
    requests and answers, for which any frozen dataclasses of arrays will do. What is
    drawn must be a function of the arguments alone: of ``step_keys`` and of the nodes'
    original ids (`daskgnn.kernels.counter`), never of a random generator.
    """

    num_layers: int
    """Layers that the sampled graphs have; a model needs as many."""
    rounds: int
    """Rounds of request, answer and merge, at least 1."""
    exchanges: tuple[int, ...] = ()
    """Rounds that ask nothing of the graph: what a part requests of another is not
    answered but given to that part's `merge`, as if it were the answer. So parts can
    add up what they know."""

    def check(self, graph: Any) -> None:
        """Raise `InputError` if the sampler cannot do with `graph`."""

    def part_data(self, block: AdjacencyBlock, source: Any) -> dict[str, np.ndarray]:
        """Return arrays that are kept beside a part's rows, by name.

        Parameters
        ----------
        block : AdjacencyBlock
        source
            Of what other parts have: ``source.degrees(ids)`` are the in-degrees of any
            nodes, ``source.rows(table, ids)`` their rows of a table, such as
            ``"original_ids"``.
        """
        return {}

    @required
    def start(
        self, seeds: list[np.ndarray], step_keys: np.ndarray, book: PartitionBook
    ) -> Any:
        """Return a part's frontier before the first round.

        Parameters
        ----------
        seeds : list of int [k]
            The part's seeds of each step, distinct storage ids.
        step_keys : uint64 [W]
            What the draws of each step are to depend on.
        book : PartitionBook
        """
        raise NotImplementedError

    @required
    def request(
        self, frontier: Any, round: int, owner: int, book: PartitionBook
    ) -> Any:
        """Return what a part asks of `owner` for all steps of the window.

        It has `ids` (int [n]), and `nbytes` for the account of what is sent. An owner
        is not asked where there are no ids; the own part always is.
        """
        raise NotImplementedError

    @required
    def answer(
        self,
        rows: PartRows,
        asked: Any,
        step_keys: np.ndarray,
        round: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> Any:
        """Answer a request of any part, where the rows lie.

        The answer has `nbytes`. Entries that come from ``rows.entries`` must be in its
        `columns` and `weights`: of a vertex-cut some are references, which are
        completed before the answer is merged.
        """
        raise NotImplementedError

    @required
    def merge(
        self,
        frontier: Any,
        answers: dict[int, Any],
        round: int,
        part: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> Any:
        """Return a part's frontier after a round.

        `answers` are by part; those that were not asked are not there.
        """
        raise NotImplementedError

    @required
    def finish(self, frontier: Any) -> list[SampledGraph]:
        """Return the graph of each step, after the last round."""
        raise NotImplementedError

    def neighbors_per_layer(self) -> tuple[int, ...]:
        """Return how many of a node's neighbours each layer visits, at most.

        It is for plans, of memory and of halo caches, and bounds nothing.
        """
        return (int(ALL),) * self.num_layers

    def estimate(self, stats: GraphStats, num_seeds: int) -> SampleSize:
        """Estimate a step of one part from the mean degree.

        Too low where degrees are skewed and nothing cuts them off.
        """
        mean_degree = max(stats.num_edges / max(stats.num_nodes, 1), 1.0)
        limits = self.neighbors_per_layer()
        nodes = [float(num_seeds)]
        for limit in limits:
            grown = nodes[-1] * (1 + min(limit, mean_degree))
            nodes.append(min(grown, float(stats.num_nodes)))
        edges = min(nodes[-2] * min(limits[-1], mean_degree), stats.num_edges)
        return SampleSize(nodes[-1], nodes[-2], edges)

    def fingerprint(self) -> dict[str, Any]:
        """Return what makes two samplers the same, for checkpoints: JSON can hold it.

        By default the class and the attributes of the object.
        """
        known = {"sampler": type(self).__qualname__, **vars(self)}
        try:
            found: dict[str, Any] = json.loads(json.dumps(known))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{type(self).__name__}.fingerprint: {error}; give it a method "
                "fingerprint(self) that returns what tells two such samplers apart, as "
                "{'sampler': 'mine', 'k': 3}"
            ) from error
        return found
