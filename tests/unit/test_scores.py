"""Scores merged from parts equal those of all predictions at once."""

import warnings

import numpy as np
import pytest
from dask.sizeof import sizeof
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from daskgnn.dataflow.steps.tree import reduce_known, reduction_tree
from daskgnn.errors import InputError
from daskgnn.graph.datasets.ogb import _ogb_module
from daskgnn.tasks import NodeClassification, Ranking, TargetBatch

SKLEARN = {"rocauc": roc_auc_score, "ap": average_precision_score}


class LabelledGraph:
    """What `NodeClassification.for_graph` reads."""

    def __init__(self, multilabel, metric):
        self.multilabel, self.metric = multilabel, metric


def ogb_evaluator(name):
    return _ogb_module("nodeproppred/evaluate.py").Evaluator(name)


def in_tree(merge, parts):
    """Merge what parts have, in the fixed tree over parts."""
    tree = reduction_tree(len(parts))
    known = {(i, i + 1): part for i, part in enumerate(parts)}
    reduce_known(tree, known, merge)
    last = [known[side] for side in tree.last]
    return last[0] if len(last) == 1 else merge(*last)


def pieces(draw, count):
    """Draw where to cut `count` rows into parts, some of them maybe empty."""
    cuts = draw(st.lists(st.integers(0, count), max_size=6))
    return np.split(np.arange(count), sorted(cuts))


@st.composite
def rankings(draw):
    """Draw scores, some of them equal or signed zeros, truth, and a cut into parts."""
    count = draw(st.integers(2, 60))
    kind = st.floats(-4, 4, width=32) | st.sampled_from([-0.0, 0.0, 1.0, 1e-30])
    scores = draw(st.lists(kind, min_size=count, max_size=count))
    truth = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    truth[0], truth[1] = True, False
    return np.array(scores, np.float32), np.array(truth), pieces(draw, count)


@settings(deadline=None, max_examples=60)
@given(rankings())
def test_ranks_from_parts_equal_those_of_the_whole(drawn):
    scores, truth, parts = drawn
    found = in_tree(Ranking.merge, [Ranking.of(scores[p], truth[p]) for p in parts])
    for name, function in SKLEARN.items():
        assert found.measure(name) == function(truth, scores)
        assert found.error(name) == 0.0


@settings(deadline=None, max_examples=60)
@given(rankings(), st.integers(4, 12))
def test_rounded_ranks_stay_within_their_bound(drawn, most):
    scores, truth, parts = drawn
    some = [Ranking.of(scores[p], truth[p], most) for p in parts]
    found = in_tree(Ranking.merge, some)
    assert all(len(ranking.scores) <= most for ranking in [*some, found])
    whole = Ranking.of(scores, truth, most)
    np.testing.assert_array_equal(found.scores, whole.scores)
    np.testing.assert_array_equal(found.positives, whole.positives)
    np.testing.assert_array_equal(found.negatives, whole.negatives)
    for name, function in SKLEARN.items():
        distance = abs(found.measure(name) - function(truth, scores))
        assert distance <= found.error(name) + 1e-12


def test_many_scores_are_bounded_and_nearly_exact():
    rng = np.random.default_rng(0)
    truth = rng.random(400_000) < 0.3
    scores = rng.normal(size=len(truth)).astype(np.float32) + truth
    most = 1 << 12
    halves = [slice(0, 150_000), slice(150_000, None)]
    some = [Ranking.of(scores[half], truth[half], most) for half in halves]
    found = some[0].merge(some[1])
    assert max(len(ranking.scores) for ranking in [*some, found]) <= most
    for name, function in SKLEARN.items():
        distance = abs(found.measure(name) - function(truth, scores))
        assert 0 < distance <= found.error(name) < 5e-3


def test_nan_has_no_rank():
    with pytest.raises(InputError, match="NaN"):
        Ranking.of(np.array([0.5, np.nan]), np.array([True, False]))


def scored(outputs, labels, parts, metric):
    """Return the scores that a task merges from parts."""
    task = NodeClassification().for_graph(LabelledGraph(labels.ndim == 2, metric))
    some = []
    for part in parts:
        if len(part):  # a part without targets takes no part
            rows = np.arange(len(part))[:, None]
            batch = TargetBatch(rows, {"labels": labels[part]}, None, len(part))
            some.append(task.partial(outputs[part], batch))
    return task.score(in_tree(task.merge, some))


@st.composite
def classes(draw):
    """Draw outputs of 2 to 5 classes, labels of some of them, and a cut into parts."""
    count, width = draw(st.integers(1, 40)), draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    labels = rng.integers(0, draw(st.integers(1, width)), count)
    outputs = rng.normal(size=(count, width)).astype(np.float32)
    return outputs, labels, pieces(draw, count)


@settings(deadline=None, max_examples=60)
@given(classes())
def test_class_scores_from_parts_equal_those_of_the_whole(drawn):
    outputs, labels, parts = drawn
    predictions = outputs.argmax(axis=1)
    for average in ("micro", "macro"):
        found = scored(outputs, labels, parts, f"f1_{average}")
        truth = f1_score(labels, predictions, average=average, zero_division=0)
        assert found[f"f1_{average}"] == truth
    assert found["num_nodes"] == len(labels)
    assert found["accuracy"] == (labels == predictions).mean()
    shifted = outputs.astype(np.float64)
    logs = np.log(np.exp(shifted).sum(axis=1)) - shifted[range(len(labels)), labels]
    assert found["loss"] == pytest.approx(logs.mean())


@st.composite
def labellings(draw):
    """Draw outputs and labels of 1 to 4 columns, some not given, and a cut."""
    count, width = draw(st.integers(4, 40)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    labels = (rng.random((count, width)) < 0.4).astype(np.float32)
    labels[:2, 0] = 0, 1
    labels[2:][rng.random((count - 2, width)) < 0.2] = np.nan
    outputs = rng.normal(size=(count, width)).astype(np.float32)
    return outputs, labels, pieces(draw, count)


@settings(deadline=None, max_examples=60)
@given(labellings())
def test_label_scores_from_parts_equal_those_of_the_whole(drawn):
    outputs, labels, parts = drawn
    given_labels, truth = ~np.isnan(labels), labels > 0.5
    for average in ("micro", "macro"):
        found = scored(outputs, labels, parts, f"f1_{average}")
        wanted = f1_score(truth, outputs > 0, average=average, zero_division=0)
        if labels.shape[1] == 1:  # scikit-learn takes one column for two classes
            wanted = f1_score(truth[:, 0], outputs[:, 0] > 0, zero_division=0)
        assert found[f"f1_{average}"] == wanted
    right = (outputs > 0) == truth
    assert found["accuracy"] == right[given_labels].mean()
    assert "loss" not in found
    for name, function in SKLEARN.items():
        values = [
            function(t[g], o[g])
            for t, g, o in zip(truth.T, given_labels.T, outputs.T, strict=True)
            if t[g].any() and not t[g].all()
        ]
        assert scored(outputs, labels, parts, name)[name] == np.mean(values)


@pytest.mark.parametrize(("seed", "num_parts"), [(0, 1), (1, 3)])
def test_scores_under_ogb_names_equal_those_of_its_evaluator(seed, num_parts):
    rng = np.random.default_rng(seed)
    parts = np.array_split(np.arange(300), num_parts)
    labels = (rng.random((300, 112)) < 0.1).astype(np.float32)
    labels[rng.random(labels.shape) < 0.05] = np.nan
    outputs = rng.normal(size=labels.shape).astype(np.float32)
    truth = {"y_true": labels, "y_pred": outputs}
    found = scored(outputs, labels, parts, "ogb:ogbn-proteins")["ogb:ogbn-proteins"]
    assert found == ogb_evaluator("ogbn-proteins").eval(truth)["rocauc"]
    labels = rng.integers(0, 40, 300)
    outputs = rng.normal(size=(300, 40)).astype(np.float32)
    truth = {"y_true": labels[:, None], "y_pred": outputs.argmax(1)[:, None]}
    found = scored(outputs, labels, parts, "ogb:ogbn-arxiv")["ogb:ogbn-arxiv"]
    assert found == ogb_evaluator("ogbn-arxiv").eval(truth)["acc"]


def test_metrics_that_do_not_fit_are_refused():
    task = NodeClassification()
    for several in (False, True):
        with pytest.raises(InputError, match=r"metric='bleu' .*f1_macro, roc_auc, av"):
            task.for_graph(LabelledGraph(several, "bleu"))
    one_class = np.ones((4, 2), np.float32)
    with (
        pytest.raises(InputError, match="needs a label with both classes"),
        warnings.catch_warnings(action="error"),
    ):
        scored(one_class, one_class, [np.arange(4)], "rocauc")


def test_what_parts_contribute_stays_small():
    """A split's predictions are 25 times and more what is merged of them."""
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(20_000, 5)).astype(np.float32)
    labels = rng.integers(0, 5, len(outputs))
    task = NodeClassification().for_graph(LabelledGraph(False, "f1_macro"))
    rows = np.arange(len(outputs))[:, None]
    batch = TargetBatch(rows, {"labels": labels}, None, len(labels))
    found = task.partial(outputs, batch)
    assert sizeof(task.merge(found, found)) < 1000 < outputs.nbytes / 25
    ranking = Ranking.of(outputs[:, 0], labels == 0, 512)
    assert sizeof(ranking.merge(ranking)) < 512 * 20 + 1000 < outputs.nbytes / 25
