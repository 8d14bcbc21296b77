"""Whether a run's features stay sparse."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from daskgnn.dataflow.memory import entries_per_row
from daskgnn.errors import CheckpointError, InputError, first_line
from daskgnn.nn import GAT, GCN, GraphSAGE
from daskgnn.nn.sparse import DenseRowsNeeded
from daskgnn.train.compute.dryrun import takes_sparse_rows
from daskgnn.train.options.options import TRAINER
from daskgnn.train.persist.checkpoint import newest_checkpoint
from daskgnn.train.persist.storage import CHECKPOINTS, open_storage

if TYPE_CHECKING:
    import torch

    from daskgnn.graph.graph import Graph
    from daskgnn.train.options.options import TrainOptions

_NAME = "sparse_features"
COLUMNS_PER_ENTRY = 16
"""Columns for each entry of a row, from which on sparse products are quicker: a dense
product takes a number in a sixteenth of an entry's time or less."""


def pays(graph: Graph) -> bool:
    """Return whether the features of a graph are worth keeping sparse."""
    if not graph.sparse_features:
        return False
    return graph.num_features >= COLUMNS_PER_ENTRY * max(entries_per_row(graph), 1)


def chosen(
    options: TrainOptions, graph: Graph, model: torch.nn.Module, num_layers: int
) -> bool:
    """Return whether a run's features stay sparse.

    Without a choice, a run that is there goes on as it began.

    Raises
    ------
    InputError, ModelError
        If they are to, and are dense, or the model needs dense rows.
    """
    given = options["sparse_features"]
    if given is False:
        return False
    if given and not graph.sparse_features:
        raise InputError(
            f"sparse_features=True: graph {graph.name!r} is stored with dense features,"
            " which take less memory: leave it out"
        )
    if given is None:
        before = _before(options["out"])
        if before is False or (before is None and not pays(graph)):
            return False
    if type(model) in (GraphSAGE, GCN, GAT):
        return True
    try:
        takes_sparse_rows(model, graph, num_layers)
    except DenseRowsNeeded as error:
        if given:
            raise
        warnings.warn(f"{first_line(error)}; rows are made dense now", stacklevel=3)
        return False
    except Exception:
        # It fails on dense rows, too, with the message that is meant for it.
        return bool(given)
    return True


def _before(out: Any) -> bool | None:
    """Return what the run in a directory does, None if there is none."""
    if out is None:
        return None
    storage = open_storage(out)
    try:
        plan = newest_checkpoint(storage.inside(CHECKPOINTS)).facts["plan"]
    except (CheckpointError, OSError):
        return None
    return bool(plan.get(_NAME, TRAINER[_NAME].before))
