"""Checks of what a user's source returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import DaskGNNError, InputError
from daskgnn.graph.memory.ordered import STORED_DTYPES
from daskgnn.graph.sources.rows import check_entries
from daskgnn.graph.sources.schema import GraphSchema
from daskgnn.graph.sources.source import GraphSource
from daskgnn.graph.sources.stored import StoredSource
from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.half import TABLE_DTYPES
from daskgnn.seams import Fault, called, check_seam, failed, is_array, refuse, shown

if TYPE_CHECKING:
    from collections.abc import Iterator


FEW = 8
"""Rows at either end of the graph that are tried."""


def check_source(source: Any) -> None:
    """Refuse a source that lacks a method, or returns what it should not.

    Raises
    ------
    InputError
        In one line, naming the class and its method.
    """
    if isinstance(source, StoredSource):
        return
    check_seam("graph", source, GraphSource)
    name = type(source).__name__
    try:
        schema = source.schema
    except DaskGNNError:
        raise
    except Exception as error:
        raise failed(f"graph: {name}.schema", error) from error
    if not isinstance(schema, GraphSchema):
        raise InputError(
            f"graph: {name}.schema is {shown(schema)}, expected a "
            "daskgnn.GraphSchema(num_nodes=..., num_edges=..., version=...)"
        )
    refuse(f"graph: {name}.schema.", _schema_faults(schema))
    last = schema.num_nodes
    for start, stop in {(0, min(FEW, last)), (max(last - FEW, 0), last)}:
        _try_rows(source, start, stop)


def load_checked(
    source: GraphSource, start: int, stop: int, *, whole: bool = False
) -> AdjacencyBlock:
    """Return what a part holds of its rows, checked unless a store vouches for it.

    With `whole`, it holds its edges even if the source is read on demand.

    Raises
    ------
    InputError
        If a user's source returns something else, naming it.
    """
    on_demand = source.schema.on_demand
    whole = whole and on_demand
    block = source.load_rows(start, stop) if whole else source.load_part(start, stop)
    if not isinstance(source, StoredSource):
        method = "degrees" if on_demand and not whole else "load_rows"
        _check_block(source, block, start, stop, method)
    return block


def check_table(source: GraphSource, table: str, found: Any, count: int) -> None:
    """Refuse rows of a table that are of another shape or dtype.

    Raises
    ------
    InputError
    """
    schema = source.schema
    shape: tuple[int, ...] = (count,)
    kinds: tuple[type, ...] = (np.int64,)
    if table == "features":
        # Rows in half precision may come as bits.
        dtypes = (STORED_DTYPES, TABLE_DTYPES)
        kinds = tuple(known[schema.feature_dtype] for known in dtypes)
        shape = (count, schema.num_features)
    elif table == "labels" and schema.multilabel:
        shape, kinds = (count, schema.num_classes), (np.float32,)
    name = type(source).__name__
    if not is_array(found, shape, *kinds):
        raise InputError(
            f"graph: {name}.rows returns {shown(found)} of {table!r}, expected "
            f"{np.dtype(kinds[0])} {list(shape)}"
        )
    if table == "labels" and not schema.multilabel and count:
        low, high = int(found.min()), int(found.max())
        if low < -1 or high >= schema.num_classes:
            raise InputError(
                f"graph: {name}.rows returns the label {low if low < -1 else high}, "
                f"expected 0..{schema.num_classes - 1}, or -1 for not given"
            )


def _try_rows(source: GraphSource, start: int, stop: int) -> None:
    """Read a few rows in every way, and compare."""
    schema, ids = source.schema, np.arange(start, stop)
    block = called("graph", source, "load_rows", start, stop)
    _check_block(source, block, start, stop, "load_rows")
    for table in schema.tables:
        if table != "features" or not schema.sparse_features:
            found = called("graph", source, "rows", table, ids)
            check_table(source, table, found, len(ids))
    name = type(source).__name__
    degree = called("graph", source, "degrees", ids)
    if not np.array_equal(degree, block.degree):
        raise InputError(
            f"graph: {name}.degrees of nodes {start} to {stop - 1} is {_listed(degree)}"
            f", expected those of load_rows: {_listed(block.degree)}"
        )
    rows = np.repeat(ids, block.degree)
    slots = np.arange(len(rows)) - np.repeat(block.indptr[:-1], block.degree)
    columns = ("source", "weight") if schema.weighted else ("source",)
    found = called("graph", source, "entries", rows, slots, columns)
    for column, expected in zip(columns, (block.indices, block.weights), strict=False):
        assert expected is not None
        check_entries(source, column, found, expected.dtype, len(rows))
        if not np.array_equal(found[column], expected):
            raise InputError(
                f"graph: {name}.entries of nodes {start} to {stop - 1} has other "
                f"{column!r} than load_rows: give both in the same order"
            )


def _check_block(
    source: GraphSource, block: Any, start: int, stop: int, method: str
) -> None:
    """Refuse rows of the graph that are not as a block must be."""
    name = type(source).__name__
    if not isinstance(block, AdjacencyBlock):
        raise InputError(
            f"graph: {name}.{method} returns {shown(block)}, expected a "
            "daskgnn.AdjacencyBlock"
        )
    faults = _block_faults(source, block, start, stop)
    refuse(f"graph: {name}.{method} returns a block whose ", faults)


def _block_faults(
    source: GraphSource, block: AdjacencyBlock, start: int, stop: int
) -> Iterator[Fault]:
    """Yield what is wrong with a block: what, what it is, what was expected."""
    schema, count = source.schema, stop - start
    if block.start != start:
        yield "start", f"{block.start}", f"{start}"
    yield from _array("indptr", block.indptr, np.dtype(np.int64), count + 1)
    indptr = block.indptr
    if indptr[0] != 0 or (np.diff(indptr) < 0).any():
        yield "indptr", _listed(indptr), "numbers that ascend from 0"
    edges = 0 if block.reader is not None else int(indptr[-1])
    yield from _array("indices", block.indices, schema.index_dtype, edges)
    yield from _array("original_ids", block.original_ids, np.dtype(np.int64), count)
    if (block.weights is not None) != schema.weighted:
        given = "None" if block.weights is None else shown(block.weights)
        yield "weights", given, f"as the schema has it: weighted={schema.weighted}"
    if block.weights is not None:
        yield from _array("weights", block.weights, np.dtype(np.float32), edges)
    if not edges:
        return
    ids = block.indices
    if not 0 <= ids.min() <= ids.max() < schema.num_nodes:
        yield "indices", f"{ids.min()} to {ids.max()}", f"0..{schema.num_nodes - 1}"
    named = ids
    if "original_ids" in schema.tables:
        named = source.rows("original_ids", ids.astype(np.int64))
    rows = np.repeat(np.arange(count), block.degree)
    falls = (named[1:] <= named[:-1]) & (rows[1:] == rows[:-1])
    if falls.any():
        node = start + int(rows[int(falls.argmax())])
        yield (
            "indices",
            f"unsorted, or repeats a neighbour, in the row of node {node}",
            "each row by ascending original id",
        )


def _array(field: str, array: Any, dtype: np.dtype, count: int) -> Iterator[Fault]:
    """Yield what is wrong with one array."""
    if not is_array(array, (count,), dtype):
        yield field, shown(array), f"{dtype} [{count}]"


def _schema_faults(schema: GraphSchema) -> Iterator[Fault]:
    """Yield what is wrong with a schema."""
    for field, least in (("num_nodes", 1), ("num_edges", 0), ("num_features", 0)):
        value = getattr(schema, field)
        if not isinstance(value, int | np.integer) or value < least:
            yield field, repr(value), f"a whole number of at least {least}"
    if not isinstance(schema.version, str) or not schema.version:
        yield "version", repr(schema.version), "a word that names the content"
    if np.dtype(schema.index_dtype) not in (np.dtype(np.int32), np.dtype(np.int64)):
        yield "index_dtype", f"{schema.index_dtype}", "int32 or int64"
    if schema.feature_dtype not in TABLE_DTYPES:
        words = ", ".join(map(repr, TABLE_DTYPES))
        yield "feature_dtype", repr(schema.feature_dtype), f"one of {words}"
    if "features" in schema.tables and not schema.num_features:
        yield "num_features", "0", "F, or tables without 'features'"
    yield from _name_faults(schema)
    for split, ids in schema.splits.items():
        right = is_array(ids, (np.size(ids),), np.int64)
        if not right or _strays(ids, schema.num_nodes):
            yield (
                f"splits[{split!r}]",
                shown(ids),
                f"ascending int64 storage ids in 0..{schema.num_nodes - 1}",
            )
    bounds = schema.cluster_bounds
    if bounds is not None and not (
        is_array(bounds, (np.size(bounds),), np.int64)
        and bounds[:1].tolist() + bounds[-1:].tolist() == [0, schema.num_nodes]
        and (np.diff(bounds) > 0).all()
    ):
        yield (
            "cluster_bounds",
            shown(bounds),
            f"int64 numbers that ascend from 0 to {schema.num_nodes}",
        )


def _name_faults(schema: GraphSchema) -> Iterator[Fault]:
    """Yield what is wrong with the names of the classes."""
    names = schema.class_names
    if names is not None and len({*names}) != schema.num_classes:
        yield "class_names", shown(names), f"{schema.num_classes} different words"


def _strays(ids: np.ndarray, num_nodes: int) -> bool:
    """Return whether ids do not ascend within 0..N-1."""
    return bool((np.diff(ids, prepend=-1, append=num_nodes) <= 0).any())


def _listed(values: Any) -> str:
    """Return some numbers, or what stands in their stead."""
    return f"{values.tolist()}" if isinstance(values, np.ndarray) else shown(values)
