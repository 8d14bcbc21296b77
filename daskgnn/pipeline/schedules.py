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

    def choose(
        self, ended: Mapping[Operation, float], now: float
    ) -> Operation | None:
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
    """Several stages a worker, in turns: Narayanan et al. (2104.04473).

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


@dataclass(frozen=True)
class Simulation:
    """What became of a schedule with given durations."""

    spans: dict[Operation, tuple[float, float]]
    """When each operation began and ended."""
    held: dict[Slot, int]
    """The most micro-batches whose activations a stage held at a time."""

    @property
    def seconds(self) -> float:
        """When the last operation ended."""
        return max(end for _, end in self.spans.values())

    def bubble(self, workers: int) -> float:
        """Return the share of all workers' time in which they waited."""
        busy = sum(end - begin for begin, end in self.spans.values())
        return 1 - busy / (workers * self.seconds)


def simulate(
    shape: Shape,
    lists: Sequence[Sequence[Operation]],
    durations: Mapping[str, float],
    message: float = 0.0,
) -> Simulation:
    """Run a schedule with given durations, each worker in its list's order.

    Parameters
    ----------
    durations : mapping
        Seconds of an operation, by its kind.
    message : float
        Seconds that a message between workers takes.

    Raises
    ------
    ValueError
        If an operation is missing, twice there, or waits for ever; or a stage's
        gradients would not be added in the micro-batches' order.
    """
    check_complete(shape, lists)
    free = [0.0] * len(lists)
    places = [0] * len(lists)
    spans: dict[Operation, tuple[float, float]] = {}
    while len(spans) < sum(map(len, lists)):
        before = len(spans)
        for worker, operations in enumerate(lists):
            while places[worker] < len(operations):
                each = operations[places[worker]]
                needed = list(shape.needs(each))
                if any(other not in spans for other in needed):
                    break
                ready = [spans[n][1] + _way(shape, n, each, message) for n in needed]
                begin = max([free[worker], *ready])
                free[worker] = begin + durations[each.kind]
                spans[each] = (begin, free[worker])
                places[worker] += 1
        if len(spans) == before:
            raise ValueError(f"the schedule blocks after {len(spans)} operations")
    return Simulation(spans, most_held(shape, lists))


def _way(shape: Shape, sender: Operation, to: Operation, message: float) -> float:
    """Return the seconds between two operations."""
    homes = {shape.workers[each.copy, each.stage] for each in (sender, to)}
    return message if len(homes) > 1 else 0.0


def check_complete(shape: Shape, lists: Sequence[Sequence[Operation]]) -> None:
    """Make sure that every operation is there once, on its worker, in order."""
    for worker, operations in enumerate(lists):
        seen: Counter[tuple[str, Slot]] = Counter()
        for kind, copy, stage, m in operations:
            if shape.workers[copy, stage] != worker:
                raise ValueError(f"stage {stage} of copy {copy} is not on {worker}")
            if seen[kind, (copy, stage)] != m:
                raise ValueError(f"{kind} of micro-batch {m} of stage {stage} is late")
            seen[kind, (copy, stage)] += 1
        wanted = {(kind, s) for kind in shape.kinds for s in shape.slots_of(worker)}
        if any(seen[each] != shape.micro_batches for each in wanted):
            raise ValueError(f"worker {worker} lacks an operation")


def most_held(
    shape: Shape, lists: Sequence[Sequence[Operation]]
) -> dict[Slot, int]:
    """Return the most micro-batches whose activations each stage holds at a time."""
    last = shape.kinds[-1]
    held: Counter[Slot] = Counter()
    most: dict[Slot, int] = {}
    for operations in lists:
        for kind, copy, stage, _ in operations:
            slot = (copy, stage)
            held[slot] += (kind == FORWARD) - (kind == last)
            most[slot] = max(most.get(slot, 0), held[slot])
    return most


def ideal_seconds(
    name: str, stages: int, micro_batches: int, durations: Mapping[str, float]
) -> float:
    """Return what a step takes without messages, a worker a stage.

    The formulas of the literature, for as many micro-batches as stages or more; an
    interleaved schedule is taken with all its stages on workers of their own.
    """
    forward, backward = durations[FORWARD], durations[BACKWARD]
    if name == "zero-bubble":
        weights = durations[WEIGHTS]
        bubble = (stages - 1) * max(forward + backward - weights, 0.0)
        return micro_batches * (forward + backward + weights) + bubble
    return (micro_batches + stages - 1) * (forward + backward)
