"""Reconnect when a scheduler is lost: to a new cluster, or to the same address."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import Future as ConcurrentFuture
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from weakref import WeakKeyDictionary

import dask
from dask.utils import parse_timedelta
from distributed import Client, rpc
from distributed.comm.addressing import get_address_host_port

from daskgnn.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

RECONNECT_SECONDS = 60.0
"""How long a run in progress waits for another scheduler, where no setting says."""
_ANSWER_SECONDS = 5.0
_RETRY_SECONDS = 0.5
_IN_PROCESS = "inproc://"
"""How addresses in this process begin."""


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
        self.ended = False
        """Whether the client was closed on purpose."""

    def __enter__(self) -> Any:
        return self._open(self._first)

    def __exit__(self, *error: Any) -> None:
        self.ended = True
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


def is_own(client: Any) -> bool:
    """Return whether the library has opened a client, and has not ended it."""
    connection = _CONNECTIONS.get(client)
    return connection is not None and not connection.ended


def successor(client: Any, address: str, seconds: float = RECONNECT_SECONDS) -> Any:
    """Return a new client when the scheduler of `client` is gone.

    Clusters that daskgnn started are started again. Elsewhere the next scheduler at the
    same address is waited for, and a worker of it.

    Parameters
    ----------
    address : str
        Of the scheduler.
    seconds : float
        How long to wait where ``gnn.reconnect-timeout`` says nothing.

    Raises
    ------
    ClusterError
        If there is none in time.
    """
    connection = _CONNECTIONS.get(client)
    if connection is not None:
        return connection.renew()
    security = client.security
    client.close(_ANSWER_SECONDS)
    return wait_for_cluster(address, security, seconds)


def wait_for_cluster(
    address: str, security: Any = None, seconds: float = RECONNECT_SECONDS
) -> Any:
    """Return a client of a scheduler at an address, once it has a worker.

    Raises
    ------
    ClusterError
        If that takes longer than ``gnn.reconnect-timeout``, or `seconds` where that
        says nothing.
    """
    configured = parse_timedelta(dask.config.get("gnn.reconnect-timeout"))
    limit = seconds if configured is None else configured
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
            with asking_for_worker(client):
                client.wait_for_workers(1, timeout=left)
        except (OSError, TimeoutError):
            client.close(_ANSWER_SECONDS)
            continue
        return client
    raise ClusterError(
        f"the scheduler at {address} is gone, and no other with a worker came there "
        f"within {limit:g} s"
    )


@contextmanager
def asking_for_worker(client: Any) -> Iterator[None]:
    """Have an adaptive cluster start a worker: it does so for a task that waits."""
    name = f"ask-for-a-worker-{uuid4().hex}"
    future = client.submit(_nothing, key=name, pure=False)
    try:
        yield
    finally:
        future.release()


def _nothing() -> None:
    """Be a task."""


def has_lost_scheduler(client: Any, address: str, identity: str | None) -> bool:
    """Return whether the scheduler that a client had is there no more."""
    found = scheduler_id(address, client.security)
    return found is None or found != identity


def nobody_listens(address: str) -> bool:
    """Return whether connections to an address are refused, which is known at once.

    A client whose scheduler has just ended does not know it yet.
    """
    if address.startswith(_IN_PROCESS):
        return False
    try:
        socket.create_connection(
            get_address_host_port(address), _ANSWER_SECONDS
        ).close()
    except OSError as error:
        return isinstance(error, ConnectionRefusedError)
    return False


def scheduler_id(address: str, security: Any = None) -> str | None:
    """Return the name that the scheduler at an address has given itself, or None."""
    options = {} if security is None else security.get_connection_args("client")
    try:
        if not address.startswith(_IN_PROCESS):
            # Dask would keep trying for long if nothing listens.
            host = get_address_host_port(address)
            socket.create_connection(host, _ANSWER_SECONDS).close()
        return str(identity(address, options, _ANSWER_SECONDS, n_workers=0)["id"])
    except Exception:
        return None


def begin_gather(
    client: Any, futures: Any, *, direct: bool | None = None
) -> ConcurrentFuture[Any]:
    """Have results brought here; who stops waiting for them does not cancel that.

    Parameters
    ----------
    futures
        One, or a list of them.
    direct : bool, optional
        Whether they come from workers without a way through the scheduler; by default
        what the client does.

    `distributed.Future.result` with a timeout cancels. If that comes before the gather
    has begun, all later ones of the same client are cancelled too (distributed 2026.8):
    a busy machine is enough.
    """
    coming = client.gather(futures, direct=direct, asynchronous=True)
    return asyncio.run_coroutine_threadsafe(coming, client.loop.asyncio_loop)


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
