"""`SparseRows`: node features that are mostly zeros, as a model's first layer has them.

They are multiplied by weights as they are. Where a layer aggregates by a mean or a sum,
the product comes first, for ``mean(X) W = mean(X W)``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from dask.utils import format_bytes
from torch.nn import functional

from daskgnn.errors import ModelError
from daskgnn.kernels import dropout
from daskgnn.kernels import features as tables
from daskgnn.kernels import sparserows as kernels
from daskgnn.kernels.aggregate import frozen
from daskgnn.nn import sparseops
from daskgnn.nn.device import CPU
from daskgnn.nn.ops import Differentiable, are_plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from daskgnn.kernels.aggregate import Rows


class DenseRowsNeeded(ModelError):
    """A model does with sparse rows what needs dense ones."""


class SparseRows:
    """Rows of node features that are mostly zeros: the input ``x`` of a model.

    A model is given them in place of a tensor where features stay sparse. They can be
    multiplied (``torch.nn.Linear``, ``torch.nn.functional.linear``, ``x @ weight``),
    aggregated by a `Block`, dropped by a `daskgnn.nn.Dropout` and sliced; for anything
    else, `to_dense` makes a tensor of them.

    Parameters
    ----------
    table : daskgnn.kernels.features.SparseTable
        See `from_csr`.
    rows : numpy.ndarray
        int32 [n], which rows of the table.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.nn import SparseRows
    >>> x = SparseRows.from_csr([0, 2, 3], [0, 3, 1], [1.0, 2.0, 3.0], num_columns=4)
    >>> x.shape, len(x), x.dtype
    (torch.Size([2, 4]), 2, torch.float32)
    >>> x.ndim, x.dim(), x.size(1)
    (2, 2, 4)
    >>> x.to_dense()
    tensor([[1., 0., 0., 2.],
            [0., 3., 0., 0.]])
    >>> x @ torch.ones(4, 1)
    tensor([[3.],
            [3.]])
    >>> torch.nn.Linear(4, 8)(x).shape, x[:1].shape
    (torch.Size([2, 8]), torch.Size([1, 4]))
    >>> x.dense_nbytes
    32
    >>> x.linear(torch.ones(8, 4)).shape
    torch.Size([2, 8])
    >>> x.relu()
    Traceback (most recent call last):
        ...
    daskgnn.nn.sparse.DenseRowsNeeded: the features are sparse, and ... no relu: ...
    """

    device = torch.device("cpu")
    requires_grad = False
    is_sparse = True

    def __init__(self, table: tables.SparseTable, rows: np.ndarray) -> None:
        self.table, self.rows = table, rows

    @classmethod
    def from_csr(
        cls,
        indptr: ArrayLike,
        indices: ArrayLike,
        values: ArrayLike | None = None,
        *,
        num_columns: int,
    ) -> SparseRows:
        """Make rows of CSR arrays.

        Parameters
        ----------
        indptr : array of int
            [n + 1], row pointers.
        indices : array of int
            Columns of the entries.
        values : array of float, optional
            Their values, float32; by default 1.
        num_columns : int
            F.

        Returns
        -------
        SparseRows
            The rows.
        """
        bounds, columns = np.asarray(indptr, np.int64), np.asarray(indices, np.int32)
        data = np.empty(0) if values is None else np.asarray(values)
        return _whole(bounds, columns, data.astype(np.float32), num_columns)

    @property
    def shape(self) -> torch.Size:
        """Rows and columns, n and F."""
        return torch.Size((len(self.rows), self.table.shape[1]))

    @property
    def dtype(self) -> torch.dtype:
        """The type of a product with float32 weights."""
        return torch.float32

    @property
    def ndim(self) -> int:
        """Number of dimensions, 2."""
        return 2

    @property
    def dense_nbytes(self) -> int:
        """Bytes that `to_dense` takes."""
        return 4 * len(self.rows) * self.table.shape[1]

    def dim(self) -> int:
        """Return the number of dimensions.

        Returns
        -------
        int
            2.
        """
        return 2

    def size(self, dim: int | None = None) -> Any:
        """Return the shape, or one of its numbers.

        Parameters
        ----------
        dim : int, optional
            Which one.

        Returns
        -------
        torch.Size or int
            As of a tensor.
        """
        return self.shape if dim is None else self.shape[dim]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Any) -> SparseRows:
        if isinstance(chosen, torch.Tensor):
            chosen = CPU.array(chosen)
        if not isinstance(chosen, slice | np.ndarray):
            refuse(self, f"x[{chosen!r}]")
        return SparseRows(self.table, self.rows[chosen])

    def to_dense(self) -> torch.Tensor:
        """Return the rows as a tensor.

        Returns
        -------
        torch.Tensor
            float32 [n, F], `dense_nbytes` large.
        """
        if are_plain():
            return CPU.tensor(tables.dense(self.table)[self.rows])
        return CPU.tensor(tables.dense(tables.some_rows(self.table, self.rows)))

    def linear(
        self, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return ``x @ weight.T + bias``, as ``torch.nn.functional.linear``.

        Parameters
        ----------
        weight : torch.Tensor
            [H, F].
        bias : torch.Tensor, optional
            [H].

        Returns
        -------
        torch.Tensor
            [n, H], differentiable in both.

        Raises
        ------
        ModelError
            If the weights are for another number of columns.
        """
        if weight.dim() != 2 or weight.shape[1] != self.shape[1]:
            raise ModelError(
                f"weights of shape {tuple(weight.shape)} for features of "
                f"{self.shape[1]} columns"
            )
        if are_plain():
            return functional.linear(self.to_dense(), weight, bias)
        out = Differentiable.apply(partial(sparseops.product, self), weight)
        out = out if bias is None else out + bias
        return sparseops.in_precision(out)

    def reduced(
        self, near: Rows, weight: np.ndarray | None, loop: np.ndarray | None = None
    ) -> SparseRows:
        """Return the weighted sums of rows' neighbours, or the maxima: for `Block`.

        Parameters
        ----------
        near : Rows
            Of each of r destinations, the numbers of its neighbours among these rows.
        weight : numpy.ndarray or None
            float32, at the neighbours' places; None for the channel-wise maximum.
        loop : numpy.ndarray, optional
            float32 [r], what a destination's own row counts.

        Returns
        -------
        SparseRows
            r rows.
        """
        columns = self.shape[1]
        given = tables.csr_arrays(self.table), frozen(self.rows), near
        most = kernels.most_entries(*given, loop is not None)
        indptr = np.empty(len(near.starts) + 1, np.int64)
        out = indptr, np.empty(most, np.int32), np.empty(most, np.float32)
        if weight is None:
            count = kernels.largest_entries(*given, columns, out)
        else:
            own = np.empty(0, np.float32) if loop is None else loop
            count = kernels.reduce_entries(
                *given, frozen(weight), frozen(own), columns, out
            )
        return _whole(indptr, out[1][:count], out[2][:count], columns)

    def dropped(self, ids: np.ndarray, key: np.uint64, p: float) -> SparseRows:
        """Return the rows after dropout: for `daskgnn.nn.Dropout`.

        Parameters
        ----------
        ids : numpy.ndarray
            int64 [n], the rows' original ids.
        key : numpy.uint64
            Of the layer and the step.
        p : float
            Probability of dropping an entry.

        Returns
        -------
        SparseRows
            As many rows.
        """
        table = tables.rows_of_table(self.table, self.rows)
        values = np.empty(len(table.indices), np.float32)
        how = dropout.threshold_of(p), dropout.scale_of(p), values
        kernels.drop_entries(tables.csr_arrays(table), ids, key, *how)
        return _whole(table.indptr, table.indices, values, table.shape[1])

    def __matmul__(self, weight: torch.Tensor) -> torch.Tensor:
        return self.linear(weight.t())

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        _types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Multiply where torch's functions do; refuse the others."""
        given = kwargs or {}
        if function is functional.linear and isinstance(args[0], cls):
            return args[0].linear(*args[1:], **given)
        products = (torch.matmul, torch.mm, torch.Tensor.matmul, torch.Tensor.mm)
        if function in products and isinstance(args[0], cls):
            return args[0] @ args[1]
        name = getattr(function, "__name__", str(function))
        return refuse(_first(args, cls), name)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") or name in ("table", "rows"):
            raise AttributeError(name)
        refuse(self, name)

    def _refused(self, *_: Any) -> NoReturn:
        refuse(self, "arithmetic but products with weights")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refused
    __truediv__ = __neg__ = __pow__ = __iter__ = _refused

    def __repr__(self) -> str:
        return f"SparseRows({len(self)} rows, {self.shape[1]} columns)"


def _whole(
    indptr: np.ndarray, indices: np.ndarray, values: np.ndarray, num_columns: int
) -> SparseRows:
    """Return all rows of CSR arrays."""
    count = len(indptr) - 1
    table = tables.SparseTable(indptr, indices, values, (count, num_columns))
    return SparseRows(table, np.arange(count, dtype=np.int32))


def _first(args: Any, kind: type[SparseRows]) -> SparseRows:
    """Return the first sparse rows among arguments, in lists, too."""
    for given in args:
        inside = given if isinstance(given, list | tuple) else (given,)
        for x in inside:
            if isinstance(x, kind):
                return x
    raise ModelError("SparseRows can be given to torch as first arguments only")


def refuse(x: SparseRows, what: str) -> NoReturn:
    """Raise the error of a model that needs dense rows."""
    raise DenseRowsNeeded(
        f"the features are sparse, and SparseRows has no {what}: begin the model with "
        f"x = x.to_dense() ({format_bytes(x.dense_nbytes)} for {len(x)} rows), or give "
        "sparse_features=False"
    )


def model_input(x: np.ndarray | tables.SparseInput) -> torch.Tensor | SparseRows:
    """Return a step's rows as a model is given them."""
    if isinstance(x, tables.SparseInput):
        return SparseRows(x.table, frozen(x.rows))
    return CPU.tensor(x)
