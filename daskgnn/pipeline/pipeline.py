"""`Pipeline`: a model whose layers are on different workers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from daskgnn.errors import InputError
from daskgnn.pipeline.build import build, states_in
from daskgnn.pipeline.cluster import cluster_of
from daskgnn.pipeline.cuts import check_stages, cut_by_map
from daskgnn.pipeline.engine import ClusterEngine, Engine
from daskgnn.pipeline.fit import fit
from daskgnn.pipeline.layers import Layers
from daskgnn.pipeline.plan import (
    MicroBatch,
    Span,
    StepResult,
    as_array,
    in_micro_batches,
    loss_of,
)
from daskgnn.pipeline.program import check_batch
from daskgnn.pipeline.results import PipelineResults
from daskgnn.pipeline.settings import PipelineSettings
from daskgnn.train.compute.optimizers import optimizer_factory
from daskgnn.train.compute.program import copied

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import torch

    from daskgnn.pipeline.plan import Following
    from daskgnn.train.options.option import OptimizerFactory
    from daskgnn.train.persist.checkpoint import Checkpoint
    from daskgnn.train.persist.recorder import Progress


class Pipeline(PipelineResults):
    """A model cut into stages, which Dask workers train in a pipeline.

    A batch is cut into micro-batches. While one worker computes the first layers for
    one of them, the next worker computes the following layers for the one before. The
    result is identical, bit for bit, to that of the model trained in this process with
    the same micro-batches, for any schedule, form and number of workers.

    Parameters
    ----------
    module : torch.nn.Module
        A `torch.nn.Sequential`; or a module with ``num_layers`` and ``layer(i, x)``; or
        any other, with `cut_at`. It is copied, not changed.
    loss : callable
        ``loss(output, target)``, a mean over rows.
    stages : int, optional
        How many stages to cut the model into; 1 by default.
    device_map : dict, optional
        Instead of `stages`: the device of each layer, as in
        ``{"layer.0": 0, "layer.1": 1}``. Devices are workers, numbered from 0.
    balance : {"parameters", "time"}, default "parameters"
        What all stages should have about the same amount of. "time" measures each layer
        on the first batch.
    cut_at : sequence of str
        Names of the modules that layers begin with, if the model is no `Sequential`.
    micro_batches : int, default 1
        Number of micro-batches of each copy. If rows are left over, the first
        micro-batches get them.
    schedule : {"1f1b", "gpipe", "interleaved", "zero-bubble"}
        Order of the forward and backward passes: see ``docs/pipelines.md``.
    copies : int, default 1
        Copies of the model, which train on other micro-batches of the same batch.
    optimizer : str or callable, default "adam"
        A name from `torch.optim`, or a function that takes a list of parameters and
        returns an optimizer. Each layer has its own optimizer.
    lr, weight_decay : float
        Learning rate and weight decay, if `optimizer` is a name.
    seed : int, default 0
        Seed of what layers draw in training, such as dropout.
    form : {"auto", "workers", "operations"}
        One task per worker and step ("workers", which "auto" means), or one task per
        operation.
    recompute : bool, default False
        Whether stages keep only the input of a micro-batch and compute activations
        again for the backward pass.
    boundary : {"float32", "bf16"}
        Type that activations and their gradients are rounded to between stages.
    threads : int, default 1
        Threads that compute an operation.
    client : distributed.Client, "auto" or None
        None trains in this process; "auto" takes the current client, if there is one.

    Raises
    ------
    InputError, ModelError
        If the model cannot be cut in this way.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from daskgnn.pipeline import MicroBatch, Pipeline
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 3))
    >>> loss = torch.nn.functional.cross_entropy
    >>> how = {"micro_batches": 4, "lr": 0.05, "client": None}
    >>> pipeline = Pipeline(model, loss, stages=2, **how)
    >>> rows, classes = np.eye(16, 4, dtype=np.float32), np.arange(16) % 3
    >>> first, *_, last = [pipeline.step(rows, classes).loss for _ in range(20)]
    >>> last < first
    True
    >>> pipeline.predict(rows).shape
    (16, 3)
    >>> pipeline.cut.stages, pipeline.steps_done, len(pipeline.params_sha256)
    (2, 20, 64)
    >>> pipeline.addresses
    []
    >>> kept = pipeline.checkpoint()
    >>> losses = pipeline.fit(lambda step: (rows, classes), steps=22)
    >>> pipeline.restore(kept)
    >>> pipeline.step_on([MicroBatch(rows[:4], classes[:4])] * 4).step
    20
    >>> pipeline.step_on(pipeline.cut_batch(rows, classes)).step
    21
    >>> trained = pipeline.module()
    >>> pipeline.close()
    """

    def __init__(
        self,
        module: torch.nn.Module,
        loss: Callable[..., torch.Tensor],
        *,
        stages: int | None = None,
        device_map: dict[str, int] | None = None,
        balance: str = "parameters",
        cut_at: Sequence[str] = (),
        micro_batches: int = 1,
        schedule: str = "1f1b",
        copies: int = 1,
        optimizer: str | OptimizerFactory = "adam",
        lr: float = 0.001,
        weight_decay: float = 0.0,
        seed: int = 0,
        form: str = "auto",
        recompute: bool = False,
        boundary: str = "float32",
        threads: int = 1,
        client: Any = "auto",
    ) -> None:
        how = stages, device_map, balance, tuple(cut_at), micro_batches, schedule
        more = copies, seed, form, recompute, boundary, threads
        self.settings = PipelineSettings(*how, *more)
        self._model = copied(module)
        self._layers = Layers(self._model, self.settings.cut_at)
        if device_map is None:
            check_stages(1 if stages is None else stages, len(self._layers))
        else:
            cut_by_map(self._layers.names, self._layers.own_names, device_map)
        self._loss = loss
        self._optimizer = optimizer_factory(optimizer, lr, weight_decay)
        self.run = uuid4().hex[:8]
        self._cluster = cluster_of(client, self.run)
        self._engine: Engine | None = None
        self._restored: Checkpoint | None = None
        self.spans: tuple[Span, ...] = ()
        """Each operation of the last step."""
        self.cut_lines: list[str] = []
        """What each stage has, a line each; known from the first batch on."""

    @property
    def client(self) -> Any:
        """The Dask client that is used now; None in this process."""
        return None if self._cluster is None else self._cluster.client

    @property
    def addresses(self) -> list[str]:
        """Workers of the last step, by their number in `spans`; here none."""
        return [] if self._cluster is None else list(self._cluster.addresses)

    # -- training

    def step(self, x: Any, y: Any, lr: float | None = None) -> StepResult:
        """Train on one batch.

        Parameters
        ----------
        x : array or torch.Tensor
            [n, ...], the model's input.
        y : array, torch.Tensor or tuple of them
            [n, ...], what the loss is given as target.
        lr : float, optional
            The learning rate from now on.

        Returns
        -------
        StepResult

        Raises
        ------
        InputError
            If the batch has fewer rows than there are micro-batches.
        TrainingError
            If the loss is not finite, or workers are lost again and again. The state is
            then that before the step.
        """
        return self.step_on(self.cut_batch(x, y), lr)

    def cut_batch(self, x: Any, y: Any) -> list[MicroBatch]:
        """Return the micro-batches of a batch, for `step_on`.

        Parameters
        ----------
        x : array or torch.Tensor
            [n, ...], the model's input.
        y : array, torch.Tensor or tuple of them
            [n, ...], what the loss is given as target.

        Returns
        -------
        list of MicroBatch
            Those of one copy after another.
        """
        check_batch(x)
        count = self.settings.copies * self.settings.micro_batches
        return in_micro_batches(as_array(x), as_array(y), count)

    def step_on(
        self,
        batches: Sequence[MicroBatch],
        lr: float | None = None,
        following: Following = None,
    ) -> StepResult:
        """Train on micro-batches that are cut already, those of one copy after another.

        Parameters
        ----------
        batches : sequence of MicroBatch
            As many as `micro_batches` times `copies`.
        lr : float, optional
            The learning rate from now on.
        following : sequence of MicroBatch or callable, optional
            What the next call will be given, the same object, or a function that
            returns it: called, and sent to workers, while this step runs.

        Returns
        -------
        StepResult

        Raises
        ------
        InputError
            If there are more or fewer.
        """
        how = self.settings
        if len(batches) != how.copies * how.micro_batches:
            raise InputError(
                f"{len(batches)} micro-batches, expected "
                f"{how.copies * how.micro_batches}: micro_batches={how.micro_batches} "
                f"of copies={how.copies}"
            )
        began = time.perf_counter()
        engine = self._ready(batches[0])
        outcomes, redone = engine.advance(
            batches, None if lr is None else {"lr": lr}, following
        )
        self.spans = tuple(span for each in outcomes for span in each.spans)
        held = {slot: n for each in outcomes for slot, n in each.held.items()}
        seconds = time.perf_counter() - began
        told = seconds, redone, self.spans, held
        return StepResult(engine.done - 1, loss_of(outcomes), *told)

    def fit(
        self,
        batch_of: Callable[[int], tuple[Any, ...]],
        steps: int,
        *,
        out: str | os.PathLike[str] | None = None,
        resume: bool = False,
        checkpoint_every: int = 50,
        progress: Progress | None = None,
    ) -> list[float]:
        """Train until so many steps are done.

        Ctrl-C and SIGTERM end it after the step in progress, with a checkpoint.

        Parameters
        ----------
        batch_of : callable
            What `step` is given, by the number of the step: ``(x, y)`` or ``(x, y,
            lr)``. The same at every call, so that a run can be resumed.
        steps : int
            Of the whole run, those before a resume included.
        out : path or URL, optional
            Where to write ``metrics.jsonl``, ``summary.json`` and checkpoints.
        resume : bool, default False
            Go on from the newest checkpoint in `out`, with any number of stages and
            workers.
        checkpoint_every : int, default 50
            Steps.
        progress : Progress, optional
            Is told of every step.

        Returns
        -------
        list of float
            The loss of each step that this call has done.

        Raises
        ------
        InputError
            If `out` holds a run already, or none to resume.
        """
        how: dict[str, Any] = {"out": out, "resume": resume, "progress": progress}
        return fit(self, batch_of, steps, checkpoint_every=checkpoint_every, **how)

    def predict(self, x: Any, micro_batches: int | None = None) -> np.ndarray:
        """Return the model's outputs in evaluation, [n, ...].

        Parameters
        ----------
        x : array or torch.Tensor
            [n, ...]
        micro_batches : int, optional
            In how many pieces they go through the stages; as in training by default.

        Returns
        -------
        numpy.ndarray
        """
        check_batch(x)
        count = micro_batches or self.settings.micro_batches
        batches = in_micro_batches(as_array(x), None, min(count, len(x)))
        return np.concatenate(self._ready(batches[0]).outputs(batches))

    def _ready(self, batch: MicroBatch) -> Engine:
        """Return the engine, which is made for the first micro-batch."""
        if self._engine is None:
            given = self._layers, self.settings, self._loss, self._optimizer
            built = build(*given, batch)
            self.cut_lines = built.lines
            if self._cluster is None:
                self._engine = Engine(self.settings, built, self.run)
            else:
                self._engine = ClusterEngine(
                    self._cluster, self.settings, built, self.run
                )
            if self._restored is not None:
                states = states_in(self._restored, built.program)
                self._engine.restore(self._restored.step, states)
        return self._engine
