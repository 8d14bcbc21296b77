"""Plain values: which are whole numbers, numbers, shares and fan-outs."""

from __future__ import annotations

from math import isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from daskgnn.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping


_MOST_CHARACTERS = 200


def in_short(value: Any) -> str:
    """Return how Python shows a value; of one that needs several lines, its kind."""
    text = repr(value)
    if "\n" in text or len(text) > _MOST_CHARACTERS:
        return f"<{type(value).__name__}>"
    return text


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number: of Python or numpy, but not a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return whether a value is a number: of Python or numpy, but not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Return whether a value can be compared and drawn: a score of NaN cannot."""
    return is_number(value) and isfinite(value)


def is_repeated(name: str, record: Mapping[str, Any]) -> bool:
    """Return whether a score stands in a record under its metric's own name, too."""
    split, _, metric = name.partition("_")
    if metric != "metric":
        return False
    own = [n for n in record if n.startswith(f"{split}_") and n != name]
    return any(record[n] == record[name] for n in own)


def numbers_in(text: str) -> list[int | float]:
    """Return the numbers in a text with commas between them; those with dots are float.

    Raises
    ------
    ValueError
        If a word is no number.
    """
    words = [word.strip() for word in text.split(",")]
    return [int(w) if w.lstrip("+-").isdigit() else float(w) for w in words]


def fan_outs(name: str, value: Any) -> list[int | float]:
    """Return fan-outs as a list, or refuse what is none: shares stay floats."""
    values = list(value)
    for k in values:
        share = is_number(k) and not is_whole(k) and 0 < k <= 1
        if not share and (not is_whole(k) or (k < 1 and k != -1)):
            raise InputError(
                f"{name}={values} has {k!r}, expected at least 1, or -1 for all "
                "neighbours, or a share of them in (0, 1], as in 0.25"
            )
    return [int(k) if is_whole(k) else float(k) for k in values]


def same(value: Any) -> Any:
    """Return a value: a task, so that it can be sent to any worker again."""
    return value
