"""What a sampler is: rounds of request, answer and merge, for a window of steps.

A part's task starts a frontier with its seeds of each step. In each round it asks the
owners for what the frontier needs, owners answer where their rows lie, and the part
merges the answers. After the last round the frontier is finished: a graph a step.
Everything is a pure function of arrays; who carries them from part to part, and counts
their bytes, is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskgnn.kernels.neighbor import ALL
from daskgnn.sampling.size import GraphStats, SampleSize, grown
from daskgnn.seams import plain_attributes, required

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.kernels.sampled import SampledGraph
    from daskgnn.kernels.targets import Targets
    from daskgnn.sampling.steps import StepPlan


class Sampler:
    """Samples the neighbourhoods of seeds: subclass it to sample in your own way.

    A part makes a frontier of its seeds of each step. In every round it requests what
    the frontier needs from the parts that own it; owners answer, and the part merges
    the answers into its frontier. After the last round, the frontier becomes a
    `SampledGraph` for each step.

    Samplers are pure numpy and picklable, and so are frontiers, requests and answers:
    any frozen dataclasses of arrays will do. What is drawn must depend on the arguments
    alone: on ``step_keys`` and the nodes' original ids (`daskgnn.kernels.counter`),
    never on a random generator.

    Examples
    --------
    A sampler for models of one layer that takes the first neighbour of each seed:

    >>> from types import SimpleNamespace as Message
    >>> import numpy as np
    >>> from daskgnn.sampling import LocalRows, SampledGraph, Sampler
    >>> class FirstNeighbor(Sampler):
    ...     num_layers = rounds = 1
    ...     def start(self, seeds, step_keys, book):
    ...         return seeds
    ...     def request(self, frontier, round, owner, book):
    ...         ids = np.concatenate([ids[book.owned(ids, owner)] for ids in frontier])
    ...         return Message(ids=ids, nbytes=ids.nbytes)
    ...     def answer(self, rows, asked, step_keys, round, book, threads=1):
    ...         block, own = rows.block, asked.ids.astype(np.int64) - rows.block.start
    ...         near = rows.entries(own, np.zeros(len(own), np.int64)).columns
    ...         known = block.original_ids, block.degree, block.weighted_degree
    ...         known = [array[own] for array in known]
    ...         return Message(near=near, known=known, nbytes=near.nbytes)
    ...     def merge(self, frontier, answers, round, part, book, threads=1):
    ...         return frontier, answers[part]  # which owns all of its seeds
    ...     def finish(self, frontier):
    ...         (seeds, found), graphs, done = frontier, [], 0
    ...         for ids in seeds:
    ...             mine = slice(done, done + len(ids))
    ...             new = np.setdiff1d(found.near[mine], ids)
    ...             nodes = np.concatenate([ids, new])
    ...             order = np.argsort(nodes)
    ...             local = order[np.searchsorted(nodes[order], found.near[mine])]
    ...             indptr = np.arange(len(ids) + 1)
    ...             rows = LocalRows(indptr, local.astype(np.int32))
    ...             known = [a[mine] for a in found.known]
    ...             sizes = (len(ids), len(nodes))
    ...             graphs.append(SampledGraph(nodes, sizes, (rows,), *known))
    ...             done += len(ids)
    ...         return graphs

    `Trainer` tries such a sampler on a small graph before any work, as this does:

    >>> from daskgnn.sampling.check import check_sampler
    >>> sampler = FirstNeighbor()
    >>> check_sampler(sampler)
    >>> sampler.fingerprint()
    {'sampler': 'FirstNeighbor'}

    Methods with a default are `check`, `part_data`, `estimate`, `fingerprint` and:

    >>> len(sampler.neighbors_per_layer())
    1
    >>> sampler.with_summaries([{}, {}]) is sampler.for_graph(None, 1) is sampler
    True
    >>> sampler.steps(targets=None, seed=0, num_parts=2)  # of the trainer's seeds
    >>> sampler.summarize(rows=None)
    {}
    """

    num_layers: int
    """Number of layers of the sampled graphs; the model must have as many."""
    any_depth: bool = False
    """Whether `for_graph` sets `num_layers`: the sampler serves models of any depth."""
    rounds: int
    """Number of rounds of request, answer and merge, at least 1."""
    exchanges: tuple[int, ...] = ()
    """Rounds in which parts exchange requests. What part p requests of part q is then
    not answered but passed to q's `merge` as ``answers[p]``, so that parts can add up
    what they know."""
    repeats_nodes: bool = False
    """Whether a sampled graph can have the same node several times."""
    weights_targets: bool = False
    """Whether sampled graphs have `SampledGraph.target_weights`."""
    needs_summaries: bool = True
    """Whether `summarize` is called at all, where it has been overridden: the parts are
    waited for then before anything is sampled."""
    needs_whole_rows: bool = False
    """Whether parts are to hold whole rows, even of a source that is read on demand."""
    evaluates: bool = False
    """Whether a model's output is defined by what is sampled, so that evaluation
    samples, too; else it takes all neighbours."""

    def for_graph(self, graph: Any, num_layers: int) -> Sampler:
        """Return the sampler as it is used with a graph and a model.

        Parameters
        ----------
        graph : Graph
            The graph that is trained on.
        num_layers : int
            Number of layers of the model.

        Returns
        -------
        Sampler
            By default the sampler as it is.
        """
        return self

    def steps(self, targets: Targets, seed: int, num_parts: int) -> StepPlan | None:
        """Return which subgraphs each step has, of a sampler that chooses its seeds.

        Parameters
        ----------
        targets : Targets
            The training targets.
        seed : int
            Seed of the run.
        num_parts : int
            Number of parts.

        Returns
        -------
        StepPlan or None
            None, which is the default, where a step has `batch_size` of the targets.
        """
        return None

    def summarize(self, rows: PartRows) -> dict[str, np.ndarray]:
        """Return what other parts must know of a part before anything is sampled.

        Parameters
        ----------
        rows : PartRows
            The rows of the part, with its `part_data`.

        Returns
        -------
        dict of numpy.ndarray
            Small arrays by name: they go through the driver. Empty by default.
        """
        return {}

    def with_summaries(self, summaries: Sequence[dict[str, np.ndarray]]) -> Sampler:
        """Return the sampler with what it must know of all parts.

        Parameters
        ----------
        summaries : sequence of dict
            What `summarize` has returned, by part.

        Returns
        -------
        Sampler
            A copy; by default the sampler as it is.
        """
        return self

    def check(self, graph: Any) -> None:
        """Raise an `InputError` if the sampler cannot be used with a graph.

        Parameters
        ----------
        graph : Graph
            The graph that is to be trained on.
        """

    def part_data(self, block: AdjacencyBlock, source: Any) -> dict[str, np.ndarray]:
        """Return arrays to keep beside a part's rows.

        Parameters
        ----------
        block : AdjacencyBlock
            The part's rows.
        source : object
            What other parts know: ``source.degrees(ids)`` returns in-degrees of any
            nodes, ``source.rows(table, ids)`` their rows of a table, such as
            "original_ids".

        Returns
        -------
        dict of numpy.ndarray
            Arrays by name; `answer` finds them as ``rows.data``.
        """
        return {}

    @required
    def start(
        self, seeds: list[np.ndarray], step_keys: np.ndarray, book: PartitionBook
    ) -> Any:
        """Return a part's frontier before the first round.

        Parameters
        ----------
        seeds : list of numpy.ndarray
            int [k] for each of W steps: the part's seeds, distinct storage ids. Of a
            sampler with `steps`, int64 [s, m]: what the part's subgraphs start from.
        step_keys : numpy.ndarray
            uint64 [W], the key that the draws of each step must depend on.
        book : PartitionBook
            Which part owns which nodes.

        Returns
        -------
        object
            The frontier, in any form.
        """
        raise NotImplementedError

    @required
    def request(
        self, frontier: Any, round: int, owner: int, book: PartitionBook
    ) -> Any:
        """Return what a part requests of one owner, for all steps of the window.

        Parameters
        ----------
        frontier : object
            The part's frontier.
        round : int
            Number of the round, from 0.
        owner : int
            The part that is asked.
        book : PartitionBook
            Which part owns which nodes.

        Returns
        -------
        object
            Has ``ids``, storage ids int [n], and ``nbytes``, the size that is reported.
            An owner is not asked if there are no ids, but the own part always is.
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
        """Answer the request of some part, where the rows are.

        Parameters
        ----------
        rows : PartRows
            The rows of the owner.
        asked : object
            The request.
        step_keys : numpy.ndarray
            uint64 [W], the key that the draws of each step must depend on.
        round : int
            Number of the round, from 0.
        book : PartitionBook
            Which part owns which nodes.
        threads : int, default 1
            Threads that may be used.

        Returns
        -------
        object
            Has ``nbytes``, the size that is reported. What ``rows.entries`` returned
            must be in its ``columns`` and ``weights``: of a vertex-cut some are
            references, which are resolved before the answer is merged.
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

        Parameters
        ----------
        frontier : object
            The part's frontier before.
        answers : dict
            Answers by part; parts that were not asked are missing.
        round : int
            Number of the round, from 0.
        part : int
            Number of the part.
        book : PartitionBook
            Which part owns which nodes.
        threads : int, default 1
            Threads that may be used.

        Returns
        -------
        object
            The frontier.
        """
        raise NotImplementedError

    @required
    def finish(self, frontier: Any) -> list[SampledGraph]:
        """Return the sampled graphs, after the last round.

        Parameters
        ----------
        frontier : object
            The part's frontier.

        Returns
        -------
        list of SampledGraph
            One for each step of the window.
        """
        raise NotImplementedError

    def neighbors_per_layer(self) -> tuple[int, ...]:
        """Return how many neighbours of a node each layer visits at most.

        Memory and halo caches are planned by these numbers; they limit nothing.

        Returns
        -------
        tuple of int
            One for each layer, the seeds' layer first; by default, all neighbours.
        """
        return (int(ALL),) * max(self.num_layers, 1)

    def estimate(self, stats: GraphStats, num_seeds: int) -> SampleSize:
        """Estimate from the mean degree what one step of one part samples.

        Neighbours are taken to be anywhere in the graph. The estimate is too low for
        skewed degrees without a fan-out. What `part_data` keeps is its `kept`: by
        default, nothing.

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
        return grown(stats, num_seeds, self.neighbors_per_layer())

    def fingerprint(self) -> dict[str, Any]:
        """Return what distinguishes this sampler from others, for checkpoints.

        A run is resumed only with a sampler of the same fingerprint.

        Returns
        -------
        dict
            As JSON can hold it; by default the class and the attributes of the object.

        Raises
        ------
        InputError
            If JSON cannot hold these attributes.
        """
        return plain_attributes(self, "sampler")
