"""Reconnect when a scheduler is lost: to a new cluster, or to the same address."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import Future as ConcurrentFuture
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import dask
from dask.utils import parse_timedelta
from distributed import Client, rpc
from distributed.comm.addressing import get_address_host_port

from daskgnn.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

_ANSWER_SECONDS = 5.0
_RETRY_SECONDS = 0.5


class Connection:
    """Opens a client, and another one when its scheduler is gone.

    Parameters
    ----------
    first : callable
        Returns a context manager of a client.
    again : callable, optional
        The same for the clients after it; by default `first`.
    """

    def __init__(
        self,
        first: Callable[[], AbstractContextManager[Any]],
        again: Callable[[], AbstractContextManager[Any]] | None = None,
    ) -> None:
        self._first, self._again = first, again or first
        self._stack = ExitStack()

    def __enter__(self) -> Any:
        return self._open(self._first)

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def renew(self) -> Any:
        """Close what is left of the client and its cluster; return another client."""
        self._stack.close()
        return self._open(self._again)

    def _open(self, how: Callable[[], AbstractContextManager[Any]]) -> Any:
        client = self._stack.enter_context(how())
        _CONNECTIONS[client] = self
        return client


_CONNECTIONS: WeakKeyDictionary[Any, Connection] = WeakKeyDictionary()
"""Of the clients that the library has opened itself."""


def successor(client: Any) -> Any:
    """Return a new client when the scheduler of `client` is gone.

    Clusters that daskgnn started are started again. Elsewhere the next scheduler at the
    same address is waited for, and a worker of it (``gnn.reconnect-timeout``).

    Raises
    ------
    ClusterError
        If there is none in time.
    """
    connection = _CONNECTIONS.get(client)
    if connection is not None:
        return connection.renew()
    address, security = client.scheduler.address, client.security
    client.close(_ANSWER_SECONDS)
    return wait_for_cluster(address, security)


def wait_for_cluster(address: str, security: Any = None) -> Any:
    """Return a client of a scheduler at an address, once it has a worker.

    Raises
    ------
    ClusterError
        If that takes longer than ``gnn.reconnect-timeout``.
    """
    limit = parse_timedelta(dask.config.get("gnn.reconnect-timeout"))
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if scheduler_id(address, security) is None:
            time.sleep(_RETRY_SECONDS)
            continue
        left = max(deadline - time.monotonic(), _RETRY_SECONDS)
        try:
            client = Client(address, security=security, timeout=left)
        except (OSError, TimeoutError):
            continue
        try:
            client.wait_for_workers(1, timeout=left)
        except (OSError, TimeoutError):
            client.close(_ANSWER_SECONDS)
            continue
        return client
    raise ClusterError(
        f"the scheduler at {address} is gone, and no other with a worker came there "
        f"within {limit:g} s"
    )


def has_lost_scheduler(client: Any, identity: str | None) -> bool:
    """Return whether the scheduler that a client had is there no more."""
    found = scheduler_id(client.scheduler.address, client.security)
    return found is None or found != identity


def scheduler_id(address: str, security: Any = None) -> str | None:
    """Return the name that the scheduler at an address has given itself, or None."""
    options = {} if security is None else security.get_connection_args("client")
    try:
        # Dask would keep trying for long if nothing listens.
        host = get_address_host_port(address)
        socket.create_connection(host, _ANSWER_SECONDS).close()
        return str(identity(address, options, _ANSWER_SECONDS, n_workers=0)["id"])
    except Exception:
        return None


def begin_gather(future: Any) -> ConcurrentFuture[Any]:
    """Have a result brought here; who stops waiting for it does not cancel that.

    `distributed.Future.result` with a timeout cancels. If that comes before the gather
    has begun, all later ones of the same client are cancelled too (distributed 2026.8):
    a busy machine is enough.
    """
    coming = future.client.gather(future, asynchronous=True)
    return asyncio.run_coroutine_threadsafe(coming, future.client.loop.asyncio_loop)


def identity(
    address: str, options: dict[str, Any], seconds: float, **given: Any
) -> dict[str, Any]:
    """Return what a server of Dask's at an address says of itself, in time.

    Parameters
    ----------
    options : dict
        Of the connection.
    seconds : float
        That it has to answer.
    given
        What it is told of the question.
    """

    async def ask() -> dict[str, Any]:
        async with rpc(address, connection_args=options) as remote:
            return dict(await asyncio.wait_for(remote.identity(**given), seconds))

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, ask()).result()
