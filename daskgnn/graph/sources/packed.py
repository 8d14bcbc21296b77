"""Pickle a graph's source for workers, which unpickle it once per process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cloudpickle

from daskgnn.errors import InputError

if TYPE_CHECKING:
    from daskgnn.graph.sources.source import GraphSource


@dataclass(frozen=True)
class PackedSource:
    """A source as bytes, so that a user's own class can go to any worker."""

    payload: bytes
    """Of cloudpickle."""

    @property
    def source(self) -> GraphSource:
        """The source, unpickled once a process."""
        return _unpacked(self.payload)


@lru_cache(maxsize=16)
def _unpacked(payload: bytes) -> GraphSource:
    source: GraphSource = cloudpickle.loads(payload)
    return source


def pack(source: GraphSource) -> GraphSource | PackedSource:
    """Return a source as tasks are given it; one in memory as it is.

    Raises
    ------
    InputError
        If it cannot be pickled.
    """
    if source.in_memory:
        return source
    try:
        return PackedSource(cloudpickle.dumps(source))
    except Exception as error:
        name = type(source).__name__
        said = str(error).partition("\n")[0]
        raise InputError(
            f"graph: {name} cannot be sent to workers ({said}): hold paths and "
            f"addresses in a {name}, and open what it reads from when it first reads"
        ) from error


def opened(source: Any) -> GraphSource:
    """Return the source that a task was given."""
    found: GraphSource = source.source if isinstance(source, PackedSource) else source
    return found
