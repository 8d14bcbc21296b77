"""The sampled graph of one step: nodes, and edges for each layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from daskgnn.kernels.traffic import Traffic


@dataclass(frozen=True)
class LocalRows:
    """CSR rows of a sampled graph, in local node numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgnn.sampling import LocalRows
    >>> rows = LocalRows(np.array([0, 2]), np.array([1, 2], np.int32))
    >>> rows.weights is None
    True
    """

    indptr: np.ndarray
    """int64 [r + 1], CSR row pointers of the first r nodes."""
    indices: np.ndarray
    """int32 [indptr[-1]], local numbers of the in-neighbours."""
    weights: np.ndarray | None = None
    """float32 [indptr[-1]], edge weights; None if every edge has weight 1."""
    mean_weights: np.ndarray | None = None
    """float32 [indptr[-1]]: the sum over a row's edges, each times this, estimates the
    mean over all neighbours of its node in the whole graph. None where each edge of a
    row counts alike: one over their number."""


class LayerRows(NamedTuple):
    """The edges of one layer: row *i* is ``indices[starts[i]:ends[i]]``.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgnn.kernels.sampled import LayerRows
    >>> near = np.array([1, 2], np.int32)
    >>> edges = LayerRows(np.array([0]), np.array([2]), near, weights=None)
    >>> int(sum(edges.ends - edges.starts))
    2
    """

    starts: np.ndarray
    """int64 [num_dst], where rows begin."""
    ends: np.ndarray
    """int64 [num_dst], where rows end."""
    indices: np.ndarray
    """int32, local numbers of the sources."""
    weights: np.ndarray | None
    """float32, one for each element of `indices`; None if every edge has weight 1."""
    mean_weights: np.ndarray | None = None
    """float32, likewise: see `LocalRows`."""


@dataclass(frozen=True)
class SampledGraph:
    """The nodes and edges that one part's seeds of one step need.

    A node's local number is its place in `ids`. Layers are counted from the seeds:
    layer *h* has the first ``sizes[h]`` nodes as destinations and the first ``sizes[h +
    1]`` as sources. L is the number of layers.

    Examples
    --------
    One seed, node 5, with the neighbours 2 and 8:

    >>> import numpy as np
    >>> from daskgnn.sampling import LocalRows, SampledGraph
    >>> graph = SampledGraph(
    ...     ids=np.array([5, 2, 8], np.int32),
    ...     sizes=(1, 3),
    ...     rows=(LocalRows(np.array([0, 2]), np.array([1, 2], np.int32)),),
    ...     original_ids=np.array([5]),
    ...     degree=np.array([2]),
    ...     weighted_degree=np.array([2], np.float32),
    ... )
    >>> graph.num_layers, graph.seeds
    (1, array([5], dtype=int32))
    >>> graph.layer(0).indices  # local numbers
    array([1, 2], dtype=int32)
    >>> graph.outermost.ends
    array([2])
    """

    ids: np.ndarray
    """int [n], storage ids, the seeds first; distinct, unless the sampler's
    `repeats_nodes` is True."""
    sizes: tuple[int, ...]
    """Number of nodes within 0, 1, ... hops of the seeds: L + 1 ascending numbers, the
    last is n."""
    rows: tuple[LocalRows, ...]
    """One CSR for each layer; or one for all layers, with at least ``sizes[-2]``
    rows."""
    original_ids: np.ndarray
    """int64 [sizes[-2]], original ids of the nodes that some layer computes."""
    degree: np.ndarray
    """int64 [sizes[-2]], their numbers of in-neighbours in the whole graph."""
    weighted_degree: np.ndarray
    """float32 [sizes[-2]], sum of the weights of their in-edges in the whole graph."""
    limits: tuple[int, ...] | None = None
    """Where all layers share one CSR, how many edges of a row each layer uses at most,
    the first ones; None for all."""
    target_weights: np.ndarray | None = None
    """float32, one for each seed: what its loss is multiplied by; None for 1."""
    pools: np.ndarray | None = None
    """int64 [k + 1] where outputs are pooled: output *i* is the mean of the model's
    rows ``pools[i]`` to ``pools[i + 1] - 1``, of which the first is that of seed *i*.
    All nodes are destinations of every layer then: ``sizes[0]`` is n."""

    @property
    def num_layers(self) -> int:
        """Number of layers, L."""
        return len(self.sizes) - 1

    @property
    def seeds(self) -> np.ndarray:
        """Storage ids of the seeds: int [sizes[0]], or [k] where they are pooled."""
        if self.pools is not None:
            return self.ids[self.pools[:-1]]
        return self.ids[: self.sizes[0]]

    def layer(self, number: int) -> LayerRows:
        """Return the edges of one layer.

        Parameters
        ----------
        number : int
            Number of the layer, counted from the seeds.

        Returns
        -------
        LayerRows
            Its rows.
        """
        rows = self.rows[0 if len(self.rows) == 1 else number]
        size = self.sizes[number]
        starts, ends = rows.indptr[:size], rows.indptr[1 : size + 1]
        if self.limits is not None:
            ends = starts + np.minimum(ends - starts, self.limits[number])
        return LayerRows(starts, ends, rows.indices, rows.weights, rows.mean_weights)

    @property
    def outermost(self) -> LayerRows:
        """The edges of the layer that reads features."""
        return self.layer(self.num_layers - 1)


@dataclass(frozen=True)
class SampledWindow:
    """A part's window after the last round."""

    graphs: tuple[SampledGraph, ...]
    """One a step."""
    traffic: Traffic = field(repr=False)
    """Of sampling them."""
