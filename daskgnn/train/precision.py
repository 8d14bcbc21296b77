"""Whether a processor gains by a lower precision: its flags, or else a measurement."""

from __future__ import annotations

import time
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from daskgnn.dataflow.executor import has_cluster
from daskgnn.train.compute.arithmetic import computing, half_precision
from daskgnn.train.persist.checkpoint import plan_before

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.dataflow.cluster import ClusterExecutor
    from daskgnn.dataflow.executor import Executor
    from daskgnn.train.options.options import TrainOptions

_INSTRUCTIONS = {
    "bf16": {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"},
    "medium": {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"},
    "fp16": {"avx512_fp16", "amx_fp16", "asimdhp"},
}
"""Flags of processors that multiply in a precision, as Linux names them."""

PRECISIONS = tuple(_INSTRUCTIONS)
"""Those lower than float32."""

_CPUINFO = Path("/proc/cpuinfo")
_ROWS, _WIDTH, _TIMES = 4096, 256, 3
"""Of the product that is measured: a tenth of a second in all."""


def chosen_precision(options: TrainOptions, find: Callable[[], Executor]) -> Any:
    """Return the precision of a run's products, where the choice is left to it, too.

    `find` returns what carries out its tasks. A run that is there keeps its precision.
    """
    if options["precision"] != "auto":
        return options["precision"]
    before = plan_before(options["out"])
    if before is not None:
        return before["precision"]
    executor = find()
    if has_cluster(executor):
        all_have = all(executor.client.run(has_instructions, "bf16").values())
    else:
        all_have = has_instructions("bf16")
    return "bf16" if all_have else "float32"


def has_instructions(precision: str) -> bool:
    """Return whether this machine's processor multiplies in a precision."""
    return bool(_INSTRUCTIONS[precision] & processor_flags())


def warn_of_slow_products(executor: Executor, precision: str, threads: int) -> None:
    """Warn where products in a lower precision take longer than in float32.

    What decides is a worker's processor, this process's where it computes itself. Only
    processors whose flags lack the instructions are measured.
    """
    if precision not in _INSTRUCTIONS:
        return
    if has_cluster(executor) and executor.client.cluster is None:
        ratio = _ratio_of_a_worker(executor, precision, threads)
    else:
        ratio = slowdown(precision, threads)
    if ratio is not None and ratio > 1:
        warnings.warn(
            f"precision={precision!r}: this processor has no instructions for it, and "
            f"a product takes {ratio:.1f} times as long as in float32 (measured): use "
            "precision='float32'",
            stacklevel=4,
        )


def slowdown(precision: str, threads: int) -> float | None:
    """Return a product's time in a precision by that in float32.

    None where the processor's flags say that it has the instructions.
    """
    if has_instructions(precision):
        return None
    return seconds_of_product(precision, threads) / seconds_of_product(
        "float32", threads
    )


@cache
def processor_flags() -> frozenset[str]:
    """Return the flags of this machine's processor; none where nothing tells them."""
    with suppress(OSError):
        for line in _CPUINFO.read_text().splitlines():
            name, _, flags = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return frozenset(flags.split())
    return frozenset()


@cache
def seconds_of_product(precision: str, threads: int) -> float:
    """Return the shortest of a few measured times of a product, as steps compute it."""
    rows, weight = torch.ones(_ROWS, _WIDTH), torch.ones(_WIDTH, _WIDTH)
    taken = []
    with torch.no_grad(), computing(threads, precision), half_precision(precision):
        for _ in range(_TIMES):
            began = time.perf_counter()
            torch.nn.functional.linear(rows, weight)
            taken.append(time.perf_counter() - began)
    return min(taken)


def _ratio_of_a_worker(
    executor: ClusterExecutor, precision: str, threads: int
) -> float | None:
    """Return the slowdown on a worker of a cluster that runs elsewhere."""
    client = executor.client
    workers = list(client.scheduler_info(n_workers=1)["workers"])
    if not workers:
        return None
    how = precision, threads
    answers = client.run(slowdown, *how, workers=workers[:1], on_error="ignore")
    found: float | None = next(iter(answers.values()), None)
    return found
