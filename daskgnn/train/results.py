"""What a trainer knows of the model it has trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskgnn.dataflow.timing import transfers
from daskgnn.errors import InputError, ModelError
from daskgnn.train.compute.dryrun import hidden_width
from daskgnn.train.compute.state import hash_parameters
from daskgnn.train.renewal import on_cluster, present_weights
from daskgnn.train.savedmodel import save_model
from daskgnn.train.summary import summarize

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import dask.array as da
    import numpy as np
    import torch

    from daskgnn.dataflow.executor import Executor
    from daskgnn.graph.graph import Graph
    from daskgnn.kernels.seeds import SeedPlan
    from daskgnn.tasks.task import Task
    from daskgnn.train.compute.program import Program
    from daskgnn.train.deployment import Deployment
    from daskgnn.train.options.options import TrainOptions
    from daskgnn.train.persist.recorder import Recorder
    from daskgnn.train.profile.advice import Advice
    from daskgnn.train.profile.recovery import Recoveries
    from daskgnn.train.profile.stepprofile import StepProfile
    from daskgnn.train.runstate import RunState
    from daskgnn.train.taking import GivenModel


class TrainResults:
    """The part of `Trainer` that tells, and saves, what came of the training."""

    model: torch.nn.Module
    graph: Graph
    options: TrainOptions
    deployment: Deployment
    run_state: RunState
    given: GivenModel
    task: Task
    plan: SeedPlan
    window: int
    step_profile: StepProfile | None
    recorder: Recorder
    recoveries: Recoveries
    _advisor: Any

    @property
    def executor(self) -> Executor:
        """The executor that runs the tasks: of a cluster, or of this process."""
        return self.deployment.executor

    @property
    def program(self) -> Program:
        """What tasks compute with."""
        return self.deployment.program

    @property
    def params_sha256(self) -> str:
        """SHA-256 of the parameters after the last step, as little-endian float32."""
        return hash_parameters(self.run_state.state.parameters)

    @property
    def best_parameters(self) -> np.ndarray:
        """Parameters of the best validation score so far, float32 [n].

        Without a validation split, those after the last step.
        """
        return self.run_state.best_parameters

    @property
    def advice(self) -> Advice | None:
        """Whether more workers would help; None if no cluster was measured."""
        found: Advice | None = self._advisor.advice()
        return found

    def summary(self) -> dict[str, Any]:
        """Return what ``summary.json`` holds: sizes, times, traffic and exact scores.

        Returns
        -------
        dict
            As JSON can hold it.
        """
        return summarize(self)

    def embeddings(self, nodes: Any = None) -> da.Array:
        """Return what the last layer but one gives, with the best parameters.

        All neighbours are used, not a sample.

        Parameters
        ----------
        nodes : str, array of bool or sequence, optional
            A split, a mask [N], or ids as the input had them; by default all nodes.

        Returns
        -------
        dask.array.Array
            float32 [n, D], rows in the order of `nodes`, or in original node order.

        Raises
        ------
        ModelError
            If the model has one layer only, or no method ``layer(i, h, block)``.
        InputError
            If a node is unknown, or the sampler pools subgraphs.
        """
        if self.deployment.sampler.evaluates:
            raise InputError(
                f"sampler {type(self.deployment.sampler).__name__} pools subgraphs, so "
                "nodes have no hidden rows of their own: use readout='seed'"
            )
        num_layers, name = self.deployment.sampler.num_layers, type(self.model).__name__
        weights = on_cluster(self, lambda: present_weights(self))
        if not self.program.trial.layered:
            raise ModelError(
                f"{name} has no method layer(i, h, block) that agrees with forward, so "
                "its hidden layers are not known: see docs/models.md"
            )
        if num_layers < 2:
            raise ModelError(f"{name} has one layer: its input are the features")
        from daskgnn.graph.lookup import find_nodes
        from daskgnn.train.predictions import embeddings

        chosen = None if nodes is None else find_nodes(self.graph, nodes)
        width = hidden_width(self.model, self.graph, num_layers)
        return embeddings(self, weights, width, num_layers - 1, chosen)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model with its best parameters to a file.

        `daskgnn.load_model` reads it. A file that is there is replaced.

        Parameters
        ----------
        path : str or path
            Ends in ``.npz`` (numpy) or ``.safetensors``; both hold numbers and JSON, no
            pickle.

        Returns
        -------
        Path
            The absolute path.

        Raises
        ------
        InputError
            If the path ends in something else.
        ModelError
            If a buffer has a type that a file cannot hold.
        """
        return save_model(self, path)

    def write_profile(self, directory: str | Path) -> tuple[Path, Path]:
        """Write where the time of the last `fit` went.

        Parameters
        ----------
        directory : str or path
            Where to write; it is created if need be.

        Returns
        -------
        tuple of Path
            ``profile.json`` and ``profile.png``.

        Raises
        ------
        InputError
            If there was no fit.
        """
        profile = self.step_profile
        if profile is None:
            raise InputError("nothing has been trained yet: call fit(epochs) first")
        profile.transfers = transfers(self.executor, profile.began)
        return profile.write(directory)
