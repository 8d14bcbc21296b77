"""GraphSAINT: a step trains on subgraphs of sampled nodes, edges or random walks."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.counter import keys_below
from daskgnn.kernels.draws import (
    Draws,
    Walkers,
    bits32,
    edge_masses,
    node_masses,
    nodes_at,
    numbers_below,
    steps_of_walks,
)
from daskgnn.kernels.frontier import offsets
from daskgnn.sampling.coverage import draws_for
from daskgnn.sampling.induced import Subgraphs
from daskgnn.sampling.optionchecks import below_one, positive, whole, word
from daskgnn.sampling.presampling import PresampledSampler
from daskgnn.sampling.size import default_share, some_degrees

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.sampling.size import GraphStats, SampleSize

OPTIONS = {"node": ("size",), "edge": ("size",), "walk": ("roots", "length")}
"""Which sizes each kind has."""
DEFAULTS = {"size": 2000, "roots": 1000, "length": 2}
NODES = 8000
"""Default size of kind "node", as published: two nodes that are drawn independently are
seldom neighbours, so that fewer leave few edges, which then count for very much."""


class SaintSampler(PresampledSampler):
    """Trains on subgraphs of nodes, edges or walks that are drawn at random.

    All edges between the drawn nodes are used. The losses of nodes and the messages of
    edges are divided by the probabilities of being drawn, so that sums are right on
    average. These are estimated before training: subgraphs are sampled until each
    training node was drawn `coverage` times on average. See Zeng and others,
    "GraphSAINT", ICLR 2020. An epoch has so many steps that, on average, they draw as
    many training nodes as the graph has.

    Results depend on the order of the partition and on the number of subgraphs, not on
    workers; with the same number of subgraphs, these are the same for any number of
    parts.

    Parameters
    ----------
    kind : {"walk", "node", "edge"}, default "walk"
        "node": nodes in proportion to the squared norms of their columns of the
        adjacency whose rows are divided by their degrees, but for the share `uniform`.
        "edge": edges in proportion
        to ``1/d_u + 1/d_v``, with both ends. "walk": random walks from uniform roots.
        All with replacement.
    size : int, optional
        Nodes or edges that are drawn in a step, over all parts; by default 8000 nodes
        or 2000 edges, or as many as find 32 training nodes (of a large graph, at most
        32,768 nodes).
    roots : int, optional
        Walks of a step, over all parts; by default 1000, or more as for `size`.
    length : int, default 2
        Steps of a walk, to an in-neighbour each.
    uniform : float, default 0.5
        Share of the draws of "node" that are uniform over all nodes. With 0, which is
        as published, nodes whose neighbours have many others are hardly ever drawn, and
        count for very much when they are.
    subgraphs : int, optional
        Subgraphs that share a step's draws; by default one a part.
    coverage : float, default 50
        How often a training node is drawn on average before training.

    Raises
    ------
    InputError
        If an option is invalid, or of another kind.

    Examples
    --------
    >>> from daskgnn.sampling import SaintSampler
    >>> sampler = SaintSampler(kind="walk", roots=400, length=2)
    >>> sampler.rounds  # two steps, then the edges
    3
    >>> sampler.fingerprint()["roots"]
    400
    """

    name = "saint"
    size_options = ("size", "roots", "subgraphs")
    count: int
    """Draws of a subgraph."""
    floor: float
    """What is added to the norms of all nodes, so that a share is drawn uniformly."""
    has_edge_masses: bool
    """Whether edges are drawn by masses of their own: see `edge_masses`."""
    masses: np.ndarray
    """int64 [P + 1], what all draws of the parts before each one add up to."""

    def __init__(
        self,
        kind: str = "walk",
        *,
        size: int | None = None,
        roots: int | None = None,
        length: int | None = None,
        uniform: float = 0.5,
        subgraphs: int | None = None,
        coverage: float = 50,
    ) -> None:
        super().__init__(positive("saint", "coverage", coverage, "coverage=50"))
        self.kind = word("saint", "kind", kind, OPTIONS, "kind=walk")
        self.size, self.roots, self.length = size, roots, length
        self.subgraphs = subgraphs
        self.uniform = below_one("saint", "uniform", uniform, "kind=node,uniform=0.5")
        for option, value in self._counts().items():
            if value is not None:
                example = DEFAULTS.get(option, 2)
                whole("saint", option, value, f"kind={kind},{option}={example}")
        for option in set(DEFAULTS) - set(OPTIONS[kind]):
            if getattr(self, option) is not None:
                others = " and ".join(OPTIONS[kind])
                raise InputError(
                    f"sampler 'saint': {option} is none of kind={kind!r}, which has "
                    f"{others}: saint:kind={kind},{OPTIONS[kind][0]}=400"
                )
        self.rounds = 1 + (self._of("length") if kind == "walk" else 1)

    def _counts(self) -> dict[str, int | None]:
        """Return the options that are whole numbers."""
        return {name: getattr(self, name) for name in (*DEFAULTS, "subgraphs")}

    def _of(self, option: str) -> int:
        """Return a size, or its default."""
        given = getattr(self, option)
        if given is None:
            given = NODES if self.kind == "node" else DEFAULTS[option]
        return int(given)

    def for_graph(self, graph: Any, num_layers: int) -> Self:
        """Return the sampler as it is used with a graph and a model.

        Raises
        ------
        InputError
            As `check`.
        """
        sampler: Self = super().for_graph(graph, num_layers)
        option = "roots" if self.kind == "walk" else "size"
        each = {"node": 1, "edge": 2, "walk": self._of("length") + 1}[self.kind]
        draws = self._of(option)
        if getattr(self, option) is None:
            wanted = draws_for(default_share(graph), graph.num_nodes)
            draws = max(draws, round(wanted / each))
        sampler.count = max(draws // sampler.num_subgraphs, 1)
        sampler.num_drawn = sampler.count * each
        sampler.floor = 0.0
        if self.kind == "node" and self.uniform:
            degree = some_degrees(graph)
            norms = np.divide(1, degree, where=degree > 0, out=np.zeros(len(degree)))
            sampler.floor = float(norms.mean()) * self.uniform / (1 - self.uniform)
        sampler.has_edge_masses = self.kind == "edge" and graph.schema.directed
        return sampler

    def part_data(self, block: AdjacencyBlock, source: Any) -> dict[str, np.ndarray]:
        """Return which nodes are for training, and what is drawn in proportion to.

        Returns
        -------
        dict of numpy.ndarray
            "is_train", bool [rows]; "mass" and perhaps "edge_mass", see
            `daskgnn.kernels.draws`.
        """
        data = super().part_data(block, source)
        if self.kind == "node":
            data |= node_masses(block, source, self.floor)
        elif self.kind == "edge":
            data |= edge_masses(block, source)
        return data

    def summarize(self, rows: PartRows) -> dict[str, np.ndarray]:
        """Return what the part's draws add up to.

        Returns
        -------
        dict of numpy.ndarray
            "mass", int64 [1]; nothing for walks.
        """
        mass = rows.data.get("mass")
        return {} if mass is None else {"mass": mass[-1:]}

    def with_summaries(self, summaries: Sequence[dict[str, np.ndarray]]) -> Self:
        """Return the sampler with what the draws of each part add up to.

        Raises
        ------
        InputError
            If there is nothing to draw.
        """
        if self.kind == "walk":
            return self
        sampler = copy.copy(self)
        sampler.masses = offsets([int(part["mass"][0]) for part in summaries])
        if not sampler.masses[-1]:
            raise InputError(
                "sampler 'saint': the graph has no edges, so that all probabilities "
                f"of kind={self.kind!r} are 0: use saint:kind=walk"
            )
        return sampler

    def start(
        self, seeds: list[np.ndarray], step_keys: np.ndarray, book: PartitionBook
    ) -> Walkers:
        """Return the roots of walks, or what draws of nodes and edges add up to."""
        pairs = zip(step_keys, seeds, strict=True)
        keys = [keys_below(key, numbers[:, 0]) for key, numbers in pairs]
        joined = np.concatenate([np.empty(0, np.uint64), *keys])
        steps = offsets([len(numbers) for numbers in seeds])
        total = book.num_nodes if self.kind == "walk" else int(self.masses[-1])
        begin = numbers_below(joined, self.count, self.rounds, 0, total)
        if self.kind == "walk":
            begin = begin.astype(self.index_dtype)
        else:
            # In order, owners find them faster; sets have no order.
            begin = np.sort(begin.reshape(-1, self.count), axis=1).ravel()
        return Walkers(joined, steps, (begin,))

    def request(
        self, frontier: Any, round: int, owner: int, book: PartitionBook
    ) -> Any:
        """Return what is to be drawn of an owner's nodes; at last, whole subgraphs."""
        if round + 1 == self.rounds:
            return super().request(frontier, round, owner, book)
        bounds = self._bounds(book)
        last = frontier.visited[-1]
        mine = np.flatnonzero((last >= bounds[owner]) & (last < bounds[owner + 1]))
        bits = bits32(frontier.keys, self.count, self.rounds, round + 1)[mine]
        first = 0 if self.kind == "walk" else bounds[owner]
        return Draws(last[mine].astype(np.int64) - first, bits)

    def _bounds(self, book: PartitionBook) -> np.ndarray:
        """Return where each part begins among what is drawn."""
        return book.bounds if self.kind == "walk" else self.masses

    def answer(
        self,
        rows: PartRows,
        asked: Any,
        step_keys: np.ndarray,
        round: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> Any:
        """Draw nodes; at last, return the rows of the subgraphs' nodes."""
        if round + 1 < self.rounds:
            if self.kind == "walk":
                return steps_of_walks(rows, asked)
            return nodes_at(rows, asked, edges=self.kind == "edge")
        return super().answer(rows, asked, step_keys, round, book, threads)

    def merge(
        self,
        frontier: Any,
        answers: dict[int, Any],
        round: int,
        part: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> Any:
        """Go on with what was drawn; at last, return the graph of each step."""
        if round + 1 == self.rounds:
            return super().merge(frontier, answers, round, part, book, threads)
        last, bounds = frontier.visited[-1], self._bounds(book)
        found = np.empty((answers[part].nodes.shape[0], len(last)), self.index_dtype)
        owners = np.searchsorted(bounds, last, side="right") - 1
        for owner, answer in answers.items():
            found[:, owners == owner] = answer.nodes
        # Masses are forgotten for the nodes that they stand for.
        before = frontier.visited if self.kind == "walk" else ()
        walkers = replace(frontier, visited=(*before, *found))
        if round + 2 < self.rounds:
            return walkers
        sets = walkers.sets(book.num_nodes, self.index_dtype)
        return Subgraphs(sets, walkers.steps)

    def estimate(self, stats: GraphStats, num_seeds: int) -> SampleSize:
        """Estimate what one step of one part samples, and the masses that are kept."""
        size = super().estimate(stats, num_seeds)
        masses = 8 * stats.num_nodes * (self.kind != "walk")
        masses += 4 * stats.num_edges * self.has_edge_masses
        return replace(size, kept=size.kept + masses / stats.num_parts)

    def fingerprint(self) -> dict[str, Any]:
        """Return the options."""
        known = {"kind": self.kind, **self._counts(), "coverage": self.coverage}
        if self.kind == "node":
            known["uniform"] = self.uniform
        return {"sampler": self.name, **known}
