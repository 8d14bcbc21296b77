"""FastGCN: the nodes of each layer are drawn with fixed probabilities."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.columnnorms import column_norms
from daskgnn.kernels.layerrows import LayerMembers, Members, nothing
from daskgnn.kernels.layerwise import Histogram, Offer, Terms, layer_keys
from daskgnn.kernels.record import ArrayRecord
from daskgnn.kernels.threads import for_each
from daskgnn.sampling.layerwise import LayerwiseSampler
from daskgnn.sampling.size import some_degrees

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.kernels.layerrows import LayerWindow
    from daskgnn.sampling.size import GraphStats, SampleSize


@dataclass(frozen=True)
class DrawnLayers(ArrayRecord):
    """The nodes that a part has drawn of its own, by layer."""

    layers: tuple[Members, ...]

    @property
    def nbytes(self) -> int:
        """Size of all arrays in bytes."""
        return sum(layer.nbytes for layer in self.layers)


class FastGCNSampler(LayerwiseSampler):
    """Draws the nodes of every layer from the whole graph, by their columns' norms.

    A node u is drawn in proportion to ``q(u) = sum over v of A[v, u]**2``, the squared
    norm of its column of the normalised adjacency A without self-loops. It is
    computed once, when parts are loaded: of an undirected graph without weights from
    each part's own rows, else in one pass over all rows for each part. A destination
    keeps its edges from the nodes that were drawn; one without any has zeros for its
    neighbours. Its own row is always there, as is the self-loop of a GCN.

    The nodes depend on the step, the layer and original ids alone: they are the same
    for any number of parts, and with "poisson" for other partitioners, too; draws with
    replacement follow the storage order. See Chen, Ma and Xiao, "FastGCN", ICLR 2018.

    Parameters
    ----------
    size : int, default 2048
        Nodes of a layer over all parts: the number of draws, or with "poisson" the
        expected number of nodes. In a sparse graph most of them have no edge to a
        step's nodes, and cost nothing beyond being drawn.
    form : {"poisson", "replacement"}, default "poisson"
        "poisson": each node is drawn by itself with probability ``min(1, c q(u))``.
        "replacement": `size` independent draws, as published. Both are unbiased.
    adjacency : {"gcn", "mean"}, default "gcn"
        The entries of A: ``w / sqrt((s_v + 1) (s_u + 1))`` with the weighted degrees
        *s*, or one over the degree of v, whatever the weights. With "gcn" edges of
        weight 0 are never drawn: a model that ignores weights needs "mean".
    skip : bool, default False
        Whether the seeds and the nodes of the layers before are forced into each
        layer: edges between them are never missing.
    normalize : bool, default False
        Whether the mean over the sampled neighbours is divided by the sum of their
        weights, not by the degree: less variance, and a bias that shrinks with `size`.

    Raises
    ------
    InputError
        If an option is invalid.

    Examples
    --------
    >>> from daskgnn.sampling import FastGCNSampler
    >>> sampler = FastGCNSampler(size=256)
    >>> sampler.fingerprint()["form"]
    'poisson'
    >>> sampler = sampler.for_graph(graph=None, num_layers=2)
    >>> sampler.num_layers, sampler.rounds, sampler.exchanges
    (2, 4, (1,))
    """

    name = "fastgcn"
    forms = ("poisson", "replacement")
    degrees: tuple[np.ndarray, np.ndarray] | None = None
    """Degrees of some nodes, and how many of these have each; None before `for_graph`.
    """

    def __init__(
        self,
        size: int = 2048,
        form: str = "poisson",
        adjacency: str = "gcn",
        *,
        skip: bool = False,
        normalize: bool = False,
    ) -> None:
        super().__init__(size, form, adjacency, skip=skip, normalize=normalize)
        self.terms: Terms | None = None

    def _drawing(self, num_layers: int) -> list[bool]:
        """Return that one round draws the nodes, where each part asks itself."""
        return [False]

    def part_data(self, block: AdjacencyBlock, source: Any) -> dict[str, np.ndarray]:
        """Return what the part's nodes are drawn in proportion to.

        Returns
        -------
        dict of numpy.ndarray
            "column_norms", float64 [n].
        """
        return {"column_norms": column_norms(block, source, self.adjacency)}

    def summarize(self, rows: PartRows) -> dict[str, np.ndarray]:
        """Return how many nodes of the part have norms of which size.

        Returns
        -------
        dict of numpy.ndarray
            The arrays of a histogram.
        """
        found = Histogram.of(rows.data["column_norms"])
        return {"bins": found.bins, "counts": found.counts, "sums": found.sums}

    def with_summaries(self, summaries: Sequence[dict[str, np.ndarray]]) -> Self:
        """Return the sampler with the probabilities that follow from all parts' norms.

        Raises
        ------
        InputError
            If all norms are zero.
        """
        offers = [Offer(Histogram(**part), np.empty(0)) for part in summaries]
        terms = Terms.of(self.form, self.size, offers)
        if terms.total <= 0:
            raise InputError(
                "sampler 'fastgcn': no edge has a weight other than 0, so that all "
                "probabilities are 0: use fastgcn:adjacency=mean or sampler='neighbor'"
            )
        made = copy(self)
        made.terms = terms
        return made

    def request(
        self, frontier: LayerWindow, round: int, owner: int, book: PartitionBook
    ) -> Any:
        """Return nothing in the first round; then see `LayerwiseSampler.request`."""
        if round == 0:
            return nothing(len(frontier.steps))
        return super().request(frontier, round, owner, book)

    def answer(
        self,
        rows: PartRows,
        asked: Any,
        step_keys: np.ndarray,
        round: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> Any:
        """Draw the part's nodes of all layers; then see `LayerwiseSampler.answer`."""
        if round:
            return super().answer(rows, asked, step_keys, round, book, threads)
        assert self.terms is not None  # since `with_summaries`
        terms, block = self.terms, rows.block
        values = rows.data["column_norms"]
        prepared = terms.prepared(values)
        part = int(book.owner(np.array([block.start]))[0]) if len(values) else 0
        keys = layer_keys(step_keys, self.num_layers)

        def drawn(key: np.uint64) -> tuple[np.ndarray, np.ndarray]:
            if not len(values):
                return np.empty(0, block.indices.dtype), np.empty(0)
            given = values, prepared, block.original_ids, key
            places, inverse = terms.draw(part, *given)
            return (places + block.start).astype(block.indices.dtype), inverse

        found = for_each(drawn, list(keys.T.ravel()), threads)
        width = len(step_keys)
        steps = [found[k * width : (k + 1) * width] for k in range(self.num_layers)]
        return DrawnLayers(tuple(map(Members.joined, steps)))

    def merge(
        self,
        frontier: LayerWindow,
        answers: dict[int, Any],
        round: int,
        part: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> LayerWindow:
        """Keep what the part has drawn; then see `LayerwiseSampler.merge`."""
        if round == 0:
            return replace(frontier, own=answers[part])
        return super().merge(frontier, answers, round, part, book, threads)

    def _told(self, frontier: LayerWindow) -> LayerMembers:
        """Return the part's drawn nodes, and its seeds if these are forced in."""
        ids = [step.nodes.ids for step in frontier.steps]
        seeds = nothing(len(ids), ids[0].dtype)
        if self.skip:
            joined = Members.joined([(run, np.empty(0)) for run in ids])
            seeds = replace(seeds, ids=joined.ids, offsets=joined.offsets)
        return LayerMembers(frontier.own.layers, seeds)

    def _gathered(self, given: Sequence[LayerMembers]) -> tuple[Members, ...]:
        """Return each layer's nodes; with `skip` those of the layers before, too."""
        layers = super()._gathered(given)
        if not self.skip:
            return layers
        num_steps = len(layers[0].offsets) - 1
        seeds = [part.seeds for part in given]
        forced = [
            np.concatenate([s.ids[s.offsets[k] : s.offsets[k + 1]] for s in seeds])
            for k in range(num_steps)
        ]
        out = []
        for layer in layers:
            steps = [_forced(*layer.of(k), forced[k]) for k in range(num_steps)]
            forced = [ids for ids, _ in steps]
            out.append(Members.joined(steps))
        return tuple(out)

    def estimate(self, stats: GraphStats, num_seeds: int) -> SampleSize:
        """Estimate what one step of one part samples, and the norms that are kept."""
        size = super().estimate(stats, num_seeds)
        return replace(size, kept=8 * stats.num_nodes / stats.num_parts)

    def for_graph(self, graph: Any, num_layers: int) -> Self:
        """Return the sampler for a model of so many layers."""
        made = super().for_graph(graph, num_layers)
        if graph is not None:
            made.degrees = np.unique(some_degrees(graph), return_counts=True)
        return made

    def _edges_of(self, nodes: float, mean_degree: float) -> float:
        """Return about how many edges some nodes' rows have, and the spread of that."""
        spread = 0.0
        if self.degrees is not None:
            degree, counts = self.degrees
            spread = float(nodes * (counts @ degree**2) / counts.sum()) ** 0.5
        return nodes * mean_degree + spread

    def _edge_share(self, share: float) -> float:
        """Return the share of edges from drawn nodes: those with many are likelier."""
        if self.degrees is None:
            return share
        degree, counts = self.degrees
        # Their columns' norms, if all neighbours had one degree.
        norm = degree / (degree + 1) if self.adjacency == "gcn" else degree
        expected, scale = share * counts.sum(), 1.0
        for _ in range(20):
            drawn = np.minimum(1.0, scale * norm)
            scale *= expected / max(float(counts @ drawn), 1e-9)
        return float((counts * degree) @ drawn / max(counts @ degree, 1))

    def _drawable(self, edges: float) -> float:
        """Return that all nodes can be drawn."""
        return 1.0


def _forced(
    ids: np.ndarray, inverse: np.ndarray, forced: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return sampled nodes, and some that are there with probability 1."""
    everyone = np.union1d(ids, forced).astype(ids.dtype)
    counts = np.ones(len(everyone))
    counts[np.searchsorted(everyone, ids)] = inverse
    counts[np.searchsorted(everyone, forced)] = 1
    return everyone, counts
