"""Paths that all processes of a cluster must see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from daskgnn.errors import ClusterError


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


def _exists(path: str) -> bool:
    return Path(path).exists()
