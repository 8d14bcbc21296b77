"""The quality report against counts made one by one, and simulated steps."""

import json

import numpy as np
import pytest
from stored_graphs import make_graph

from daskgnn.errors import PartitionError
from daskgnn.graph.opening import open_graph
from daskgnn.graph.readers.memory import read_npz
from daskgnn.partition.quality import feature_row_bytes


def count_one_by_one(graph, part, num_parts):
    """Cut, halo and replication with plain sets."""
    cut, halo = 0, [set() for _ in range(num_parts)]
    for node in range(graph.num_nodes):
        for other in graph.indices[graph.indptr[node] : graph.indptr[node + 1]]:
            if part[node] != part[other]:
                cut += 1
                halo[part[node]].add(int(other))
    held = sum(len(h) for h in halo) + graph.num_nodes
    return cut, [len(h) for h in halo], held / graph.num_nodes


@pytest.mark.parametrize("method", ["hash", "metis"])
@pytest.mark.parametrize("num_parts", [1, 2, 5])
def test_counts(method, num_parts, tmp_path):
    data = make_graph(200, 800, directed=True)
    partitioned = data.partition(12, method)
    graph = open_graph(partitioned.save(tmp_path / "g.zarr"), num_parts)
    quality = graph.quality()
    order = graph.original_ids.compute(scheduler="sync")
    part = np.empty(200, np.int64)
    part[order] = np.repeat(np.arange(num_parts), np.diff(graph.partition_book))
    cut, halo, replication = count_one_by_one(data, part, num_parts)
    assert quality.cut_edges == cut
    assert quality.edge_cut == pytest.approx(cut / data.num_edges)
    assert quality.halo_nodes.tolist() == halo
    assert quality.replication_factor == pytest.approx(replication)
    degree, seeds = np.diff(data.indptr), data.splits["train"]
    for counts, expected, balance in [
        (quality.nodes, np.bincount(part), quality.node_balance),
        (quality.edges, np.bincount(part, degree), quality.edge_balance),
        (quality.seeds, np.bincount(part[seeds]), quality.seed_balance),
    ]:
        np.testing.assert_array_equal(counts, expected)
        assert balance == pytest.approx(expected.max() / expected.mean())
    assert partitioned.quality(num_parts).to_dict() == quality.to_dict()
    assert open_graph(graph.path).quality(num_parts).to_dict() == quality.to_dict()


def simulate(graph, part, num_parts, fan_outs, batch, steps, rng):
    """Count remote rows of sampled steps, node by node."""
    train = graph.splits["train"]
    remote = 0
    for _ in range(steps):
        seeds = rng.permutation(train)[:batch]
        # Storage order is by part here, so runs are cut from the sorted seeds.
        seeds = seeds[np.lexsort((seeds, part[seeds]))]
        for p, run in enumerate(np.array_split(seeds, num_parts)):
            remote += reach_remote(graph, part, p, run, fan_outs, rng)
    return remote / steps


def reach_remote(graph, part, p, run, fan_outs, rng):
    """Sample the hops of one run, draws of a node nested over the hops."""
    reached, draws = set(run.tolist()), {}
    for fan_out in fan_outs:
        for node in list(reached):
            neighbours = graph.indices[graph.indptr[node] : graph.indptr[node + 1]]
            if node not in draws:
                draws[node] = rng.permutation(neighbours)
            take = len(neighbours) if fan_out == -1 else fan_out
            reached.update(draws[node][:take].tolist())
    return sum(part[node] != p for node in reached)


@pytest.mark.parametrize(
    ("fan_outs", "batch", "method"),
    [
        ((4, 3), 20, "metis"),
        ((2, 6), 30, "hash"),
        ((-1,), 15, "metis"),
        ((3,), 99, "hash"),
    ],
)
def test_estimate_is_near_simulated_steps(fan_outs, batch, method, tmp_path):
    data = make_graph(900, 4000)
    graph = open_graph(data.partition(16, method).save(tmp_path / "g.zarr"), 4)
    order = graph.original_ids.compute(scheduler="sync")
    part = np.empty(900, np.int64)
    part[order] = np.repeat(np.arange(4), np.diff(graph.partition_book))
    rng = np.random.default_rng(0)
    expected = simulate(data, part, 4, fan_outs, batch, 60, rng)
    found = graph.quality(num_neighbors=fan_outs, batch_size=batch)
    assert found.remote_rows_per_step == pytest.approx(expected, rel=0.12)
    # Rows of 20 bytes and their ids; what sampled rows take comes on top.
    assert 24 <= found.remote_bytes_per_step / found.remote_rows_per_step < 24 * 3


def test_one_part_sends_nothing():
    quality = make_graph().partition(8).quality(1)
    assert quality.remote_rows_per_step == 0
    assert quality.edge_cut == 0
    assert quality.replication_factor == 1


def test_more_parts_than_are_looked_at():
    partitioned = make_graph(800, 4000).partition(40, "hash")
    rows = [
        partitioned.quality(p, (5, 5), 50).remote_rows_per_step for p in (4, 8, 10, 20)
    ]
    assert rows == sorted(rows)


def test_without_training_nodes():
    quality = make_graph(train=None, val=None, test=None).partition(8).quality(4)
    assert quality.seeds is None
    assert quality.seed_balance is None
    assert quality.remote_rows_per_step > 0
    assert "training nodes -" in str(quality)


def test_table_and_json():
    quality = make_graph().partition(8).quality(4, (3, 2), 16)
    lines = str(quality).splitlines()
    assert lines[0].split() == ["part", "nodes", "edges", "training", "halo"]
    assert [int(line.split()[0]) for line in lines[1:5]] == [0, 1, 2, 3]
    assert len({len(line) for line in lines[:5]}) == 1
    for word in ("edge cut", "balance", "replication factor", "fan-outs 3,2"):
        assert word in str(quality)
    found = json.loads(json.dumps(quality.to_dict()))
    assert found["num_parts"] == 4
    assert found["num_neighbors"] == [3, 2]
    assert sum(found["nodes"]) == 60
    assert found["edge_cut"] == quality.edge_cut


@pytest.mark.parametrize(
    "bad",
    [
        {"num_neighbors": []},
        {"num_neighbors": [0]},
        {"num_neighbors": [5, -2]},
        {"batch_size": 0},
    ],
)
def test_sampling_that_cannot_be(bad):
    partitioned = make_graph().partition(8)
    with pytest.raises(PartitionError, match=next(iter(bad))):
        partitioned.quality(2, **bad)
    with pytest.raises(PartitionError, match="num_parts=9"):
        partitioned.quality(9)


def test_bytes_of_a_row():
    assert feature_row_bytes(None) == 0
    assert feature_row_bytes(np.zeros((3, 7), np.float32)) == 28


@pytest.mark.data
def test_real_graph(data_dir):
    graph = read_npz(data_dir / "pubmed.npz").partition(64)
    quality = graph.quality(4)
    assert quality.edge_cut < 0.1
    assert quality.edge_balance < 1.5
    assert quality.replication_factor < 1.5
