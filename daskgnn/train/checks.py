"""Checks of a trainer's arguments."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import dask

from daskgnn.errors import InputError, ModelError
from daskgnn.graph.edges.assemble import limit_bytes
from daskgnn.graph.graph import Graph
from daskgnn.graph.sources.packed import pack
from daskgnn.sampling import NeighborSampler
from daskgnn.sampling.check import check_sampler
from daskgnn.train.options.option import Option, taken
from daskgnn.train.options.options import TRAINER
from daskgnn.train.options.plainoptions import WARMUP_STEPS
from daskgnn.train.options.samplers import make_sampler

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from daskgnn.graph.memory.data import GraphData
    from daskgnn.kernels.seeds import SeedPlan
    from daskgnn.kernels.targets import Targets
    from daskgnn.sampling import Sampler
    from daskgnn.tasks.task import Task
    from daskgnn.train.options.options import TrainOptions

_SHORT_FORMS = {"sampler": ("num_neighbors", "sample_by"), "task": ("loss", "metric")}
"""Objects, and the options that stand for them."""

_COUNT = Option(kind="whole", least=1)
_SWITCH = Option(kind="choice", words=("auto", "on", "off"))


def check_graph(graph: Any) -> None:
    """Refuse a graph that was not opened, or whose source cannot go to workers."""
    if isinstance(graph, Graph):
        pack(graph.source)
        return
    said = f"graph is a {type(graph).__name__}, expected an opened graph"
    if hasattr(graph, "edge_types"):
        raise InputError(
            f"{said} of one type: daskgnn.open_graph(daskgnn.from_pyg("
            "data.to_homogeneous()).partition(), num_parts=2), see docs/limits.md"
        )
    if hasattr(graph, "edge_index") or hasattr(graph, "adj_t"):
        raise InputError(
            f"{said}: daskgnn.open_graph(daskgnn.from_pyg(data).partition(), "
            "num_parts=2)"
        )
    raise InputError(
        f"{said}: graph.partition().save('graph.zarr'), then "
        "daskgnn.open_graph('graph.zarr', num_parts=2)"
    )


def require_features(graph: Graph | GraphData) -> None:
    """Refuse a graph, in memory or stored, that has no features."""
    if not graph.has_features:
        raise InputError(
            f"graph {graph.name!r} has no features, which training needs",
            python="give features=... when it is built",
            shell="store it with daskgnn partition --nodes FILE, a table with columns "
            "of numbers",
        )


def check_options(given: Mapping[str, Any], graph: Graph) -> TrainOptions:
    """Return all of a trainer's options, as they are used on a graph.

    Raises
    ------
    InputError
    """
    _refuse_made_optimizer(given.get("optimizer"))
    for name, short in _SHORT_FORMS.items():
        both = [w for w in short if w in given and given.get(name) is not None]
        if isinstance(given.get(name), str):
            continue
        if both:
            raise InputError(
                f"{name}= and {both[0]}= say the same: give one of them, "
                f"{name}=... or {both[0]}=..."
            )
    found = taken(TRAINER, given, "Trainer")
    found["feature_dtype"] = check_feature_dtype(found["feature_dtype"], graph)
    if found["warmup_steps"] is None:
        found["warmup_steps"] = WARMUP_STEPS if found["lr_scheduler"] is None else 0
    return cast("TrainOptions", found)


def _refuse_made_optimizer(given: Any) -> None:
    """Refuse an optimizer of this process's parameters: workers make their own."""
    if not hasattr(given, "param_groups"):
        return
    cls = type(given)
    inside = cls.__module__.startswith("torch.optim.")
    name = f"torch.optim.{cls.__name__}" if inside else cls.__name__
    rate = given.defaults.get("lr")
    told = "" if rate is None else f", lr={float(rate):g}"
    raise InputError(
        f"optimizer is an instance of {cls.__name__}, and workers make their own: give "
        f"a function, optimizer=lambda parameters: {name}(parameters{told})"
    )


def check_count(name: str, value: Any) -> int:
    """Return a count of at least 1 as int; refuse anything else."""
    return int(_COUNT.checked(name, value))


def check_feature_dtype(value: str | None, graph: Graph) -> str:
    """Return what feature blocks are held as; None is as they are stored."""
    return graph.feature_dtype or "float32" if value is None else value


def remote_aggregation(*, several_hosts: bool) -> bool:
    """Return whether owners may sum neighbours, as Dask's configuration says.

    "auto" has them where workers are on several hosts: choosing costs more than the
    bytes it saves within one.
    """
    word = _switch("gnn.remote-aggregation")
    return word == "on" or (word == "auto" and several_hosts)


def share_memory(*, has_room: bool, has_cache: bool) -> bool:
    """Return whether workers of a machine read each other's blocks in place.

    "auto" has it so where the blocks leave a worker room, and where nobody asks for
    what only matters to rows that are sent: a halo cache, or owners' sums.
    """
    word = _switch("gnn.share-memory")
    asked = has_cache or _switch("gnn.remote-aggregation") == "on"
    return word == "on" or (word == "auto" and has_room and not asked)


def _switch(name: str) -> str:
    """Return a setting of Dask's configuration that is on, off, or auto."""
    value = dask.config.get(name)
    # YAML reads a bare on or off as a truth value.
    word = {False: "off", True: "on"}.get(value, value)
    return str(_SWITCH.checked(name, word))


def choose_sampler(
    options: TrainOptions, graph: Graph, model: torch.nn.Module
) -> Sampler:
    """Return the sampler that is given, or the one that the short form stands for.

    Raises
    ------
    InputError, ModelError
        If it is of no use with the graph or the model.
    """
    sampler: Any = options["sampler"]
    if sampler is None:
        fan_outs = options["num_neighbors"]
        if fan_outs is None:
            raise InputError(
                "num_neighbors is missing: give one fan-out per layer, hop 1 first, as "
                "in num_neighbors=[15, 10]"
            )
        sampler = NeighborSampler(fan_outs, options["sample_by"])
    elif isinstance(sampler, str):
        how = options["num_neighbors"], options["sample_by"]
        sampler = make_sampler(sampler, *how)
    check_sampler(sampler, weighted=graph.weighted, index_dtype=graph.index_dtype)
    sampler.check(graph)
    layers = getattr(model, "num_layers", getattr(sampler, "num_layers", 0))
    if not layers and sampler.any_depth:
        raise ModelError(
            f"{type(model).__name__} does not say how many layers it has, which "
            f"sampler {type(sampler).__name__} must know: self.num_layers = 2"
        )
    sampler = sampler.for_graph(graph, layers)
    if layers != sampler.num_layers or not layers:
        name, given = next(iter(sampler.fingerprint().items()))
        raise ModelError(
            f"{name}={given} has {sampler.num_layers} hops, the model has {layers} "
            "layers: give one fan-out per layer"
        )
    return sampler


def planned(sampler: Sampler, plan: SeedPlan, num_parts: int, task: Task) -> SeedPlan:
    """Return the plan of a run whose sampler may choose the seeds of each step.

    Raises
    ------
    InputError
        If the task does not go together with the sampler.
    """
    if sampler.weights_targets and not task.uses_weights:
        name = type(task).__name__
        raise InputError(
            f"task: sampler {type(sampler).__name__} weighs targets, and {name}.loss "
            "does not say that it multiplies by batch.weights: uses_weights = True"
        )
    return replace(plan, chosen=sampler.steps(plan.in_order, plan.seed, num_parts))


def check_readout(sampler: Sampler, targets: Targets, task: Task) -> None:
    """Refuse targets of several nodes where an output is that of a seed's subgraph.

    Parameters
    ----------
    targets : Targets
        A few of the training targets, expanded.

    Raises
    ------
    InputError
    """
    if sampler.evaluates and targets.nodes.shape[1] > 1:
        raise InputError(
            f"task: {type(task).__name__} has targets of several nodes, and sampler "
            f"{type(sampler).__name__} pools the subgraph of each: use readout='seed'"
        )


def check_worker_limit(
    memory_limit: int | str | None, workers: int | None, scheduler: str | None
) -> None:
    """Refuse a limit of own workers that is no size, or where there are none.

    Raises
    ------
    InputError
    """
    if memory_limit is None:
        return
    limit_bytes(memory_limit)
    if scheduler is not None:
        raise InputError(
            f"memory_limit={memory_limit!r} is for workers that are started here, and "
            f"those at {scheduler} have their own: start them with 'daskgnn worker "
            f"{scheduler} --memory-limit {str(memory_limit).replace(' ', '')}'"
        )
    if workers == 0:
        raise InputError(
            f"memory_limit={memory_limit!r} is for workers, and workers=0 starts none: "
            "give workers=1 or more, or no memory_limit"
        )
