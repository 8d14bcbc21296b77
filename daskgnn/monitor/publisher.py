"""Tell the scheduler how a run goes: small messages, off the run's way."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
import uuid
import warnings
from collections import deque
from concurrent.futures import TimeoutError as TookTooLong
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import dask

from daskgnn.errors import first_line
from daskgnn.monitor.history import TOPIC
from daskgnn.monitor.teller import Record, Teller

if TYPE_CHECKING:
    from collections.abc import Callable

    _Queue = deque[tuple[str, Record, float]]

SECONDS_BETWEEN = 0.25
"""Messages of shorter windows are sent together."""
_SENT_AT_ONCE = {"started", "window", "stopped"}
"""Other records go with the next of these."""
_MOST_WAITING = 2000
"""Records that wait for a scheduler that does not answer; older ones are dropped."""
_LAST_SECONDS = 2.0
"""How long the end of a run waits for its last message to arrive."""


def run_name(graph: str | None, place: str | None) -> str:
    """Return what a run is called in metrics: its graph, and a short hash.

    The same when it is continued. Its directory cannot be read from it.

    Examples
    --------
    >>> run_name("cora", "/data/runs/cora")
    'cora-4fb57e81'
    """
    short = re.sub(r"[^A-Za-z0-9_-]", "-", os.path.basename(graph or "")) or "run"
    own = place or uuid.uuid4().hex
    return f"{short[:40]}-{hashlib.sha256(own.encode()).hexdigest()[:8]}"


class Publisher(Teller):
    """Sends what a run does to the scheduler, as one message a window at most.

    The driver's thread only puts records in a queue; the client's loop sends them.

    Parameters
    ----------
    client : callable
        Returns the run's Dask client, another one after the scheduler was lost; None
        without a cluster.
    name : str
        What the run is called.
    """

    def __init__(self, client: Callable[[], Any], name: str) -> None:
        super().__init__()
        self._find_client = client
        self.name = name
        self._client: Any = None
        self._installed = False
        self._queue: _Queue = deque(maxlen=_MOST_WAITING)
        self._sending: Any = None
        self._over = asyncio.Event()
        """Set at the end of a fit, on the client's loop: the last message waits for no
        others."""
        self._sent = 0.0
        self._done: dict[str, int] = {}
        """Steps and seeds so far, with which another scheduler begins."""

    def close(self) -> None:
        """Tell that the fit is over, and wait a moment for that to arrive."""
        super().close()
        for _ in range(2):  # a record may come while the last message is sent
            if self._sending is not None:
                with suppress(TookTooLong, Exception):
                    self._sending.result(_LAST_SECONDS)
            if self._queue:
                self._begin_sending()

    def put(self, kind: str, record: Record) -> None:
        """Put a record in the queue; where the client is another one, begin there."""
        if kind == "started":
            self._done, self._over = {}, asyncio.Event()
        client = self._find_client()
        if client is not self._client:
            self._client = client
            # What is still being sent to another scheduler takes nothing from here.
            self._queue, self._sending = deque(maxlen=_MOST_WAITING), None
            self._over = asyncio.Event()
            self._installed = client is not None and self._install(client)
            if kind != "started":
                self._queue.append(("started", self.info | self._done, time.time()))
        if kind == "window":
            seeds = self._done.get("first_seeds", self.info["first_seeds"])
            self._done = {
                "first_step": record["step"],
                "first_seeds": seeds + record["seeds"],
            }
        if not self._installed or client.status != "running":
            return
        self._queue.append((kind, record, time.time()))
        if kind in _SENT_AT_ONCE:
            self._begin_sending()
        if kind == "stopped":
            client.loop.asyncio_loop.call_soon_threadsafe(self._over.set)

    def _begin_sending(self) -> None:
        """Have the client's loop send what waits, unless it is at it."""
        client = self._client
        if self._sending is not None and not self._sending.done():
            return
        if client is not None and client.status == "running":
            loop = client.loop.asyncio_loop
            self._sending = asyncio.run_coroutine_threadsafe(
                self._send(client, self._queue, self._over), loop
            )

    def _install(self, client: Any) -> bool:
        """Put page and metrics on the scheduler; say in one line why they are not."""
        if not dask.config.get("gnn.monitor"):
            return False
        from daskgnn.monitor.plugin import install

        try:
            missing = install(client)
        except Exception as error:
            missing = f"{type(error).__name__}: {first_line(error)}"
            warnings.warn(
                f"no live page and no metrics on this scheduler ({missing}): install "
                "daskgnn where it runs; training goes on",
                stacklevel=2,
            )
            return False
        if missing:
            warnings.warn(
                f"{missing}; training goes on",
                stacklevel=2,
            )
        return True

    async def _send(self, client: Any, queue: _Queue, over: asyncio.Event) -> None:
        """Send all that waits; what arrives meanwhile, with the next message."""
        while queue:
            due = self._sent + SECONDS_BETWEEN - time.monotonic()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(over.wait(), max(due, 0.0))
            items = []
            while queue:
                items.append(queue.popleft())
            self._sent = time.monotonic()
            with suppress(Exception):  # a scheduler that is lost is found elsewhere
                message = {"run": self.name, "items": items}
                await client.scheduler.log_event(topic=TOPIC, msg=message)
