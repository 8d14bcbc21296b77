"""Whether a client can be given work: looked at before every call that needs a cluster.

Dask itself waits for ever for a worker, and for half a minute for a scheduler that is
gone. Here every wait has a limit, and what is waited for is said.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dask
from dask.utils import parse_timedelta
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError
from distributed.core import Status
from distributed.scheduler import KilledWorker, NoValidWorkerError
from distributed.scheduler import NoWorkerError as NoWorkerInTime

from daskgnn.cluster.connection import asking_for_worker, is_own, scheduler_id
from daskgnn.config import variable_of
from daskgnn.errors import ClusterError, NoWorkerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 10.0
"""Seconds that a call waits for what a cluster lacks, where no setting says."""
NO_WORKERS = "distributed.scheduler.no-workers-timeout"
LOST = (
    asyncio.CancelledError,
    concurrent.futures.CancelledError,
    CommClosedError,
    FutureCancelledError,
    KilledWorker,
    NoValidWorkerError,
    NoWorkerInTime,
)
"""What Dask raises of results whose workers, or whose scheduler, are lost."""
_SILENT_SECONDS = 2.0
"""Of a wait that is not worth a line."""
_POLL_SECONDS = 0.1
_logger = logging.getLogger(__name__)


def worker_limit() -> float:
    """Return how long a cluster without workers is waited for, in seconds."""
    limit = parse_timedelta(dask.config.get(NO_WORKERS, None))
    return LIMIT if limit is None else float(limit)


def check_client(client: Any) -> None:
    """Refuse a client that no work can be given to.

    Raises
    ------
    ClusterError
        In one line, within `LIMIT` seconds: it is asynchronous where it is used, it was
        closed, or its scheduler does not answer.
    """
    refuse_asynchronous(client)
    if client.status in ("closing", "closed") or client.scheduler is None:
        raise ClusterError("the Dask client is closed: give a new Client(...)")
    address = client.scheduler.address
    if scheduler_id(address, client.security) is None:
        raise ClusterError(
            f"the scheduler at {address} does not answer any more: start it again and "
            "give a new Client(...)"
        )


@contextmanager
def importing(client: Any) -> Iterator[None]:
    """Say in one line that a scheduler lacks daskgnn, if what is inside finds so.

    Raises
    ------
    ClusterError
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"the scheduler at {client.scheduler.address} cannot read daskgnn's tasks "
            f"({error}): pip install daskgnn where it runs, and start it again"
        ) from error


def refuse_asynchronous(client: Any) -> None:
    """Refuse a client whose calls would return coroutines here.

    Raises
    ------
    ClusterError
    """
    if client.asynchronous:
        raise ClusterError(
            "the Dask client is asynchronous, and this call waits for results: make it "
            "in a thread, await asyncio.to_thread(trainer.fit, 20), or give a "
            "Client(...) without asynchronous=True"
        )


def is_closed(client: Any, cluster: Any, address: str) -> bool:
    """Return whether a client was closed by somebody; Dask does so, too.

    That is when the client has searched in vain for a scheduler that is lost.

    Parameters
    ----------
    cluster
        What the client was made of, if it was an object; it knows no other scheduler.
    """
    if client.status not in ("closing", "closed"):
        return False
    if is_own(client):
        return False  # lost: another is started; ended: `is_own` does not hold
    if cluster is not None and cluster.status in (Status.closing, Status.closed):
        return True
    return scheduler_id(address, client.security) is not None


class WorkerWatch:
    """Notices that a cluster has no worker, asks for one, and gives up in time.

    Parameters
    ----------
    client : distributed.Client
    count : callable
        Returns how many workers can be given work now.
    """

    def __init__(self, client: Any, count: Callable[[], int]) -> None:
        self._client, self._count = client, count
        self._since: float | None = None

    def look(self) -> None:
        """Look once.

        Raises
        ------
        NoWorkerError
            If there has been no worker for as long as is waited.
        """
        if self._count():
            self._since = None
            return
        now, limit = time.monotonic(), worker_limit()
        if self._since is None:
            self._since = now
        if now - self._since >= limit:
            raise _missing(self._client, limit)

    def wait(self, seconds: float | None = None) -> None:
        """Return when there is a worker; one is asked for if there is none.

        Parameters
        ----------
        seconds : float, optional
            How long to wait; by default `worker_limit`.

        Raises
        ------
        NoWorkerError
        """
        if self._count():
            return
        began, told = time.monotonic(), False
        limit = worker_limit() if seconds is None else seconds
        with asking_for_worker(self._client):
            while not self._count():
                waited = time.monotonic() - began
                if waited >= limit:
                    raise _missing(self._client, limit)
                if waited >= _SILENT_SECONDS and not told:
                    told = True
                    address = self._client.scheduler.address
                    said = "waiting at most %g s for a worker of the cluster at %s"
                    _logger.warning(said, limit, address)
                time.sleep(_POLL_SECONDS)


def _missing(client: Any, limit: float) -> NoWorkerError:
    """Return what is raised where no worker came in time."""
    address = client.scheduler.address
    start = f"start one with 'daskgnn worker {address}', or wait longer with"
    return NoWorkerError(
        f"no worker came to the cluster at {address} within {limit:g} s",
        python=f"{start} dask.config.set({{{NO_WORKERS!r}: '5 minutes'}})",
        shell=f"{start} {variable_of(NO_WORKERS)}=5minutes in the environment",
    )
