"""Paths mean what they mean in a shell: homes, addresses and links, everywhere."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from training import inside, invoked, small_sage

import daskgnn
from daskgnn.cluster.tls import Encryption
from daskgnn.errors import InputError
from daskgnn.paths import absolute_path, given_path, is_url, target_path
from daskgnn.train import run
from daskgnn.train.options.configfile import read_config
from daskgnn.train.persist.storage import open_storage

KARATE = daskgnn.load_dataset("karate")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder, and another one to work in."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "home"
    left = [p.name for p in (tmp_path / "work").iterdir()]
    assert not [name for name in left if name.startswith("~") or ":" in name]


def trainer(**options):
    graph = daskgnn.open_graph(KARATE.partition(4))
    return daskgnn.Trainer(
        small_sage(graph), graph, num_neighbors=[4, 3], client=None, **options
    )


def test_home_is_home_for_stores_and_runs(home):
    assert KARATE.partition(4).save("~/k.zarr") == str(home / "k.zarr")
    assert daskgnn.open_graph("~/k.zarr").path == str(home / "k.zarr")
    assert daskgnn.validate("~/k.zarr").num_nodes == 34
    trainer(out="~/run").fit(1)
    assert (home / "run" / "summary.json").exists()
    inside("train", "--epochs=1", "--workers=0", "--out=~/r", "~/k.zarr")
    assert run.evaluate("~/r", "val")["split"] == "val"
    assert run.predict("~/r", "~/p.parquet").exists()
    assert (home / "p.parquet").exists()


def test_home_is_home_for_what_is_read(home):
    (home / "e.csv").write_text("0,1\n1,2\n")
    (home / "n.csv").write_text("id,label\n0,a\n1,b\n2,a\n")
    np.save(home / "a.npy", np.arange(34) % 3)
    (home / "c.yaml").write_text("lr: 0.5\n")
    np.savez(home / "g.npz", indptr=[0, 1, 2], indices=[1, 0])
    assert daskgnn.read_edge_list("~/e*.csv", nodes="~/n.csv").num_classes == 2
    assert daskgnn.load_dataset("~/e.csv").num_nodes == 3
    assert daskgnn.read_npz("~/g.npz").num_nodes == 2
    assert daskgnn.load_dataset("g", data_dir="~").num_nodes == 2
    assert KARATE.partition(method="~/a.npy").num_clusters == 3
    assert read_config("~/c.yaml") == {"lr": 0.5}
    profiled = trainer()
    profiled.fit(1)
    profiled.write_profile("~/profile")
    assert (home / "profile" / "profile.png").exists()


ENTRANCES = {
    "read_edge_list": daskgnn.read_edge_list,
    "read_graphml": daskgnn.read_graphml,
    "read_parquet": daskgnn.read_parquet,
    "read_numpy": daskgnn.read_numpy,
    "read_npz": daskgnn.read_npz,
    "read_matrix_market": daskgnn.read_matrix_market,
    "load_dataset": daskgnn.load_dataset,
    "data_dir": partial(daskgnn.load_dataset, "cora"),
    "assignment": partial(KARATE.partition, None),
    "settings": read_config,
    "TLS": lambda path: Encryption(None, path, path, path).check(None),
    "predict": lambda path: run.predict(".", path),
}


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", ENTRANCES)
def test_addresses_are_refused_in_one_line(name, kind, home):
    for path in ("s3://bucket/x.zarr", "hdfs://host/x.npy"):
        with pytest.raises(InputError, match="is an address") as error:
            ENTRANCES[name](kind(path))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "words",
    [
        ("partition", "karate", "s3://b/x.zarr", "--out-of-core"),
        ("partition", "karate", "x.zarr", "--method=s3://b/x.npy"),
        ("train", "karate", "--data-dir=s3://b", "--config=s3://b/c.yaml"),
    ],
)
def test_addresses_are_refused_by_commands(words, home):
    done = invoked(*words)
    assert done.returncode == 2
    assert "is an address" in done.stderr


def test_what_a_path_means(home, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert given_path("~/a/*.csv") == os.path.expanduser("~/a/*.csv")
    assert given_path("file:///a%20b") == given_path(Path("file:/a b")) == "/a b"
    assert absolute_path("x") == os.path.abspath("x")
    with pytest.raises(InputError, match="path is empty"):
        given_path("")
    with pytest.raises(InputError, match=r"no user 'nobody-such'.*'\./~nobody-such/x'"):
        given_path("~nobody-such/x")
    assert given_path("./~nobody-such/x") == "./~nobody-such/x"
    with pytest.raises(InputError, match="path is empty"):
        open_storage("")


def test_a_run_may_be_at_an_address_in_any_form():
    for place in ("memory://bucket/run", Path("memory://bucket/run")):
        assert open_storage(place).place == "memory://bucket/run"
    for place in ("file:///a/run", Path("file:///a/run"), "/a/run"):
        assert open_storage(place).place == "/a/run"
    assert not is_url("planted:nodes=10,edges=20")
    assert not is_url("c:/x")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_at_the_destination_is_followed(there, home):
    real = home / "real.zarr"
    if there:
        KARATE.partition(2).save(real)
    Path("link.zarr").symlink_to(real)
    found = KARATE.partition(4).save("link.zarr", overwrite=True)
    assert found == str(real)
    assert Path("link.zarr").is_symlink()
    assert daskgnn.open_graph("link.zarr").num_clusters == 4
    assert target_path("link.zarr") == str(real)
    assert target_path("other.zarr") == os.path.abspath("other.zarr")


def test_links_of_a_run_are_followed(home):
    """The folder, a file in it, and predictions."""
    (home / "run").mkdir()
    Path("run").symlink_to(home / "run")
    (home / "run" / "summary.json").symlink_to(home / "told.json")
    trainer(out="run").fit(1)
    assert Path("run").is_symlink()
    assert (home / "run" / "summary.json").is_symlink()
    assert (home / "told.json").stat().st_size


def test_a_store_that_is_not_there_is_told_in_the_shells_words(tmp_path):
    said = invoked("info", str(tmp_path / "nope.zarr")).stderr
    assert "write one with daskgnn partition GRAPH OUT" in said
    assert "graph.partition" not in said


def test_links_to_nothing_and_what_is_no_path(home):
    link = home / "link"
    link.symlink_to(home / "elsewhere")
    made = trainer()
    made.fit(1)
    for call in (
        lambda: trainer(out="~/link"),
        lambda: trainer(out=link / "deeper"),
        lambda: made.write_profile(link),
    ):
        with pytest.raises(InputError, match=r"link is a link to .*elsewhere, which"):
            call()
    for call in (made.save, KARATE.partition(4).save, daskgnn.load_model):
        for value in (None, b"", 5):
            with pytest.raises(InputError, match="is no path: give one"):
                call(value)
    (home / "elsewhere").mkdir()
    trainer(out="~/link").fit(1)
    assert (home / "elsewhere" / "summary.json").exists()
