"""The working folder of a preparation, which records finished stages.

Nothing in it opens as a store. Its file ``state.json`` says which stages are complete
and for which input; it is replaced as a whole, so that a killed process leaves the
state before its last change.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from daskgnn.errors import StoreError
from daskgnn.prepare.pieces import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskgnn.graph.memory.data import GraphData

_STATE = "state.json"
_LOCK = "lock"
_FACTS = ("num_classes", "directed", "name", "metric", "report")


class WorkFolder:
    """Files and state of one preparation; held by one process at a time."""

    def __init__(self, target: str, content: Mapping[str, Any], resume: bool) -> None:
        """Make the folder of a store's path, or go on with one that is there.

        Parameters
        ----------
        target
            Absolute path of the store.
        content
            What the store depends on, as plain content for JSON.
        resume
            Whether to go on; else what is there is thrown away.

        Raises
        ------
        StoreError
            If it cannot be made, another process works in it, or what is there was
            begun with other input or options.
        """
        parent, name = os.path.split(target)
        self.path = Path(parent, f".{name}.preparing")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / _LOCK).open("w")
        except OSError as error:
            raise StoreError(f"{self.path} cannot be made: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise StoreError(
                f"another process prepares {target!r}: wait for it or choose another "
                "path"
            ) from None
        begun = json.loads(json.dumps(content))
        self.state = self._read() if resume else {}
        if self.state.get("content", begun) != begun:
            self._lock.close()
            changed = _differences(self.state["content"], begun)
            raise StoreError(
                f"{target!r} was begun with another {', '.join(changed)}: resume with "
                "the options it was begun with, or start again without resume"
            )
        if not self.state:
            self._empty()
            self.save(content=begun)

    def _read(self) -> dict[str, Any]:
        """Return the state that is there, empty if there is none."""
        try:
            found: dict[str, Any] = json.loads((self.path / _STATE).read_text())
        except (OSError, ValueError):
            return {}
        return found

    def _empty(self) -> None:
        """Remove all but the lock."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()

    def save(self, **changes: Any) -> None:
        """Change entries of the state and write it down, as a whole or not at all."""
        self.state |= changes
        with whole_file(self.path / _STATE) as file:
            file.write(json.dumps(self.state).encode())

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()

    def close(self) -> None:
        """Let another process go on."""
        self._lock.close()


def _differences(old: Any, new: Any) -> list[str]:
    """Name what is not the same in two states' contents."""
    names = sorted({*old, *new})
    return [name.replace("_", " ") for name in names if old.get(name) != new.get(name)]


def save_nodes(folder: Path, data: GraphData) -> dict[str, Any]:
    """Write all of a graph but its rows below `folder`; return the rest for JSON."""
    folder.mkdir(exist_ok=True)
    arrays = {f"split-{name}": ids for name, ids in data.splits.items()}
    if data.labels is not None:
        arrays["labels"] = data.labels
    if data.node_ids is not None:
        arrays["node_ids"] = data.node_ids
    matrix: Any = data.features
    if sp.issparse(matrix):
        arrays |= {"indptr": matrix.indptr, "indices": matrix.indices}
        arrays["data"] = matrix.data
    elif isinstance(data.features, np.ndarray):
        arrays["features"] = data.features
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    sparse = list(matrix.shape) if sp.issparse(matrix) else None
    return {
        "arrays": sorted(arrays),
        "sparse_features": sparse,
        **{name: getattr(data, name) for name in _FACTS},
        "num_classes": int(data.num_classes),
        "directed": bool(data.directed),
        "report": {name: int(count) for name, count in data.report.items()},
    }


def load_nodes(folder: Path, found: Mapping[str, Any], features: Any) -> dict[str, Any]:
    """Return what `save_nodes` wrote, as arguments of `GraphData`, arrays mapped.

    Parameters
    ----------
    found
        What `save_nodes` returned.
    features
        Where features were not written, because they can be made again.
    """
    arrays = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in found["arrays"]
    }
    splits = ("train", "val", "test")
    if found["sparse_features"] is not None:
        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        features = sp.csr_array(parts, shape=tuple(found["sparse_features"]))
    return {
        "features": arrays.get("features", features),
        "labels": arrays.get("labels"),
        "splits": {s: arrays[f"split-{s}"] for s in splits if f"split-{s}" in arrays},
        "node_ids": arrays.get("node_ids"),
        **{name: found[name] for name in _FACTS},
    }
