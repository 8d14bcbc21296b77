"""Draw training, validation and test nodes at random.

A node's place in the draw is a hash of the seed and its original id, so that the same
seed gives the same splits wherever they are drawn.
"""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.graph.memory.checks import SPLITS
from daskgnn.kernels.counter import SPLITTING, derive_key, keys_below

if TYPE_CHECKING:
    from daskgnn.graph.memory.data import GraphData

Size = int | float | None
"""A number of nodes, a share of those with a label, or nothing."""

_EXAMPLE = "split(train=0.6, val=0.2, seed=0)"


def draw_splits(
    labels: np.ndarray | None,
    num_nodes: int,
    sizes: dict[str, Size],
    by: str | None = None,
    per_class: int | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Return sorted ids of "train", "val" and "test", drawn from nodes with a label.

    Parameters
    ----------
    labels
        int64 [N] with -1, or float32 [N, C] with NaN, for unknown; None for none.
    sizes
        By split; where "test" is None it gets what is left.
    by
        "label" for the same share of every class in each split.
    per_class
        Training nodes of each class, instead of a size.

    Raises
    ------
    InputError
        If there are fewer nodes than asked for, or the settings contradict each other.
    """
    _check(sizes, by, per_class, seed, labels)
    ids = labelled_nodes(labels, num_nodes)
    drawn = ids[np.argsort(_keys(seed, ids), kind="stable")]
    found = {}
    if per_class is not None:
        assert labels is not None
        first = _first_of_each_class(labels[drawn], per_class)
        found["train"], drawn = drawn[first], drawn[~first]
    if by is not None:
        assert labels is not None
        drawn = drawn[_mixed_by_class(labels[drawn])]
    counts = _counts({n: s for n, s in sizes.items() if n not in found}, len(ids))
    wanted = sum(count for count in counts.values() if count is not None)
    if wanted > len(drawn):
        raise InputError(
            f"{' + '.join(counts)} take {wanted} nodes of {len(drawn)} with a label"
            f"{' beside the training nodes' if found else ''}: give fewer"
        )
    for name, count in counts.items():
        count = len(drawn) if count is None else count
        found[name], drawn = drawn[:count], drawn[count:]
    return {name: np.sort(found[name]) for name in SPLITS if len(found.get(name, ()))}


def labelled_nodes(labels: np.ndarray | None, num_nodes: int) -> np.ndarray:
    """Return int64 ids of the nodes whose labels are known; all without labels."""
    if labels is None:
        return np.arange(num_nodes)
    if labels.ndim == 1:
        return np.flatnonzero(labels != -1)
    return np.flatnonzero(~np.isnan(labels).any(axis=1))


def _keys(seed: int, ids: np.ndarray) -> np.ndarray:
    return keys_below(np.uint64(derive_key(SPLITTING, seed)), ids)


def _first_of_each_class(classes: np.ndarray, count: int) -> np.ndarray:
    """Return bool [n], which are the first `count` of their class.

    Raises
    ------
    InputError
        If a class has fewer.
    """
    sizes = np.bincount(classes)
    least = np.where(sizes > 0, sizes, count).min()
    if least < count:
        raise InputError(
            f"per_class={count}, but class {int((sizes == least).argmax())} has "
            f"{least} nodes: give per_class={least} or less"
        )
    return _ranks(classes, sizes) < count


def _mixed_by_class(classes: np.ndarray) -> np.ndarray:
    """Return an order in which every beginning has about the same share of each class.

    Nodes of a class keep their order.
    """
    sizes = np.bincount(classes)
    place = (_ranks(classes, sizes) + 0.5) / sizes[classes]
    return np.argsort(place, kind="stable")


def _ranks(classes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return int64 [n], how many of the same class come before each."""
    order = np.argsort(classes, kind="stable")
    ranks = np.empty(len(classes), np.int64)
    before = np.cumsum(sizes) - sizes
    ranks[order] = np.arange(len(classes)) - before[classes[order]]
    return ranks


def _counts(sizes: dict[str, Size], num_nodes: int) -> dict[str, int | None]:
    """Return how many nodes each split gets; None for those that are left.

    The borders are rounded, not the sizes, so that shares of 1 in all take all.
    """
    counts: dict[str, int | None] = {}
    share, taken = 0.0, 0
    for name, size in sizes.items():
        if size is None:
            if name == "test":
                counts[name] = None
        elif isinstance(size, Integral):
            counts[name] = int(size)
        else:
            share += float(size)
            border = round(share * num_nodes)
            counts[name], taken = border - taken, border
    return counts


def _check(
    sizes: dict[str, Size],
    by: str | None,
    per_class: int | None,
    seed: int,
    labels: np.ndarray | None,
) -> None:
    """Refuse settings that cannot be, in one line."""
    if by not in (None, "label"):
        raise InputError(f'by={by!r}, expected "label" or None, as in by="label"')
    for name, value in {"per_class": per_class, "seed": seed}.items():
        if value is not None and (not _is_whole(value) or value < (name != "seed")):
            raise InputError(f"{name}={value!r}, expected a whole number")
    if per_class is not None and sizes["train"] is not None:
        raise InputError(
            f"per_class={per_class} says how many training nodes there are: leave "
            f"train={sizes['train']!r} out"
        )
    if per_class is None and sizes["train"] is None:
        raise InputError(f"no size of train: as in {_EXAMPLE}, or give per_class=20")
    if (by or per_class is not None) and (labels is None or labels.ndim > 1):
        named = f"by={by!r}" if by else f"per_class={per_class}"
        has = "has no labels" if labels is None else "has several labels a node"
        raise InputError(f"{named} needs one class a node, and the graph {has}")
    for name, size in sizes.items():
        _check_size(name, size)
    shares = [float(s) for s in sizes.values() if s is not None and not _is_whole(s)]
    if sum(shares) > 1 + 1e-9:
        raise InputError(f"shares add up to {sum(shares):g}, expected at most 1")


def _check_size(name: str, size: Any) -> None:
    """Refuse what is neither a share nor a number of nodes."""
    if size is None or (_is_whole(size) and size > 0):
        return
    if not isinstance(size, float | np.floating) or not 0 < size < 1:
        raise InputError(
            f"{name}={size!r}, expected a share above 0 and below 1 or a number of "
            f"nodes, as in {_EXAMPLE}"
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def split_by_words(
    data: GraphData, split: str | None, per_class: int | None, seed: int
) -> GraphData:
    """Return a graph with the splits that a command line asks for, if it does.

    Parameters
    ----------
    split
        Shares, such as "60/20/20".
    per_class
        Training nodes of each class. Half of the others validate, half test.

    Raises
    ------
    InputError
        If both are given, or cannot be.
    """
    if split is not None and per_class is not None:
        raise InputError(
            f"split={split!r} and per_class={per_class} contradict each other: give "
            "one of them"
        )
    if split is not None:
        shares: dict[str, Any] = parse_split(split)
        return data.split(**shares, seed=seed)
    if per_class is None:
        return data
    drawn = data.split(per_class=per_class, seed=seed)
    others = len(drawn.splits.get("test", ()))
    return data.split(per_class=per_class, val=max(others // 2, 1), seed=seed)


def parse_split(text: str) -> dict[str, float]:
    """Return the shares that a text such as "60/20/20" or "0.6/0.2/0.2" names.

    Raises
    ------
    InputError
        If it is no such text.
    """
    try:
        shares = [float(word) for word in text.split("/")]
    except ValueError:
        shares = []
    total = sum(shares)
    if len(shares) not in (2, 3) or min(shares) <= 0 or not _is_total(total):
        raise InputError(
            f"split {text!r}, expected shares of train, val and test that add up to "
            "100, as in 60/20/20"
        )
    return {n: s / round(total) for n, s in zip(SPLITS, shares, strict=False)}


def _is_total(total: float) -> bool:
    return abs(total - 100) < 1e-6 or abs(total - 1) < 1e-6
