"""The last step of every reader: make a graph of edges and tables of nodes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges import convert
from daskgnn.graph.edges.assemble import Spool, build_rows
from daskgnn.graph.edges.csr import known_num_nodes
from daskgnn.graph.edges.identify import Ids, WordIds, check_ids_option, number_ids
from daskgnn.graph.memory.checks import SPLITS
from daskgnn.graph.memory.data import GraphData
from daskgnn.graph.readers.nodetable import NodeTable, read_nodes

if TYPE_CHECKING:
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


def progress_bar(files: list[Path], shown: bool) -> Any:
    """Return a bar over the bytes of files."""
    from tqdm import tqdm

    total = sum(path.stat().st_size for path in files)
    return tqdm(total=total, unit="B", unit_scale=True, disable=not shown, leave=False)


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
    report = dict(rows.report)
    if node_ids is not None:
        report["ids_mapped"] = num_nodes
    return GraphData(
        rows.indptr,
        rows.indices,
        edge_weight=weights,
        features=None if features is None else convert.feature_matrix(features),
        labels=targets,
        num_classes=convert.count_classes(targets, options.num_classes),
        splits=convert.split_arrays({s: given[s] for s in SPLITS}, num_nodes),
        directed=options.directed,
        name=options.name,
        metric=options.metric,
        report=report,
        node_ids=node_ids,
    )


def _known(options: BuildOptions) -> int | None:
    """Return N where options tell it."""
    if options.num_nodes is not None:
        return options.num_nodes
    masks = {split: getattr(options, split) for split in SPLITS}
    labels = None if options.labels is None else convert.label_array(options.labels)
    return known_num_nodes(options.features, labels, masks)


def _settle(
    spool: Spool,
    options: BuildOptions,
    words: WordIds | None,
    table: NodeTable | None,
) -> tuple[Spool, int, np.ndarray | None]:
    """Return the edges between nodes 0..N-1, N, and the ids of mapped nodes."""
    if table is not None and table.ids is not None:
        if not spool.count:
            raise GraphFormatError("the graph is empty: there are no edges")
        return table.match(spool, words), len(table), table.ids
    if words is not None:
        if options.ids == "keep":
            raise GraphFormatError(
                f"ids are words like {str(words.words()[0])!r}, expected whole "
                "numbers: leave ids='keep' out"
            )
        if not spool.count:
            raise GraphFormatError("the graph is empty: there are no edges")
        return spool, len(words), words.words()
    num_nodes = _known(options) if table is None else len(table)
    return number_ids(spool, options.ids, num_nodes)
