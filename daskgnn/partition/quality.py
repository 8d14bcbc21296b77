"""Quality of a partition: edge cut, balance, halo, expected traffic.

P parts, N nodes, E entries (an undirected edge is two).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from daskgnn.partition.traffic import check_sampling, remote_traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskgnn.partition.holdings import Holdings


@dataclass(frozen=True, eq=False)
class Quality:
    """Numbers of a partition; ``str(quality)`` is a table of them."""

    nodes: np.ndarray
    """int64 [P], nodes of each part."""
    edges: np.ndarray
    """int64 [P], entries in the rows of each part; of a vertex-cut, those it holds."""
    seeds: np.ndarray | None
    """int64 [P], training nodes of each part, or None if there are none."""
    halo_nodes: np.ndarray
    """int64 [P], nodes of other parts that are neighbours of a part's nodes; of a
    vertex-cut, those of which it holds an entry."""
    cut_edges: int
    """Entries whose ends lie in different parts."""
    num_neighbors: tuple[int, ...]
    """Fan-outs of the estimate."""
    batch_size: int
    """Global batch size of the estimate."""
    remote_rows_per_step: float
    """Estimate: rows of other parts needed in a step, over all parts, no cache."""
    remote_bytes_per_step: float
    """Estimate: their bytes, and those of sampled neighbours and of requests."""
    row_bytes: float
    """Mean bytes of a feature row."""
    window: int = 1
    """Steps of the estimate that fetch a row once."""

    @property
    def num_parts(self) -> int:
        """P."""
        return len(self.nodes)

    @property
    def edge_cut(self) -> float:
        """Share of the edges that are cut."""
        return self.cut_edges / max(int(self.edges.sum()), 1)

    @property
    def node_balance(self) -> float:
        """Largest part over mean, in nodes."""
        return _balance(self.nodes)

    @property
    def edge_balance(self) -> float:
        """Largest part over mean, in edges."""
        return _balance(self.edges)

    @property
    def seed_balance(self) -> float | None:
        """Largest part over mean, in training nodes; None without any."""
        return None if self.seeds is None else _balance(self.seeds)

    @property
    def halo_share(self) -> float:
        """Halo nodes over all nodes that the parts hold, own and halo."""
        halo = int(self.halo_nodes.sum())
        return halo / max(halo + int(self.nodes.sum()), 1)

    @property
    def replication_factor(self) -> float:
        """Own and halo nodes of all parts over N."""
        total = int(self.nodes.sum())
        return (total + int(self.halo_nodes.sum())) / max(total, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and lists, for JSON."""
        names = (
            "num_parts edge_cut cut_edges node_balance edge_balance seed_balance "
            "halo_share replication_factor nodes edges seeds halo_nodes num_neighbors "
            "batch_size window remote_rows_per_step remote_bytes_per_step"
        )
        values = {name: getattr(self, name) for name in names.split()}
        return {
            name: np.asarray(value).tolist()
            if isinstance(value, np.ndarray | tuple)
            else value
            for name, value in values.items()
        }

    def __str__(self) -> str:
        """Return a table of the parts and a line for each number of the whole."""
        seeds = ["-"] * self.num_parts if self.seeds is None else self.seeds
        columns = (self.nodes, self.edges, seeds, self.halo_nodes)
        lines = [_line("part", "nodes", "edges", "training", "halo")]
        lines += [_line(p, *row) for p, row in enumerate(zip(*columns, strict=True))]
        seed_balance = "-" if self.seed_balance is None else f"{self.seed_balance:.3f}"
        fan_outs = ",".join(map(str, self.num_neighbors))
        return "\n".join(
            [
                *lines,
                f"edge cut            {self.edge_cut:.4f}",
                f"balance (max/mean)  nodes {self.node_balance:.3f}, edges "
                f"{self.edge_balance:.3f}, training nodes {seed_balance}",
                f"replication factor  {self.replication_factor:.3f}",
                f"remote rows a step  about {self.remote_rows_per_step:,.0f} "
                f"({size_text(self.remote_bytes_per_step)}) at fan-outs {fan_outs}, "
                f"batch {self.batch_size}, {_steps(self.window)}, without cache",
            ]
        )


def measure(
    block: Callable[[int, int], tuple[np.ndarray, np.ndarray]],
    book: np.ndarray,
    seeds: np.ndarray | None,
    *,
    num_neighbors: Sequence[int],
    batch_size: int,
    row_bytes: float | np.ndarray,
    window: int = 1,
    holdings: Holdings | None = None,
) -> Quality:
    """Measure a partition, holding the rows of one part at a time.

    Parameters
    ----------
    block
        (start, stop) -> int64 row pointers from 0 and storage ids of the neighbours.
    book
        int64 [P+1], row bounds of the parts.
    seeds
        Sorted storage ids of the training nodes, or None.
    row_bytes
        Bytes of a feature row: of every row, or [N] of each.
    window
        Steps that are prepared together and fetch a row once.
    holdings
        What the parts hold, where it is not their own rows: of a vertex-cut.

    Raises
    ------
    PartitionError
        If a fan-out, the batch size or the window cannot be.
    """
    check_sampling(num_neighbors, batch_size, window)
    bounds = [int(b) for b in book]
    runs = list(pairwise(bounds))
    edges, halo, cut = [], [], 0
    for start, stop in runs:
        _, indices = block(start, stop)
        remote = indices[(indices < start) | (indices >= stop)]
        edges.append(len(indices))
        cut += len(remote)
        halo.append(_count_distinct(remote, bounds[-1]))
    if seeds is not None and not len(seeds):
        seeds = None
    in_parts = None if seeds is None else np.diff(np.searchsorted(seeds, book))
    sampling = (num_neighbors, batch_size, window)
    look_ups = None if holdings is None else holdings.look_ups(book)
    traffic = remote_traffic(block, runs, seeds, row_bytes, *sampling, look_ups)
    found = Quality(
        nodes=np.diff(book),
        edges=np.array(edges, np.int64),
        seeds=in_parts,
        halo_nodes=np.array(halo, np.int64),
        cut_edges=cut,
        num_neighbors=tuple(int(k) for k in num_neighbors),
        batch_size=int(batch_size),
        remote_rows_per_step=traffic.rows,
        remote_bytes_per_step=traffic.bytes,
        row_bytes=float(np.mean(row_bytes)),
        window=int(window),
    )
    return found if holdings is None else holdings.correct(found, book)


def each_row_bytes(features: Any, feature_dtype: str = "float32") -> Any:
    """Return the bytes of a feature row: of all rows, or float64 [N] where they differ.

    Parameters
    ----------
    features
        As they are stored: dense, CSR, or None.
    """
    if sp.issparse(features):
        return 8.0 * np.diff(features.indptr) + 8
    return feature_row_bytes(features, feature_dtype)


def feature_row_bytes(features: Any, feature_dtype: str = "float32") -> float:
    """Return the mean bytes of a feature row as it is stored."""
    if features is None:
        return 0.0
    if sp.issparse(features):
        return 8 * features.nnz / features.shape[0] + 8
    return (4.0 if feature_dtype == "float32" else 2.0) * features.shape[1]


def _count_distinct(ids: np.ndarray, num_nodes: int) -> int:
    """Count the different node ids."""
    found = np.zeros(num_nodes, bool)
    found[ids] = True
    return int(found.sum())


def _balance(counts: np.ndarray) -> float:
    """Return the largest over the mean."""
    mean = counts.mean()
    return float(counts.max() / mean) if mean else 1.0


def _line(*cells: Any) -> str:
    """Return a row of the table."""
    texts = (f"{c:,}" if isinstance(c, int | np.integer) else str(c) for c in cells)
    return f"{next(texts):>4}" + "".join(f"{text:>14}" for text in texts)


def _steps(window: int) -> str:
    """Say for how many steps a row is fetched once."""
    return "each step by itself" if window == 1 else f"windows of {window} steps"


def size_text(count: float) -> str:
    """Return bytes in a readable unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.1f} {unit}"
