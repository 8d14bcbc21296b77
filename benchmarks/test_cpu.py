"""CPU seconds of the tests, by test: user and system, of every process they start.

Workers, what they are forked from, processes that are killed and such as outlive their
parents are all counted: this process is a subreaper, so the kernel hands it those whose
parents are gone. Linux only.

    python benchmarks/test_cpu.py [--json FILE] [--top N] [--] [PYTEST ARGUMENTS ...]

By default the tests are those of `make test`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 20.0
"""Seconds in which what tests started has to end after them."""
TICKS = os.sysconf("SC_CLK_TCK")
TREE, FILE = "TEST_CPU_TREE", "TEST_CPU_FILE"
"""Variables that tell the plugin whose processes to count, and where to write."""
COUNTED = pytest.StashKey[list]()


def tree_seconds(root: int) -> float:
    """Return the CPU seconds of all processes below `root`, ended ones included."""
    ticks, waiting = 0, children(root)
    # Of `root` itself only what it has reaped.
    ticks += sum(times(root)[2:])
    while waiting:
        pid = waiting.pop()
        waiting += children(pid)
        ticks += sum(times(pid))
    return ticks / TICKS


def times(pid: int) -> list[int]:
    """Return utime, stime, cutime and cstime; zeros of a process that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return [0, 0, 0, 0]
    return [int(ticks) for ticks in fields[11:15]]


def children(pid: int) -> list[int]:
    """Return the children of all threads of a process."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            found += map(
                int, Path(f"/proc/{pid}/task/{task}/children").read_text().split()
            )
    except OSError:
        pass  # it is ending
    return found


def pytest_configure(config: pytest.Config) -> None:
    """Begin to count; the plugin's part of this file begins here."""
    config.stash[COUNTED] = []


def _counted(item: pytest.Item, phase: str):
    begin = tree_seconds(int(os.environ[TREE]))
    yield
    seconds = tree_seconds(int(os.environ[TREE])) - begin
    item.config.stash[COUNTED].append((item.nodeid, phase, seconds))


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item):
    """Count a test's setup, in which shared fixtures are made for the first time."""
    yield from _counted(item, "setup")


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item):
    """Count a test."""
    yield from _counted(item, "call")


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item):
    """Count a test's teardown."""
    yield from _counted(item, "teardown")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write what was counted."""
    Path(os.environ[FILE]).write_text(json.dumps(config.stash[COUNTED]))


def reap(pid: int) -> int:
    """Wait for a child, and for all that it leaves behind; return its exit status."""
    status = -1
    while status < 0:
        done, code = os.wait()
        if done == pid:
            status = os.waitstatus_to_exitcode(code) & 0xFF
    over = time.monotonic() + PATIENCE
    while time.monotonic() < over:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.05)
        except ChildProcessError:
            return status
    for left in children(os.getpid()):
        words = Path(f"/proc/{left}/cmdline").read_text().replace("\0", " ")
        print(f"left behind, and ended now: {left} {words}")
        os.kill(left, signal.SIGKILL)
        os.waitpid(left, 0)
    return status


def report(counted: list, total: float, wall: float, top: int) -> dict:
    """Print the table; return it."""
    by_test: dict[str, dict[str, float]] = defaultdict(dict)
    by_file: dict[str, float] = defaultdict(float)
    for name, phase, seconds in counted:
        by_test[name][phase] = round(seconds, 2)
        by_file[name.partition("::")[0]] += seconds
    print(f"\n{'CPU s':>8}  file")
    for name, seconds in sorted(by_file.items(), key=lambda kv: -kv[1])[:top]:
        print(f"{seconds:8.1f}  {name}")
    rest = total - sum(by_file.values())
    print(f"{rest:8.1f}  outside of tests: imports, collection, processes' ends")
    print(f"\n{'setup':>8}{'call':>8}{'after':>8}  test")
    tests = sorted(by_test.items(), key=lambda kv: -sum(kv[1].values()))
    for name, phases in tests[:top]:
        parts = [phases.get(p, 0.0) for p in ("setup", "call", "teardown")]
        print("".join(f"{s:8.1f}" for s in parts) + f"  {name}")
    print(f"\n{total:.0f} CPU seconds of {len(by_test)} tests, in {wall:.0f} s")
    return {"cpu_s": total, "wall_s": wall, "outside_s": rest, "tests": by_test}


def main() -> int:
    """Run pytest below this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--top", type=int, default=40, help="Lines of each table.")
    parser.add_argument("pytest", nargs="*")
    given = parser.parse_args()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no subreaper: needs Linux 3.4 or newer")
    words = given.pytest or ["-m", "not slow and not chaos"]
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "counted.json")
        told = {TREE: str(os.getpid()), FILE: str(file)}
        told["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        command = [sys.executable, "-m", "pytest", "-p", "test_cpu", *words]
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | told)
        status = reap(process.pid)
        counted = json.loads(file.read_text()) if file.exists() else []
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = used.ru_utime + used.ru_stime
    found = report(counted, total, time.monotonic() - began, given.top)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return status


if __name__ == "__main__":
    sys.exit(main())
