"""Open a cluster: one that daskgnn starts, or a scheduler that the user runs."""

from __future__ import annotations

import logging
import socket
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dask
from dask.utils import parse_timedelta
from distributed import Client
from distributed.comm.addressing import get_address_host_port

from daskgnn import config as _config  # noqa: F401  (the defaults)
from daskgnn.cluster.connection import Connection, identity, wait_for_cluster
from daskgnn.cluster.forked import ForkedCluster
from daskgnn.cluster.prefork import block_sigint, start_importing
from daskgnn.cluster.ready import WorkerWatch
from daskgnn.cluster.settings import OWN_CLUSTER, suit_settings
from daskgnn.cluster.tls import connection_args
from daskgnn.errors import ClusterError, NoWorkerError

if TYPE_CHECKING:
    from collections.abc import Iterator

DASHBOARD_PORT = 8787

WORKER_START_SECONDS = 60
"""Time limit for a local worker to start."""

THREADS_PER_WORKER = 2
"""One computes steps while the other prepares the next window."""

_POLL_SECONDS = 0.5
_REMEDY = "start one with 'daskgnn scheduler', and give scheduler='tcp://HOST:8786'"


@contextmanager
def running_cluster(address: str) -> Iterator[Any]:
    """Yield a client of a cluster that somebody else has started.

    Raises
    ------
    ClusterError
        If nothing answers at the address in time, or it has no worker.
    """
    with Connection(
        lambda: _connected(address), lambda: wait_for_cluster(address)
    ) as client:
        yield client


@contextmanager
def own_cluster(
    workers: int,
    settings: dict[str, Any] | None = None,
    memory_limit: int | str = "auto",
) -> Iterator[Any]:
    """Yield a client of a cluster of worker processes on this machine.

    Where its scheduler is lost, `successor` starts another one with new workers.

    Parameters
    ----------
    workers : int
    settings : dict, optional
        Of Dask's configuration, before those of `OWN_CLUSTER`.
    memory_limit : int or str
        Of one worker; "auto" is an equal share of the machine's.
    """
    with (
        dask.config.set({**OWN_CLUSTER, **(settings or {})}),
        Connection(lambda: _started(workers, memory_limit)) as client,
    ):
        yield client


@contextmanager
def _started(workers: int, memory_limit: int | str = "auto") -> Iterator[Any]:
    start_importing()
    with block_sigint():
        cluster = ForkedCluster(
            n_workers=workers,
            threads_per_worker=THREADS_PER_WORKER,
            memory_limit=memory_limit,
            host="127.0.0.1",
            dashboard_address=f"127.0.0.1:{_dashboard_port()}",
            silence_logs=logging.CRITICAL,
            # How long a worker searches for a scheduler that is lost meanwhile; without
            # it, forever.
            death_timeout=WORKER_START_SECONDS,
        )
    with cluster, Client(cluster) as client:
        try:
            yield client
        finally:
            # Futures that outlive it would call a closed event loop: prevent that.
            client.generation += 1


def _dashboard_port() -> int:
    """Return Dask's usual port, or 0 (any) where another cluster has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", DASHBOARD_PORT))
        except OSError:
            return 0
    return DASHBOARD_PORT


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    timeout = parse_timedelta(dask.config.get("gnn.connect-timeout"))
    _ask_scheduler(address, timeout)
    with Client(address, timeout=timeout) as client:
        try:
            WorkerWatch(client, lambda: len(client.nthreads())).wait(timeout)
        except NoWorkerError as error:
            raise ClusterError(
                f"the scheduler at {address} has no worker: start some with "
                f"'daskgnn worker {address}'"
            ) from error
        yield client


def await_scheduler(address: str, seconds: float) -> None:
    """Return when a Dask scheduler answers at an address.

    Parameters
    ----------
    seconds : float
        How long to wait until something listens there.

    Raises
    ------
    ClusterError
        Naming what was found instead.
    """
    timeout = parse_timedelta(dask.config.get("gnn.connect-timeout"))
    place, end = _host_and_port(address), time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(place, timeout).close()
            break
        except OSError:
            time.sleep(_POLL_SECONDS)
    _ask_scheduler(address, timeout)


def _ask_scheduler(address: str, timeout: float) -> None:
    """Make sure within `timeout` seconds that a Dask scheduler answers.

    A client would wait for ever for the greeting of something else that listens.
    """
    known = connection_args(address)
    try:
        socket.create_connection(_host_and_port(address), timeout).close()
    except OSError as error:
        raise ClusterError(
            f"nothing listens at {address} ({error.strerror or error}): {_REMEDY}"
        ) from error
    try:
        kind = identity(address, known, timeout)["type"]
    except Exception as error:
        raise ClusterError(
            f"what listens at {address} does not answer as a Dask scheduler within "
            f"{timeout:g} s: {_REMEDY}"
        ) from error
    if kind != "Scheduler":
        raise ClusterError(f"a {kind} answers at {address}, not a scheduler: {_REMEDY}")


def _host_and_port(address: str) -> tuple[str, int]:
    """Return what an address names.

    Raises
    ------
    ClusterError
        If it is none.
    """
    try:
        return get_address_host_port(address, strict=True)
    except (TypeError, ValueError) as error:
        raise ClusterError(f"{address!r} is not an address: {_REMEDY}") from error


def check_cluster(client: Any) -> None:
    """Warn of what may change bits; set, or warn of, what costs time after a loss."""
    warn_of_differences(client)
    suit_settings(client)


def warn_of_differences(client: Any) -> None:
    """Warn where workers differ in what bits depend on.

    The same bits are promised for one torch version and one CPU capability.
    """
    found = client.run(_arithmetic, on_error="ignore")  # of one that has just died
    by_kind: dict[str, list[str]] = {}
    for address, kind in sorted(found.items()):
        by_kind.setdefault(kind, []).append(address)
    if len(by_kind) > 1:
        kinds = "; ".join(f"{kind}: {', '.join(w)}" for kind, w in by_kind.items())
        warnings.warn(
            f"workers differ, so a task that runs again elsewhere may give other "
            f"bits ({kinds})",
            stacklevel=2,
        )


def _arithmetic() -> str:
    """Return the torch version and CPU capability of this process."""
    import torch

    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
