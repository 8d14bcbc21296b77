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
    original = store.read("original_ids")
    storage = np.argsort(original)
    indptr, slots = _original_rows(store.read("indptr"), storage)
    if is_vertex_cut(store):
        slots = stored_places(store)[slots]
    indices = store.read("indices")
    edges = {
        name: store.read(name)[slots]
        for name in store.arrays
        if name == "edge_weight" or name.startswith("edge_attr/")
    }
    return GraphData(
        indptr=indptr,
        indices=original[indices[slots]].astype(indices.dtype),
        edge_weight=edges.pop("edge_weight", None),
        edge_attr={n.removeprefix("edge_attr/"): a for n, a in edges.items()},
        features=_features(store, storage),
        labels=store.read("labels")[storage] if "labels" in store.arrays else None,
        splits={
            name.removeprefix("splits/"): np.sort(original[store.read(name)])
            for name in store.arrays
            if name.startswith("splits/")
        },
        **{name: store.attributes[name] for name in _SAID},
        node_ids=unpack_ids(store.read, store.arrays),
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
