"""Settings of a run from a file: YAML, JSON, or the ``run.json`` of an earlier run."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from daskgnn.errors import InputError
from daskgnn.paths import given_path
from daskgnn.train.options.absent import instead_of
from daskgnn.train.options.option import nearest
from daskgnn.train.options.options import RUN, of_older_run
from daskgnn.values import numbers_in

if TYPE_CHECKING:
    from daskgnn.train.options.option import Option

_WRITTEN = ("store", "out", "python")
"""Entries that are a run's own in the ``run.json`` that it writes."""


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the settings in a file, by the names of `RunOptions`.

    Entries that are null count as not given. Of a ``run.json`` the store and the
    directory are left out: they are that run's own.

    Raises
    ------
    InputError
        If it cannot be read, has a key that is no setting (naming the nearest), or a
        value of another type: the line names file, key, value and what is expected.
    """
    found = _read(path)
    if "store" in found:
        found = {k: v for k, v in of_older_run(found).items() if k not in _WRITTEN}
    settings = {}
    for key, value in found.items():
        name = str(key).replace("-", "_")
        if name not in RUN:
            instead = instead_of(name, "file")
            meant = instead or f"did you mean {nearest(name, RUN)!r}?"
            raise InputError(f"{path}: {key!r} is not a setting, {meant}")
        if name in settings:
            raise InputError(f"{path}: {name!r} is there twice: give it once")
        if value is not None:
            settings[name] = _value(path, name, RUN[name], value)
    return settings


def _read(path: str | Path) -> dict[Any, Any]:
    """Return what a file holds."""
    try:
        text = Path(given_path(path)).read_text("utf-8")
        try:
            found = json.loads(text)
        except ValueError:
            found = yaml.safe_load(text)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise InputError(
            f"{path} is neither YAML nor JSON: {told}, expected lines like lr: 0.01"
        ) from error
    if not isinstance(found, dict):
        raise InputError(
            f"{path} holds {type(found).__name__}, expected settings by name, in lines "
            "like lr: 0.01"
        )
    return found


def _value(path: str | Path, name: str, option: Option, value: Any) -> Any:
    """Return a value as its option takes it."""
    with suppress(ValueError):
        if option.kind in ("numbers", "devices") and isinstance(value, str):
            value = numbers_in(value)
        elif option.kind == "number" and isinstance(value, str):
            # YAML reads 1e-3, without a dot, as a string.
            value = float(value)
    try:
        return option.checked(name, value)
    except InputError as error:
        refusal = InputError(f"{path}: {error}")
        refusal.in_file = True
        raise refusal from error
