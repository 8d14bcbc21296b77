"""`njit`, whose compiled functions are kept in one folder for a user of a machine.

Numba keeps them beside each source file, and looks at that file alone to see whether
they are up to date. Workers that import another copy of the package would compile them
again, and a change in a function that others call would go unseen. Here all copies with
the same kernel sources share a folder, and any change of a source gives another one.
"""

from __future__ import annotations

import hashlib
import os
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


def sources() -> list[Path]:
    """Return the files that compiled code may depend on: kernels and their constants.

    Some compiled functions stand beside what uses them, in other folders.
    """
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent == _KERNELS or b"njit" in path.read_bytes()
    ]


@cache
def sources_hash() -> str:
    """Return a short name of what all kernel sources say."""
    seen = hashlib.sha256()
    for path in sources():
        seen.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0")
        seen.update(hashlib.sha256(path.read_bytes()).digest())
    return seen.hexdigest()[:16]


@cache
def cache_folder() -> Path:
    """Return the folder of compiled kernels: by their sources, numba and processor."""
    told = (numba.__version__, sys.version_info[:2], llvm.get_host_cpu_name())
    kind = hashlib.sha256(repr(told).encode()).hexdigest()[:8]
    return _base_folder() / "kernels" / f"{sources_hash()}-{kind}"


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


class SharedLocator(_CacheLocator):
    """Tells numba where this package's compiled functions are.

    Where the folder cannot be written to, numba keeps them as it does elsewhere.
    """

    def __init__(self, py_func: Any, py_file: str) -> None:
        self._py_file = py_file
        self._line = py_func.__code__.co_firstlineno
        # Files of one name may be in several folders of the package.
        self._folder = cache_folder() / py_func.__module__.rpartition(".")[0]

    def get_cache_path(self) -> str:
        """Return the folder of the function's module."""
        return str(self._folder)

    def get_source_stamp(self) -> str:
        """Return what changes with any source: the folder does so, too."""
        return sources_hash()

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
            found.ensure_cache_path()
        except (OSError, RuntimeError):  # the latter: there is no home directory
            return None
        return found


if SharedLocator not in CacheImpl._locator_classes:
    CacheImpl._locator_classes.insert(0, SharedLocator)

__all__ = ["njit"]
