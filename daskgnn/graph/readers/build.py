"""What every reader does: take options, collect edges, make a graph of them.

Edges wait in a spool; with a table of nodes they become a graph.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import DatasetError, GraphFormatError
from daskgnn.graph.edges import convert
from daskgnn.graph.edges.assemble import Spool, build_rows, limit_bytes
from daskgnn.graph.edges.convert import known_num_nodes
from daskgnn.graph.edges.identify import Ids, WordIds, check_ids_option, number_ids
from daskgnn.graph.edges.inputfiles import find_files, plain_name
from daskgnn.graph.edges.rounding import warn_of_rounding
from daskgnn.graph.edges.splits import split_arrays
from daskgnn.graph.memory.checks import SPLITS
from daskgnn.graph.memory.data import GraphData
from daskgnn.graph.memory.origin import Origin
from daskgnn.graph.readers.matching import match, read_spelled
from daskgnn.graph.readers.names import named_labels, refuse_column_names
from daskgnn.graph.readers.nodetable import NodeTable, column_names, read_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

OTHER_COLUMNS = {
    "python": "name others by source= and destination=",
    "shell": "name others by --source and --destination",
}
"""What to do where columns of edges are not what they should be."""
_OF_NODES = ("features", "labels", *SPLITS)


@dataclass
class BuildOptions:
    """The options of every reader of files."""

    directed: bool = False
    """Keep the direction of edges; else every edge is entered both ways."""
    self_loops: str = "drop"
    """"drop" or "keep"."""
    ids: Ids = "auto"
    """"keep" ids as nodes 0..N-1, "map" them, or "auto": map words, and numbers that
    are negative or few for their size."""
    num_nodes: int | None = None
    """N, where ids are kept; else the largest id + 1."""
    nodes: Any = None
    """A table of nodes: a Parquet or CSV file or pattern, or a pandas DataFrame; see
    `daskgnn.graph.readers.nodetable.read_nodes`."""
    features: Any = None
    """(N, F), or names of columns of `nodes`."""
    labels: Any = None
    """(N,) or (N, C), or the name of a column of `nodes`."""
    num_classes: int | None = None
    """C."""
    class_names: Any = None
    """Names of the classes: class i is the i-th, and labels that are words are found
    among them; by default the words of `labels`."""
    train: Any = None
    """A mask (N,), node numbers, or the name of a column of `nodes`."""
    val: Any = None
    """As `train`."""
    test: Any = None
    """As `train`."""
    split_index: int | None = None
    """Which column of masks with several, from 0."""
    name: str = "graph"
    """What reports call it."""
    metric: str | None = None
    """As of `GraphData`."""
    memory_limit: int | str | None = None
    """What reading may hold besides the finished graph: bytes, or like "2 GiB"."""
    progress: bool = False
    """Show a bar while files are read."""
    build_rows: Any = build_rows
    """What makes rows of the edges: see `daskgnn.graph.edges.assemble.build_rows`."""


def take_options(options: dict[str, Any], name: str) -> BuildOptions:
    """Return a reader's options, checked.

    Raises
    ------
    GraphFormatError
        For one that there is not, or a wrong word.
    """
    known = {field.name for field in fields(BuildOptions)}
    for key in options:
        if key not in known:
            raise GraphFormatError(
                f"no reader has an option {key!r}, expected one of "
                f"{', '.join(sorted(known))}"
            )
    found = BuildOptions(**{"name": name, **options})
    check_ids_option(found.ids)
    convert.keeps_self_loops(found.self_loops)
    return found


@dataclass
class Reading:
    """Files that are read as a stream of edges."""

    files: list[Path]
    options: BuildOptions
    limit: int
    """Bytes that reading may hold."""

    def collect(
        self, chunks: Callable[[Path, Any], Iterable[Any]], weighted: bool = False
    ) -> Spool:
        """Return the edges of all files.

        Parameters
        ----------
        chunks
            (file, bar) -> chunks of edges as `Spool.append` takes them. The bar may be
            told of bytes of the file that were read.
        """
        from tqdm import tqdm

        spool, sizes = Spool(self.limit // 2, weighted), [0]
        sizes += itertools.accumulate(file.stat().st_size for file in self.files)
        hidden = not self.options.progress
        look = {"unit": "B", "unit_scale": True, "leave": False}
        with tqdm(total=sizes[-1], disable=hidden, **look) as bar:
            for file, done in zip(self.files, sizes[1:], strict=True):
                for chunk in chunks(file, bar):
                    spool.append(*chunk)
                bar.update(done - bar.n)
        return spool


def begin(path: Any, options: dict[str, Any], single: str = "") -> Reading:
    """Find the files that a reader was given, and check its options.

    Parameters
    ----------
    single
        What one file holds, where there may be only one.

    Raises
    ------
    DatasetError
        If a file is missing, or there is more than one where one is read.
    GraphFormatError
        As for `take_options`.
    """
    files = find_files(path)
    if single and len(files) > 1:
        raise DatasetError(f"{path} matches {len(files)} files, expected one {single}")
    found = take_options(options, plain_name(files[0]))
    return Reading(files, found, limit_bytes(found.memory_limit))


def find_columns(
    names: Sequence[Any], places: Sequence[str | int | None], where: Any
) -> list[int]:
    """Return the numbers of columns that are given by their names or numbers.

    Parameters
    ----------
    places
        The columns of sources, destinations and weights; None for no weights.

    Raises
    ------
    GraphFormatError
        If there is no such column, or two are the same.
    """
    found = [_find_column(names, p, where) for p in places if p is not None]
    if len(set(found)) < len(found):
        raise GraphFormatError(
            f"{where}: source, destination and weight name one column twice"
        )
    return found


def _find_column(names: Sequence[Any], place: str | int, where: Any) -> int:
    """Return the number of one column."""
    if not isinstance(place, bool):
        if place in names:
            return names.index(place)
        if isinstance(place, int) and 0 <= place < len(names):
            return place
    raise GraphFormatError(
        f"{where} has no column {place!r}, expected one of "
        f"{', '.join(map(str, names)) or 'none'}",
        **OTHER_COLUMNS,
    )


def build_graph(
    spool: Spool, options: BuildOptions, words: WordIds | None = None, add: bool = False
) -> GraphData:
    """Make a graph of spooled edges.

    Parameters
    ----------
    words
        What the numbers in the spool stand for, where ids were words.
    add
        Whether they are entries of a matrix, so that repeats are added up.

    Raises
    ------
    GraphFormatError
        If anything does not fit; the message names it.
    """
    given = {name: getattr(options, name) for name in _OF_NODES}
    if options.nodes is None:
        refuse_column_names(given)
    table = None if options.nodes is None else read_nodes(options)
    rounded = spool.rounded
    spool, num_nodes, node_ids = _settle(spool, options, words, table)
    if node_ids is not None:
        _refuse_arrays(given, node_ids, table is not None)
    rows, weights = options.build_rows(
        spool,
        num_nodes,
        directed=options.directed,
        keep_self_loops=convert.keeps_self_loops(options.self_loops),
        add=add,
    )
    report = dict(rows.report)
    if rounded:
        report["weights_rounded"] = rounded + report.get("weights_rounded", 0)
    if table is not None:
        given |= table.columns
        if table.unused:
            report["columns_unused"] = table.unused
        if table.rounded:
            report["features_rounded"] = table.rounded
    features = given["features"]
    labels, num_classes, class_names = named_labels(
        given["labels"], options.num_classes, options.class_names, node_ids
    )
    matrix = None if features is None else convert.feature_matrix(features, report)
    warn_of_rounding(report, options.name)
    if node_ids is not None:
        report["ids_mapped"] = num_nodes
    splits = {split: given[split] for split in SPLITS}
    return GraphData(
        rows.indptr,
        rows.indices,
        edge_weight=weights,
        features=matrix,
        labels=labels,
        num_classes=num_classes,
        splits=split_arrays(splits, num_nodes, options.split_index),
        directed=options.directed,
        name=options.name,
        metric=options.metric,
        report=report,
        node_ids=node_ids,
        class_names=class_names,
        origin=Origin() if table is None else table.origin,
    )


def _refuse_arrays(given: dict[str, Any], ids: np.ndarray, table: bool) -> None:
    """Raise `GraphFormatError` for arrays by node number where ids are others.

    With a table of nodes row i of an array is row i of it, but what node 7 of a split
    is could be either.
    """
    for name, value in given.items():
        named = isinstance(value, str) or (name == "features" and column_names(value))
        if value is None or named:
            continue
        by_row = name not in SPLITS or np.asarray(value).dtype.kind == "b"
        if not (table and by_row):
            raise GraphFormatError(
                f"{name} is given by node number, but the ids of the edges are not "
                f"0..N-1 (node 0 is {ids[0]!s})",
                python="give a table of nodes with a column for it, nodes=..., "
                f"{name}='column', or pass ids='keep'",
                shell="give a table of nodes with a column for it, --nodes FILE, or "
                "--ids keep",
            )


def _known(options: BuildOptions) -> int | None:
    """Return N where options tell it."""
    if options.num_nodes is not None:
        return options.num_nodes
    masks = {split: getattr(options, split) for split in SPLITS}
    labels = None if options.labels is None else convert.label_array(options.labels)
    return known_num_nodes(options.features, labels, masks)


def _settle(
    spool: Spool, options: BuildOptions, words: WordIds | None, table: NodeTable | None
) -> tuple[Spool, int, np.ndarray | None]:
    """Return the edges between nodes 0..N-1, N, and the ids of mapped nodes."""
    if not spool.count:
        raise GraphFormatError(
            "the graph is empty: there are no edges, expected at least 1"
        )
    if table is not None and table.ids is not None:
        spool, ids = match(spool, words, table)
        return spool, table.length, ids
    spool, words = read_spelled(spool, words)
    if words is not None:
        if options.ids == "keep":
            raise GraphFormatError(
                f"ids are words like {words.texts()[0].as_py()!r}, expected whole "
                "numbers",
                python="leave ids='keep' out",
                shell="leave --ids keep out",
            )
        if options.num_nodes not in (None, len(words)):
            raise GraphFormatError(
                f"num_nodes is {options.num_nodes}, but ids are words and {len(words)} "
                "occur: give a table of nodes that names all of them, nodes=..."
            )
        return spool, len(words), words.words()
    num_nodes = _known(options) if table is None else table.length
    return number_ids(spool, options.ids, num_nodes)
