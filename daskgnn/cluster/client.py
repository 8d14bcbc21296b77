"""The client of a run, if it has one; Dask's is imported where there is a cluster."""

from __future__ import annotations

from asyncio import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from daskgnn.errors import (
    NoWorkerError,
    SourceAwayError,
    TrainingError,
    continued,
    first_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def open_client(
    workers: int | None,
    scheduler: str | None,
    memory_limit: int | str | None = None,
) -> Iterator[Any]:
    """Yield a client of a new local cluster or of a scheduler; None for no workers.

    Parameters
    ----------
    workers : int or None
        Workers to start on this machine; 0 trains in this process.
    scheduler : str or None
        Address of a running scheduler, e.g. ``tcp://host:8786``.
    memory_limit : int or str, optional
        Of each worker that is started; an equal share of the machine's by default.

    Raises
    ------
    ClusterError
        If nothing answers at the address in time, or it has no worker.
    """
    if scheduler is None and workers == 0:
        yield None
        return
    from daskgnn.cluster.clusters import own_cluster, running_cluster
    from daskgnn.graph.edges.assemble import limit_bytes

    if scheduler is not None:
        with running_cluster(scheduler) as client:
            yield client
    else:
        limit = "auto" if memory_limit is None else limit_bytes(memory_limit)
        with own_cluster(workers or 2, memory_limit=limit) as client:
            yield client


@contextmanager
def translate_cluster_errors(where: Callable[[], str]) -> Iterator[None]:
    """Turn Dask's errors about lost workers and schedulers into one of ours.

    Parameters
    ----------
    where : callable
        Says how far the run had come and how to continue it.

    Raises
    ------
    TrainingError
    """
    try:
        yield
    except (NoWorkerError, SourceAwayError) as error:
        raise continued(error, TrainingError, where()) from error
    except (Exception, CancelledError) as error:
        from daskgnn.cluster.ready import LOST

        if not isinstance(error, LOST):
            raise
        raise TrainingError(
            f"the cluster lost data that the run needs ({type(error).__name__}: "
            f"{first_line(error)}); {where()}"
        ) from error
