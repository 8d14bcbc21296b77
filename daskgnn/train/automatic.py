"""Where a graph is trained and evaluated: in this process or not, by its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.dataflow.memory import COLUMNS_PER_ENTRY, entries_per_row, stays_sparse
from daskgnn.graph.graph import Graph
from daskgnn.sampling.size import GraphStats, grown

if TYPE_CHECKING:
    from daskgnn.graph.memory.data import GraphData

SHORT = 12.0
"""Seconds of training that two workers cannot shorten by what a cluster takes to start
and to stop."""
PRODUCTS = 4e10
"""About how many floating-point operations of a step a core does in a second, gathering
rows included: a scale for `SHORT`, no promise."""
STEP = 0.005
"""Seconds of a step beside them."""
WHY = "training takes less than a cluster to start"
LARGEST = 1 << 30
"""Bytes of features that one process holds in any case."""
SMALL_EDGES, SMALL_CELLS = 1_000_000, 30_000_000
"""Directed edges, and numbers in the features, of a small graph: it is evaluated in
about the seconds that a cluster takes to start."""
SHORT_EVALUATION = 1e9
"""Products of an exact evaluation that one worker does in the time that Dask takes to
spread them over several, some 30 ms."""


def seconds_here(graph: GraphData | Graph, settings: dict[str, Any]) -> float:
    """Return about how long training takes on one core, of sizes alone.

    Samplers without fan-outs are taken to cost what fan-out sampling does.

    Parameters
    ----------
    graph : GraphData or Graph
        What is trained on; where no training nodes are named, all may be.
    settings : dict
        Of a run, with the recipe's and defaults where nothing was given.
    """
    num_train = len(graph.splits.get("train", ())) or graph.num_nodes
    steps = -(-num_train // settings["batch_size"])
    fan_outs = settings["num_neighbors"] or [10] * settings["num_layers"]
    limits = tuple(np.inf if limit < 0 else limit for limit in fan_outs)
    stats = GraphStats(graph.num_nodes, graph.num_edges)
    hidden, depth = settings["hidden_channels"], len(limits)
    widths = [_columns(graph), *[hidden] * (depth - 1), graph.num_classes]
    operations = 0.0
    for hop in range(depth):
        rows = grown(stats, num_train / steps, limits[: depth - hop]).computed
        # Forward and backward, for a node's own row and for its neighbours'; the
        # first layer has no gradient of its input.
        passes = 2 * (3 if hop else 2)
        operations += 2 * passes * rows * widths[hop] * widths[hop + 1]
    scored = 4 * graph.num_nodes * widths[0] * widths[1]
    epoch = steps * (STEP + operations / PRODUCTS)
    return float(settings["epochs"] * (epoch + scored / PRODUCTS))


def needs_no_cluster(graph: GraphData | Graph, settings: dict[str, Any]) -> bool:
    """Return whether a run without a choice of workers trains in this process.

    It does where a cluster cannot make it faster; results are the same.
    """
    named = ("adapt", "device_map", "memory_limit", "scheduler", "standby", "tls")
    if settings["workers"] is not None or any(settings[name] for name in named):
        return False
    nbytes = 4.0 * graph.num_nodes * _columns(graph)
    return nbytes <= LARGEST and seconds_here(graph, settings) <= SHORT


def is_small(graph: Graph) -> bool:
    """Return whether one process evaluates a graph before a cluster has started."""
    cells = graph.num_nodes * max(graph.num_features, 1)
    return graph.num_edges <= SMALL_EDGES and cells <= SMALL_CELLS


def is_evaluated_at_once(graph: Graph, num_parameters: int) -> bool:
    """Return whether one task evaluates a model on a graph, whatever its parts are."""
    share = _columns(graph) / max(graph.num_features, 1)
    products = graph.num_nodes * num_parameters * share
    return graph.num_edges <= SMALL_EDGES and products <= SHORT_EVALUATION


def _columns(graph: GraphData | Graph) -> float:
    """Return how many dense columns take as long as a row of features."""
    dense = float(max(graph.num_features, 1))
    if isinstance(graph, Graph):
        entries = entries_per_row(graph) if stays_sparse(graph) else dense
    else:
        stored = getattr(graph.features, "nnz", graph.num_nodes * dense)
        entries = stored / max(graph.num_nodes, 1)
    return min(COLUMNS_PER_ENTRY * entries, dense)
