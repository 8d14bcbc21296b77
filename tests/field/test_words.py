"""Words of messages and options: where users are, and one meaning each."""

import ast
import json
import re
import warnings

import click
import numpy as np
import pandas as pd
import pytest
import torch
from training import ROOT, invoked, planted_graph, small_sage

import daskgnn
from daskgnn.cli import gnn
from daskgnn.cli.errors import in_shell
from daskgnn.errors import GraphFormatError, InputError

PYTHON = re.compile(r"np\.|\w\(|\b[a-z]+_?[a-z]*=\S")
"""What nobody can type in a shell."""


@pytest.fixture
def tables(tmp_path):
    """Edges between words, and a function that writes their table of nodes."""
    words = [f"w{i}" for i in range(12)]
    ends = np.random.default_rng(0).integers(0, 12, (2, 60))
    edges = pd.DataFrame(np.array(words)[ends].T, columns=["source", "destination"])
    edges.to_csv(tmp_path / "edges.csv", index=False)

    def write(**columns):
        nodes = {"id": words, "age": np.arange(12.0), "kind": list("abc") * 4}
        frame = pd.DataFrame(nodes | columns)
        frame.to_csv(tmp_path / "nodes.csv", index=False)
        return str(tmp_path / "edges.csv"), str(tmp_path / "nodes.csv")

    return write


def refused(*words):
    done = invoked(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_a_missing_number_is_named_by_id_column_and_file(tables, tmp_path):
    edges, nodes = tables(age=[*range(7), np.nan, *range(4)])
    words = ["--nodes", nodes, "--labels", "kind"]
    said = refused("partition", edges, str(tmp_path / "g.zarr"), *words)
    assert f"node 'w7' hold NaN (column 'age' of {nodes})" in said
    assert not PYTHON.search(said)
    with pytest.raises(GraphFormatError, match=r"node 'w7'.*fill in the value in"):
        daskgnn.read_edge_list(edges, nodes=nodes, labels="kind")
    with pytest.raises(GraphFormatError, match=r"node 'b'.*np.nan_to_num"):
        daskgnn.from_edge_index(
            [[0], [1]], features=[[1.0], [np.nan]], node_ids=["a", "b"]
        )


def test_a_node_without_a_label_is_named(tables, tmp_path):
    kinds = ["a", None, "b", *"abcabcabc"]
    edges, nodes = tables(kind=kinds, split=["train"] * 12)
    words = ["--nodes", nodes, "--labels", "kind"]
    said = refused("partition", edges, str(tmp_path / "g.zarr"), *words)
    assert f"node 'w1' whose label is not given in column 'kind' of {nodes}" in said


def test_a_number_too_large_for_half_precision_is_named(tables, tmp_path):
    edges, nodes = tables(age=[*range(7), 1e6, *range(4)])
    words = ["--nodes", nodes, "--labels", "kind", "--feature-dtype", "float16"]
    said = refused("partition", edges, str(tmp_path / "g.zarr"), *words)
    assert f"(node 'w7', column 'age' of {nodes})" in said


def test_columns_need_a_table(tables, tmp_path):
    edges, _ = tables()
    out = str(tmp_path / "g.zarr")
    said = refused("partition", edges, out, "--labels", "kind")
    assert "--labels kind" in said
    assert "--labels needs --nodes" in said
    assert not PYTHON.search(said)
    for reader in (daskgnn.read_edge_list, daskgnn.from_dask):
        given = pd.read_csv(edges)
        if reader is daskgnn.read_edge_list:
            given = edges
        else:
            import dask.dataframe as dd

            given = dd.from_pandas(given, npartitions=1)
        with pytest.raises(GraphFormatError, match=r"labels='kind'.*nodes='nodes.csv'"):
            reader(given, labels="kind")
    with pytest.raises(GraphFormatError, match="names a column"):
        daskgnn.from_edge_index([[0, 1], [1, 2]], features=["age", "size"])


def test_feature_columns_have_an_option_of_their_own(tables, tmp_path):
    edges, nodes = tables(size=np.arange(12.0))
    for number, flag in enumerate(["--feature-columns", "--features"]):
        out = str(tmp_path / f"{number}.zarr")
        done = invoked("partition", edges, out, "--nodes", nodes, flag, "size")
        assert done.returncode == 0, done.stderr
        assert daskgnn.open_graph(out).num_features == 1
        old = "daskgnn: --features is now called --feature-columns"
        assert done.stderr.splitlines() == [old] * number
    words = ["--nodes", nodes, "--feature-columns", "height"]
    said = refused("partition", edges, str(tmp_path / "g.zarr"), *words)
    assert "no column 'height'" in said


def test_generate_tells_of_more_than_one_part(tmp_path):
    words = ["--num-nodes", "200", "--num-edges", "800", "--num-clusters", "4"]
    done = invoked("generate", "planted", str(tmp_path / "g.zarr"), *words)
    assert done.returncode == 0, done.stderr
    (cut,) = re.findall(r"edge cut +([\d.]+)", done.stdout)
    assert float(cut) > 0


def commands():
    context = click.Context(gnn)
    return [gnn.get_command(context, name) for name in gnn.list_commands(context)]


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_help_shows_every_default(command):
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or parameter.required:
            continue
        if parameter.is_flag and not parameter.secondary_opts:
            continue  # off unless it is given
        _, text = parameter.get_help_record(click.Context(command))
        assert "[default: " in text, parameter.opts


def test_each_flag_has_one_meaning():
    meanings = {}
    for command in commands():
        for parameter in command.params:
            if (
                isinstance(parameter, click.Option)
                and parameter.opts[0] == "--features"
            ):
                meanings[command.name] = tuple(parameter.type.choices)
    assert meanings == dict.fromkeys(("train", "info"), ("auto", "memory", "disk"))


def test_the_learning_rate_has_a_scheduler_of_its_own_name():
    graph = daskgnn.open_graph(planted_graph(60).partition(2))
    given = {"num_neighbors": [2, 2], "client": None}

    def halved(optimizer):
        return torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)

    def rates(**options):
        trainer = daskgnn.Trainer(small_sage(graph), graph, **given, **options)
        return [record["lr"] for record in trainer.fit(3).epochs]

    assert rates(lr_scheduler=halved) == [0.01, 0.005, 0.0025]
    with pytest.warns(FutureWarning, match="scheduler is now called lr_scheduler"):
        assert rates(scheduler=halved) == [0.01, 0.005, 0.0025]
    with pytest.raises(InputError, match="omit scheduler"):
        rates(scheduler=halved, lr_scheduler=halved)


def test_a_shell_is_told_what_a_shell_takes(tmp_path):
    flags = {"num_neighbors": "--num-neighbors", "memory_limit": "--memory-limit"}
    said = in_shell(InputError("give num_neighbors=[15, 10], not f(lr=1)"), flags)
    assert said == "give --num-neighbors 15,10, not f(lr=1)"
    said = in_shell(InputError("memory_limit='2 GiB' is much"), flags)
    assert said == "--memory-limit '2 GiB' is much"
    out = str(tmp_path / "g.zarr")
    said = refused("partition", "karate", out, "--num-clusters", "900")
    assert "--num-clusters 900 for a graph of 34 nodes" in said


def test_messages_of_the_library_are_those_of_python():
    """Flags stand only in what is said in the shell."""
    found = []
    for path in (ROOT / "daskgnn").rglob("*.py"):
        if "cli" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                given = [*node.exc.args]
                given += [k.value for k in node.exc.keywords if k.arg != "shell"]
                texts = [
                    part.value
                    for value in given
                    for part in ast.walk(value)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                ]
                flags = re.findall(r"(?<![\w-])--[a-z][a-z-]+", " ".join(texts))
                found += [(path.name, node.lineno, flag) for flag in flags]
    # Commands to be typed are named as they are typed.
    known = {
        "--resume",
        "--out",
        "--memory-limit",
        "--estimate",
        "--no-nanny",
        "--nthreads",
    }
    known |= {"--debug"}  # where own schedulers do not start
    assert [each for each in found if each[2] not in known] == []


def test_a_run_without_a_split_is_told_how_to_get_one(tables, tmp_path):
    edges, nodes = tables(kind=np.arange(12.0))
    out = str(tmp_path / "g.zarr")
    assert invoked("partition", edges, out, "--nodes", nodes).returncode == 0
    words = ["--workers", "0", "--out", str(tmp_path / "run")]
    said = refused("train", out, *words)
    assert "no labels" in said
    assert not PYTHON.search(said)
    edges, nodes = tables()
    words += ["--force", "--nodes", nodes, "--labels", "kind"]
    assert invoked("partition", edges, out, *words[4:]).returncode == 0
    said = refused("train", out, *words[:4])
    assert "no training split" in said
    assert not PYTHON.search(said)
    assert json.loads(invoked("info", out, "--num-parts", "1", "--json").stdout)


@pytest.mark.parametrize(
    ("flags", "times", "said"),
    [
        ("fpu avx512f", {"float32": 1.0, "bf16": 2.14}, "2.1 times as long"),
        ("fpu avx512f", {"float32": 1.0, "bf16": 0.5}, None),
        ("fpu avx512_bf16", {}, None),
    ],
    ids=["slow", "fast all the same", "has instructions"],
)
def test_slow_half_precision_is_said_with_its_ratio(flags, times, said, monkeypatch):
    from daskgnn.train import precision

    monkeypatch.setattr(precision, "processor_flags", lambda: {*flags.split()})
    product = lambda name, threads: times[name]  # noqa: E731
    monkeypatch.setattr(precision, "seconds_of_product", product)
    graph = daskgnn.open_graph(planted_graph(60).partition(2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        daskgnn.Trainer(
            small_sage(graph),
            graph,
            num_neighbors=[2, 2],
            client=None,
            precision="bf16",
        )
    told = [str(w.message) for w in caught if "precision=" in str(w.message)]
    assert [said in line for line in told] == ([True] if said else [])


def test_a_product_is_measured_in_a_moment():
    from daskgnn.train.precision import processor_flags, seconds_of_product

    assert 0 < seconds_of_product("bf16", 1) < 1
    assert processor_flags()  # Linux has them


def test_attributes_of_graphml_are_named_with_their_file(tmp_path):
    import networkx as nx

    origin = nx.path_graph(["a", "b", "c"])
    nx.set_node_attributes(origin, {"a": 1.0, "b": float("nan"), "c": 2.0}, "age")
    nx.write_graphml(origin, tmp_path / "x.graphml")
    with pytest.raises(GraphFormatError, match=r"node 'b'.*x\.graphml") as caught:
        daskgnn.read_graphml(tmp_path / "x.graphml", features=["age"])
    assert "column 'age'" in str(caught.value)


@pytest.mark.parametrize("wrong", [-1.0, np.nan])
def test_a_wrong_weight_is_named_by_its_edge(wrong):
    said = r"the edge from ('b' to 'c'|'c' to 'b')"
    with pytest.raises(GraphFormatError, match=said):
        daskgnn.from_edge_index(
            [[0, 1, 2], [1, 2, 0]], edge_weight=[1, wrong, 2], node_ids=list("abc")
        )
