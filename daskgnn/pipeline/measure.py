"""How long each layer takes, forward and backward, and how much it sends on."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from daskgnn.nn.device import CPU
from daskgnn.pipeline.backward import backward
from daskgnn.train.compute.arithmetic import computing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from daskgnn.pipeline.layers import Layers

REPEATS = 3


def measure(
    layers: Layers, x: np.ndarray, beside: Sequence[tuple[Any, ...]], threads: int
) -> tuple[list[float], list[int]]:
    """Return seconds and bytes of each layer.

    Parameters
    ----------
    layers : Layers
        Of a copy of the model, whose statistics change.
    x : numpy.ndarray
        A micro-batch, as large as those to come.
    beside : sequence of tuple
        What each layer takes besides.
    threads : int

    Returns
    -------
    tuple
        Seconds of the forward and backward pass, medians; bytes of the output.
    """
    times: list[list[float]] = [[] for _ in layers.names]
    sizes = [0] * len(layers)
    parameters = [
        [p for p in layers.scope(i).parameters() if p.requires_grad]
        for i in range(len(layers))
    ]
    with computing(threads), torch.random.fork_rng(devices=[]):
        for _ in range(REPEATS):
            h = CPU.copy(x)
            for i in range(len(layers)):
                source = h.detach()
                if source.is_floating_point():
                    source.requires_grad_()
                began = time.perf_counter()
                more = beside[i] if beside else ()
                h = layers.run(i, source.clone(), *more)
                wanted = source if source.requires_grad else None
                backward(h, torch.ones_like(h), wanted, parameters[i])
                times[i].append(time.perf_counter() - began)
                sizes[i] = h.nbytes
    return [median(each) for each in times], sizes
