"""Checkpoints: folders of plain arrays and JSON, written atomically.

``step-00000012/`` holds ``arrays.npz`` (no pickles) and ``manifest.json`` with its
SHA-256, written last: without it there is no checkpoint, and one that does not fit its
arrays is never taken for good.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from daskgnn.errors import CheckpointError, first_line
from daskgnn.train.persist.storage import CHECKPOINTS, Storage, open_storage

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

FORMAT = "daskgnn-checkpoint"
FORMAT_VERSION = 1
PREFIX = "step-"
ARRAYS, MANIFEST = "arrays.npz", "manifest.json"
WEIGHTS = ("parameters", "gradients/statistics")
"""Arrays that a model computes with."""


@dataclass(frozen=True)
class Checkpoint:
    """Arrays by name, and what else a resume needs, JSON-able."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]

    @property
    def step(self) -> int:
        """Steps done when it was written."""
        return int(self.facts["step"])

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{PREFIX}{self.step:08d}"


def save_checkpoint(
    place: str | os.PathLike[str] | Storage, checkpoint: Checkpoint, keep: int = 2
) -> str:
    """Write a checkpoint of its step; keep the newest `keep` and the best one.

    The best is the one of the step that its fact ``best_step`` names. A step that has
    a whole checkpoint already, of the same weights, is not written again.

    Parameters
    ----------
    place : path, URL or Storage
        The folder of a run's checkpoints.

    Returns
    -------
    str
        Its name in the folder.

    Raises
    ------
    OSError
        If the disk refuses; older checkpoints are then untouched.
    """
    storage = place if isinstance(place, Storage) else open_storage(place)
    name = checkpoint.name
    if not _is_held(storage, checkpoint):
        with storage.new_folder(name) as create:
            with create(ARRAYS) as file:
                digest = write_arrays(file, checkpoint.arrays)
            manifest = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "sha256": {ARRAYS: digest},
                **checkpoint.facts,
            }
            manifest = json.loads(json.dumps(manifest))
            manifest["manifest_sha256"] = _digest(manifest)
            with create(MANIFEST) as file:
                file.write(json.dumps(manifest, indent=1).encode())
    _forget_others(storage, checkpoint, keep)
    return name


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read one checkpoint, by the path or URL of its folder, and verify it.

    Raises
    ------
    CheckpointError
        If it is missing, damaged, or written by a newer daskgnn.
    """
    return _load(open_storage(path), "")


def newest_checkpoint(place: str | os.PathLike[str] | Storage) -> Checkpoint:
    """Return the newest checkpoint in a folder that verifies.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    storage = place if isinstance(place, Storage) else open_storage(place)
    errors = []
    for name in _candidates(storage):
        try:
            return _load(storage, f"{name}/")
        except CheckpointError as error:
            errors.append(str(error))
    detail = f" ({errors[0]})" if errors else ""
    raise CheckpointError(f"no usable checkpoint in {storage.place}{detail}")


def plan_before(out: str | os.PathLike[str] | None) -> dict[str, Any] | None:
    """Return the settings of the run in a directory, as its newest checkpoint has them.

    None if there is no run, or no usable checkpoint of it.
    """
    if out is None:
        return None
    try:
        checkpoint = newest_checkpoint(open_storage(out).inside(CHECKPOINTS))
    except (CheckpointError, OSError):
        return None
    found: dict[str, Any] = checkpoint.facts["plan"]
    return found


def write_arrays(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> str:
    """Write arrays as ``.npz`` in one pass and return the SHA-256 of the bytes."""
    hashed = _Hashing(file)
    with zipfile.ZipFile(hashed, "w") as archive:  # type: ignore[call-overload]
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return hashed.digest.hexdigest()


class _Hashing:
    """A file that is only written to, and the SHA-256 of what was."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        """Write and count in."""
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        """Flush the file."""
        self.file.flush()


def _load(storage: Storage, folder: str) -> Checkpoint:
    """Read the checkpoint of a folder (``step-.../`` or nothing)."""
    path = storage.path_of(folder).rstrip("/")
    try:
        manifest = json.loads(storage.read(f"{folder}{MANIFEST}"))
        _check_manifest(path, manifest)
        with storage.open(f"{folder}{ARRAYS}") as file:
            _check_arrays(path, manifest, file)
            # The SHA-256 does not protect against forgery, so pickles are never loaded.
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: _array(stored, name) for name in stored.files}
    except CheckpointError:
        raise
    except Exception as error:
        said = f"checkpoint {path} cannot be read: {first_line(error)}"
        raise CheckpointError(said) from error
    return Checkpoint(arrays, manifest)


def _array(stored: Mapping[str, Any], name: str) -> np.ndarray:
    """Return one array; numpy hands out whatever else is in a file as bytes."""
    array = stored[name]
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name!r} in {ARRAYS} is not an array")
    return array


def _check_manifest(path: str, manifest: Any) -> None:
    """Refuse a manifest that is none, of a newer format or changed."""
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a daskgnn checkpoint")
    if manifest.get("format_version", 0) > FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format {manifest['format_version']}, this daskgnn "
            f"reads up to {FORMAT_VERSION}: upgrade daskgnn"
        )
    if manifest.pop("manifest_sha256", None) != _digest(manifest):
        raise CheckpointError(f"checkpoint {path} is damaged: {MANIFEST} has changed")


def _check_arrays(path: str, manifest: dict[str, Any], file: BinaryIO) -> None:
    """Refuse arrays that are not those of the manifest."""
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    if digest != manifest.get("sha256", {}).get(ARRAYS):
        raise CheckpointError(f"checkpoint {path} is damaged: {ARRAYS} has changed")
    file.seek(0)


def _is_held(storage: Storage, checkpoint: Checkpoint) -> bool:
    """Return whether a step has a checkpoint that verifies, of the same weights.

    A run that went on with other weights may have one of those before.
    """
    name = checkpoint.name
    if not storage.exists(f"{name}/{MANIFEST}"):
        return False
    try:
        held = _load(storage, f"{name}/").arrays
    except CheckpointError:
        return False
    mine = checkpoint.arrays
    return all(_equal(held.get(name), mine.get(name)) for name in WEIGHTS)


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """Return whether two arrays are alike, or both missing."""
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def _forget_others(storage: Storage, written: Checkpoint, keep: int) -> None:
    """Remove what is neither among the newest nor the best.

    Later steps than that written are of a time before a resume, which did not find
    them whole.
    """
    names = _candidates(storage)
    torn = [n for n in names if not storage.exists(f"{n}/{MANIFEST}")]
    later = [n for n in names if _step(n) > written.step]
    whole = [n for n in names if n not in torn and n not in later]
    old = [n for n in whole[keep:] if _step(n) != written.facts.get("best_step")]
    for name in [*torn, *later, *old]:
        storage.remove(name)


def _candidates(storage: Storage) -> list[str]:
    """Return the names of the checkpoints' folders, newest first."""
    found = [n for n in storage.names() if n.startswith(PREFIX) and _step(n) >= 0]
    return sorted(found, key=_step, reverse=True)


def _step(name: str) -> int:
    """Return the step of a folder's name, -1 if it names none."""
    digits = name.removeprefix(PREFIX)
    return int(digits) if digits.isdigit() else -1


def _digest(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest's content."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
