"""What all workers know of a step, and what each of them is given of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from daskgnn.errors import InputError
from daskgnn.nn.device import CPU

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from daskgnn.pipeline.cuts import Cut
    from daskgnn.pipeline.program import LayerState, PipelineProgram
    from daskgnn.pipeline.schedules import Operation, Shape
    from daskgnn.train.minibatches import Minibatch


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model together.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgnn.pipeline import MicroBatch
    >>> MicroBatch(np.zeros((8, 4), np.float32), np.zeros(8, np.int64)).rows
    8
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
    def of(cls, minibatch: Minibatch) -> MicroBatch:
        """Return a minibatch of a graph as a micro-batch: each layer has its block.

        Parameters
        ----------
        minibatch : Minibatch
            What `daskgnn.Minibatches` yields.
        """
        blocks = {i: (block,) for i, block in enumerate(minibatch.blocks)}
        x, y = as_array(minibatch.x), as_array(minibatch.labels)
        return cls(x, y, blocks, len(minibatch.seeds))

    @property
    def rows(self) -> int:
        """How much it counts among micro-batches."""
        return len(self.x) if self.targets is None else self.targets

    def of_stage(self, cut: Cut, stage: int) -> MicroBatch:
        """Return what a stage needs of it."""
        return MicroBatch(
            self.x if stage == 0 else None,
            self.y if stage == cut.stages - 1 else None,
            {i: self.beside[i] for i in cut.layers(stage) if i in self.beside},
            self.rows,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays, about."""
        arrays = [self.x, *(self.y if isinstance(self.y, tuple) else (self.y,))]
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
    lr: float | None = None
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


@dataclass(frozen=True)
class Assignment:
    """What one worker has to do in a step, and what it is given for it."""

    worker: int
    """Its number in the plan."""
    operations: tuple[Operation, ...]
    batches: Mapping[tuple[int, int, int], MicroBatch]
    """By copy, stage and micro-batch: of those that need something of it."""
    load: Load | None = None
    """None where the worker has its layers from the step before."""
    holds: str = ""
    """The attempt whose outcome it has then."""


@dataclass(frozen=True)
class Span:
    """One operation, and when it was done."""

    worker: int
    operation: Operation
    began: float
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
    seconds: float
    """From the call to the answer."""
    redone: int
    """Steps that were done again, because a worker was lost."""
    spans: tuple[Span, ...]
    """Each operation: where and when."""
    held: dict[tuple[int, int], int]
    """By copy and stage, the most micro-batches held at a time."""


def assignments(
    plan: StepPlan,
    lists: Sequence[Sequence[Operation]],
    micro_batches: Sequence[MicroBatch],
) -> list[Assignment]:
    """Return what each worker has to do."""
    found = []
    for worker, operations in enumerate(lists):
        needed = {}
        for copy, stage in plan.shape.slots_of(worker):
            for m in range(plan.shape.micro_batches):
                batch = micro_batches[plan.number(copy, m)]
                needed[copy, stage, m] = batch.of_stage(plan.cut, stage)
        found.append(Assignment(worker, tuple(operations), needed))
    return found


def loaded_with(
    given: Assignment,
    plan: StepPlan,
    program: PipelineProgram,
    states: Sequence[LayerState],
) -> Assignment:
    """Return an assignment that begins with the states of a worker's layers."""
    stages = {stage for _, stage in plan.shape.slots_of(given.worker)}
    numbers = [i for stage in sorted(stages) for i in plan.cut.layers(stage)]
    return replace(given, load=Load(program, {i: states[i] for i in numbers}))


def as_array(value: Any) -> Any:
    """Return a batch's part as an array, or a tuple of arrays."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(as_array(each) for each in value)
    return CPU.array(value) if isinstance(value, torch.Tensor) else np.asarray(value)
