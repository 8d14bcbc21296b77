"""The side file of a database that somebody else has filled: what is computed once."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskgnn.graph.databases.properties import (
    SPLITS,
    feature_rows,
    label_numbers,
    split_by_time,
    split_of,
)
from daskgnn.graph.databases.tables import NodeKeys
from daskgnn.kernels.frontier import offsets
from daskgnn.partition.book import default_clusters
from daskgnn.partition.methods.structure import CSRStructure
from daskgnn.partition.partitioners import check_installed, find_partitioner

if TYPE_CHECKING:
    from daskgnn.graph.databases.tables import MappedTables

QUERY_ROWS = 1 << 14
"""Nodes that a query asks for."""
_WITHOUT_EDGES = ("hash", "range")


@dataclass(frozen=True)
class Side:
    """Order and degrees of the nodes, clusters and splits."""

    nodes: NodeKeys
    original_ids: np.ndarray
    """int64 [N], by storage id."""
    indptr: np.ndarray
    """int64 [N + 1], in storage order."""
    bounds: np.ndarray
    """int64 [C + 1], of the clusters."""
    splits: dict[str, np.ndarray]
    """Sorted storage ids."""
    num_features: int
    num_classes: int
    classes: tuple[str, ...] | None
    """Words that are labels; None where labels are numbers."""


def read_side(path: str, digest: str) -> Side | None:
    """Return what is in a side file; None if it is not there, or of another graph."""
    try:
        with np.load(path, allow_pickle=False) as found:
            said = json.loads(str(found["said"]))
            if said["digest"] != digest:
                return None
            arrays = {name: found[name] for name in found.files if name != "said"}
            nodes = NodeKeys(arrays.pop("keys"), arrays.pop("by_place"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    splits = {n: arrays.pop(f"split_{n}") for n in SPLITS if f"split_{n}" in arrays}
    classes = said["classes"]
    return Side(
        nodes,
        **arrays,
        splits=splits,
        num_features=said["num_features"],
        num_classes=said["num_classes"],
        classes=None if classes is None else tuple(classes),
    )


def build_side(tables: MappedTables, digest: str) -> Side:
    """Compute and write a side file: a pass over the nodes and one over the edges."""
    mapping, nodes = tables.mapping, tables.keys()
    keys = nodes.keys
    split, labels = _node_facts(tables, keys)
    parts = {n: np.flatnonzero(split == i) for i, n in enumerate(SPLITS)}
    parts = {name: ids for name, ids in parts.items() if len(ids)}
    folder = os.path.dirname(mapping.side_file)
    with TemporaryDirectory(dir=folder, prefix=".daskgnn-") as beside:
        degree, indices = _edges(tables, nodes, beside)
        structure = CSRStructure(offsets(degree), indices, mapping.directed, parts)
        clusters = _clusters(tables, structure)
    order = np.argsort(clusters, kind="stable").astype(np.int64)
    starts = np.flatnonzero(np.diff(clusters[order])) + 1
    storage = np.empty(len(order), np.int64)
    storage[order] = np.arange(len(order))
    first = tables.properties(mapping.features, keys[:1])
    side = Side(
        nodes,
        order,
        offsets(degree[order]),
        np.concatenate([[0], starts, [len(order)]]).astype(np.int64),
        {name: np.sort(storage[ids]) for name, ids in parts.items()},
        feature_rows(first, mapping.features, keys[:1]).shape[1],
        *labels,
    )
    _write(mapping.side_file, side, digest)
    return side


def _clusters(tables: MappedTables, structure: CSRStructure) -> np.ndarray:
    mapping, count = tables.mapping, structure.num_nodes
    find = find_partitioner(mapping.method)
    check_installed(mapping.method)
    wanted = mapping.num_clusters or default_clusters(count)
    return np.asarray(find(structure, min(wanted, count), mapping.seed))


def _edges(
    tables: MappedTables, nodes: NodeKeys, folder: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the degrees of all nodes, and their neighbours if a partitioner asks.

    Neighbours go to a file in `folder` as they are read: only the partitioner has
    edges in memory, if it needs them there.
    """
    count, path = len(nodes.keys), os.path.join(folder, "indices")
    kept = tables.mapping.method not in _WITHOUT_EDGES
    degree = np.empty(count, np.int64)
    with open(path, "wb") as stream:
        for start in range(0, count, QUERY_ROWS):
            ids = np.arange(start, min(start + QUERY_ROWS, count))
            degree[ids], near, _ = tables.rows(ids, nodes)
            if kept:
                near.astype(np.int32).tofile(stream)
    if not os.path.getsize(path):
        return degree, np.empty(0, np.int32)
    return degree, np.memmap(path, np.int32, "r")


def _node_facts(
    tables: MappedTables, keys: np.ndarray
) -> tuple[np.ndarray, tuple[int, tuple[str, ...] | None]]:
    """Return the split of each node, and what is to know of labels."""
    mapping = tables.mapping
    times = mapping.time if mapping.split_by_time else ""
    names = [name for name in (mapping.split, mapping.label, times) if name]
    split, words, most = np.full(len(keys), -1), set(), -1
    numbered = True
    for start in range(0, len(keys) if names else 0, QUERY_ROWS):
        stop = min(start + QUERY_ROWS, len(keys))
        found = dict(
            zip(names, tables.properties(names, keys[start:stop]), strict=True)
        )
        if mapping.split:
            split[start:stop] = split_of(found[mapping.split])
        elif times:
            bounds = [mapping.val_from, mapping.test_from]
            split[start:stop] = split_by_time(found[times], bounds)
        if not mapping.label:
            continue
        label = found[mapping.label]
        if pa.types.is_string(label.type):
            numbered = False
            words |= {word for word in pc.unique(label).to_pylist() if word is not None}
        else:
            most = max(most, int(label_numbers(label, None).max(initial=-1)))
    if numbered:
        return split, (most + 1, None)
    return split, (len(words), tuple(sorted(words)))


def _write(path: str, side: Side, digest: str) -> None:
    """Write a side file whole, or not at all."""
    facts = ("num_features", "num_classes", "classes")
    said: dict[str, Any] = {name: getattr(side, name) for name in facts}
    names = ("original_ids", "indptr", "bounds")
    arrays = {**vars(side.nodes), **{name: getattr(side, name) for name in names}}
    arrays |= {f"split_{name}": ids for name, ids in side.splits.items()}
    other = f"{path}.{os.getpid()}.npz"
    np.savez(other, said=np.array(json.dumps({**said, "digest": digest})), **arrays)
    os.replace(other, path)
