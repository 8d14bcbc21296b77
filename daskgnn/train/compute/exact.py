"""A model over all neighbours: the tasks of exact evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from daskgnn.kernels.features import SparseInput, dense
from daskgnn.kernels.halo import StreamedPart, WholePart, streamed_pieces
from daskgnn.kernels.pieces import pieces
from daskgnn.nn.block import Block
from daskgnn.nn.blockarrays import BlockArrays
from daskgnn.nn.device import CPU
from daskgnn.nn.sparse import model_input
from daskgnn.tasks.task import batch_of
from daskgnn.train.compute.arithmetic import computing
from daskgnn.train.compute.loaded import layer_blocks, load_model, seed_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.batch import PreparedWindow
    from daskgnn.kernels.halo import Halo
    from daskgnn.kernels.pieces import Piece
    from daskgnn.kernels.targets import PartTargets
    from daskgnn.train.compute.program import Program
    from daskgnn.train.compute.state import Weights

    PieceInput = tuple[Piece, np.ndarray | SparseInput, np.ndarray | None]

MOST_ROWS = 1 << 18
"""Rows of a part from which on a layer is computed a run of rows at a time: what torch
holds between the operations of a layer is then small beside the rows themselves."""
HELD_BYTES = 512 << 20
"""Rows that a run reads, in float32, if no two have a neighbour in common: usually a
fraction of that."""


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
    how = model, program.threads, number, block.num_rows
    if own is None and isinstance(whole, StreamedPart):
        streamed = streamed_pieces(block, halo, whole)
        return _in_pieces(*how, whole, streamed)
    if block.num_rows > MOST_ROWS:
        held = _held_pieces(block, halo, whole, own, received)
        return _in_pieces(*how, whole, held)
    first, x, aggregated = own is None, None, None
    if isinstance(whole, WholePart) and first:
        aggregated = whole.aggregated
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


def _held_pieces(
    block: AdjacencyBlock,
    halo: Halo,
    whole: WholePart | StreamedPart,
    own: np.ndarray | None,
    received: list[np.ndarray],
) -> Iterator[PieceInput]:
    """Yield the rows of a part in runs, and the layer's input for each."""
    h: Any = whole.x if isinstance(whole, WholePart) else None
    aggregated = whole.aggregated if isinstance(whole, WholePart) else None
    if own is not None:
        h, aggregated = _Joined([own, *received]), None
    width = 4 * max(h.shape[1], 1)
    for piece in pieces(block, halo, max(HELD_BYTES // width, 1)):
        if aggregated is not None:
            run = slice(piece.first, piece.last)
            yield piece, dense(h[run]), aggregated[run]
        elif isinstance(h, SparseInput):
            yield piece, replace(h, rows=h.rows[piece.sources]), None
        else:
            yield piece, dense(h[piece.sources]), None


class _Joined:
    """Arrays one after another, without a copy of them."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self._arrays = arrays
        self._ends = np.cumsum([len(array) for array in arrays])
        self.shape = int(self._ends[-1]), arrays[0].shape[1]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), self.shape[1]), self._arrays[0].dtype)
        before = 0
        for array, end in zip(self._arrays, self._ends, strict=True):
            mine = (rows >= before) & (rows < end)
            out[mine] = array[rows[mine] - before]
            before = end
        return out


def _in_pieces(
    model: Any,
    threads: int,
    number: int,
    num_rows: int,
    whole: WholePart | StreamedPart,
    given: Iterable[PieceInput],
) -> np.ndarray:
    """Return a layer of a part's rows, a run of them at a time."""
    out = np.empty((0, 0), np.float32)
    for piece, x, aggregated in given:
        arrays = BlockArrays(
            starts=piece.indptr[:-1],
            ends=piece.indptr[1:],
            indices=piece.indices,
            ids=whole.original_ids[piece.sources],
            degree=np.diff(piece.indptr),
            weighted_degree=whole.weighted_degree[piece.sources],
            weights=piece.edge_weight,
            aggregated=aggregated,
        )
        bipartite = Block(
            num_src=len(piece.sources),
            num_dst=piece.last - piece.first,
            arrays=arrays,
            aggregated_op=None if number else getattr(model, "first_aggregation", None),
        )
        found = _output(threads, model.layer, number, model_input(x), bipartite)
        if not piece.first:
            out = np.empty((num_rows, found.shape[1]), np.float32)
        out[piece.first : piece.last] = found
    return out


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
