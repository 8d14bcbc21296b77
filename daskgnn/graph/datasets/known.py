"""The data sets that are known by name, and what a command line's GRAPH means."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daskgnn.paths import given_path, is_store_name


@dataclass(frozen=True)
class DatasetInfo:
    """One row of the list of data sets; None where a number depends on options.

    Examples
    --------
    >>> import daskgnn
    >>> [info.nodes for info in daskgnn.list_datasets() if info.name == "karate"]
    [34]
    """

    name: str
    """What `load_dataset` calls it."""
    nodes: int | None
    """Number of nodes."""
    edges: int | None
    """Number of undirected edges; of the citation graphs of OGB, of citations."""
    features: int | None
    """Number of features of a node; 0 without features."""
    classes: int | None
    """Number of classes, or of yes/no labels."""
    source: str
    """Where the data come from."""
    note: str = ""
    """Size of the download, or how to write the name."""


with Path(__file__).with_name("datasets.csv").open(newline="") as _file:
    _rows: list[Any] = [
        [int(v) if v.isdigit() else v or None for v in row]
        for row in list(csv.reader(_file))[1:]
    ]
INFO = tuple(DatasetInfo(*row) for row in _rows)
"""All that are known."""


def list_datasets() -> list[DatasetInfo]:
    """List the data sets that `load_dataset` knows by name.

    Returns
    -------
    list of DatasetInfo
        Name, size and origin of each.

    Examples
    --------
    >>> import daskgnn
    >>> [info.name for info in daskgnn.list_datasets()][:3]
    ['digits', 'karate', 'cora']
    """
    return list(INFO)


def is_store(text: str | Path) -> bool:
    """Return whether a command line's GRAPH is the path of a store.

    A directory that holds no Zarr group and is called like a data set is none. An
    address is.
    """
    if is_store_name(text):
        return True
    path = Path(given_path(text))
    named = is_named(text)
    return path.is_dir() and ((path / "zarr.json").exists() or not named)


def is_named(text: str | Path) -> bool:
    """Return whether a command line's GRAPH is called like a data set."""
    return str(text).lower() in {info.name.lower() for info in INFO}
