"""What a part keeps of its rows' columns: names, and the weights of their draws."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import GraphFormatError, InputError
from daskgnn.kernels.idset import IdSet
from daskgnn.kernels.variates import names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.entries import PartRows
    from daskgnn.sampling.size import GraphStats

SAMPLE_BY = ("uniform", "edge_weight", "degree")
"""What neighbours are drawn in proportion to, beside an array over nodes."""


def checked_sample_by(given: Any) -> str | np.ndarray:
    """Return what neighbours are drawn by: a word, or float32 [N] by original id.

    Raises
    ------
    InputError
        If it is neither, or no node can be drawn.
    """
    if isinstance(given, str) and given in SAMPLE_BY:
        return given
    names = ", ".join(map(repr, SAMPLE_BY))
    expected = f"expected one of {names}, or an array with a weight for each node"
    if isinstance(given, str) or np.ndim(given) != 1:
        said = f"={given!r}" if np.ndim(given) == 0 else f" of shape {np.shape(given)}"
        raise InputError(f"sample_by{said}, {expected}")
    try:
        weights = np.ascontiguousarray(given, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"sample_by: {error}; {expected}") from error
    wrong = np.flatnonzero(~(weights >= 0) | np.isinf(weights))
    if len(wrong):
        raise InputError(
            f"sample_by[{wrong[0]}] is {weights[wrong[0]]}: weights of nodes are "
            "finite and not below 0"
        )
    if not weights.any():
        raise InputError(
            "sample_by: the weights of all nodes are 0, so that none can be drawn: "
            "give some a weight above 0, or sample_by='uniform'"
        )
    return weights


def named_sample_by(sample_by: str | np.ndarray) -> str:
    """Return what stands for it in a fingerprint: the word, or a hash of the array."""
    if isinstance(sample_by, str):
        return sample_by
    return f"nodes:{hashlib.sha256(sample_by.tobytes()).hexdigest()[:16]}"


def check_drawable(graph: Any, sample_by: str | np.ndarray) -> None:
    """Refuse a graph that lacks the weights that neighbours are to be drawn by.

    Raises
    ------
    InputError
        In one line.
    """
    if isinstance(sample_by, str) and sample_by == "edge_weight" and not graph.weighted:
        raise InputError(
            f"graph {graph.name!r} has no edge weights: use sample_by='uniform', "
            "or give edge_weight when it is built"
        )
    if not isinstance(sample_by, str) and len(sample_by) != graph.num_nodes:
        raise InputError(
            f"sample_by has {len(sample_by)} weights, and graph {graph.name!r} has "
            f"{graph.num_nodes} nodes: give one for each node, by original id"
        )


def check_undivided_rows(
    graph: Any, what: str, instead: str = "use sampler='neighbor'"
) -> None:
    """Refuse a vertex-cut, which divides rows among parts.

    Parameters
    ----------
    what : str
        What needs whole rows.
    instead : str
        What can be used.

    Raises
    ------
    InputError
        In one line.
    """
    if graph.held_book is not None:
        raise InputError(
            f"{what} needs undivided rows, and graph {graph.name!r} is a vertex-cut "
            f"(method {graph.partitioner['method']!r}): {instead}, or "
            "partition it with method='fennel'"
        )


def draw_weights(
    block: AdjacencyBlock, source: Any, sample_by: str | np.ndarray
) -> np.ndarray | None:
    """Return float32 [E], what each entry's chance is proportional to; None if equal.

    Raises
    ------
    GraphFormatError
        If a weight is negative or not finite, or a node has none.
    """
    if not isinstance(sample_by, str):
        return _by_column(block, lambda ids: _node_weights(source, ids, sample_by))
    if sample_by == "uniform":
        return None
    if sample_by == "degree":
        # A source that nothing points to counts as having one in-neighbour.
        return np.maximum(source.degrees(block.indices), 1).astype(np.float32)
    weights = block.weights
    if weights is None:
        return np.ones(len(block.indices), np.float32)
    if len(weights) and not (weights.min() >= 0 and weights.max() < np.inf):
        raise GraphFormatError(
            f"sample_by={sample_by!r} needs weights of at least 0, and some edge has a "
            "negative one or none: use sample_by='uniform' or repair the weights"
        )
    return weights


def weight_bytes(stats: GraphStats, sample_by: str | np.ndarray) -> float:
    """Return about how many bytes `draw_weights` adds to those of a part's rows."""
    if isinstance(sample_by, str) and sample_by in ("uniform", "edge_weight"):
        return 0.0
    return 4 * stats.num_edges / stats.num_parts


def drawable_of(block: AdjacencyBlock, weights: np.ndarray) -> np.ndarray:
    """Return how many of each row's entries weigh more than 0, int64 [n]."""
    before = np.concatenate([[0], np.cumsum(weights > 0)])
    return np.diff(before[block.indptr])


def some_drawable(rows: PartRows) -> dict[str, np.ndarray]:
    """Return whether a part has an entry that can be drawn, where weights say so."""
    weights = rows.data.get("draw_weights")
    return {} if weights is None else {"drawable": np.array([weights.any()])}


def check_some_drawable(
    summaries: Sequence[dict[str, np.ndarray]], sample_by: str | np.ndarray
) -> None:
    """Refuse weights that are 0 everywhere, by what `some_drawable` says of each part.

    Raises
    ------
    InputError
        In one line.
    """
    told = [part["drawable"].any() for part in summaries if "drawable" in part]
    if told and not any(told):
        raise InputError(
            f"sample_by={named_sample_by(sample_by)!r}: the weights of all edges are "
            "0, so that no neighbour can be drawn: repair them, or use "
            "sample_by='uniform'"
        )


def column_names(block: AdjacencyBlock, source: Any) -> np.ndarray | None:
    """Return uint32 [E], what variates of the columns are hashed from.

    None if that is what the columns are already.
    """
    names = _by_column(block, lambda ids: names_of(original_ids(source, ids)))
    if block.indices.dtype == np.int32 and np.array_equal(
        names, block.indices.view(np.uint32)
    ):
        return None
    return names


def _node_weights(source: Any, ids: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weights of nodes, which are given by original id."""
    names = original_ids(source, ids)
    if len(names) and names.max() >= len(weights):
        raise GraphFormatError(
            f"sample_by has {len(weights)} weights by original id, and node "
            f"{names.max()} is beyond them"
        )
    return weights[names]


def original_ids(source: Any, ids: np.ndarray) -> np.ndarray:
    """Return the original ids of nodes; of a source without such, their own."""
    schema = getattr(source, "schema", None)
    if schema is not None and "original_ids" not in schema.tables:
        return ids
    return source.rows("original_ids", ids)


def _by_column(
    block: AdjacencyBlock, values_of: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return what holds of each column, [E]; each node among them is asked for once."""
    stop = int(block.indices.max(initial=-1)) + 1
    ids = IdSet.of([block.indices], 0, stop).members(np.int64)
    found = values_of(ids)
    table = np.empty(stop, found.dtype)
    table[ids] = found
    return table[block.indices]
