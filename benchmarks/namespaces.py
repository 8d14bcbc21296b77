"""Hosts with a network of their own, on one machine: Linux network namespaces.

Each is joined by a virtual cable to a switch, which is in the first host. A cable can
carry no more than a given rate, in each direction. It needs root and iproute2.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[1]
_NET = "10.211.78"


class NoNamespacesError(Exception):
    """Namespaces cannot be made here."""


def _call(*words: str) -> str:
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NoNamespacesError(f"no command {words[0]}") from error
    if done.returncode:
        raise NoNamespacesError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Hosts:
    """So many hosts; the first one has the switch, and is for scheduler and driver.

    Parameters
    ----------
    count : int
    mbit : float, optional
        What a cable carries, in each direction, in megabits a second.

    Raises
    ------
    NoNamespacesError
    """

    def __init__(self, count: int = 3, mbit: float | None = None) -> None:
        self.names = [f"daskgnn{os.getpid()}-{i}" for i in range(count)]
        self.addresses = [f"{_NET}.{i + 1}" for i in range(count)]
        self._mbit = mbit
        self.processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        try:
            self._make()
        except NoNamespacesError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=-3)

    def _make(self) -> None:
        switch = self.names[0]
        for name in self.names:
            _call("ip", "netns", "add", name)
            _call("ip", "-n", name, "link", "set", "lo", "up")
        _call("ip", "-n", switch, "link", "add", "eth0", "type", "bridge")
        for number, name in enumerate(self.names[1:], start=1):
            cable = ("type", "veth", "peer", "name", "eth0", "netns", name)
            _call("ip", "-n", switch, "link", "add", f"port{number}", *cable)
            _call("ip", "-n", switch, "link", "set", f"port{number}", "master", "eth0")
            _call("ip", "-n", switch, "link", "set", f"port{number}", "up")
        for name, address in zip(self.names, self.addresses, strict=True):
            _call("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            _call("ip", "-n", name, "link", "set", "eth0", "up")
        if self._mbit:
            self.limit(self._mbit)

    def limit(self, mbit: float) -> None:
        """Set what each cable carries, in each direction."""
        rate = ("rate", f"{mbit}mbit", "burst", "256kb", "latency", "100ms")
        for number, name in enumerate(self.names[1:], start=1):
            ends = (name, "eth0"), (self.names[0], f"port{number}")
            for where, device in ends:
                words = ("qdisc", "replace", "dev", device, "root", "tbf", *rate)
                _call("tc", "-n", where, *words)

    def start(self, host: int, *words: str, **how: Any) -> subprocess.Popen[str]:
        """Start the command line on a host; it ends with the hosts."""
        process = subprocess.Popen(self._words(host, words), text=True, **how)
        self.processes.append(process)
        return process

    def run(self, host: int, *words: str, **how: Any) -> str:
        """Run the command line on a host to its end; return what it prints."""
        return subprocess.run(
            self._words(host, words), text=True, stdout=-1, **{"check": True, **how}
        ).stdout

    def _words(self, host: int, words: tuple[str, ...]) -> list[str]:
        settings = [
            f"PYTHONPATH={ROOT}",
            # Processes of one kernel could read each other's memory.
            "DASK_GNN__SHARE_MEMORY=off",
        ]
        inside = ["ip", "netns", "exec", self.names[host], "env", *settings]
        return [*inside, sys.executable, "-m", "daskgnn", *words]

    def start_cluster(self, log: Any = -3) -> str:
        """Start a scheduler, and a worker on each of the other hosts."""
        address = f"tcp://{self.addresses[0]}:8786"
        how = {"stdout": log, "stderr": log}
        words = ("--host", self.addresses[0], "--no-dashboard")
        self.start(0, "scheduler", *words, **how)
        for host in range(1, len(self.names)):
            self.start_worker(host, address, **how)
        return address

    def start_worker(self, host: int, address: str, **how: Any) -> Any:
        """Start a worker on a host."""
        words = ("--host", self.addresses[host], "--no-dashboard")
        limit = ("--memory-limit", "4GB")
        return self.start(host, "worker", address, *words, *limit, **how)

    def carried(self) -> int:
        """Return the bytes that workers' cables have carried so far."""
        total = 0
        for name in self.names[1:]:
            (link,) = json.loads(
                _call("ip", "-n", name, "-s", "-j", "link", "show", "dev", "eth0")
            )
            total += link["stats64"]["rx"]["bytes"] + link["stats64"]["tx"]["bytes"]
        return total
