"""Order and cut: put the nodes of a graph into clusters of neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskgnn.partition.partitioners import PARTITIONERS
    from daskgnn.partition.quality import Quality

__all__ = ["PARTITIONERS", "Quality"]


def __getattr__(name: str) -> Any:
    # Who opens a graph that is partitioned already does not wait for the methods.
    if name == "PARTITIONERS":
        from daskgnn.partition.partitioners import PARTITIONERS

        return PARTITIONERS
    if name == "Quality":
        from daskgnn.partition.quality import Quality

        return Quality
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
