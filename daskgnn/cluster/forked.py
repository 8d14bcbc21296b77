"""Clusters that daskgnn starts: a scheduler process, and forked worker processes.

The scheduler then takes no turn of the driver's interpreter, and its death is not
the driver's. `distributed.SubprocessCluster` would start every process from nothing;
here all are forked from one that has imported what they need.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import threading
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import dask
from dask.utils import parse_timedelta
from distributed import LocalCluster, Scheduler
from distributed.core import Status
from distributed.deploy.spec import ProcessInterface

from daskgnn.cluster.prefork import METHOD
from daskgnn.errors import ClusterError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_START_SECONDS = 60.0
_END_SECONDS = 2.0
_MOMENT = 0.5


class ForkedCluster(LocalCluster):
    """A `distributed.LocalCluster` whose scheduler is a process of its own."""

    async def _start(self) -> None:
        if self.scheduler is None and self.scheduler_spec["cls"] is Scheduler:
            options = self.scheduler_spec["options"]
            quiet = self.new_spec["options"]["silence_logs"]
            self.scheduler_spec = {
                "cls": ForkedScheduler,
                "options": {"silence_logs": quiet, **options},
            }
        await super()._start()

    async def _close(self) -> None:
        scheduler = self.scheduler
        if isinstance(scheduler, ForkedScheduler) and scheduler.is_dead():
            # It does not answer any more, and requests would be retried for long.
            self.shutdown_scheduler = False
            scheduler.status = Status.failed
            await scheduler.close()
        # Of a worker that did not start, Dask would take the RuntimeError for a loop
        # that is closed, and leave all else open.
        await asyncio.gather(*self._futures, return_exceptions=True)
        self._futures.clear()
        await super()._close()

    def _update_worker_status(self, op: str, msg: Any) -> None:
        """Start another worker where one hangs and its nanny is given up."""
        if op == "remove":
            # One may go before its coming was told: while the cluster restarts.
            known = self.scheduler_info["workers"].get(msg)
            if known is None:
                return
            name = known["name"]
            given_up = parse_timedelta(
                dask.config.get("distributed.deploy.lost-worker-timeout")
            )
            loop = asyncio.get_running_loop()
            loop.call_later(given_up - _MOMENT, self._forget_retired, name)
            loop.call_later(given_up + _MOMENT, self._start_missing)
        super()._update_worker_status(op, msg)

    def _forget_retired(self, name: Any) -> None:
        """Ignore that a worker is gone whose nanny has ended."""
        nanny = self.workers.get(name)
        if nanny is not None and nanny.status == Status.closed:
            self.worker_spec.pop(name, None)

    def _start_missing(self) -> None:
        if self.status == Status.running and set(self.worker_spec) - set(self.workers):
            self._futures.add(asyncio.ensure_future(self._correct_state()))


class ForkedScheduler(ProcessInterface):
    """A Dask scheduler in a process that ends with this one.

    Parameters
    ----------
    silence_logs : int or None
        Level below which it logs nothing.
    options
        Of `distributed.Scheduler`.
    """

    def __init__(self, silence_logs: int | None = None, **options: Any) -> None:
        self.options = options
        self.silence_logs = silence_logs
        self.process: Any = None
        super().__init__()

    async def start(self) -> None:
        """Start the process and learn its address."""
        self.address = await asyncio.to_thread(self._start_process)
        await super().start()

    def _start_process(self) -> str:
        context = multiprocessing.get_context(METHOD)
        mine, theirs = context.Pipe(duplex=False)
        self.process = context.Process(  # type: ignore[attr-defined]
            target=_run_scheduler,
            args=(theirs, dask.config.config, self.silence_logs, self.options),
            name="daskgnn-scheduler",
            daemon=True,
        )
        self.process.start()
        theirs.close()
        with mine, suppress(EOFError):
            if mine.poll(_START_SECONDS):
                return str(mine.recv())
        raise ClusterError("the scheduler did not start: --debug shows its log")

    def is_dead(self) -> bool:
        """Return whether the process has ended without being asked to."""
        return self.process is not None and not self.process.is_alive()

    async def close(self) -> None:
        """End the process, which was asked to end before."""
        await asyncio.to_thread(self._end_process)
        await super().close()

    def _end_process(self) -> None:
        if self.process is None:
            return
        self.process.join(_END_SECONDS)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        self.process.close()
        self.process = None


def _run_scheduler(
    to_driver: Connection,
    settings: dict[str, Any],
    log_level: int | None,
    options: dict[str, Any],
) -> None:
    """Run a scheduler until it is closed; the main function of its process."""
    dask.config.set(settings)
    if log_level:
        for name in ("distributed", "bokeh", "tornado"):
            logging.getLogger(name).setLevel(log_level)
        # For instance, the dashboard's port was taken a moment ago.
        warnings.filterwarnings("ignore", module=r"distributed\b")
    threading.Thread(target=_end_with_the_driver, daemon=True).start()

    async def run() -> None:
        async with Scheduler(**options) as scheduler:
            to_driver.send(scheduler.address)
            to_driver.close()
            await scheduler.finished()

    asyncio.run(run())


def _end_with_the_driver() -> None:
    """End this process when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
