"""Stores whose bytes are right and whose content is not are found out."""

import numpy as np
import pytest
from stored_graphs import make_graph

from daskgnn.errors import PartitionError, StoreError
from daskgnn.graph.opening import open_graph
from daskgnn.graph.store import writer
from daskgnn.graph.store.store import open_store
from daskgnn.graph.validate import pair_sum, validate


def forge(path, target, **changed):
    """Write a store again with other content and right checksums."""
    store = open_store(path)
    arrays = {name: store.read(name) for name in store.arrays} | changed
    attributes = dict(store.attributes)
    for name in ("format", "format_version", "manifest", "checksum"):
        attributes.pop(name)
    sources = [
        writer.ArraySource(
            name, a.shape, a.dtype, lambda i, j, a=a: a[i:j], compress=False
        )
        for name, a in arrays.items()
    ]
    return writer.write_store(target, sources, attributes)


@pytest.fixture
def good(tmp_path):
    return make_graph().partition(6).save(tmp_path / "good.zarr")


def changes(store):
    """Wrong content by array, and what is said of it."""
    indices, indptr = store.read("indices"), store.read("indptr")
    ids, train = store.read("original_ids"), store.read("splits/train")
    row = int(np.flatnonzero(np.diff(indptr) >= 2)[3])
    slot = int(indptr[row])
    swapped = indices.copy()
    swapped[[slot, slot + 1]] = swapped[[slot + 1, slot]]
    repeated = indices.copy()
    repeated[slot + 1] = repeated[slot]
    outside = indices.copy()
    outside[5] = 60
    twice = ids.copy()
    twice[7] = twice[9]
    bent = indptr.copy()
    bent[10] = bent[12] + 1
    return {
        "order": ({"indices": swapped}, f"'indices'.*order.*position {slot + 1}"),
        "repeat": ({"indices": repeated}, "'indices'.*repeats an edge"),
        "outside": ({"indices": outside}, "'indices'.*names no node.*position 5"),
        "node twice": ({"original_ids": twice}, "'original_ids'.*twice.*position 9"),
        "no node": ({"original_ids": ids + 1}, "'original_ids'.*names no node"),
        "short": ({"original_ids": ids[:-1]}, "'original_ids'.*59 of 60"),
        "split": ({"splits/train": train[::-1].copy()}, "'splits/train'.*not sorted"),
        "split id": ({"splits/train": train + 50}, "'splits/train'.*no node"),
        "pointers": ({"indptr": bent}, "'indptr'.*falls.*position 1"),
        "few rows": ({"indptr": indptr[:-1]}, "'indptr'.*does not cut"),
        "bounds": (
            {"cluster_bounds": store.read("cluster_bounds")[::-1].copy()},
            "'cluster_bounds'",
        ),
        "edges": (
            {"cluster_edges": store.read("cluster_edges") + 1},
            "'cluster_edges'",
        ),
        "labels": ({"labels": np.flip(store.read("labels"))}, "not the one that was"),
        "features": ({"features": store.read("features") + 1}, "not the one that was"),
        "nan": ({"features": store.read("features") * np.nan}, "is not right"),
    }


KINDS = [
    "order", "repeat", "outside", "node twice", "no node", "short", "split",
    "split id", "pointers", "few rows", "bounds", "edges", "labels",
    "features", "nan",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_content_is_named(kind, good, tmp_path):
    found = changes(open_store(good))
    assert sorted(found) == sorted(KINDS)
    changed, said = found[kind]
    path = forge(good, tmp_path / "forged.zarr", **changed)
    with pytest.raises(StoreError, match=said) as error:
        validate(path)
    assert "\n" not in str(error.value)


def test_an_untouched_copy_is_right(good, tmp_path):
    assert validate(forge(good, tmp_path / "copy.zarr")).num_nodes == 60


def test_a_store_that_counts_crossing_edges_is_right(good, tmp_path):
    crossing = np.zeros(7, np.int64)
    old = forge(good, tmp_path / "old.zarr", cluster_crossing=crossing)
    assert validate(old).num_nodes == 60
    book, expected = (
        open_graph(path, num_parts=3).partition_book for path in (old, good)
    )
    np.testing.assert_array_equal(book, expected)


def test_an_edge_without_its_reverse(good, tmp_path):
    store = open_store(good)
    indices, indptr = store.read("indices"), store.read("indptr")
    original = store.read("original_ids")
    # Put another neighbour in a row's last slot, keeping the order.
    for row in range(60):
        end = int(indptr[row + 1]) - 1
        later = np.flatnonzero(original > original[indices[end]])
        later = later[later != row]
        if indptr[row] <= end and len(later):
            indices[end] = later[0]
            break
    path = forge(good, tmp_path / "forged.zarr", indices=indices)
    with pytest.raises(StoreError, match="lacks the reverse of an edge"):
        validate(path)


def test_progress_is_shown_where_asked(good, capsys):
    validate(good)
    assert capsys.readouterr().err == ""
    validate(good, progress=True)
    assert "checksums" in capsys.readouterr().err


def test_parts_of_the_proof(good):
    assert validate(good, num_parts=1).halo_nodes == 0
    assert validate(good, num_parts=6).num_parts == 6
    with pytest.raises(PartitionError, match="num_parts=7"):
        validate(good, num_parts=7)


def test_pair_sum_tells_pairs_apart():
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 1000, (2, 500))
    order = rng.permutation(500)
    assert pair_sum(left, right) == pair_sum(left[order], right[order])
    assert pair_sum(left, right) != pair_sum(right, left)
    changed = right.copy()
    changed[3] += 1
    assert pair_sum(left, right) != pair_sum(left, changed)
    # (0, 1) and (1, 0) once each: the same both ways.
    both = np.array([0, 1]), np.array([1, 0])
    assert pair_sum(*both) == pair_sum(*both[::-1])
