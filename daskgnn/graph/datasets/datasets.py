"""Data sets by name: embedded, downloaded, from OGB, from a file, or drawn."""

from __future__ import annotations

import difflib
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskgnn.errors import DatasetError
from daskgnn.graph.datasets.download import data_folder
from daskgnn.graph.datasets.embedded import load_digits, load_karate
from daskgnn.graph.datasets.generate import planted_partition, rmat
from daskgnn.graph.datasets.known import INFO, is_named
from daskgnn.graph.datasets.ogb import from_ogb
from daskgnn.graph.datasets.planetoid import CHECKSUMS, load_planetoid
from daskgnn.graph.edges.inputfiles import plain_suffix
from daskgnn.graph.readers.memory import read_npz
from daskgnn.graph.readers.open_file import READERS, read_graph
from daskgnn.paths import given_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.graph.memory.data import GraphData


_EMBEDDED: dict[str, Callable[[], GraphData]] = {
    "digits": load_digits,
    "karate": load_karate,
}
_DRAWN: dict[str, Callable[..., GraphData]] = {
    "planted": planted_partition,
    "rmat": rmat,
}
_SHORT = {name: f"num_{name}" for name in ("nodes", "edges", "classes", "features")}


def load_dataset(
    name: str, data_dir: str | Path | None = None, yes: bool = False, **options: Any
) -> GraphData:
    """Load a data set by name, or a graph file by its path.

    "digits" and "karate" come with the package; others are looked for in the data
    folder and downloaded if need be.

    Parameters
    ----------
    name : str
        A name from `list_datasets`, or another one of OGB's; the path of a graph file,
        whose suffix selects the reader; the name of an ``.npz`` file in the data
        folder; or a synthetic graph such as
        "planted:nodes=10000,edges=100000,classes=10,seed=0".
    data_dir : str or path, optional
        The data folder; by default the environment variable ``DASKGNN_DATA_DIR``.
    yes : bool, default False
        Whether to agree to large downloads.
    **options : dict
        Arguments of the function behind the name: `from_ogb`, `planted_partition`,
        `rmat` or the reader of the file.

    Returns
    -------
    GraphData
        The checked graph.

    Raises
    ------
    DatasetError
        If the name or an option is unknown, files are missing or damaged, or a download
        failed or was not agreed to.
    GraphFormatError
        If a file's arrays do not describe a graph.

    Examples
    --------
    >>> import daskgnn
    >>> daskgnn.load_dataset("karate")
    GraphData('karate', 34 nodes, 156 edges, 34 features, 2 classes, ...)
    >>> daskgnn.load_dataset("planted:nodes=100,edges=400,classes=4").num_classes
    4
    """
    text = str(name)
    key, _, spec = text.partition(":")
    key = key.lower()
    if plain_suffix(Path(text)) in READERS:
        return read_graph(text, **options)
    if key in _DRAWN:
        given = _parse(key, spec) | options
        named = {_SHORT.get(option, option): value for option, value in given.items()}
        return _call(_DRAWN[key], key, named)
    key = text.lower()
    if key in _EMBEDDED:
        return _call(_EMBEDDED[key], key, options)
    if key in CHECKSUMS:
        return _call(load_planetoid, key, options, name=key, data_dir=data_dir)
    if key.startswith("ogbn-"):
        return _call(from_ogb, key, options, name=key, data_dir=data_dir, yes=yes)
    return _call(read_npz, text, options, path=_find_npz(text, data_dir))


def is_graph_file(text: str | Path) -> bool:
    """Return whether a command line's GRAPH is a file or a pattern by its suffix."""
    return plain_suffix(Path(text)) in READERS


def resolve(
    text: str | Path,
    data_dir: str | Path | None = None,
    yes: bool = False,
    **options: Any,
) -> GraphData:
    """Return the graph that a command line's GRAPH means, unless it is a store.

    Parameters
    ----------
    text
        A data set's name, or the path of a graph file.
    data_dir, yes, options
        As for :func:`load_dataset`.

    Raises
    ------
    DatasetError
        As for :func:`load_dataset`, and for a path of anything else.
    """
    path = Path(given_path(text))
    if path.exists() and plain_suffix(path) not in READERS and not is_named(text):
        raise DatasetError(
            f"{path} is neither a graph file ({', '.join(READERS)}) nor a store: give "
            f"a data set's name, such a file, or a store made by daskgnn partition"
        )
    return load_dataset(str(text), data_dir, yes, **options)


def _call(
    load: Callable[..., GraphData], label: str, options: dict[str, Any], /, **given: Any
) -> GraphData:
    """Call a loader, naming an option it does not take or lacks."""
    allowed = [key for key in inspect.signature(load).parameters if key not in given]
    if load is read_npz:
        allowed = ["metric", "num_classes", "class_names", "split_index", "progress"]
        options.pop("progress", None)
    unknown = [key for key in options if key not in allowed]
    if unknown:
        raise DatasetError(
            f"data set {label!r} has no option {unknown[0]!r}, "
            f"expected {', '.join(allowed) or 'none'}"
        )
    if load in _DRAWN.values():
        _check_drawn(load, label, options)
    return load(**given, **options)


def _check_drawn(
    load: Callable[..., GraphData], label: str, options: dict[str, Any]
) -> None:
    """Check that what has no default is given, and whole numbers are whole."""
    for key, parameter in inspect.signature(load).parameters.items():
        short = key.removeprefix("num_")
        if parameter.default is inspect.Parameter.empty and key not in options:
            example = next(info.note for info in INFO if info.name == label)
            raise DatasetError(
                f"data set {label!r} needs {short}: give e.g. {example!r}"
            )
        if parameter.annotation == "int" and isinstance(options.get(key), float):
            raise DatasetError(
                f"data set {label!r}: {short} is {options[key]}, expected a whole "
                f"number, e.g. {short}=10"
            )


def _parse(name: str, spec: str) -> dict[str, Any]:
    """Turn "nodes=10,leave=0.1" into numbers by name."""
    options = {}
    for item in filter(None, spec.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise DatasetError(
                f"{name}: cannot read {item!r}, expected option=number, e.g. nodes=1000"
            )
        options[key.strip()] = _number(name, key, value.strip())
    return options


def _number(name: str, key: str, value: str) -> float | bool:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        number = float(value)
    except ValueError:
        raise DatasetError(
            f"{name}: {key} is {value!r}, expected a number, e.g. {key}=10"
        ) from None
    return int(number) if number.is_integer() else number


def _find_npz(name: str, data_dir: str | Path | None) -> Path:
    """Return NAME.npz of the data folder, or say which names there are."""
    folder = data_folder(data_dir)
    plain = os.sep not in name and not name.startswith(".")
    if folder is not None and plain and (folder / f"{name}.npz").is_file():
        return folder / f"{name}.npz"
    if not plain:
        raise DatasetError(
            f"no file {given_path(name)}: give a data set's name, the path of a graph "
            "file, or a store made by daskgnn partition"
        )
    known = [info.name for info in INFO]
    if folder is not None:
        known += sorted(path.stem for path in folder.glob("*.npz"))
    known = list(dict.fromkeys(known))
    word = name.partition(":")[0].lower()
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(known)}"
    )
    raise DatasetError(
        f"unknown data set {name!r}: {hint} "
        f"(daskgnn datasets lists them; a file ends in {', '.join(READERS)})"
    )
