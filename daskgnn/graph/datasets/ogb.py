"""Node-property data sets of the Open Graph Benchmark.

Two files of the ``ogb`` package are used: its table of data sets and its download. They
are loaded as files, for importing the package starts a thread that asks the network for
newer versions. What its evaluator computes is in `daskgnn.tasks`. The raw data are read
by this module, every time: the copy that ``ogb`` saves after its first reading cannot
be loaded again by torch >= 2.6.
"""

from __future__ import annotations

import difflib
import importlib.util
import shutil
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import DatasetError
from daskgnn.graph.datasets.download import cache_folder, data_folder
from daskgnn.graph.edges.inputfiles import readable
from daskgnn.graph.readers.memory import from_edge_index
from daskgnn.graph.readers.npz import load_npz

if TYPE_CHECKING:
    from daskgnn.graph.memory.data import GraphData

_SIZES = {
    "ogbn-arxiv": "0.08 GB",
    "ogbn-proteins": "0.21 GB",
    "ogbn-products": "1.38 GB",
    "ogbn-mag": "0.39 GB",
    "ogbn-papers100M": "56 GB",
}
_BINARY = ("edge_index", "node_feat", "edge_feat", "num_nodes_list", "num_edges_list")
_SPLIT_FILES = {"train": "train", "val": "valid", "test": "test"}
_REMEDY = "get the data set again"


def _ogb_module(path: str) -> Any:
    """Load one file of ``ogb``, e.g. "utils/url.py", without the package around it.

    Raises
    ------
    DatasetError
        If it is not there, or needs what is not installed.
    """
    name = f"_daskgnn_ogb_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, ogb_folder() / path)
    if spec is None or spec.loader is None:
        raise DatasetError(f"the ogb package has no {path}: pip install ogb")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, OSError) as error:
        raise DatasetError(
            f"{path} of the ogb package cannot be loaded ({error}): pip install ogb"
        ) from None
    return module


def ogb_folder() -> Path:
    """Return where the ``ogb`` package lies, without importing it.

    Raises
    ------
    DatasetError
        If it is not installed.
    """
    spec = importlib.util.find_spec("ogb")
    if spec is None or not spec.submodule_search_locations:
        raise DatasetError("the ogb package is not installed: pip install ogb")
    return Path(spec.submodule_search_locations[0])


@cache
def _master() -> dict[str, dict[str, str]]:
    import pandas as pd

    path = ogb_folder() / "nodeproppred" / "master.csv"
    return pd.read_csv(path, index_col=0, dtype=str, keep_default_na=False).to_dict()


def ogb_table(name: str) -> dict[str, str]:
    """Return what ``ogb`` knows of a data set.

    Raises
    ------
    DatasetError
        If it knows none of that name.
    """
    known = {known.lower(): known for known in _master()}.get(name.lower())
    if known is None:
        near = difflib.get_close_matches(name.lower(), _master(), n=3, cutoff=0.7)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise DatasetError(
            f"no OGB data set {name!r}, expected one of {', '.join(_master())}{hint}"
        )
    return _master()[known] | {"name": known}


def from_ogb(
    name: str,
    data_dir: str | Path | None = None,
    yes: bool = False,
    *,
    directed: bool = False,
    features: str | None = None,
) -> GraphData:
    """Load a node property prediction data set of the Open Graph Benchmark.

    It is looked for as ``ogbn_arxiv``, ``arxiv`` or ``ogb/ogbn_arxiv`` in the data
    folder, then in the cache; otherwise it is downloaded to the data folder, or to the
    cache.

    Parameters
    ----------
    name : str
        For instance "ogbn-arxiv".
    data_dir : str or path, optional
        The data folder; by default the environment variable ``DASKGNN_DATA_DIR``.
    yes : bool, default False
        Whether to download what is missing without asking.
    directed : bool, default False
        Whether to keep the direction of citations; otherwise edges go both ways.
    features : str, optional
        "species" gives features to ogbn-proteins, which has none: the species of each
        node, one-hot.

    Returns
    -------
    GraphData
        The checked graph.

    Raises
    ------
    DatasetError
        If files are missing or damaged, the data set has several types of nodes, or a
        download was not agreed to.
    GraphFormatError
        If the files contradict each other.

    Examples
    --------
    >>> import daskgnn
    >>> daskgnn.from_ogb("ogbn-arxive")
    Traceback (most recent call last):
        ...
    daskgnn.errors.DatasetError: no OGB data set 'ogbn-arxive', expected one of ...

    With the files at hand, or after a download:

        data = daskgnn.from_ogb("ogbn-arxiv", data_dir="data", yes=True)
    """
    table = ogb_table(name)
    name = table["name"]
    if table["is hetero"] == "True":
        raise DatasetError(
            f"{name} has several types of nodes and edges, expected a graph with one: "
            f"use another data set, e.g. ogbn-arxiv"
        )
    if directed and table["add_inverse_edge"] == "True":
        raise DatasetError(f"{name} is undirected: leave directed out")
    folder = _find(table, data_dir) or _download(table, data_dir, yes)
    raw = _read_binary(folder) if table["binary"] == "True" else _read_csv(folder)
    tasks = table["num tasks"]
    if features is not None:
        raw["node_feat"] = _species(name, folder, features)
    return from_edge_index(
        raw["edge_index"],
        num_nodes=int(raw["num_nodes"]),
        features=raw.get("node_feat"),
        labels=raw["labels"],
        num_classes=int(table["num classes" if tasks == "1" else "num tasks"]),
        edge_attr={"edge_feat": raw["edge_feat"]} if "edge_feat" in raw else None,
        directed=directed,
        name=name,
        metric=f"ogb:{name}",
        **_read_splits(folder / "split" / table["split"]),
    )


def _find(table: dict[str, str], data_dir: str | Path | None) -> Path | None:
    file = "raw/data.npz" if table["binary"] == "True" else "raw/edge.csv.gz"
    own = table["name"].replace("-", "_")
    user = data_folder(data_dir)
    roots = ([user, user / "ogb"] if user else []) + [cache_folder() / "ogb"]
    for root in roots:
        for folder in (own, f"{own}_pyg", f"{own}_dgl", table["download_name"]):
            if (root / folder / file).is_file():
                return root / folder
    return None


def _download(table: dict[str, str], data_dir: str | Path | None, yes: bool) -> Path:
    name = table["name"]
    root = data_folder(data_dir) or cache_folder() / "ogb"
    if not yes:
        size = _SIZES.get(name, "an unknown number of GB")
        raise DatasetError(
            f"{name} is not in {root} and its download is {size}",
            python="pass yes=True to download it there, or its folder as data_dir=...",
            shell="give --yes to download it there, or its folder as --data-dir",
        )
    root.mkdir(parents=True, exist_ok=True)
    url = _ogb_module("utils/url.py")
    archive = root / table["url"].rpartition("/")[2]
    try:
        url.download_url(table["url"], str(root), log=False)
        _unpack(archive, root, table["download_name"], root / name.replace("-", "_"))
    except (OSError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        archive.unlink(missing_ok=True)
        raise DatasetError(
            f"cannot download {table['url']} ({error}): check the network, or unpack "
            f"it into {root} yourself"
        ) from None
    archive.unlink()
    return root / name.replace("-", "_")


def _unpack(archive: Path, root: Path, inner: str, target: Path) -> None:
    """Unpack beside the target and rename, so that no half of it is ever found."""
    work = root / f".{target.name}.unpacking"
    shutil.rmtree(work, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as file:
            file.extractall(work)
        (work / inner).rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _table(path: Path, dtype: Any = None) -> np.ndarray:
    """Return a headerless csv.gz as an array (rows, columns)."""
    import pandas as pd

    if not path.is_file():
        raise DatasetError(f"file {path} is missing: {_REMEDY}")
    with readable(path, "is damaged", (ValueError, OSError, EOFError), _REMEDY):
        return pd.read_csv(path, header=None, dtype=dtype).to_numpy()


def _read_csv(folder: Path) -> dict[str, Any]:
    raw = folder / "raw"
    arrays: dict[str, Any] = {
        "edge_index": _table(raw / "edge.csv.gz", np.int64).T,
        "num_nodes": _table(raw / "num-node-list.csv.gz", np.int64)[0, 0],
        "labels": _table(raw / "node-label.csv.gz"),
    }
    for key in ("node_feat", "edge_feat"):
        path = raw / f"{key.replace('_', '-')}.csv.gz"
        if path.is_file():
            arrays[key] = _table(path, np.float32)
    num_edges = int(_table(raw / "num-edge-list.csv.gz", np.int64)[0, 0])
    return _check_num_edges(arrays, num_edges, raw)


def _read_binary(folder: Path) -> dict[str, Any]:
    raw = folder / "raw"
    # By name: others, like the years of papers, may take much memory.
    arrays: dict[str, Any] = load_npz(raw / "data.npz", *_BINARY)
    labels = load_npz(raw / "node-label.npz", "node_label")
    with readable(raw, "is damaged", (KeyError, ValueError, IndexError), _REMEDY):
        arrays["labels"] = labels["node_label"]
        arrays["num_nodes"] = arrays.pop("num_nodes_list")[0]
        num_edges = int(arrays.pop("num_edges_list")[0])
    return _check_num_edges(arrays, num_edges, raw)


def _check_num_edges(
    arrays: dict[str, Any], num_edges: int, raw: Path
) -> dict[str, Any]:
    found = arrays["edge_index"].shape[1]
    if found != num_edges:
        raise DatasetError(
            f"{raw} holds {found} edges, expected {num_edges}: {_REMEDY}"
        )
    return arrays


def _read_splits(folder: Path) -> dict[str, Any]:
    return {
        name: _table(folder / f"{file}.csv.gz", np.int64)[:, 0]
        for name, file in _SPLIT_FILES.items()
    }


def _species(name: str, folder: Path, features: str) -> np.ndarray:
    if features != "species" or name != "ogbn-proteins":
        raise DatasetError(
            f"features={features!r} is unknown for {name}, expected 'species' for "
            f"ogbn-proteins: leave it out"
        )
    paths = [folder / "raw" / f"{stem}.csv.gz" for stem in ("node_species", "species")]
    path = next((path for path in paths if path.is_file()), paths[0])
    kinds, number = np.unique(_table(path, np.int64)[:, 0], return_inverse=True)
    return np.eye(len(kinds), dtype=np.float32)[number]
