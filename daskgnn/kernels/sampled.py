"""What a sampler makes of the seeds of one step: nodes, and edges for each layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from daskgnn.kernels.traffic import Traffic


@dataclass(frozen=True)
class LocalRows:
    """CSR rows of a step's nodes, by their local numbers."""

    indptr: np.ndarray
    """int64 [r + 1], where the row of each of the first r nodes begins."""
    indices: np.ndarray
    """int32 [indptr[-1]], local numbers of the in-neighbours."""
    weights: np.ndarray | None = None
    """float32 [indptr[-1]], edge weights; None where every edge weighs 1."""


class LayerRows(NamedTuple):
    """The edges of one layer: row *i* is ``indices[starts[i]:ends[i]]``."""

    starts: np.ndarray
    """int64 [destinations]"""
    ends: np.ndarray
    """int64 [destinations]"""
    indices: np.ndarray
    """int32 [*]"""
    weights: np.ndarray | None
    """float32 [*], beside `indices`."""


@dataclass(frozen=True)
class SampledGraph:
    """The nodes and edges of one step of one part, whose local number is its place.

    Layers are counted from the seeds: layer *h* has the first ``sizes[h]`` nodes as
    destinations, which some layer computes, and the first ``sizes[h + 1]`` as sources.
    """

    ids: np.ndarray
    """int [n], distinct storage ids, the seeds first."""
    sizes: tuple[int, ...]
    """Nodes within 0, 1, ... layers: L + 1 ascending numbers, the last is n."""
    rows: tuple[LocalRows, ...]
    """One CSR for all layers, with at least ``sizes[-2]`` rows, or one a layer."""
    original_ids: np.ndarray
    """int64 [sizes[-2]]"""
    degree: np.ndarray
    """int64 [sizes[-2]], in-neighbours in the whole graph."""
    weighted_degree: np.ndarray
    """float32 [sizes[-2]], sum of the in-edges' weights in the whole graph."""
    limits: tuple[int, ...] | None = None
    """At most how many entries of a row each layer uses, the first ones, where all
    share one CSR; None uses all."""

    @property
    def num_layers(self) -> int:
        """How many layers there are."""
        return len(self.sizes) - 1

    @property
    def seeds(self) -> np.ndarray:
        """int [sizes[0]], storage ids of the seeds."""
        return self.ids[: self.sizes[0]]

    def layer(self, number: int) -> LayerRows:
        """Return the edges of layer `number`, counted from the seeds."""
        rows = self.rows[0 if len(self.rows) == 1 else number]
        size = self.sizes[number]
        starts, ends = rows.indptr[:size], rows.indptr[1 : size + 1]
        if self.limits is not None:
            ends = starts + np.minimum(ends - starts, self.limits[number])
        return LayerRows(starts, ends, rows.indices, rows.weights)

    @property
    def outermost(self) -> LayerRows:
        """The edges of the layer that reads the features."""
        return self.layer(self.num_layers - 1)


@dataclass(frozen=True)
class SampledWindow:
    """A part's window after the last round."""

    graphs: tuple[SampledGraph, ...]
    """One a step."""
    traffic: Traffic = field(repr=False)
    """Of sampling them."""
