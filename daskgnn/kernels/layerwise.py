"""Draw the nodes of a layer: inclusion by probability, or draws with replacement.

What a node is drawn with does not depend on the part that draws it: its variate is a
hash of the layer's key and its original id. Shapes: n nodes, K keys, t draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.kernels.aggregate import frozen
from daskgnn.kernels.counter import combine, draw, uniform
from daskgnn.kernels.jit import njit
from daskgnn.kernels.record import ArrayRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

_LAYER = np.uint64(1 << 63)
"""Apart from original ids, which keys of other draws are made of."""
_BIN_SHIFT = np.int64(47)
"""Leaves 5 bits of a float64's mantissa: a bin is at most 3 % wide."""
_LOWEST = np.int64(1023 - 64) << np.int64(5)
_NUM_BINS = 128 << 5


@njit(cache=True, nogil=True)
def layer_keys(step_keys: Any, num_layers: int) -> Any:
    """Return uint64 [W, L], the key of the draws of each step and layer."""
    out = np.empty((len(step_keys), num_layers), np.uint64)
    for step in range(len(step_keys)):
        for layer in range(num_layers):
            out[step, layer] = combine(step_keys[step], _LAYER + np.uint64(layer))
    return out


@dataclass(frozen=True)
class Histogram(ArrayRecord):
    """Positive numbers by size: how many there are and their sum, by narrow bins."""

    bins: np.ndarray
    """int32 [b], ascending with the numbers."""
    counts: np.ndarray
    """int64 [b]"""
    sums: np.ndarray
    """float64 [b]"""

    @classmethod
    def of(cls, values: np.ndarray) -> Histogram:
        """Count those of the `values` (float64 [n]) that are positive."""
        counts, sums = np.zeros(_NUM_BINS, np.int64), np.zeros(_NUM_BINS)
        bits = frozen(np.asarray(values, np.float64)).view(np.int64)
        _count(frozen(bits), frozen(values, np.float64), counts, sums)
        bins = np.flatnonzero(counts)
        return cls(bins.astype(np.int32), counts[bins], sums[bins])

    @classmethod
    def added(cls, some: Sequence[Histogram]) -> Histogram:
        """Return the histogram of the numbers of all."""
        counts, sums = np.zeros(_NUM_BINS, np.int64), np.zeros(_NUM_BINS)
        for one in some:
            counts[one.bins] += one.counts
            sums[one.bins] += one.sums
        bins = np.flatnonzero(counts)
        return cls(bins.astype(np.int32), counts[bins], sums[bins])

    @property
    def total(self) -> float:
        """Sum of the numbers."""
        return float(self.sums.sum())

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return int(self.counts.sum())

    def scale_for(self, expected: float) -> float:
        """Return c for which the sum of ``min(1, c q)`` over the numbers is `expected`.

        Numbers of a bin count as their mean. Infinite if there are not as many.
        """
        if expected >= self.size:
            return np.inf
        counts, sums = self.counts[::-1], self.sums[::-1]
        # With the k largest bins taken whole, the others share what is left.
        whole = np.concatenate([[0], np.cumsum(counts)[:-1]])
        rest = np.cumsum(sums[::-1])[::-1]
        scales = (expected - whole) / rest
        fits = scales * (sums / counts) <= 1
        return float(scales[np.argmax(fits)])


@njit(cache=True, nogil=True)
def _count(bits: Any, values: Any, counts: Any, sums: Any) -> None:
    """Add positive `values`, whose bits are given, to their bins."""
    for i in range(len(values)):
        if values[i] > 0:
            place = (bits[i] >> _BIN_SHIFT) - _LOWEST
            place = min(max(place, 0), len(counts) - 1)
            counts[place] += 1
            sums[place] += values[i]


def inclusion(values: np.ndarray, scale: float) -> np.ndarray:
    """Return the probabilities ``min(1, scale * values)``, 0 where a value is 0."""
    if np.isinf(scale):
        return (values > 0).astype(np.float64)
    return np.minimum(1.0, scale * values)


@njit(cache=True, nogil=True)
def poisson_draws(original_ids: Any, probability: Any, key: Any, out: Any) -> int:
    """Write to `out` [n] the places of the nodes that are drawn; return their number.

    Each is drawn with its `probability` (float64 [n]), whatever the others are.
    """
    count = 0
    for i in range(len(original_ids)):
        bits = combine(key, np.uint64(original_ids[i]))
        # Always written, and counted if it belongs: avoids a branch.
        out[count] = i
        count += uniform(bits) <= probability[i]
    return count


@njit(cache=True, nogil=True)
def race_keys(original_ids: Any, values: Any, key: Any) -> Any:
    """Return float64 [n], exponential variates of the rates `values` (float64 [n]).

    The nodes of the least keys are drawn one by one without replacement, in proportion
    to their values; infinite where a value is 0.
    """
    out = np.empty(len(values), np.float64)
    for i in range(len(values)):
        bits = combine(key, np.uint64(original_ids[i]))
        out[i] = -np.log(uniform(bits)) / values[i] if values[i] > 0 else np.inf
    return out


@njit(cache=True, nogil=True)
def _uniforms(key: Any, count: int) -> Any:
    out = np.empty(count, np.float64)
    for i in range(count):
        out[i] = uniform(draw(key, i))
    return out


def replacement_draws(
    cumulative: np.ndarray, masses: np.ndarray, part: int, key: np.uint64, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw with replacement, in proportion to the nodes' values.

    All nodes lie on a line in storage order, each as long as its value. Every part
    makes the same draws and keeps those that fall on its own nodes.

    Parameters
    ----------
    cumulative
        float64 [n], cumulative sums of the values of the part's nodes.
    masses
        float64 [P], sums of the values of each part's nodes.
    part
        Number of the part.
    key
        uint64, of the draws.
    count
        Number of draws over all parts.

    Returns
    -------
    tuple
        int64 [m] places of distinct nodes, ascending; int64 [m], how often each was
        drawn.
    """
    ends = np.cumsum(masses)
    points = _uniforms(key, count) * ends[-1]
    # Rounding may lead beyond the last part, or node, that has a value.
    owner = np.searchsorted(ends, points, side="right")
    owner = np.minimum(owner, np.searchsorted(ends, ends[-1]))
    mine = points[owner == part] - (ends[part] - masses[part])
    if not len(mine):
        none = np.empty(0, np.int64)
        return none, none
    places = np.searchsorted(cumulative, mine, side="right")
    last = np.searchsorted(cumulative, cumulative[-1])
    return np.unique(np.minimum(places, last), return_counts=True)


@dataclass(frozen=True)
class Offer(ArrayRecord):
    """What a part says of its nodes of a layer before any is drawn."""

    values: Histogram
    """Of what nodes are drawn in proportion to."""
    keys: np.ndarray
    """float64 [*], the least `race_keys`, for draws without replacement."""

    @property
    def nbytes(self) -> int:
        """Size of all arrays in bytes."""
        return self.values.nbytes + self.keys.nbytes


@dataclass(frozen=True)
class Terms:
    """How a layer's nodes are drawn, the same for all parts."""

    form: str
    """"poisson", "replacement" or "released": see `Terms.draw`."""
    size: int
    """Number of draws over all parts; of "poisson" the expected number of nodes."""
    masses: np.ndarray
    """float64 [P], sums of the values of each part's nodes."""
    scale: float = 0.0
    """Of "poisson": what values are multiplied by."""
    last_key: float = 0.0
    """Of "released": the key of the last node that is drawn."""

    @classmethod
    def of(cls, form: str, size: int, offers: Sequence[Offer]) -> Terms:
        """Return what follows from the offers of all parts, in their order."""
        masses = np.array([offer.values.total for offer in offers])
        everything = Histogram.added([offer.values for offer in offers])
        if form == "poisson":
            return cls(form, size, masses, scale=everything.scale_for(size))
        if form == "replacement":
            return cls(form, size, masses)
        keys = np.sort(np.concatenate([offer.keys for offer in offers]))
        count = min(size, len(keys))
        last = float(keys[count - 1]) if count else 0.0
        return cls(form, max(count, 1), masses, last_key=last)

    @property
    def total(self) -> float:
        """Sum of the values of all nodes."""
        return float(self.masses.sum())

    def prepared(self, values: np.ndarray) -> np.ndarray:
        """Return float64 [n], what draws need of the part's `values` (float64 [n])."""
        if self.form == "poisson":
            return inclusion(values, self.scale)
        return np.cumsum(values) if self.form == "replacement" else values

    def draw(
        self,
        part: int,
        values: np.ndarray,
        prepared: np.ndarray,
        original_ids: np.ndarray,
        key: np.uint64,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw the part's nodes of one layer.

        Parameters
        ----------
        part
            Number of the part.
        values
            float64 [n], what nodes are drawn in proportion to, in storage order.
        prepared
            float64 [n], see `prepared`.
        original_ids
            int64 [n].
        key
            uint64, of the layer's draws.

        Returns
        -------
        tuple
            int64 [m] places of the nodes, ascending; float64 [m], what each counts for:
            one over its probability ("poisson"), how often it was drawn over the
            expected number ("replacement"), or one over the number that would be
            expected with replacement ("released": drawn without, and biased).
        """
        if self.form == "poisson":
            room = np.empty(len(values) + 1, np.int64)
            given = frozen(original_ids), frozen(prepared)
            places = room[: poisson_draws(*given, key, room)].copy()
            return places, 1 / prepared[places]
        if self.form == "replacement":
            if self.total <= 0:
                return np.empty(0, np.int64), np.empty(0)
            places, times = replacement_draws(
                prepared, self.masses, part, key, self.size
            )
            return places, times * (self.total / self.size) / values[places]
        keys = race_keys(frozen(original_ids), frozen(values), key)
        places = np.flatnonzero((keys <= self.last_key) & (values > 0))
        return places, self.total / self.size / values[places]
