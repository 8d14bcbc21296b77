"""Sparse Dask chunks: `sparse.GCXS` blocks that travel and weigh what they hold."""

from __future__ import annotations

import copyreg
from typing import Any

import numpy as np
from sparse import GCXS


def ones(count: int) -> np.ndarray:
    """Return a read-only float32 array of `count` ones that takes four bytes."""
    return np.broadcast_to(np.float32(1), count)


def csr_block(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, shape: tuple[int, int]
) -> GCXS:
    """Return CSR arrays, columns of each row sorted, as a `sparse.GCXS` block.

    The arrays are trusted. The constructor's check of them would compile for two
    seconds in every new process: the block is filled as unpickling fills one.
    """
    fields = {"data": data, "indices": indices, "indptr": indptr, "shape": shape}
    fields |= {"_compressed_axes": (0,), "fill_value": data.dtype.type(0)}
    return rebuild(fields, None)


def is_constant(data: np.ndarray) -> bool:
    """Return whether all elements of a 1-D array are one number in memory."""
    return data.size > 1 and data.strides == (0,)


def rebuild(fields: dict[str, Any], count: int | None) -> GCXS:
    """Make the block that `reduce_gcxs` took apart."""
    if count is not None:
        fields = {**fields, "data": np.broadcast_to(fields["data"][0], count)}
    block = GCXS.__new__(GCXS)
    vars(block).update(fields)
    return block


def reduce_gcxs(block: GCXS) -> tuple[Any, ...]:
    """Take a block apart for pickle: equal weights travel as one number.

    Pickle would write out every element of a broadcast array.
    """
    fields, data = vars(block), block.data
    if not is_constant(data):
        return rebuild, (fields, None)
    return rebuild, ({**fields, "data": data[:1].copy()}, data.size)


NO_ROWS = csr_block(
    np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), (0, 0)
)
"""What Dask knows of chunks before they are computed."""

# Not dask_serialize: a receiver without this module would wait for ever.
copyreg.pickle(GCXS, reduce_gcxs)


def gcxs_bytes(block: GCXS) -> int:
    """Return the bytes that a block holds in memory."""
    data = block.data.itemsize if is_constant(block.data) else block.data.nbytes
    return int(data + block.indices.nbytes + block.indptr.nbytes) + 200


def register_sizeof(sizeof: Any) -> None:
    """Tell Dask's `sizeof` how large a `sparse.GCXS` is: it would say 56 bytes."""
    sizeof.register(GCXS)(gcxs_bytes)
