"""Calls of one function: in this process, or as tasks on a cluster's workers."""

from __future__ import annotations

from collections import deque
from itertools import islice, starmap
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker, NoValidWorkerError, NoWorkerError

from daskgnn.errors import StoreError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_WAITING = 2
"""Tasks in flight for each thread: one that runs, and the next."""
_LOST = (
    CommClosedError,
    FutureCancelledError,
    KilledWorker,
    NoValidWorkerError,
    NoWorkerError,
)


class Mapper:
    """Runs calls, on a cluster a bounded number at once; their results come in order.

    Without a client they run here, one after the other.
    A task that is lost with its worker runs again on another, so the functions must do
    no harm when they run twice.
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    @property
    def slots(self) -> int:
        """Calls that run at once: the threads of the workers."""
        if self.client is None:
            return 1
        return max(sum(self.client.nthreads().values()), 1)

    def map(
        self, name: str, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[Any]:
        """Yield the result of each call.

        Parameters
        ----------
        name
            What the dashboard calls the tasks.

        Raises
        ------
        StoreError
            If the cluster is lost.
        """
        if self.client is None:
            yield from starmap(function, calls)
            return
        run, numbered, most = uuid4().hex[:8], enumerate(calls), _WAITING * self.slots
        waiting: deque[Any] = deque()
        try:
            while True:
                for number, call in islice(numbered, most - len(waiting)):
                    key = (name, run, number)
                    waiting.append(
                        self.client.submit(function, *call, key=key, pure=False)
                    )
                if not waiting:
                    return
                result = waiting[0].result()
                waiting.popleft()
                yield result
        except _LOST as error:
            raise StoreError(
                "the cluster lost data that preparation needs "
                f"({type(error).__name__}: {first_line(error)}): continue with resume"
            ) from error
        finally:
            if waiting:
                self.client.cancel(list(waiting))
