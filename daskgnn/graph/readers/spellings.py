"""The names under which the field keeps a graph's arrays in one archive."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from daskgnn.errors import GraphFormatError
from daskgnn.graph.memory.checks import SPLITS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

_NAMES = {
    "features": ("features", "x", "feat", "feats", "node_features", "node_feat"),
    "labels": ("labels", "y", "label", "node_labels", "node_label"),
    "edge_weight": ("edge_weight", "weight", "edge_weights", "weights"),
    "num_nodes": ("num_nodes",),
}
NODE_IDS = ("node_ids", "node_id", "n_id", "node_names")
CLASS_NAMES = ("class_names", "label_names")
_SPLITS = {
    "train": ("train",),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test",),
}
_MASKS, _IDS = ("_mask", "_masks"), ("_idx", "_index", "_ids", "_indices", "")
_MATRIX = ("data", "indices", "indptr", "shape")
_FEATURES = ("feat_", "attr_")
PAIRS = (("source", "destination"), ("src", "dst"), ("row", "col"), ("u", "v"))
_EDGES = ("edge_index", "edges", "edge_list")
_MATRIX_EDGES = "adj_"


def split_names(split: str, ends: Iterable[str] = (*_MASKS, *_IDS)) -> tuple[str, ...]:
    """Return what a split's masks, and then its ids, are called."""
    return tuple(word + end for end in ends for word in _SPLITS[split])


def mask_names(split: str) -> tuple[str, ...]:
    """Return what columns of a split's mask are called; first the split itself."""
    return (split, *split_names(split, _MASKS), *split_names(split, [""])[1:])


def split_columns(names: Iterable[Any], given: Collection[str]) -> list[str]:
    """Return which names are masks of splits that are not given.

    Where none is given, "split" is one, too.
    """
    wanted = {"split"} if not given else set()
    for split in SPLITS:
        wanted |= set() if split in given else {*mask_names(split)}
    return [n for n in names if isinstance(n, str) and n.lower() in wanted]


class Archive:
    """Arrays of a file, and which of them were used."""

    def __init__(self, arrays: dict[str, np.ndarray], path: Path) -> None:
        self._arrays, self._path = arrays, path
        self._left = dict.fromkeys(arrays, "an unknown name")

    def take(self, names: Iterable[str]) -> np.ndarray | None:
        """Return the first array of one of these names."""
        for name in names:
            if name in self._left:
                del self._left[name]
                return self._arrays[name]
        return None

    def take_matrix(self, prefix: str) -> sp.csr_array | None:
        """Return the CSR matrix whose arrays' names begin so.

        Raises
        ------
        GraphFormatError
            If they are no matrix.
        """
        if f"{prefix}shape" not in self._left:
            return None
        parts: list[Any] = [self.take([prefix + key]) for key in _MATRIX]
        data, indices, indptr, shape = parts
        try:
            if data is None and prefix == _MATRIX_EDGES:  # every stored entry is 1
                data = np.ones(len(indices), np.float32)
            matrix = sp.csr_array((data, indices, indptr), shape=tuple(shape))
            matrix.check_format(full_check=True)
        except (AttributeError, ValueError, IndexError, TypeError) as error:
            raise GraphFormatError(
                f"the {prefix}* arrays are not a CSR matrix ({error})"
            ) from None
        return matrix

    def take_edges(self) -> np.ndarray | sp.csr_array | None:
        """Return an edge list (2, E) or (E, 2), a matrix of entries, or None."""
        edges = self.take(_EDGES)
        if edges is not None:
            return edges
        pair = next((p for p in PAIRS if {*p} <= self._left.keys()), None)
        if pair is None:
            return self.take_matrix(_MATRIX_EDGES)
        ends = [self._arrays[name] for name in pair]
        if ends[0].shape != ends[1].shape or ends[0].ndim != 1:
            raise GraphFormatError(
                f"{self._path}: {pair[0]} has shape {ends[0].shape} and {pair[1]} "
                f"{ends[1].shape}, expected both (E,)"
            )
        self._left = {name: why for name, why in self._left.items() if name not in pair}
        return np.stack(ends)

    def take_nodes(self, num_nodes: int | None = None) -> dict[str, Any]:
        """Return what is known of the nodes: features, labels and splits.

        Parameters
        ----------
        num_nodes
            N; arrays of another length under a name of other meanings are left.
        """
        found = self._take_splits()
        for prefix in _FEATURES:
            if "features" not in found:
                matrix = self.take_matrix(prefix)
                found |= {} if matrix is None else {"features": matrix}
        for option in ("features", "labels"):
            first, *others = _NAMES[option]
            fitting = [name for name in others if self._fits(name, num_nodes)]
            value = None if option in found else self.take([first, *fitting])
            if value is not None:
                found[option] = value
        return found

    def take_option(self, option: str) -> np.ndarray | None:
        """Return the array that stands for an option of a reader."""
        return self.take(_NAMES[option])

    def take_names(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return what the nodes are called, and the classes."""
        return self.take(NODE_IDS), self.take(CLASS_NAMES)

    def _fits(self, name: str, num_nodes: int | None) -> bool:
        """Tell whether an array may have a row for each node."""
        if name not in self._left or num_nodes is None:
            return True
        shape = self._arrays[name].shape
        if shape[:1] != (num_nodes,):
            self._left[name] = f"shape {shape} for {num_nodes} nodes"
        return shape[:1] == (num_nodes,)

    def _take_splits(self) -> dict[str, Any]:
        """Return the splits by name; masks as true and false."""
        found: dict[str, Any] = {}
        for split in SPLITS:
            mask = self.take(split_names(split, _MASKS))
            ids = None
            if mask is None:
                ids = self.take(split_names(split, _IDS))
            elif mask.dtype.kind in "iuf" and np.isin(mask, (0, 1)).all():
                mask = mask.astype(bool)
            value = mask if ids is None else ids
            if value is not None:
                found[split] = value
        return found

    def close(self) -> None:
        """Name in a warning the arrays that were not used."""
        if self._left:
            named = ", ".join(f"{name} ({why})" for name, why in self._left.items())
            warnings.warn(
                f"{self._path} has arrays that are not used: {named}", stacklevel=3
            )
