"""What every reader does: take options, collect edges, make a graph of them.

Edges wait in a spool; with a table of nodes they become a graph.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import csv

from daskgnn.errors import DatasetError, GraphFormatError
from daskgnn.graph.edges import convert
from daskgnn.graph.edges.assemble import Spool, build_rows, limit_bytes
from daskgnn.graph.edges.convert import known_num_nodes
from daskgnn.graph.edges.identify import Ids, WordIds, check_ids_option, number_ids
from daskgnn.graph.edges.inputfiles import find_files, plain_name
from daskgnn.graph.memory.checks import SPLITS
from daskgnn.graph.memory.data import GraphData
from daskgnn.graph.memory.origin import Origin
from daskgnn.graph.readers.names import (
    given_class_names,
    numbered_beyond,
    refuse_column_names,
)
from daskgnn.graph.readers.nodetable import NodeTable, read_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import numpy as np


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
    """Names of the classes, in order; by default the words of `labels`."""
    train: Any = None
    """A mask (N,), node numbers, or the name of a column of `nodes`."""
    val: Any = None
    """As `train`."""
    test: Any = None
    """As `train`."""
    name: str = "graph"
    """What reports call it."""
    metric: str | None = None
    """As of `GraphData`."""
    memory_limit: int | str | None = None
    """What reading may hold beside the finished graph: bytes, or like "2 GiB"."""
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
        f"{', '.join(map(str, names)) or 'none'}: name others by source= and "
        "destination="
    )


def parse_lines(
    block: bytes, delimiter: str, count: int, kinds: dict[int, Any]
) -> dict[int, np.ndarray]:
    """Return the columns of `kinds`, in their types, of lines with `count` fields.

    Raises
    ------
    pyarrow.ArrowInvalid
        If a line has other fields.
    """
    names = [str(i) for i in range(count)]
    table = csv.read_csv(
        pa.BufferReader(block),
        csv.ReadOptions(column_names=names, block_size=len(block) + 1),
        csv.ParseOptions(delimiter=delimiter, quote_char='"'),
        csv.ConvertOptions(
            column_types={names[i]: kind for i, kind in kinds.items()},
            include_columns=[names[i] for i in kinds],
            null_values=[],
            strings_can_be_null=False,
        ),
    )
    return {i: table.column(names[i]).to_numpy() for i in kinds}


def build_graph(
    spool: Spool, options: BuildOptions, words: WordIds | None = None
) -> GraphData:
    """Make a graph of spooled edges.

    Parameters
    ----------
    words
        What the numbers in the spool stand for, where ids were words.

    Raises
    ------
    GraphFormatError
        If anything does not fit; the message names it.
    """
    if options.nodes is None:
        names = ("features", "labels", *SPLITS)
        refuse_column_names({name: getattr(options, name) for name in names})
    table = None if options.nodes is None else read_nodes(options)
    spool, num_nodes, node_ids = _settle(spool, options, words, table)
    rows, weights = options.build_rows(
        spool,
        num_nodes,
        directed=options.directed,
        keep_self_loops=convert.keeps_self_loops(options.self_loops),
    )
    given = {
        "features": options.features,
        "labels": options.labels,
        **{split: getattr(options, split) for split in SPLITS},
    }
    if table is not None:
        given |= table.columns
    features, labels = given["features"], given["labels"]
    targets = None if labels is None else convert.label_array(labels)
    num_classes = convert.count_classes(targets, options.num_classes)
    report = dict(rows.report)
    if node_ids is not None:
        report["ids_mapped"] = num_nodes
    return GraphData(
        rows.indptr,
        rows.indices,
        edge_weight=weights,
        features=None if features is None else convert.feature_matrix(features),
        labels=targets,
        num_classes=num_classes,
        splits=convert.split_arrays({s: given[s] for s in SPLITS}, num_nodes),
        directed=options.directed,
        name=options.name,
        metric=options.metric,
        report=report,
        node_ids=node_ids,
        class_names=_class_names(options, table, num_classes),
        origin=Origin() if table is None else table.origin,
    )


def _class_names(
    options: BuildOptions, table: NodeTable | None, num_classes: int
) -> tuple[str, ...] | None:
    """Return the names of classes: as given, else as the table of nodes has them."""
    if options.class_names is not None or table is None:
        return given_class_names(options.class_names, num_classes)
    return numbered_beyond(table.class_names, num_classes)


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
        return table.match(spool, words), table.length, table.ids
    if words is not None:
        if options.ids == "keep":
            raise GraphFormatError(
                f"ids are words like {str(words.words()[0])!r}, expected whole "
                "numbers: leave ids='keep' out"
            )
        return spool, len(words), words.words()
    num_nodes = _known(options) if table is None else table.length
    return number_ids(spool, options.ids, num_nodes)
