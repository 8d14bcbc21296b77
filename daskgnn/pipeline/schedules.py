"""Schedules of a pipeline: which operation each worker does, in what order.

A model is cut into S *stages*, a batch into *micro-batches*. The forward pass (F) of a
micro-batch goes through the stages in order, the backward pass (B) comes back. Where
the backward pass is split, B is only the gradient by a stage's input, which the stage
before waits for, and W the gradient by its parameters, which nobody waits for.

Schedules are static lists. They are found by running the work with made-up durations,
each worker taking what its policy prefers among what it could begin: what has been run
once can be run again in the same order, so no schedule can block.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from daskgnn.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FORWARD, BACKWARD, WEIGHTS = "F", "B", "W"
SCHEDULES = ("gpipe", "1f1b", "interleaved", "zero-bubble")


class Operation(NamedTuple):
    """One thing that a worker does without waiting in between."""

    kind: str
    """"F", "B" or "W"."""
    copy: int
    """Which copy of the model it belongs to."""
    stage: int
    micro_batch: int
    """Among those of the copy, from 0."""


Slot = tuple[int, int]
"""(copy, stage)"""
Durations = dict[str, float]
"""Of an operation, by its kind."""
_EVEN: Durations = {FORWARD: 1.0, BACKWARD: 2.0}
_EVEN_SPLIT: Durations = {FORWARD: 1.0, BACKWARD: 1.0, WEIGHTS: 1.0}


@dataclass(frozen=True)
class Shape:
    """What is to be scheduled, and where."""

    name: str
    """Of the schedule."""
    stages: int
    micro_batches: int
    """Of each copy."""
    workers: Mapping[Slot, int]
    """The number of the worker that has a stage of a copy."""

    @property
    def splits(self) -> bool:
        """Whether the backward pass is in two parts."""
        return self.name == "zero-bubble"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of operations that it has."""
        return (FORWARD, BACKWARD, WEIGHTS) if self.splits else (FORWARD, BACKWARD)

    def slots_of(self, worker: int) -> list[Slot]:
        """Return what a worker has."""
        return sorted(slot for slot, w in self.workers.items() if w == worker)

    def source_of(self, operation: Operation) -> Operation | None:
        """Return the operation of another stage whose result one takes, if any."""
        kind, copy, stage, m = operation
        if kind == FORWARD and stage:
            return Operation(FORWARD, copy, stage - 1, m)
        if kind == BACKWARD and stage < self.stages - 1:
            return Operation(BACKWARD, copy, stage + 1, m)
        return None

    def needs(self, operation: Operation) -> Iterator[Operation]:
        """Yield the operations that must be done before one."""
        kind, copy, stage, m = operation
        if kind == BACKWARD:
            yield Operation(FORWARD, copy, stage, m)
        elif kind == WEIGHTS:
            yield Operation(BACKWARD, copy, stage, m)
        source = self.source_of(operation)
        if source is not None:
            yield source


def assign(
    name: str,
    stages: int,
    copies: int,
    workers: int,
    devices: Sequence[int] | None = None,
) -> dict[Slot, int]:
    """Return which worker has each stage of each copy, numbers from 0.

    Copies go to workers of their own as far as there are enough. Of a copy, a worker
    has stages in a row; in an interleaved schedule, every so-many-th.

    Examples
    --------
    >>> from daskgnn.pipeline.schedules import assign
    >>> assign("1f1b", stages=4, copies=1, workers=2)
    {(0, 0): 0, (0, 1): 0, (0, 2): 1, (0, 3): 1}
    >>> assign("interleaved", stages=4, copies=1, workers=2)
    {(0, 0): 0, (0, 1): 1, (0, 2): 0, (0, 3): 1}
    """
    found = {}
    for copy in range(copies):
        first = copy * workers // copies
        last = max((copy + 1) * workers // copies, first + 1)
        for stage in range(stages):
            if devices is not None:
                wanted = max(devices) + 1
                turn = devices[stage] * min(last - first, wanted) // wanted
            else:
                count = min(last - first, stages)
                in_turns = name == "interleaved"
                turn = stage % count if in_turns else stage * count // stages
            found[copy, stage] = first + turn
    return found


def make_schedule(shape: Shape) -> list[list[Operation]]:
    """Return each worker's operations, in order.

    Raises
    ------
    InputError
        If there is no schedule of that name.
    """
    if shape.name not in _POLICIES:
        raise InputError(
            f"schedule={shape.name!r}, expected one of {', '.join(SCHEDULES)}"
        )
    count = max(shape.workers.values()) + 1
    policies = [_POLICIES[shape.name](shape, worker) for worker in range(count)]
    durations = _EVEN_SPLIT if shape.splits else _EVEN
    lists: list[list[Operation]] = [[] for _ in range(count)]
    free, ended = [0.0] * count, dict[Operation, float]()
    left = len(shape.kinds) * shape.micro_batches * len(shape.workers)
    now = 0.0
    while left:
        for worker, policy in enumerate(policies):
            if free[worker] > now:
                continue
            found = policy.choose(ended, now)
            if found is None:
                continue
            policy.begin(found)
            lists[worker].append(found)
            free[worker] = ended[found] = now + durations[found.kind]
            left -= 1
        later = [time for time in free if time > now]
        if left and not later:
            raise ValueError(f"the schedule {shape.name} blocks: {shape}")
        now = min(later, default=now)
    return lists


class _Policy:
    """What a worker takes next: here GPipe, all forward passes before any backward.

    Of a stage, every kind of operation goes through the micro-batches in order, so that
    gradients are added in their order.
    """

    def __init__(self, shape: Shape, worker: int) -> None:
        self.shape, self.worker = shape, worker
        self.slots = shape.slots_of(worker)
        self.done: Counter[tuple[str, Slot]] = Counter()
        """How many micro-batches have begun, by kind and slot."""

    def begin(self, operation: Operation) -> None:
        """Take note that an operation begins."""
        kind, copy, stage, _ = operation
        self.done[kind, (copy, stage)] += 1

    def choose(self, ended: Mapping[Operation, float], now: float) -> Operation | None:
        """Return what to begin now, if there is anything."""
        for kind in self.preference():
            found = [
                each
                for each in self.next(kind)
                if all(ended.get(n, now + 1) <= now for n in self.shape.needs(each))
            ]
            if found:
                return min(found, key=self.rank)
        return None

    def preference(self) -> tuple[str, ...]:
        """Return the kinds, what is preferred first."""
        return self.shape.kinds

    def next(self, kind: str) -> list[Operation]:
        """Return the operations of a kind that may be next, a stage at most one."""
        found = []
        for slot in self.slots:
            m = self.done[kind, slot]
            if m < self.shape.micro_batches and self.may(kind, slot):
                found.append(Operation(kind, *slot, m))
        return found

    def may(self, kind: str, slot: Slot) -> bool:
        """Return whether one more of a kind is allowed."""
        return kind == FORWARD or self.done[FORWARD, slot] == self.shape.micro_batches

    def rank(self, operation: Operation) -> tuple[int, ...]:
        """Return a key: the smallest is taken, of several of a kind."""
        m, copy, stage = operation.micro_batch, operation.copy, operation.stage
        # What is furthest on its way first.
        return m, -stage if operation.kind == FORWARD else stage, copy


class _OneForwardOneBackward(_Policy):
    """A backward pass as soon as there is one: stage s holds S - s micro-batches."""

    def preference(self) -> tuple[str, ...]:
        """Return the kinds: backward first."""
        return BACKWARD, FORWARD

    def may(self, kind: str, slot: Slot) -> bool:
        """Return whether the stage may hold one more."""
        held = self.done[FORWARD, slot] - self.done[BACKWARD, slot]
        return kind != FORWARD or held < self.shape.stages - slot[1]


class _ZeroBubble(_Policy):
    """W fills the gaps: ZB-H1 of "Zero Bubble Pipeline Parallelism" (2401.10241).

    As with one forward, one backward, stage s has S - s micro-batches on their way; S
    at most are held until their W are done.
    """

    def preference(self) -> tuple[str, ...]:
        """Return the kinds: what others wait for first."""
        return FORWARD, BACKWARD, WEIGHTS

    def may(self, kind: str, slot: Slot) -> bool:
        """Return whether the stage may hold one more."""
        begun, back, over = (self.done[k, slot] for k in self.shape.kinds)
        if kind == WEIGHTS:
            return over < back
        stages = self.shape.stages
        few = begun - back < stages - slot[1] and begun - over < stages
        return kind != FORWARD or few


class _Interleaved(_Policy):
    """Several stages a worker, alternately: Narayanan et al. (2104.04473).

    Micro-batches go in groups of as many as there are workers, through one stage of a
    worker after the other. A worker keeps to that order, so it may wait.
    """

    def __init__(self, shape: Shape, worker: int) -> None:
        super().__init__(shape, worker)
        mates = [w for (c, _), w in shape.workers.items() if c == self._copy()]
        self.count = len(set(mates))
        place = worker - min(mates, default=0)
        chunks = -(-shape.stages // self.count)
        self.limit = 2 * (self.count - place - 1) + (chunks - 1) * self.count + 1

    def _copy(self) -> int:
        return self.slots[0][0] if self.slots else 0

    def preference(self) -> tuple[str, ...]:
        """Return the kinds: forward first, as far as the limit allows."""
        return FORWARD, BACKWARD

    def next(self, kind: str) -> list[Operation]:
        """Return the one operation of a kind that comes next."""
        begun = sum(self.done[FORWARD, slot] for slot in self.slots)
        ended = sum(self.done[BACKWARD, slot] for slot in self.slots)
        copies = len({copy for copy, _ in self.slots})
        if kind == FORWARD and begun - ended >= self.limit * copies:
            return []
        return sorted(super().next(kind), key=self.rank)[:1]

    def may(self, kind: str, slot: Slot) -> bool:
        """Return true: the limit is the worker's."""
        return True

    def rank(self, operation: Operation) -> tuple[int, ...]:
        """Return the place in the order."""
        kind, copy, stage, m = operation
        turn = stage if kind == FORWARD else self.shape.stages - 1 - stage
        return m // self.count, turn, m, copy


_POLICIES: dict[str, type[_Policy]] = {
    "gpipe": _Policy,
    "1f1b": _OneForwardOneBackward,
    "interleaved": _Interleaved,
    "zero-bubble": _ZeroBubble,
}
