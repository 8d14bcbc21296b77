"""Settings from a file, as a user would write one: ``train --config FILE``."""

import json
import sys
import types
from pathlib import Path

import pytest
from click.testing import CliRunner

import daskgnn.train
from daskgnn.cli import gnn
from daskgnn.errors import InputError
from daskgnn.train.options.configfile import read_config
from daskgnn.train.options.options import RUN


def written(folder, text, name="run.yaml"):
    path = folder / name
    path.write_text(text)
    return str(path)


def train(*words):
    return CliRunner().invoke(gnn, ["train", *words], prog_name="daskgnn")


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Return what a run is told, in place of training."""
    found = {}

    class Stopped(InputError):
        pass

    def stand_in(settings, **_):
        found.update(settings)
        raise Stopped("stopped")

    fake = types.ModuleType("daskgnn.train.run")
    fake.train = stand_in
    monkeypatch.setitem(sys.modules, "daskgnn.train.run", fake)
    monkeypatch.setattr(daskgnn.train, "run", fake, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DASKGNN_DATA_DIR", raising=False)
    return found


YAML = """
# A run of mine.
model: gcn
num-neighbors: [10, 5]
hidden_channels: 32
lr: 1e-3              # YAML takes this for a word
dropout: 0
normalize-features: yes
checkpoint_seconds: 30
halo_cache: 64 MB
patience: null
"""
MEANT = {
    "model": "gcn",
    "num_neighbors": [10, 5],
    "hidden_channels": 32,
    "lr": 0.001,
    "dropout": 0,
    "normalize_features": True,
    "checkpoint_seconds": 30,
    "halo_cache": "64 MB",
}


def test_yaml_and_json_say_the_same(tmp_path):
    assert read_config(written(tmp_path, YAML)) == MEANT
    indented = json.dumps({**MEANT, "patience": None}, indent="\t")
    assert read_config(written(tmp_path, indented, "run.json")) == MEANT


@pytest.mark.parametrize("text", ["num_neighbors: 10,5", "num-neighbors: '10, 5'"])
def test_lists_may_be_written_as_on_the_command_line(tmp_path, text):
    assert read_config(written(tmp_path, text)) == {"num_neighbors": [10, 5]}


def test_what_is_given_besides_wins(told, tmp_path):
    path = written(tmp_path, f"{YAML}graph: cora\nout: a\nworkers: 3\nstandby: 1\n")
    train("--config", path)
    there = {"graph": "cora", "out": "a", "workers": 3, "standby": 1}
    assert told == {**MEANT, **there}
    told.clear()
    train("digits", "--config", path, "--out", "b", "--lr", "0.5", "--no-recipe")
    given = {"graph": "digits", "out": "b", "lr": 0.5, "recipe": False}
    assert told == {**MEANT, **there, **given}


@pytest.mark.parametrize("words", [("--workers", "1"), ("--scheduler", "tcp://a:1")])
def test_a_cluster_that_is_given_takes_the_place_of_the_file_s(told, tmp_path, words):
    text = "scheduler: tcp://b:2\ntls: false\nstandby: 2\nlr: 0.5\ngraph: digits\n"
    train("--config", written(tmp_path, text), *words)
    assert not {"tls", "standby"} & told.keys()
    assert told["lr"] == 0.5
    clusters = {n: told[n] for n in ("workers", "scheduler") if n in told}
    assert [str(value) for value in clusters.values()] == [words[1]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rate: 0.1", "'learning_rate' is not a setting, did you mean 'lr'?"),
        ("batchsize: 5", "'batchsize' is not a setting, did you mean 'batch_size'?"),
        ("epoch: 5", "'epoch' is not a setting, did you mean 'epochs'?"),
        (
            "num-neighbours: [5]",
            "'num-neighbours' is not a setting, did you mean 'num_n",
        ),
        ("7: 5", "7 is not a setting"),
        ("batch_size: big", "batch_size='big', expected a whole number of at least 1"),
        ("batch_size: 2.5", "batch_size=2.5, expected a whole number of at least 1"),
        ("epochs: true", "epochs=True, expected a whole number of at least 1"),
        ("lr: high", "lr='high', expected a number of at least 0"),
        ("dropout: 1", "dropout=1, expected a number of at least 0 and below 1"),
        ("seed: -1", "seed=-1, expected a whole number of at least 0"),
        ("model: mlp", "model='mlp', expected one of 'sage', 'gcn', 'gat'"),
        ("recipe: maybe", "recipe='maybe', expected True or False"),
        ("num_neighbors: 15,x", "num_neighbors='15,x', expected a list of whole numb"),
        ("num_neighbors: [15, x]", "has 'x', expected at least 1, or -1 for all"),
        ("num_neighbors: {a: 1}", "expected a list of whole numbers"),
        ("halo_cache: much", "halo_cache='much', expected bytes"),
        ("optimizer: 3", "optimizer=3, expected a name"),
        ("graph: 3", "graph=3, expected a word"),
        ("gradients: gloo", "gradients='gloo', expected one of 'tree'"),
        ("lr: 0.1\nworkers: 1\nscheduler: tcp://a:1", "--workers 1 starts a cluster"),
        ("num_layers: 2\nnum-layers: 3", "'num_layers' is there twice"),
        ("- lr\n- 0.1", "holds list, expected settings by name"),
        ("lr", "holds str, expected settings by name"),
        ("", "holds NoneType, expected settings by name"),
        ("lr: [0.1", "is neither YAML nor JSON"),
        ("lr: !!python/object/apply:os.getcwd []", "is neither YAML nor JSON"),
    ],
)
def test_what_cannot_be_used_gets_one_line(told, tmp_path, text, said):
    done = train("digits", "--config", written(tmp_path, text))
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert "run.yaml" in done.stderr or "--workers" in done.stderr
    assert not told


def test_a_file_that_is_not_there_gets_one_line(told, tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, said in (("none.yaml", "No such file"), ("binary", "neither YAML nor")):
        done = train("digits", "--config", name)
        assert done.exit_code == 2
        assert done.stderr.count("\n") == 1
        assert name in done.stderr
        assert said in done.stderr
    done = train("--config", written(tmp_path, "lr: 0.1"))
    assert done.exit_code == 2
    assert "GRAPH" in done.stderr
    done = train("--resume", "a", "--config", "run.yaml")
    assert done.exit_code == 2
    assert "--config cannot be given" in done.stderr


def test_a_new_user_s_file_trains_and_its_run_json_trains_the_same(
    tmp_path, monkeypatch
):
    """Values that differ from the recipe's, which fills in what is not given."""
    monkeypatch.chdir(tmp_path)
    text = "epochs: 2\nhidden-channels: 8\nnum_neighbors: 4,3\nlr: 2e-2\nworkers: 0\n"
    done = train("digits", "--config", written(tmp_path, text))
    assert done.exit_code == 0, done.stderr
    settings = json.loads(Path("runs/digits/run.json").read_text())
    assert set(settings) == {*RUN, "store"}
    expected = {"lr": 0.02, "num_neighbors": [4, 3], "dropout": 0.3, "batch_size": 256}
    assert {name: settings[name] for name in expected} == expected
    # The graph is named by the file; directory and store are the new run's own.
    done = train("--config", "runs/digits/run.json", "--seed", "0")
    assert done.exit_code == 0, done.stderr
    first, second, third = (
        json.loads(Path(f"runs/{name}/summary.json").read_text())["params_sha256"]
        if Path(f"runs/{name}").exists()
        else None
        for name in ("digits", "digits-2", "digits-3")
    )
    assert first == second
    assert third is None
    # On a store, too, where partitioning is not asked for.
    words = ["--config", "runs/digits/run.json", "--out", "c", "--lr", "0.5"]
    done = train("runs/digits/graph.zarr", *words)
    assert done.exit_code == 0, done.stderr
    again = json.loads(Path("c/summary.json").read_text())
    assert again["params_sha256"] != first
    assert json.loads(Path("c/run.json").read_text())["lr"] == 0.5
