"""Arrays of an .npz are known by the field's names, and the others are named."""

import numpy as np
import pytest
import scipy.sparse as sp

import daskgnn
from daskgnn.cli import main
from daskgnn.errors import GraphFormatError
from daskgnn.graph.readers.arrays import read_numpy

EDGES = np.array([[0, 1, 2], [1, 2, 3]])
X, Y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 2])
MASKS = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], bool)


def rows():
    graph = daskgnn.from_edge_index(EDGES)
    return {"indptr": graph.indptr, "indices": graph.indices}


def save(folder, arrays):
    np.savez(folder / "g.npz", **arrays)
    return folder / "g.npz"


LAYOUTS = {
    "rows": rows(),
    "edge_index": {"edge_index": EDGES},
    "edges": {"edges": EDGES.T},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("features", ["features", "x", "node_features", "feat"])
@pytest.mark.parametrize("labels", ["labels", "y", "node_labels"])
def test_usual_names(layout, features, labels, tmp_path):
    arrays = {features: X, labels: Y, "train_mask": MASKS[0], "valid_mask": MASKS[1]}
    path = save(tmp_path, LAYOUTS[layout] | arrays | {"test_idx": [2, 3]})
    graph = read_numpy(path)
    np.testing.assert_array_equal(graph.features, X)
    np.testing.assert_array_equal(graph.labels, Y)
    splits = {name: ids.tolist() for name, ids in graph.splits.items()}
    assert splits == {"train": [0], "val": [1], "test": [2, 3]}
    assert graph.num_edges == 6


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kind", [bool, np.uint8])
def test_masks_of_several_splits(layout, turned, kind, tmp_path):
    masks = {
        f"{name}_masks": np.stack([np.roll(mask, k) for k in range(3)]).astype(kind)
        for name, mask in zip(("train", "val", "test"), MASKS, strict=True)
    }
    given = {name: mask.T if turned else mask for name, mask in masks.items()}
    path = save(tmp_path, LAYOUTS[layout] | {"features": X} | given)
    with pytest.raises(GraphFormatError, match="is 3 splits: pass split_index=0 to 2"):
        read_numpy(path)
    for k in range(3):
        graph = read_numpy(path, split_index=k)
        for name in ("train", "val", "test"):
            expected = np.flatnonzero(masks[f"{name}_masks"][k])
            np.testing.assert_array_equal(graph.splits[name], expected)
    with pytest.raises(GraphFormatError, match="split_index is 3"):
        read_numpy(path, split_index=3)


def test_the_command_takes_one_of_several_splits(tmp_path):
    masks = np.stack([np.roll(MASKS[0], k) for k in range(3)])
    path = save(tmp_path, rows() | {"features": X, "train_masks": masks})
    words = ["partition", str(path), str(tmp_path / "g.zarr"), "--split-index", "1"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--num-clusters", "2", "--method", "hash"])
    assert end.value.code == 0
    opened = daskgnn.open_graph(tmp_path / "g.zarr")
    assert opened.to_data().splits["train"].tolist() == [1]


def test_masks_of_several_splits_as_arrays():
    masks = np.stack([MASKS[0], MASKS[1]])
    graph = daskgnn.from_edge_index(EDGES, features=X, train=masks, split_index=1)
    assert graph.splits["train"].tolist() == [1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_unknown_names_are_named(layout, tmp_path):
    path = save(tmp_path, LAYOUTS[layout] | {"colour": Y, "feats_2": X})
    with pytest.warns(UserWarning, match=r"colour \(an unknown name\), feats_2"):
        read_numpy(path)


def test_an_array_of_another_length_is_no_label(tmp_path):
    path = save(tmp_path, rows() | {"y": [0, 1], "graph_ptr": [0, 2, 4]})
    with pytest.warns(UserWarning, match=r"y \(shape \(2,\) for 4 nodes\)"):
        assert daskgnn.read_npz(path).labels is None


def test_matrices_as_the_benchmarks_of_shchur_have_them(tmp_path):
    matrix = sp.csr_array(sp.coo_array((np.ones(3), tuple(EDGES)), shape=(4, 4)))
    x = sp.csr_array(X)
    names = ("data", "indices", "indptr", "shape")
    arrays = {f"adj_{name}": getattr(matrix, name) for name in names}
    arrays |= {f"attr_{name}": getattr(x, name) for name in names}
    graph = read_numpy(save(tmp_path, arrays | {"labels": Y}))
    other = daskgnn.from_scipy(matrix, features=x, labels=Y)
    np.testing.assert_array_equal(graph.indices, other.indices)
    np.testing.assert_array_equal(graph.features.toarray(), X)
    np.testing.assert_array_equal(graph.labels, Y)
