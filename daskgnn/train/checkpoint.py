"""Checkpoints: directories of plain arrays and JSON, written atomically.

``step-00000012/`` holds ``arrays.npz`` (no pickles) and ``manifest.json`` with its
SHA-256. A checkpoint appears by a rename when all of it is on the disk, so that a
write cut short is never taken for one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daskgnn.errors import CheckpointError

FORMAT = "daskgnn-checkpoint"
FORMAT_VERSION = 1
PREFIX = "step-"


@dataclass(frozen=True)
class Checkpoint:
    """Arrays by name, and what else a resume needs, JSON-able."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]

    @property
    def step(self) -> int:
        """Steps done when it was written."""
        return int(self.facts["step"])


def save_checkpoint(
    directory: str | Path, checkpoint: Checkpoint, keep: int = 2
) -> Path:
    """Write a checkpoint of its step below `directory`; keep the newest `keep`.

    Raises
    ------
    OSError
        If the disk refuses; older checkpoints are then untouched.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    final = directory / f"{PREFIX}{checkpoint.step:08d}"
    temporary = directory / f"{final.name}.tmp-{os.getpid()}"
    for torn in directory.glob(f"{PREFIX}*.tmp-*"):
        shutil.rmtree(torn, ignore_errors=True)
    temporary.mkdir()
    try:
        arrays = temporary / "arrays.npz"
        with arrays.open("wb") as file:
            np.savez(file, allow_pickle=False, **checkpoint.arrays)
            _flush(file)
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "sha256": {"arrays.npz": _sha256(arrays)},
            **checkpoint.facts,
        }
        manifest = json.loads(json.dumps(manifest))
        manifest["manifest_sha256"] = _digest(manifest)
        with (temporary / "manifest.json").open("w") as file:
            json.dump(manifest, file, indent=1)
            _flush(file)
        _flush_directory(temporary)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _flush_directory(directory)
    for old in _candidates(directory)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read one checkpoint and verify it.

    Raises
    ------
    CheckpointError
        If it is missing, damaged, or written by a newer daskgnn.
    """
    path = Path(path)
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        found = _sha256(path / "arrays.npz")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a daskgnn checkpoint")
    if manifest.get("format_version", 0) > FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format {manifest['format_version']}, this daskgnn "
            f"reads up to {FORMAT_VERSION}: upgrade daskgnn"
        )
    if manifest.pop("manifest_sha256", None) != _digest(manifest):
        raise CheckpointError(
            f"checkpoint {path} is damaged: manifest.json has changed"
        )
    if found != manifest.get("sha256", {}).get("arrays.npz"):
        raise CheckpointError(f"checkpoint {path} is damaged: arrays.npz has changed")
    try:
        with np.load(path / "arrays.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
    return Checkpoint(arrays, manifest)


def newest_checkpoint(directory: str | Path) -> Checkpoint:
    """Return the newest checkpoint below `directory` that verifies.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    errors = []
    for path in _candidates(Path(directory)):
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            errors.append(str(error))
    detail = f" ({errors[0]})" if errors else ""
    raise CheckpointError(f"no usable checkpoint in {directory}{detail}")


def _candidates(directory: Path) -> list[Path]:
    """Return the checkpoints' directories, newest first."""
    if not directory.is_dir():
        return []
    found = [
        path
        for path in directory.iterdir()
        if path.name.startswith(PREFIX) and path.name[len(PREFIX) :].isdigit()
    ]
    return sorted(found, key=lambda path: int(path.name[len(PREFIX) :]), reverse=True)


def _digest(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest's content."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
