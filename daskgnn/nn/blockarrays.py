"""What the kernels read of a block: numpy arrays in an order of their own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import Rows, frozen
from daskgnn.kernels.frontier import offsets
from daskgnn.nn.ops import edge_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class BlockArrays:
    """The rows of a block as a sampler left them, and what is known of its nodes.

    Rows may lie anywhere in `indices`, in any order and with gaps, so that the layers
    of a minibatch can share one CSR. `compact` has them one after the other: what a
    model sees of edges is in that order.
    """

    starts: np.ndarray
    """int64 [num_dst]: row *i* is ``indices[starts[i]:ends[i]]``."""
    ends: np.ndarray
    """int64 [num_dst], ends of the rows."""
    indices: np.ndarray
    """int32, source numbers."""
    ids: np.ndarray
    """int64 [>= num_src], original ids of the source nodes; of the destinations only
    where there is `aggregated`."""
    degree: np.ndarray
    """int64 [>= num_dst], number of in-neighbours in the whole graph."""
    weighted_degree: np.ndarray
    """float32, as long as `ids`: sum of the weights of each node's in-edges in the
    whole graph."""
    weights: np.ndarray | None = None
    """float32, one for each element of `indices`; None if every edge has weight 1."""
    mean_weights: np.ndarray | None = None
    """float32, one for each element of `indices`: the sum over a row's edges, each
    times this, estimates the mean over all neighbours; None where all count alike."""
    aggregated: np.ndarray | None = None
    """float32 [num_dst, F], the first aggregation of raw features, if it was done in
    advance."""

    @classmethod
    def of_csr(
        cls,
        indptr: ArrayLike,
        indices: ArrayLike,
        edge_weight: ArrayLike | None,
        num_src: int | None,
        ids: np.ndarray | None,
    ) -> BlockArrays:
        """Return the arrays of CSR rows, as if they were the whole graph."""
        bounds = np.asarray(indptr, np.int64)
        counts = np.diff(bounds)
        num_src = len(counts) if num_src is None else num_src
        row = np.repeat(np.arange(len(counts)), counts)
        weights = None if edge_weight is None else np.asarray(edge_weight, np.float32)
        return cls(
            starts=bounds[:-1],
            ends=bounds[1:],
            indices=np.asarray(indices, np.int32),
            ids=np.arange(num_src) if ids is None else ids,
            degree=counts,
            weighted_degree=np.bincount(row, weights, num_src).astype(np.float32),
            weights=weights,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def rows(self) -> Rows:
        """The rows as they lie in `indices`: starts, ends and indices."""
        return Rows.of(self.starts, self.ends, self.indices)

    @cached_property
    def indptr(self) -> np.ndarray:
        """CSR row pointers of the rows one after the other, int64 [num_dst + 1]."""
        return frozen(offsets(self.rows.ends - self.rows.starts))

    @cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """The row of each edge, and its place in `indices`: int64 [E] both."""
        return edge_places(self.rows)

    @cached_property
    def compact(self) -> Rows:
        """The rows one after the other."""
        starts, _, indices = self.rows
        bounds = self.indptr
        if len(indices) != bounds[-1] or not np.array_equal(starts, bounds[:-1]):
            indices = frozen(indices[self.places[1]])
        return Rows(frozen(bounds[:-1]), frozen(bounds[1:]), indices)

    def wrong(self, num_src: int, num_dst: int) -> Iterator[str]:
        """Yield the names of arrays whose lengths contradict these numbers of nodes."""
        known = num_src if self.aggregated is None else num_dst
        checks = {
            "starts": len(self.starts) == num_dst,
            "ends": len(self.ends) == num_dst,
            "ids": len(self.ids) >= known,
            "degree": len(self.degree) >= num_dst,
            "weighted_degree": len(self.weighted_degree) >= known,
            "weights": self.weights is None or len(self.weights) == len(self.indices),
            "mean_weights": self.mean_weights is None
            or len(self.mean_weights) == len(self.indices),
            "aggregated": self.aggregated is None or len(self.aggregated) == num_dst,
        }
        yield from (name for name, right in checks.items() if not right)
