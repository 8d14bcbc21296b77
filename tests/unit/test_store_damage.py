"""Damage to any array of a store, anywhere, is found and named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from stored_graphs import make_graph

from daskgnn.errors import StoreError
from daskgnn.graph import writer
from daskgnn.graph.graph import open_graph
from daskgnn.graph.store import open_store
from daskgnn.graph.validate import validate

ARRAYS = [
    "indptr",
    "indices",
    "edge_weight",
    "edge_attr/kind",
    "features",
    "features_indptr",
    "features_indices",
    "features_data",
    "labels",
    "original_ids",
    "cluster_bounds",
    "cluster_edges",
    "cluster_crossing",
    "splits/train",
    "splits/test",
]


def build(folder, *, bags):
    graph = make_graph(
        edge_weight=np.linspace(1, 2, 240, dtype=np.float32),
        edge_attr={"kind": np.arange(240)},
        directed=True,
    )
    if bags:
        features = sp.random_array((60, 50), density=0.05, rng=1, dtype=np.float32)
        graph = make_graph(features=sp.csr_array(features))
    return graph.partition(6).save(folder / ("bags.zarr" if bags else "dense.zarr"))


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "CHUNK_BYTES", 128)
        return {bags: build(folder, bags=bags) for bags in (False, True)}


@pytest.fixture
def copy_with(originals, tmp_path):
    """Return a function that copies a store which has the given array."""

    def copy(name):
        bags = name.startswith("features_")
        return Path(shutil.copytree(originals[bags], tmp_path / "copy.zarr"))

    return copy


def chunks_of(path, name):
    files = (p for p in Path(path, name, "c").rglob("*") if p.is_file())
    found = sorted(
        files,
        key=lambda p: [int(n) for n in p.parts[len(path.parts) + 2 :] if n.isdigit()],
    )
    assert found
    return [found[0], found[len(found) // 2], found[-1]]


def key_of(path, name, file):
    return file.relative_to(path / name).as_posix()


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_missing_chunk(name, where, copy_with):
    path = copy_with(name)
    file = chunks_of(path, name)[where]
    file.unlink()
    named = f"chunk '{key_of(path, name, file)}' of array '{name}' is missing"
    for read in (open_graph, validate, lambda p: open_store(p).read(name)):
        with pytest.raises(StoreError, match=named):
            read(path)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
def test_a_chunk_cut_short(name, keep, copy_with):
    path = copy_with(name)
    for file in chunks_of(path, name)[:2]:
        content = file.read_bytes()
        size = int(keep * len(content)) if 0 < keep < 1 else keep
        file.write_bytes(content[:size])
        for read in (open_graph, lambda p: open_store(p).read(name)):
            with pytest.raises(StoreError, match="bytes, expected") as error:
                read(path)
            assert f"'{key_of(path, name, file)}'" in str(error.value)
            assert f"'{name}'" in str(error.value)
        file.write_bytes(content)
    open_graph(path)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("place", [0, 0.3, 0.6, -5, -1])
def test_a_flipped_bit(name, place, copy_with):
    path = copy_with(name)
    file = chunks_of(path, name)[1]
    content = bytearray(file.read_bytes())
    position = int(place * len(content)) if 0 < place < 1 else place
    content[position] ^= 16
    file.write_bytes(bytes(content))
    for read in (lambda p: open_store(p).read(name), validate):
        with pytest.raises(StoreError, match=r"is damaged|is not the one") as error:
            read(path)
        message = str(error.value)
        assert f"'{key_of(path, name, file)}'" in message
        assert f"'{name}'" in message
        assert "\n" not in message


def test_chunks_exchanged_for_one_another(copy_with):
    path = copy_with("labels")
    first, second = Path(path, "labels/c/0"), Path(path, "labels/c/1")
    one, two = first.read_bytes(), second.read_bytes()
    assert one != two
    first.write_bytes(two)
    second.write_bytes(one)
    with pytest.raises(StoreError, match="chunk 'c/0' of array 'labels'"):
        open_store(path).read("labels")


@pytest.mark.parametrize("name", ["", "indices", "splits/train", "splits", "labels"])
@pytest.mark.parametrize("how", ["missing", "empty", "changed", "garbage"])
def test_damaged_metadata(name, how, copy_with):
    path = copy_with("labels")
    open_graph(path)  # what was read before must not hide the damage
    file = path / name / "zarr.json"
    if how == "missing":
        file.unlink()
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "garbage":
        file.write_bytes(b"\xff{" + file.read_bytes())
    else:
        document = json.loads(file.read_text())
        document["attributes"]["num_nodes"] = 61
        file.write_text(json.dumps(document))
    with pytest.raises(StoreError) as error:
        open_graph(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not name or name in str(error.value)


def test_every_bit_of_the_root_metadata_counts(copy_with):
    path = copy_with("labels")
    file = path / "zarr.json"
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(content), 60, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1
        file.write_bytes(bytes(damaged))
        try:
            found = open_graph(path)
        except StoreError:
            continue
        # Only white space may differ unseen.
        assert content[position : position + 1].isspace()
        assert found.num_nodes == 60


def test_a_dask_array_of_a_damaged_store_fails_by_name(copy_with):
    path = copy_with("features")
    graph = open_graph(path, num_parts=3)
    features = graph.features
    Path(path, "features/c/0/0").unlink()
    with pytest.raises(StoreError, match="'c/0/0' of array 'features' is missing"):
        features.compute(scheduler="sync")
    assert np.isfinite(features.blocks[2].compute(scheduler="sync")).all()


def test_other_files_do_no_harm(copy_with):
    path = copy_with("labels")
    (path / ".DS_Store").write_bytes(b"x")
    (path / "indices" / "notes.txt").write_bytes(b"x")
    validate(path)
