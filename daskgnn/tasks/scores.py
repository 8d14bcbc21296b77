"""The parts' contributions to scores, which are merged in a tree."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from daskgnn.errors import InputError, needing

MOST_SCORES = 1 << 20
"""Distinct scores that a `Ranking` keeps; from there on they are rounded."""

_RANKED = {"rocauc", "ap"}
_COUNTED = {"f1_micro", "f1_macro"}


@dataclass(frozen=True)
class Ranking:
    """Counts of positives and negatives by score, for ROC AUC and average precision.

    Scores are float32. If more than `most` of them differ, as few low bits as possible
    are dropped from all, so that close scores become ties; the result does not depend
    on how a split is cut into parts. `error` bounds what that changes.

    Examples
    --------
    >>> import numpy as np
    >>> from daskgnn.tasks import Ranking
    >>> one = Ranking.of(np.array([0.9, 0.4]), np.array([True, False]))
    >>> other = Ranking.of(np.array([0.6, 0.7]), np.array([True, False]))
    >>> ranking = one.merge(other)
    >>> ranking.has_both
    True
    >>> ranking.measure("rocauc"), ranking.error("rocauc")
    (0.75, 0.0)
    """

    scores: np.ndarray
    """uint32 [m], distinct scores as bits that are ordered like the scores."""
    negatives: np.ndarray
    """int64 [m], negatives of each score."""
    positives: np.ndarray
    """int64 [m], positives of each score."""
    dropped: int = 0
    """Number of low bits that were dropped."""
    most: int = MOST_SCORES
    """How many distinct scores are kept at most."""

    @classmethod
    def of(
        cls, scores: np.ndarray, truth: np.ndarray, most: int = MOST_SCORES
    ) -> Ranking:
        """Count scores of positives and negatives.

        Parameters
        ----------
        scores : array of float
            float32 [n].
        truth : array of bool
            [n], True for positives.
        most : int, default 1048576
            How many distinct scores are kept at most.

        Returns
        -------
        Ranking
            The counts.

        Raises
        ------
        InputError
            If a score is NaN.
        """
        scores = np.asarray(scores, np.float32)
        if np.isnan(scores).any():
            raise InputError("the model's outputs hold NaN, which cannot be ranked")
        bits = (scores + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0
        sign = np.uint32(1 << 31)
        ordered = np.where(bits & sign, ~bits, bits | sign)
        truth = np.asarray(truth, bool)
        return cls(ordered, ~truth * 1, truth * 1, 0, most)._reduced()

    def merge(self, other: Ranking) -> Ranking:
        """Return the counts of both rankings.

        Parameters
        ----------
        other : Ranking
            Of other targets.

        Returns
        -------
        Ranking
            The counts of all.
        """
        return Ranking(
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.negatives, other.negatives]),
            np.concatenate([self.positives, other.positives]),
            max(self.dropped, other.dropped),
            self.most,
        )._reduced()

    def _reduced(self) -> Ranking:
        """Return distinct scores, of which there are not too many."""
        order = np.argsort(self.scores, kind="stable")
        scores, dropped = self.scores[order], self.dropped
        scores = _without_low_bits(scores, dropped)
        while (first := _firsts(scores)).sum() > self.most and dropped < 32:
            dropped += 1
            scores = _without_low_bits(scores, dropped)
        starts = np.flatnonzero(first)
        counts = [
            np.add.reduceat(counts[order], starts) if len(starts) else counts
            for counts in (self.negatives, self.positives)
        ]
        return Ranking(scores[starts], counts[0], counts[1], dropped, self.most)

    @cached_property
    def has_both(self) -> bool:
        """Whether there are both positives and negatives, as a ranking needs."""
        return bool(self.negatives.any() and self.positives.any())

    def measure(self, name: str) -> float:
        """Return ROC AUC or average precision, as scikit-learn computes them.

        Parameters
        ----------
        name : {"rocauc", "ap"}
            Area under the ROC curve, or average precision.

        Returns
        -------
        float
            0 to 1.
        """
        with needing("scikit-learn", f"the score {name}"):
            from sklearn.metrics import average_precision_score, roc_auc_score

        function = roc_auc_score if name == "rocauc" else average_precision_score
        counts = np.concatenate([self.negatives, self.positives])
        truth = np.repeat([0, 1], len(self.scores))
        place = np.tile(np.arange(len(self.scores)), 2)
        there = counts > 0
        weights = counts[there].astype(np.float64)
        return float(function(truth[there], place[there], sample_weight=weights))

    def error(self, name: str) -> float:
        """Return by how much dropping bits can have changed `measure`.

        Parameters
        ----------
        name : {"rocauc", "ap"}
            Area under the ROC curve, or average precision.

        Returns
        -------
        float
            0 if no bits were dropped.
        """
        if not self.dropped:
            return 0.0
        total = int(self.positives.sum())
        if name == "rocauc":
            # A pair whose order was lost counts as one half.
            lost = float((self.negatives * self.positives).sum())
            return lost / (2.0 * total * float(self.negatives.sum()))
        positives, negatives = self.positives[::-1], self.negatives[::-1]
        with_them, false = np.cumsum(positives), np.cumsum(negatives)
        before = with_them - positives
        # Precision at a positive whose order among tied scores is unknown.
        lowest = (before + 1) / (before + 1 + false)
        highest = with_them / np.maximum(with_them + false - negatives, 1)
        given = with_them / (with_them + false)
        furthest = np.maximum(highest - given, given - lowest)
        return float((positives * furthest).sum() / total)


def _without_low_bits(scores: np.ndarray, dropped: int) -> np.ndarray:
    return scores & np.uint32((0xFFFFFFFF << dropped) & 0xFFFFFFFF)


def _firsts(ordered: np.ndarray) -> np.ndarray:
    """Return where, in an ascending array, another value begins: bool [n]."""
    return np.diff(ordered, prepend=ordered[:1] ^ np.uint32(1)) != 0


def f1(counts: np.ndarray, average: str, *, every: bool) -> float:
    """Return F1, "micro" or "macro"; classes that never occur count if `every`.

    Parameters
    ----------
    counts : int64 [3, C]
        How often each class is both given and predicted, is given, and is predicted.
    """
    both, all_of_them = counts[0], counts[1] + counts[2]
    if average == "micro":
        both, all_of_them = both.sum(keepdims=True), all_of_them.sum(keepdims=True)
    elif not every:
        both, all_of_them = both[all_of_them > 0], all_of_them[all_of_them > 0]
    return float(np.mean(2.0 * both / np.maximum(all_of_them, 1)))


def scores_by_class(counts: np.ndarray) -> list[dict[str, float]]:
    """Return precision, recall, F1 and the number of nodes of each class.

    What has nothing to be divided by is 0, as scikit-learn has it.

    Parameters
    ----------
    counts : int64 [3, C]
        As of `f1`.
    """
    both, given, predicted = counts
    return [
        {
            "precision": float(b / max(p, 1)),
            "recall": float(b / max(g, 1)),
            "f1": float(2 * b / max(g + p, 1)),
            "num_nodes": int(g),
        }
        for b, g, p in zip(both, given, predicted, strict=True)
    ]


@dataclass(frozen=True)
class ClassScores:
    """The contribution of some nodes to the scores of their classes."""

    count: int
    right: int
    """Labels that are predicted, of `given`."""
    given: int
    losses: tuple[float, ...] = ()
    """Sums of the cross entropy, one a part: added in that order."""
    classes: np.ndarray | None = None
    """Counts of `f1`."""
    rankings: tuple[Ranking, ...] = ()
    """One a column."""

    def merge(self, other: ClassScores) -> ClassScores:
        """Return the contributions of both."""
        classes = self.classes
        if classes is not None and other.classes is not None:
            classes = classes + other.classes
        pairs = zip(self.rankings, other.rankings, strict=True)
        return ClassScores(
            self.count + other.count,
            self.right + other.right,
            self.given + other.given,
            self.losses + other.losses,
            classes,
            tuple(left.merge(right) for left, right in pairs),
        )


def score_classes(h: np.ndarray, labels: np.ndarray, measures: set[str]) -> ClassScores:
    """Return what nodes of one class each contribute.

    Parameters
    ----------
    h : float32 [n, C]
    labels : int64 [n]
    measures : set of {"accuracy", "f1_micro", "f1_macro", "rocauc", "ap"}
    """
    count = len(labels)
    predictions = h.argmax(axis=1)
    shifted = h.astype(np.float64) - h.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    loss = float((log_sum - shifted[np.arange(count), labels]).sum())
    found = (labels[labels == predictions], labels, predictions)
    classes = np.array([np.bincount(a, minlength=h.shape[1]) for a in found])
    rankings = []
    if measures & _RANKED:
        # Of two classes one ranking says it all; of more, each has its own.
        first = 1 if h.shape[1] == 2 else 0
        logs = (shifted - log_sum[:, None]).astype(np.float32)
        for column in range(first, h.shape[1]):
            rankings.append(Ranking.of(logs[:, column], labels == column))
    right = int((labels == predictions).sum())
    return ClassScores(count, right, count, (loss,), classes, tuple(rankings))


def score_labels(h: np.ndarray, labels: np.ndarray, measures: set[str]) -> ClassScores:
    """Return what nodes of several labels each contribute.

    Parameters
    ----------
    h : float32 [n, C]
        Above 0 a label is predicted.
    labels : float32 [n, C]
        0, 1, or NaN for not given.
    measures : set of {"accuracy", "f1_micro", "f1_macro", "rocauc", "ap"}
    """
    given, truth, predictions = ~np.isnan(labels), labels > 0.5, h > 0
    found = (truth & predictions, truth, predictions)
    classes = np.array([each.sum(axis=0) for each in found])
    rankings = []
    if measures & _RANKED:
        for column, known in enumerate(given.T):
            rankings.append(Ranking.of(h[known, column], truth[known, column]))
    right = int((predictions == truth)[given].sum())
    given_labels = int(given.sum())
    return ClassScores(len(labels), right, given_labels, (), classes, tuple(rankings))
