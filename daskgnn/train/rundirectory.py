"""The directory of a run before training begins: its settings and its graph."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskgnn.errors import InputError, PartitionError, TrainingError
from daskgnn.graph.memory.splitting import split_by_words
from daskgnn.graph.opening import is_stored, open_graph
from daskgnn.paths import is_url
from daskgnn.tasks.node import check_labelled
from daskgnn.train.checks import require_features
from daskgnn.train.options.option import taken
from daskgnn.train.options.options import RUN
from daskgnn.train.options.plainoptions import MODEL
from daskgnn.train.persist.signals import Terminated
from daskgnn.train.persist.storage import (
    CHECKPOINTS,
    METRICS,
    Storage,
    open_storage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from daskgnn.graph.graph import Graph
    from daskgnn.graph.memory.data import GraphData

SETTINGS = "run.json"
"""The file of a run's directory that holds its settings."""

STORE = "graph.zarr"
"""The store in a run's directory, of a graph that was not stored before."""

PYTHON = "python"
"""The entry for what only a program has: plain values, and objects in words."""


def settings_used(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a run's settings as they were used, to be shown.

    Objects of the program that made it are named in their places, and what they stand
    instead of, such as the widths of an included model, is left out.
    """
    own = settings.get(PYTHON) or {}
    unused = {PYTHON}
    if "model" in own:
        unused |= {name for name, option in RUN.items() if option.group == MODEL}
    if "optimizer" in own:
        unused |= {"lr", "weight_decay"}
    return {n: value for n, value in settings.items() if n not in unused} | own


def check_run(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a run, checked; defaults where nothing is given.

    Raises
    ------
    InputError
    """
    said = {name: value for name, value in given.items() if value is not None}
    for name in ("graph", "out"):
        if name not in said:
            raise InputError(f"{name} is missing: a run needs graph=... and out=...")
    return taken(RUN, said, "a run")


def free_directory(place: str) -> Storage:
    """Return a run's directory, which must not hold one yet."""
    out = open_storage(place)
    if out.exists(SETTINGS) or out.exists(METRICS):
        raise InputError(
            f"{place} already holds a run",
            python=f"give another out=..., or continue it with "
            f"daskgnn.train.run.resume({place!r})",
            shell=f"give another --out, or continue it with daskgnn train --resume "
            f"{place}",
        )
    if out.exists(STORE):
        raise InputError(
            f"{out.path_of(STORE)} is already there, and a run would write its own: "
            "give another out="
        )
    return out


def count_workers(settings: dict[str, Any]) -> int:
    """Return how many workers a run begins with; set its number of parts."""
    workers = 2 if settings["workers"] is None else settings["workers"]
    least, most = settings["adapt"] or (workers, workers)
    if settings["standby"] and not workers and settings["scheduler"] is None:
        raise InputError(
            f"standby={settings['standby']} needs workers, and workers=0 starts none: "
            "give workers=2, or leave standby out"
        )
    if settings["num_parts"] is None:
        settings["num_parts"] = 2 if settings["scheduler"] else max(most, 1)
    return int(min(max(workers, least), most))


def open_parts(store: str, settings: dict[str, Any], *, asked: bool) -> Graph:
    """Open a run's store; with fewer parts than it has clusters, unless asked for."""
    graph = open_graph(store, 1, settings["features"])
    if not asked:
        settings["num_parts"] = min(settings["num_parts"], graph.num_clusters)
    return open_graph(store, settings["num_parts"], settings["features"])


def write_settings(out: Storage, settings: dict[str, Any]) -> None:
    """Write the file that `SETTINGS` names."""
    try:
        out.write_json(SETTINGS, settings)
    except OSError as error:
        raise TrainingError(
            f"{out.path_of(SETTINGS)} cannot be written "
            f"({error.strerror or error}): free some space, or give another out="
        ) from error


def store_graph(
    data: GraphData, settings: dict[str, Any], store: str, *, asked: bool
) -> None:
    """Partition a graph in memory and store it for the run.

    `asked` says that the number of parts was, so that it cannot be lowered.
    """
    require_features(data)
    drawn = settings["split"], settings["per_class"], settings["seed"]
    data = split_by_words(data, *drawn)
    check_labelled(data)
    partitioned = data.partition(
        num_clusters=settings["num_clusters"],
        method=settings["method"],
        seed=settings["seed"],
    )
    if asked and settings["num_parts"] > partitioned.num_clusters:
        raise PartitionError(
            f"num_parts={settings['num_parts']} is above the "
            f"{partitioned.num_clusters} clusters: lower num_parts= or raise "
            "num_clusters="
        )
    Path(store).parent.mkdir(parents=True, exist_ok=True)
    partitioned.save(store)


@contextmanager
def nothing_left(out: Storage) -> Iterator[None]:
    """Remove what was written for a run that never started.

    The directory held no run and no store before: both names are this run's.
    """
    fresh = not out.exists("")
    try:
        yield
    except (InputError, KeyboardInterrupt, Terminated):
        if not out.exists(CHECKPOINTS):
            out.remove(STORE)
            out.remove(SETTINGS)
            if fresh and not out.names():
                out.remove("")
        raise


def find_graph(asked: dict[str, Any], yes: bool) -> tuple[str, str, Any]:
    """Return (store or "", name, graph in memory or None)."""
    place = asked["graph"]
    if is_stored(place):
        for option in ("method", "num_clusters", "split", "per_class"):
            if asked[option] != RUN[option].default:
                raise InputError(
                    f"{place} is partitioned already, so {option} cannot be given: "
                    f"daskgnn partition {place} OUT makes another store"
                )
        return place, open_graph(place, 1).name, None
    from daskgnn.graph.datasets.datasets import resolve

    data = resolve(place, data_dir=asked["data_dir"], yes=yes)
    if is_url(asked["out"]):
        raise InputError(
            f"out={asked['out']} is a URL, and a graph cannot be stored there: store "
            f"it where all workers see it (daskgnn partition {place} graph.zarr) "
            "and train graph.zarr"
        )
    return "", data.name, data
