"""Read a stored graph back into memory, in the user's node order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from daskgnn.graph.edges.packids import unpack_ids
from daskgnn.graph.memory.data import GraphData
from daskgnn.graph.memory.ordered import ordered_indptr, ordered_slots
from daskgnn.graph.store.splitrows import is_vertex_cut, stored_places
from daskgnn.kernels.half import widen

if TYPE_CHECKING:
    from daskgnn.graph.store.store import Arrays

_SAID = ("num_classes", "directed", "name", "metric", "report")


def read_graph_data(store: Arrays) -> GraphData:
    """Read a whole store as the `GraphData` it was made from.

    Raises
    ------
    StoreError
        If a part of it is missing or damaged.
    GraphFormatError
        If what is stored is no graph.
    """
    original, names = store.read("original_ids"), store.attributes.get("class_names")
    storage = np.argsort(original)
    indptr, slots = _original_rows(store.read("indptr"), storage)
    if is_vertex_cut(store):
        slots = stored_places(store)[slots]
    indices = store.read("indices")
    rows = {"edge_weight": slots, "labels": storage}
    given: Any = {n: store.read(n)[at] for n, at in rows.items() if n in store.arrays}
    return GraphData(
        indptr=indptr,
        indices=original[indices[slots]].astype(indices.dtype),
        edge_attr={n: a[slots] for n, a in store.group("edge_attr").items()},
        features=_features(store, storage),
        splits={n: np.sort(original[ids]) for n, ids in store.group("splits").items()},
        **given,
        **{name: store.attributes[name] for name in _SAID},
        node_ids=unpack_ids(store.read, store.arrays),
        class_names=None if names is None else tuple(names),
    )


def _features(store: Arrays, storage: np.ndarray) -> Any:
    """Return the features in original order as float32, dense or CSR as stored."""
    if "features" in store.arrays:
        return widen(store.read("features")[storage])
    if "features_indptr" not in store.arrays:
        return None
    indptr, slots = _original_rows(store.read("features_indptr"), storage)
    columns = store.read("features_indices")[slots]
    shape = (len(storage), int(store.attributes["num_features"]))
    data = store.read("features_data")[slots]
    return sp.csr_array((data, columns, indptr), shape=shape)


def _original_rows(
    stored: np.ndarray, storage: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return row pointers in original order and where each entry is stored."""
    indptr = ordered_indptr(stored, storage)
    return indptr, ordered_slots(stored, indptr, storage, 0, int(indptr[-1]))
