"""Clusters that tests share: starting one costs more than most tests do."""

from __future__ import annotations

import contextvars
import copy
import os
from contextlib import ExitStack, contextmanager
from functools import partial

import dask
from distributed.client import _del_global_client

from daskgnn.cluster import clusters
from daskgnn.cluster.connection import Connection

DEFAULTS = copy.deepcopy(dask.config.config)
"""Dask's configuration before any test has changed it."""


@contextmanager
def default_settings():
    """Put the configuration back to where it was before all tests, for a while."""
    before = dict(dask.config.config)
    dask.config.config.clear()
    dask.config.config.update(copy.deepcopy(DEFAULTS))
    try:
        yield
    finally:
        dask.config.config.clear()
        dask.config.config.update(before)


class SharedClusters:
    """Own clusters by their number of workers, each started when it is first wanted.

    A test that ends, adds or changes workers starts a cluster of its own instead.
    """

    def __init__(self):
        self._clients, self._pids, self._ends = {}, {}, []

    def __call__(self, workers):
        """Return the client of a cluster of so many workers."""
        if workers not in self._clients:
            # What the test that comes first has set is not for those after it.
            with default_settings(), dask.config.set(clusters.OWN_CLUSTER):
                connection = Connection(lambda: clusters._started(workers))
                client = self._enter(connection)
            self._clients[workers] = client
            self._pids[workers] = client.run(os.getpid)
        return self._clients[workers]

    def _enter(self, connection):
        """Connect, and leave Dask's default client as it was."""
        context, stack = contextvars.copy_context(), ExitStack()
        client = context.run(stack.enter_context, connection)
        _del_global_client(client)
        self._ends.append(partial(context.run, stack.close))
        return client

    def check(self):
        """End all of them where workers are not those that were there at first.

        A test has ended one, or a very busy machine has: the next test has new ones.
        """
        found = {
            workers: client.run(os.getpid, on_error="ignore")
            for workers, client in self._clients.items()
        }
        if found != self._pids:
            self.close()

    def close(self):
        """End all of them."""
        self._clients.clear()
        self._pids.clear()
        while self._ends:
            self._ends.pop()()
