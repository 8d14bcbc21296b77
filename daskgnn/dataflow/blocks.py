"""The blocks of a graph's parts, loaded by tasks and kept where they are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.task_spec import Task, TaskRef

from daskgnn.errors import GraphFormatError
from daskgnn.graph.store import (
    load_adjacency,
    load_degrees,
    load_half_features,
)
from daskgnn.kernels.features import normalize_rows

if TYPE_CHECKING:
    from daskgnn.dataflow.executor import Executor
    from daskgnn.graph.graph import Graph
    from daskgnn.kernels.adjacency import AdjacencyBlock


@dataclass(frozen=True)
class Blocks:
    """Keys of the loaded blocks, by part."""

    adjacency: tuple[Any, ...]
    features: tuple[Any, ...]
    labels: tuple[Any, ...]
    draw_weights: tuple[Any, ...] | None

    def adjacency_of(self, part: int) -> TaskRef:
        """Refer to the `AdjacencyBlock` of a part."""
        return TaskRef(self.adjacency[part])

    def features_of(self, part: int) -> TaskRef:
        """Refer to the feature block of a part."""
        return TaskRef(self.features[part])

    def labels_of(self, part: int) -> TaskRef:
        """Refer to the labels of a part."""
        return TaskRef(self.labels[part])

    def draw_weights_of(self, part: int) -> TaskRef | None:
        """Refer to the weights of the draws of a part, if they have any."""
        if self.draw_weights is None:
            return None
        return TaskRef(self.draw_weights[part])

    @property
    def keys(self) -> list[Any]:
        """All keys."""
        return [
            *self.adjacency,
            *self.features,
            *self.labels,
            *(self.draw_weights or ()),
        ]


def load_blocks(
    executor: Executor,
    graph: Graph,
    *,
    normalize_features: bool = False,
    sample_by: str = "uniform",
    feature_dtype: str | None = None,
) -> Blocks:
    """Load every part of `graph` on the worker it is placed on.

    Labels and float32 features keep the keys of the graph's Dask arrays: where a
    user has persisted these, nothing is loaded twice.

    Parameters
    ----------
    feature_dtype : {None, "float32", "float16", "bfloat16"}
        What dense features are held and sent as; None is as they are stored.
    """
    token = graph.token
    parts = range(graph.num_parts)
    book = graph.partition_book
    tasks: dict[Any, Any] = {}
    adjacency = tuple(("load-adjacency", token, p) for p in parts)
    for p, key in enumerate(adjacency):
        bounds = int(book[p]), int(book[p + 1])
        tasks[key] = Task(key, load_adjacency, graph.path, *bounds, graph.checksum)
    features = _add_features(
        tasks, graph, feature_dtype or graph.feature_dtype, normalize_features
    )
    labels = _add_chunks(tasks, graph.labels)
    draw_weights: tuple[Any, ...] | None = None
    if sample_by != "uniform":
        draw_weights = tuple(("load-draw-weights", sample_by, token, p) for p in parts)
        for key, source in zip(draw_weights, adjacency, strict=True):
            tasks[key] = Task(
                key,
                load_draw_weights,
                TaskRef(source),
                graph.path,
                sample_by,
                graph.checksum,
            )
    blocks = Blocks(adjacency, features, labels, draw_weights)
    executor.submit(tasks, blocks.keys, part_of=_part_of_block, lasting=True)
    return blocks


def load_draw_weights(
    block: AdjacencyBlock, path: str, sample_by: str, checksum: str
) -> np.ndarray:
    """Return float32 [E], the weight of each edge of `block` in draws.

    Raises
    ------
    GraphFormatError
        If a weight is not positive.
    """
    if sample_by == "degree":
        # A source that nothing points to counts as having one in-neighbour.
        degrees = np.maximum(load_degrees(path, checksum), 1)
        weights = degrees[block.indices].astype(np.float32)
    elif block.weights is None:
        return np.ones(len(block.indices), np.float32)
    else:
        weights = block.weights
    if len(weights) and weights.min() <= 0:
        raise GraphFormatError(
            f"sample_by={sample_by!r} needs positive weights, and some edge weighs 0 "
            "or less: use sample_by='uniform' or repair the weights"
        )
    return weights


def _add_features(
    tasks: dict[Any, Any], graph: Graph, feature_dtype: str | None, normalize: bool
) -> tuple[Any, ...]:
    """Add the tasks of the feature blocks; return their keys."""
    parts = range(graph.num_parts)
    if feature_dtype not in (None, "float32"):
        kind = feature_dtype + "-normalized" * normalize
        half = tuple(("load-half-features", kind, graph.token, p) for p in parts)
        for p, key in enumerate(half):
            bounds = (int(b) for b in graph.partition_book[p : p + 2])
            how = (feature_dtype, normalize, graph.checksum)
            tasks[key] = Task(key, load_half_features, graph.path, *bounds, *how)
        return half
    raw = _add_chunks(tasks, graph.features)
    if not normalize:
        return raw
    normalized = tuple(("normalize-features", graph.token, p) for p in parts)
    for name, source in zip(normalized, raw, strict=True):
        tasks[name] = Task(name, normalize_rows, TaskRef(source))
    return normalized


def _add_chunks(tasks: dict[Any, Any], array: Any) -> tuple[Any, ...]:
    """Add a Dask array's tasks; return the key of each of its row chunks."""
    tasks.update(dict(array.__dask_graph__()))
    keys = array.__dask_keys__()
    return tuple(key[0] if isinstance(key, list) else key for key in keys)


def _part_of_block(key: Any) -> int:
    """Return the part of a block: Dask arrays write (name, part, 0)."""
    own = (
        "load-adjacency",
        "load-draw-weights",
        "load-half-features",
        "normalize-features",
    )
    return int(key[-1] if key[0] in own else key[1])
