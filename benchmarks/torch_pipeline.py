"""The same two stages by ``torch.distributed.pipelining`` over gloo."""

from __future__ import annotations

import multiprocessing
import os
import time
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from processes import give_result, settings
from torch.distributed.pipelining import PipelineStage, Schedule1F1B


def rank(number: int, given: dict[str, Any], port: int) -> float:
    """Run a stage; return the median seconds of a step."""
    from pipelines import layers

    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[number % len(cores)]})
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=number, world_size=2)
    model = layers(given["width"], given["layers"])
    half = given["layers"] // 2
    mine = model[:half] if number == 0 else model[half:]
    optimizer = torch.optim.SGD(mine.parameters(), lr=0.001)
    stage = PipelineStage(mine, number, 2, torch.device("cpu"))
    loss = torch.nn.functional.mse_loss
    schedule = Schedule1F1B(stage, given["micro_batches"], loss_fn=loss)
    generator = torch.Generator().manual_seed(0)
    rows = given["micro_batches"] * given["rows"]
    x = torch.randn(rows, given["width"], generator=generator)
    times = []
    for _ in range(given["repeats"] + 2):
        dist.barrier()
        began = time.perf_counter()
        optimizer.zero_grad()
        if number == 0:
            schedule.step(x)
        else:
            schedule.step(target=x)
        optimizer.step()
        dist.barrier()
        times.append(time.perf_counter() - began)
    dist.destroy_process_group()
    return median(times[2:])


def main() -> None:
    given, port = settings(), 29_531
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=rank, args=(1, given, port))
    other.start()
    seconds = rank(0, given, port)
    other.join()
    give_result({"seconds": seconds, "versions": {}})


if __name__ == "__main__":
    main()
