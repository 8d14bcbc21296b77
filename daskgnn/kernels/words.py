"""Numbers for words, in the order in which they are met.

Words are their UTF-8 bytes, one after the other, and where each begins: a long one
costs its own length, not that of all others. A table of slots finds them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daskgnn.kernels.jit import njit

_LEAST = 1 << 10
_SEED, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_SHIFT = np.uint64(29)


class WordTable:
    """Distinct words by number."""

    def __init__(self) -> None:
        self.count = 0
        self._text = np.empty(_LEAST, np.uint8)
        self._begins = np.zeros(_LEAST + 1, np.int64)
        self._slots = np.full(4 * _LEAST, -1, np.int32)

    @property
    def text(self) -> np.ndarray:
        """uint8, the bytes of all words."""
        return self._text[: self._begins[self.count]]

    @property
    def begins(self) -> np.ndarray:
        """int64 [count + 1], where each word begins, and where the last one ends."""
        return self._begins[: self.count + 1]

    def number(self, text: np.ndarray, begins: np.ndarray, add: bool) -> np.ndarray:
        """Return int32 [n], the numbers of words [n].

        Parameters
        ----------
        text : uint8
            The bytes of words.
        begins : int64 [n + 1]
            Where each begins, and where the last one ends.
        add
            Whether new words get the next numbers; else they get -1.
        """
        if add:
            self._make_room(len(begins) - 1, int(begins[-1] - begins[0]))
        found = np.empty(len(begins) - 1, np.int32)
        held = (self._text, self._begins, self._slots)
        self.count = int(_number(text, begins, add, self.count, *held, found))
        return found

    def _make_room(self, words: int, size: int) -> None:
        """Make the arrays so large that so many words more fit, of so many bytes."""
        self._text = _grown(self._text, int(self._begins[self.count]) + size)
        self._begins = _grown(self._begins, self.count + words + 1)
        needed = 2 * (self.count + words)
        if len(self._slots) < needed:
            length = 1 << (2 * needed - 1).bit_length() - 1
            self._slots = np.full(length, -1, np.int32)
            _enter(self._text, self._begins, self.count, self._slots)


def _grown(array: np.ndarray, needed: int) -> np.ndarray:
    """Return an array of at least so many elements, with the same first ones."""
    if len(array) >= needed:
        return array
    larger = np.empty(max(needed, len(array) * 3 // 2), array.dtype)
    larger[: len(array)] = array
    return larger


@njit(cache=True, nogil=True)
def _slot(text: Any, begin: int, end: int, slots: int) -> Any:
    """Return the first slot of a word, by the FNV hash of its bytes."""
    found = _SEED
    for i in range(begin, end):
        found = (found ^ np.uint64(text[i])) * _PRIME
    found ^= found >> _SHIFT
    return np.int64(found & np.uint64(slots - 1))


@njit(cache=True, nogil=True)
def _number(
    given: Any,
    bounds: Any,
    add: bool,
    count: int,
    text: Any,
    begins: Any,
    slots: Any,
    out: Any,
) -> int:
    """Write the numbers of words to `out`; return how many words are known then."""
    for i in range(len(bounds) - 1):
        begin, end = bounds[i], bounds[i + 1]
        slot = _slot(given, begin, end, len(slots))
        while slots[slot] >= 0 and not _same(
            given, begin, end, text, begins[slots[slot]], begins[slots[slot] + 1]
        ):
            slot = (slot + 1) & (len(slots) - 1)
        if slots[slot] < 0 and add:
            slots[slot] = count
            place = begins[count]
            for j in range(begin, end):
                text[place + j - begin] = given[j]
            count += 1
            begins[count] = place + end - begin
        out[i] = slots[slot]
    return count


@njit(cache=True, nogil=True)
def _same(one: Any, begin: int, end: int, other: Any, first: int, last: int) -> bool:
    """Tell whether two words have the same bytes."""
    if end - begin != last - first:
        return False
    for i in range(end - begin):  # noqa: SIM110
        if one[begin + i] != other[first + i]:
            return False
    return True


@njit(cache=True, nogil=True)
def _enter(text: Any, begins: Any, count: int, slots: Any) -> None:
    """Enter the words that are known into empty slots."""
    for number in range(count):
        slot = _slot(text, begins[number], begins[number + 1], len(slots))
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = number


@njit(cache=True, nogil=True)
def has_padded(text: Any) -> bool:
    """Tell whether a number somewhere in a text may have a leading 0, or be like 0x1F.

    Parameters
    ----------
    text : uint8 [n]
    """
    for i in range(len(text) - 1):
        if text[i] != 48 or not (
            48 <= text[i + 1] <= 57 or text[i + 1] == 88 or text[i + 1] == 120
        ):
            continue
        before = i - 1
        if before >= 0 and (text[before] == 43 or text[before] == 45):
            before -= 1
        if before < 0 or not (
            48 <= text[before] <= 57
            or 65 <= text[before] <= 90
            or 97 <= text[before] <= 122
            or text[before] == 46
            or text[before] >= 128
        ):
            return True
    return False
