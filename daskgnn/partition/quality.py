"""Quality of a partition: edge cut, balance, halo, expected traffic.

P parts, N nodes, E entries (an undirected edge is two).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from daskgnn.display import html_table, words
from daskgnn.partition.traffic import Holdings, check_sampling, remote_traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_HEADER = ("part", "nodes", "edges", "training", "halo")


@dataclass(frozen=True, eq=False)
class Quality:
    """How good a partition is: edge cut, balance, halos and estimated traffic.

    `Graph.quality` and `PartitionedGraph.quality` return one; ``print(quality)`` shows
    it as a table. Edges are directed: an undirected edge counts twice.

    Examples
    --------
    >>> import daskgnn
    >>> clusters = [0] * 17 + [1] * 17
    >>> partitioned = daskgnn.load_dataset("karate").partition(method=clusters)
    >>> quality = partitioned.quality(2, num_neighbors=[10, 5])
    >>> quality.num_parts, quality.node_balance
    (2, 1.0)
    >>> print(f"{quality.edge_cut:.2f}, {quality.replication_factor:.2f}")
    0.26, 1.50
    >>> halo = quality.to_dict()["halo_share"]
    >>> halo == quality.halo_share
    True
    >>> quality.edge_balance >= 1 and quality.seed_balance >= 1
    True
    """

    nodes: np.ndarray
    """int64 [P], nodes of each part."""
    edges: np.ndarray
    """int64 [P], directed edges in the rows of each part; of a vertex-cut, those it
    holds."""
    seeds: np.ndarray | None
    """int64 [P], training nodes of each part; None without a training split."""
    halo_nodes: np.ndarray
    """int64 [P], nodes of other parts that are neighbours of the part's nodes; of a
    vertex-cut, those that occur in the edges it holds."""
    cut_edges: int
    """Directed edges whose ends lie in different parts."""
    num_neighbors: tuple[int, ...]
    """Fan-outs of the training whose traffic is estimated."""
    batch_size: int
    """Seeds a step, over all parts, of that training."""
    remote_rows_per_step: float
    """Estimated feature rows of other parts that a step needs, over all parts, without
    a cache."""
    remote_bytes_per_step: float
    """Estimated bytes of these rows, of the sampled neighbours and of the requests."""
    row_bytes: float
    """Mean size of a feature row in bytes."""
    window: int = 1
    """Steps of the estimate that are prepared together and fetch a remote row once."""

    @property
    def num_parts(self) -> int:
        """Number of parts, P."""
        return len(self.nodes)

    @property
    def edge_cut(self) -> float:
        """Share of the edges that are cut, 0 to 1."""
        return self.cut_edges / max(int(self.edges.sum()), 1)

    @property
    def node_balance(self) -> float:
        """Nodes of the largest part over the mean; 1 is perfect balance."""
        return _balance(self.nodes)

    @property
    def edge_balance(self) -> float:
        """Edges of the largest part over the mean; 1 is perfect balance."""
        return _balance(self.edges)

    @property
    def seed_balance(self) -> float | None:
        """Training nodes of the largest part over the mean; None without any."""
        return None if self.seeds is None else _balance(self.seeds)

    @property
    def halo_share(self) -> float:
        """Share of halo nodes among all nodes that parts hold or need, 0 to 1."""
        halo = int(self.halo_nodes.sum())
        return halo / max(halo + int(self.nodes.sum()), 1)

    @property
    def replication_factor(self) -> float:
        """Own and halo nodes of all parts over N; 1 if no edge is cut."""
        total = int(self.nodes.sum())
        return (total + int(self.halo_nodes.sum())) / max(total, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain numbers and lists.

        Returns
        -------
        dict
            Figures by name, ready for JSON.
        """
        names = (
            "num_parts edge_cut cut_edges node_balance edge_balance seed_balance "
            "halo_share replication_factor nodes edges seeds halo_nodes num_neighbors "
            "batch_size window remote_rows_per_step remote_bytes_per_step"
        )
        return {
            name: np.asarray(getattr(self, name)).tolist() for name in names.split()
        }

    def __repr__(self) -> str:
        """Return one line of the numbers that matter most."""
        return (
            f"Quality({self.num_parts} parts, edge cut {self.edge_cut:.4f}, edge "
            f"balance {self.edge_balance:.2f}, replication factor "
            f"{self.replication_factor:.2f})"
        )

    def __str__(self) -> str:
        """Return a table of the parts and a line for each number of the whole."""
        lines = [_line(*row) for row in [_HEADER, *self._parts()]]
        lines += [f"{name:18}  {text}" for name, text in self._whole()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the numbers of the whole as a table, and those of the parts."""
        whole = html_table(repr(self), self._whole())
        return whole + html_table("Parts", self._parts(), _HEADER)

    def _parts(self) -> Iterable[tuple[Any, ...]]:
        """Return the columns of `_HEADER` of each part."""
        seeds = [None] * self.num_parts if self.seeds is None else self.seeds
        columns = (self.nodes, self.edges, seeds, self.halo_nodes)
        return zip(range(self.num_parts), *columns, strict=True)

    def _whole(self) -> list[tuple[str, str]]:
        """Return what the numbers of the whole are called, and their text."""
        seed_balance = "-" if self.seed_balance is None else f"{self.seed_balance:.3f}"
        fan_outs = ",".join(map(str, self.num_neighbors))
        balance = (
            f"nodes {self.node_balance:.3f}, edges {self.edge_balance:.3f}, "
            f"training nodes {seed_balance}"
        )
        alone = self.window == 1
        steps = "each step by itself" if alone else f"windows of {self.window} steps"
        remote = (
            f"about {self.remote_rows_per_step:,.0f} "
            f"({size_text(self.remote_bytes_per_step)}) at fan-outs {fan_outs}, "
            f"batch {self.batch_size}, {steps}, without cache"
        )
        return [
            ("edge cut", f"{self.edge_cut:.4f}"),
            ("balance (max/mean)", balance),
            ("replication factor", f"{self.replication_factor:.3f}"),
            ("remote rows a step", remote),
        ]


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
    runs = list(pairwise(int(b) for b in book))
    edges, halo, cut = [], [], 0
    for start, stop in runs:
        _, indices = block(start, stop)
        remote = indices[(indices < start) | (indices >= stop)]
        edges.append(len(indices))
        cut += len(remote)
        # Not by counts or by sorting: this takes one byte a node.
        needed = np.zeros(int(book[-1]), bool)
        needed[remote] = True
        halo.append(int(needed.sum()))
    if seeds is not None and not len(seeds):
        seeds = None
    in_parts = None if seeds is None else np.diff(np.searchsorted(seeds, book))
    sampling = (num_neighbors, batch_size, window)
    look_ups = None if holdings is None else holdings.look_ups(book)
    rows, sent = remote_traffic(block, runs, seeds, row_bytes, *sampling, look_ups)
    if holdings is not None:
        edges, halo = holdings.counts_of_parts(book)
    return Quality(
        nodes=np.diff(book),
        edges=np.array(edges, np.int64),
        seeds=in_parts,
        halo_nodes=np.array(halo, np.int64),
        cut_edges=cut,
        num_neighbors=tuple(int(k) for k in num_neighbors),
        batch_size=int(batch_size),
        remote_rows_per_step=rows,
        remote_bytes_per_step=sent,
        row_bytes=float(np.mean(row_bytes)),
        window=int(window),
    )


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


def _balance(counts: np.ndarray) -> float:
    """Return the largest over the mean."""
    mean = counts.mean()
    return float(counts.max() / mean) if mean else 1.0


def _line(*cells: Any) -> str:
    """Return a row of the table."""
    first, *others = map(words, cells)
    return f"{first:>4}" + "".join(f"{text:>14}" for text in others)


def size_text(count: float) -> str:
    """Return bytes in a readable unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.1f} {unit}"
