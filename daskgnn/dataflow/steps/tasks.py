"""How tasks are added to graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask.task_spec import Task, TaskRef

if TYPE_CHECKING:
    from collections.abc import Callable


def add_task(
    tasks: dict[Any, Any], key: Any, function: Callable[..., Any], *given: Any
) -> TaskRef:
    """Add a call to a graph under `key`; return the reference to its result."""
    tasks[key] = Task(key, function, *given)
    return TaskRef(key)
