"""Take a user's model as it is when it is used, not as it was when it was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from daskgnn.errors import ModelError
from daskgnn.train.compute.dryrun import try_both
from daskgnn.train.compute.gradients import Gradients
from daskgnn.train.compute.program import make_program
from daskgnn.train.compute.schedule import (
    optimizer_of,
    try_optimizer,
    try_schedule,
)
from daskgnn.train.compute.state import weights_of, write_weights

if TYPE_CHECKING:
    import torch

    from daskgnn.graph.graph import Graph
    from daskgnn.kernels.seeds import SeedPlan
    from daskgnn.kernels.targets import Targets
    from daskgnn.tasks.task import Task
    from daskgnn.train.compute.program import Program, Trial
    from daskgnn.train.compute.state import Weights
    from daskgnn.train.deployment import Deployment
    from daskgnn.train.options.options import TrainOptions
    from daskgnn.train.runstate import RunState


@dataclass(eq=False)
class GivenModel:
    """A user's model, and what was taken of it."""

    model: torch.nn.Module
    task: Task
    graph: Graph
    few: Targets
    """Some of the training targets, to try the loss on."""
    num_layers: int
    options: TrainOptions

    _seen: str = ""
    """Digest of the weights that were taken."""

    @property
    def weights(self) -> Weights:
        """What it computes with now."""
        return weights_of(self.model)

    def take(self) -> Weights:
        """Return the model's weights, which are known from now on."""
        found = self.weights
        self._seen = found.digest()
        return found

    def tried(self) -> Program:
        """Return the program of the model as it is, checked.

        Raises
        ------
        InputError, ModelError
            If it cannot be trained.
        """
        given = self.model, self.task, self.graph, self.few, self.num_layers
        trial = try_both(
            *given,
            deterministic=self.options["deterministic"],
            sparse_features=bool(self.options["sparse_features"]),
        )
        if callable(self.options["optimizer"]):  # those of torch.optim are known
            try_optimizer(optimizer_of(self.options), self.model)
        return self._program(trial)

    def renew(self, deployment: Deployment, run_state: RunState) -> None:
        """Have a run go on with the model as it is, if it has changed.

        Raises
        ------
        InputError, ModelError
            If it cannot be trained any more, or has other parameters.
        """
        before = deployment.program
        program = self._program(before.trial)
        if program.digest != before.digest:
            program = self.tried()
            if program.shapes != before.shapes:
                raise ModelError(
                    f"the parameters of {type(self.model).__name__} have other shapes "
                    "than when the Trainer was made: make another Trainer"
                )
            deployment.use(program)
        if self._is_changed:
            run_state.begin_with(self.take())

    def try_schedule(self, run_state: RunState, plan: SeedPlan, epochs: int) -> None:
        """Have the learning rates of a run computed to its end, before it goes on.

        Raises
        ------
        ModelError
            If its scheduler fails.
        """
        done, count = run_state.position.epoch, epochs
        if run_state.schedule.interval == "step":
            together = Gradients.of(self.options).accumulate
            an_epoch = -(-plan.steps_per_epoch // together)
            done = done * an_epoch + run_state.position.step // together
            count *= an_epoch
        try_schedule(self.options, self.model, run_state.schedule, done, count)

    def best_weights(self, run_state: RunState) -> Weights:
        """Return the best weights of a run; the model's, if it was changed since."""
        return self.weights if self._is_changed else run_state.best_weights

    def write(self, weights: Weights) -> None:
        """Give the model the weights of a run."""
        write_weights(self.model, weights)
        self.take()

    @property
    def _is_changed(self) -> bool:
        return self.weights.digest() != self._seen

    def _program(self, trial: Trial) -> Program:
        gradients = Gradients.of(self.options)
        how = self.options["threads_per_part"], self.options["precision"], gradients
        optimizer = optimizer_of(self.options)
        return make_program(self.model, self.task, optimizer, *how, trial)
