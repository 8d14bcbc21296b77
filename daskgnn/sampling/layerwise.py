"""What samplers of layers share: nodes of a layer are drawn for a whole step."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.hops import Request, StepNodes, answer, first_nodes
from daskgnn.kernels.layerrows import (
    ROW_NORMS,
    CutRequest,
    LayerMembers,
    LayerNodes,
    LayerWindow,
    Members,
    add_layer,
    cut_rows,
)
from daskgnn.kernels.neighbor import FanOut
from daskgnn.kernels.sampled import SampledGraph
from daskgnn.sampling.optionchecks import switch, whole, word
from daskgnn.sampling.sampler import Sampler
from daskgnn.sampling.size import SampleSize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.sampling.size import GraphStats

WHOLE = FanOut((-1,))
"""Every neighbour of a node."""


class LayerwiseSampler(Sampler):
    """Draws the nodes of each layer for all destinations of a step together.

    A subclass draws the nodes, in `drawing` rounds; then all parts are told of them,
    and the destinations' rows are cut to them, a round for each layer.
    """

    name: str
    """What the command line calls the sampler."""
    forms: tuple[str, ...]
    """How nodes can be drawn."""
    any_depth = True

    def __init__(
        self, size: int, form: str, adjacency: str, *, skip: bool, normalize: bool
    ) -> None:
        self.size = whole(self.name, "size", size, "size=2048")
        self.form = word(self.name, "form", form, self.forms)
        self.adjacency = word(self.name, "adjacency", adjacency, ROW_NORMS)
        self.skip = switch(self.name, "skip", skip)
        self.normalize = switch(self.name, "normalize", normalize)
        self.num_layers = self.rounds = self.num_parts = 1  # until `for_graph`

    def _drawing(self, num_layers: int) -> list[bool]:
        """Return of each round until the own nodes are drawn whether it exchanges."""
        raise NotImplementedError

    def for_graph(self, graph: Any, num_layers: int) -> Self:
        """Return the sampler for a model of so many layers."""
        made = copy(self)
        kinds = [*self._drawing(num_layers), True, *[False] * num_layers]
        made.num_layers, made.rounds = num_layers, len(kinds)
        made.num_parts = getattr(graph, "num_parts", 1)
        made.exchanges = tuple(int(r) for r in np.flatnonzero(kinds))
        return made

    def check(self, graph: Any) -> None:
        """Check that there are edges, which nodes are drawn by.

        Raises
        ------
        InputError
            If the graph has none.
        """
        if not graph.num_edges:
            raise InputError(
                f"sampler {self.name!r} draws nodes by their edges, and graph "
                f"{graph.name!r} has none: use sampler='neighbor'"
            )

    def start(
        self, seeds: list[np.ndarray], step_keys: np.ndarray, book: PartitionBook
    ) -> LayerWindow:
        """Return the seeds as the first nodes of each step."""
        steps = first_nodes(seeds, step_keys).steps
        return LayerWindow(tuple(map(LayerNodes, steps)), step_keys)

    def _layer_of(self, round: int) -> int:
        """Return which layer's rows a round is for; negative before these rounds."""
        return round - self.rounds + self.num_layers

    def request(
        self, frontier: LayerWindow, round: int, owner: int, book: PartitionBook
    ) -> Any:
        """Return what a part asks of an owner, or tells it."""
        layer = self._layer_of(round)
        if layer == -1:
            return self._told(frontier)
        asked = frontier.wanted(frontier.nodes, owner, book)
        members = frontier.members[layer]
        if not len(asked.ids):
            members = Members(members.ids[:0], asked.offsets, members.inverse[:0])
        return CutRequest(asked.ids, asked.offsets, members)

    def _told(self, frontier: LayerWindow) -> LayerMembers:
        """Return what all parts are told: the nodes that were drawn."""
        raise NotImplementedError

    def answer(
        self,
        rows: PartRows,
        asked: Any,
        step_keys: np.ndarray,
        round: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> Any:
        """Return rows with the edges from sampled nodes.

        Of a vertex-cut they are cut by who has asked.
        """
        wanted = Request(asked.ids, asked.offsets)
        found = answer(rows.block, wanted, step_keys, WHOLE, 0, None, threads)
        if book.held is not None:
            return found
        return cut_rows(found, asked.offsets, asked.members)

    def merge(
        self,
        frontier: LayerWindow,
        answers: dict[int, Any],
        round: int,
        part: int,
        book: PartitionBook,
        threads: int = 1,
    ) -> LayerWindow:
        """Add a layer of the rows that were cut, or learn which nodes were drawn."""
        layer = self._layer_of(round)
        if layer == -1:
            given = [answers[other] for other in sorted(answers)]
            return replace(frontier, own=None, members=self._gathered(given))
        members = frontier.members[layer]
        if book.held is not None:
            wanted = {p: self.request(frontier, round, p, book) for p in answers}
            answers = {
                p: cut_rows(found, wanted[p].offsets, members)
                for p, found in answers.items()
            }
        how = {"normalize": self.normalize}
        steps = add_layer(frontier.steps, answers, members, book, **how)
        return replace(frontier, steps=tuple(steps))

    def _gathered(self, given: Sequence[LayerMembers]) -> tuple[Members, ...]:
        """Return each layer's sampled nodes of all parts, in their order."""
        layers = zip(*(part.layers for part in given), strict=True)
        return tuple(map(_joined, layers))

    def finish(self, frontier: LayerWindow) -> list[SampledGraph]:
        """Return each step's nodes, and a CSR for each of its layers."""
        return [_graph(step.nodes, step) for step in frontier.steps]

    def neighbors_per_layer(self) -> tuple[int, ...]:
        """Return the expected number of nodes of each layer."""
        return (self.size,) * self.num_layers

    def estimate(self, stats: GraphStats, num_seeds: int) -> SampleSize:
        """Estimate from the mean degree what one step of one part samples."""
        num_nodes = max(stats.num_nodes, 1)
        mean_degree = stats.num_edges / num_nodes
        # Destinations of all parts, and of one.
        whole = min(float(num_seeds * self.num_parts), num_nodes)
        nodes, edges = [float(num_seeds)], 0.0
        for _ in range(self.num_layers):
            drawable = self._drawable(whole * mean_degree / num_nodes) * num_nodes
            drawn = min(float(self.size), drawable) + self.skip * whole
            share = self._edge_share(min(drawn / max(drawable, 1.0), 1.0))
            known = self._edges_of(nodes[-1], mean_degree)
            edges = known * share
            met = -np.expm1(-known / num_nodes) * num_nodes * share
            nodes.append(min(nodes[-1] + float(met), num_nodes))
            whole = min(whole + drawn, num_nodes)
        return SampleSize(nodes[-1], nodes[-2], edges)

    def _edges_of(self, nodes: float, mean_degree: float) -> float:
        """Return about how many edges some nodes' rows have."""
        return nodes * mean_degree

    def _edge_share(self, share: float) -> float:
        """Return the share of edges that are from drawn nodes, if so many are drawn."""
        return share

    def _drawable(self, edges: float) -> float:
        """Return the share of nodes that can be drawn."""
        raise NotImplementedError

    def fingerprint(self) -> dict[str, Any]:
        """Return the sampler's name and options."""
        return {
            "sampler": self.name,
            "size": self.size,
            "form": self.form,
            "adjacency": self.adjacency,
            "skip": self.skip,
            "normalize": self.normalize,
        }


def _joined(parts: Sequence[Members]) -> Members:
    """Line up the nodes of all parts, step by step: ascending, as parts are."""
    num_steps = len(parts[0].offsets) - 1
    steps = []
    for step in range(num_steps):
        ids, inverse = zip(*(part.of(step) for part in parts), strict=True)
        steps.append((np.concatenate(ids), np.concatenate(inverse)))
    return Members.joined(steps)


def _graph(nodes: StepNodes, step: LayerNodes) -> SampledGraph:
    known = nodes.original_ids, nodes.degree, nodes.weighted_degree
    return SampledGraph(nodes.ids, nodes.sizes, step.rows, *known)
