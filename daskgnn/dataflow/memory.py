"""Plan a run's memory before it starts: how many steps fit into a window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import dask
import numpy as np
from dask.utils import format_bytes

from daskgnn import config as _config  # noqa: F401  (the defaults)
from daskgnn.errors import InputError
from daskgnn.sampling.size import GraphStats

if TYPE_CHECKING:
    from daskgnn.graph.graph import Graph
    from daskgnn.sampling.sampler import Sampler


PROCESS_BYTES = 430_000_000
"""A worker with what it has imported and compiled: see docs/measurements/data.md."""

SPILL_SHARE = 0.7
"""Of its memory limit, what a process is planned to hold: above it Dask's workers write
data to the disk, and what is left is for what estimates leave out."""

STATE_COPIES = 6
"""Parameters in the model and in a state, gradients, and Adam's two numbers."""

LEAST_COLUMNS, COLUMNS_PER_ENTRY = 256, 16
"""Columns, and columns for each entry of a row, from which on rows stay sparse: a
dense product takes a number in about a sixteenth of the time of an entry."""

FIRST_WINDOW = 4
"""Steps of a run's first windows, at most."""

FIRST_WINDOW_BYTES = 2**28
"""What those windows may take of a worker, if they have more than one step."""


@dataclass(frozen=True)
class StepSize:
    """A rough estimate of the memory of one step of one part; not a bound."""

    nodes: int
    edges: int
    nbytes: int
    kept: int = 0
    """Bytes that the sampler keeps beside the rows of a part, whatever the steps."""


def feature_row_bytes(
    graph: Graph, feature_dtype: str = "float32", *, sparse: bool = False
) -> float:
    """Return the bytes of a feature row in memory; of sparse rows, the mean."""
    element = 4 if feature_dtype == "float32" else 2
    if not sparse:
        return graph.num_features * element
    return entries_per_row(graph) * (4 + element) + 8


def entries_per_row(graph: Graph) -> float:
    """Return how many entries a row of CSR features has; F where nothing tells."""
    nbytes = graph.schema.feature_row_bytes
    return graph.num_features if nbytes is None else max(nbytes - 8, 0) / 8


def stays_sparse(graph: Graph) -> bool:
    """Return whether the features of a graph are worth keeping sparse in training.

    A function of the graph alone.
    """
    if not graph.sparse_features:
        return False
    columns, entries = graph.num_features, entries_per_row(graph)
    return columns >= max(LEAST_COLUMNS, COLUMNS_PER_ENTRY * entries)


def estimate_step(
    graph: Graph,
    sampler: Sampler,
    batch_size: int,
    first_aggregation: str | None,
    *,
    sparse: bool = False,
) -> StepSize:
    """Estimate a prepared step of one part from what its sampler expects."""
    stats = GraphStats(graph.num_nodes, graph.num_edges, graph.num_parts)
    size = sampler.estimate(stats, -(-batch_size // graph.num_parts))
    rows = 2 * size.computed if first_aggregation else size.nodes
    nbytes = (
        rows * feature_row_bytes(graph, sparse=sparse)
        + size.edges * 12
        + size.nodes * 24
    )
    kept = size.kept
    if graph.schema.on_demand and sampler.needs_whole_rows:
        kept += graph.num_edges * _entry_bytes(graph) / graph.num_parts
    return StepSize(int(size.nodes), int(size.edges), int(nbytes), int(kept))


def _entry_bytes(graph: Graph) -> int:
    """Return the bytes of a directed edge in a part's rows."""
    return graph.index_dtype.itemsize + 4 * graph.weighted


def estimate_blocks(
    graph: Graph, feature_dtype: str = "float32", *, sparse: bool = False
) -> int:
    """Estimate the bytes of one part's blocks, and of its halo for evaluation.

    Evaluation has its own columns, and a copy of the features unless they stay on the
    disk; of a vertex-cut, or on demand, it reads the part's rows whole once.
    """
    evaluated = bool({"val", "test"} & graph.splits.keys())
    row = feature_row_bytes(graph, feature_dtype, sparse=sparse)
    return int(_all_blocks(graph, row, int(evaluated)) / graph.num_parts)


def estimate_mapped(
    graph: Graph, feature_dtype: str = "float32", *, sparse: bool = False
) -> int:
    """Estimate the bytes of all parts' blocks: what a worker that reads them maps."""
    return _all_blocks(graph, feature_row_bytes(graph, feature_dtype, sparse=sparse), 0)


def held_node_bytes(graph: Graph) -> int:
    """Return the bytes of a node in blocks that are read on demand.

    Its row pointer and original id; of edges with weights, their sum, too.
    """
    return 16 + 4 * graph.weighted


def _all_blocks(graph: Graph, row_bytes: float, evaluated: int) -> int:
    """Estimate the bytes of all blocks; 1 for `evaluated` counts the halos, too."""
    entry_bytes = _entry_bytes(graph)
    on_demand = graph.schema.on_demand
    edge_bytes = entry_bytes * (not on_demand) + evaluated * graph.index_dtype.itemsize
    if graph.held_book is not None or on_demand:
        edge_bytes += evaluated * entry_bytes
    copies = (1 + evaluated) * (graph.features_in == "memory")
    held = held_node_bytes(graph) if on_demand else 8 * 3
    node_bytes = held + copies * row_bytes
    total = graph.num_edges * edge_bytes + graph.num_nodes * node_bytes
    return int(total + graph.split_rows_bytes)


def estimate_cache(policy: str, nbytes: int, look_ahead: int) -> int:
    """Return the bytes of one part's halo cache, copies of other windows included."""
    return nbytes if policy == "static" else nbytes * (look_ahead + 2)


@dataclass(frozen=True)
class WindowBudget:
    """The memory that windows may take on a worker, and their wanted size."""

    memory_limit: int
    """Bytes that a worker may take; 0 where there is no limit."""
    wanted: int
    """Steps that a window is to have."""
    look_ahead: int
    """Windows that are prepared beside the one that is trained on."""
    share: float
    """Of a worker's memory."""

    @classmethod
    def configured(cls, memory_limit: int, wanted: int | None = None) -> WindowBudget:
        """Return what Dask's configuration says, of the steps unless they are given."""
        steps = wanted or int(dask.config.get("gnn.window"))
        look_ahead = int(dask.config.get("gnn.look-ahead"))
        return cls(memory_limit, steps, look_ahead, memory_share())


def memory_share() -> float:
    """Return the share of a worker's memory that blocks and windows may take."""
    return float(dask.config.get("gnn.memory-share"))


def plan_window(
    step: StepSize,
    budget: WindowBudget,
    parts_per_worker: int,
    block_bytes: int = 0,
    process_bytes: int = 0,
) -> int:
    """Return how many steps a window may have.

    Windows get `share` of a worker's memory, and no more than what its blocks leave
    of twice that share, or what blocks and the process itself leave of `SPILL_SHARE`.

    Raises
    ------
    InputError
        If not even windows of one step fit.
    """
    memory_limit, share = budget.memory_limit, budget.share
    if not memory_limit:
        return budget.wanted
    blocks = block_bytes * parts_per_worker
    room = min(
        memory_limit * share,
        memory_limit * 2 * share - blocks,
        memory_limit * SPILL_SHARE - blocks - process_bytes,
    )
    each = step.nbytes * parts_per_worker * (budget.look_ahead + 1)
    fits = int(room // max(each, 1))
    if fits < 1:
        beside = f" and a process of {process_bytes / 2**20:.0f} MiB"
        raise InputError(
            f"one prepared step takes about {each / 2**20:.0f} MiB, besides blocks of "
            f"{blocks / 2**20:.0f} MiB{beside if process_bytes else ''}, of a worker's "
            f"{memory_limit / 2**20:.0f} MiB: "
            "lower batch_size or num_neighbors, open the graph with more parts on more "
            "workers, or raise memory_limit"
        )
    return min(budget.wanted, fits)


@dataclass(frozen=True)
class MemoryPlan:
    """What a worker is expected to hold in training, in bytes."""

    parts: int
    """Parts of the fullest worker."""
    block_bytes: int
    """Their blocks: rows of the graph, features unless on the disk, labels, and what
    the sampler keeps beside them."""
    window: int
    """Steps of a window."""
    window_bytes: int
    """The windows in flight, of all its parts."""
    parameter_bytes: int
    """Parameters, gradient and the optimizer's state."""
    memory_limit: int
    """What a worker may take; 0 where there is no limit."""
    node_bytes: int = 0
    """What blocks hold of a node of a graph that is read on demand; 0 of others."""

    @property
    def peak(self) -> int:
        """All of it, and what a process takes before it holds anything."""
        held = self.block_bytes + self.window_bytes + self.parameter_bytes
        return held + PROCESS_BYTES

    def __str__(self) -> str:
        """Return a line for each share."""
        limit = format_bytes(self.memory_limit) if self.memory_limit else "no limit"
        shares = {
            "process": PROCESS_BYTES,
            f"blocks ({self.parts} parts)": self.block_bytes,
            f"windows ({self.window} steps)": self.window_bytes,
            "parameters": self.parameter_bytes,
            "peak a worker": self.peak,
        }
        lines = [f"{name:20}{format_bytes(n):>12}" for name, n in shares.items()]
        if self.node_bytes:
            lines.insert(2, f"{'degrees and ids':20}{f'{self.node_bytes} B/node':>12}")
        return "\n".join([*lines, f"{'memory limit':20}{limit:>12}"])


def plan_memory(
    graph: Graph,
    step: StepSize,
    budget: WindowBudget,
    *,
    num_workers: int,
    feature_dtype: str = "float32",
    cache_bytes: int = 0,
    num_parameters: int = 0,
    sparse: bool = False,
) -> MemoryPlan:
    """Plan a run's memory; `plan_window` has the rule.

    Parameters
    ----------
    cache_bytes
        Of one part's halo cache.
    num_parameters
        Numbers in the model.
    sparse
        Whether features stay sparse.

    Raises
    ------
    InputError
        If not even windows of one step fit, naming what to lower.
    """
    parts = parts_per_worker(graph.num_parts, num_workers)
    held = estimate_blocks(graph, feature_dtype, sparse=sparse)
    blocks = held + cache_bytes + step.kept
    process = PROCESS_BYTES if num_workers else 0
    window = plan_window(step, budget, parts, blocks, process)
    return MemoryPlan(
        parts,
        blocks * parts,
        window,
        step.nbytes * parts * window * (budget.look_ahead + 1),
        STATE_COPIES * 4 * num_parameters,
        budget.memory_limit,
        held_node_bytes(graph) if graph.schema.on_demand else 0,
    )


def first_window(step: StepSize, parts_per_worker: int) -> int:
    """Return how many steps a window has until it is known how long one takes."""
    fits = FIRST_WINDOW_BYTES // max(step.nbytes * parts_per_worker, 1)
    return min(max(int(fits), 1), FIRST_WINDOW)


def parts_per_worker(num_parts: int, num_workers: int) -> int:
    """Return how many parts the fullest worker holds."""
    return int(np.ceil(num_parts / max(num_workers, 1)))
