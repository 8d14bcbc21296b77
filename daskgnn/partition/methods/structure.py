"""The part of a graph that partitioners use: its rows and training nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np


class Structure(Protocol):
    """A graph of N nodes and E entries as CSR rows; `daskgnn.Structure` is one."""

    @property
    def indptr(self) -> np.ndarray:
        """int64 [N+1], row pointers."""
        ...

    @property
    def indices(self) -> np.ndarray:
        """int [E], in-neighbours; each row sorted, without repeats."""
        ...

    @property
    def edge_weight(self) -> np.ndarray | None:
        """float32 [E], or None where every edge weighs 1."""
        ...

    @property
    def splits(self) -> Mapping[str, np.ndarray]:
        """Sorted ids; work is balanced by those of "train"."""
        ...

    @property
    def directed(self) -> bool:
        """Whether rows may lack the reverse of an edge."""
        ...

    @property
    def num_nodes(self) -> int:
        """N."""
        ...

    @property
    def num_edges(self) -> int:
        """E."""
        ...


@dataclass(frozen=True)
class CSRStructure:
    """A `Structure` without anything else."""

    indptr: np.ndarray
    indices: np.ndarray
    directed: bool = False
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    edge_weight: np.ndarray | None = None

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.indptr) - 1

    @property
    def num_edges(self) -> int:
        """E."""
        return len(self.indices)
