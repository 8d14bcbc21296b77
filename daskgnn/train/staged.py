"""Training of a model whose layers are on different workers: ``device_map``.

The parts' minibatches of a step are its micro-batches. They are sampled as in any run;
the layers' states are those of a `daskgnn.pipeline` and come back with each window.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from daskgnn.dataflow.executor import has_cluster
from daskgnn.dataflow.steps.clock import Clock, Work
from daskgnn.errors import InputError, ModelError
from daskgnn.nn.device import CPU
from daskgnn.pipeline.build import build
from daskgnn.pipeline.cluster import PipelineCluster
from daskgnn.pipeline.cuts import cut_by_map
from daskgnn.pipeline.engine import ClusterEngine, Engine
from daskgnn.pipeline.layermodel import initial_states, write_states
from daskgnn.pipeline.layers import Layers
from daskgnn.pipeline.plan import MicroBatch, loss_of
from daskgnn.pipeline.schedules import FORWARD
from daskgnn.pipeline.settings import PipelineSettings
from daskgnn.tasks.task import target_batch, weight_of
from daskgnn.train.compute.gradients import Gradients
from daskgnn.train.compute.loaded import layer_blocks
from daskgnn.train.compute.program import copied
from daskgnn.train.compute.schedule import check_optimizer, optimizer_of
from daskgnn.train.compute.state import (
    StepReport,
    TrainState,
    named,
    weights_of,
    write_weights,
)
from daskgnn.train.deployment import new_name
from daskgnn.train.loop import TrainLoop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from daskgnn.dataflow.steps.clock import Works
    from daskgnn.dataflow.steps.method import WindowSteps
    from daskgnn.kernels.batch import PreparedStep
    from daskgnn.pipeline.plan import WorkerOutcome
    from daskgnn.pipeline.program import LayerState
    from daskgnn.tasks.task import TargetBatch, Task
    from daskgnn.train.ahead import PreparedAhead
    from daskgnn.train.compute.schedule import Schedule
    from daskgnn.train.loop import WindowResult
    from daskgnn.train.options.options import TrainOptions
    from daskgnn.train.plan import Window


def check_staged(options: TrainOptions, model: torch.nn.Module) -> None:
    """Refuse what cannot go together with layers on different workers.

    Features that are stored sparse are made dense.

    Raises
    ------
    InputError, ModelError
        If the model cannot be cut as ``device_map`` says, or another option needs the
        gradient of the whole model.
    """
    layers = Layers(model)
    cut_by_map(layers.names, layers.own_names, options["device_map"])
    apart = Gradients.of(options).asked_for()
    for name in ("clip_norm", "checksum_every"):
        if options[name] is not None:
            apart[name] = f"{name}={options[name]}"
    if options["precision"] != "float32":
        apart["precision"] = f"precision={options['precision']!r}"
    if options["sparse_features"]:
        apart["sparse_features"] = "sparse_features=True"
    if len(check_optimizer(optimizer_of(options), model).param_groups) > 1:
        apart["optimizer"] = "an optimizer with several groups of parameters"
    for said in apart.values():
        raise InputError(
            f"device_map and {said} cannot go together: each layer is updated where it "
            "is, by its own optimizer; leave one of them out"
        )
    options["sparse_features"] = False


@dataclass(frozen=True)
class StagedLoss:
    """The loss of a micro-batch, which counts as much as any other of its step."""

    task: Task
    micro_batches: int

    def __call__(self, outputs: torch.Tensor, targets: TargetBatch) -> torch.Tensor:
        """Return the sum over its targets, as a share of the step's mean."""
        found = self.task.loss(outputs.float(), targets.as_tensors(CPU.tensor))
        return found * (self.micro_batches / targets.num_targets)


def micro_batch(step: PreparedStep, model: torch.nn.Module, task: Task) -> MicroBatch:
    """Return a part's minibatch as a micro-batch.

    Raises
    ------
    InputError
        If the loss is a weighted mean, or outputs are pooled.
    """
    targets = target_batch(step, task.tables)
    if step.graph.pools is not None:
        raise InputError(
            "device_map does not go together with a sampler that pools subgraphs: use "
            "readout='seed', or leave device_map out"
        )
    if weight_of(task, targets.as_tensors(CPU.tensor)) is not None:
        raise InputError(
            "device_map does not go together with a loss that is a mean by weights of "
            "classes: give one with reduction='sum', or leave device_map out"
        )
    blocks = {i: (block,) for i, block in enumerate(layer_blocks(step, model))}
    return MicroBatch(step.x, targets, blocks, targets=1)


class StagedLoop(TrainLoop):
    """The loop over windows of a model whose layers are on different workers."""

    form = "pipeline"
    counts_work = False
    _engine: Engine | None = None
    _layers: Layers

    def run(
        self, windows: Iterator[Window], state: TrainState, schedule: Schedule
    ) -> Iterator[WindowResult]:
        """Yield each window when it is trained; free what workers hold in the end."""
        try:
            yield from super().run(windows, state, schedule)
        finally:
            if self._engine is not None:
                self._engine.close()

    def _goes_in_order(self) -> bool:
        return False

    def _run_tasks(
        self, ahead: PreparedAhead, steps: WindowSteps
    ) -> tuple[TrainState, int]:
        """Run a window's steps; return the state after them, and how many tasks."""
        windows = self.executor.result(ahead.batches)
        model, task = self.deployment.model, self.deployment.targets.task
        given = [
            [micro_batch(window.steps[i], model, task) for window in windows]
            for i in range(len(steps.options))
        ]
        engine = self._ready(given[0], steps.state)
        reports, tasks = [], 0
        for batches, options, following in zip(
            given, steps.options, [*given[1:], None], strict=True
        ):
            (rates,) = options.groups
            outcomes, redone = engine.advance(batches, rates, following)
            self.recoveries.redid(redone)
            work = _work(outcomes, engine)
            reports.append(StepReport(loss_of(outcomes), time.time(), work, 0, 0))
            tasks += len(outcomes)
        return self._after(engine, steps.state, reports), tasks

    def _ready(self, batches: Sequence[MicroBatch], state: TrainState) -> Engine:
        """Return the engine, which stands where the state is."""
        made = self._engine is None
        if made:
            self._layers = Layers(copied(self.deployment.model))
            self._engine = self._new_engine(batches)
        engine = self._engine
        assert engine is not None
        if made or engine.done != state.step:
            engine.restore(state.step, self._states(engine, state))
        return engine

    def _new_engine(self, batches: Sequence[MicroBatch]) -> Engine:
        """Return an engine for micro-batches like these.

        Raises
        ------
        ModelError
            If the model's layers together do not compute what it computes.
        """
        options: Any = self.deployment.options
        program = self.deployment.program
        if not program.trial.layered:
            raise ModelError(
                "device_map needs a model whose forward(x, blocks) is x = layer(i, x, "
                f"blocks[i]) for each i, which that of {type(self.deployment.model)} "
                "is not"
            )
        settings = PipelineSettings(
            stages=None,
            device_map=options["device_map"],
            balance="parameters",
            cut_at=(),
            micro_batches=len(batches),
            schedule="1f1b",
            copies=1,
            seed=options["seed"],
            form="operations" if options["steps"] == "tasks" else "workers",
            recompute=False,
            boundary="float32",
            threads=options["threads_per_part"],
        )
        loss = StagedLoss(self.deployment.targets.task, len(batches))
        largest = max(batches, key=lambda batch: len(batch.x))
        built = build(self._layers, settings, loss, optimizer_of(options), largest)
        run = new_name()
        if not has_cluster(self.executor):
            return Engine(settings, built, run)
        cluster = PipelineCluster(self.executor.client, run)
        return ClusterEngine(cluster, settings, built, run)

    def _states(self, engine: Engine, state: TrainState) -> list[LayerState]:
        """Return the states of all layers in that of a run."""
        write_weights(self._layers.model, state.weights)
        found = initial_states(self._layers, engine.program)
        return [
            replace(each, optimizer=named(state.optimizer, f"{i}/"))
            for i, each in enumerate(found)
        ]

    def _after(
        self, engine: Engine, before: TrainState, reports: list[StepReport]
    ) -> TrainState:
        """Return a run's state after the steps that were reported."""
        states = engine.states()
        write_states(self._layers, engine.program, states)
        weights = weights_of(self._layers.model)
        optimizer = {
            f"{i}/{name}": array
            for i, each in enumerate(states)
            for name, array in each.optimizer.items()
        }
        return TrainState(
            weights.parameters,
            optimizer,
            before.step + len(reports),
            statistics=weights.statistics,
            reports=tuple(reports),
        )


def _work(outcomes: Sequence[WorkerOutcome], engine: Engine) -> Works:
    """Return what each worker did in a step."""
    found = {}
    for outcome in outcomes:
        clock = Clock()
        for span in outcome.spans:
            kind = "forward" if span.operation.kind == FORWARD else "backward"
            took = span.ended - span.began
            clock.add(kind, took, took)
        first, last = outcome.spans[0].began, outcome.spans[-1].ended
        found[engine.place_of(outcome.worker)] = Work(clock.spent, first, last)
    return found
