"""How long to sample before training, and how many steps an epoch has then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.counter import PRESAMPLING, derive_key
from daskgnn.sampling.steps import StepPlan

FIRST_STEPS = 4
"""Steps of the first window; the next ones have twice as many each time."""
MOST_DRAWS = 2**18
"""About how many nodes a window draws at most."""
PATIENCE = 256
"""Steps after which some training node must have been drawn."""
MOST_STEPS = 2**16
"""Steps that pre-sampling may take."""


@dataclass(frozen=True)
class Presampled:
    """How far pre-sampling has come.

    Examples
    --------
    >>> from daskgnn.sampling.coverage import Presampled
    >>> Presampled(steps=4, subgraphs=2, drawn=50).mean
    12.5
    """

    steps: int = 0
    """Steps that were sampled."""
    subgraphs: int = 1
    """Subgraphs of a step."""
    drawn: int = 0
    """Training nodes that were drawn, each as often as it was in a subgraph."""

    @property
    def mean(self) -> float:
        """Training nodes of a step."""
        return self.drawn / max(self.steps, 1)

    @property
    def num_subgraphs(self) -> int:
        """Subgraphs that were sampled."""
        return self.steps * self.subgraphs


def next_window(
    sampler: str, done: Presampled, number: int, wanted: float, draws: int
) -> int:
    """Return how many steps the next window of pre-sampling has; 0 if it is enough.

    It depends on what was drawn alone, so that counts are the same on any cluster.

    Parameters
    ----------
    sampler : str
        Its name, for messages.
    done : Presampled
        How far pre-sampling has come.
    number : int
        Number of the window, from 0.
    wanted : float
        Training nodes that are to be drawn in all.
    draws : int
        Draws of a step.

    Returns
    -------
    int
        The number.

    Raises
    ------
    InputError
        If so many are not drawn in any reasonable time.
    """
    if done.drawn >= wanted:
        return 0
    if done.steps >= PATIENCE:
        needed = wanted / done.mean if done.drawn else np.inf
        if needed > MOST_STEPS:
            raise InputError(
                f"sampler {sampler!r}: pre-sampling never reaches its coverage: "
                f"{done.steps} steps have drawn {done.drawn} training nodes of "
                f"{wanted:.0f}: draw more nodes a step (size, or roots and length), or "
                "lower coverage"
            )
    steps = min(FIRST_STEPS << min(number, 16), max(MOST_DRAWS // draws, 1))
    if done.drawn:
        steps = min(steps, int(np.ceil((wanted - done.drawn) / done.mean)))
    return max(steps, 1)


def presampling_keys(seed: int, first: int, count: int) -> np.ndarray:
    """Return the keys of some steps of pre-sampling.

    Parameters
    ----------
    seed : int
        Of the run.
    first, count : int
        Which steps.

    Returns
    -------
    numpy.ndarray
        uint64 [count].
    """
    steps = range(first, first + count)
    keys = [derive_key(PRESAMPLING, seed, step) for step in steps]
    return np.array(keys, np.uint64)


class PresampledSteps(StepPlan):
    """As many steps an epoch as draw the number of training nodes on average.

    Parameters
    ----------
    num_train : int
        Number of training nodes.
    mean : float
        Training nodes of a step.
    num_subgraphs : int
        Subgraphs of a step.

    Examples
    --------
    >>> from daskgnn.sampling.coverage import PresampledSteps
    >>> plan = PresampledSteps(num_train=100, mean=24.6, num_subgraphs=2)
    >>> plan.steps_per_epoch, plan.seeds_per_step
    (4, 25)
    """

    def __init__(self, num_train: int, mean: float, num_subgraphs: int) -> None:
        self.steps_per_epoch = max(round(num_train / max(mean, 1e-9)), 1)
        self.seeds_per_step = max(round(mean), 1)
        self._starts = np.arange(num_subgraphs)[:, None]

    def starts(self, epoch: int, step: int) -> np.ndarray:
        """Return the numbers of a step's subgraphs."""
        return self._starts

    def num_targets(self, epoch: int, step: int) -> int:
        """Return the mean number of training nodes of a step."""
        return self.seeds_per_step


def distinct(draws: float, num_nodes: int) -> float:
    """Return about how many different nodes are drawn."""
    return num_nodes * (1 - np.exp(-draws / num_nodes))


def draws_for(share: float, num_nodes: int) -> float:
    """Return about how many draws give a share of different nodes: nine tenths at most.

    The inverse of `distinct`.
    """
    return float(-num_nodes * np.log1p(-min(share, 0.9)))
