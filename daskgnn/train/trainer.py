"""`Trainer`: a model, a graph, and how to train the one on the other."""

from __future__ import annotations

import time
from asyncio import CancelledError
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import dask

from daskgnn import config as _config  # noqa: F401  (the defaults)
from daskgnn.dataflow.cluster import ClusterExecutor, make_executor
from daskgnn.dataflow.timing import transfers
from daskgnn.errors import (
    CheckpointError,
    ClusterError,
    DaskGNNError,
    InputError,
    TrainingError,
)
from daskgnn.kernels.counter import EXPANSION, derive_key
from daskgnn.nn import check_model, number_dropouts
from daskgnn.seams import check_seam
from daskgnn.tasks.node import NodeClassification
from daskgnn.tasks.task import Task
from daskgnn.train.advice import Advice, Advisor
from daskgnn.train.chains import chain_of
from daskgnn.train.checks import (
    check_adapt,
    check_checkpoints,
    check_choice,
    check_count,
    check_fan_out,
    check_feature_dtype,
    check_features,
    check_graph,
    check_halo_cache,
    check_optional_count,
    check_sample_by,
    check_seed,
)
from daskgnn.train.cluster import told_of_losses, warn_of_cluster
from daskgnn.train.connection import has_lost_scheduler, successor
from daskgnn.train.course import Course
from daskgnn.train.deployment import Deployment, new_name
from daskgnn.train.dryrun import try_model, try_task
from daskgnn.train.fit import Fit
from daskgnn.train.gloo import check_gloo
from daskgnn.train.gradients import check_half, choose
from daskgnn.train.loop import TrainLoop
from daskgnn.train.plan import WindowPlanner, some_windows
from daskgnn.train.program import OptimizerFactory, make_program
from daskgnn.train.recipes import PRECISIONS, STEPS
from daskgnn.train.recorder import History, Progress, Recorder, Silent
from daskgnn.train.recovery import Recoveries
from daskgnn.train.rehearsal import CompileNotice
from daskgnn.train.schedule import (
    Schedule,
    SchedulerFactory,
    check_optimizer,
    optimizer_factory,
)
from daskgnn.train.server import ServerLoop
from daskgnn.train.signals import Signals
from daskgnn.train.state import TrainState, flatten, hash_parameters, write_parameters
from daskgnn.train.summary import summarize
from daskgnn.train.targets import GivenTargets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import dask.array as da
    import numpy as np
    import torch

    from daskgnn.dataflow.executor import Executor
    from daskgnn.graph.graph import Graph
    from daskgnn.tasks.loss import Loss
    from daskgnn.train.ledger import Ledger

T = TypeVar("T")

_RENEWALS = 3
"""Clusters that are started for one that is lost: the next may be lost as it starts."""


class Trainer:
    """Trains a model on a graph, on a Dask cluster or in this process.

    Parameters
    ----------
    model : torch.nn.Module
        ``forward(x, blocks)`` returns float32 [seeds, C]: see `daskgnn.nn`. Its
        float32 parameters are where training starts, and get the best ones when a
        fit ends.
    graph : Graph
        From `daskgnn.open_graph`, with features, labels and a training split.
    num_neighbors : sequence of int
        Fan-out of each hop, hop 1 first; -1 takes all neighbours.
    batch_size : int
        Seeds a step, over all parts (the global batch).
    lr, weight_decay : float
        Given to `optimizer` if that is a name.
    optimizer : str or callable
        A name of `torch.optim` ("adam", "adamw", "sgd"), or a function from a list
        of parameters to an optimizer that needs no closure and no sparse gradients.
    scheduler : callable, optional
        From an optimizer to any of `torch.optim.lr_scheduler`; it runs on the driver.
    scheduler_interval : {"epoch", "step"}
    loss : callable, optional
        (outputs, labels) -> the sum over the seeds, short for
        ``task=NodeClassification(loss=...)``.
    task : daskgnn.tasks.Task, optional
        What is predicted, with which loss, and how it is scored: by default, the
        nodes' classes.
    seed : int
        Of the epochs' order, the neighbour draws and dropout. The model's first
        parameters are the caller's (``torch.manual_seed``).
    client : distributed.Client, None or "auto"
        "auto" takes the current client if there is one; None trains in this process.
    normalize_features : bool
        Divide each feature row by its sum.
    feature_dtype : {None, "float32", "float16", "bfloat16"}
        What workers hold dense features as and send them as; None is as they are
        stored. Sums over them are of float32 whatever it is.
    sample_by : {"uniform", "edge_weight", "degree"}
        Draw neighbours uniformly, or in proportion to edge weights or degrees.
    threads_per_part : int
        Threads of a numeric task. Bits depend on it, so it belongs to the plan.
    deterministic : bool
        False allows layers that draw from torch's generator; bits then vary.
    out : path or URL, optional
        Directory for ``metrics.jsonl``, ``summary.json`` and ``checkpoints/``, or a
        folder of an object store by a URL that fsspec knows, as in ``"s3://a/run"``.
    checkpoint_every : int, optional
        Steps between checkpoints, beyond the one at each epoch's end. Training goes on
        while one is written.
    checkpoint_seconds : float, optional
        Seconds between checkpoints, beside or in place of steps.
    keep_checkpoints : int
        How many of the newest are kept; the best epoch's is kept besides.
    eval_every : int
        Epochs between evaluations of the validation split.
    patience : int, optional
        Stop after so many evaluations without a better validation score.
    window : int, optional
        Most steps prepared as one task graph (``gnn.window`` of Dask's configuration).
    steps : {"auto", "tasks", "window"}
        Run each step as tasks of its own, or a window's steps as one task a worker:
        the same bits. "auto" takes windows where steps are short.
    precision : {"float32", "medium", "bf16", "fp16"}
        Of the dense products in training. "medium" lets torch round the factors of
        float32 products to bfloat16, "bf16" keeps hidden rows in bfloat16 as well:
        faster where the processor has instructions for it. "fp16" is float16 with a
        scaled loss, for what a layer leaves to torch's autocast; updates whose gradient
        is not finite are left out. Parameters, their gradients, sums over neighbours
        and evaluation stay float32.
    gradients : {"tree", "ring", "gloo", "async", "server"}
        Each step waits for the sum of all parts' gradients, added in a tree over parts,
        piece by piece around them ("ring": other last bits), or, where steps run as
        windows, by a process group of torch.distributed among the workers ("gloo": the
        last bits depend on the workers, too). With "async" it is
        taken at the parameters of `staleness` updates before: always as many, so the
        bits are as reproducible, and sums travel while the next step is computed.
        With "server" workers that are free take the next part's seeds of a step, and
        each such gradient makes an update when it comes: slow workers hold nobody up,
        and the bits depend on time.
    staleness : int, optional
        With "async": how late gradients are (default 1; 0 is the same as "tree", to the
        bit). With "server": how late they may be at most (default 8).
    compensation : {"none", "linear", "inverse", "dc-asgd"}
        Against staleness t: divide the learning rate by 1 + 0.1 t or by max(1, t), or
        correct the gradient (Zheng et al. 2017).
    accumulate : int
        Steps whose gradients, weighted by their seeds, make one update. Updates do
        not reach over an epoch's end.
    clip_norm : float, optional
        Shorten an update's gradient to this norm if it is longer.
    compress : str, optional
        Compress each part's gradient before it is sent: ``"topk:0.01"`` (its largest
        hundredth), ``"powersgd:2"`` (two factors of rank 2 a matrix), ``"fp16"``,
        ``"bf16"`` or ``"int8"``. What is left out is added to the part's next gradient.
    local_steps : int, optional
        Each part takes so many steps of the optimizer by itself, with its own seeds;
        then, and at an epoch's end, parameters and moments are averaged over parts.
    checksum_every : int, optional
        Steps between comparisons of all workers' copies of the parameters. A run whose
        copies differ is stopped, naming the step and the worker.
    halo_cache : int or str
        Bytes, as in ``"64 MB"``, that each part may keep of other parts' feature
        rows; 0 keeps none. Not a bit depends on it.
    halo_cache_policy : {"static", "lru"}
        Keep the rows that steps are expected to visit most, chosen before the first
        step, or those that were wanted last.
    standby : int
        Workers, of those there are, that hold copies of all blocks and no part, so
        that they can go on at once for one that is lost.
    adapt : (int, int), optional
        Fewest and most workers: the client's cluster is scaled between them while
        that makes steps faster. Without it, `advice` says what would.
    progress : Progress, optional

    Raises
    ------
    InputError, ModelError
        In one line, before any work: what was given, and what is expected.

    Examples
    --------
    >>> trainer = Trainer(model, graph, num_neighbors=[15, 10])  # doctest: +SKIP
    >>> trainer.fit(epochs=20)                                   # doctest: +SKIP
    """

    def __init__(
        self,
        model: torch.nn.Module,
        graph: Graph,
        *,
        num_neighbors: Sequence[int],
        batch_size: int = 1024,
        lr: float = 0.01,
        weight_decay: float = 0.0,
        optimizer: str | OptimizerFactory = "adam",
        scheduler: SchedulerFactory | None = None,
        scheduler_interval: str = "epoch",
        loss: Loss | None = None,
        task: Task | None = None,
        seed: int = 0,
        client: Any = "auto",
        normalize_features: bool = False,
        feature_dtype: str | None = None,
        sample_by: str = "uniform",
        threads_per_part: int = 1,
        deterministic: bool = True,
        out: str | Path | None = None,
        checkpoint_every: int | None = None,
        checkpoint_seconds: float | None = None,
        keep_checkpoints: int = 2,
        eval_every: int = 1,
        patience: int | None = None,
        window: int | None = None,
        steps: str = "auto",
        precision: str = "float32",
        gradients: str = "tree",
        staleness: int | None = None,
        compensation: str = "none",
        accumulate: int = 1,
        clip_norm: float | None = None,
        compress: str | None = None,
        local_steps: int | None = None,
        checksum_every: int | None = None,
        halo_cache: int | str = 0,
        halo_cache_policy: str = "static",
        standby: int = 0,
        adapt: tuple[int, int] | None = None,
        progress: Progress | None = None,
    ) -> None:
        check_graph(graph)
        self.task = chosen_task(task, loss, model, graph)
        check_choice("steps", steps, STEPS)
        check_choice("precision", precision, PRECISIONS)
        check_sample_by(sample_by, graph)
        self.model = model
        self.graph = graph
        self.steps = steps
        self.batch_size = check_count("batch_size", batch_size)
        self.seed = check_seed(seed)
        self.fan_out = check_fan_out(num_neighbors, model)
        self.eval_every = check_count("eval_every", eval_every)
        self.patience = check_optional_count("patience", patience)
        self.checkpoints = check_checkpoints(
            checkpoint_every, checkpoint_seconds, keep_checkpoints
        )
        self.recorder = Recorder(out, progress or Silent(), self.checkpoints.keep)
        self._settings: dict[str, Any] = {
            "normalize_features": normalize_features,
            "feature_dtype": check_feature_dtype(feature_dtype, graph),
            "sample_by": sample_by,
        }
        self._notice = CompileNotice(self.recorder.progress)
        self._notice.give_if_not_compiled()
        targets = GivenTargets(self.task, graph, self.seed)
        self.plan = targets.plan(self.batch_size)
        layered = self._check_model(deterministic, targets)
        self._optimizer = optimizer_factory(optimizer, lr, weight_decay)
        self._schedule_options = (scheduler, scheduler_interval)
        schedule = self._new_schedule()
        self.program = make_program(
            model,
            self.task,
            self._optimizer,
            self.fan_out,
            check_count("threads_per_part", threads_per_part),
            precision,
            check_half(
                choose(
                    gradients,
                    staleness,
                    compensation,
                    accumulate,
                    clip_norm,
                    compress,
                    check_optional_count("local_steps", local_steps),
                    check_optional_count("checksum_every", checksum_every),
                ),
                precision,
            ),
        )
        with told_of_losses(lambda: "nothing was done yet: try again"):
            executor = make_executor(client, graph.num_parts, standby)
            if isinstance(executor, ClusterExecutor):
                warn_of_cluster(executor.client)
        self.deployment = Deployment(
            executor,
            targets,
            model,
            self.program,
            targets.seeds_of_step(self.plan),
            self._settings,
            (halo_cache_policy, check_halo_cache(halo_cache, halo_cache_policy)),
            layered,
        )
        self.window = self.deployment.window(check_optional_count("window", window))
        start = TrainState(flatten(list(model.parameters())), {})
        self.course = Course(start, schedule)
        self._description = {
            "optimizer": schedule.describe(),
            "scheduler_interval": scheduler_interval,
            **self.task.fingerprint(),
        }
        self._recoveries = Recoveries()
        self._advisor = self._new_advisor(adapt)
        self.ledger: Ledger | None = None
        """Where the time of the last `fit` went."""

    @property
    def executor(self) -> Executor:
        """Where the run's tasks run."""
        return self.deployment.executor

    def _check_model(self, deterministic: bool, targets: GivenTargets) -> bool:
        """Check model and task; return whether it can be evaluated layer by layer."""
        check_model(self.model, deterministic=deterministic)
        number_dropouts(self.model)
        layered, columns = try_model(
            self.model,
            self.graph,
            self.fan_out,
            self.task.num_outputs(self.graph),
            deterministic=deterministic,
        )
        few = self.plan.in_order.take(slice(4))
        few = targets.expand(few, derive_key(EXPANSION, self.seed))
        try_task(self.task, self.graph, few, columns)
        return layered

    def fit(self, epochs: int, *, resume: bool = False) -> History:
        """Train until `epochs` epochs are done, from where the trainer stands.

        Parameters
        ----------
        epochs : int
            Counted from the run's begin: a second ``fit(40)`` after ``fit(20)``
            trains 20 more.
        resume : bool
            Continue from the newest checkpoint in `out`, exact to the step.

        Returns
        -------
        History
            Records of the steps and epochs of this trainer's calls so far.

        Raises
        ------
        CheckpointError
            If `resume` finds no usable checkpoint, or one of another run.
        TrainingError
            If the loss is not finite, the cluster is lost for good, or the disk
            refuses a checkpoint.
        KeyboardInterrupt, SystemExit
            When SIGINT or SIGTERM comes, and a checkpoint of the steps that are done is
            written.
        """
        epochs = check_count("epochs", epochs)
        with Signals() as signals:
            return self._fit_until(epochs, resume, signals)

    def _fit_until(self, epochs: int, resume: bool, signals: Signals) -> History:
        if resume:
            self.restore()
        elif self.course.state.step == 0:
            self.recorder.refuse_other_run()
        with told_of_losses(self._how_to_continue):
            # What a store hides is found before anything is written.
            self._outlive_schedulers(lambda: self.deployment.load())
        self.recorder.open()
        if resume:
            self.recorder.event("resume", step=self.course.state.step)
        else:
            # A run that is killed before its first checkpoint can be resumed too.
            self.recorder.save(self.course.to_checkpoint(self._plan_facts()))
        self.recorder.settle()
        self._tell_start(epochs)
        try:
            if not self.course.stopped:
                with told_of_losses(self._how_to_continue):
                    self._outlive_schedulers(lambda: self._train(epochs, signals))
        except BaseException:
            # What has failed is said first.
            with suppress(TrainingError):
                self.recorder.settle()
            raise
        self.recorder.settle()
        write_parameters(self.model, self.best_parameters)
        if self.recorder.place is not None:
            with told_of_losses(self._how_to_continue):
                self.recorder.summary(self._outlive_schedulers(self.summary))
        return self.recorder.history

    def _train(self, epochs: int, signals: Signals) -> None:
        self.deployment.load()
        self.deployment.rehearse(self._notice)
        fit = self._new_fit(signals)
        self.ledger = fit.loop.ledger
        fit.run(epochs)

    def _outlive_schedulers(self, work: Callable[[], T]) -> T:
        """Do some work; do it again on another cluster if the scheduler is lost.

        Whatever the work raises then, for instance that a client is closed, is of the
        loss.
        """
        while True:
            try:
                return work()
            except (Exception, CancelledError) as error:
                if isinstance(error, DaskGNNError) or not self._lost_scheduler():
                    raise
                self._renew()

    def _lost_scheduler(self) -> bool:
        executor = self.executor
        return isinstance(executor, ClusterExecutor) and has_lost_scheduler(
            executor.client, executor.scheduler_id
        )

    def _renew(self) -> None:
        """Go over to another cluster with the state that this process holds.

        Raises
        ------
        TrainingError
            If there is none in time.
        """
        assert isinstance(self.executor, ClusterExecutor)
        self._recoveries.lost_scheduler(time.time())
        self.recorder.event("scheduler_lost", step=self.course.state.step)
        self.recorder.flush()
        executor = self._another_executor(self.executor)
        self.deployment = replace(self.deployment, executor=executor)

    def _another_executor(self, lost: ClusterExecutor) -> ClusterExecutor:
        """Return an executor on another cluster, which may be lost as it starts."""
        for attempts_left in reversed(range(_RENEWALS)):
            try:
                client = successor(lost.client)
                return ClusterExecutor(client, self.graph.num_parts, lost.num_standbys)
            except ClusterError as error:
                # Another's scheduler has been waited for already.
                if not attempts_left or lost.client.cluster is None:
                    said = f"{error}; {self._how_to_continue()}"
                    raise TrainingError(said) from error
            except (Exception, CancelledError) as error:
                if isinstance(error, DaskGNNError) or not attempts_left:
                    raise
        raise AssertionError

    def profile(self, steps: int = 64) -> Ledger:
        """Train some steps for their times alone, and return where the time went.

        The steps are those that `fit` would do next; the trainer stands afterwards
        where it stood, and nothing is written.

        Parameters
        ----------
        steps : int
            On a cluster those of the first window do not count if more follow.

        Returns
        -------
        Ledger
            With ``table()``, ``to_dict()`` and ``plot(path)``.

        Raises
        ------
        InputError
            If `steps` is no count.
        """
        steps = check_count("steps", steps)
        with told_of_losses(lambda: "a profile writes nothing: try again"):
            self.deployment.load()
            self.deployment.rehearse(self._notice)
            schedule = self._new_schedule()
            schedule.load(self.course.schedule.state())
            loop = self._new_loop()
            plan = some_windows(
                self.plan,
                self.course.position,
                steps,
                lambda: loop.window_size(self.window),
            )
            for _ in loop.run(plan, self.course.state, schedule):
                pass
            loop.ledger.transfers = transfers(self.executor, loop.ledger.began)
        return loop.ledger

    def write_profile(self, directory: str | Path) -> tuple[Path, Path]:
        """Write where the time of the last `fit` went.

        Returns
        -------
        tuple of Path
            ``profile.json`` and ``profile.png`` in `directory`.

        Raises
        ------
        InputError
            If there was no fit.
        """
        if self.ledger is None:
            raise InputError("no step was taken yet: call fit(epochs) first")
        self.ledger.transfers = transfers(self.executor, self.ledger.began)
        return self.ledger.write(directory)

    def evaluate(self, split: str = "test") -> dict[str, Any]:
        """Return exact scores of a split, with the best-validation parameters.

        Returns
        -------
        dict
            ``split``, ``num_nodes``, ``accuracy``, ``loss`` (one label a node), metric.

        Raises
        ------
        InputError
            If the graph has no such split.
        """
        self._check_split(split)
        scores = self.deployment.evaluator.scores(self.best_parameters, [split])[split]
        return {"split": split, **scores}

    def predict(self) -> da.Array:
        """Return the model's outputs for every node, in original node order.

        Returns
        -------
        dask.array.Array
            float32 (N, C), with the best-validation parameters.
        """
        return self.deployment.evaluator.predict(self.best_parameters)

    def summary(self) -> dict[str, Any]:
        """Return what ``summary.json`` holds, exact scores included."""
        splits = [s for s in ("val", "test") if self.deployment.targets.has(s)]
        scores = (
            self.deployment.evaluator.scores(self.best_parameters, splits)
            if splits
            else {}
        )
        facts = {
            "num_workers": self.executor.num_workers(),
            "seed": self.seed,
            "window": self.window,
            "advice": None if self.advice is None else str(self.advice),
        }
        metric = self.task.metric(self.graph)
        return summarize(self.graph, metric, self.course, scores, facts)

    @property
    def params_sha256(self) -> str:
        """SHA-256 of the parameters after the last step, little-endian float32."""
        return hash_parameters(self.course.state.parameters)

    @property
    def best_parameters(self) -> np.ndarray:
        """float32 [n], those of the best validation score (the last, without one)."""
        return self.course.best_parameters

    @property
    def advice(self) -> Advice | None:
        """Whether more workers would help; None if nothing was measured."""
        return self._advisor.advice()

    def _new_advisor(self, adapt: tuple[int, int] | None) -> Advisor:
        if adapt is None:
            return Advisor()
        least, most = check_adapt(adapt)
        if (
            not isinstance(self.executor, ClusterExecutor)
            or self.executor.client.cluster is None
        ):
            raise InputError(
                f"adapt={adapt!r} needs a cluster that can start workers: give "
                "client=Client(LocalCluster(...)), or no adapt"
            )

        def scale(workers: int) -> None:
            assert isinstance(self.executor, ClusterExecutor)
            self.executor.scale(workers)

        return Advisor(least, most, scale)

    def _how_to_continue(self) -> str:
        """Say how far the run has come and what continues it."""
        done = f"{self.course.state.step} steps were done"
        kills = 0
        if isinstance(self.executor, ClusterExecutor):
            kills = self.executor.memory_kills()
        if kills:
            done = (
                f"workers were killed {kills} times because their memory was full: "
                "lower batch_size or num_neighbors, open the graph with more parts on "
                f"more workers, or raise memory_limit; {done}"
            )
        return f"{done}, {self.recorder.how_to_continue()}"

    def _new_loop(self) -> TrainLoop:
        way = self.program.gradients
        loop = (TrainLoop if way.bound is None else ServerLoop)(
            self.executor,
            # Names of its own: results of an earlier fit, whose steps may still be on
            # their way out of the scheduler, are never taken for those of this one.
            replace(self.deployment.preparation, run=new_name()),
            WindowPlanner(
                self.plan,
                self.graph.num_parts,
                self.graph.index_dtype,
                self.program.gradients,
                self.deployment.targets.expand,
            ),
            self.deployment.programs,
            int(dask.config.get("gnn.look-ahead")),
            self.steps,
            self.deployment.first_window,
            self._recoveries,
            self._advisor,
        )
        if way.sums == "gloo":
            check_gloo(self.executor.worker_of(0))
        loop.chain = chain_of(way)
        if isinstance(loop, ServerLoop):
            loop.program = self.program
        return loop

    def _new_fit(self, signals: Signals | None = None) -> Fit:
        return Fit(
            self.graph,
            self.plan,
            self.course,
            self.recorder,
            self._new_loop(),
            self.deployment.evaluator,
            self.window,
            self.checkpoints,
            self.eval_every,
            self.patience,
            self._plan_facts(),
            signals or Signals(),
        )

    def _new_schedule(self) -> Schedule:
        optimizer = check_optimizer(self._optimizer, self.model)
        return Schedule(optimizer, *self._schedule_options)

    def _tell_start(self, epochs: int) -> None:
        self.recorder.progress.started(
            {
                "total_steps": epochs * self.plan.steps_per_epoch,
                "first_step": self.course.state.step,
                "epochs": epochs,
                "steps_per_epoch": self.plan.steps_per_epoch,
                "out": self.recorder.place,
                "dashboard": self.executor.dashboard(),
            }
        )

    # -- checkpoints

    def _plan_facts(self) -> dict[str, Any]:
        """Return what a checkpoint must agree with to be continued."""
        return {
            "graph_hash": self.graph.graph_hash,
            "num_parts": self.graph.num_parts,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "num_neighbors": list(self.fan_out.num_neighbors),
            "threads_per_part": self.program.threads,
            "precision": self.program.precision,
            "gradients": self.program.gradients.facts(),
            "model": repr(self.model),
            "parameters": [
                f"{name} {list(p.shape)}" for name, p in self.model.named_parameters()
            ],
            **self._description,
            **self._settings,
        }

    def restore(self) -> None:
        """Stand where the newest checkpoint in `out` was written.

        Raises
        ------
        CheckpointError
            If there is none, or it belongs to another graph, model or plan.
        """
        checkpoint = self.recorder.newest()
        if checkpoint is None:
            raise CheckpointError("resume=True needs out=DIR of the run to continue")
        self.course.schedule = self._new_schedule()
        self.course.restore(checkpoint, self._plan_facts())
        write_parameters(self.model, self.best_parameters)

    def _check_split(self, split: str) -> None:
        targets = self.deployment.targets
        if not targets.has(split):
            names = ", ".join(filter(targets.has, ("train", "val", "test")))
            raise InputError(f"split={split!r} has no node, expected one of {names}")


def chosen_task(
    task: Task | None, loss: Loss | None, model: torch.nn.Module, graph: Graph
) -> Task:
    """Return the task of a trainer, checked; refuse one that is none.

    Raises
    ------
    InputError
    """
    if task is not None and loss is not None:
        raise InputError(
            "loss and task cannot be given together: a task has a loss of its own, as "
            "in task=NodeClassification(loss=...)"
        )
    check_features(graph)
    task = NodeClassification(loss) if task is None else task
    check_seam("task", task, Task)
    task.check(graph, model)
    return task.for_graph(graph)
