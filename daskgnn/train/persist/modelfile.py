"""A model's tensors and what is said of it in one file: ``.npz`` or ``.safetensors``.

Both hold plain numbers and JSON; nothing in them is ever executed. An ``.npz`` has an
``.npy`` a tensor and `DESCRIPTION` beside them; a ``.safetensors`` has the description
in its header's metadata (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import io
import json
import zipfile
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError, first_line
from daskgnn.paths import absolute_path, target_path
from daskgnn.train.persist.checkpoint import write_arrays
from daskgnn.train.persist.storage import Storage

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

DESCRIPTION = "model.json"
"""The description's name within an ``.npz``."""

_KEY = "daskgnn"
_LENGTH = 8
_KINDS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}

Content = tuple[dict[str, np.ndarray], dict[str, Any]]


def write_model_file(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    description: Mapping[str, Any],
) -> Path:
    """Write a file, or replace one, so that no reader sees half of it.

    Raises
    ------
    InputError
        If the name ends in neither ``.npz`` nor ``.safetensors``.
    OSError
        If it cannot be written.
    """
    target = Path(target_path(path))
    write = _npz if _suffix(target) == ".npz" else _safetensors
    text = json.dumps(description, indent=1)
    Storage(target.parent).write(target.name, write(arrays, text))
    return target


def read_model_file(path: str | os.PathLike[str]) -> Content:
    """Return a file's arrays by name, and its description.

    Raises
    ------
    InputError
        If there is no such file, it is damaged, or no model's.
    """
    source = Path(absolute_path(path))
    read = _read_npz if _suffix(source) == ".npz" else _read_safetensors
    try:
        arrays, text = read(source.read_bytes())
        description = json.loads(text)
    except FileNotFoundError:
        raise InputError(
            f"no file {source}: give what trainer.save(path) has written"
        ) from None
    except Exception as error:  # a damaged file can fail in any way
        said = first_line(error) or type(error).__name__
        raise InputError(
            f"{source} is damaged or no model of daskgnn ({said}): save it again with "
            "trainer.save(path)"
        ) from None
    return arrays, description


def _suffix(path: Path) -> str:
    if path.suffix not in (".npz", ".safetensors"):
        raise InputError(
            f"{path.name} names no kind of file, expected .npz or .safetensors, as in "
            "'model.npz'"
        )
    return path.suffix


def _npz(arrays: Mapping[str, np.ndarray], text: str) -> bytes:
    buffer = io.BytesIO()
    write_arrays(buffer, arrays)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(DESCRIPTION, text)
    return buffer.getvalue()


def _read_npz(content: bytes) -> tuple[dict[str, np.ndarray], str | bytes]:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        found = {name: stored[name] for name in stored.files}
    return found, found.pop(DESCRIPTION)


def _safetensors(arrays: Mapping[str, np.ndarray], text: str) -> bytes:
    kinds = {np.dtype(kind): name for name, kind in _KINDS.items()}
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    ends = accumulate((array.nbytes for array in plain.values()), initial=0)
    header: dict[str, Any] = {"__metadata__": {"format": "pt", _KEY: text}}
    for (name, array), place in zip(plain.items(), pairwise(ends), strict=True):
        kind, shape = kinds[array.dtype], list(arrays[name].shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": list(place)}
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % _LENGTH)
    length = len(told).to_bytes(_LENGTH, "little")
    return b"".join([length, told, *(array.tobytes() for array in plain.values())])


def _read_safetensors(content: bytes) -> tuple[dict[str, np.ndarray], str]:
    start = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    header = json.loads(content[_LENGTH:start])
    text: str = header.pop("__metadata__")[_KEY]
    arrays = {}
    for name, told in header.items():
        first, last = (start + offset for offset in told["data_offsets"])
        values = np.frombuffer(content[first:last], _KINDS[told["dtype"]])
        arrays[name] = values.reshape(told["shape"])
    return arrays, text
