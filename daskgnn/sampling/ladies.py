"""LADIES: the nodes of each layer are drawn by their edges into a step's nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.candidates import (
    Candidates,
    Facts,
    Sums,
    drawn,
    offered,
    report_to,
    summed_columns,
    with_reports,
)
from daskgnn.kernels.hops import Request, answer
from daskgnn.kernels.layerrows import LayerMembers, Members, nothing
from daskgnn.kernels.layerwise import Offer, Terms, layer_keys
from daskgnn.kernels.record import ArrayRecord
from daskgnn.sampling.layerwise import WHOLE, LayerwiseSampler

if TYPE_CHECKING:
    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.kernels.layerrows import LayerWindow

_READ, _REPORT, _LOOK_UP, _DRAW = range(4)
"""The rounds of a layer until its nodes are drawn: read the destinations' rows, report
their columns to the owners, look these up, and agree on how many are drawn."""


@dataclass(frozen=True)
class Offers(ArrayRecord):
    """What a part says of its candidates of a layer, for every step."""

    steps: tuple[Offer, ...]

    @property
    def ids(self) -> np.ndarray:
        """None: it is told to every part."""
        return np.empty(0, np.int64)

    @property
    def nbytes(self) -> int:
        """Size of all arrays in bytes."""
        return sum(offer.nbytes for offer in self.steps)


@dataclass(frozen=True)
class Search(ArrayRecord):
    """What a part knows of its candidates, and what it has drawn of them."""

    steps: tuple[Candidates, ...]
    columns: tuple[Sums, ...] = ()
    """Of the rows that were read last."""
    offers: Offers | None = None
    layers: tuple[Members, ...] = ()
    """What was drawn so far."""


class LadiesSampler(LayerwiseSampler):
    """Draws the nodes of a layer in proportion to their edges into the layer before.

    A node u is drawn in proportion to ``q(u) = sum over v of A[v, u]**2``, where v goes
    through the layer's destinations of all parts, each counted once, and A is the
    normalised adjacency without self-loops. A destination keeps its edges from the
    nodes that were drawn; one without any has zeros for its neighbours. Its own row is
    always there, as is the self-loop of a GCN.

    Parts add up what they know in four rounds a layer, so that the nodes are the same
    for any number of parts, and with "poisson" for other partitioners, too, unless a
    draw falls within the rounding of these sums; draws with replacement follow the
    storage order. See Zou et al., "Layer-dependent importance sampling for training
    deep and large graph convolutional networks", NeurIPS 2019.

    Parameters
    ----------
    size : int, default 512
        Nodes of a layer over all parts: the number of draws, or with "poisson" the
        expected number of nodes.
    form : {"poisson", "replacement", "released"}, default "poisson"
        "poisson": each node is drawn by itself with probability ``min(1, c q(u))``,
        known as PLADIES. "replacement": `size` independent draws, as published. Both
        are unbiased. "released": as the authors' code does, draws without replacement
        that count as if they were with it, which is biased; for comparisons.
    adjacency : {"gcn", "mean"}, default "gcn"
        The entries of A: ``w / sqrt((s_v + 1) (s_u + 1))`` with the weighted degrees
        *s*, or one over the degree of v, whatever the weights. With "gcn" edges of
        weight 0 are never drawn: a model that ignores weights needs "mean".
    skip : bool, default False
        Whether a layer's destinations are forced into it: edges between them are never
        missing. They are not counted by `size`.
    normalize : bool, default False
        Whether the mean over the sampled neighbours is divided by the sum of their
        weights, not by the degree: less variance, and a bias that shrinks with `size`.

    Raises
    ------
    InputError
        If an option is invalid.

    Examples
    --------
    >>> from daskgnn.sampling import LadiesSampler
    >>> sampler = LadiesSampler(size=256, skip=True)
    >>> sampler.fingerprint()["skip"]
    True
    >>> sampler = sampler.for_graph(graph=None, num_layers=2)
    >>> sampler.num_layers, sampler.rounds, sampler.exchanges
    (2, 11, (1, 3, 5, 7, 8))
    """

    name = "ladies"
    forms = ("poisson", "replacement", "released")

    def __init__(
        self,
        size: int = 512,
        form: str = "poisson",
        adjacency: str = "gcn",
        *,
        skip: bool = False,
        normalize: bool = False,
    ) -> None:
        super().__init__(size, form, adjacency, skip=skip, normalize=normalize)

    def _drawing(self, num_layers: int) -> list[bool]:
        """Return which rounds exchange: parts report columns, and make offers."""
        return [False, True, False, True] * num_layers

    def start(
        self, seeds: list[np.ndarray], step_keys: np.ndarray, book: PartitionBook
    ) -> LayerWindow:
        """Return the seeds as the first nodes and destinations of each step."""
        window = super().start(seeds, step_keys, book)
        return replace(window, own=Search(tuple(map(Candidates.none, seeds))))

    def request(
        self, frontier: LayerWindow, round: int, owner: int, book: PartitionBook
    ) -> Any:
        """Return what a part asks of an owner, or tells it."""
        if self._layer_of(round) >= -1:
            return super().request(frontier, round, owner, book)
        layer, stage = divmod(round, 4)
        steps = frontier.own.steps
        if stage == _READ:
            return frontier.wanted([step.fresh for step in steps], owner, book)
        if stage == _REPORT:
            seeds = nothing(len(steps))
            if layer == 0:
                seeds = frontier.wanted(frontier.nodes, owner, book)
            return report_to(owner, frontier.own.columns, seeds)
        if stage == _LOOK_UP:
            new = [step.ids[len(step.original_ids) :] for step in steps]
            return frontier.wanted(new, owner, book)
        return frontier.own.offers

    def answer(
        self,
        rows: PartRows,
        asked: Any,
        step_keys: np.ndarray,
        round: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> Any:
        """Return whole rows, facts of nodes, or rows that are cut to sampled nodes."""
        if self._layer_of(round) >= 0:
            return super().answer(rows, asked, step_keys, round, book, threads)
        if round % 4 == _LOOK_UP:
            return Facts.of(rows.block, asked.ids)
        return answer(rows.block, asked, step_keys, WHOLE, 0, None, threads)

    def merge(
        self,
        frontier: LayerWindow,
        answers: dict[int, Any],
        round: int,
        part: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> LayerWindow:
        """Take a step towards the nodes of a layer, or add a layer of their edges."""
        if self._layer_of(round) >= -1:
            return super().merge(frontier, answers, round, part, book, threads)
        own: Search = frontier.own
        layer, stage = divmod(round, 4)
        keys = layer_keys(frontier.step_keys, layer + 1)[:, layer]
        if stage == _READ:
            fresh = [step.fresh for step in own.steps]
            given = fresh, frontier.step_keys, answers, book, self.adjacency
            own = replace(own, columns=tuple(summed_columns(*given)))
        elif stage == _REPORT:
            reports = [answers[other] for other in sorted(answers)]
            steps = with_reports(own.steps, reports, book.num_nodes)
            own = replace(own, steps=tuple(steps), columns=())
        elif stage == _LOOK_UP:
            wanted: Request = self.request(frontier, round, part, book)
            own = self._looked_up(own, answers[part], wanted.offsets, keys)
        else:
            own = self._drawn(own, answers, part, keys)
        return replace(frontier, own=own)

    def _looked_up(
        self, own: Search, facts: Facts, begins: np.ndarray, keys: np.ndarray
    ) -> Search:
        """Return what the part offers, with what it knows of new candidates."""
        spans = [slice(*begins[s : s + 2]) for s in range(len(own.steps))]
        steps = tuple(
            step.with_facts(facts, span, self.adjacency)
            for step, span in zip(own.steps, spans, strict=True)
        )
        how = self.form, self.size
        offers = tuple(
            offered(step, *how, key, skip=self.skip)
            for step, key in zip(steps, keys, strict=True)
        )
        return replace(own, steps=steps, offers=Offers(offers))

    def _drawn(
        self, own: Search, offers: dict[int, Offers], part: int, keys: np.ndarray
    ) -> Search:
        """Return the part's candidates after a layer's nodes were drawn of them."""
        steps, found = [], []
        for s, step in enumerate(own.steps):
            told = [offers[other].steps[s] for other in sorted(offers)]
            terms = Terms.of(self.form, self.size, told)
            members = drawn(step, terms, part, keys[s], skip=self.skip)
            steps.append(step.grown(members[0]))
            found.append(members)
        layers = (*own.layers, Members.joined(found))
        return replace(own, steps=tuple(steps), offers=None, layers=layers)

    def _told(self, frontier: LayerWindow) -> LayerMembers:
        """Return the part's drawn nodes."""
        return LayerMembers(frontier.own.layers, nothing(len(frontier.steps)))

    def _drawable(self, edges: float) -> float:
        """Return about which share of nodes has an edge to a destination."""
        return float(-np.expm1(-edges))
