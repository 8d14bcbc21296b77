"""What the peers' sides share: two pinned processes, one thread each, gloo.

Rank 0 loads the graph and forks the other ranks, which share its pages.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from processes import (
    cores,
    forget_peak,
    give_result,
    peak_megabytes,
    pin,
    result_path,
    settings,
)
from torch.nn.parallel import DistributedDataParallel
from workloads import load_arrays

Step = Callable[[], int]
"""Trains one step of this rank's share; returns its seeds."""
Side = Callable[[dict[str, Any], dict[str, torch.Tensor], int], Step]
"""(settings, arrays, rank) -> a step."""


def run(side: Side, versions: dict[str, str]) -> None:
    """Measure a side: for the main function of its script."""
    given = settings()
    torch.set_num_threads(1)
    arrays = {
        name: torch.from_numpy(array)
        for name, array in load_arrays(given["arrays"]).items()
    }
    context = multiprocessing.get_context("fork")
    others = [
        context.Process(target=_rank, args=(side, given, arrays, rank))
        for rank in range(1, given["workers"])
    ]
    for process in others:
        process.start()

    def finish(result: dict[str, Any]) -> None:
        for process in others:
            process.join()
        give_result({**result, "versions": versions})

    _rank(side, given, arrays, 0, finish)


def _rank(
    side: Side,
    given: dict[str, Any],
    arrays: dict[str, Any],
    rank: int,
    finish: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Train as one rank, hand over what all have measured, and end the process."""
    pin(cores()[rank % len(cores())])
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{result_path().with_name('meeting')}",
        rank=rank,
        world_size=given["workers"],
    )
    step = side(given, arrays, rank)
    result = _measure(step, given)
    if finish:
        finish(result)
    # Freeing the process group blocks for ever now and then.
    os._exit(0)


def _measure(step: Step, given: dict[str, Any]) -> dict[str, Any]:
    """Time the steps of all ranks."""
    for _ in range(given["warm_up"]):
        step()
    loading = peak_megabytes(os.getpid())
    dist.barrier()
    forget_peak(os.getpid())
    began, busy = time.perf_counter(), time.process_time()
    seeds = sum(step() for _ in range(given["steps"]))
    dist.barrier()
    seconds = time.perf_counter() - began
    busy = time.process_time() - busy
    steady = peak_megabytes(os.getpid())
    total = torch.tensor([seeds, busy], dtype=torch.float64)
    peaks = torch.tensor([max(loading, steady), steady])
    dist.all_reduce(total)
    dist.all_reduce(peaks, op=dist.ReduceOp.MAX)
    dist.barrier()
    return {
        "seeds_per_second": float(total[0]) / seconds,
        "ms_per_step": 1e3 * seconds / given["steps"],
        "cpu_ms_per_step": 1e3 * float(total[1]) / given["steps"],
        "steps": given["steps"],
        "seconds": seconds,
        "peak_mb": float(peaks[0]),
        "steady_mb": float(peaks[1]),
    }


def shares(train: torch.Tensor, given: dict[str, Any], rank: int) -> Iterator[Any]:
    """Yield this rank's seeds of each step, epoch after epoch."""
    generator = torch.Generator().manual_seed(0)
    while True:
        order = train[torch.randperm(len(train), generator=generator)]
        for batch in order.split(given["batch_size"]):
            yield batch.tensor_split(given["workers"])[rank]


def wrap(model: torch.nn.Module) -> tuple[Any, torch.optim.Optimizer]:
    """Return the model with averaged gradients, and its optimizer."""
    wrapped = DistributedDataParallel(model)
    return wrapped, torch.optim.Adam(wrapped.parameters(), lr=0.003)


def import_dgl() -> Any:
    """Import DGL 2.1 without the parts that need an older torch."""
    os.environ.setdefault("DGLBACKEND", "pytorch")
    for name in ("dgl.graphbolt", "torchdata", "torchdata.datapipes"):
        sys.modules.setdefault(name, types.ModuleType(name))
    import dgl

    return dgl
