"""Pickle a graph's source for workers, which unpickle it once per process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cloudpickle

from daskgnn.errors import ClusterError, InputError, first_line

if TYPE_CHECKING:
    from daskgnn.graph.sources.source import GraphSource


@dataclass(frozen=True)
class PackedSource:
    """A source as bytes, so that a user's own class can go to any worker."""

    payload: bytes
    """Of cloudpickle."""


@lru_cache(maxsize=16)
def unpickled(payload: bytes) -> Any:
    """Return what was packed, unpickled once a process."""
    return cloudpickle.loads(payload)


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
        raise InputError(
            f"graph: {name} cannot be sent to workers ({first_line(error)}): hold "
            f"paths and addresses in a {name}, and open what it reads from when it "
            "first reads"
        ) from error


def opened(source: Any) -> GraphSource:
    """Return the source that a task was given."""
    return unpickled(source.payload) if isinstance(source, PackedSource) else source


def check_path_everywhere(client: Any, path: str, what: str = "the store") -> None:
    """Make sure that every worker sees a path.

    Parameters
    ----------
    client
        A `distributed.Client`, or None where there is no cluster.
    what
        What is at the path, in the words of the error.

    Raises
    ------
    ClusterError
        Naming the worker that does not.
    """
    if client is None:
        return
    # A worker that has just died does not answer.
    answers = client.run(os.path.exists, path, on_error="ignore")
    for address, seen in answers.items():
        if not seen:
            raise ClusterError(
                f"worker {address} does not see {path}: put {what} on a file "
                "system that all workers share, under the same path"
            )


def check_source_everywhere(client: Any, source: GraphSource) -> None:
    """Make sure that every worker can open a graph's source.

    Raises
    ------
    ClusterError
        Naming the worker that cannot.
    """
    if client is None or source.in_memory:
        return
    if os.path.isabs(source.path):  # others are opened below
        check_path_everywhere(client, source.path)
    answers = client.run(_problem, pack(source), on_error="ignore")
    for address, problem in answers.items():
        if problem is not None:
            raise ClusterError(
                f"worker {address} cannot open the graph's source "
                f"{type(source).__name__} ({problem}): put what it reads where all "
                "workers reach it"
            )


def _problem(source: Any) -> str | None:
    """Return why a source cannot be opened in this process; None if it can."""
    try:
        opened(source).open()
    except Exception as error:
        return first_line(error)
    return None
