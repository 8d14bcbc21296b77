"""`Block`: the bipartite graph of one layer, and its operations."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.nn import functional

from daskgnn.errors import ModelError
from daskgnn.kernels.aggregate import Rows, frozen
from daskgnn.kernels.frontier import offsets
from daskgnn.nn import blockrows, fused, ops
from daskgnn.nn.device import CPU

if TYPE_CHECKING:
    import torch

REDUCTIONS = ("sum", "mean", "max")
"""What `Block.aggregate` computes."""


@dataclass(frozen=True)
class Block:
    """The edges that one layer computes with: from source nodes to destination nodes.

    The destinations are the first `num_dst` sources. Row *i* lists the in-neighbours of
    destination *i*; rows may lie anywhere in `indices`. Blocks are what other libraries
    call message flow graphs. E is the number of edges, D and H are channels.

    Raises
    ------
    ModelError
        If the lengths of the arrays contradict each other.

    Examples
    --------
    Node 0 has the neighbours 1 and 2, node 1 has the neighbour 0:

    >>> import torch
    >>> from daskgnn.nn import Block
    >>> block = Block.from_csr([0, 2, 3], [1, 2, 0], num_src=3)
    >>> block.num_src, block.num_dst, block.indptr
    (3, 2, array([0, 2, 3]))
    >>> block.edge_index
    tensor([[1, 2, 0],
            [0, 0, 1]])
    >>> h = torch.tensor([[1.0], [2.0], [3.0]])
    >>> block.aggregate(h, "mean")
    tensor([[2.5000],
            [1.0000]])
    >>> block.dst(h)
    tensor([[1.],
            [2.]])

    For attention, edge by edge:

    >>> scores = block.edge_add(h, h)
    >>> scores.flatten()  # of source and destination
    tensor([3., 4., 3.])
    >>> alpha = block.edge_softmax(scores)
    >>> alpha.flatten()
    tensor([0.2689, 0.7311, 1.0000])
    >>> block.weighted_sum(h, alpha).flatten()
    tensor([2.7311, 1.0000])
    >>> block.with_self_loops.edge_index
    tensor([[1, 2, 0, 0, 1],
            [0, 0, 0, 1, 1]])

    What whole layers are made of:

    >>> block.sage(h, "sum", torch.eye(1), None, root=torch.eye(1)).flatten()
    tensor([6., 3.])
    >>> block.propagate_gcn(h).shape
    torch.Size([2, 1])
    >>> block.gcn_weight.shape, block.compact_edge_weight
    ((3,), None)
    """

    num_src: int
    """Number of source nodes."""
    num_dst: int
    """Number of destination nodes, at most `num_src`."""
    starts: np.ndarray
    """int64 [num_dst]: row *i* is ``indices[starts[i]:ends[i]]``."""
    ends: np.ndarray
    """int64 [num_dst], ends of the rows."""
    indices: np.ndarray
    """int32, source numbers."""
    ids: np.ndarray
    """int64 [>= num_src], original ids of the source nodes; of the destinations only
    where the block has `aggregated`."""
    degree: np.ndarray
    """int64 [>= num_dst], number of in-neighbours of the destinations in the whole
    graph."""
    weighted_degree: np.ndarray
    """float32, as long as `ids`: sum of the weights of each node's in-edges in the
    whole graph."""
    edge_weight: np.ndarray | None = None
    """float32, one for each element of `indices`; None if every edge has weight 1."""
    dropout_key: int = 0
    """uint64 key of the step's dropout masks."""
    aggregated: np.ndarray | None = None
    """float32 [num_dst, F], the first aggregation of raw features, if it was done in
    advance."""
    aggregated_op: str | None = None
    """Which aggregation that is: "sum", "mean", "max" or "gcn" (with self-loops)."""

    def __post_init__(self) -> None:
        blockrows.check_lengths(self)

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
        """Make a block of CSR rows, as if they were the whole graph.

        Parameters
        ----------
        indptr : array of int
            [num_dst + 1], CSR row pointers; rows are destinations.
        indices : array of int
            [E], source numbers.
        edge_weight : numpy.ndarray, optional
            float32 [E]; by default every edge has weight 1.
        num_src : int, optional
            Number of source nodes; by default the number of rows.
        ids : numpy.ndarray, optional
            int64 [num_src], original ids; by default 0, 1, ...
        **others : dict
            Other fields of the block; `degree` and `weighted_degree` are by default
            those of the rows, and 0 for other sources.

        Returns
        -------
        Block
            The block.
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
        """The rows as they lie in `indices`: starts, ends and indices."""
        return Rows.of(self.starts, self.ends, self.indices)

    @cached_property
    def indptr(self) -> np.ndarray:
        """CSR row pointers of the rows one after the other, int64 [num_dst + 1]."""
        return frozen(offsets(self.rows.ends - self.rows.starts))

    @cached_property
    def compact(self) -> Rows:
        """The rows one after the other, in the order of `edge_index`."""
        starts, _, indices = self.rows
        bounds = self.indptr
        if len(indices) != bounds[-1] or not np.array_equal(starts, bounds[:-1]):
            indices = frozen(indices[ops.edge_places(self.rows)[1]])
        return Rows(frozen(bounds[:-1]), frozen(bounds[1:]), indices)

    @cached_property
    def edge_index(self) -> torch.Tensor:
        """Source and destination of every edge, int64 [2, E], row by row."""
        row = np.repeat(np.arange(self.num_dst), np.diff(self.indptr))
        return CPU.tensor(np.stack([self.compact.indices.astype(np.int64), row]))

    @cached_property
    def compact_edge_weight(self) -> torch.Tensor | None:
        """Edge weights in the order of `edge_index`, float32 [E], or None."""
        if self.edge_weight is None:
            return None
        return CPU.tensor(self.edge_weight[ops.edge_places(self.rows)[1]])

    @cached_property
    def with_self_loops(self) -> Block:
        """The block with one self-loop of weight 1 at the end of each row.

        Self-loops that were there before are dropped.
        """
        return replace(self, **blockrows.with_self_loops(self))

    @cached_property
    def gcn_weight(self) -> np.ndarray:
        """The GCN coefficient of each element of `indices`, float32."""
        return blockrows.gcn_weight(self)

    def dst(self, h: torch.Tensor) -> torch.Tensor:
        """Return the rows of the destinations.

        Parameters
        ----------
        h : torch.Tensor
            [>= num_dst, ...].

        Returns
        -------
        torch.Tensor
            The first `num_dst` rows.
        """
        return h[: self.num_dst]

    def aggregate(self, h: torch.Tensor, op: str) -> torch.Tensor:
        """Aggregate the neighbours of each destination; edge weights are not used.

        Parameters
        ----------
        h : torch.Tensor
            [num_src, D]; of the destinations only where the block has `aggregated`.
        op : {"sum", "mean", "max"}
            The aggregation.

        Returns
        -------
        torch.Tensor
            [num_dst, D], zeros where there are no neighbours; differentiable in `h`.

        Raises
        ------
        ModelError
            If `op` is unknown, `h` has too few rows, or the block has another
            aggregation.
        """
        if op not in REDUCTIONS:
            raise ModelError(
                f"aggregation is {op!r}, expected one of {', '.join(REDUCTIONS)}"
            )
        if self.aggregated is not None:
            return blockrows.precomputed(self, h, op)
        return ops.reduce(blockrows.source_rows(self, h), self.rows, op)

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
        """Compute a GraphSAGE layer in one pass over the rows.

        It is ``aggregate(h, op) @ weight.T + bias + dst(h) @ root.T``.

        Parameters
        ----------
        h : torch.Tensor
            [num_src, D], as in `aggregate`.
        op : {"sum", "mean", "max"}
            The aggregation.
        weight : torch.Tensor
            [H, D], applied to the aggregated neighbours.
        bias : torch.Tensor or None
            [H].
        root : torch.Tensor or None
            [H, D], applied to the node's own row.
        relu : bool, default False
            Whether to apply a ReLU.

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
            h, rows = blockrows.source_rows(self, h), self.rows
        else:
            near = self.aggregate(h, op)
        layer = fused.Layer(self.num_dst, rows, op == "mean", relu)
        return fused.SageLayer.apply(h, near, weight, bias, root, layer)

    def propagate_gcn(self, h: torch.Tensor) -> torch.Tensor:
        """Propagate features as a GCN does, with a self-loop of weight 1 at every node.

        Coefficients are those of the whole graph, ``w / sqrt((s_i + 1) (s_j + 1))``
        with the weighted degrees *s*. Those of a sampled row are multiplied by its
        degree over the number of neighbours in the block: exact if all are there,
        unbiased otherwise.

        Parameters
        ----------
        h : torch.Tensor
            [num_src, D]; of the destinations only where the block has `aggregated`.

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
            return blockrows.precomputed(self, h, "gcn")
        weight = blockrows.as_weight(self.gcn_weight, h)
        x = blockrows.source_rows(self, h).unsqueeze(1)
        near = ops.weighted_sum(x, weight, self.rows).squeeze(1)
        total = self.weighted_degree[: self.num_dst].astype(np.float64) + 1
        loop = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
        return near + self.dst(h) * blockrows.as_weight(loop, h)

    def edge_add(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return ``source[j] + target[i]`` for every edge j -> i.

        Parameters
        ----------
        source : torch.Tensor
            [num_src, H].
        target : torch.Tensor
            [>= num_dst, H].

        Returns
        -------
        torch.Tensor
            [E, H], in the order of `edge_index`.
        """
        return ops.edge_add(blockrows.source_rows(self, source), target, self.compact)

    def edge_softmax(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the softmax over the edges of each destination.

        Parameters
        ----------
        scores : torch.Tensor
            [E] or [E, H], in the order of `edge_index`.

        Returns
        -------
        torch.Tensor
            Like `scores`.
        """
        if scores.dim() == 1:
            return ops.edge_softmax(scores.unsqueeze(1), self.compact).squeeze(1)
        return ops.edge_softmax(scores, self.compact)

    def weighted_sum(self, h: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Sum the neighbours of each destination with a weight for every edge.

        Parameters
        ----------
        h : torch.Tensor
            [num_src, D], or [num_src, H, D] with heads.
        weight : torch.Tensor
            [E] or [E, H], in the order of `edge_index`.

        Returns
        -------
        torch.Tensor
            [num_dst, D] or [num_dst, H, D], differentiable in both.
        """
        h = blockrows.source_rows(self, h)
        if h.dim() == 3:
            return ops.weighted_sum(h, weight, self.compact)
        out = ops.weighted_sum(h.unsqueeze(1), weight.reshape(-1, 1), self.compact)
        return out.squeeze(1)
