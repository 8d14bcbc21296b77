"""Steps of a pipeline, done again where workers were lost.

This process keeps the state from which steps can be done again: that of the last step,
or where it is large that of some steps before, and the batches since.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import uuid4

from daskgnn.cluster.ready import LOST
from daskgnn.errors import TrainingError
from daskgnn.pipeline.layermodel import LoadedStages
from daskgnn.pipeline.plan import Assignment, Load, StepPlan, pieces_of
from daskgnn.pipeline.run import run_here
from daskgnn.pipeline.schedules import (
    FORWARD,
    Operation,
    Shape,
    assign,
    make_schedule,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from daskgnn.pipeline.build import Built
    from daskgnn.pipeline.cluster import PipelineCluster
    from daskgnn.pipeline.plan import Following, MicroBatch, Options, WorkerOutcome
    from daskgnn.pipeline.program import LayerState
    from daskgnn.pipeline.settings import PipelineSettings

SMALL_STATE = 8_000_000
"""Bytes of a state up to which it comes back after every step."""
SNAPSHOT_STEPS = 16
"""Steps after which a larger one does."""
_TRIES = 10
"""Of a step whose workers are lost again and again."""


@dataclass(frozen=True)
class _Later:
    """A step after the state that is kept."""

    batches: Sequence[MicroBatch]
    options: Options


@dataclass
class Kept:
    """A state, and what has been done since."""

    states: list[LayerState]
    """Of all layers."""
    step: int
    """Steps done before it."""
    later: list[_Later] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes of the state."""
        return sum(state.nbytes for state in self.states)


class Engine:
    """Carries steps out in this process.

    Parameters
    ----------
    settings : PipelineSettings
    built : Built
    run : str
        Names the run.
    """

    def __init__(self, settings: PipelineSettings, built: Built, run: str) -> None:
        self.settings, self.run = settings, run
        self.cut, self.program = built.cut, built.program
        self.done = 0
        """Steps done."""
        self._schedules: dict[int, tuple[Shape, list[list[Operation]]]] = {}
        self.restore(0, built.states)

    def restore(self, step: int, states: list[LayerState]) -> None:
        """Go on from another state."""
        self.done = step
        self._loaded = LoadedStages(self.program, dict(enumerate(states)))

    def advance(
        self,
        batches: Sequence[MicroBatch],
        options: Options,
        following: Following = None,
    ) -> tuple[list[WorkerOutcome], int]:
        """Do the next step; return its outcomes, and how many were done again.

        Parameters
        ----------
        batches : sequence of MicroBatch
        options : mapping or None
            Of the optimizers, from now on.
        following : sequence of MicroBatch or callable, optional
            What the step after it is to be given.

        Raises
        ------
        TrainingError
            If the loss is not finite. The state is that before the step.
        """
        plan, lists = self.plan(self.done, batches, 1, options)
        outcome = self._run_here(plan, lists, batches)
        self.done += 1
        return [outcome], 0

    def _run_here(
        self,
        plan: StepPlan,
        lists: list[list[Operation]],
        batches: Sequence[MicroBatch],
    ) -> WorkerOutcome:
        (operations,), (pieces,) = lists, pieces_of(plan, batches, 1)
        given = Assignment(0, tuple(operations))
        return run_here(self._loaded, plan, given, pieces)

    def outputs(self, batches: Sequence[MicroBatch]) -> list[np.ndarray]:
        """Return the outputs of micro-batches in evaluation."""
        plan, lists = self.forward_plan(batches, 1)
        return _in_order([self._run_here(plan, lists, batches)])

    def states(self) -> list[LayerState]:
        """Return the states of all layers as they are now."""
        models = self._loaded.models
        return [models[i].state() for i in range(len(models))]

    def plan(
        self,
        step: int,
        batches: Sequence[MicroBatch],
        workers: int,
        options: Options,
    ) -> tuple[StepPlan, list[list[Operation]]]:
        """Return a step's plan, and what each of so many workers does."""
        how, cut = self.settings, self.cut
        if workers not in self._schedules:
            where = assign(how.schedule, cut.stages, how.copies, workers, cut.devices)
            shape = Shape(how.schedule, cut.stages, how.micro_batches, where)
            self._schedules[workers] = shape, make_schedule(shape)
        shape, lists = self._schedules[workers]
        plan = StepPlan(
            self.run,
            step,
            uuid4().hex[:8],
            shape,
            cut,
            tuple(batch.rows for batch in batches),
            how.seed,
            options,
            how.recompute,
            how.half,
        )
        return plan, lists

    def forward_plan(
        self, batches: Sequence[MicroBatch], workers: int
    ) -> tuple[StepPlan, list[list[Operation]]]:
        """Return the plan of an evaluation, by one copy, of so many workers."""
        plan, _ = self.plan(0, batches, workers, None)
        of_one = {s: w for s, w in plan.shape.workers.items() if s[0] == 0}
        shape = Shape("gpipe", self.cut.stages, len(batches), of_one)
        lists = [[o for o in o_s if o.kind == FORWARD] for o_s in make_schedule(shape)]
        lists += [[] for _ in range(workers - len(lists))]
        return replace(plan, shape=shape, training=False), lists

    def place_of(self, worker: int) -> str:
        """Return the address of a worker of the last step."""
        return "local"

    def close(self) -> None:
        """Free what is held."""


class ClusterEngine(Engine):
    """Carries steps out on the workers of a cluster.

    Parameters
    ----------
    cluster : PipelineCluster
    """

    def __init__(
        self,
        cluster: PipelineCluster,
        settings: PipelineSettings,
        built: Built,
        run: str,
    ) -> None:
        self.cluster = cluster
        self._following: Following = None
        super().__init__(settings, built, run)

    def restore(self, step: int, states: list[LayerState]) -> None:
        """Go on from another state."""
        self.kept = Kept(states, step)
        self._forget()

    def _forget(self) -> None:
        """Begin again from the state that is kept."""
        self.done = self.kept.step
        self.cluster.drop()

    def advance(
        self,
        batches: Sequence[MicroBatch],
        options: Options,
        following: Following = None,
    ) -> tuple[list[WorkerOutcome], int]:
        """Do the next step, and those again whose outcome is lost."""
        self._following = following
        self.kept.later.append(_Later(batches, options))
        try:
            return self._catch_up(returns_state=False)
        except BaseException:
            if self.kept.later:  # as if it had not been asked for
                self.kept.later.pop()
            self._forget()
            raise

    def _catch_up(self, *, returns_state: bool) -> tuple[list[WorkerOutcome], int]:
        """Do all steps that were asked for; return the last one's outcomes.

        Parameters
        ----------
        returns_state : bool
            Whether the last one's state is wanted here.
        """
        kept = self.kept
        target, redone, losses = kept.step + len(kept.later), 0, 0
        outcomes: list[WorkerOutcome] = []
        furthest = self.done
        while self.done < target:
            wants = returns_state and self.done + 1 == target
            found = self._try_step(wants=wants or self._is_due())
            if found is None:
                losses += 1
                self._recover(losses)
                continue
            redone += self.done < furthest or losses > 0
            self.done += 1
            furthest = max(furthest, self.done)
            losses, outcomes = 0, found
            if found[0].states is not None:
                self._take(found)
        return outcomes, redone

    def _is_due(self) -> bool:
        """Return whether the next step's state is to come back."""
        if self.kept.nbytes <= SMALL_STATE:
            return True
        return (self.done + 1) % SNAPSHOT_STEPS == 0

    def _take(self, outcomes: list[WorkerOutcome]) -> None:
        """Keep the state that has come back with a step."""
        found = {i: s for each in outcomes for i, s in (each.states or {}).items()}
        kept = self.kept
        later = kept.later[self.done - kept.step :]
        states = [found[i] for i in range(len(kept.states))]
        self.kept = Kept(states, self.done, later)

    def _try_step(self, *, wants: bool) -> list[WorkerOutcome] | None:
        """Do the next step; None if it was dropped."""
        try:
            workers = self._place()
            if not self.cluster.has_layers() and not self._fetch():
                return None
        except LOST:
            return None
        later = self.kept.later[self.done - self.kept.step]
        plan, lists = self.plan(self.done, later.batches, workers, later.options)
        return self._run(plan, lists, later.batches, returns_state=wants)

    def _fetch(self) -> bool:
        """Have the present state here; return false where it is lost."""
        if self.done == self.kept.step:
            return True
        found = self.cluster.states()
        if found is None or len(found) < len(self.kept.states):
            return False
        later = self.kept.later[self.done - self.kept.step :]
        states = [found[i] for i in range(len(found))]
        self.kept = Kept(states, self.done, later)
        return True

    def _run(
        self,
        plan: StepPlan,
        lists: list[list[Operation]],
        batches: Sequence[MicroBatch],
        *,
        returns_state: bool = False,
    ) -> list[WorkerOutcome] | None:
        plan = replace(plan, returns_state=returns_state)
        load = None
        if not self.cluster.has_layers():
            load = Load(self.program, dict(enumerate(self.kept.states)))
        return self.cluster.run_step(
            plan,
            lists,
            batches,
            load,
            following=self._following,
            by_operation=self.settings.form == "operations",
        )

    def _place(self) -> int:
        """Return how many workers take part."""
        cut, copies = self.cut, self.settings.copies
        wanted = cut.stages if cut.devices is None else max(cut.devices) + 1
        return self.cluster.place(wanted * copies)

    def _recover(self, losses: int) -> None:
        """Go back to the state that is kept.

        Raises
        ------
        TrainingError
            If that has been done too often for one step.
        """
        if losses > _TRIES:
            raise TrainingError(
                f"step {self.done} was begun {losses} times and lost a worker each "
                "time: look at the workers' memory and logs"
            )
        self._forget()
        self.cluster.reconnect()

    def outputs(self, batches: Sequence[MicroBatch]) -> list[np.ndarray]:
        """Return the outputs of micro-batches in evaluation."""
        self._following = None
        for losses in range(_TRIES):
            self._catch_up(returns_state=False)
            found = self._try_outputs(batches)
            if found is not None:
                return _in_order(found)
            self._recover(losses)
        raise TrainingError("an evaluation has lost a worker each time")

    def _try_outputs(self, batches: Sequence[MicroBatch]) -> list[WorkerOutcome] | None:
        """Evaluate; None if that lost a worker."""
        try:
            workers = self._place()
            if not self.cluster.has_layers() and not self._fetch():
                return None
        except LOST:
            return None
        plan, lists = self.forward_plan(batches, workers)
        return self._run(plan, lists, batches)

    def states(self) -> list[LayerState]:
        """Return the states of all layers after the last step."""
        while self.kept.later:
            if not self._fetch():
                self._forget()
                self._catch_up(returns_state=True)
        return self.kept.states

    def place_of(self, worker: int) -> str:
        """Return the address of a worker of the last step."""
        return self.cluster.addresses[worker]

    def close(self) -> None:
        """Free what workers hold."""
        self.cluster.close()


def _in_order(outcomes: list[WorkerOutcome]) -> list[np.ndarray]:
    """Return the outputs of all micro-batches, in their order."""
    found = {m: out for each in outcomes for (_, m), out in each.outputs.items()}
    return [found[m] for m in range(len(found))]
