"""Checks of samplers' options, which say in one line what was wrong and what is right.

Each function takes the sampler's name, the option's, the value, and options that would
be right as ``size=512,form=poisson``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.values import is_finite, is_whole

if TYPE_CHECKING:
    from collections.abc import Iterable


def wrong_option(
    sampler: str, option: str, value: Any, expected: str, right: str
) -> InputError:
    """Return what to raise if an option has a value that cannot be used."""
    return InputError(
        f"sampler {sampler!r}: {option}={value!r}, expected {expected}: "
        f"{sampler}:{right}"
    )


def whole(
    sampler: str, option: str, value: Any, right: str, most: float = np.inf
) -> int:
    """Return a whole number of at least 1, and at most `most`.

    Raises
    ------
    InputError
    """
    if not is_whole(value) or not 1 <= value <= most:
        between = "of at least 1" if most == np.inf else f"from 1 to {most:g}"
        said = f"a whole number {between}"
        raise wrong_option(sampler, option, value, said, right)
    return int(value)


def positive(
    sampler: str, option: str, value: Any, right: str, below: float = np.inf
) -> float:
    """Return a number above 0, and below a limit.

    Raises
    ------
    InputError
    """
    if not is_finite(value) or not 0 < value < below:
        said = "a number above 0" + (f" and below {below:g}" if below < np.inf else "")
        raise wrong_option(sampler, option, value, said, right)
    return float(value)


def below_one(sampler: str, option: str, value: Any, right: str) -> float:
    """Return a share of at least 0 and below 1.

    Raises
    ------
    InputError
    """
    if not is_finite(value) or not 0 <= value < 1:
        said = "a number from 0 to below 1"
        raise wrong_option(sampler, option, value, said, right)
    return float(value)


def word(
    sampler: str, option: str, value: Any, words: Iterable[str], right: str = ""
) -> str:
    """Return one of some words.

    Raises
    ------
    InputError
    """
    known = list(words)
    if not isinstance(value, str) or value not in known:
        right = right or f"{option}={known[0]}"
        said = f"one of {', '.join(known)}"
        raise wrong_option(sampler, option, value, said, right)
    return value


def switch(sampler: str, option: str, value: Any) -> bool:
    """Return a truth value.

    Raises
    ------
    InputError
    """
    if not isinstance(value, bool | np.bool_):
        right = f"{option}=true"
        raise wrong_option(sampler, option, value, "true or false", right)
    return bool(value)
