"""`njit`, whose compiled functions are kept in one folder for a user of a machine.

Numba keeps them beside each source file, and looks at that file alone to see whether
they are up to date. Workers that import another copy of the package would compile them
again, and a change in a function that others call would go unseen. Here each module has
a folder, by what it says itself and what it imports: all copies, and all versions, with
the same sources share it, and any change gives another one.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import njit
from numba.core import config
from numba.core.caching import CacheImpl, _CacheLocator

PACKAGE = Path(__file__).parents[1]
_KERNELS = Path(__file__).parent
_ENVIRONMENT = "DASKGNN_CACHE_DIR"
_IMPORT = re.compile(
    r"^ *from (daskgnn[\w.]*) import (?:\(([^)]*)\)|(.*))$", re.MULTILINE
)


def is_source(path: Path) -> bool:
    """Return whether compiled code may depend on a file: a kernel, or its constants.

    Some compiled functions stand beside what uses them, in other folders.
    """
    if not path.is_file():
        return False
    return path.parent == _KERNELS or b"njit" in path.read_bytes()


@cache
def sources_of(path: Path) -> frozenset[Path]:
    """Return a source, and those that it imports, and so on."""
    found, waiting = {path}, [path]
    while waiting:
        for other in _imported(waiting.pop()):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return frozenset(found)


@cache
def _imported(path: Path) -> frozenset[Path]:
    """Return the sources that a file imports."""
    named = set()
    for module, *some in _IMPORT.findall(path.read_text(encoding="utf-8")):
        named.add(module)
        named |= {f"{module}.{name}" for name in re.findall(r"\w+", " ".join(some))}
    files = (PACKAGE.joinpath(*n.split(".")[1:]).with_suffix(".py") for n in named)
    return frozenset(file for file in files if is_source(file))


@cache
def sources_hash(path: Path) -> str:
    """Return a short name of what a source and all that it depends on say."""
    seen = hashlib.sha256()
    for source in sorted(sources_of(path)):
        seen.update(source.relative_to(PACKAGE).as_posix().encode() + b"\0")
        seen.update(_digest(source))
    return seen.hexdigest()[:16]


@cache
def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


@cache
def cache_folder() -> Path:
    """Return the folder of compiled kernels: by numba and the processor."""
    told = (numba.__version__, sys.version_info[:2], llvm.get_host_cpu_name())
    kind = hashlib.sha256(repr(told).encode()).hexdigest()[:8]
    return _base_folder() / "kernels" / kind


def _base_folder() -> Path:
    """Return numba's own folder if one is set, else this package's cache folder."""
    if given := getattr(config, "CACHE_DIR", ""):
        return Path(given)
    if given := os.environ.get(_ENVIRONMENT):
        return Path(given).expanduser()
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "daskgnn"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home) / "daskgnn"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "daskgnn"


_WRITABLE: set[Path] = set()
"""Folders of modules that were written to: a module has many functions."""


class SharedLocator(_CacheLocator):
    """Tells numba where this package's compiled functions are.

    Where the folder cannot be written to, numba keeps them as it does elsewhere.
    """

    def __init__(self, py_func: Any, py_file: str) -> None:
        self._py_file = py_file
        self._line = py_func.__code__.co_firstlineno
        self._hash = sources_hash(Path(py_file))
        # Files of one name may be in several folders of the package.
        self._folder = cache_folder() / f"{py_func.__module__}-{self._hash}"

    def get_cache_path(self) -> str:
        """Return the folder of the function's module."""
        return str(self._folder)

    def get_source_stamp(self) -> str:
        """Return what changes with the sources: the folder does so, too."""
        return self._hash

    def get_disambiguator(self) -> str:
        """Return what tells functions of one name in a module apart."""
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> SharedLocator | None:
        """Return a locator of one of this package's functions, else None."""
        if PACKAGE not in Path(py_file).parents:
            return None
        try:
            found = cls(py_func, py_file)
            if found._folder not in _WRITABLE:
                found.ensure_cache_path()
                _WRITABLE.add(found._folder)
        except (OSError, RuntimeError):  # the latter: there is no home directory
            return None
        return found


if SharedLocator not in CacheImpl._locator_classes:
    CacheImpl._locator_classes.insert(0, SharedLocator)

__all__ = ["njit"]
