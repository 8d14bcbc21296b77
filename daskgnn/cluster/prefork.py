"""Worker processes forked from one that has imported what they need.

Importing takes a worker seconds of processor time. Where the platform can, the
library's own clusters fork theirs from a process that imports once, beside the
driver. It ends with the driver.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING

import dask

from daskgnn.config import HUGE_PAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

METHOD = (
    "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
)
"""How worker processes are started."""

_INHERITED = "daskgnn.train.inherited"
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)
_KEPT_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    HUGE_PAGES: "1",
}
"""What has processes keep freed memory, one heap for all their threads. The number of
heaps is settled when a process begins: a running worker cannot be told any more."""

_QUIET = {"PYTHONWARNINGS": "ignore:resource_tracker"}
"""The keeper of semaphores would complain at the end about those of killed workers."""


def worker_environment() -> dict[str, str]:
    """Return the environment variables that suit a process that trains."""
    keep = dask.config.get("gnn.keep-freed-memory")
    return _ONE_THREAD | (_KEPT_MEMORY if keep else {})


def start_importing() -> None:
    """Start the process that workers are forked from; again is harmless."""
    if METHOD != "forkserver":
        return
    forkserver.set_forkserver_preload([_INHERITED])
    with _environment(worker_environment() | _QUIET):
        # Starting it unblocks interrupts at its end, so it comes first.
        resource_tracker.ensure_running()
        with block_sigint():
            forkserver.ensure_running()


@contextmanager
def block_sigint() -> Iterator[None]:
    """Have processes started meanwhile ignore Ctrl-C: the driver ends them.

    They inherit a mask of signals. One that comes to this process waits until the end.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set what is not set in the environment, for processes started inside.

    Libraries read it when they are imported: Dask's own setting for workers would
    come too late for what a worker inherits.
    """
    missing = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
