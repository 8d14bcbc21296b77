"""The settings of a run that a program made, as its ``run.json`` holds them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from daskgnn.dataflow.executor import has_cluster
from daskgnn.errors import CheckpointError
from daskgnn.graph.sources.stored import MemorySource
from daskgnn.paths import is_url
from daskgnn.tasks.node import NodeClassification
from daskgnn.train.modelsettings import describe_model
from daskgnn.train.options.options import RUN, TRAINER, of_older_run
from daskgnn.train.options.plainoptions import PlainOptions
from daskgnn.train.options.samplers import text_of
from daskgnn.train.rundirectory import PYTHON, SETTINGS, STORE, write_settings

if TYPE_CHECKING:
    from daskgnn.train.persist.storage import Storage
    from daskgnn.train.trainer import Trainer

PLAIN = ("deterministic", "scheduler_interval")
"""Options of trainers alone whose values JSON can hold."""

_OBJECTS = ("sampler", "task", "loss", "lr_scheduler")
_ANSWERS = ("model", "task", "graph")
"""What even evaluation and prediction need."""


def keep_settings(trainer: Trainer, epochs: int, *, resumes: bool) -> None:
    """Write a trainer's run.json, or what may change into one that is there.

    Raises
    ------
    TrainingError
        If it cannot be written.
    """
    out = trainer.recorder.storage
    if out is None:
        return
    settings = read_settings(out) if out.exists(SETTINGS) else {}
    run_state = trainer.run_state
    began = run_state.state.step > 0 or resumes
    if settings and (began or PYTHON not in settings):
        wanted = max(epochs, run_state.position.epoch)
        changed = {"epochs": wanted, "patience": trainer.options["patience"]}
        if settings | changed != settings:
            write_settings(out, settings | changed)
        return
    write_settings(out, _settings_of(trainer, out, epochs))


def read_settings(out: Storage) -> dict[str, Any]:
    """Return what a run's run.json holds.

    Raises
    ------
    CheckpointError
        If there is none that can be read.
    """
    try:
        settings: dict[str, Any] = json.loads(out.read(SETTINGS))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{out.place} holds no run ({SETTINGS} cannot be read)",
            python="give the directory that a Trainer(..., out=...) wrote",
            shell="give the directory that daskgnn train --out wrote",
        ) from error
    return of_older_run(settings)


def check_rebuildable(settings: dict[str, Any], place: str, *, trains: bool) -> None:
    """Refuse a run that needs objects of the program which made it.

    Parameters
    ----------
    trains
        Whether it is to be continued, and not only evaluated.

    Raises
    ------
    CheckpointError
    """
    own = settings.get(PYTHON) or {}
    needed = (*_OBJECTS, "optimizer", *_ANSWERS) if trains else _ANSWERS
    lacking = [f"{name} ({own[name]})" for name in needed if name in own]
    if lacking:
        remedy = "fit(epochs, resume=True)" if trains else "restore()"
        raise CheckpointError(
            f"the run in {place} was made by a program with a {', '.join(lacking)} of "
            f"its own, which only it can make: in it, call Trainer(model, graph, "
            f"out={place!r}, ...).{remedy}"
        )


def own_objects(settings: dict[str, Any]) -> list[str]:
    """Return what a run trained with that only the program which made it can make."""
    own = settings.get(PYTHON) or {}
    return [name for name in (*_OBJECTS, "optimizer") if name in own]


def trainer_options(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a trainer that settings hold.

    Runs of older versions lack newer settings, or have null for them.
    """
    names = [*PlainOptions.__annotations__, "sampler"]
    names = [name for name in names if settings.get(name) is not None]
    found = {name: settings[name] for name in names}
    own = settings.get(PYTHON) or {}
    return found | {name: own[name] for name in PLAIN if name in own}


def _settings_of(trainer: Trainer, out: Storage, epochs: int) -> dict[str, Any]:
    """Return all settings of a trainer's run."""
    options: dict[str, Any] = {**trainer.options}
    own = {n: options[n] for n in PLAIN if options[n] != TRAINER[n].default}
    settings = {name: option.default for name, option in RUN.items()}
    settings |= {name: options[name] for name in PlainOptions.__annotations__}
    settings |= {"recipe": False, "epochs": epochs, **_cluster(trainer)}
    named = options["sampler"]
    if not isinstance(named, str):
        named = text_of(named)
    if named is not None:
        settings["sampler"], options["sampler"] = named, None
        drawn = trainer.deployment.sampler.fingerprint()
        settings["num_neighbors"] = drawn.get("num_neighbors")
    if type(options["task"]) is NodeClassification:
        options["task"], options["loss"] = None, options["task"].given_loss
    own |= {n: _words(options[n]) for n in _OBJECTS if options[n] is not None}
    if callable(options["optimizer"]):
        settings["optimizer"], own["optimizer"] = None, _words(options["optimizer"])
    model = describe_model(trainer.model, trainer.graph)
    if model is None:
        own["model"] = type(trainer.model).__name__
    store = _store(trainer, out)
    if store is None:
        source = trainer.graph.source
        memory = isinstance(source, MemorySource)
        own["graph"] = "in memory" if memory else type(source).__name__
    settings |= {
        **(model or {}),
        "graph": store or trainer.graph.name,
        "store": store,
        "num_parts": trainer.graph.num_parts,
        "features": trainer.graph.features_in,
        "out": out.place,
        PYTHON: own,
    }
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=_plain))
    return plain


def _store(trainer: Trainer, out: Storage) -> str | None:
    """Return where the graph is stored; one in memory goes to the run's directory."""
    source = trainer.graph.source
    if trainer.graph.path is not None or not isinstance(source, MemorySource):
        return trainer.graph.path
    if is_url(out.place):
        return None
    path = out.path_of(STORE)
    if out.exists(STORE):
        return path
    return source.partitioned.save(path, feature_dtype=source.feature_dtype)


def _cluster(trainer: Trainer) -> dict[str, Any]:
    """Return where the run goes on: on workers as many, or on a running cluster."""
    executor = trainer.executor
    if not has_cluster(executor):
        return {"workers": 0, "scheduler": None}
    if executor.client.cluster is not None:
        return {"workers": executor.num_workers(), "scheduler": None}
    return {"workers": None, "scheduler": executor.client.scheduler.address}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: numpy's numbers, and paths."""
    return value.item() if hasattr(value, "item") else str(value)


def _words(value: Any) -> str:
    """Return an object's name."""
    return str(getattr(value, "__qualname__", None) or type(value).__qualname__)
