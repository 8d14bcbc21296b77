"""The working folder of a preparation, which records finished stages.

Nothing in it opens as a store. Its file ``state.json`` says which stages are complete
and for which input; it is replaced as a whole, so that a killed process leaves the
state before its last change.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib

from daskgnn.errors import StoreError
from daskgnn.prepare.pieces import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskgnn.graph.memory.data import GraphData

_STATE = "state.json"
_LOCK = "lock"
_FORMAT = 2
"""Of what the state and the files are: what another version began is not continued."""


class WorkFolder:
    """Files and state of one preparation; held by one process at a time."""

    def __init__(self, target: str, content: Mapping[str, Any], resume: bool) -> None:
        """Make the folder of a store's path, or go on with one that is there.

        Parameters
        ----------
        target
            Absolute path of the store.
        content
            What the store depends on, as plain content for JSON.
        resume
            Whether to go on; else what is there is thrown away.

        Raises
        ------
        StoreError
            If it cannot be made, another process works in it, or what is there was
            begun with other input or options.
        """
        parent, name = os.path.split(target)
        self.path = Path(parent, f".{name}.preparing")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / _LOCK).open("w")
        except OSError as error:
            raise StoreError(f"{self.path} cannot be made: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise StoreError(
                f"another process prepares {target!r}: wait for it or choose another "
                "path"
            ) from None
        content = {"format of the working folder": _FORMAT, **content}
        begun = json.loads(json.dumps(content))
        self.state = self._read() if resume else {}
        if self.state.get("content", begun) != begun:
            self._lock.close()
            old, names = self.state["content"], {*self.state["content"], *begun}
            changed = sorted(name for name in names if old.get(name) != begun.get(name))
            raise StoreError(
                f"{target!r} was begun with another {', '.join(changed)}: resume with "
                "the options it was begun with, or start again without resume"
            )
        if not self.state:
            for path in self.path.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != _LOCK:
                    path.unlink()
            self.save(content=begun)

    def _read(self) -> dict[str, Any]:
        """Return the state that is there, empty if there is none."""
        try:
            return json.loads((self.path / _STATE).read_text())
        except (OSError, ValueError):
            return {}

    def save(self, **changes: Any) -> None:
        """Change entries of the state and write it down, as a whole or not at all."""
        self.state |= changes
        with whole_file(self.path / _STATE) as file:
            file.write(json.dumps(self.state).encode())

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()

    def close(self) -> None:
        """Let another process go on."""
        self._lock.close()


def save_nodes(path: Path, data: GraphData) -> None:
    """Write all of a graph but its rows to a file."""
    rows = ("indptr", "indices", "edge_weight")
    names = [field.name for field in fields(data) if field.name not in rows]
    joblib.dump({name: getattr(data, name) for name in names}, path)


def load_nodes(path: Path) -> dict[str, Any]:
    """Return what `save_nodes` wrote, as arguments of `GraphData`, arrays mapped."""
    return joblib.load(path, mmap_mode="r")
