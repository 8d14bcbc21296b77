"""What the nodes weigh when clusters are balanced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from daskgnn.graph.book import node_work

if TYPE_CHECKING:
    from daskgnn.graph.data import GraphData


def work_of(graph: GraphData) -> np.ndarray:
    """Return float64 [N], each node's work (see `node_work`); its mean is 1.

    It is what later balances the parts, so that balanced clusters make balanced parts.
    """
    work = node_work(np.diff(graph.indptr), graph.splits.get("train"))
    work *= len(work) / work.sum()
    return work
