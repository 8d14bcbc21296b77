"""Node weights by which clusters are balanced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from daskgnn.partition.methods.structure import Structure

NODE_SHARE = 0.1
"""Work of all nodes as such, where that of all edges is 1."""


def node_work(degree: np.ndarray, seeds: np.ndarray | None) -> np.ndarray:
    """Return float64 [N], the work of each node; that of all edges is 1.

    Its share of the edges, of the training nodes (ids `seeds`) if there are any,
    and a little for being a node.
    """
    work = degree / max(int(degree.sum()), 1) + NODE_SHARE / len(degree)
    if seeds is not None and len(seeds):
        work[seeds] += 1 / len(seeds)
    return work


def work_of(graph: Structure) -> np.ndarray:
    """Return float64 [N], each node's work (see `node_work`); its mean is 1.

    It is what later balances the parts, so that balanced clusters make balanced parts.
    """
    work = node_work(np.diff(graph.indptr), graph.splits.get("train"))
    work *= len(work) / work.sum()
    return work
