"""Run one side of a comparison in processes of its own, and look at them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MALLOC = {
    "as shipped": {},
    "tuned": {
        "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_ARENA_MAX": "1",
        "THP_MEM_ALLOC_ENABLE": "1",
    },
}
"""Environment of every process of a side: nothing, or freed memory is kept and torch
asks for huge pages."""

LIMIT = 1200.0
"""Seconds that a side may take."""

_OF_MALLOC = ("MALLOC_", "THP_MEM_ALLOC_ENABLE")
MEMORY_NOTE = (
    "peak memory: VmHWM of a process, pages shared with others counted by share (PSS)"
)


class SideFailedError(Exception):
    """A side ended without a result."""


def run_side(
    script: str,
    settings: dict[str, Any],
    malloc: str = "as shipped",
    tree: str | None = None,
) -> dict[str, Any]:
    """Run ``script`` beside this file with `settings`; return what it found.

    Parameters
    ----------
    script
        It calls `give_result`.
    malloc
        A key of `MALLOC`.
    tree
        A checkout whose package and script are used; by default this one.

    Raises
    ------
    SideFailedError
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OF_MALLOC)
    }
    path = Path(__file__).with_name(script)
    if tree is not None:
        path = Path(tree, "benchmarks", script)
        paths = [tree, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        process = subprocess.Popen(
            [sys.executable, str(path)],
            env={
                **environment,
                **MALLOC[malloc],
                "BENCH_SETTINGS": json.dumps(settings),
                "BENCH_RESULT": str(result),
            },
            # A process that another forks finds modules here before anywhere else.
            cwd=tree,
            stdout=sys.stderr,
            start_new_session=True,
        )
        code = None
        try:
            code = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            print(f"{script} took more than {LIMIT:.0f} s", file=sys.stderr)
        finally:
            if code != 0:
                _end(process)
        if code or not result.exists():
            raise SideFailedError(f"{script} ended with {code} and no result")
        return dict(json.loads(result.read_text()))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a side with all processes that it started: one may wait for another."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def settings() -> dict[str, Any]:
    """Return what `run_side` was given: for the script that it runs."""
    return dict(json.loads(os.environ["BENCH_SETTINGS"]))


def give_result(result: dict[str, Any]) -> None:
    """Hand a result to `run_side`."""
    result_path().write_text(json.dumps(result))


def result_path() -> Path:
    """Return the file of the result, in a folder that `run_side` removes."""
    return Path(os.environ["BENCH_RESULT"])


def cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def pin(core: int) -> int:
    """Keep every thread of this process, and those to come, on one core."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {core})
    return os.getpid()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid: int) -> float:
    """Return the peak memory of a process, what it shares counted by share."""
    peak = _kilobytes(Path(f"/proc/{pid}/status"), "VmHWM")
    now = Path(f"/proc/{pid}/smaps_rollup")
    shared = _kilobytes(now, "Rss") - _kilobytes(now, "Pss")
    return (peak - shared) / 1000


def forget_peak(pid: int) -> None:
    """Start the measurement of a process's peak memory anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _kilobytes(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 // 1000
    raise KeyError(name)
