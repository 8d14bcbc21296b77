"""Arrays in memory that the other processes of a machine can read in place.

An anonymous file holds them (Linux, `os.memfd_create`). It has no name that could be
left behind: it lives as long as some process has it open or mapped, so what another
process has once opened outlives the one that wrote it. Nobody can change it any more:
who writes to such an array writes to a copy of its own.
"""

from __future__ import annotations

import io
import os
import pickle
import secrets
import weakref
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from mmap import ACCESS_COPY, PAGESIZE, mmap
from typing import Any

import cloudpickle
import numpy as np

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
        tried = SharedValue.of(np.zeros(1))  # a sandbox may refuse it
        SharedValue.attach(tried.handle)
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        return f"{boot}-{os.readlink('/proc/self/ns/pid')}-{os.getuid()}"
    except OSError:
        return None


@dataclass(frozen=True)
class Handle:
    """Where other processes of the machine find a value's arrays, while `pid` lives."""

    pid: int
    descriptor: int
    name: str
    """Of the anonymous file: tells it from what later has the same numbers."""
    payload: bytes
    """The value, pickled without the bytes of its arrays."""
    sizes: tuple[int, ...]
    """Bytes of each array, in the order of the file."""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return max(sum(map(_padded, self.sizes)), PAGESIZE)

    def views(self, memory: mmap) -> list[memoryview]:
        """Return the bytes of each array in the file."""
        starts = accumulate(map(_padded, self.sizes), initial=0)
        whole, pairs = memoryview(memory), zip(starts, self.sizes, strict=False)
        return [whole[start : start + size] for start, size in pairs]


class _Pickler(cloudpickle.Pickler):
    """Leaves out the bytes of arrays, and an object that the other side has too."""

    known: Any = None

    def persistent_id(self, value: Any) -> str | None:
        """Return what stands for the known object."""
        return "known" if value is self.known and value is not None else None


class _Unpickler(pickle.Unpickler):
    """Puts in the object that was left out."""

    known: Any = None

    def persistent_load(self, name: str) -> Any:
        """Return the known object."""
        return self.known


class SharedValue:
    """A value whose arrays other processes can map, and nobody can change."""

    def __init__(self, descriptor: int, handle: Handle) -> None:
        self.handle = handle
        weakref.finalize(self, os.close, descriptor)
        # Copy on write, because torch does not accept read-only arrays.
        self._memory = mmap(descriptor, handle.size, access=ACCESS_COPY)
        _in_large_pages(self._memory)

    @classmethod
    def of(cls, value: Any, known: Any = None) -> SharedValue:
        """Copy the arrays of a value into memory that can be shared.

        Parameters
        ----------
        known
            What is in `value` and is there already where it is opened.

        Raises
        ------
        OSError
            If there is no such memory.
        """
        buffers: list[pickle.PickleBuffer] = []
        file = io.BytesIO()
        pickler = _Pickler(file, protocol=5, buffer_callback=buffers.append)
        pickler.known = known
        pickler.dump(value)
        arrays = [buffer.raw() for buffer in buffers]
        name = f"daskgnn-{secrets.token_hex(8)}"
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        sizes = tuple(array.nbytes for array in arrays)
        handle = Handle(os.getpid(), descriptor, name, file.getvalue(), sizes)
        try:
            _write(descriptor, handle, arrays)
            _seal(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, handle)

    @classmethod
    def attach(cls, handle: Handle) -> SharedValue:
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
        return cls(descriptor, replace(handle, pid=os.getpid(), descriptor=descriptor))

    def value(self, known: Any = None) -> Any:
        """Return the value; each of its arrays keeps the memory mapped."""
        views = self.handle.views(self._memory)
        unpickler = _Unpickler(io.BytesIO(self.handle.payload), buffers=views)
        unpickler.known = known
        return unpickler.load()


def _allow_descriptors() -> None:
    """Raise the limit of open files, often 1024, to half of what may be set.

    What is shared takes two descriptors in each process that has it.
    """
    least, most = getrlimit(RLIMIT_NOFILE)
    setrlimit(RLIMIT_NOFILE, (max(least, most // 2), most))


def _write(descriptor: int, handle: Handle, arrays: list[memoryview]) -> None:
    """Write the bytes of arrays; the file is mapped no more when this returns."""
    os.ftruncate(descriptor, handle.size)
    memory = mmap(descriptor, handle.size)
    _in_large_pages(memory)
    for view, array in zip(handle.views(memory), arrays, strict=True):
        np.copyto(np.asarray(view), np.asarray(array))  # other threads run meanwhile


def _padded(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def _in_large_pages(memory: mmap) -> None:
    """Have fewer page faults where the kernel can."""
    with suppress(OSError):
        memory.madvise(MADV_HUGEPAGE)


def _seal(descriptor: int) -> None:
    """Seal an anonymous file against writing and truncating."""
    fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
