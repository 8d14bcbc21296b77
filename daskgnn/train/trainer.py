"""`Trainer`: trains a model on a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack, overload

from daskgnn import config as _config  # noqa: F401  (the defaults)
from daskgnn.errors import CheckpointError
from daskgnn.train.ahead import Lookahead
from daskgnn.train.checks import (
    check_count,
    check_graph,
    check_options,
    check_readout,
    choose_sampler,
    planned,
)
from daskgnn.train.compute.schedule import new_schedule
from daskgnn.train.compute.state import TrainState
from daskgnn.train.deployment import Deployment, find_workers
from daskgnn.train.fingerprint import fingerprint
from daskgnn.train.fit import Fit, tell_start
from daskgnn.train.loops import loop_of
from daskgnn.train.options.optiondocs import documented
from daskgnn.train.persist.output import (
    PredictionTable,
    check_output,
    write_predictions,
)
from daskgnn.train.persist.recorder import Recorder
from daskgnn.train.persist.signals import Signals
from daskgnn.train.precision import chosen_precision
from daskgnn.train.presampling import ensure_presampled
from daskgnn.train.profile.advice import advisor_of
from daskgnn.train.profile.recovery import Recoveries
from daskgnn.train.progress import closing
from daskgnn.train.renewal import on_cluster, present_weights
from daskgnn.train.results import TrainResults
from daskgnn.train.runsettings import keep_settings
from daskgnn.train.runstate import RunState
from daskgnn.train.sparsefeatures import chosen
from daskgnn.train.summary import as_table, one_line
from daskgnn.train.taking import GivenModel
from daskgnn.train.targets import GivenTargets, chosen_task, measured_by
from daskgnn.train.warmup import CompileNotice
from daskgnn.train.watching import watchers_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import dask.array as da
    import torch

    from daskgnn.graph.graph import Graph
    from daskgnn.train.loop import TrainLoop
    from daskgnn.train.options.options import TrainOptions
    from daskgnn.train.persist.history import History
    from daskgnn.train.profile.stepprofile import StepProfile


@documented
class Trainer(TrainResults):
    """Trains a model on a graph, on a Dask cluster or in this process.

    Parameters
    ----------
    model : torch.nn.Module
        ``forward(x, blocks)`` returns float32 [seeds, C]; see `daskgnn.nn`. `fit`
        starts from it as it is then; when it ends, parameters and running statistics
        are set to the best ones.
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
    >>> trainer.predict().shape, trainer.predict(nodes=[0, 33]).shape
    ((34, 2), (2, 2))
    >>> trainer.embeddings().shape
    (34, 16)
    >>> import os, tempfile
    >>> path = trainer.save(os.path.join(tempfile.mkdtemp(), "model.npz"))
    >>> daskgnn.load_model(path).num_layers
    2
    >>> trainer.summary()["num_parts"], trainer.best_parameters.dtype
    (2, dtype('float32'))
    >>> len(trainer.params_sha256), trainer.advice
    (64, None)

    Where the time goes, step by step:

    >>> trainer.profile(steps=2).steps
    2
    >>> [path.name for path in trainer.write_profile(tempfile.mkdtemp())]
    ['profile.json', 'profile.png']
    >>> trainer.executor.num_workers(), trainer.program.threads
    (0, 1)

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
        plan = targets.plan(self.options["batch_size"])
        sampler = choose_sampler(self.options, graph, model)
        self.plan = planned(sampler, plan, graph.num_parts, self.task)
        progress = watchers_of(self)
        kept = self.options["keep_checkpoints"]
        self.recorder = Recorder(self.options["out"], progress, kept)
        self._notice = CompileNotice(progress)
        few = targets.few(self.plan)
        check_readout(sampler, few, self.task)
        self.options["precision"] = chosen_precision(
            self.options, lambda: find_workers(graph, self.options)
        )
        if self.options["device_map"] is not None:
            from daskgnn.train.staged import check_staged

            check_staged(self.options, model)
        depth = sampler.num_layers
        self.options["sparse_features"] = chosen(self.options, graph, model, depth)
        seen = model, self.task, graph, few, depth
        self.given = GivenModel(*seen, self.options)
        program = self.given.tried()
        start = TrainState.begun(self.given.take())
        self.run_state = RunState(start, new_schedule(self.options, model))
        self.deployment = Deployment(
            find_workers(graph, self.options),
            targets,
            model,
            program,
            sampler,
            targets.seeds_of_step(self.plan),
            self.options,
        )
        self._facts = fingerprint(self.deployment, self.run_state.schedule)
        self.window = self.deployment.window(self.options["window"])
        self.recoveries = Recoveries()
        """What was lost, and since when."""
        self._advisor = advisor_of(self.options["adapt"], lambda: self.executor)
        self.step_profile: StepProfile | None = None
        """Where the time of the last `fit` went."""

    __repr__ = one_line
    _repr_html_ = as_table

    def fit(self, epochs: int, *, resume: bool = False) -> History:
        """Train until `epochs` epochs are done.

        Parameters
        ----------
        epochs : int
            Counted from the start of the run: ``fit(40)`` after ``fit(20)`` trains 20
            more.
        resume : bool, default False
            Whether to continue from the newest checkpoint in `out`, at its very step.

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
        running = self.run_state.clock.running()
        with Signals() as signals, running, closing(self.recorder.progress):
            return self._fit_until(epochs, resume, signals)

    def _fit_until(self, epochs: int, resume: bool, signals: Signals) -> History:
        if resume:
            self.restore()
        elif self.run_state.state.step == 0:
            self.recorder.refuse_other_run()
        self.given.try_schedule(self.run_state, self.plan, epochs)
        with self.run_state.clock.starting():
            on_cluster(self, self._begin)
        keep_settings(self, epochs, resumes=resume)
        checkpoint = self.run_state.to_checkpoint(self._facts)
        self.recorder.begin(None if resume else checkpoint, self.run_state.state.step)
        tell_start(self, epochs, resume=resume)
        with self.recorder.written():
            if not self.run_state.stopped:
                on_cluster(self, lambda: self._train(epochs, signals))
        self.given.write(self.run_state.best_weights)
        if self.recorder.place is not None:
            self.recorder.summary(self.summary())
        return self.recorder.history

    def _begin(self) -> None:
        """Take the model as it is; find a damaged store before anything is written."""
        self.given.renew(self.deployment, self.run_state)
        self.deployment.load()
        ensure_presampled(self)

    def _train(self, epochs: int, signals: Signals) -> None:
        with self.run_state.clock.starting():
            self.deployment.start(self._notice)
            ensure_presampled(self)
        loop = self._new_loop()
        self.step_profile = loop.step_profile
        run = self.plan, self.run_state, self.recorder, loop, self.deployment.evaluator
        Fit(*run, self.options, self.window, self._facts, signals).run(epochs)

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
        return on_cluster(self, lambda: self._profile(steps))

    def _profile(self, steps: int) -> StepProfile:
        self.given.renew(self.deployment, self.run_state)
        self.deployment.start(self._notice)
        ensure_presampled(self)
        schedule = new_schedule(self.options, self.model)
        schedule.load(self.run_state.schedule.state())
        course = self.plan, self.run_state, schedule
        return self._new_loop().measure(*course, steps, self.window)

    def evaluate(
        self,
        split: str = "test",
        metric: str | Sequence[str] | None = None,
        *,
        per_class: bool = False,
    ) -> dict[str, Any]:
        """Return exact scores of a split, with the best parameters.

        All neighbours are used, not a sample, unless the sampler pools subgraphs.

        Parameters
        ----------
        split : str, default "test"
            "train", "val" or "test".
        metric : str or sequence of str, optional
            Scores of node classification, as of the option; by default those of the
            training.
        per_class : bool, default False
            Whether to score each class, too.

        Returns
        -------
        dict
            "split", "num_nodes", "accuracy", "loss" (unless a node can have several
            labels) and the metrics; with `per_class` also "classes": by name,
            "precision", "recall", "f1" and "num_nodes".

        Raises
        ------
        InputError
            If the graph has no such split, a metric is unknown, or the task has no
            classes.
        """
        self.deployment.targets.check(split)
        return on_cluster(self, lambda: self._scores(split, metric, per_class))

    def _scores(
        self, split: str, metric: str | Sequence[str] | None, per_class: bool
    ) -> dict[str, Any]:
        given = present_weights(self), split
        if metric is None:
            return self.deployment.evaluator.scores_of(*given, per_class=per_class)
        task = measured_by(self.task, self.graph, metric)
        return self.deployment.scores_by(task, *given, per_class=per_class)

    @overload
    def predict(self, nodes: Any = None, out: None = None) -> da.Array: ...

    @overload
    def predict(self, nodes: Any = None, *, out: str | Path) -> Path: ...

    def predict(
        self, nodes: Any = None, out: str | Path | None = None
    ) -> da.Array | Path:
        """Return the model's outputs, with the best parameters.

        All neighbours are used, not a sample, unless the sampler pools subgraphs. The
        rows of a few nodes of a large graph are computed from their neighbourhoods
        alone: they are equal to the others up to rounding.

        Parameters
        ----------
        nodes : str, array of bool or sequence, optional
            A split, a mask [N], or ids as the input had them; by default all nodes.
        out : str or path, optional
            A new file to write them to, ``.zarr`` or ``.parquet``, as ``daskgnn
            predict`` does.

        Returns
        -------
        dask.array.Array or Path
            float32 [n, C], rows in the order of `nodes`, or in original node order; the
            path of the file if there is `out`.

        Raises
        ------
        InputError
            If a node is unknown, or the file is there or has another suffix.
        """
        if out is not None:
            check_output(out)
        from daskgnn.graph.lookup import find_nodes
        from daskgnn.train.predictions import Predictions, predictions

        chosen = None if nodes is None else find_nodes(self.graph, nodes)
        found = predictions(self, chosen)
        if out is None:
            return found
        table = PredictionTable.of(self.graph, found.shape[1])
        given = found, out, table, chosen
        if not isinstance(found, Predictions):
            return write_predictions(*given)
        return found.written(lambda: write_predictions(*given))

    def _new_loop(self) -> TrainLoop:
        loop = loop_of(self.deployment)
        lookahead = Lookahead.of(self.deployment, self.plan)
        return loop(lookahead, self.deployment, self.recoveries, self._advisor)

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
        self.given.write(self.run_state.best_weights)
