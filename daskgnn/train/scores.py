"""Scores of a split: exact, from what the parts reduce their outputs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daskgnn.errors import InputError


@dataclass(frozen=True)
class SplitOutputs:
    """The labelled nodes of a split in one part."""

    labels: np.ndarray
    """int64 [n] or float32 [n, C]"""
    predictions: np.ndarray
    """int64 [n] classes, or float32 [n, C] scores"""
    loss: float
    """Sum of the cross entropy over the nodes (0 for several labels a node)."""


def reduce_outputs(
    outputs: np.ndarray, labels: np.ndarray, rows: dict[str, np.ndarray]
) -> dict[str, SplitOutputs]:
    """Return what the scores of each split need of one part.

    Parameters
    ----------
    outputs : float32 [n, C]
    labels : int64 [n] or float32 [n, C]
    rows : dict
        Rows of each split in this part.
    """
    out = {}
    for split, here in rows.items():
        values, given = outputs[here], labels[here]
        if labels.ndim == 2:
            out[split] = SplitOutputs(given, values, 0.0)
            continue
        shifted = values.astype(np.float64) - values.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=1))
        loss = float((log_sum - shifted[np.arange(len(here)), given]).sum())
        out[split] = SplitOutputs(given, values.argmax(axis=1), loss)
    return out


def score_split(parts: list[SplitOutputs], metric: str | None) -> dict[str, float]:
    """Return accuracy, loss and the data set's own metric of a split.

    Raises
    ------
    InputError
        If the split has no node, or the metric is unknown.
    """
    labels = np.concatenate([part.labels for part in parts])
    predictions = np.concatenate([part.predictions for part in parts])
    if not len(labels):
        raise InputError("the split has no node: nothing to evaluate")
    scores: dict[str, float] = {"num_nodes": len(labels)}
    if labels.ndim == 1:
        scores["accuracy"] = float((labels == predictions).mean())
        scores["loss"] = sum(part.loss for part in parts) / len(labels)
    else:
        given = ~np.isnan(labels)
        right = (predictions > 0) == (labels > 0.5)
        scores["accuracy"] = float(right[given].mean())
    if metric not in (None, "accuracy"):
        scores[metric] = _metric(metric, labels, predictions)
    return scores


def _metric(metric: str, labels: np.ndarray, predictions: np.ndarray) -> float:
    if metric.startswith("ogb:"):
        return _ogb(metric.removeprefix("ogb:"), labels, predictions)
    if metric in ("f1_micro", "f1_macro"):
        return _f1(labels, predictions, metric.removeprefix("f1_"))
    if metric in ("rocauc", "ap") and labels.ndim == 2:
        return _mean_over_tasks(metric, labels, predictions)
    raise InputError(
        f"metric={metric!r} cannot be computed for these labels, expected accuracy, "
        "f1_micro, f1_macro, or for several labels a node rocauc or ap"
    )


def _ogb(name: str, labels: np.ndarray, predictions: np.ndarray) -> float:
    """Return the first figure of OGB's own evaluator."""
    from daskgnn.graph.ogb import ogb_evaluator

    if labels.ndim == 1:
        labels, predictions = labels[:, None], predictions[:, None]
    found = ogb_evaluator(name).eval({"y_true": labels, "y_pred": predictions})
    return float(next(iter(found.values())))


def _f1(labels: np.ndarray, predictions: np.ndarray, average: str) -> float:
    from sklearn.metrics import f1_score

    if labels.ndim == 2:
        labels, predictions = np.nan_to_num(labels) > 0.5, predictions > 0
    return float(f1_score(labels, predictions, average=average, zero_division=0))


def _mean_over_tasks(metric: str, labels: np.ndarray, predictions: np.ndarray) -> float:
    """Return the mean over columns that have both classes, as OGB does."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    function = roc_auc_score if metric == "rocauc" else average_precision_score
    values = []
    for column in range(labels.shape[1]):
        given = ~np.isnan(labels[:, column])
        truth = labels[given, column] > 0.5
        if truth.any() and not truth.all():
            values.append(function(truth, predictions[given, column]))
    if not values:
        raise InputError(f"metric={metric!r} needs a label with both classes")
    return float(np.mean(values))
