"""Calls of one function: in this process, or as tasks on a cluster's workers."""

from __future__ import annotations

from collections import deque
from concurrent.futures import wait
from itertools import islice, starmap
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from daskgnn.cluster.connection import begin_gather
from daskgnn.cluster.ready import LOST, WorkerWatch, check_client
from daskgnn.errors import NoWorkerError, StoreError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_WAITING = 2
"""Tasks in flight for each thread: one that runs, and the next."""
_POLL_SECONDS = 1.0
"""How often it is looked whether there are workers, while a result is waited for."""


class Mapper:
    """Runs calls, on a cluster a bounded number at once; their results come in order.

    Without a client they run here, one after the other.
    A task that is lost with its worker runs again on another, so the functions must do
    no harm when they run twice.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        if client is not None:
            check_client(client)
            self._watch = WorkerWatch(client, lambda: len(client.nthreads()))
            self._watch.wait()

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
                yield self._result(waiting[0])
                waiting.popleft()
        except NoWorkerError as error:
            raise StoreError(f"{error}; then continue with resume") from error
        except LOST as error:
            raise StoreError(
                "the cluster lost data that preparation needs "
                f"({type(error).__name__}: {first_line(error)}): continue with resume"
            ) from error
        finally:
            if waiting:
                self.client.cancel(list(waiting))

    def _result(self, future: Any) -> Any:
        """Wait for a result, as long as there are workers.

        Raises
        ------
        NoWorkerError
        """
        coming = begin_gather(self.client, future)
        while not wait([coming], _POLL_SECONDS).done:
            self._watch.look()
        return coming.result()
