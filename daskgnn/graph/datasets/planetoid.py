"""Cora, CiteSeer and PubMed, from the original Planetoid files.

The files are Python-2 pickles. They are checked against their SHA-256 and read by
an unpickler that knows the few names they need and nothing else.
"""

from __future__ import annotations

import itertools
import os
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from daskgnn.graph.datasets.download import cache_folder, check_file, data_folder, fetch
from daskgnn.graph.edges.inputfiles import readable
from daskgnn.graph.readers.memory import from_edge_index

if TYPE_CHECKING:
    from daskgnn.graph.memory.data import GraphData

BASE_URL = (
    "https://raw.githubusercontent.com/kimiyoung/planetoid/"
    "af6abf468a772cc055bec88c52e4d6f51b7c37e3/data"
)
NUM_VAL = 500

CHECKSUMS: dict[str, dict[str, str]] = {}
"""SHA-256 of each file ``ind.<set>.<part>``, by set and part."""
for _line in Path(__file__).with_suffix(".sha256").read_text().splitlines():
    _sum, _, _name, _part = re.split(r"  |\.", _line, maxsplit=3)
    CHECKSUMS.setdefault(_name, {})[_part] = _sum


class _Matrix:
    """Takes the fields of a pickled scipy CSR matrix, of whatever scipy version."""

    def to_csr(self) -> sp.csr_array:
        """Return the matrix."""
        state = vars(self)
        parts = (state["data"], state["indices"], state["indptr"])
        return sp.csr_array(parts, shape=state["_shape"])


def _dtype(name: Any, align: Any = False, copy: Any = False) -> np.dtype:
    # Old pickles hold 0 and 1 where numpy expects booleans.
    return np.dtype(name, align=bool(align), copy=bool(copy))


_ALLOWED: dict[tuple[str, str], Any] = {
    ("scipy.sparse.csr", "csr_matrix"): _Matrix,
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("collections", "defaultdict"): lambda factory: {},
    ("__builtin__", "list"): list,
}


class _Unpickler(pickle.Unpickler):
    """Knows the names the Planetoid files need; a pickle cannot run anything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the allowed names."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return _ALLOWED[module, name]


def load_pickle(path: str | Path) -> Any:
    """Return the numpy array, CSR array or dict of lists in a Planetoid file.

    Raises
    ------
    DatasetError
        If the file is not such a pickle, or names anything that is not allowed.
    """
    path, what = Path(path), "is damaged or not a Planetoid file"
    # A damaged pickle can fail in any way.
    with readable(path, what, Exception), path.open("rb") as file:
        value = _Unpickler(file, encoding="latin1").load()
        return value.to_csr() if isinstance(value, _Matrix) else value


def load_planetoid(
    name: str, data_dir: str | Path | None = None, base_url: str | None = None
) -> GraphData:
    """Load "cora", "citeseer" or "pubmed" with the public split.

    Looked for in the data folder (DIR, DIR/raw/planetoid, DIR/NAME/raw), then in the
    cache, then downloaded there.

    Parameters
    ----------
    name
        The data set.
    data_dir
        The data folder; ``DASKGNN_DATA_DIR`` if not given.
    base_url
        Where to download from; ``DASKGNN_PLANETOID_URL`` if not given, else the
        authors' repository.

    Raises
    ------
    DatasetError
        If files are missing, damaged or cannot be downloaded.
    """
    paths = _find(name, data_folder(data_dir)) or _download(name, base_url)
    for part, path in paths.items():
        check_file(path, CHECKSUMS[name][part])
    return _assemble(name, paths)


def _files(name: str, folder: Path) -> dict[str, Path]:
    return {part: folder / f"ind.{name}.{part}" for part in CHECKSUMS[name]}


def _find(name: str, data_dir: Path | None) -> dict[str, Path] | None:
    """Return the files in the first folder that has any of them."""
    if data_dir is None:
        return None
    spellings = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}
    below = ("", "raw/planetoid", f"{name}/raw", f"{spellings[name]}/raw")
    for folder in (data_dir / path for path in below):
        paths = _files(name, folder)
        if any(path.is_file() for path in paths.values()):
            return paths
    return None


def _download(name: str, base_url: str | None) -> dict[str, Path]:
    base = base_url or os.environ.get("DASKGNN_PLANETOID_URL") or BASE_URL
    folder = cache_folder() / "planetoid"
    return {
        part: fetch(f"{base.rstrip('/')}/{path.name}", CHECKSUMS[name][part], folder)
        for part, path in _files(name, folder).items()
    }


def _assemble(name: str, paths: dict[str, Path]) -> GraphData:
    """Put the parts together: rows of ``tx`` belong to the ids in ``test.index``."""
    parts = {
        key: load_pickle(path) for key, path in paths.items() if key != "test.index"
    }
    test = np.loadtxt(paths["test.index"], dtype=np.int64)
    num_nodes, num_train = len(parts["graph"]), len(parts["y"])
    rows = np.concatenate([np.arange(parts["allx"].shape[0]), test])
    # Row k belongs to node rows[k]; CiteSeer leaves some nodes without one.
    given = sp.vstack([parts["allx"], parts["tx"]]).tocoo()
    entries = (given.data, (rows[given.row], given.col))
    labels = np.full(num_nodes, -1, dtype=np.int64)
    one_hot = np.concatenate([parts["ally"], parts["ty"]])
    labels[rows] = np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), -1)
    return from_edge_index(
        _edges(parts["graph"]),
        num_nodes=num_nodes,
        features=sp.csr_array(entries, shape=(num_nodes, given.shape[1])),
        labels=labels,
        num_classes=one_hot.shape[1],
        train=np.arange(num_train),
        val=np.arange(num_train, num_train + NUM_VAL),
        test=test,
        name=name,
        metric="accuracy",
    )


def _edges(neighbors: dict[int, list[int]]) -> np.ndarray:
    counts = np.fromiter(map(len, neighbors.values()), dtype=np.int64)
    source = np.repeat(np.fromiter(neighbors, dtype=np.int64), counts)
    chained = itertools.chain.from_iterable(neighbors.values())
    return np.stack([source, np.fromiter(chained, dtype=np.int64)])
