"""Where a graph's rows come from: how messages name nodes, columns and files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class Origin:
    """The names that a user knows a graph's rows and columns by."""

    node_ids: np.ndarray | None = None
    """By original id; None where nodes are called 0..N-1."""
    table: str = ""
    """The file of the table of nodes, if they came from one."""
    features: tuple[str, ...] = ()
    """The column that each feature comes from, if they came from a table."""
    labels: str = ""
    """The column of the labels."""

    def shown(self, number: int) -> str:
        """Return a node's id as Python writes it."""
        ids = self.node_ids
        return repr(int(number) if ids is None else _plain(ids[number]))

    def node(self, number: int) -> str:
        """Return a node as the user calls it: ``node 'a17'`` or ``node 1017``."""
        return f"node {self.shown(number)}"

    def feature(self, column: int) -> str:
        """Return a feature as the user calls it: ``column 'age' of nodes.csv``."""
        if column >= len(self.features):
            return f"column {column}"
        return f"column {self.features[column]!r}{self.of_table}"

    @property
    def of_table(self) -> str:
        """`` of nodes.csv``, or nothing."""
        return f" of {self.table}" if self.table else ""

    @property
    def remedy(self) -> str:
        """What to do about a missing value; nothing if there is no table."""
        where = self.table or "the table of nodes"
        return f"fill in the value in {where}" if self.features else ""


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
