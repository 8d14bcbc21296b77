"""`Block`: the bipartite graph of one layer, and its operations."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.nn import functional

from daskgnn.errors import ModelError
from daskgnn.nn import blockrows, fused, ops
from daskgnn.nn.blockarrays import BlockArrays
from daskgnn.nn.device import CPU
from daskgnn.nn.sparse import SparseRows

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike

REDUCTIONS = ("sum", "mean", "max")
"""What `Block.aggregate` computes."""


@dataclass(frozen=True)
class Block:
    """The edges that one layer computes with: from source nodes to destination nodes.

    The destinations are the first `num_dst` sources. Blocks are what other libraries
    call message flow graphs. What a model reads of a block is torch tensors, and edges
    are in one order everywhere, destination by destination; names are those of PyTorch
    Geometric. E is the number of edges, D and H are channels.

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
    (3, 2, tensor([0, 2, 3]))
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
    >>> block.gcn_weight.shape, block.edge_weight, block.mean_weight
    (torch.Size([3]), None, None)
    >>> block.n_id, block.degree, block.weighted_degree
    (tensor([0, 1, 2]), tensor([2, 1]), tensor([2., 1., 0.]))
    """

    num_src: int
    """Number of source nodes."""
    num_dst: int
    """Number of destination nodes, at most `num_src`."""
    arrays: BlockArrays
    """What the kernels read; its rows are in no particular order."""
    dropout_key: int = 0
    """uint64 key of the step's dropout masks."""
    aggregated_op: str | None = None
    """Which aggregation of raw features was done in advance: "sum", "mean", "max" or
    "gcn" (with self-loops); None for none."""

    def __post_init__(self) -> None:
        blockrows.check_lengths(self)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __getattr__(self, name: str) -> Any:
        said = f"'Block' has no attribute {name!r}"
        raise AttributeError(blockrows.INSTEAD.get(name, said))

    @classmethod
    def from_csr(
        cls,
        indptr: ArrayLike,
        indices: ArrayLike,
        edge_weight: ArrayLike | None = None,
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
        edge_weight : array of float, optional
            [E]; by default every edge has weight 1.
        num_src : int, optional
            Number of source nodes; by default the number of rows.
        ids : numpy.ndarray, optional
            int64 [num_src], original ids; by default 0, 1, ...
        **others : dict
            `dropout_key` and `aggregated_op`.

        Returns
        -------
        Block
            The block.
        """
        arrays = BlockArrays.of_csr(indptr, indices, edge_weight, num_src, ids)
        num_dst = len(arrays.starts)
        return cls(num_dst if num_src is None else num_src, num_dst, arrays, **others)

    @cached_property
    def edge_index(self) -> torch.Tensor:
        """Source and destination of every edge, int64 [2, E], row by row."""
        source = self.arrays.compact.indices.astype(np.int64)
        return CPU.tensor(np.stack([source, self.arrays.places[0]]))

    @cached_property
    def edge_weight(self) -> torch.Tensor | None:
        """Edge weights in the order of `edge_index`, float32 [E]; None if all are 1."""
        weights = self.arrays.weights
        return None if weights is None else self._by_edge(weights)

    @cached_property
    def mean_weight(self) -> torch.Tensor | None:
        """What a message counts in a mean over neighbours, float32 [E].

        In the order of `edge_index`. None where all edges of a destination count alike,
        one over their number; some samplers draw neighbours with unequal probabilities.
        """
        weights = self.arrays.mean_weights
        return None if weights is None else self._by_edge(weights)

    @cached_property
    def gcn_weight(self) -> torch.Tensor:
        """The GCN coefficients in the order of `edge_index`, float32 [E].

        They are those of `propagate_gcn` without the self-loops.
        """
        return self._by_edge(self._gcn_weight)

    @cached_property
    def indptr(self) -> torch.Tensor:
        """CSR row pointers into `edge_index`, int64 [num_dst + 1]."""
        return CPU.tensor(self.arrays.indptr)

    @cached_property
    def n_id(self) -> torch.Tensor:
        """Original ids of the source nodes, int64 [num_src].

        Of the destinations only where the first aggregation was done in advance.
        """
        return CPU.tensor(self.arrays.ids[: self.num_src].astype(np.int64))

    @cached_property
    def degree(self) -> torch.Tensor:
        """Number of in-neighbours in the whole graph, int64 [num_dst]."""
        return CPU.tensor(self.arrays.degree[: self.num_dst])

    @cached_property
    def weighted_degree(self) -> torch.Tensor:
        """Sum of the weights of the in-edges in the whole graph, float32, as `n_id`."""
        return CPU.tensor(self.arrays.weighted_degree[: self.num_src])

    @cached_property
    def with_self_loops(self) -> Block:
        """The block with one self-loop of weight 1 at the end of each row.

        Self-loops that were there before are dropped.
        """
        return replace(self, arrays=blockrows.with_self_loops(self))

    @cached_property
    def _gcn_weight(self) -> np.ndarray:
        return blockrows.gcn_weight(self)

    def _by_edge(self, values: np.ndarray) -> torch.Tensor:
        """Return, in the order of `edge_index`, what each element of `indices` has."""
        return CPU.tensor(values[self.arrays.places[1]])

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

    def aggregate(self, h: Any, op: str) -> Any:
        """Aggregate the neighbours of each destination; edge weights are not used.

        Where a sampler's neighbours do not count alike (`mean_weight`), a mean is the
        estimate of that over all neighbours, and a sum is it times the degree.

        Parameters
        ----------
        h : torch.Tensor or SparseRows
            [num_src, D]; of the destinations only where the block has `aggregated`.
        op : {"sum", "mean", "max"}
            The aggregation.

        Returns
        -------
        torch.Tensor or SparseRows
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
        if self.arrays.aggregated is not None:
            return blockrows.precomputed(self, h, op)
        return blockrows.reduce(self, h, op)

    def sage(
        self,
        h: torch.Tensor | SparseRows,
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
        h : torch.Tensor or SparseRows
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
        if isinstance(h, SparseRows):
            return blockrows.sparse_sage(self, h, op, weight, bias, root, relu)
        if not fused.can_fuse(h, weight):
            out = functional.linear(self.aggregate(h, op), weight, bias)
            if root is not None:
                out = out + functional.linear(self.dst(h), root)
            return out.relu() if relu else out
        near, reduction = None, None
        if self.arrays.aggregated is None and op in ("sum", "mean"):
            h, factors = blockrows.source_rows(self, h), blockrows.factors(self, op)
            reduction = ops.Reduction(self.arrays.rows, op == "mean", factors)
        else:
            near = self.aggregate(h, op)
        layer = fused.Layer(self.num_dst, reduction, relu)
        return fused.SageLayer.apply(h, near, weight, bias, root, layer)

    def propagate_gcn(self, h: Any) -> Any:
        """Propagate features as a GCN does, with a self-loop of weight 1 at every node.

        Coefficients are those of the whole graph, ``w / sqrt((s_i + 1) (s_j + 1))``
        with the weighted degrees *s*. Those of a sampled row are multiplied by its
        degree over the number of neighbours in the block: exact if all are there,
        unbiased otherwise.

        Parameters
        ----------
        h : torch.Tensor or SparseRows
            [num_src, D]; of the destinations only where the block has `aggregated`.

        Returns
        -------
        torch.Tensor or SparseRows
            [num_dst, D], differentiable in `h`.

        Raises
        ------
        ModelError
            As `aggregate`.
        """
        if self.arrays.aggregated is not None:
            return blockrows.precomputed(self, h, "gcn")
        return blockrows.propagated(self, h, self._gcn_weight)

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
        return ops.edge_add(
            blockrows.source_rows(self, source), target, self.arrays.compact
        )

    def edge_softmax(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the softmax over the edges of each destination.

        Edges count as `mean_weight` says.

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
            return self.edge_softmax(scores.unsqueeze(1)).squeeze(1)
        return ops.edge_softmax(blockrows.by_share(self, scores), self.arrays.compact)

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
            return ops.weighted_sum(h, weight, self.arrays.compact)
        rows, weight = h.unsqueeze(1), weight.reshape(-1, 1)
        return ops.weighted_sum(rows, weight, self.arrays.compact).squeeze(1)
