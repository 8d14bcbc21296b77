"""Results kept on workers for a whole run: blocks, programs, static halo caches.

A part that moves is loaded again, under keys of its own, where it is to live; the old
futures are dropped, and what is still at work with the old keys finishes with them. A
copy under the same key would not do: Dask removes one of the two, and not always
the old one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dask._expr import LLGExpr
from dask.base import annotate
from dask.task_spec import Task
from distributed import Future

from daskgnn.values import same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


@dataclass(frozen=True)
class _Group:
    """What was submitted together."""

    graph: Mapping[Any, Any]
    keys: tuple[Any, ...]
    part_of: Callable[[Any], int]


@dataclass(frozen=True)
class Copy:
    """Copies of one part's results, under other keys."""

    worker: str
    names: dict[Any, Any]
    """By the key that graphs use."""
    futures: dict[Any, Any]
    groups: list[int]
    """Which of the things that were submitted together are copied."""


class PersistedResults:
    """Keeps results on workers, and knows their current keys by part.

    Graphs are written with the keys that residents were first given.
    """

    def __init__(self, client: Any, kept: dict[Any, Any]) -> None:
        self.client = client
        self._kept = kept
        """Futures, by the key that graphs use."""
        self._names: dict[Any, Any] = {}
        self._groups: list[_Group] = []
        self._count = 0

    def add(
        self,
        graph: Mapping[Any, Any],
        keys: Sequence[Any],
        part_of: Callable[[Any], int],
    ) -> None:
        """Take note of what has been submitted to stay."""
        self._groups.append(_Group(dict(graph), tuple(keys), part_of))

    def drop(self, key: Any) -> None:
        """Take note that a key has been released."""
        self._names.pop(key, None)

    def renamed(self, graph: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return a graph that refers to residents by their present keys."""
        if not self._names:
            return dict(graph)
        return {
            key: node if isinstance(node, Future) else node.substitute(self._names)
            for key, node in graph.items()
        }

    def futures(self, parts: Iterable[int]) -> dict[int, list[Any]]:
        """Return the futures of each part's residents."""
        wanted: dict[int, list[Any]] = {part: [] for part in parts}
        for group in self._groups:
            for key in group.keys:
                part = group.part_of(key)
                if part in wanted and key in self._kept:
                    wanted[part].append(self._kept[key])
        return wanted

    def copy(self, part: int, worker: str, places: Sequence[str]) -> Copy:
        """Load copies of a part's results on a worker, under other keys.

        Parameters
        ----------
        places : sequence of str
            Where other parts' share of the work, if there is any, is to be done.
        """
        found = Copy(worker, {}, {}, [])
        self.complete(found, part, places)
        return found

    def complete(self, copy: Copy, part: int, places: Sequence[str]) -> None:
        """Add to a part's copy what has been submitted since it was made."""
        self._count += 1
        placement = list(places)
        placement[part] = copy.worker
        for number, group in enumerate(self._groups):
            if number in copy.groups:
                continue
            copy.groups.append(number)
            keys = [
                key
                for key in group.keys
                if key in self._kept and group.part_of(key) == part
            ]
            if keys:
                self._copy_group(group, keys, copy, placement)

    def adopt(self, copy: Copy) -> None:
        """Use a copy from now on, and drop what was used before."""
        self._names.update(copy.names)
        self._kept.update(copy.futures)

    def _copy_group(
        self, group: _Group, keys: list[Any], copy: Copy, placement: list[str]
    ) -> None:
        new = {
            key: versioned_key(key, self._count)
            for key in _needed(group, keys, self._kept)
        }
        names = {**self._names, **copy.names, **new}
        graph: dict[Any, Any] = {}
        for key, name in new.items():
            node = group.graph[key]
            if isinstance(node, Future):  # of an array that the user has persisted
                graph[name] = Task(name, same, node)
            else:
                graph[name] = node.substitute(names, key=name)
        home = {name: placement[group.part_of(key)] for key, name in new.items()}
        futures = send(self.client, graph, [new[key] for key in keys], home.__getitem__)
        copy.names.update({key: new[key] for key in keys})
        copy.futures.update(zip(keys, futures, strict=True))


def send(
    client: Any,
    graph: dict[Any, Any],
    keys: Sequence[Any],
    worker_of: Callable[[Any], str],
    **how: Any,
) -> list[Any]:
    """Submit a graph, each task to its worker, and return the futures of `keys`.

    `how` are annotations of all tasks; pins are loose unless these say otherwise.
    """
    pinned = {"workers": lambda key: [worker_of(key)], "allow_other_workers": True}
    # Dask would name a graph by the hash of all that its tasks hold.
    named = LLGExpr(graph, _determ_token=uuid4().hex)
    with annotate(**pinned | how):
        return client.get(named, list(keys), sync=False)


def _needed(group: _Group, keys: list[Any], kept: Mapping[Any, Any]) -> list[Any]:
    """Return what of a group has to run for `keys`: up to what is kept."""
    found: dict[Any, None] = {}
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        found[key] = None
        node = group.graph[key]
        if isinstance(node, Future):
            continue
        waiting += [
            other
            for other in node.dependencies
            if other in group.graph and (other in keys or other not in kept)
        ]
    return list(found)


def versioned_key(key: Any, count: int) -> Any:
    """Return another key for what `key` names; the first word stays."""
    if isinstance(key, tuple):
        return (key[0], f"again-{count}", *key[1:])
    return f"{key}-again-{count}"
