"""What a test knows of a graph: its edges by the users' ids."""

import numpy as np


def pairs(graph):
    """The edges of a directed graph, by the users' ids."""
    rows = np.repeat(np.arange(graph.num_nodes), np.diff(graph.indptr))
    ids = graph.node_ids if graph.node_ids is not None else np.arange(graph.num_nodes)
    return sorted(zip(ids[graph.indices].tolist(), ids[rows].tolist(), strict=True))
