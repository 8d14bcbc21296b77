"""Batch normalisation over parts: running statistics are state.

Each part normalises by its own rows, as with `torch.nn.parallel`'s
DistributedDataParallel. What it adds to the running statistics are sums over these
rows, so the sums over all parts give the mean and the variance of all rows.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from daskgnn.errors import ModelError
from daskgnn.nn.device import CPU


def is_pooled(module: torch.nn.Module) -> bool:
    """Return whether a module's running statistics are pooled over parts."""
    plain = (
        isinstance(module, _BatchNorm) and type(module).forward is _BatchNorm.forward
    )
    tracks = bool(getattr(module, "track_running_stats", False))
    return plain and tracks and getattr(module, "running_mean", None) is not None


class BatchNorms:
    """The batch normalisations of a model.

    Parameters
    ----------
    model : torch.nn.Module
        The model.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._named = {n: m for n, m in model.named_modules() if is_pooled(m)}
        self._modules: list[Any] = list(self._named.values())
        widths = [2 * m.num_features + 1 for m in self._modules]
        self._places = [slice(*p) for p in pairwise(np.cumsum([0, *widths]).tolist())]
        self._kept: list[Any] = []
        self._sums: dict[int, list[np.ndarray]] | None = None

    def buffers(self) -> set[str]:
        """Return the names of the buffers that are state."""
        kinds = ("running_mean", "running_var", "num_batches_tracked")
        return {f"{n}.{kind}".lstrip(".") for n in self._named for kind in kinds}

    def read(self) -> np.ndarray | None:
        """Return the running statistics, float64 [b]; None without such modules.

        Of each module: means, variances, and the number of batches.
        """
        if not self._modules:
            return None
        pieces = []
        for module in self._modules:
            count = module.num_batches_tracked
            pieces += [_array(module.running_mean), _array(module.running_var)]
            pieces.append(np.zeros(1) if count is None else _array(count.reshape(1)))
        return np.concatenate(pieces)

    def write(self, statistics: np.ndarray | None) -> None:
        """Set the running statistics to what `read` returned."""
        if statistics is None:
            return
        with torch.no_grad():
            for module, place in zip(self._modules, self._places, strict=True):
                mean, variance, count = _cut(statistics[place])
                module.running_mean.copy_(CPU.copy(mean))
                module.running_var.copy_(CPU.copy(variance))
                if module.num_batches_tracked is not None:
                    module.num_batches_tracked.fill_(int(count[0]))

    def reset(self) -> None:
        """Set the running statistics to those of a new module."""
        for module in self._modules:
            module.reset_running_stats()

    def watch(self) -> None:
        """Have the modules' calls noted down from now on: see `begin`."""
        for module in self._modules:
            module.register_forward_pre_hook(self._before, with_kwargs=True)
            module.register_forward_hook(self._after, always_call=True)

    def begin(self) -> None:
        """Begin to note down what a part's rows add, while the model runs once."""
        self._sums = {id(module): [] for module in self._modules}

    def calls(self) -> tuple[int, ...]:
        """Return how often each module was called, and end."""
        assert self._sums is not None
        counts = tuple(len(self._sums[id(module)]) for module in self._modules)
        self._sums = None
        return counts

    def take(self, calls: tuple[int, ...]) -> np.ndarray | None:
        """Return what the rows add, float64 [s], and end.

        Of each call of each module: the number n of rows, the sum of the rows, and n
        times the mean of their squares.

        Parameters
        ----------
        calls : tuple of int
            How often each module is called at most.

        Raises
        ------
        ModelError
            If a module was called more often.
        """
        assert self._sums is not None
        found, self._sums = self._sums, None
        pieces = []
        for (name, module), most in zip(self._named.items(), calls, strict=True):
            sums = found[id(module)]
            if len(sums) > most:
                raise ModelError(
                    f"module {name!r} (BatchNorm) was called {len(sums)} times in a "
                    f"minibatch and {most} times on two nodes: have forward() call it "
                    "equally often for any graph"
                )
            missing = most - len(sums)
            pieces += [*sums, *[_nothing(module)] * missing]
        return np.concatenate(pieces) if pieces else None

    def nothing(self, calls: tuple[int, ...]) -> np.ndarray | None:
        """Return what no rows add: see `take`."""
        self.begin()
        return self.take(calls)

    def pooled(
        self, statistics: np.ndarray, sums: np.ndarray, calls: tuple[int, ...]
    ) -> np.ndarray:
        """Return the running statistics after a step, float64 [b].

        Means and variances of all parts' rows are used by torch's rule: with a factor
        of `momentum`, or of 1 over the number of batches so far where that is None.

        Parameters
        ----------
        statistics : numpy.ndarray
            Before the step: what `read` or `pooled` returned.
        sums : numpy.ndarray
            The sum over parts of what `take` returned.
        calls : tuple of int
            As for `take`.
        """
        out, first = statistics.copy(), 0
        for module, place, count in zip(
            self._modules, self._places, calls, strict=True
        ):
            for _ in range(count):
                last = first + 2 * module.num_features + 1
                out[place] = _moved(out[place], sums[first:last], module.momentum)
                first = last
        return out

    def _before(self, module: Any, args: Any, kwargs: Any) -> None:
        """Have a call normalise by its rows alone, or by the statistics if too few."""
        if self._sums is None or not module.training:
            return
        x = args[0] if args else kwargs["input"]
        rows = x.numel() // max(x.shape[1], 1)
        self._kept = [rows]
        if rows < 2:
            module.training = False
            return
        # With a factor of 1 the statistics become those of the rows.
        scratch = ("running_mean", "running_var", "num_batches_tracked")
        self._kept += [module.momentum, *(getattr(module, name) for name in scratch)]
        module.running_mean = torch.zeros_like(module.running_mean)
        module.running_var = torch.zeros_like(module.running_var)
        module.num_batches_tracked = None
        module.momentum = 1.0

    def _after(self, module: Any, args: Any, output: Any) -> None:
        """Note down what a call adds; leave the module as it was."""
        if not self._kept:
            return
        (rows, *before), self._kept = self._kept, []
        if not before:
            module.training = True
            sums = _nothing(module)
        else:
            mean, variance = _array(module.running_mean), _array(module.running_var)
            square = variance * (rows - 1) / rows + mean * mean
            sums = np.concatenate([[rows], rows * mean, rows * square])
            module.momentum, module.running_mean, module.running_var, count = before
            module.num_batches_tracked = count
        if self._sums is not None:
            self._sums[id(module)].append(sums)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return CPU.array(tensor).astype(np.float64)


def _nothing(module: Any) -> np.ndarray:
    return np.zeros(2 * module.num_features + 1)


def _cut(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a module's means, variances and count."""
    width = len(statistics) // 2
    return statistics[:width], statistics[width:-1], statistics[-1:]


def _moved(
    statistics: np.ndarray, sums: np.ndarray, momentum: float | None
) -> np.ndarray:
    """Return a module's running statistics after a call, from all parts' sums."""
    rows, width = sums[0], len(sums) // 2
    if not rows:
        return statistics
    mean, variance, count = _cut(statistics)
    count = count + 1
    factor = 1 / count[0] if momentum is None else momentum
    here = sums[1 : 1 + width] / rows
    spread = np.maximum(sums[1 + width :] / rows - here * here, 0) * rows / (rows - 1)
    moved = [(1 - factor) * mean + factor * here]
    moved.append((1 - factor) * variance + factor * spread)
    # As torch holds them.
    return np.concatenate([np.float32(np.concatenate(moved)), count])
