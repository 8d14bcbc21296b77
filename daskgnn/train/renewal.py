"""Continue after the loss of a scheduler, on another cluster."""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, TypeVar

from daskgnn.cluster.connection import has_lost_scheduler, successor
from daskgnn.dataflow.cluster import ClusterExecutor
from daskgnn.errors import ClusterError, DaskGNNError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.dataflow.executor import Executor
    from daskgnn.train.persist.recorder import Recorder

T = TypeVar("T")

_RENEWALS = 3
"""Clusters that are started for one that is lost: the next may be lost as it starts."""


def outlive_schedulers(
    work: Callable[[], T], executor: Callable[[], Executor], renew: Callable[[], None]
) -> T:
    """Do some work; do it again on another cluster if the scheduler is lost.

    Whatever the work raises then, for instance that a client is closed, is of the
    loss.

    Parameters
    ----------
    executor : callable
        Returns the executor of the moment.
    renew : callable
        Goes over to another cluster.
    """
    while True:
        try:
            return work()
        except (Exception, CancelledError) as error:
            if isinstance(error, DaskGNNError) or not _lost_scheduler(executor()):
                raise
            renew()


def _lost_scheduler(executor: Executor) -> bool:
    return isinstance(executor, ClusterExecutor) and has_lost_scheduler(
        executor.client, executor.scheduler_id
    )


def another_executor(
    lost: Executor, num_parts: int, how_to_continue: Callable[[], str]
) -> ClusterExecutor:
    """Return an executor on another cluster, which may be lost as it starts.

    Raises
    ------
    TrainingError
        If there is none in time.
    """
    assert isinstance(lost, ClusterExecutor)
    for attempts_left in reversed(range(_RENEWALS)):
        try:
            return ClusterExecutor(successor(lost.client), num_parts, lost.num_standbys)
        except ClusterError as error:
            # For a remote scheduler the waiting is done already.
            if not attempts_left or lost.client.cluster is None:
                raise TrainingError(f"{error}; {how_to_continue()}") from error
        except (Exception, CancelledError) as error:
            if isinstance(error, DaskGNNError) or not attempts_left:
                raise
    raise AssertionError


def how_to_continue(executor: Executor, recorder: Recorder, steps: int) -> str:
    """Say how far a run has come and what continues it."""
    done = f"{steps} steps were done"
    kills = executor.memory_kills() if isinstance(executor, ClusterExecutor) else 0
    if kills:
        done = (
            f"workers were killed {kills} times because their memory was full: "
            "lower batch_size or num_neighbors, open the graph with more parts on "
            f"more workers, or raise memory_limit; {done}"
        )
    return f"{done}, {recorder.how_to_continue()}"
