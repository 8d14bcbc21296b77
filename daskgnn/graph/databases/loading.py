"""Load a graph into a database, a batch at a time; continue what was interrupted."""

from __future__ import annotations

import json
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from daskgnn.errors import InputError, StoreError
from daskgnn.graph.databases.arrays import (
    ABOUT,
    FORMAT,
    FORMAT_VERSION,
    ArrayFacts,
    DatabaseArrays,
)
from daskgnn.graph.databases.columns import Column, columns_of
from daskgnn.graph.databases.content import content_digest
from daskgnn.graph.edges.packids import unpack_ids
from daskgnn.graph.store.splitrows import is_vertex_cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from daskgnn.graph.databases.database import Database
    from daskgnn.graph.store.store import Arrays

    Told = Callable[[str, int, int], Any]

BATCH_BYTES = 1 << 25
"""About what is written at once."""
_BEGUN = "begun"
"""Key of the first row, which says what is loaded."""
OWN = ("format", "format_version", "manifest", "checksum", "content")
"""Attributes of a store that are not the graph's."""


def load_arrays(
    arrays: Arrays,
    database: Database,
    *,
    links: bool = True,
    told: Told = lambda stage, done, total: None,
) -> None:
    """Load the arrays of a graph into a database, and compare what is there then.

    Parameters
    ----------
    arrays
        Of a store, or of a partitioned graph in memory.
    database
        Empty, or one into which the same graph was being loaded: this is continued.
    links
        Whether to write the edges as relationships, too, for people who query them.
    told
        Called with the stage, and how much of it is done: ``(stage, done, total)``.

    Raises
    ------
    InputError
        If the graph is a vertex-cut.
    StoreError
        If what was written is not what is read.
    """
    if is_vertex_cut(arrays):
        raise InputError(
            "a vertex-cut cannot be loaded into a database, which has whole rows: "
            "partition the graph with another method, as method='metis'"
        )
    loading = _Loading(arrays, database, links)
    loading.begin()
    loading.write_nodes(told)
    loading.write_pieces(told)
    loading.write_links(told)
    loading.end(told)


class _Loading:
    """A graph that is being loaded; every batch is written whole or not at all."""

    def __init__(self, arrays: Arrays, database: Database, links: bool) -> None:
        self.arrays, self.database, self.links = arrays, database, links
        self.facts = {n: ArrayFacts(a.shape, a.dtype) for n, a in arrays.arrays.items()}
        self.columns = columns_of(self.facts)
        self.indptr = arrays.read("indptr")
        self.num_nodes = len(self.indptr) - 1

    def begin(self) -> None:
        """Make the tables, unless the same graph was begun here."""
        said = json.dumps([FORMAT_VERSION, self.arrays.checksum, self.links])
        begun = _piece(_BEGUN, said.encode())
        if self.database.count("Array"):
            key = pa.array([_BEGUN], pa.string())
            found = self.database.read("Array", ["data"], key)[0].to_pylist()
            if found == [said.encode()]:
                return
        self.database.remove()
        columns = {"id": "int", **self._plain_kinds()}
        for column in self.columns:
            columns |= {column.name: column.kind, column.check: "int"}
        weight = {"weight": "float"} if self._weighted else {}
        self.database.create("Node", columns)
        self.database.create("Array", {"key": "text", "data": "bytes", "check": "int"})
        self.database.create("Link", weight)
        self.database.append("Array", _pieces([begun]))

    @property
    def _weighted(self) -> bool:
        return "edge_weight" in self.facts

    def _plain_kinds(self) -> dict[str, str]:
        """Return the columns that are for people, who query by them."""
        kinds = {"original_id": "int", "split": "text"}
        if "labels" in self.facts and self.facts["labels"].shape[1:] == ():
            kinds["label"] = "int"
        if unpack_ids(self.arrays.read, self.arrays.arrays) is not None:
            kinds["name"] = "text"
        return kinds

    def write_nodes(self, told: Told) -> None:
        """Write the rows of the nodes that are not there yet."""
        done = self.database.count("Node")
        plain = self._plain_columns()
        for start, stop in self._batches(done, features=True):
            ids = np.arange(start, stop)
            rows: dict[str, Any] = {"id": ids}
            rows |= {name: values[start:stop] for name, values in plain.items()}
            for column in self.columns:
                packed = column.packed(ids, *self._rows(column, start, stop))
                rows |= dict(zip((column.name, column.check), packed, strict=True))
            self.database.append("Node", pa.table(rows))
            told("nodes", stop, self.num_nodes)

    def _plain_columns(self) -> dict[str, Any]:
        """Return the columns for people, whole: a few numbers a node."""
        kinds = self._plain_kinds()
        original = self.arrays.read("original_ids")
        split = np.full(self.num_nodes, None, object)
        for name, ids in self.arrays.group("splits").items():
            split[ids] = name
        found = {
            "original_id": pa.array(original),
            "split": pa.array(split, pa.string()),
        }
        if "label" in kinds:
            found["label"] = pa.array(self.arrays.read("labels"))
        if "name" in kinds:
            names = unpack_ids(self.arrays.read, self.arrays.arrays)
            assert names is not None
            words = [str(name) for name in names[original]]
            found["name"] = pa.array(words, pa.string())
        return {name: found[name] for name in kinds}

    def _rows(
        self, column: Column, start: int, stop: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return where the rows of a run of nodes begin, and their values."""
        if not column.pointers:
            values = self.arrays.read(column.array, start, stop)
            return np.arange(stop - start + 1), values
        pointers = self.indptr[start : stop + 1]
        if column.pointers != "indptr":
            pointers = self.arrays.read(column.pointers, start, stop + 1)
        values = self.arrays.read_entries(column.array, start, pointers)
        return pointers - pointers[0], values

    def _batches(self, start: int, *, features: bool) -> Iterator[tuple[int, int]]:
        """Cut the nodes from `start` on into runs of about as many bytes."""
        row = 64.0
        if features:
            row += float(self.arrays.attributes.get("feature_row_bytes", 0))
        size = self.indptr * 16 + np.arange(self.num_nodes + 1) * row
        cuts = np.searchsorted(size, np.arange(size[start], size[-1], BATCH_BYTES))
        bounds = np.unique([start, *cuts.tolist(), self.num_nodes]).tolist()
        yield from pairwise(bounds)

    def write_pieces(self, told: Told) -> None:
        """Write the arrays that are no columns of nodes."""
        known = {column.array for column in self.columns}
        todo = [
            (name, first)
            for name, facts in self.facts.items()
            if name not in known
            for first in range(0, facts.shape[0], facts.piece)
        ]
        done = self.database.count("Array") - 1
        step = max(BATCH_BYTES // (1 << 18), 1)
        for i in range(done, len(todo), step):
            batch = [self._stored_piece(*item) for item in todo[i : i + step]]
            self.database.append("Array", _pieces(batch))
            told("arrays", min(i + step, len(todo)), len(todo))

    def _stored_piece(self, name: str, first: int) -> tuple[str, bytes, int]:
        facts = self.facts[name]
        values = self.arrays.read(name, first, min(first + facts.piece, facts.shape[0]))
        return _piece(f"{name}/{first // facts.piece}", values.tobytes())

    def write_links(self, told: Told) -> None:
        """Write the edges that are not there yet as relationships."""
        if not self.links:
            return
        done = int(np.searchsorted(self.indptr, self.database.count("Link")))
        for start, stop in self._batches(done, features=False):
            indptr = self.indptr[start : stop + 1]
            rows = {"source": self.arrays.read_entries("indices", start, indptr)}
            rows = {"source": rows["source"].astype(np.int64)}
            rows["target"] = np.repeat(np.arange(start, stop), np.diff(indptr))
            if self._weighted:
                weight = self.arrays.read_entries("edge_weight", start, indptr)
                rows["weight"] = weight.astype(np.float32)
            self.database.append("Link", pa.table(rows))
            told("links", int(indptr[-1]), int(self.indptr[-1]))

    def end(self, told: Told) -> None:
        """Say what the graph is, compare all of it, and finish."""
        said = self.arrays.attributes
        attributes = {name: said[name] for name in said if name not in OWN}
        attributes["checksum"] = self.arrays.checksum
        attributes["content"] = content_digest(self.arrays)
        facts = {n: [f.shape, f.dtype.str] for n, f in self.facts.items()}
        about = {"format": FORMAT, "format_version": FORMAT_VERSION, "arrays": facts}
        about["attributes"] = attributes
        content = json.dumps(about).encode()
        self.database.append("Array", _pieces([_piece(ABOUT, content)]))
        self._compare(attributes["content"], told)
        self.database.finish()

    def _compare(self, expected: str, told: Told) -> None:
        """Refuse a database that does not have what was to be written."""
        place, edges = self.database.place, int(self.indptr[-1]) * self.links
        counts = {"Node": self.num_nodes, "Link": edges}
        for table, count in counts.items():
            there = self.database.count(table)
            if there != count:
                raise StoreError(
                    f"{place} has {there} rows of {table} after loading, expected "
                    f"{count}: load the graph again"
                )
        found = content_digest(DatabaseArrays(self.database), told)
        if found != expected:
            raise StoreError(
                f"{place} does not hold the graph after loading (content "
                f"{found[:16]}, expected {expected[:16]}): load the graph again"
            )


def _piece(key: str, content: bytes) -> tuple[str, bytes, int]:
    """Return a row of ``Array``."""
    return key, content, zlib.crc32(f"{key}:".encode() + content)


def _pieces(rows: list[tuple[str, bytes, int]]) -> pa.Table:
    keys, data, checks = zip(*rows, strict=True)
    kinds = pa.string(), pa.binary(), pa.int64()
    columns = [pa.array(c, k) for c, k in zip((keys, data, checks), kinds, strict=True)]
    return pa.table(columns, ["key", "data", "check"])
