"""Combine a window's preparation tasks: one per worker and round, not per part pair.

With P parts the exchange has tasks for each of P(P - 1) pairs. Where a worker holds
several parts, its tasks that can run one after another, without waiting for another
worker, are bundled into one; what another worker needs of their results goes as one
message. The tasks themselves are the same, so not a bit depends on it, and a bundle is
a task like others: where a worker is lost, it runs again.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask.task_spec import List, TaskRef

from daskgnn.dataflow.steps.tasks import add_task

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Bundle:
    """Results of several tasks."""

    keys: tuple[Any, ...]
    values: tuple[Any, ...]


def bundled(
    tasks: dict[Any, Any],
    wanted: Sequence[Any],
    places: Sequence[Any],
    name: tuple[Any, ...],
) -> dict[Any, Any]:
    """Return a graph of fewer, larger tasks with the same results.

    Parameters
    ----------
    tasks : dict
        Each comes after those it depends on; the last entry of a key is a part.
    wanted : sequence
        Keys of `tasks` whose results are to have these keys again.
    places : sequence
        [P], where each part is: parts of one place are bundled. Any other placement
        gives the same results.
    name : tuple
        Makes the new keys unique. Their last entry is the place's first part.
    """
    holder = [places.index(place) for place in places]
    # Of each task, the round and the place of its bundle.
    homes = {key: (n, holder[key[-1]]) for key, n in _rounds(tasks, holder).items()}
    graph: dict[Any, Any] = {}
    ends = set(wanted).difference(*(task.dependencies for task in tasks.values()))
    needed = _needed_elsewhere(tasks, wanted, homes)
    groups: dict[tuple[int, int], dict[Any, Any]] = {}
    for key, task in tasks.items():
        groups.setdefault(homes[key], {})[key] = task
    for (number, here), group in sorted(groups.items(), key=lambda item: item[0]):
        before = dict.fromkeys(k for task in group.values() for k in task.dependencies)
        outside = [key for key in before if key not in tasks]
        inside = group.keys() | set(outside)
        sources = dict.fromkeys(homes[key] for key in before if key not in inside)
        given = []
        for source in sources:
            some = [k for k in groups[source] if here in needed.get(k, ())]
            given.append(_source(graph, name, source, here, some))
        kept = tuple(key for key in group if needed.get(key))
        known = tuple(outside), List(*map(TaskRef, outside)), List(*given)
        if len(kept) == 1 and kept[0] in ends:
            add_task(graph, kept[0], run_all, _packed(group), kept[0], *known)
        else:
            key = ("bundle", *name, number, here)
            add_task(graph, key, run_bundle, _packed(group), kept, *known)
    for key in wanted:
        if key not in graph:
            bundle = TaskRef(("bundle", *name, *homes[key]))
            add_task(graph, key, take_one, bundle, key)
    return graph


def in_one_task(tasks: dict[Any, Any], key: Any) -> dict[Any, Any]:
    """Return a graph of one task that runs all of some tasks, with the result of one.

    Parameters
    ----------
    tasks : dict
        Each comes after those it depends on.
    key
        Of the one whose result is wanted.
    """
    needed = {other: None for task in tasks.values() for other in task.dependencies}
    outside = tuple(other for other in needed if other not in tasks)
    graph: dict[Any, Any] = {}
    known = outside, List(*map(TaskRef, outside)), List()
    add_task(graph, key, run_all, _packed(tasks), key, *known)
    return graph


def _packed(tasks: dict[Any, Any]) -> bytes:
    """Return tasks as bytes, so that the scheduler does not unpickle them."""
    return pickle.dumps(tasks, pickle.HIGHEST_PROTOCOL)


def run_all(
    tasks: bytes,
    key: Any,
    outside: tuple[Any, ...],
    values: list[Any],
    bundles: list[Bundle],
) -> Any:
    """Run tasks one after another; return the result of one."""
    (result,) = run_bundle(tasks, (key,), outside, values, bundles).values
    return result


def run_bundle(
    tasks: bytes,
    keep: tuple[Any, ...],
    outside: tuple[Any, ...],
    values: list[Any],
    bundles: list[Bundle],
) -> Bundle:
    """Run tasks one after another; return those results that others need."""
    known = dict(zip(outside, values, strict=True))
    for bundle in bundles:
        known.update(zip(bundle.keys, bundle.values, strict=True))
    for key, task in pickle.loads(tasks).items():
        known[key] = task(known)
    return Bundle(keep, tuple(known[key] for key in keep))


def take_some(bundle: Bundle, keys: tuple[Any, ...]) -> Bundle:
    """Return some of a bundle's results."""
    known = dict(zip(bundle.keys, bundle.values, strict=True))
    return Bundle(keys, tuple(known[key] for key in keys))


def take_one(bundle: Bundle, key: Any) -> Any:
    """Return one of a bundle's results."""
    return bundle.values[bundle.keys.index(key)]


def _rounds(tasks: dict[Any, Any], holder: list[int]) -> dict[Any, int]:
    """Return how often a task's inputs have gone from place to place before it."""
    rounds: dict[Any, int] = {}
    for key, task in tasks.items():
        here = holder[key[-1]]
        rounds[key] = max(
            (
                rounds[other] + (holder[other[-1]] != here)
                for other in task.dependencies
                if other in tasks
            ),
            default=0,
        )
    return rounds


def _needed_elsewhere(
    tasks: dict[Any, Any], wanted: Sequence[Any], homes: dict[Any, tuple[int, int]]
) -> dict[Any, set[int]]:
    """Return the places whose other bundles need each task's result."""
    needed: dict[Any, set[int]] = {key: {homes[key][1]} for key in wanted}
    for key, task in tasks.items():
        for other in task.dependencies:
            if other in tasks and homes[other] != homes[key]:
                needed.setdefault(other, set()).add(homes[key][1])
    return needed


def _source(
    graph: dict[Any, Any],
    name: tuple[Any, ...],
    source: tuple[int, int],
    here: int,
    kept: Sequence[Any],
) -> TaskRef:
    """Refer to what a bundle leaves for one place, `kept`; add its task."""
    number, there = source
    bundle = TaskRef(("bundle", *name, number, there))
    if there == here:
        return bundle
    key = ("send", *name, number, here, there)
    return add_task(graph, key, take_some, bundle, tuple(kept))
