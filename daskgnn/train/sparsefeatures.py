"""Whether a run's features stay sparse."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from daskgnn.dataflow.memory import stays_sparse
from daskgnn.errors import InputError, first_line
from daskgnn.graph.memory.content import refuse_sparse
from daskgnn.nn import GAT, GCN, GraphSAGE
from daskgnn.nn.sparse import DenseRowsNeeded
from daskgnn.train.compute.dryrun import takes_sparse_rows
from daskgnn.train.options.options import TRAINER
from daskgnn.train.persist.checkpoint import plan_before

if TYPE_CHECKING:
    import torch

    from daskgnn.graph.graph import Graph
    from daskgnn.train.options.options import TrainOptions

_NAME = "sparse_features"


def chosen(
    options: TrainOptions, graph: Graph, model: torch.nn.Module, num_layers: int
) -> bool:
    """Return whether a run's features stay sparse.

    Without a choice, a run that is there goes on as it began.

    Raises
    ------
    InputError, ModelError
        If they are to, and are dense, or the model needs dense rows; if rows that are
        made dense are to be of half precision.
    """
    stay = _stay(options, graph, model, num_layers)
    kept_as = options["feature_dtype"]
    if graph.sparse_features and not stay and kept_as not in (None, "float32"):
        refuse_sparse(kept_as, graph.name)
    return stay


def _stay(
    options: TrainOptions, graph: Graph, model: torch.nn.Module, num_layers: int
) -> bool:
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
        if before is False or (before is None and not stays_sparse(graph)):
            return False
    if type(model) in (GraphSAGE, GCN, GAT):
        return True
    try:
        takes_sparse_rows(model, graph, num_layers)
    except DenseRowsNeeded as error:
        if given:
            raise
        warnings.warn(f"{first_line(error)}; rows are made dense now", stacklevel=4)
        return False
    except Exception:
        # It fails on dense rows, too, with the message that is meant for it.
        return bool(given)
    return True


def _before(out: Any) -> bool | None:
    """Return what the run in a directory does, None if there is none."""
    plan = plan_before(out)
    return None if plan is None else bool(plan.get(_NAME, TRAINER[_NAME].before))
