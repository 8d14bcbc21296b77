"""Do a trainer's work where it can be done now, and again if what it needs is lost."""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, Any, TypeVar

from daskgnn.cluster.client import translate_cluster_errors
from daskgnn.dataflow.executor import PartsLost, has_cluster
from daskgnn.errors import DaskGNNError

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.train.compute.state import Weights
    from daskgnn.train.results import TrainResults

T = TypeVar("T")


def on_cluster(trainer: TrainResults, work: Callable[[], T]) -> T:
    """Do a trainer's work where it can be done now; again if what it needs is lost.

    Workers are waited for, parts are placed anew where all were restarted, and another
    cluster is gone over to where the scheduler is lost.

    Raises
    ------
    ClusterError
        If the client is asynchronous here, or closed.
    TrainingError
        If there is no worker, or no scheduler, in time.
    """
    with translate_cluster_errors(lambda: how_to_continue(trainer)):
        if not has_cluster(trainer.executor):
            return work()
        from daskgnn.train.replacement import mend, replace_lost

        mend(trainer)
        while True:
            try:
                return work()
            except (Exception, CancelledError) as error:
                if isinstance(error, PartsLost):
                    trainer.executor.take_over()
                elif isinstance(error, DaskGNNError) or not replace_lost(trainer):
                    raise


def present_weights(trainer: TrainResults) -> Weights:
    """Return the best weights; those of the model, if it was changed since.

    Part of the work for `on_cluster`: a model that computes otherwise is sent.
    """
    trainer.given.renew(trainer.deployment, trainer.run_state)
    return trainer.run_state.best_weights


def exact_scores(trainer: TrainResults, splits: list[str]) -> dict[str, Any]:
    """Return the exact scores of some splits, with a run's best weights."""
    best = trainer.run_state.best_weights
    return on_cluster(
        trainer, lambda: trainer.deployment.evaluator.scores(best, splits)
    )


def how_to_continue(trainer: TrainResults) -> str:
    """Say how far a run has come and what continues it."""
    done = f"{trainer.run_state.state.step} steps were done"
    executor = trainer.executor
    kills = executor.memory_kills() if has_cluster(executor) else 0
    if kills:
        done = (
            f"workers were killed {kills} times because their memory was full: "
            "lower batch_size or num_neighbors, open the graph with more parts on "
            f"more workers, or raise memory_limit; {done}"
        )
    return f"{done}, {trainer.recorder.how_to_continue()}"
