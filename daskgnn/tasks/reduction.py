"""Whether a loss is a sum or a mean over seeds, found by calling it.

The mean over a part's seeds, times their number, is the part's share of the sum over
all seeds; where seeds have weights, times the sum of theirs.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from daskgnn.errors import InputError
from daskgnn.nn.device import CPU
from daskgnn.seams import failed
from daskgnn.tasks.loss import describe_function
from daskgnn.values import in_short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from daskgnn.tasks.loss import Loss

SUM, MEAN, WEIGHTED = "sum", "mean", "weighted mean"
_TOLERANCE = 1e-5
"""Relative, of float32 losses."""
_MOST_CLASSES = 2048
"""That a loss is tried with."""
_TOGETHER = "depends on which seeds are together"


@dataclass(frozen=True)
class Reduction:
    """How a loss is reduced over seeds."""

    name: str = SUM
    """"sum", "mean" or "weighted mean"."""
    weights: np.ndarray | None = None
    """float64 [C + 1], of a weighted mean: the weight of each class, and at last that
    of nodes without a label; None where seeds count as often as they have labels."""

    def weight(self, labels: Tensor, times: Tensor | None = None) -> float | None:
        """Return the sum of some seeds' weights, if the loss is a weighted mean."""
        if self.name != WEIGHTED:
            return None
        each = self._weights(labels)
        return float(each.sum() if times is None else each @ CPU.array(times))

    def _weights(self, labels: Tensor) -> np.ndarray:
        """Return the weights of seeds in a weighted mean, float64 [n]."""
        if self.weights is None:
            return CPU.array((~torch.isnan(labels)).sum(dim=1)).astype(np.float64)
        return self.weights[CPU.array(labels)]

    def summed(
        self, loss: Loss, outputs: Tensor, labels: Tensor, times: Tensor | None = None
    ) -> Tensor:
        """Return the sum over seeds, each times its weight if they have any.

        With `times` (float32 [n]), each is multiplied by its number there, too.
        """
        if times is not None:
            return self._summed_by(loss, outputs, labels, times)
        if self.name == SUM:
            return loss(outputs, labels)
        weight = self.weight(labels)
        if weight is None:
            return loss(outputs, labels) * len(labels)
        if not weight:  # a mean over nothing is nan
            return outputs.sum() * 0.0
        return loss(outputs, labels) * weight

    def _summed_by(
        self, loss: Loss, outputs: Tensor, labels: Tensor, times: Tensor
    ) -> Tensor:
        if self.name == WEIGHTED:
            times = times * CPU.tensor(self._weights(labels)).to(times)
        # A mean over nothing is nan, which no factor removes.
        used = times > 0
        return losses_of_rows(loss, outputs[used], labels[used]) @ times[used]


def losses_of_rows(loss: Loss, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return what a loss is of each row alone, [n]."""

    def of_one(output: Tensor, label: Tensor) -> Tensor:
        return loss(output.unsqueeze(0), label.unsqueeze(0))

    if not len(outputs):
        return outputs.sum(dim=1)
    try:
        each: Tensor = torch.func.vmap(of_one)(outputs, labels)
    except RuntimeError:  # the function looks at values
        rows = zip(outputs, labels, strict=True)
        each = torch.stack([of_one(*row) for row in rows])
    return each


def find_reduction(loss: Loss, num_classes: int, *, multilabel: bool) -> Reduction:
    """Call a loss with a row once and twice, and with several, to find what it is.

    Raises
    ------
    InputError
        In one line: if it fails, returns no single number, or is neither a sum nor a
        mean over seeds.
    """
    if not callable(loss):
        raise InputError(
            f"loss={in_short(loss)}, expected a function of outputs and labels, as in "
            "loss=torch.nn.CrossEntropyLoss()"
        )
    if isinstance(loss, type):
        inside = loss.__module__.startswith("torch.nn.")
        name = f"torch.nn.{loss.__name__}" if inside else loss.__name__
        raise InputError(
            f"loss={loss.__name__} is a class, give an instance: loss={name}()"
        )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # What torch thinks of made-up rows is of no use: what is wrong is said.
        warnings.simplefilter("ignore")
        kind = _LabelTrial if multilabel else _ClassTrial
        return kind(loss, num_classes).reduction()


class _Trial:
    """A loss, called with made-up rows."""

    rows: Tensor
    labels: Tensor

    def __init__(self, loss: Loss, num_classes: int) -> None:
        self.loss, self.num_classes = loss, num_classes
        self.name = f"loss={describe_function(loss)}"
        self.said = getattr(loss, "reduction", None)

    def reduction(self) -> Reduction:
        """Return how the loss is reduced."""
        if not np.isfinite(self.alone).any():
            return Reduction()
        if self._is_sum():
            if not all(self._adds_up(rows) for rows in self.mixtures()):
                raise self.refusal(_TOGETHER)
            return Reduction(SUM)
        why = "weights seeds by more than their labels"
        for weights, found in self.means():
            first, *others = (self._explains(weights, m) for m in self.mixtures())
            if first and all(others):
                return found
            if first:
                why = _TOGETHER
        raise self.refusal(why)

    def mixtures(self) -> list[np.ndarray]:
        """Return rows to call the loss with: all once, then unequally often.

        A loss that looks at how many seeds of a class it is given may seem a mean where
        there are as many of each.
        """
        count = len(self.labels)
        rows = np.arange(count)
        return [rows, rows[:-1], np.repeat(rows, 1 + rows * 3 // count)]

    def means(self) -> Iterator[tuple[np.ndarray, Reduction]]:
        """Yield the rows' weights in each kind of mean that it may be."""
        raise NotImplementedError

    def of(self, which: Any) -> float:
        """Return the loss of some rows."""
        chosen = list(which)
        return self._called(self.rows[chosen], self.labels[chosen])

    @cached_property
    def alone(self) -> np.ndarray:
        """float64 [n], the losses of single rows."""
        return np.array([self.of([i]) for i in range(len(self.labels))])

    def refusal(self, why: str) -> InputError:
        """Return what to raise for what is neither a sum nor a mean."""
        return InputError(
            f"{self.name} {why}: it is neither the sum nor a mean over seeds, so those "
            f"of the parts cannot be added up; {self._corrected()}"
        )

    def _is_sum(self) -> bool:
        """Return whether twice the same row doubles the loss, which else stays."""
        usable = np.flatnonzero(np.isfinite(self.alone) & (self.alone != 0))
        if not len(usable):  # 0 for any seed, or never a number, which is refused later
            return bool(self.said != MEAN)
        row = int(usable[0])
        once, twice = self.alone[row], self.of([row, row])
        if not (_close(twice, once) or _close(twice, 2 * once)):
            raise self.refusal(f"gives {once:g} for a seed and {twice:g} for it twice")
        return _close(twice, 2 * once)

    def _adds_up(self, rows: np.ndarray) -> bool:
        """Return whether the loss of some rows is their sum."""
        return _close(self.of(rows), np.nansum(self.alone[rows]))

    def _explains(self, weights: np.ndarray, rows: np.ndarray) -> bool:
        """Return whether the loss of some rows is their mean with these weights."""
        used = rows[weights[rows] > 0]
        if not len(used):
            return False
        mean = np.average(self.alone[used], weights=weights[used])
        return _close(self.of(rows), mean)

    def _called(self, outputs: Tensor, labels: Tensor) -> float:
        """Return the loss; refuse what is no number."""
        try:
            found = self.loss(outputs, labels)
        except Exception as error:
            raise failed(f"{self.name}(outputs, labels)", error) from error
        if not isinstance(found, torch.Tensor) or found.shape != ():
            tensor = isinstance(found, torch.Tensor)
            shape = f"shape {tuple(found.shape)}" if tensor else type(found).__name__
            raise InputError(
                f"{self.name} returns {shape} for {len(outputs)} seeds, expected one "
                f"number, their sum or mean: {self._corrected()}"
            )
        return float(found.detach())

    def _corrected(self) -> str:
        """Return a call that is right."""
        if isinstance(self.loss, torch.nn.Module) and self.said is not None:
            return f"give loss=torch.nn.{type(self.loss).__name__}(reduction='mean')"
        return "return the sum over seeds, as in loss.sum()"


class _ClassTrial(_Trial):
    """A loss of class labels."""

    def __init__(self, loss: Loss, num_classes: int) -> None:
        super().__init__(loss, num_classes)
        count = min(num_classes, _MOST_CLASSES)
        classes = np.unique(np.linspace(0, num_classes - 1, count).astype(int))
        self.labels = CPU.tensor(np.append(-1, classes))
        generator = torch.Generator().manual_seed(0)
        self.rows = torch.randn(2 * len(self.labels), num_classes, generator=generator)
        self.unlabelled = self._takes_unlabelled()
        if not self.unlabelled:
            self.labels = self.labels[1:]
        # Each class twice: a weight may depend on more than it.
        self.labels = self.labels.repeat(2)
        self.rows = self.rows[: len(self.labels)]

    def _takes_unlabelled(self) -> bool:
        """Return whether the loss knows of nodes without a label."""
        try:
            self.loss(self.rows[:2], self.labels[:2])
        except Exception:
            return False
        return True

    def means(self) -> Iterator[tuple[np.ndarray, Reduction]]:
        """Yield weights by class: those it names, equal ones, those that are found."""
        for weights in (self._named(), np.ones(self.num_classes + 1), self._found()):
            if weights is None:
                continue
            last = weights[-1] if self.unlabelled else weights[0]
            weights = np.append(weights[:-1], last)
            rows = weights[CPU.array(self.labels)]
            equal = bool((weights == weights[0]).all())
            yield rows, Reduction(MEAN) if equal else Reduction(WEIGHTED, weights)

    def _named(self) -> np.ndarray | None:
        """Return the weights that torch's losses hold, or functions of it are given."""
        keywords = getattr(self.loss, "keywords", {})
        given = getattr(self.loss, "weight", keywords.get("weight"))
        ignored = getattr(self.loss, "ignore_index", keywords.get("ignore_index"))
        weights = np.ones(self.num_classes + 1)
        if isinstance(given, torch.Tensor) and given.shape == (self.num_classes,):
            weights[:-1] = CPU.array(given)
        if ignored is not None and -1 <= ignored < self.num_classes:
            weights[ignored] = 0
        return weights

    def _found(self) -> np.ndarray | None:
        """Return weights found by pairs: of losses a and b, (v a + w b) / (v + w)."""
        count = len(self.labels) // 2
        if count < self.num_classes:
            return None
        usable = np.flatnonzero(np.isfinite(self.alone[:count]))
        usable = usable[np.argsort(self.alone[usable])].tolist()
        for base in (*usable[-1:], *usable[:1]):
            known = self._relative_to(base, usable)
            if known is not None:
                weights = np.zeros(self.num_classes + 1)
                weights[CPU.array(self.labels[:count])] = known[:count]
                return weights
        return None

    def _relative_to(self, base: int, usable: list[int]) -> np.ndarray | None:
        """Return all rows' weights, where that of one is 1; None if it has none."""
        weights = np.zeros(len(self.labels))
        for row in usable:
            weights[row] = 1.0 if row == base else self._weight(row, base)
        if not np.isfinite(weights).all():
            return None
        counted = [row for row in usable if weights[row]]
        other = max(counted, key=lambda row: self._distance(row, base))
        for row in counted:
            # The losses of a pair must differ for their weights to be seen.
            near = self._distance(row, base) < self._distance(row, other)
            if near and row != base:
                weights[row] = self._weight(row, other) * weights[other]
        return weights

    def _distance(self, row: int, other: int) -> float:
        return float(abs(self.alone[row] - self.alone[other]))

    def _weight(self, row: int, other: int) -> float:
        """Return a row's weight, where that of another is 1."""
        both = self.of([row, other])
        if both == self.alone[row]:
            return float("inf")
        found = (self.alone[other] - both) / (both - self.alone[row])
        return float(found) if abs(found) > _TOLERANCE else 0.0


class _LabelTrial(_Trial):
    """A loss of several yes/no labels a node."""

    def __init__(self, loss: Loss, num_classes: int) -> None:
        super().__init__(loss, num_classes)
        generator = torch.Generator().manual_seed(0)
        self.rows = torch.randn(6, num_classes, generator=generator)
        self.labels = torch.randint(2, (6, num_classes), generator=generator).float()

    def means(self) -> Iterator[tuple[np.ndarray, Reduction]]:
        """Yield equal weights, and the numbers of labels that are not missing."""
        missing = self.labels.clone()
        missing[1::2, : self.num_classes // 2] = float("nan")
        if np.isfinite(self._called(self.rows, missing)):
            self.labels = missing
            del self.alone
        given = (~torch.isnan(self.labels)).sum(dim=1)
        yield np.ones(len(self.rows)), Reduction(MEAN)
        yield CPU.array(given).astype(float), Reduction(WEIGHTED)


def _close(found: float, expected: float) -> bool:
    return bool(abs(found - expected) <= _TOLERANCE * max(abs(expected), 1e-3))
