"""Where a model is cut into stages: evenly by costs, or as a device map says."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from daskgnn.errors import InputError
from daskgnn.values import is_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BYTE_SECONDS = 0.8e-9
MESSAGE_SECONDS = 0.5e-3
"""What a message costs each of its ends, measured: docs/measurements/scaling.md."""


@dataclass(frozen=True)
class Cut:
    """Which layers each stage has."""

    bounds: tuple[int, ...]
    """The first layer of each stage, and the number of layers."""
    devices: tuple[int, ...] | None = None
    """Of each stage, where a device map was given."""

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.bounds) - 1

    def layers(self, stage: int) -> range:
        """Return the numbers of a stage's layers."""
        return range(self.bounds[stage], self.bounds[stage + 1])


@dataclass(frozen=True)
class Costs:
    """What each layer costs, and what it costs to cut behind it."""

    layers: tuple[float, ...]
    boundaries: tuple[float, ...] = ()
    """Behind each layer but the last, of each of the two stages."""


def check_stages(stages: Any, layers: int) -> None:
    """Refuse a number of stages that there are not layers for.

    Raises
    ------
    InputError
    """
    if not is_whole(stages) or stages < 1:
        raise InputError(f"stages={stages!r}, expected a whole number from 1")
    if stages > layers:
        raise InputError(
            f"stages={stages} for a model of {layers} layers: give stages={layers} or "
            "fewer"
        )


def cut_evenly(costs: Costs, stages: int) -> Cut:
    """Return the cut whose costliest stage costs least.

    Parameters
    ----------
    costs : Costs
    stages : int
        At most as many as there are layers.

    Returns
    -------
    Cut
        By dynamic programming: the best of all; of equal ones the earliest.

    Examples
    --------
    >>> from daskgnn.pipeline.cuts import Costs, cut_evenly
    >>> cut_evenly(Costs((1.0, 1.0, 1.0, 3.0)), 2).bounds
    (0, 3, 4)
    """
    check_stages(stages, len(costs.layers))
    sums = [0.0, *accumulate(costs.layers)]
    count = len(costs.layers)
    behind = [0.0, *(costs.boundaries or [0.0] * (count - 1)), 0.0]

    def cost(first: int, last: int) -> float:
        return sums[last] - sums[first] + behind[first] + behind[last]

    # best[k][i]: the costliest of k stages of the first i layers, and where the last
    # of them begins.
    best = [{0: (0.0, 0)}]
    for k in range(1, stages + 1):
        row = {}
        for i in range(k, count - (stages - k) + 1):
            row[i] = min(
                (max(before[0], cost(j, i)), j)
                for j, before in best[k - 1].items()
                if j < i
            )
        best.append(row)
    bounds = [count]
    for k in range(stages, 0, -1):
        bounds.append(best[k][bounds[-1]][1])
    return Cut(tuple(reversed(bounds)))


def cut_by_map(names: Sequence[str], own: Sequence[str], given: Any) -> Cut:
    """Return the cut that a device map describes.

    Parameters
    ----------
    names : sequence of str
        ``layer.0``, ...: what layers are called by their place.
    own : sequence of str
        What the model calls them.
    given : mapping
        The device of each layer, by one of its names: whole numbers from 0, as many
        as workers are wanted.

    Raises
    ------
    InputError
        If it names no layer or leaves one out.
    """
    if not hasattr(given, "items"):
        raise InputError(
            f"device_map={given!r}, expected the device of each layer, as in "
            f"device_map={{{names[0]!r}: 0, {names[-1]!r}: 1}}"
        )
    numbers = {name: i for i, name in enumerate(own)}
    numbers |= {name: i for i, name in enumerate(names)}
    places: dict[int, int] = {}
    for name, device in given.items():
        if name not in numbers:
            raise InputError(
                f"device_map names {name!r}, which is not a layer: expected "
                f"{names[0]} to {names[-1]}"
            )
        if not is_whole(device) or device < 0:
            raise InputError(
                f"device_map has {name!r}: {device!r}, expected a whole number from 0"
            )
        places[numbers[name]] = int(device)
    missing = [name for i, name in enumerate(names) if i not in places]
    if missing:
        raise InputError(
            f"device_map leaves out {', '.join(missing[:4])}"
            f"{' and others' if len(missing) > 4 else ''}: give each layer a device"
        )
    devices = [places[i] for i in range(len(names))]
    kinds = sorted(set(devices))
    if kinds != list(range(len(kinds))):
        raise InputError(
            f"device_map uses the devices {kinds}, expected all numbers from 0 on"
        )
    changes = [i + 1 for i, (a, b) in enumerate(pairwise(devices)) if a != b]
    starts = [0, *changes]
    return Cut((*starts, len(devices)), tuple(devices[i] for i in starts))


def time_costs(seconds: Sequence[float], sizes: Sequence[int]) -> Costs:
    """Return costs of layers by measured times, and by the bytes they send on.

    Parameters
    ----------
    seconds : sequence of float
        Of each layer's forward and backward pass.
    sizes : sequence of int
        Bytes of each layer's output.
    """
    ways = 2  # the output there, its gradient back
    behind = [ways * (MESSAGE_SECONDS + BYTE_SECONDS * size) for size in sizes[:-1]]
    return Costs(tuple(seconds), tuple(behind))


def described(
    cut: Cut, names: Sequence[str], costs: Mapping[str, Sequence[float]]
) -> list[str]:
    """Return a line a stage: its layers and what they cost.

    Parameters
    ----------
    costs : mapping
        Of every layer, by what is counted.
    """
    lines = []
    for stage in range(cut.stages):
        mine = cut.layers(stage)
        told = [
            f"{sum(values[i] for i in mine):,.4g} {what}"
            for what, values in costs.items()
        ]
        first, last = names[mine[0]], names[mine[-1]]
        named = first if first == last else f"{first} to {last}"
        lines.append(f"stage {stage}: {named} ({', '.join(told)})")
    return lines
