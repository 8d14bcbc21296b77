"""What a process tells of its machine: versions, processor, memory, environment."""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
import torch
from distributed.system import MEMORY_LIMIT

from daskgnn.cluster.prefork import worker_environment
from daskgnn.train.precision import PRECISIONS, has_instructions, seconds_of_product

PACKAGES = ("daskgnn", "torch", "numpy", "numba", "dask", "distributed", "zarr")


@dataclass(frozen=True)
class Machine:
    """What one process tells of itself and its machine."""

    host: str
    versions: dict[str, str]
    """Of Python and `PACKAGES`; "missing" where there is none."""
    cores: int
    """That the process may use."""
    capability: str
    """Of the processor, as torch names it."""
    speed: dict[str, float]
    """By precision: how many times as fast a product is as in float32; measured, with
    one thread."""
    instructions: dict[str, bool]
    """By precision: whether the processor's flags name instructions for it."""
    memory: int
    """Bytes of the machine, or of the container."""
    available: int
    """Bytes of it that are free."""
    unset: tuple[str, ...]
    """Environment variables that would have it keep freed memory, and are not set."""

    @property
    def kind(self) -> str:
        """What bits depend on."""
        return f"torch {self.versions['torch']}, {self.capability}"


def examine_machine() -> Machine:
    """Return what this process can tell; it computes for about half a second.

    Examples
    --------
    >>> from daskgnn.train.machine import examine_machine
    >>> examine_machine().versions["torch"]
    '...'
    """
    base = seconds_of_product("float32", 1)
    memory = psutil.virtual_memory()
    limit = min(int(MEMORY_LIMIT), memory.total)
    return Machine(
        host=socket.gethostname(),
        versions={"python": platform.python_version(), **_versions()},
        cores=usable_cores(),
        capability=torch.backends.cpu.get_cpu_capability(),
        speed={p: base / seconds_of_product(p, 1) for p in PRECISIONS},
        instructions={p: has_instructions(p) for p in PRECISIONS},
        memory=limit,
        available=min(limit, memory.available),
        unset=tuple(n for n in worker_environment() if n not in os.environ),
    )


def usable_cores() -> int:
    """Return the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def on_worker(dask_worker: Any) -> dict[str, Any]:
    """Return what only a Dask worker knows of itself."""
    return {
        "threads": dask_worker.state.nthreads,
        "memory_limit": dask_worker.memory_manager.memory_limit,
        "nanny": dask_worker.nanny is not None,
    }
