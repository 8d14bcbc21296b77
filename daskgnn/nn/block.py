"""A block: the edges one layer computes with, and what a layer may ask of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.nn import functional

from daskgnn.errors import ModelError
from daskgnn.kernels.aggregate import Rows, frozen, gcn_coefficients
from daskgnn.kernels.frontier import offsets
from daskgnn.nn import fused, ops
from daskgnn.nn.device import CPU

if TYPE_CHECKING:
    import torch

REDUCTIONS = ("sum", "mean", "max")
"""What `Block.aggregate` computes."""


@dataclass(frozen=True)
class Block:
    """Edges from `num_src` source nodes to the first `num_dst` of them.

    Source node *i* with ``i < num_dst`` is destination node *i*. Row *i* lists the
    in-neighbours of destination *i*; rows may lie anywhere in `indices`.

    Raises
    ------
    ModelError
        If the arrays' lengths contradict one another.
    """

    num_src: int
    """How many source nodes there are."""
    num_dst: int
    """How many destination nodes there are; not more than `num_src`."""
    starts: np.ndarray
    """int64 [num_dst]: row *i* is ``indices[starts[i]:ends[i]]``."""
    ends: np.ndarray
    """int64 [num_dst]."""
    indices: np.ndarray
    """int32, source numbers."""
    ids: np.ndarray
    """int64 [>= num_src], the source nodes' original ids; [>= num_dst] will do where
    the block carries `aggregated`."""
    degree: np.ndarray
    """int64 [>= num_dst], the destinations' in-neighbours in the whole graph."""
    weighted_degree: np.ndarray
    """float32, as long as `ids`: sum of the weights of each node's in-edges."""
    edge_weight: np.ndarray | None = None
    """float32, one for each entry of `indices`; None where all weigh 1."""
    dropout_key: int = 0
    """Key (uint64) of this step's dropout masks."""
    aggregated: np.ndarray | None = None
    """float32 [num_dst, F], the first aggregation of raw features, done ahead."""
    aggregated_op: str | None = None
    """Which one: "sum", "mean", "max" or "gcn" (self loop included)."""

    def __post_init__(self) -> None:
        known = self.num_src if self.aggregated is None else self.num_dst
        checks = {
            "num_dst": self.num_dst <= self.num_src,
            "starts": len(self.starts) == self.num_dst,
            "ends": len(self.ends) == self.num_dst,
            "ids": len(self.ids) >= known,
            "degree": len(self.degree) >= self.num_dst,
            "weighted_degree": len(self.weighted_degree) >= known,
            "edge_weight": self.edge_weight is None
            or len(self.edge_weight) == len(self.indices),
            "aggregated": self.aggregated is None
            or len(self.aggregated) == self.num_dst,
        }
        wrong = [name for name, right in checks.items() if not right]
        if wrong:
            raise ModelError(
                f"{', '.join(wrong)} of a block with {self.num_src} sources and "
                f"{self.num_dst} destinations has the wrong length; see help(Block)"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_csr(
        cls,
        indptr: np.ndarray,
        indices: np.ndarray,
        edge_weight: np.ndarray | None = None,
        num_src: int | None = None,
        ids: np.ndarray | None = None,
        **others: Any,
    ) -> Block:
        """Return the block of CSR rows, as if they were the whole graph.

        Parameters
        ----------
        indptr, indices
            int64 [num_dst + 1] and integer [E], row = destination.
        edge_weight
            float32 [E] or None.
        num_src
            Number of source nodes; that of rows if not given.
        ids
            int64 [num_src] original ids; 0, 1, ... if not given.
        others
            Further fields; `degree` and `weighted_degree` are by default those of the
            rows given, and 0 for other sources.
        """
        indptr = np.asarray(indptr, np.int64)
        num_dst = len(indptr) - 1
        num_src = num_dst if num_src is None else num_src
        counts = np.diff(indptr)
        row = np.repeat(np.arange(num_dst), counts)
        weighted_degree = np.bincount(row, edge_weight, minlength=num_src)
        others.setdefault("degree", counts)
        others.setdefault("weighted_degree", weighted_degree.astype(np.float32))
        return cls(
            num_src=num_src,
            num_dst=num_dst,
            starts=indptr[:-1],
            ends=indptr[1:],
            indices=np.asarray(indices, np.int32),
            ids=np.arange(num_src) if ids is None else ids,
            edge_weight=edge_weight,
            **others,
        )

    @cached_property
    def rows(self) -> Rows:
        """The rows as they lie in `indices`."""
        return Rows.of(self.starts, self.ends, self.indices)

    @cached_property
    def indptr(self) -> np.ndarray:
        """int64 [num_dst + 1], bounds of the rows laid end to end."""
        return frozen(offsets(self.rows.ends - self.rows.starts))

    @cached_property
    def compact(self) -> Rows:
        """The rows laid end to end: the order of `edge_index`."""
        starts, _, indices = self.rows
        bounds = self.indptr
        if len(indices) != bounds[-1] or not np.array_equal(starts, bounds[:-1]):
            indices = frozen(indices[ops.edge_places(self.rows)[1]])
        return Rows(frozen(bounds[:-1]), frozen(bounds[1:]), indices)

    @cached_property
    def edge_index(self) -> torch.Tensor:
        """int64 [2, E]: source and destination of every edge, row by row."""
        row = np.repeat(np.arange(self.num_dst), np.diff(self.indptr))
        return CPU.tensor(np.stack([self.compact.indices.astype(np.int64), row]))

    @cached_property
    def compact_edge_weight(self) -> torch.Tensor | None:
        """float32 [E], the edges' weights in the order of `edge_index`, or None."""
        if self.edge_weight is None:
            return None
        return CPU.tensor(self.edge_weight[ops.edge_places(self.rows)[1]])

    @cached_property
    def with_self_loops(self) -> Block:
        """The block with one self loop (of weight 1) a destination, at its row's end.

        Self loops that were there are dropped.
        """
        row, place = ops.edge_places(self.rows)
        source = self.rows.indices[place]
        keep = source != row
        row, place, source = row[keep], place[keep], source[keep]
        counts = np.bincount(row, minlength=self.num_dst) + 1
        ends = np.cumsum(counts)
        indices = np.empty(len(row) + self.num_dst, np.int32)
        where = np.arange(len(row)) + row
        indices[where], indices[ends - 1] = source, np.arange(self.num_dst)
        weight = None
        if self.edge_weight is not None:
            weight = np.ones(len(indices), np.float32)
            weight[where] = self.edge_weight[place]
        return replace(
            self, starts=ends - counts, ends=ends, indices=indices, edge_weight=weight
        )

    @cached_property
    def gcn_weight(self) -> np.ndarray:
        """float32, the GCN weight of each entry of `indices`: `gcn_coefficients`."""
        if len(self.weighted_degree) < self.num_src:
            raise ModelError(
                "the GCN weights of a layer whose neighbours were summed ahead are "
                "known to the engine only: set the model's first_aggregation to None"
            )
        known = self.edge_weight, self.degree, self.weighted_degree
        return gcn_coefficients(self.rows, *known)

    def dst(self, h: torch.Tensor) -> torch.Tensor:
        """Return the destinations' rows of `h`: its first `num_dst`."""
        return h[: self.num_dst]

    def aggregate(self, h: torch.Tensor, op: str) -> torch.Tensor:
        """Return the "sum", "mean" or "max" of each destination's neighbours.

        Edge weights play no part.

        Parameters
        ----------
        h
            [num_src, D]; only the destinations' rows are needed where the block
            carries the aggregate already.
        op
            "sum", "mean" or "max".

        Returns
        -------
        torch.Tensor
            [num_dst, D], zeros where there are no neighbours; differentiable in `h`.

        Raises
        ------
        ModelError
            If `op` is unknown, `h` has too few rows, or the block carries another
            aggregate than the one asked for.
        """
        if op not in REDUCTIONS:
            raise ModelError(
                f"aggregation is {op!r}, expected one of {', '.join(REDUCTIONS)}"
            )
        if self.aggregated is not None:
            return self._precomputed(h, op)
        return ops.reduce(self._sources(h), self.rows, op)

    def sage(
        self,
        h: torch.Tensor,
        op: str,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        root: torch.Tensor | None,
        *,
        relu: bool = False,
    ) -> torch.Tensor:
        """Return ``aggregate(h) @ weight.T + bias + dst(h) @ root.T`` in one pass.

        Parameters
        ----------
        h, op
            As in `aggregate`.
        weight, root
            [H, D]; `root` may be None.
        bias
            [H] or None.
        relu
            Whether negative results become zero.

        Returns
        -------
        torch.Tensor
            [num_dst, H], differentiable in `h`, the weights and the bias.

        Raises
        ------
        ModelError
            As `aggregate`.
        """
        if not fused.can_fuse(h, weight):
            out = functional.linear(self.aggregate(h, op), weight, bias)
            if root is not None:
                out = out + functional.linear(self.dst(h), root)
            return out.relu() if relu else out
        near, rows = None, None
        if self.aggregated is None and op in ("sum", "mean"):
            h, rows = self._sources(h), self.rows
        else:
            near = self.aggregate(h, op)
        layer = fused.Layer(self.num_dst, rows, op == "mean", relu)
        return fused.SageLayer.apply(h, near, weight, bias, root, layer)

    def propagate_gcn(self, h: torch.Tensor) -> torch.Tensor:
        """Return the GCN propagation of `h`, self loop of weight 1 included.

        The weights are those of the whole graph, ``w / sqrt((s_i + 1) (s_j + 1))``
        with *s* the weighted degree, those of a sampled row scaled by its degree
        over the number of its neighbours here: exact where all are here, right on
        average else.

        Parameters
        ----------
        h
            [num_src, D]; only the destinations' rows are needed where the block
            carries the result already.

        Returns
        -------
        torch.Tensor
            [num_dst, D], differentiable in `h`.

        Raises
        ------
        ModelError
            As `aggregate`.
        """
        if self.aggregated is not None:
            return self._precomputed(h, "gcn")
        weight = as_weight(self.gcn_weight, h)
        x = self._sources(h).unsqueeze(1)
        near = ops.weighted_sum(x, weight, self.rows).squeeze(1)
        total = self.weighted_degree[: self.num_dst].astype(np.float64) + 1
        loop = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
        return near + self.dst(h) * as_weight(loop, h)

    def edge_add(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return ``source[j] + target[i]`` for every edge j -> i of `edge_index`.

        `source` is [num_src, H], `target` [>= num_dst, H]; the result [E, H].
        """
        return ops.edge_add(self._sources(source), target, self.compact)

    def edge_softmax(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the softmax of `scores` over the edges of each destination.

        `scores` is [E] or [E, H], in the order of `edge_index`, and so is the result.
        """
        if scores.dim() == 1:
            return ops.edge_softmax(scores.unsqueeze(1), self.compact).squeeze(1)
        return ops.edge_softmax(scores, self.compact)

    def weighted_sum(self, h: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return each destination's sum of neighbours, weighted edge by edge.

        Parameters
        ----------
        h
            [num_src, D] or, by head, [num_src, H, D].
        weight
            [E] or [E, H], in the order of `edge_index`.

        Returns
        -------
        torch.Tensor
            [num_dst, D] or [num_dst, H, D], differentiable in both.
        """
        h = self._sources(h)
        if h.dim() == 3:
            return ops.weighted_sum(h, weight, self.compact)
        out = ops.weighted_sum(h.unsqueeze(1), weight.reshape(-1, 1), self.compact)
        return out.squeeze(1)

    def _sources(self, h: torch.Tensor) -> torch.Tensor:
        """Return the sources' rows of `h`, or say that there are too few."""
        if len(h) < self.num_src:
            raise ModelError(
                f"a layer was given {len(h)} rows for {self.num_src} source nodes; if "
                "the first layer needs all of them, set the model's first_aggregation "
                "to None"
            )
        # A slice of all rows would cost a copy of its gradient.
        return h if len(h) == self.num_src else h[: self.num_src]

    def _precomputed(self, h: torch.Tensor, op: str) -> torch.Tensor:
        """Return `aggregated`, or say why it is not what the layer needs."""
        array = self.aggregated
        if array is None or self.aggregated_op not in (None, op):
            raise ModelError(
                f"the first layer asked for {op!r}, but the model's first_aggregation "
                f"is {self.aggregated_op!r}: set it to {op!r} or None"
            )
        if h.shape[1:] != array.shape[1:]:
            raise ModelError(
                f"the first layer aggregates rows of shape {tuple(h.shape[1:])}, raw "
                f"features have {tuple(array.shape[1:])}: set first_aggregation = None "
                "where a layer changes its input first"
            )
        return CPU.tensor(array).to(h)


def as_weight(array: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """Return `array` [L] as a column [L, 1] of the type and device of `like`."""
    return CPU.tensor(array).to(like).unsqueeze(1)
