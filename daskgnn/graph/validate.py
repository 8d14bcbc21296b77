"""Verify a stored graph: every byte, every node once, every edge once.

N nodes, E entries, P parts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from daskgnn.errors import GraphFormatError, StoreError
from daskgnn.graph.memory.content import graph_hash
from daskgnn.graph.sources.restore import read_graph_data
from daskgnn.graph.sources.source import csr_rows
from daskgnn.graph.sources.stored import ZarrSource
from daskgnn.graph.store.manifest import REMEDY
from daskgnn.graph.store.splitrows import held_entries, is_vertex_cut
from daskgnn.graph.store.store import Store, open_store
from daskgnn.partition.book import count_clusters, cut_clusters

if TYPE_CHECKING:
    import os

    from daskgnn.kernels.adjacency import AdjacencyBlock

MOST_PARTS = 8


@dataclass(frozen=True)
class Report:
    """What `daskgnn.validate` has checked.

    Examples
    --------
    >>> import os, tempfile
    >>> import daskgnn
    >>> path = os.path.join(tempfile.mkdtemp(), "karate.zarr")
    >>> path = daskgnn.load_dataset("karate").partition(4).save(path)
    >>> report = daskgnn.validate(path)
    >>> report.num_nodes, report.num_edges, report.num_parts
    (34, 156, 4)
    """

    path: str
    """Path of the store."""
    num_nodes: int
    """Number of nodes, N."""
    num_edges: int
    """Number of directed edges, E."""
    num_arrays: int
    """Number of arrays of the store."""
    num_chunks: int
    """Number of chunks of these arrays."""
    num_bytes: int
    """Size of the chunks in bytes."""
    num_parts: int
    """Number of parts for which halos were checked."""
    halo_nodes: int
    """Nodes that are neighbours of a part they do not belong to, over all parts."""
    graph_hash: str
    """SHA-256 of the graph in its original order."""

    def __str__(self) -> str:
        """Return one line for each proof."""
        return "\n".join(
            [
                f"{self.path}: valid",
                f"  checksums right     {self.num_arrays} arrays, "
                f"{self.num_chunks} chunks, {self.num_bytes:,} bytes",
                f"  every node once     {self.num_nodes:,}",
                f"  every edge once     {self.num_edges:,}",
                f"  halo consistent     {self.halo_nodes:,} nodes in "
                f"{self.num_parts} parts",
                f"  content as saved    {self.graph_hash[:16]}...",
            ]
        )


def validate(
    path: str | os.PathLike[str], num_parts: int | None = None, progress: bool = False
) -> Report:
    """Read a whole store and check that it is intact.

    Every chunk is what was saved, by its checksum; every node and every edge is there
    once and belongs to one part; an undirected graph has both directions of each edge,
    so that the halos of parts match the borders of the others; and the graph, put back
    into its original order, is the one that was saved. It takes the memory of the whole
    graph.

    Parameters
    ----------
    path : str or path
        The store.
    num_parts : int, optional
        Number of parts for which halos are checked; by default up to 8.
    progress : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    Report
        What was checked; ``print(report)`` shows it.

    Raises
    ------
    StoreError
        If something is wrong, naming the array and the chunk.
    PartitionError
        If `num_parts` is not in 1..num_clusters.

    Examples
    --------
    >>> import os, tempfile
    >>> import daskgnn
    >>> path = os.path.join(tempfile.mkdtemp(), "karate.zarr")
    >>> path = daskgnn.load_dataset("karate").partition(4).save(path)
    >>> print(daskgnn.validate(path, num_parts=2))
    /.../karate.zarr: valid
      checksums right     ...
    """
    store = open_store(path)
    store.check()
    _check_bytes(store, progress)
    _check_nodes(store)
    _check_pointers(store, "indptr", "indices")
    if is_vertex_cut(store):
        _check_split_rows(store)
    if "features_indptr" in store.arrays:
        _check_pointers(store, "features_indptr", "features_indices")
    book = _partition_book(store, num_parts)
    halo = _check_parts(store, book)
    _check_clusters(store)
    _check_content(store)
    return Report(
        path=store.path,
        num_nodes=int(book[-1]),
        num_edges=int(store.attributes["num_edges"]),
        num_arrays=len(store.arrays),
        num_chunks=store.manifest.num_chunks,
        num_bytes=store.manifest.num_bytes,
        num_parts=len(book) - 1,
        halo_nodes=halo,
        graph_hash=str(store.attributes["graph_hash"]),
    )


def _check_bytes(store: Store, progress: bool) -> None:
    """Read every chunk of every array: reading compares the checksums."""
    todo = [
        (name, start, min(start + array.chunks[0], array.shape[0]))
        for name, array in store.arrays.items()
        for start in range(0, array.shape[0], array.chunks[0])
    ]
    for name, start, stop in tqdm(todo, "checksums", disable=not progress):
        store.read(name, start, stop)


def _check_nodes(store: Store) -> None:
    """Prove that original ids, clusters and splits name every node rightly."""
    num_nodes = int(store.attributes["num_nodes"])
    ids = store.read("original_ids")
    if len(ids) != num_nodes:
        raise _fault(store, "original_ids", 0, f"has {len(ids)} of {num_nodes} nodes")
    _refuse(store, "original_ids", (ids < 0) | (ids >= num_nodes), "names no node")
    repeats = np.ones(num_nodes, bool)
    repeats[np.unique(ids, return_index=True)[1]] = False
    _refuse(store, "original_ids", repeats, "names a node twice")
    bounds = store.read("cluster_bounds")
    if (np.diff(bounds) <= 0).any() or bounds[0] != 0 or bounds[-1] != num_nodes:
        raise _fault(store, "cluster_bounds", 0, f"does not run from 0 to {num_nodes}")
    for name, ids in store.group("splits").items():
        wrong = _out_of_order(ids, num_nodes)
        _refuse(store, f"splits/{name}", wrong, "is not sorted or names no node")


def _out_of_order(ids: np.ndarray, count: int) -> np.ndarray:
    """Return bool, which of some ids are not in 0..count - 1, or do not ascend."""
    wrong: np.ndarray = (ids < 0) | (ids >= count)
    wrong[1:] |= ids[1:] <= ids[:-1]
    return wrong


def _check_pointers(store: Store, pointers: str, entries: str) -> None:
    """Prove that row pointers cut the entries into rows."""
    indptr, count = store.read(pointers), store.arrays[entries].shape[0]
    rows = int(store.attributes["num_nodes"])
    if len(indptr) != rows + 1 or indptr[0] != 0 or indptr[-1] != count:
        raise _fault(store, pointers, 0, f"does not cut {count} entries into rows")
    _refuse(store, pointers, np.diff(indptr, prepend=0) < 0, "falls")


def _check_split_rows(store: Store) -> None:
    """Prove that split rows name holders, and the entries that these hold."""
    rows, degree = store.read("spread_rows"), np.diff(store.read("indptr"))
    wrong = _out_of_order(rows, len(degree))
    _refuse(store, "spread_rows", wrong, "names no row or one twice")
    slots = np.concatenate(([0], np.cumsum(degree[rows])))
    _compare(store, "spread_indptr", slots, "does not cut the slots into rows")
    holders = store.read("spread_holders")
    count = store.arrays["cluster_bounds"].shape[0] - 1
    if len(holders) != slots[-1]:
        raise _fault(store, "spread_holders", 0, f"does not have {slots[-1]} slots")
    _refuse(store, "spread_holders", holders >= count, "names no cluster")
    pairs = np.repeat(np.arange(len(rows)), degree[rows]) * count + holders
    held = np.bincount(pairs, minlength=len(rows) * count).reshape(-1, count)
    bounds = np.concatenate(([0], np.cumsum(held.sum(axis=0))))
    _compare(store, "spread_bounds", bounds, "does not count the entries of holders")
    starts = np.cumsum(held, axis=0) - held + bounds[:-1]
    _compare(store, "spread_starts", starts, "does not count the entries of rows")


def _compare(store: Store, name: str, expected: np.ndarray, what: str) -> None:
    """Prove that an array is what follows from others."""
    found = store.read(name)
    if found.shape != expected.shape:
        raise _fault(store, name, 0, what)
    _refuse(store, name, (found != expected).reshape(len(found), -1).any(axis=1), what)


def _partition_book(store: Store, num_parts: int | None) -> np.ndarray:
    """Return the row bounds of the parts."""
    clusters = store.clusters()
    if num_parts is None:
        num_parts = min(MOST_PARTS, len(clusters))
    return cut_clusters(clusters, store.group("splits").get("train"), num_parts)


def _check_clusters(store: Store) -> None:
    """Prove the counts that the order is cut by."""
    clusters = store.clusters()
    source = ZarrSource(store.path, store.checksum)
    expected, _ = count_clusters(partial(csr_rows, source), clusters.bounds)
    if is_vertex_cut(store):
        expected = replace(expected, edges=held_entries(store, clusters.bounds))
    _compare(store, "cluster_edges", expected.edges, "does not count the edges")


def _check_parts(store: Store, book: np.ndarray) -> int:
    """Prove edges and halo part by part; return the halo nodes of all parts."""
    original, undirected = store.read("original_ids"), not store.attributes["directed"]
    halo, border = [], []
    there = back = edges = 0
    source = ZarrSource(store.path, store.checksum)
    for p in range(len(book) - 1):
        start, stop = int(book[p]), int(book[p + 1])
        block = source.load_rows(start, stop)
        rows = np.repeat(np.arange(start, stop), np.diff(block.indptr))
        _check_rows(store, block, rows, original, edges)
        edges += len(rows)
        there += pair_sum(rows, block.indices)
        back += pair_sum(block.indices, rows)
        halo.append(_outer_pairs(block.indices, np.full(len(rows), p), book))
        owners = np.searchsorted(book, block.indices, side="right") - 1
        border.append(_outer_pairs(rows, owners, book))
    needed = np.unique(np.concatenate(halo))
    if undirected:
        if (there - back) % 2**64:
            raise _fault(store, "indices", 0, "lacks the reverse of an edge")
        if not np.array_equal(needed, np.unique(np.concatenate(border))):
            raise _fault(
                store, "indices", 0, "gives parts a halo that no part borders on"
            )
    return len(needed)


def _check_rows(
    store: Store,
    block: AdjacencyBlock,
    rows: np.ndarray,
    original: np.ndarray,
    first: int,
) -> None:
    """Prove that each row names nodes, ordered by original id, each once."""
    outside = (block.indices < 0) | (block.indices >= len(original))
    _refuse(store, "indices", outside, "names no node", first)
    ids = original[block.indices]
    falls = (ids[1:] <= ids[:-1]) & (rows[1:] == rows[:-1])
    what = "repeats an edge or is not in the order of original ids"
    _refuse(store, "indices", falls, what, first + 1)


def pair_sum(left: np.ndarray, right: np.ndarray) -> int:
    """Return the sum of a hash of the pairs, modulo 2**64, whatever their order."""
    one, two = left.astype(np.uint64), right.astype(np.uint64)
    mixed = (one + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed = (mixed + two) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(29)
    return int(mixed.sum(dtype=np.uint64))


def _outer_pairs(nodes: np.ndarray, parts: np.ndarray, book: np.ndarray) -> np.ndarray:
    """Return the distinct (part, node) pairs, as numbers, whose node lies elsewhere."""
    owners = np.searchsorted(book, nodes, side="right") - 1
    outer = owners != parts
    return np.unique(parts[outer] * int(book[-1]) + nodes[outer].astype(np.int64))


def _check_content(store: Store) -> None:
    """Prove that the graph in original order is the one that was saved."""
    try:
        found = graph_hash(read_graph_data(store))
    except GraphFormatError as error:
        raise StoreError(
            f"the graph in {store.path!r} is not right: {error}"
        ) from error
    if found != store.attributes["graph_hash"]:
        raise StoreError(
            f"the graph in {store.path!r} is not the one that was saved (hash "
            f"{found[:16]}, expected {store.attributes['graph_hash'][:16]}): {REMEDY}"
        )


def _refuse(
    store: Store, name: str, wrong: np.ndarray, what: str, first: int = 0
) -> None:
    """Raise the fault of the first wrong element, counted from position `first`."""
    if wrong.any():
        raise _fault(store, name, first + int(wrong.argmax()), what)


def _fault(store: Store, name: str, position: int, what: str) -> StoreError:
    """Make the error for wrong content, naming array, chunk and position."""
    array = store.arrays[name]
    chunk = f"c/{position // array.chunks[0]}" + "/0" * (array.ndim - 1)
    return StoreError(
        f"array {name!r} in {store.path!r} {what} (chunk {chunk!r}, position "
        f"{position}): {REMEDY}"
    )
