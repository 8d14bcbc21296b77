"""Replace what a cluster has lost: workers may be other ones, or all of it another one.

What a trainer has is in this process: parts are loaded again wherever there are
workers, from the same state.
"""

from __future__ import annotations

import time
from asyncio import CancelledError
from dataclasses import replace
from typing import TYPE_CHECKING

from daskgnn.cluster.connection import (
    RECONNECT_SECONDS,
    is_own,
    nobody_listens,
    successor,
)
from daskgnn.cluster.ready import LIMIT, refuse_asynchronous
from daskgnn.dataflow.cluster import ClusterExecutor
from daskgnn.dataflow.executor import current_client, has_cluster
from daskgnn.errors import ClusterError, DaskGNNError, TrainingError, continued
from daskgnn.train.deployment import find_workers
from daskgnn.train.renewal import how_to_continue

if TYPE_CHECKING:
    from daskgnn.dataflow.executor import Executor
    from daskgnn.train.results import TrainResults

_RENEWALS = 3
"""Clusters that are started for one that is lost: the next may be lost as it starts."""
_POLL_SECONDS = 0.05


def replace_lost(trainer: TrainResults) -> bool:
    """Replace what work that failed has lost; return whether it had lost anything.

    Whatever the work raised then, for instance that a future was cancelled, is of the
    loss.
    """
    before = trainer.executor
    if not has_cluster(before):
        return False
    if before.is_closed():
        raise _closed(trainer)
    if _has_lost_scheduler(before):
        _renew(trainer, RECONNECT_SECONDS)
    mend(trainer, RECONNECT_SECONDS)
    return trainer.executor is not before


def mend(trainer: TrainResults, seconds: float = LIMIT) -> None:
    """Look at the cluster, and make it fit for work.

    `seconds` is how long another scheduler is waited for, where no setting says.
    """
    executor = trainer.executor
    if not has_cluster(executor):
        return
    refuse_asynchronous(executor.client)
    if executor.is_closed():
        _move(trainer, _other_client(trainer))
    elif nobody_listens(executor.address) or (
        executor.client.status != "running" and _has_lost_scheduler(executor)
    ):
        _renew(trainer, seconds)
    try:
        _settle(trainer)
    except (Exception, CancelledError) as error:
        executor = trainer.executor
        assert has_cluster(executor)
        if isinstance(error, DaskGNNError) or not _has_lost_scheduler(executor):
            raise
        _renew(trainer, seconds)
        _settle(trainer)


def _settle(trainer: TrainResults) -> None:
    """Have a trainer's parts where workers are now."""
    executor = trainer.executor
    assert has_cluster(executor)
    if executor.has_lost_results():
        step = trainer.run_state.state.step
        trainer.recorder.event("workers_restarted", step=step)
        executor = executor.another()
        _move(trainer, executor)
    executor.place_parts()


def _has_lost_scheduler(executor: ClusterExecutor) -> bool:
    """Return whether the scheduler is lost; a connection that was cut may come back."""
    deadline = time.monotonic() + LIMIT
    while not executor.has_lost_scheduler():
        if executor.client.status != "connecting" or time.monotonic() > deadline:
            return executor.client.status != "running"
        time.sleep(_POLL_SECONDS)
    return True


def _move(trainer: TrainResults, executor: Executor) -> None:
    """Have a trainer's parts loaded, and all else done, by another executor."""
    trainer.deployment = replace(trainer.deployment, executor=executor)


def _renew(trainer: TrainResults, seconds: float) -> None:
    """Go over to another cluster with the state that this process holds."""
    trainer.recoveries.lost_scheduler(time.time())
    trainer.recorder.event("scheduler_lost", step=trainer.run_state.state.step)
    executor = trainer.executor
    assert has_cluster(executor)
    _move(trainer, _another_executor(trainer, executor, seconds))


def _other_client(trainer: TrainResults) -> Executor:
    """Return an executor of the client that is current now, if any may be taken.

    Raises
    ------
    ClusterError
    """
    given = trainer.options["client"]
    if not isinstance(given, str):
        raise _closed(trainer)
    if current_client() is None:
        raise _closed(trainer)
    return find_workers(trainer.graph, trainer.options)


def _closed(trainer: TrainResults) -> ClusterError:
    given = trainer.options["client"]
    remedy = "make another Client(...)"
    if not isinstance(given, str):
        remedy += " and a Trainer(..., client=...) with it"
    return ClusterError(
        f"the trainer's Dask client is closed: {remedy}; {how_to_continue(trainer)}"
    )


def _another_executor(
    trainer: TrainResults, lost: ClusterExecutor, seconds: float
) -> ClusterExecutor:
    """Return an executor on another cluster, which may be lost as it starts.

    Raises
    ------
    TrainingError
        If there is none in time.
    """
    for attempts_left in reversed(range(_RENEWALS)):
        try:
            client = successor(lost.client, lost.address, seconds)
            return ClusterExecutor(client, trainer.graph.num_parts, lost.num_standbys)
        except ClusterError as error:
            # For a scheduler of others the waiting is done already.
            if not attempts_left or not is_own(lost.client):
                said = how_to_continue(trainer)
                raise continued(error, TrainingError, said) from error
        except (Exception, CancelledError) as error:
            if isinstance(error, DaskGNNError) or not attempts_left:
                raise
    raise AssertionError
