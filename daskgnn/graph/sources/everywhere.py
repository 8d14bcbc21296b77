"""Check that all workers can reach a path or a graph source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskgnn.errors import ClusterError
from daskgnn.graph.sources.packed import opened, pack

if TYPE_CHECKING:
    from daskgnn.graph.sources.source import GraphSource


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
    for address, seen in client.run(_exists, path).items():
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
    if source.path:
        check_path_everywhere(client, source.path)
    found = client.run(_open, pack(source), on_error="return")
    for address, problem in found.items():
        if problem is not None:
            said = str(problem).partition("\n")[0] or type(problem).__name__
            raise ClusterError(
                f"worker {address} cannot open the graph's source "
                f"{type(source).__name__} ({said}): put what it reads where all "
                "workers reach it"
            )


def _open(source: Any) -> None:
    opened(source).open()


def _exists(path: str) -> bool:
    return Path(path).exists()
