"""`Trainer`: trains a model on a graph."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from daskgnn import config as _config  # noqa: F401  (the defaults)
from daskgnn.cluster.clusters import translate_cluster_errors
from daskgnn.dataflow.timing import transfers
from daskgnn.errors import CheckpointError, InputError
from daskgnn.train.ahead import Lookahead
from daskgnn.train.checks import check_count, check_graph, check_options, choose_sampler
from daskgnn.train.compute.dryrun import try_both
from daskgnn.train.compute.gradients import Gradients
from daskgnn.train.compute.program import make_program
from daskgnn.train.compute.schedule import new_schedule, optimizer_of
from daskgnn.train.compute.state import (
    TrainState,
    flatten,
    hash_parameters,
    write_parameters,
)
from daskgnn.train.deployment import Deployment, find_workers
from daskgnn.train.fingerprint import fingerprint
from daskgnn.train.fit import Fit, tell_start
from daskgnn.train.loop import TrainLoop
from daskgnn.train.options.optiondocs import documented
from daskgnn.train.persist.recorder import Recorder, Silent
from daskgnn.train.profile.advice import Advice, advisor_of
from daskgnn.train.profile.recovery import Recoveries
from daskgnn.train.renewal import another_executor, how_to_continue, outlive_schedulers
from daskgnn.train.runsettings import keep_settings
from daskgnn.train.runstate import RunState
from daskgnn.train.server import ServerLoop
from daskgnn.train.signals import Signals
from daskgnn.train.summary import as_table, one_line, summarize
from daskgnn.train.targets import GivenTargets, chosen_task
from daskgnn.train.warmup import CompileNotice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import dask.array as da
    import numpy as np
    import torch

    from daskgnn.dataflow.executor import Executor
    from daskgnn.graph.graph import Graph
    from daskgnn.train.options.options import TrainOptions
    from daskgnn.train.persist.history import History
    from daskgnn.train.profile.stepprofile import StepProfile

T = TypeVar("T")


@documented
class Trainer:
    """Trains a model on a graph, on a Dask cluster or in this process.

    Parameters
    ----------
    model : torch.nn.Module
        ``forward(x, blocks)`` returns float32 [seeds, C]; see `daskgnn.nn`. Training
        starts from its float32 parameters; when `fit` ends, they are set to the best
        ones.
    graph : Graph
        What `daskgnn.open_graph` returns, with features, labels and a training split.

    Raises
    ------
    InputError, ModelError
        Before any work, in one line: what was given, and what is expected.

    Examples
    --------
    >>> import daskgnn
    >>> from daskgnn.nn import GraphSAGE
    >>> partitioned = daskgnn.load_dataset("karate").partition()
    >>> graph = daskgnn.open_graph(partitioned, num_parts=2)
    >>> model = GraphSAGE(graph.num_features, 16, graph.num_classes)
    >>> trainer = daskgnn.Trainer(model, graph, num_neighbors=[10, 5], client=None)
    >>> history = trainer.fit(epochs=5)
    >>> [record["epoch"] for record in history.epochs]
    [0, 1, 2, 3, 4]
    >>> 0 <= trainer.evaluate("test")["accuracy"] <= 1
    True
    >>> trainer.predict().shape
    (34, 2)
    >>> trainer.summary()["num_parts"], trainer.best_parameters.dtype
    (2, dtype('float32'))
    >>> len(trainer.params_sha256), trainer.advice
    (64, None)

    Where the time goes, step by step:

    >>> trainer.profile(steps=2).steps
    2
    >>> import os, tempfile
    >>> [path.name for path in trainer.write_profile(tempfile.mkdtemp())]
    ['profile.json', 'profile.png']
    >>> trainer.executor.num_workers()
    0

    With a directory for checkpoints, another `Trainer` can continue:

    >>> options = {"num_neighbors": [10, 5], "client": None, "out": tempfile.mkdtemp()}
    >>> _ = daskgnn.Trainer(model, graph, **options).fit(epochs=1)
    >>> trainer = daskgnn.Trainer(model, graph, **options)
    >>> trainer.restore()  # which fit(..., resume=True) does by itself
    >>> len(trainer.fit(epochs=3, resume=True).epochs)
    2
    """

    def __init__(
        self, model: torch.nn.Module, graph: Graph, **options: Unpack[TrainOptions]
    ) -> None:
        check_graph(graph)
        self.model = model
        self.graph = graph
        self.options = check_options(options, graph)
        """All options, as they are used."""
        self.task = chosen_task(self.options, model, graph)
        targets = GivenTargets(self.task, graph, self.options["seed"])
        self.plan = targets.plan(self.options["batch_size"])
        sampler = choose_sampler(self.options, graph, model)
        progress = self.options["progress"] or Silent()
        kept = self.options["keep_checkpoints"]
        self.recorder = Recorder(self.options["out"], progress, kept)
        self._notice = CompileNotice(progress)
        self._notice.give_if_not_compiled()
        seen = model, self.task, graph, targets.few(self.plan), sampler.num_layers
        tried = try_both(*seen, deterministic=self.options["deterministic"])
        start = TrainState(flatten(list(model.parameters())), {})
        self.run_state = RunState(start, new_schedule(self.options, model))
        optimizer, gradients = optimizer_of(self.options), Gradients.of(self.options)
        how = self.options["threads_per_part"], self.options["precision"], gradients
        self.program = make_program(model, self.task, optimizer, *how)
        self.deployment = Deployment(
            find_workers(graph, self.options),
            targets,
            model,
            self.program,
            sampler,
            targets.seeds_of_step(self.plan),
            self.options,
            *tried,
        )
        self._facts = fingerprint(self.deployment, self.run_state.schedule)
        self.window = self.deployment.window(self.options["window"])
        self._recoveries = Recoveries()
        self._advisor = advisor_of(self.options["adapt"], lambda: self.executor)
        self.step_profile: StepProfile | None = None
        """Where the time of the last `fit` went."""

    __repr__ = one_line
    _repr_html_ = as_table

    @property
    def executor(self) -> Executor:
        """The executor that runs the tasks: of a cluster, or of this process."""
        return self.deployment.executor

    def fit(self, epochs: int, *, resume: bool = False) -> History:
        """Train until `epochs` epochs are done.

        Parameters
        ----------
        epochs : int
            Counted from the start of the run: ``fit(40)`` after ``fit(20)`` trains 20
            more.
        resume : bool, default False
            Whether to continue from the newest checkpoint in `out`, exact to the step.

        Returns
        -------
        History
            Records of all steps and epochs of this trainer so far.

        Raises
        ------
        CheckpointError
            If `resume` finds no usable checkpoint, or one of another run.
        InputError
            If `epochs` is invalid, or `out` holds another run.
        TrainingError
            If the loss is not finite, the cluster is lost for good, or a checkpoint
            cannot be written.
        KeyboardInterrupt, SystemExit
            On SIGINT or SIGTERM, after a checkpoint was written.
        """
        epochs = check_count("epochs", epochs)
        with Signals() as signals, self.run_state.clock.running():
            return self._fit_until(epochs, resume, signals)

    def _fit_until(self, epochs: int, resume: bool, signals: Signals) -> History:
        if resume:
            self.restore()
        elif self.run_state.state.step == 0:
            self.recorder.refuse_other_run()
        # Damage of a store is found before anything is written.
        with self.run_state.clock.starting():
            self._outlive_schedulers(lambda: self.deployment.load())
        keep_settings(self, epochs, resumes=resume)
        checkpoint = self.run_state.to_checkpoint(self._facts)
        self.recorder.begin(None if resume else checkpoint, self.run_state.state.step)
        tell_start(self, epochs, resume=resume)
        with self.recorder.written():
            if not self.run_state.stopped:
                self._outlive_schedulers(lambda: self._train(epochs, signals))
        write_parameters(self.model, self.best_parameters)
        if self.recorder.place is not None:
            self.recorder.summary(self._outlive_schedulers(self.summary))
        return self.recorder.history

    def _train(self, epochs: int, signals: Signals) -> None:
        with self.run_state.clock.starting():
            self.deployment.start(self._notice)
        loop = self._new_loop()
        self.step_profile = loop.step_profile
        Fit(
            self.plan,
            self.run_state,
            self.recorder,
            loop,
            self.deployment.evaluator,
            self.options,
            self.window,
            self._facts,
            signals,
        ).run(epochs)

    def _outlive_schedulers(self, work: Callable[[], T]) -> T:
        with translate_cluster_errors(self._how_to_continue):
            return outlive_schedulers(work, lambda: self.executor, self._renew)

    def _renew(self) -> None:
        """Go over to another cluster with the state that this process holds."""
        self._recoveries.lost_scheduler(time.time())
        self.recorder.event("scheduler_lost", step=self.run_state.state.step)
        self.recorder.flush()
        wanted = self.graph.num_parts, self._how_to_continue
        executor = another_executor(self.executor, *wanted)
        self.deployment = replace(self.deployment, executor=executor)

    def profile(self, steps: int = 64) -> StepProfile:
        """Measure where the time of a step goes.

        The next steps are trained, but the trainer is left as it was and nothing is
        written.

        Parameters
        ----------
        steps : int, default 64
            How many; on a cluster those of the first window do not count if more
            follow.

        Returns
        -------
        StepProfile
            With ``table()``, ``to_dict()`` and ``plot(path)``.

        Raises
        ------
        InputError
            If `steps` is no positive integer.
        """
        steps = check_count("steps", steps)
        with translate_cluster_errors(
            lambda: "the profile was not finished: try again"
        ):
            self.deployment.start(self._notice)
            schedule = new_schedule(self.options, self.model)
            schedule.load(self.run_state.schedule.state())
            course = self.plan, self.run_state, schedule
            return self._new_loop().measure(*course, steps, self.window)

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
        if self.step_profile is None:
            raise InputError("nothing has been trained yet: call fit(epochs) first")
        self.step_profile.transfers = transfers(self.executor, self.step_profile.began)
        return self.step_profile.write(directory)

    def evaluate(
        self, split: str = "test", *, per_class: bool = False
    ) -> dict[str, Any]:
        """Return exact scores of a split, with the best parameters.

        All neighbours are used, not a sample.

        Parameters
        ----------
        split : str, default "test"
            "train", "val" or "test".
        per_class : bool, default False
            Whether to score each class, too.

        Returns
        -------
        dict
            "split", "num_nodes", "accuracy", "loss" (unless a node can have several
            labels) and the graph's metric; with `per_class` also "classes": by name,
            "precision", "recall", "f1" and "num_nodes".

        Raises
        ------
        InputError
            If the graph has no such split, or the task no classes.
        """
        self.deployment.targets.check(split)
        evaluator = self.deployment.evaluator
        return evaluator.scores_of(self.best_parameters, split, per_class=per_class)

    def predict(self) -> da.Array:
        """Return the model's outputs for every node, with the best parameters.

        Returns
        -------
        dask.array.Array
            float32 [N, C] in original node order, that of ``graph.node_ids()``.
        """
        return self.deployment.evaluator.predict(self.best_parameters)

    def summary(self) -> dict[str, Any]:
        """Return what ``summary.json`` holds: sizes, times, traffic and exact scores.

        Returns
        -------
        dict
            As JSON can hold it.
        """
        return summarize(self)

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
        return self._advisor.advice()

    def _how_to_continue(self) -> str:
        return how_to_continue(self.executor, self.recorder, self.run_state.state.step)

    def _new_loop(self) -> TrainLoop:
        loop = TrainLoop if self.program.gradients.bound is None else ServerLoop
        lookahead = Lookahead.of(self.deployment, self.plan)
        return loop(lookahead, self.deployment, self._recoveries, self._advisor)

    def restore(self, *, training: bool = True) -> None:
        """Go to where the newest checkpoint in `out` was written.

        Parameters
        ----------
        training : bool, default True
            Whether training is to go on: False compares graph and model only.

        Raises
        ------
        CheckpointError
            If there is none, or it belongs to another graph, model or plan.
        """
        checkpoint = self.recorder.newest()
        if checkpoint is None:
            raise CheckpointError("resume=True needs out=DIR of the run to continue")
        self.run_state.schedule = new_schedule(self.options, self.model)
        self.run_state.restore(checkpoint, self._facts, training=training)
        write_parameters(self.model, self.best_parameters)
