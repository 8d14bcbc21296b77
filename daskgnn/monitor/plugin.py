"""The plugin that keeps runs' histories on a scheduler, and shows them there."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin
from distributed.protocol.pickle import dumps

from daskgnn.monitor.history import TOPIC, RunHistory

if TYPE_CHECKING:
    from distributed import Scheduler, Worker

PLUGIN = "daskgnn-monitor"
PAGE = "/gnn"
_LOG = logging.getLogger("daskgnn.monitor")


class MonitorPlugin(SchedulerPlugin):
    """Keeps a history of runs; adds a page to the dashboard, and metrics."""

    name = PLUGIN
    idempotent = True

    def __init__(self) -> None:
        self.history = RunHistory()
        self.missing = ""
        """What could not be set up, in one line."""
        self._failed = False

    async def start(self, scheduler: Scheduler) -> None:
        """Set up page and metrics, as far as their libraries are there."""
        missing = []
        for what, add in (("page", self._add_page), ("metrics", self._add_metrics)):
            try:
                add(scheduler)
            except Exception as error:
                missing.append(f"no live {what} ({type(error).__name__}: {error})")
        plugin = dumps(MonitorWorkerPlugin())
        await scheduler.register_worker_plugin(
            None, plugin, name=PLUGIN, idempotent=True
        )
        self.missing = "; ".join(missing)

    def _add_page(self, scheduler: Any) -> None:
        from distributed.dashboard.core import BokehApplication
        from tornado.ioloop import IOLoop

        from daskgnn.monitor.page import show

        app = BokehApplication({PAGE: show}, scheduler, prefix="/")
        scheduler.http_application.add_application(app)
        app.initialize(IOLoop.current())
        app.start()

    def _add_metrics(self, _scheduler: Any) -> None:
        from daskgnn.monitor.metrics import RunCollector, expose

        expose(RunCollector(self.history))

    def log_event(self, topic: str, msg: Any) -> None:
        """Take a run's message."""
        if topic != TOPIC or self._failed:
            return
        try:
            self.history.take(msg)
        except Exception:
            self._failed = True
            _LOG.exception("the live page and its metrics stop; training goes on")

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Show a lost worker at once."""
        self.history.lost(worker)


class MonitorWorkerPlugin(WorkerPlugin):
    """Adds what a worker has done to its ``/metrics``."""

    name = PLUGIN
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Register the metrics, where their library is there."""
        try:
            from daskgnn.monitor.metrics import WorkerCollector, expose
        except ImportError:
            return
        expose(WorkerCollector())


async def _start(dask_scheduler: Any) -> str:
    """Register the plugin unless it is there; return what is missing."""
    plugin = MonitorPlugin()
    await dask_scheduler.register_scheduler_plugin(plugin, name=PLUGIN, idempotent=True)
    found: str = dask_scheduler.plugins[PLUGIN].missing
    return found


def install(client: Any) -> str:
    """Put page and metrics on a scheduler; return what is missing there, in words.

    Raises
    ------
    Exception
        Whatever the scheduler answers where daskgnn cannot be imported.
    """
    found: str = client.run_on_scheduler(_start)
    return found


def page_link(client: Any) -> str | None:
    """Return the address of the page, None where there is no dashboard."""
    link = getattr(client, "dashboard_link", None)
    return None if not link else str(link).rsplit("/", 1)[0] + PAGE
