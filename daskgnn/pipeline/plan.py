"""What all workers know of a step, and what each of them is given of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from daskgnn.errors import InputError
from daskgnn.nn.device import CPU

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from daskgnn.pipeline.cuts import Cut
    from daskgnn.pipeline.program import LayerState, PipelineProgram
    from daskgnn.pipeline.schedules import Operation, Shape


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model together.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgnn.pipeline import MicroBatch
    >>> MicroBatch(np.zeros((8, 4), np.float32), np.zeros(8, np.int64)).rows
    8
    >>> import daskgnn
    >>> graph = daskgnn.open_graph(daskgnn.load_dataset("karate").partition())
    >>> found = MicroBatch.of(next(iter(graph.minibatches([5, 5], batch_size=2))))
    >>> found.rows, sorted(found.beside)
    (2, [0, 1])
    """

    x: Any = None
    """The model's input, an array [n, ...]."""
    y: Any = None
    """What the loss is given as target, an array [n, ...] or a tuple of arrays."""
    beside: Mapping[int, tuple[Any, ...]] = field(default_factory=dict)
    """What layers take besides, by their number: a graph's blocks, for instance."""
    targets: int | None = None
    """Rows that the loss is a mean of, where they are not those of `x`."""

    @classmethod
    def of(cls, minibatch: Any) -> MicroBatch:
        """Return a minibatch of a graph as a micro-batch: each layer has its block.

        Parameters
        ----------
        minibatch : Minibatch
            What `daskgnn.Minibatches` yields.

        Returns
        -------
        MicroBatch
            Which counts by its seeds.
        """
        blocks = {i: (block,) for i, block in enumerate(minibatch.blocks)}
        x, y = as_array(minibatch.x), as_array(minibatch.labels)
        return cls(x, y, blocks, len(minibatch.seeds))

    @property
    def rows(self) -> int:
        """How much it counts among micro-batches.

        Returns
        -------
        int
        """
        return len(self.x) if self.targets is None else self.targets


def of_stage(batch: MicroBatch, cut: Cut, stage: int) -> MicroBatch:
    """Return what a stage needs of a micro-batch."""
    return MicroBatch(
        batch.x if stage == 0 else None,
        batch.y if stage == cut.stages - 1 else None,
        {i: batch.beside[i] for i in cut.layers(stage) if i in batch.beside},
        batch.rows,
    )


def bytes_of(pieces: Pieces) -> int:
    """Return the bytes of the arrays that a worker is given, about."""
    arrays: list[Any] = []
    for batch in pieces.found.values():
        arrays += [batch.x, *(batch.y if isinstance(batch.y, tuple) else (batch.y,))]
    return sum(getattr(array, "nbytes", 0) for array in arrays)


def in_micro_batches(x: Any, y: Any, count: int) -> list[MicroBatch]:
    """Cut a batch into micro-batches of as many rows each, the first one more if any.

    Raises
    ------
    InputError
        If there are fewer rows than micro-batches.
    """
    rows = len(x)
    if rows < count:
        raise InputError(
            f"a batch of {rows} rows cannot be cut into {count} micro-batches (those "
            "of all copies): give a larger batch, or fewer micro_batches or copies"
        )
    sizes = [rows // count + (i < rows % count) for i in range(count)]
    bounds = list(pairwise([0, *accumulate(sizes)]))
    return [MicroBatch(x[a:b], _rows(y, a, b)) for a, b in bounds]


def _rows(y: Any, first: int, last: int) -> Any:
    if y is None:
        return None
    if isinstance(y, tuple):
        return tuple(_rows(each, first, last) for each in y)
    return y[first:last]


@dataclass(frozen=True)
class StepPlan:
    """A step, as all workers know it."""

    run: str
    step: int
    """Its number in the run, from 0."""
    attempt: str
    """Names this try: what was left by another one is never used."""
    shape: Shape
    cut: Cut
    rows: tuple[int, ...]
    """Of each micro-batch, copy after copy."""
    seed: int
    options: Options = None
    """Of the optimizers, from this step on."""
    recompute: bool = False
    """Whether activations are computed again for the backward pass."""
    half: bool = False
    """Whether what goes between stages is rounded to bfloat16."""
    returns_state: bool = False
    training: bool = True
    """False where outputs are asked for, not steps."""

    def number(self, copy: int, m: int) -> int:
        """Return the number of a micro-batch in the step."""
        return copy * self.shape.micro_batches + m

    def share(self, copy: int, m: int) -> float:
        """Return what a micro-batch's loss counts in that of the step."""
        return self.rows[self.number(copy, m)] / sum(self.rows)

    @property
    def copies(self) -> int:
        """Number of copies."""
        return len(self.rows) // self.shape.micro_batches

    def owners(self, stage: int) -> list[int]:
        """Return the worker of each copy of a stage."""
        return [self.shape.workers[copy, stage] for copy in range(self.copies)]


@dataclass(frozen=True)
class Load:
    """What a worker needs to begin with: a model and the states of its layers."""

    program: PipelineProgram
    states: Mapping[int, LayerState]


Options: TypeAlias = "Mapping[str, Any] | None"
"""What is set in the optimizers' groups, by name; None leaves them as they are."""

Following: TypeAlias = (
    "Sequence[MicroBatch] | Callable[[], Sequence[MicroBatch]] | None"
)
"""The micro-batches of the next step, or what returns them."""


@dataclass(frozen=True)
class Pieces:
    """What a worker is given of a batch."""

    found: dict[tuple[int, int, int], MicroBatch]
    """By copy, stage and micro-batch. (Dask would scatter a mere dict in pieces.)"""


@dataclass(frozen=True)
class Assignment:
    """What one worker has to do in a step, and what it begins with."""

    worker: int
    """Its number in the plan."""
    operations: tuple[Operation, ...]
    load: Any = None
    """A `Load` or a future of one; None where the worker has its layers from the step
    before."""
    holds: str = ""
    """The attempt whose outcome it has then."""


@dataclass(frozen=True)
class Span:
    """One operation, and when it was done.

    Examples
    --------
    >>> from daskgnn.pipeline import Span
    >>> from daskgnn.pipeline.schedules import Operation
    >>> span = Span(0, Operation("F", copy=0, stage=1, micro_batch=2), 10.0, 10.5)
    >>> span.ended - span.began
    0.5
    """

    worker: int
    """Its number in the step."""
    operation: Operation
    """Which: kind ("F", "B" or "W"), copy, stage, micro-batch."""
    began: float
    """Seconds since the epoch, by the worker's clock."""
    ended: float
    """Seconds since the epoch, by the worker's clock."""


@dataclass(frozen=True)
class WorkerOutcome:
    """What a worker has after a step."""

    worker: int
    loss: float | None
    """Of the step, from those that have the last stage."""
    spans: tuple[Span, ...]
    held: Mapping[tuple[int, int], int]
    """The most micro-batches that each copy's stage held at a time."""
    states: Mapping[int, LayerState] | None = None
    outputs: Mapping[tuple[int, int], np.ndarray] = field(default_factory=dict)
    """In evaluation, by copy and micro-batch."""


def loss_of(outcomes: Sequence[WorkerOutcome]) -> float:
    """Return the loss of a step, which whoever has the last stage tells."""
    return next(each.loss for each in outcomes if each.loss is not None)


@dataclass(frozen=True)
class StepResult:
    """What is told of a step.

    Examples
    --------
    >>> from daskgnn.pipeline import StepResult
    >>> StepResult(step=0, loss=2.3, seconds=0.1, redone=0, spans=(), held={}).loss
    2.3
    """

    step: int
    """Its number, from 0."""
    loss: float
    """The mean over all rows of the batch."""
    seconds: float
    """From the call to the answer."""
    redone: int
    """Steps that were done again, because a worker was lost."""
    spans: tuple[Span, ...]
    """Each operation: where and when."""
    held: dict[tuple[int, int], int]
    """By copy and stage, the most micro-batches held at a time."""


def pieces_of(
    plan: StepPlan, micro_batches: Sequence[MicroBatch], workers: int
) -> list[Pieces]:
    """Return what each of so many workers needs of a batch."""
    found = []
    for worker in range(workers):
        needed = {}
        for copy, stage in plan.shape.slots_of(worker):
            for m in range(plan.shape.micro_batches):
                batch = micro_batches[plan.number(copy, m)]
                needed[copy, stage, m] = of_stage(batch, plan.cut, stage)
        found.append(Pieces(needed))
    return found


def load_of(plan: StepPlan, load: Load, worker: int) -> Load:
    """Return what a worker needs of a model: the states of its layers."""
    stages = {stage for _, stage in plan.shape.slots_of(worker)}
    numbers = [i for stage in sorted(stages) for i in plan.cut.layers(stage)]
    return Load(load.program, {i: load.states[i] for i in numbers})


def as_array(value: Any) -> Any:
    """Return a batch's part as an array, or a tuple of arrays."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(as_array(each) for each in value)
    return CPU.array(value) if isinstance(value, torch.Tensor) else np.asarray(value)
