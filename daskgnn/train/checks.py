"""What a trainer can be given, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
from dask.utils import parse_bytes

from daskgnn.errors import InputError, ModelError
from daskgnn.graph.assemble import limit_bytes
from daskgnn.graph.content import refuse_sparse
from daskgnn.graph.graph import Graph
from daskgnn.kernels.half import check_dtype_name
from daskgnn.kernels.neighbor import FanOut
from daskgnn.train.recipes import CACHE_POLICIES, SAMPLE_BY

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from daskgnn.graph.data import GraphData


def check_graph(graph: Any) -> None:
    """Refuse a graph that was not opened from a store."""
    if not isinstance(graph, Graph):
        raise InputError(
            f"graph is a {type(graph).__name__}, expected an opened store: "
            "graph.partition().save('graph.zarr'), then "
            "daskgnn.open_graph('graph.zarr', num_parts=2)"
        )


def check_features(graph: Graph | GraphData) -> None:
    """Refuse a graph, in memory or stored, that has no features."""
    if graph.features is None:
        raise InputError(
            f"graph {graph.name!r} has no features: it can be partitioned, not trained"
        )


def check_count(name: str, value: Any) -> int:
    """Return a count of at least 1 as int; refuse anything else."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name}={value!r}, expected a whole number of at least 1")
    return int(value)


def check_optional_count(name: str, value: Any) -> int | None:
    """Return None, or a count of at least 1 as int."""
    return None if value is None else check_count(name, value)


@dataclass(frozen=True)
class CheckpointOptions:
    """When checkpoints are written, beyond each epoch's end, and how many stay."""

    every: int | None
    """Steps."""
    seconds: float | None
    keep: int


def check_checkpoints(every: Any, seconds: Any, keep: Any) -> CheckpointOptions:
    """Return a trainer's options about checkpoints; refuse what is no number."""
    every = check_optional_count("checkpoint_every", every)
    number = isinstance(seconds, int | float | np.number)
    if seconds is not None and (
        not number or isinstance(seconds, bool) or not seconds > 0
    ):
        raise InputError(f"checkpoint_seconds={seconds!r}, expected seconds above 0")
    return CheckpointOptions(
        every,
        None if seconds is None else float(seconds),
        check_count("keep_checkpoints", keep),
    )


def check_seed(value: Any) -> int:
    """Return a seed as int."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputError(f"seed={value!r}, expected a whole number")
    return int(value)


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a word that is not among the choices."""
    if value not in choices:
        words = ", ".join(map(repr, choices))
        raise InputError(f"{name}={value!r}, expected one of {words}")


def check_sample_by(value: str, graph: Graph) -> None:
    """Refuse an unknown way to draw, and draws by weights that are not there."""
    check_choice("sample_by", value, SAMPLE_BY)
    if value != "uniform" and graph.held_book is not None:
        raise InputError(
            f"sample_by={value!r} needs a row's weights in one place, and graph "
            f"{graph.name!r} is a vertex-cut (method "
            f"{graph.partitioner['method']!r}): use sample_by='uniform', or partition "
            "it with method='fennel'"
        )
    if value == "edge_weight" and not graph.weighted:
        raise InputError(
            f"graph {graph.name!r} has no edge weights: use sample_by='uniform', or "
            "give edge_weight when it is built"
        )


def check_feature_dtype(value: str | None, graph: Graph) -> str:
    """Return what feature blocks are held as; None is as they are stored."""
    if value is None:
        return graph.feature_dtype or "float32"
    if check_dtype_name(value) != "float32" and graph.sparse_features:
        refuse_sparse(value, graph.name)
    return value


def check_halo_cache(nbytes: int | str, policy: str) -> int:
    """Return the bytes of a part's halo cache; refuse what is no size or policy."""
    check_choice("halo_cache_policy", policy, CACHE_POLICIES)
    try:
        size = 0 if isinstance(nbytes, bool) else int(parse_bytes(nbytes))
    except (ValueError, TypeError, AttributeError):
        size = -1
    if size < 0 or isinstance(nbytes, bool):
        raise InputError(
            f"halo_cache={nbytes!r}, expected bytes, as in halo_cache='64 MB', or 0 "
            "for no cache"
        )
    return size


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
    check_choice(name, word, ("auto", "on", "off"))
    return str(word)


def check_fan_out(num_neighbors: Sequence[int], model: torch.nn.Module) -> FanOut:
    """Return the fan-outs; refuse what does not fit the model's layers."""
    values = tuple(num_neighbors)
    for k in values:
        if not isinstance(k, int | np.integer) or (k < 1 and k != -1):
            raise InputError(
                f"num_neighbors={list(values)} has {k!r}, expected at least 1, or -1 "
                "for all neighbours"
            )
    layers = getattr(model, "num_layers", len(values))
    if not values or layers != len(values):
        raise ModelError(
            f"num_neighbors={list(values)} has {len(values)} hops, the model has "
            f"{layers} layers: give one fan-out a layer"
        )
    return FanOut(tuple(int(k) for k in values))


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
            f"those at {scheduler} have their own: start them with 'dask worker "
            f"{scheduler} --memory-limit {str(memory_limit).replace(' ', '')}'"
        )
    if workers == 0:
        raise InputError(
            f"memory_limit={memory_limit!r} is for workers, and workers=0 starts none: "
            "give workers=1 or more, or no memory_limit"
        )


def check_adapt(adapt: Sequence[int]) -> tuple[int, int]:
    """Return the fewest and the most workers, or refuse what is no such pair.

    Raises
    ------
    InputError
    """
    try:
        least, most = (int(number) for number in adapt)
    except (TypeError, ValueError):
        least, most = 0, 0
    if not 1 <= least <= most:
        raise InputError(
            f"adapt={adapt!r}, expected the fewest and the most workers, as in (1, 4)"
        )
    return least, most
