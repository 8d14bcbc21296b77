"""Addresses of Bolt servers, and what is said of those that cannot be used."""

import numpy as np
import pyarrow as pa
import pytest
from objectstores import free_port
from training import invoked

import daskgnn
from daskgnn.errors import InputError
from daskgnn.graph.databases import bolt

pytest.importorskip("neo4j")


@pytest.mark.parametrize(
    ("place", "match"),
    [
        ("bolt://me:hush-3f9a@host:7687/db", r"bolt://\.\.\.@host:7687/db holds a p"),
        ("neo4j+s://me:hush-3f9a@host/db", "holds a password"),
        ("bolt://", r"give it as in bolt://localhost:7687/neo4j"),
        ("bolt://host:7687/db/graph.zarr", "is not the address of a database"),
        ("bolt://127.0.0.1:{port}/db", "no server answers at bolt://127.0.0.1:"),
    ],
)
def test_bad_addresses_are_told_of_in_one_line(place, match, monkeypatch):
    monkeypatch.setenv("NEO4J_USERNAME", "me")
    monkeypatch.setenv("NEO4J_PASSWORD", "hush-3f9a")
    place = place.format(port=free_port())
    with pytest.raises(InputError, match=match) as error:
        daskgnn.open_graph(place)
    assert "\n" not in str(error.value)
    assert "hush" not in str(error.value)
    done = invoked("train", place)
    assert done.returncode == 2
    assert "hush" not in done.stderr + done.stdout


def test_links_of_a_node_are_written_together():
    """So that their number says which nodes' are there."""
    lengths = [bolt._ROWS["Link"] - 1, 3, 2 * bolt._ROWS["Link"] + 5, 0, 1]
    target = np.repeat(np.arange(5), lengths)
    rows = pa.table({"source": target, "target": target})
    runs = list(bolt._runs("Link", rows))
    assert runs[0][0] == 0
    assert runs[-1][1] == len(target)
    assert [stop for _, stop in runs[:-1]] == [start for start, _ in runs[1:]]
    assert {start for start, _ in runs} <= {0, *np.cumsum(lengths).tolist()}


def test_neighbours_are_kept_as_bytes():
    lists = pa.array([[1, 2], [], [2**40]], pa.list_(pa.int64()))
    kept = bolt._plain(pa.chunked_array([lists.slice(1), lists.slice(0, 1)]))
    assert [len(row) for row in kept] == [0, 8, 16]
    assert bolt._column("neighbors", kept).to_pylist() == [[], [2**40], [1, 2]]
