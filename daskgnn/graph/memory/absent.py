"""What an opened graph does, for who asks a graph in memory for it."""

from __future__ import annotations

from typing import Any, NoReturn

_AFTER = {
    "minibatches": "open it first, as in daskgnn.open_graph(graph.partition())"
    ".minibatches([15, 10])",
    "save": "partition it first, as in graph.partition().save('graph.zarr')",
}


def not_opened(_graph: Any, name: str) -> NoReturn:
    """Be the ``__getattr__`` of graphs in memory: refuse what they do not have.

    Raises
    ------
    AttributeError
        It says how that is done which an opened or a partitioned graph does.
    """
    said = f"a graph in memory has no attribute {name!r}"
    raise AttributeError(f"{said}: {_AFTER[name]}" if name in _AFTER else said)
