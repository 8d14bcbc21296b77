"""Damage to any array of a store, anywhere, is found and named."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from stored_graphs import make_graph
from training import mostly_slow

from daskgnn.errors import StoreError
from daskgnn.graph.opening import open_graph
from daskgnn.graph.store import writer
from daskgnn.graph.store.manifest import METADATA_FILE, build_manifest, document_digest
from daskgnn.graph.store.store import open_store
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


def places(path, name, number=8):
    """Return (chunk file, offset in it), from an array's first byte to its last."""
    files = [p for p in Path(path, name, "c").rglob("*") if p.is_file()]
    files.sort(key=lambda p: [int(n) for n in key_of(path, name, p).split("/")[1:]])
    ends = np.cumsum([file.stat().st_size for file in files])
    found = []
    for i in range(number):
        position = i * (int(ends[-1]) - 1) // (number - 1)
        chunk = int(np.searchsorted(ends, position, side="right"))
        before = int(ends[chunk - 1]) if chunk else 0
        found.append((files[chunk], position - before))
    assert found[0] == (files[0], 0)
    assert found[-1] == (files[-1], files[-1].stat().st_size - 1)
    return found


def key_of(path, name, file):
    return file.relative_to(path / name).as_posix()


def refused(path, name, file, read, said):
    """Make sure that one line names array and chunk."""
    with pytest.raises(StoreError, match=said) as error:
        read(path)
    message = str(error.value)
    assert f"'{key_of(path, name, file)}'" in message
    assert f"'{name}'" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", mostly_slow(ARRAYS, *ARRAYS[::4]))
def test_a_missing_chunk(name, copy_with):
    path = copy_with(name)
    for file, _ in places(path, name):
        content = file.read_bytes()
        file.unlink()
        said = f"chunk '{key_of(path, name, file)}' of array '{name}' is missing"
        for read in (open_graph, validate, lambda p: open_store(p).read(name)):
            refused(path, name, file, read, said)
        file.write_bytes(content)
    open_graph(path)


@pytest.mark.parametrize("name", mostly_slow(ARRAYS, *ARRAYS[1::4]))
def test_a_chunk_cut_short(name, copy_with):
    """Cut at the place: to nothing at the first, by one byte at the last."""
    path = copy_with(name)
    for file, offset in places(path, name):
        content = file.read_bytes()
        file.write_bytes(content[:offset])
        for read in (open_graph, lambda p: open_store(p).read(name)):
            refused(path, name, file, read, "bytes, expected")
        file.write_bytes(content)
    open_graph(path)


@pytest.mark.parametrize("name", mostly_slow(ARRAYS, *ARRAYS[::2]))
def test_a_flipped_bit(name, copy_with):
    path = copy_with(name)
    for number, (file, offset) in enumerate(places(path, name)):
        content = file.read_bytes()
        damaged = bytearray(content)
        damaged[offset] ^= 1 << number
        file.write_bytes(bytes(damaged))
        for read in (lambda p: open_store(p).read(name), validate):
            refused(path, name, file, read, r"is damaged|is not the one")
        file.write_bytes(content)
    validate(path)


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


class Payload:
    """What would make a directory if it were unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("codec", ["pickle", "numcodecs.pickle"])
def test_a_malicious_store_executes_nothing(codec, copy_with, tmp_path):
    """A chunk that is a pickle, with metadata, sizes and checksums that fit it."""
    path = copy_with("labels")
    trap = tmp_path / "executed"
    content = pickle.dumps(Payload(trap))
    file = path / "labels" / "c" / "0"
    file.write_bytes(content)
    for name, data_type in (("labels", "variable_length_bytes"), ("", None)):
        document = json.loads((path / name / METADATA_FILE).read_text())
        if name:
            document["codecs"] = [{"name": codec, "configuration": {"id": "pickle"}}]
            document["data_type"] = data_type
        else:
            forged = vars(build_manifest(str(path)))
            document["attributes"]["manifest"] = json.loads(json.dumps(forged))
            document["attributes"]["checksum"] = document_digest(document)
        (path / name / METADATA_FILE).write_text(json.dumps(document))
    with pytest.raises(StoreError, match="array 'labels'"):
        open_graph(path).labels.compute(scheduler="sync")
    assert not trap.exists()
    pickle.loads(content)
    assert trap.is_dir()  # the payload is real
