"""Sums in a ring: reduce-scatter and all-gather over pieces of the flat vector.

The vector is cut into one piece a part. Piece c begins at part c and goes from part to
part, each of which adds its own; part c - 1 has the whole of it. So the order of
additions is a function of the number of parts alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.task_spec import List, TaskRef

from daskgnn.dataflow.steps.clock import Clock, Work, here, together
from daskgnn.dataflow.steps.gradients import PartGradient, add_gradients
from daskgnn.dataflow.steps.tasks import add_task

if TYPE_CHECKING:
    from collections.abc import Sequence


def bounds(length: int, chunk: int, count: int) -> slice:
    """Return where a piece of a vector lies."""
    return slice(length * chunk // count, length * (chunk + 1) // count)


def piece_of(share: PartGradient, chunk: int, count: int) -> PartGradient:
    """Return a part's own piece; what is counted goes with piece 0."""
    piece = share.gradient[bounds(len(share.gradient), chunk, count)]
    if chunk:
        return PartGradient(piece, 0.0)
    return replace(share, gradient=piece)


def add_piece(
    piece: PartGradient, share: PartGradient, chunk: int, count: int
) -> PartGradient:
    """Add a part's own numbers to a piece that has come to it."""
    return add_gradients(piece, piece_of(share, chunk, count))


def joined(pieces: Sequence[PartGradient]) -> PartGradient:
    """Return the whole of all pieces, in order."""
    return replace(pieces[0], gradient=np.concatenate([p.gradient for p in pieces]))


def add_ring(tasks: dict[Any, Any], name: tuple[Any, ...], shares: list[Any]) -> Any:
    """Add the sum of a step's shares in a ring to a graph; return its key.

    Parameters
    ----------
    name : tuple
        What the keys of this step have in common: run, window, step.
    shares : list
        Keys, by part.
    """
    count = len(shares)
    keys: dict[int, Any] = {}
    for turn in range(count):
        before, keys = keys, {}
        for part, share in enumerate(shares):
            piece = before[(part - 1) % count] if turn else None
            given = piece, TaskRef(share), (part - turn) % count, count
            keys[part] = add_task(tasks, ("ring", *name, turn, part), go_on, *given)
    in_order = [keys[(chunk - 1) % count] for chunk in range(count)]
    return add_task(tasks, ("ring-whole", *name, 0), joined, List(*in_order)).key


def go_on(
    piece: PartGradient | None, share: PartGradient, chunk: int, count: int
) -> PartGradient:
    """Begin a piece, or add to one that has come: a task."""
    clock = Clock()
    with clock.phase("reduce"):
        if piece is None:
            total = piece_of(share, chunk, count)
        else:
            total = add_piece(piece, share, chunk, count)
    return replace(total, work=together(total.work, {here(): Work(clock.spent)}))
