"""What is done before a graph is opened, for who asks an opened graph for it."""

from __future__ import annotations

from typing import Any, NoReturn

_STORED = (
    "the store of an opened graph is finished: make another one, as in "
    "graph.to_data().{}.save('other.zarr')"
)
_BEFORE = {
    "split": _STORED.format("split(train=0.6, val=0.2).partition()"),
    "partition": _STORED.format("partition()"),
    "save": _STORED.format("partition()"),
}


def no_attribute(_graph: Any, name: str) -> NoReturn:
    """Be the ``__getattr__`` of opened graphs: refuse what they do not have.

    Raises
    ------
    AttributeError
        It says where that is done which is done before.
    """
    said = f"an opened graph has no attribute {name!r}"
    raise AttributeError(f"{said}: {_BEFORE[name]}" if name in _BEFORE else said)
