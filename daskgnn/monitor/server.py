"""Metrics of a run at a port of the driver, where there is no cluster."""

from __future__ import annotations

import time
import warnings
from importlib.util import find_spec
from typing import Any

import dask

from daskgnn.errors import InputError
from daskgnn.monitor.history import RunHistory
from daskgnn.monitor.teller import Record, Teller

_PORTS = 20
"""How many are tried, from the one that was asked for on."""


class MetricsServer(Teller):
    """Keeps a history of the run, and serves its metrics until the process ends.

    Parameters
    ----------
    port : int
        The first to try; the next free one is taken where it is in use.
    name : str
        What the run is called.

    Raises
    ------
    InputError
        If ``prometheus_client`` is missing; later, if no port is free.
    """

    def __init__(self, port: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.history = RunHistory()
        self.port = port
        self._served: Any = None
        if find_spec("prometheus_client") is None:
            raise InputError(
                f"metrics_port={port} needs prometheus_client: pip install "
                "prometheus_client"
            )

    def put(self, kind: str, record: Record) -> None:
        """Keep a record; serve them all from the first on."""
        if self._served is None:
            self.port, self._served = _serve(self.port, self.history)
        self.history.take({"run": self.name, "items": [(kind, record, time.time())]})

    def stop(self) -> None:
        """Serve no more."""
        if self._served is not None:
            server, thread = self._served
            server.shutdown()
            server.server_close()
            thread.join()
            self._served = None


def _serve(port: int, history: RunHistory) -> tuple[int, Any]:
    """Serve a history's metrics; return the port, and the server with its thread."""
    from prometheus_client import CollectorRegistry, start_http_server

    from daskgnn.monitor.metrics import RunCollector

    registry = CollectorRegistry()
    registry.register(RunCollector(history))
    host = dask.config.get("gnn.metrics-host")
    said: Any = None
    for candidate in range(port, min(port + _PORTS, 65536)):
        try:
            served = start_http_server(candidate, host, registry)
        except OSError as error:
            said = said or error
            continue
        if candidate != port:
            warnings.warn(
                f"metrics_port={port} is in use: metrics are at "
                f"http://{host}:{candidate}/metrics",
                stacklevel=2,
            )
        return candidate, served
    raise InputError(
        f"metrics_port={port}: no port from there on is free at {host} ({said}), "
        f"give another one, metrics_port={port + 100}"
    ) from said
