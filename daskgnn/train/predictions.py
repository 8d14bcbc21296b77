"""Predictions as a Dask array whose chunks outlive the workers that hold them."""

from __future__ import annotations

import uuid
import weakref
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import dask.array as da
import numpy as np
from dask.highlevelgraph import Layer, MaterializedLayer
from distributed import Future

from daskgnn.dataflow.executor import CollectingExecutor
from daskgnn.train.renewal import on_cluster, present_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from daskgnn.dataflow.executor import Executor
    from daskgnn.train.compute.state import Weights
    from daskgnn.train.deployment import Deployment
    from daskgnn.train.results import TrainResults

T = TypeVar("T")


def predictions(trainer: TrainResults, nodes: np.ndarray | None = None) -> da.Array:
    """Return a model's outputs for some nodes, by original id, or for all: [n, C].

    They are computed at once, on the workers, and again where the cluster has forgotten
    them when the array, or one that was made of it, is computed. Few nodes are computed
    from their neighbourhoods alone, and are in this process.
    """
    weights = on_cluster(trainer, lambda: present_weights(trainer))
    if nodes is not None:
        rows = on_cluster(trainer, lambda: _outputs_of_few(trainer, weights, nodes))
        if rows is not None:
            return da.from_array(rows, chunks=-1)
    return _in_chunks(trainer, weights, nodes, trainer.program.trial.num_outputs)


def embeddings(
    trainer: TrainResults,
    weights: Weights,
    width: int,
    num_layers: int,
    nodes: np.ndarray | None,
) -> da.Array:
    """Return what the first layers give of some nodes, or of all: [n, width]."""
    return _in_chunks(trainer, weights, nodes, width, num_layers)


def _outputs_of_few(
    trainer: TrainResults, weights: Weights, nodes: np.ndarray
) -> np.ndarray | None:
    evaluator = trainer.deployment.evaluator
    if not evaluator.are_few(nodes):
        return None
    return evaluator.by_neighbourhoods(weights, nodes)


def _in_chunks(
    trainer: TrainResults,
    weights: Weights,
    nodes: np.ndarray | None,
    width: int,
    num_layers: int | None = None,
) -> da.Array:
    total = trainer.graph.num_nodes if nodes is None else len(nodes)
    bounds = np.linspace(0, total, min(trainer.graph.num_parts, total) + 1)
    wanted = [range(*pair) for pair in pairwise(bounds.astype(np.int64).tolist())]
    chosen = [r if nodes is None else nodes[r.start : r.stop] for r in wanted]
    chunks = Chunks(trainer, weights, chosen, num_layers)
    sizes = tuple(map(len, wanted)), (width,)
    return Predictions(chunks, chunks.name, sizes, meta=np.empty((0, 0), np.float32))


class Predictions(da.Array):
    """A Dask array that looks at the cluster before it is computed."""

    __slots__ = ()

    def __dask_keys__(self) -> Any:
        """Return the keys of the chunks; Dask asks for them before all else."""
        if isinstance(chunks := self.dask.layers[self.name], Chunks):
            chunks.refresh()
        return super().__dask_keys__()

    def compute(self, **kwargs: Any) -> Any:
        """Compute the array where its chunks are, whichever client is Dask's default.

        Parameters
        ----------
        kwargs
            As of `dask.array.Array.compute`.
        """
        whole = super().compute
        chunks = self.dask.layers[self.name]
        if not isinstance(chunks, Chunks):
            return whole(**kwargs)
        return chunks.watched(lambda: whole(**kwargs))

    def written(self, write: Callable[[], T]) -> T:
        """Write the array, once its chunks are there.

        Parameters
        ----------
        write : callable
            Computes the array piece by piece.
        """
        chunks = self.dask.layers[self.name]
        assert isinstance(chunks, Chunks)
        return chunks.watched(write)


class Chunks(Layer):
    """Chunks that are computed already; where they are lost, the tasks that do so.

    Dask asks for the graph while it holds a lock of the client, so nothing here but
    `refresh` talks to the cluster.

    Parameters
    ----------
    trainer : Trainer
        Whose model's outputs they are, as it is now.
    weights : Weights
        What it computes with.
    chosen : list
        Of each chunk, the original ids of its rows.
    num_layers : int, optional
        Layers to compute; by default all.
    """

    def __init__(
        self,
        trainer: TrainResults,
        weights: Weights,
        chosen: list[Any],
        num_layers: int | None,
    ) -> None:
        super().__init__()
        self._trainer = weakref.ref(trainer)
        self._weights = deepcopy(weights)
        self._chosen, self._num_layers = chosen, num_layers
        self._token = uuid.uuid4().hex[:12]
        self.name = "predict-" + self._token
        self._recipe = replace(trainer.deployment, executor=CollectingExecutor())
        self._kept: dict[Any, Any] = {}
        self._on: Executor | None = None
        self.refresh()

    def refresh(self) -> None:
        """Look at the cluster, and have lost chunks computed again.

        Raises
        ------
        ClusterError, TrainingError
            If there is no cluster to do so.
        """
        trainer = self._trainer()
        if trainer is not None:
            on_cluster(trainer, lambda: self._compute(trainer.deployment))

    def watched(self, work: Callable[[], T]) -> T:
        """Do what needs the chunks, once they are there.

        Dask would wait for lost workers by its scheduler's settings; here no longer
        than is configured for every call.

        Raises
        ------
        ClusterError, TrainingError
            If there is no cluster to compute them.
        """
        trainer = self._trainer()

        def done() -> T:
            if trainer is not None:
                self._compute(trainer.deployment)
                trainer.executor.wait_for(self._kept)
            with self.client():
                return work()

        return done() if trainer is None else on_cluster(trainer, done)

    def _compute(self, deployment: Deployment) -> None:
        if deployment.executor is self._on and self._are_there():
            return
        if deployment.program.digest != self._recipe.program.digest:
            # The model has changed since: what it was is sent once more.
            deployment = replace(deployment, program=self._recipe.program)
        self._kept = self._chunks(deployment)
        self._on = deployment.executor

    def _chunks(self, deployment: Deployment) -> dict[Any, Any]:
        evaluator = deployment.evaluator
        return evaluator.chunks(
            self._weights, self._token, self._chosen, self._num_layers
        )

    @property
    def _futures(self) -> list[Any]:
        return [node for node in self._kept.values() if isinstance(node, Future)]

    def _are_there(self) -> bool:
        return all(
            future.status in ("pending", "finished")
            and future.client.status == "running"
            for future in self._futures
        )

    def client(self) -> AbstractContextManager[Any]:
        """Return a context in which the client that has the chunks is the default."""
        futures = self._futures
        return futures[0].client.as_current() if futures else nullcontext()

    @cached_property
    def _tasks(self) -> dict[Any, Any]:
        """All that computes the chunks, in any process."""
        return self._chunks(self._recipe)

    @property
    def _here(self) -> dict[Any, Any]:
        """What this process can compute: it has no use for futures."""
        return self._tasks if self._futures else self._kept

    def is_materialized(self) -> bool:
        """Return True: nothing is to be made of it but itself."""
        return True

    def get_output_keys(self) -> set[Any]:
        """Return the keys of the chunks."""
        return set(self._kept)

    def __getitem__(self, key: Any) -> Any:
        return self._here[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._here)

    def __len__(self) -> int:
        return len(self._here)

    def __reduce__(self) -> tuple[Any, ...]:
        # To a scheduler goes the graph alone.
        there = self._kept if self._are_there() else self._tasks
        return MaterializedLayer, (dict(there),)
