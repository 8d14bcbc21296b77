"""The fixed order of sums over parts, which depends on their number alone.

A node of the tree is the range of parts it sums, ``(first, last + 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Range = tuple[int, int]
T = TypeVar("T")


@dataclass(frozen=True)
class Tree:
    """Which sums are made, in order, and what is left at the end."""

    sums: tuple[tuple[Range, Range], ...]
    """Pairs of neighbours that are added."""
    last: tuple[Range, ...]
    """The one or two ranges left: adding them is fused with the update."""

    def rest(self, known: Mapping[Range, T]) -> tuple[T, T | None]:
        """Return the last one or two of `known`, once all sums are made."""
        left, *right = (known[side] for side in self.last)
        return left, right[0] if right else None


@lru_cache(maxsize=64)
def reduction_tree(num_parts: int) -> Tree:
    """Return the tree: neighbours in pairs, level by level, an odd one goes up."""
    ranges = [(part, part + 1) for part in range(num_parts)]
    sums = []
    while len(ranges) > 2:
        above = []
        for left, right in zip(ranges[::2], ranges[1::2], strict=False):
            sums.append((left, right))
            above.append((left[0], right[1]))
        if len(ranges) % 2:
            above.append(ranges[-1])
        ranges = above
    return Tree(tuple(sums), tuple(ranges))


def reduce_known(tree: Tree, known: dict[Range, T], add: Callable[[T, T], T]) -> None:
    """Replace in `known` every pair whose both sides are there by its sum."""
    for left, right in tree.sums:
        if left in known and right in known:
            known[left[0], right[1]] = add(known.pop(left), known.pop(right))
