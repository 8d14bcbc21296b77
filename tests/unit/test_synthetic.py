"""Streamed synthetic graphs: a permutation, counts, degrees, communities, features."""

import itertools

import numpy as np
import pytest

from daskgnn.errors import DatasetError
from daskgnn.graph.datasets.synthetic import Synthetic
from daskgnn.kernels.bijection import invert, permute


@pytest.mark.parametrize("size", [1, 2, 3, 64, 65, 1000, 4097])
@pytest.mark.parametrize("key", [0, 7, 2**64 - 1])
def test_permute_is_a_permutation_and_invert_its_inverse(size, key):
    numbers = np.arange(size)
    images = permute(numbers, size, np.uint64(key))
    assert np.array_equal(np.sort(images), numbers)
    assert np.array_equal(invert(images, size, np.uint64(key)), numbers)


def test_permutations_look_random():
    size = 100_000
    images = permute(np.arange(size), size, np.uint64(1))
    assert abs(np.corrcoef(images, np.arange(size))[0, 1]) < 0.02
    # Fixed points of a random permutation: one on average.
    assert (images == np.arange(size)).sum() < 8
    steps = np.diff(images)
    assert len(np.unique(steps)) > 0.6 * size
    assert not np.array_equal(images, permute(np.arange(size), size, np.uint64(2)))


@pytest.mark.parametrize("kind", ["planted", "rmat"])
def test_a_graph_does_not_depend_on_how_it_is_cut(kind):
    graph = Synthetic(kind, 1024, 5000, 4)
    whole = np.stack(graph.edges(0, 5000))
    cuts = [0, 1, 17, 4000, 5000]
    pieces = [np.stack(graph.edges(a, b - a)) for a, b in itertools.pairwise(cuts)]
    assert np.array_equal(
        np.concatenate(pieces[::-1], axis=1),
        np.concatenate(
            [whole[:, a:b] for a, b in itertools.pairwise(cuts)][::-1], axis=1
        ),
    )
    features = graph.features()
    ids = np.array([1023, 0, 5, 5])
    assert np.array_equal(features[ids], features[:][ids])


@pytest.mark.parametrize("leave", [0.0, 0.24, 1.0])
def test_the_share_of_leaving_edges_is_exact(leave):
    graph = Synthetic("planted", 3000, 20000, 7, leave=leave)
    ends = graph.edges(0, 20000)
    apart = graph.classes(ends[0]) != graph.classes(ends[1])
    assert apart.mean() == pytest.approx(leave)
    assert not (ends[0] == ends[1]).any()


def test_communities_are_equal_and_ids_say_nothing():
    graph = Synthetic("planted", 3000, 20000, 7)
    classes = graph.classes(np.arange(3000))
    sizes = np.bincount(classes)
    assert sizes.max() - sizes.min() <= 1
    assert abs(np.corrcoef(classes, np.arange(3000))[0, 1]) < 0.1


def test_degrees_follow_a_power_law():
    graph = Synthetic("planted", 20000, 200000, 10)
    degree = np.bincount(np.concatenate(graph.edges(0, 200000)), minlength=20000)
    assert degree.mean() == 20
    assert 0.5 < np.median(degree) / degree.mean() < 0.8
    assert 0.7 * (20 * 20000) ** 0.5 < degree.max() < 1.4 * (20 * 20000) ** 0.5
    # The share of nodes beyond d falls like d ** -1.65 between the ends of the law.
    beyond = [(degree > d).mean() for d in (20, 80)]
    slope = np.log(beyond[0] / beyond[1]) / np.log(4)
    assert 1.3 < slope < 2.1


def test_rmat_quadrants_have_their_chances():
    graph = Synthetic("rmat", 1024, 40000, 4, quadrants=(0.4, 0.3, 0.2))
    # Classes are quarters of the numbers before they are shuffled.
    row, column = (graph.classes(ends) >= 2 for ends in graph.edges(0, 40000))
    found = [(~row & ~column).mean(), (~row & column).mean(), (row & ~column).mean()]
    assert found == pytest.approx([0.4, 0.3, 0.2], abs=0.01)


def test_features_are_centres_and_noise():
    graph = Synthetic("planted", 20000, 30000, 4, num_features=3, signal=5.0)
    features, classes = graph.features()[:], graph.classes(np.arange(20000))
    assert features.dtype == np.float32
    for c in range(4):
        mine = features[classes == c]
        assert mine.mean(0) == pytest.approx(graph.centres()[c], abs=0.06)
        assert mine.std(0) == pytest.approx(np.ones(3), abs=0.03)
    noise = features - graph.centres()[classes]
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.03


def test_splits_have_their_shares_and_do_not_meet():
    graph = Synthetic("rmat", 16384, 100, train=0.5, val=0.1, test=0.0)
    splits = graph.splits()
    assert splits.keys() == {"train", "val"}
    assert len(splits["train"]) == pytest.approx(8192, rel=0.05)
    assert len(splits["val"]) == pytest.approx(1638, rel=0.1)
    assert not len(np.intersect1d(splits["train"], splits["val"]))
    assert all((np.diff(ids) > 0).all() for ids in splits.values())


def test_seeds_make_different_graphs():
    first, second = (Synthetic("planted", 500, 2000, seed=s) for s in (0, 1))
    assert not np.array_equal(first.edges(0, 9), second.edges(0, 9))
    assert not np.array_equal(first.features()[:2], second.features()[:2])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "tree"}, "kind is 'tree'"),
        ({"num_nodes": 1}, "num_nodes is 1"),
        ({"leave": 2.0}, "leave is 2.0"),
        ({"exponent": 2.0}, "exponent is 2.0"),
        ({"train": 0.9}, r"train \+ val \+ test is 1\.3"),
        ({"seed": -1}, "seed is -1"),
        ({"kind": "rmat"}, "not a power of 2"),
        ({"num_classes": 60}, "at most half of 100 nodes"),
    ],
)
def test_what_cannot_be_is_said(options, said):
    with pytest.raises(DatasetError, match=said):
        Synthetic(**{"kind": "planted", "num_nodes": 100, "num_edges": 50, **options})
