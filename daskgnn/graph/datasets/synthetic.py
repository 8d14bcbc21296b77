"""Synthetic graphs of any size, drawn a chunk at a time: nothing of size N is held.

Every edge and every number comes from its own counter, so a graph is the same however
it is cut into chunks, and any chunk can be drawn again. N nodes, C classes, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import DatasetError
from daskgnn.graph.edges.convert import MAX_NODES
from daskgnn.graph.memory.data import RowSource
from daskgnn.kernels.bijection import invert, permute
from daskgnn.kernels.counter import derive_key
from daskgnn.kernels.synthetic import (
    noisy_features,
    planted_edges,
    rmat_edges,
    shares_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1 << 21
"""Edges, or nodes, drawn at a time."""
_EDGES, _NUMBERS, _FEATURES, _CENTRES, _SPLITS = range(5)
KINDS = ("planted", "rmat")


@dataclass(frozen=True)
class Synthetic:
    """A graph that is drawn when asked for.

    Of `num_edges` undirected edges those that are drawn twice count once when the graph
    is prepared. Degrees of a planted graph follow a power law; its communities are of
    equal size, and each has the same degrees.

    Raises
    ------
    DatasetError
        If a number is out of its range.
    """

    kind: str
    """"planted" or "rmat"."""
    num_nodes: int
    """N; a power of 2 for "rmat"."""
    num_edges: int
    """Undirected edges that are drawn."""
    num_classes: int = 10
    """C, the communities of "planted"; for "rmat" equal ranges of its own numbers."""
    num_features: int = 32
    """F, 0 for none."""
    leave: float = 0.24
    """Share of the edges that leave their community."""
    exponent: float = 2.65
    """Of the power law, over 2."""
    max_degree: float | None = None
    """The largest expected degree; sqrt(mean degree * N) if not given."""
    quadrants: tuple[float, float, float] = (0.57, 0.19, 0.19)
    """Chances a, b, c of "rmat"."""
    signal: float = 1.5
    """Length of the classes' centres, where the noise of a feature is 1."""
    train: float = 0.5
    """Share of the nodes in the training split; each node by its own draw."""
    val: float = 0.25
    """Share of the validation split."""
    test: float = 0.25
    """Share of the test split."""
    shuffle: bool = True
    """Give the nodes random numbers; else communities are runs of node ids."""
    seed: int = 0
    """The same seed gives the same graph."""

    def __post_init__(self) -> None:
        """Check every number."""
        if self.kind not in KINDS:
            raise DatasetError(
                f"kind is {self.kind!r}, expected one of {', '.join(KINDS)}"
            )
        check_sizes(self.num_nodes, self.num_edges, self.num_classes, self.num_features)
        a, b, c = self.quadrants
        check_shares(leave=self.leave, a=a, b=b, c=c, d=1 - a - b - c)
        check_shares(train=self.train, val=self.val, test=self.test)
        check_shares(**{"train + val + test": self.train + self.val + self.test - 1e-9})
        if self.exponent <= 2:
            raise DatasetError(f"exponent is {self.exponent}, expected over 2")
        mean = 2 * self.num_edges / self.num_nodes
        if self.max_degree is not None and self.max_degree < mean:
            raise DatasetError(
                f"max_degree is {self.max_degree:g}, below the mean degree {mean:g} of "
                "2 * num_edges / num_nodes: raise max_degree or lower num_edges"
            )
        if self.seed < 0:
            raise DatasetError(f"seed is {self.seed}, expected 0 or more")
        if self.kind == "rmat" and self.num_nodes & (self.num_nodes - 1):
            raise DatasetError(
                f"num_nodes is {self.num_nodes}, which is no power of 2: rmat needs "
                f"one, like {1 << self.num_nodes.bit_length()}"
            )
        if self.kind == "planted" and self.num_nodes < 2 * self.num_classes:
            raise DatasetError(
                f"num_classes is {self.num_classes}, expected at most half of "
                f"{self.num_nodes} nodes"
            )

    def key(self, purpose: int) -> np.uint64:
        """Return the key of one kind of draws."""
        return np.uint64(derive_key(self.seed, KINDS.index(self.kind), purpose))

    @cached_property
    def _law(self) -> tuple[float, float]:
        """The `head` and `power` of the weights: see `kernels.synthetic`."""
        power = 1 - 1 / (self.exponent - 1)
        size = self.num_nodes / self.num_classes
        mean = 2 * self.num_edges / self.num_nodes
        top = self.max_degree or max(2 * mean, (mean * self.num_nodes) ** 0.5)
        top = min(top, size / 2 + 1)
        low, high = 1e-6, size * 1e6
        for _ in range(200):
            head = (low * high) ** 0.5
            first = head**power
            share = ((1 + head) ** power - first) / ((size + head) ** power - first)
            low, high = (head, high) if share * mean * size > top else (low, head)
        return head, power

    def edges(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return int64 [count] ends of the edges from `first` on, ids shuffled."""
        key = self.key(_EDGES)
        if self.kind == "planted":
            apart = self.num_classes > 1
            inside = self.num_edges - round(self.num_edges * self.leave) * apart
            sizes = inside, self.num_nodes, self.num_classes
            ends = planted_edges(key, first, count, *sizes, *self._law)
        else:
            scale = self.num_nodes.bit_length() - 1
            ends = rmat_edges(key, first, count, scale, *self.quadrants)
        if not self.shuffle:
            return ends[0], ends[1]
        number = self.key(_NUMBERS)
        source, destination = (permute(e, self.num_nodes, number) for e in ends)
        return source, destination

    @property
    def lengths(self) -> list[int]:
        """Edges of each chunk."""
        starts = range(0, self.num_edges, CHUNK)
        return [min(CHUNK, self.num_edges - start) for start in starts]

    def chunks(self, first: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray, None]]:
        """Yield all edges, or those from chunk number `first` on."""
        for start in range(first * CHUNK, self.num_edges, CHUNK):
            yield *self.edges(start, min(CHUNK, self.num_edges - start)), None

    def classes(self, ids: np.ndarray) -> np.ndarray:
        """Return int64 [n], the classes of nodes int64 [n]."""
        own = ids
        if self.shuffle:
            own = invert(ids, self.num_nodes, self.key(_NUMBERS))
        return own * self.num_classes // self.num_nodes

    def features(self) -> DrawnFeatures | None:
        """Return the features, or None if there are none."""
        return DrawnFeatures(self) if self.num_features else None

    def centres(self) -> np.ndarray:
        """Return float32 [C, F], the classes' mean features."""
        rng = np.random.default_rng(int(self.key(_CENTRES)))
        shape = (self.num_classes, self.num_features)
        centres: np.ndarray = rng.standard_normal(shape, dtype=np.float32)
        centres *= np.float32(self.signal / max(self.num_features, 1) ** 0.5)
        return centres

    def splits(self) -> dict[str, np.ndarray]:
        """Return the sorted node ids of each split that has any."""
        bounds = np.cumsum([self.train, self.val, self.test])
        names = ("train", "val", "test")
        found: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for first in range(0, self.num_nodes, CHUNK):
            count = min(CHUNK, self.num_nodes - first)
            which = np.searchsorted(
                bounds, shares_of(self.key(_SPLITS), first, count), side="right"
            )
            for i, name in enumerate(names):
                found[name].append(np.flatnonzero(which == i) + first)
        joined = {name: np.concatenate(ids) for name, ids in found.items()}
        return {name: ids for name, ids in joined.items() if len(ids)}


def check_sizes(
    num_nodes: int, num_edges: int, num_classes: int, num_features: int
) -> None:
    """Raise `DatasetError` for numbers that no graph has."""
    if not 2 <= num_nodes <= MAX_NODES:
        raise DatasetError(f"num_nodes is {num_nodes}, expected 2 to 2**31")
    possible = num_nodes * (num_nodes - 1) // 2
    if not 1 <= num_edges <= possible:
        raise DatasetError(
            f"num_edges is {num_edges}, expected 1 to {possible} for {num_nodes} nodes"
        )
    if not 1 <= num_classes <= num_nodes:
        raise DatasetError(f"num_classes is {num_classes}, expected 1 to {num_nodes}")
    if num_features < 0:
        raise DatasetError(f"num_features is {num_features}, expected 0 or more")


def check_shares(**shares: float) -> None:
    """Raise `DatasetError` unless each share is in 0..1."""
    for name, share in shares.items():
        if not -1e-9 <= share <= 1:
            raise DatasetError(f"{name} is {share}, expected 0 to 1")


class DrawnFeatures(RowSource):
    """The features of a synthetic graph, drawn when they are asked for."""

    def __init__(self, graph: Synthetic) -> None:
        super().__init__(graph.num_nodes, graph.num_features)
        self._graph = graph
        self._centres = graph.centres()

    def __reduce__(self) -> Any:
        return DrawnFeatures, (self._graph,)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Return float32 [n, F], the rows of nodes, int64 [n]."""
        key, classes = self._graph.key(_FEATURES), self._graph.classes(ids)
        return noisy_features(key, ids, classes, self._centres)
