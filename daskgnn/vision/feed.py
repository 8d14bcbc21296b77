"""Batches in the order of training, read ahead by tasks where there are workers."""

from __future__ import annotations

from collections import deque
from itertools import groupby
from typing import TYPE_CHECKING, Any

from dask.base import annotate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distributed.client import Future

    from daskgnn.vision.data.batches import Batches, ImageBatch

Place = tuple[int, int]
"""An epoch, and a step of it."""
STEPS_PER_GRAPH = 8
"""Steps whose batches are read by one graph of tasks; two graphs are under way."""
_PRIORITY = -10


class Feed:
    """Reads batches; where a task's result is lost, in this process.

    Parameters
    ----------
    batches : Batches
    client : distributed.Client or None
        Whose workers read; None for this process.
    run : str
        Names the tasks.
    """

    def __init__(self, batches: Batches, client: Any, run: str) -> None:
        self.batches, self.client, self.run = batches, client, run

    def read(self, places: Sequence[Place]) -> Iterator[tuple[Place, list[ImageBatch]]]:
        """Yield the micro-batches of steps, in order."""
        if self.client is None:
            for place in places:
                yield place, self.batches.read(*place)
            return
        waiting: deque[tuple[Place, list[Future]]] = deque()
        pieces = deque(
            places[i : i + STEPS_PER_GRAPH]
            for i in range(0, len(places), STEPS_PER_GRAPH)
        )
        while waiting or pieces:
            while pieces and len(waiting) <= STEPS_PER_GRAPH:
                waiting += self._submit(pieces.popleft())
            place, futures = waiting.popleft()
            yield place, self._gathered(place, futures)

    def _submit(self, places: Sequence[Place]) -> Iterator[tuple[Place, list[Future]]]:
        """Have workers read the batches of steps."""
        for epoch, group in groupby(places, key=lambda place: place[0]):
            steps = [step for _, step in group]
            graph, keys = self.batches.graph(self.run, epoch, steps)
            flat = [key for step in keys for key in step]
            try:
                with annotate(priority=_PRIORITY):
                    found = iter(self.client.get(graph, flat, sync=False))
            except Exception:  # a closed client raises what it will
                found = iter(())
            for step, named in zip(steps, keys, strict=True):
                futures = [next(found, None) for _ in named]
                yield (epoch, step), [f for f in futures if f is not None]

    def _gathered(self, place: Place, futures: list[Future]) -> list[ImageBatch]:
        try:
            found = self.client.gather(futures, direct=True)
        except Exception:  # lost with its worker, or its cluster
            found = []
        if len(found) == self.batches.plan.micro_batches:
            return found
        return self.batches.read(*place)
