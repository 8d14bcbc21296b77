"""Tasks that load the blocks of a graph's parts and keep them on their workers."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
from dask.task_spec import Task, TaskRef

from daskgnn.dataflow.part import PartSource, cut_part, load_part
from daskgnn.graph.sources.packed import pack
from daskgnn.sampling.sampler import Sampler

if TYPE_CHECKING:
    import numpy as np

    from daskgnn.dataflow.executor import Executor
    from daskgnn.dataflow.part import PartBlocks
    from daskgnn.dataflow.sampling import PackedSampler
    from daskgnn.graph.graph import Graph

_LARGE = "distributed.admin.large-graph-warning-threshold"


@dataclass(frozen=True)
class Blocks:
    """Keys of the loaded `PartBlocks`, by part."""

    keys: tuple[Any, ...]

    def of(self, part: int) -> TaskRef:
        """Refer to the `PartBlocks` of a part."""
        return TaskRef(self.keys[part])


def load_blocks(
    executor: Executor,
    graph: Graph,
    packed: PackedSampler,
    *,
    normalize_features: bool = False,
    feature_dtype: str | None = None,
    share: bool = False,
    sparse: bool = False,
) -> Blocks:
    """Load every part of `graph` on the worker it is placed on.

    Parts of a graph in memory are cut out here, and go with their tasks.

    Parameters
    ----------
    packed : PackedSampler
        What says what is kept beside a part's rows.
    feature_dtype : {None, "float32", "float16", "bfloat16"}
        What dense features are held and sent as; None is as they are stored.
    share : bool
        Whether to load into memory that other workers of a machine can read.
    sparse : bool
        Whether CSR features are used as they are.
    """
    kept_as = feature_dtype or graph.feature_dtype or "float32"
    book = [int(bound) for bound in graph.partition_book]
    kind = f"{kept_as}-{_kept_by(packed.sampler)}" + "-normalized" * normalize_features
    kind += "-shared" * share + "-disk" * (graph.features_in == "disk")
    kind += "-sparse" * sparse
    if graph.source.path:  # the same graph may be at two places, and one of them away
        kind += "-" + hashlib.sha256(str(graph.source.path).encode()).hexdigest()[:8]
    tasks: dict[Any, Any] = {}
    given_source = pack(graph.source)
    for p in range(graph.num_parts):
        how = (kept_as, normalize_features, packed, graph.features_in, sparse)
        source = PartSource(given_source, book[p], book[p + 1], *how)
        given = cut_part(source) if graph.source.in_memory else source
        key = ("load-part", kind, graph.token, p)
        tasks[key] = Task(key, load_part, given, share=share)
    blocks = Blocks(tuple(tasks))
    # Parts of a graph in memory are large on purpose.
    with large_graphs() if graph.source.in_memory else nullcontext():
        executor.submit(tasks, blocks.keys, lasting=True)
    return blocks


def large_graphs() -> AbstractContextManager[Any]:
    """Silence Dask's warning of large graphs, where they are large on purpose."""
    silent: AbstractContextManager[Any] = dask.config.set({_LARGE: "1 PB"})
    return silent


def gather_summaries(
    executor: Executor, packed: PackedSampler, blocks: Blocks, run: str
) -> list[dict[str, np.ndarray]]:
    """Return what parts must know of each other, by part.

    The parts are waited for only if there is such; else the list is empty.
    """
    if not has_summaries(packed.sampler):
        return []
    tasks: dict[Any, Any] = {}
    for part, key in enumerate(blocks.keys):
        name = ("summarize", run, part)
        tasks[name] = Task(name, _summary, packed, TaskRef(key))
    executor.submit(tasks, list(tasks))
    found = executor.result(list(tasks))
    executor.release(list(tasks))
    return list(found)


def has_summaries(sampler: Sampler) -> bool:
    """Return whether parts must know something of each other."""
    overridden = type(sampler).summarize is not Sampler.summarize
    return overridden and sampler.needs_summaries


def _summary(packed: PackedSampler, blocks: PartBlocks) -> dict[str, np.ndarray]:
    return packed.sampler.summarize(blocks.rows)


def _kept_by(sampler: Sampler) -> str:
    """Name what a sampler keeps beside rows: other samplers keep something else."""
    if type(sampler).part_data is Sampler.part_data:
        return "rows"
    made = (type(sampler).__module__, sampler.fingerprint())
    return hashlib.sha256(repr(made).encode()).hexdigest()[:16]
