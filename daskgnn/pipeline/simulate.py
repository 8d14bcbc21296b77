"""Schedules run with given durations: what they take and hold, and their checks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daskgnn.pipeline.schedules import BACKWARD, FORWARD, WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from daskgnn.pipeline.schedules import Operation, Shape, Slot


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


def most_held(shape: Shape, lists: Sequence[Sequence[Operation]]) -> dict[Slot, int]:
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
