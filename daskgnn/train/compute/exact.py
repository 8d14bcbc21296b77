"""A model over all neighbours: the tasks of exact evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from daskgnn.kernels.features import SparseInput, dense
from daskgnn.kernels.halo import StreamedPart, part_pieces
from daskgnn.nn.block import Block
from daskgnn.nn.blockarrays import BlockArrays
from daskgnn.nn.device import CPU
from daskgnn.nn.sparse import model_input
from daskgnn.tasks.task import batch_of
from daskgnn.train.compute.arithmetic import computing
from daskgnn.train.compute.loaded import layer_blocks, load_model, seed_outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.batch import PreparedWindow
    from daskgnn.kernels.halo import Halo, WholePart
    from daskgnn.kernels.targets import PartTargets
    from daskgnn.train.compute.program import Program
    from daskgnn.train.compute.state import Weights


def evaluate_layer(
    program: Program,
    weights: Weights,
    number: int,
    block: AdjacencyBlock,
    halo: Halo,
    whole: WholePart | StreamedPart,
    own: np.ndarray | None,
    received: list[np.ndarray],
) -> np.ndarray:
    """Return layer `number` of a part's rows, over all their neighbours."""
    model: Any = load_model(program).with_weights(weights).eval()
    first, x = own is None, None
    if isinstance(whole, StreamedPart):
        if own is None:
            return _first_layer_in_pieces(model, program.threads, block, halo, whole)
        aggregated = None
    else:
        aggregated = whole.aggregated if first else None
        if first:
            x = whole.x if isinstance(whole.x, SparseInput) else dense(whole.x)
    arrays = BlockArrays(
        starts=block.indptr[:-1],
        ends=block.indptr[1:],
        indices=halo.indices,
        ids=whole.original_ids,
        degree=block.degree,
        weighted_degree=whole.weighted_degree,
        weights=halo.weights_of(block),
        aggregated=aggregated,
    )
    bipartite = Block(
        num_src=len(whole.original_ids),
        num_dst=block.num_rows,
        arrays=arrays,
        aggregated_op=getattr(model, "first_aggregation", None) if first else None,
    )
    h = np.concatenate([own, *received]) if x is None else x
    return _output(program.threads, model.layer, number, model_input(h), bipartite)


def _first_layer_in_pieces(
    model: Any, threads: int, block: AdjacencyBlock, halo: Halo, whole: StreamedPart
) -> np.ndarray:
    """Return the first layer of a part's rows, whose features are read in pieces."""
    out = []
    for piece in part_pieces(block, halo, whole):
        arrays = BlockArrays(
            starts=piece.indptr[:-1],
            ends=piece.indptr[1:],
            indices=piece.indices,
            ids=whole.original_ids[piece.sources],
            degree=np.diff(piece.indptr),
            weighted_degree=whole.weighted_degree[piece.sources],
            weights=piece.edge_weight,
            aggregated=piece.aggregated,
        )
        bipartite = Block(
            num_src=len(piece.sources),
            num_dst=piece.last - piece.first,
            arrays=arrays,
            aggregated_op=whole.first_aggregation,
        )
        out.append(_output(threads, model.layer, 0, CPU.tensor(piece.x), bipartite))
    return np.concatenate(out)


def evaluate_step(
    program: Program, weights: Weights, window: PreparedWindow
) -> np.ndarray:
    """Return the outputs of the first step's seeds, float32 [n, C].

    The window must have been sampled with all neighbours, or as outputs are defined.
    """
    batch = window.steps[0]
    model = load_model(program).with_weights(weights).eval()

    def outputs(*given: Any) -> torch.Tensor:
        return seed_outputs(model(*given), batch)

    given = model_input(batch.x), layer_blocks(batch, model)
    return _output(program.threads, outputs, *given)


def _output(threads: int, layer: Callable[..., Any], *given: Any) -> np.ndarray:
    """Return what a layer or a model computes, float32."""
    with computing(threads), torch.no_grad():
        return CPU.array(layer(*given).float().contiguous())


def score_targets(
    program: Program, h: np.ndarray, tables: dict[str, np.ndarray], targets: PartTargets
) -> Any:
    """Return what a part's targets contribute to the scores; h has float32 [m, C]."""
    batch = batch_of(targets.rows, len(h), tables, targets.count)
    return load_model(program).task.partial(h, batch)


def merge_scores(program: Program, left: Any, right: Any) -> Any:
    """Return two contributions to the scores as one."""
    return load_model(program).task.merge(left, right)
