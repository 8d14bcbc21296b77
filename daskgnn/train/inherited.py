"""Modules imported in the process from which workers are forked."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from importlib import import_module

if any("multiprocessing.forkserver" in word for word in sys.orig_argv):
    # Signals to the driver's process group are meant for the driver:
    # it needs its workers until it has written a checkpoint, and ends them itself.
    os.setpgrp()
    # What is imported stays: to look for garbage in it would take half a second.
    gc.disable()

import numcodecs.blosc  # noqa: F401  (its semaphore: a killed worker would leave one)
import torch
from numba.core.registry import cpu_target

import daskgnn.dataflow.bundle
import daskgnn.dataflow.cluster
import daskgnn.dataflow.evaluate
import daskgnn.dataflow.timing
import daskgnn.graph.opening
import daskgnn.graph.sources.chunks
import daskgnn.nn
import daskgnn.train.compute.exact
import daskgnn.train.deployment  # noqa: F401

# Without their libraries there is no dashboard, and there are no metrics.
for name in (
    "distributed.dashboard.scheduler",
    "daskgnn.monitor.page",
    "daskgnn.monitor.metrics",
):
    with suppress(ImportError):
        import_module(name)

# The first optimizer of a process imports half of torch's compiler.
torch.optim.SGD([torch.zeros(1, requires_grad=True)])
# The first kernel of a process imports what Numba knows of NumPy.
cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()

if not gc.isenabled():
    # A collection of garbage writes to all objects that it looks at, and memory that
    # is written to is not shared any more: forked processes leave these alone.
    gc.freeze()
    gc.enable()
