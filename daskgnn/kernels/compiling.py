"""Compile what most runs need before the first of them, in several processes at once.

``signatures.json`` names kernels and the types that runs call them with. It is recorded
by ``python benchmarks/kernel_signatures.py``, and nothing depends on it: what it lacks,
or what cannot be compiled ahead, is compiled by who calls it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numba import types

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNATURES = Path(__file__).with_name("signatures.json")
"""By the name of a kernel, the types of its arguments in each call."""


def compile_ahead(told: Callable[[int, int], Any]) -> None:
    """Compile the recorded kernels in as many processes as there are processors.

    What a process cannot do, be it that it was killed, is left to who calls the kernel.

    Parameters
    ----------
    told
        Is given how many kernels are done, and of how many.
    """
    names = list(_recorded())
    workers = min(os.cpu_count() or 1, len(names))
    waiting, done = iter(names), 0
    helpers = [_Helper() for _ in range(workers)]
    told(0, len(names))

    def work(helper: _Helper) -> None:
        nonlocal done
        # A generator's next name goes to one thread only: the interpreter's lock.
        for name in waiting:
            if not helper.compiled(name):
                return
            done += 1
            told(done, len(names))

    try:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, helpers))
    finally:
        for helper in helpers:
            helper.close()


class _Helper:
    """A process that compiles kernels by name."""

    def __init__(self) -> None:
        self._process: Any = None
        with suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )

    def compiled(self, name: str) -> bool:
        """Have a kernel compiled; return whether the process is still there."""
        if self._process is None:
            return False
        with suppress(OSError):
            print(name, file=self._process.stdin, flush=True)
            return bool(self._process.stdout.readline())
        return False

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                stream.close()


@cache
def _recorded() -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads(SIGNATURES.read_text())
        return found
    return {}


def compile_kernel(name: str) -> None:
    """Compile a kernel for all calls of it that are recorded."""
    module, _, function = name.rpartition(".")
    kernel = getattr(import_module(module), function)
    for given in _recorded()[name]:
        kernel.compile(tuple(map(read_type, given)))


def written_type(kind: Any) -> Any:
    """Return a type of numba's as JSON can hold it.

    Raises
    ------
    ValueError
        If it is none of those that kernels are called with.
    """
    if isinstance(kind, types.Array) and kind.aligned:
        how = kind.layout if kind.mutable else f"{kind.layout} readonly"
        return [str(kind.dtype), kind.ndim, how]
    if isinstance(kind, types.NamedTuple):
        cls = kind.instance_class
        return {f"{cls.__module__}.{cls.__name__}": list(map(written_type, kind.types))}
    if isinstance(kind, types.BaseTuple):
        inside: Any = kind
        return {"tuple": [written_type(each) for each in inside]}
    plain = types.Number | types.Boolean | types.NoneType
    if isinstance(kind, plain) and not isinstance(kind, types.Literal):
        return str(kind)
    raise ValueError(f"{kind} is not a type that can be written")


def read_type(said: Any) -> Any:
    """Return the type that `written_type` has written."""
    if isinstance(said, str):
        return getattr(types, said)
    if isinstance(said, list):
        dtype, ndim, how = said
        layout, _, readonly = how.partition(" ")
        return types.Array(getattr(types, dtype), ndim, layout, readonly=bool(readonly))
    ((name, inner),) = said.items()
    given = list(map(read_type, inner))
    if name == "tuple":
        return types.Tuple(given)
    module, _, cls = name.rpartition(".")
    return types.NamedTuple(given, getattr(import_module(module), cls))


def _serve() -> None:
    """Compile what is named on the standard input, and say so when it is done."""
    for line in sys.stdin:
        with suppress(Exception):  # who calls it meets the error
            compile_kernel(line.strip())
        print("done", flush=True)


if __name__ == "__main__":
    _serve()
