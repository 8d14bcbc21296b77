"""The commands that draw and prepare graphs beyond memory."""

import pytest

from daskgnn.cli import main
from daskgnn.graph.opening import open_graph


def run(capsys, *words):
    """Run the command line; return its status and what it wrote."""
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return stop.value.code, *capsys.readouterr()


def test_generate_draws_out_of_core(tmp_path, capsys):
    out = str(tmp_path / "big.zarr")
    words = ("--num-nodes", "1_000", "--num-edges", "5_000", "--num-clusters", "8")
    words += ("--out-of-core", "--feature-dtype", "float16", "--method", "metis")
    code, said, err = run(capsys, "generate", "planted", out, *words)
    assert code == 0, err
    assert "8 clusters by metis, edge cut 0." in said
    assert "buckets to rows ..." in err
    graph = open_graph(out)
    assert (graph.num_nodes, graph.feature_dtype) == (1000, "float16")


def test_partition_prepares_a_file_of_edges(tmp_path, capsys):
    edges, out = tmp_path / "edges.csv", str(tmp_path / "x.zarr")
    edges.write_text("1,2\n2,3\n3,1\n1,2\n3,4\n4,4\n")
    words = ("--out-of-core", "--method", "range", "--num-clusters", "2")
    code, said, err = run(capsys, "partition", str(edges), out, *words)
    assert code == 0, err
    assert "5 nodes, 8 edges (each counted both ways)" in said
    assert "duplicates dropped: 1" in said
    code, _, err = run(capsys, "partition", str(edges), out, *words)
    assert code == 2
    assert "--force" in err
    assert len(err.splitlines()) == 1


def test_out_of_core_makes_a_store_or_nothing(tmp_path, capsys):
    edges = tmp_path / "edges.csv"
    edges.write_text("1,2\n")
    code, _, err = run(capsys, "partition", str(edges), "--out-of-core", "--estimate")
    assert code == 2
    assert "--out-of-core makes a store: give OUT" in err


def test_a_limit_that_is_too_small_is_told_as_it_was_given(tmp_path, capsys):
    edges, out = tmp_path / "edges.csv", tmp_path / "x.zarr"
    edges.write_text("1,2\n2,3\n")
    words = ("--out-of-core", "--memory-limit", "1 MiB")
    code, _, err = run(capsys, "partition", str(edges), str(out), *words)
    assert code == 2
    assert "memory_limit is 1.00 MiB, and 4 nodes need 64.00 MiB" in err
    assert not out.exists()


def test_a_graph_of_one_cluster_is_stored_and_reported(tmp_path, capsys):
    edges, out = tmp_path / "edges.csv", tmp_path / "x.zarr"
    edges.write_text("1,2\n2,3\n3,1\n")
    code, said, err = run(capsys, "partition", str(edges), str(out))
    assert (code, err) == (0, "")
    assert "edge cut            0.0000" in said
    words = ("--num-parts", "2", "--force")
    code, _, err = run(capsys, "partition", str(edges), str(out), *words)
    assert code == 2
    assert "--num-parts 2 exceeds the 1 clusters" in err
