"""Arrays in memory that the other processes of a machine can read in place.

An anonymous file holds them (Linux, `os.memfd_create`). It has no name that could be
left behind: it lives as long as some process has it open or mapped, so what another
process has once opened outlives the one that wrote it. Nobody can change it any more:
who writes to such an array writes to a copy of its own.
"""

from __future__ import annotations

import os
import secrets
import weakref
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from mmap import ACCESS_COPY, PAGESIZE, mmap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

with suppress(ImportError):  # elsewhere than on Linux, `memory_name` is None
    from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl
    from mmap import MADV_HUGEPAGE
    from resource import RLIMIT_NOFILE, getrlimit, setrlimit


_ALIGNMENT = 64
"""Bytes: arrays begin at the begin of a cache line."""


def memory_name() -> str | None:
    """Return a name for the memory that this process can share; None if it cannot.

    Processes with the same name can open each other's: same kernel, same process
    numbers, same user. The process may open more files from then on.
    """
    if not hasattr(os, "memfd_create"):
        return None
    _allow_descriptors()
    try:
        tried = SharedArrays.of({"": np.zeros(1)})  # a sandbox may refuse it
        SharedArrays.attach(tried.handle)
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        return f"{boot}-{os.readlink('/proc/self/ns/pid')}-{os.getuid()}"
    except OSError:
        return None


@dataclass(frozen=True)
class _Layout:
    """Where an array lies."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class Handle:
    """Where other processes of the machine find shared arrays, while `pid` lives."""

    pid: int
    descriptor: int
    name: str
    """Of the anonymous file: tells it from what later has the same numbers."""
    size: int
    layouts: dict[str, _Layout]


class SharedArrays:
    """Named arrays in sealed memory that other processes can map read-only."""

    def __init__(self, descriptor: int, handle: Handle) -> None:
        self.handle = handle
        weakref.finalize(self, os.close, descriptor)
        # Copy on write, because torch does not accept read-only arrays.
        self._memory = mmap(descriptor, handle.size, access=ACCESS_COPY)
        _in_large_pages(self._memory)

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> SharedArrays:
        """Copy arrays into memory that can be shared.

        Raises
        ------
        OSError
            If there is no such memory.
        """
        ends = accumulate((_padded(a.nbytes) for a in arrays.values()), initial=0)
        layouts = {
            name: _Layout(array.dtype.str, array.shape, offset)
            for (name, array), offset in zip(arrays.items(), ends, strict=False)
        }
        size = max(sum(_padded(a.nbytes) for a in arrays.values()), PAGESIZE)
        name = f"daskgnn-{secrets.token_hex(8)}"
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, size)
            with mmap(descriptor, size) as memory:
                _in_large_pages(memory)
                for key, layout in layouts.items():
                    _view(memory, layout)[...] = arrays[key]
            _seal(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, Handle(os.getpid(), descriptor, name, size, layouts))

    @classmethod
    def attach(cls, handle: Handle) -> SharedArrays:
        """Open what another process has shared.

        Raises
        ------
        OSError
            If its holder is gone, or on another machine.
        """
        path = f"/proc/{handle.pid}/fd/{handle.descriptor}"
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # Check the file that was opened, not the one at the path now.
        found = os.readlink(f"/proc/self/fd/{descriptor}")
        if found.partition(" ")[0] != f"/memfd:{handle.name}":
            os.close(descriptor)
            raise FileNotFoundError(f"{path} is {found}, expected {handle.name}")
        own = Handle(os.getpid(), descriptor, handle.name, handle.size, handle.layouts)
        return cls(descriptor, own)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays; each keeps the memory mapped."""
        layouts = self.handle.layouts
        return {name: _view(self._memory, layout) for name, layout in layouts.items()}


def _allow_descriptors() -> None:
    """Raise the limit of open files, often 1024, to half of what may be set.

    What is shared takes two descriptors in each process that has it.
    """
    least, most = getrlimit(RLIMIT_NOFILE)
    setrlimit(RLIMIT_NOFILE, (max(least, most // 2), most))


def _padded(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def _view(memory: mmap, layout: _Layout) -> np.ndarray:
    count = int(np.prod(layout.shape, dtype=np.int64))
    flat = np.frombuffer(memory, layout.dtype, count, layout.offset)
    return flat.reshape(layout.shape)


def _in_large_pages(memory: mmap) -> None:
    """Have fewer page faults where the kernel can."""
    with suppress(OSError):
        memory.madvise(MADV_HUGEPAGE)


def _seal(descriptor: int) -> None:
    """Seal an anonymous file against writing and truncating."""
    fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
