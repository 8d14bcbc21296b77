"""Minibatches for one's own loop, against the same computed by hand and by PyG."""

import warnings

import numpy as np
import pytest
import torch
from training import hub_graph, planted_graph, small_sage

import daskgnn
from daskgnn.errors import InputError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses torch.jit.script when imported
    from torch_geometric.nn import GraphSAGE


@pytest.fixture(scope="module")
def data():
    return planted_graph(200)


def opened(data, method="metis", num_parts=2):
    return daskgnn.open_graph(data.partition(8, method), num_parts=num_parts)


def test_every_seed_comes_once_an_epoch_with_its_own_rows(data):
    batches = opened(data).minibatches([4, 3], "train", batch_size=32)
    assert len(batches) == 4
    orders = []
    for _ in range(2):
        seeds = []
        for batch in batches:
            n_id = batch.blocks[0].n_id
            np.testing.assert_array_equal(batch.x, data.features[n_id])
            np.testing.assert_array_equal(batch.labels, data.labels[batch.seeds])
            np.testing.assert_array_equal(n_id[: len(batch.seeds)], batch.seeds)
            assert batch.blocks[-1].num_dst == len(batch.seeds) <= 32
            seeds.append(batch.seeds.numpy())
        orders.append(np.concatenate(seeds))
        np.testing.assert_array_equal(np.sort(orders[-1]), data.splits["train"])
    assert not np.array_equal(*orders)


def test_neighbours_are_those_of_the_graph_and_not_more_than_asked(data):
    rows = np.repeat(np.arange(200), np.diff(data.indptr))
    edges = set(zip(data.indices.tolist(), rows.tolist(), strict=True))
    for batch in opened(data).minibatches([4, 3], "val", batch_size=16):
        for block, fan_out in zip(batch.blocks, (3, 4), strict=True):
            n_id = batch.blocks[0].n_id
            pairs = n_id[block.edge_index].T.tolist()
            assert len(pairs) == len({tuple(p) for p in pairs})
            assert {tuple(p) for p in pairs} <= edges
            degree = np.diff(data.indptr)[n_id[: block.num_dst]]
            counts = torch.bincount(block.edge_index[1], minlength=block.num_dst)
            assert counts.tolist() == np.minimum(degree, fan_out).tolist()


def test_they_do_not_depend_on_the_partition(data):
    found = []
    for method, num_parts in (("metis", 2), ("hash", 5)):
        batches = opened(data, method, num_parts).minibatches(
            [3, 3], "train", batch_size=40, seed=7
        )
        edges = set()
        for number, batch in enumerate(batches):
            for layer, block in enumerate(batch.blocks):
                pairs = batch.blocks[0].n_id[block.edge_index].T.tolist()
                edges |= {(number, layer, *pair) for pair in pairs}
        found.append(edges)
    assert found[0] == found[1]


def test_all_neighbours_give_what_pyg_gives_on_the_whole_graph(data):
    torch.manual_seed(0)
    theirs = GraphSAGE(12, 16, num_layers=2, out_channels=4)
    ours = small_sage(opened(data), dropout=0.0)
    ours.load_state_dict(theirs.state_dict())
    rows = np.repeat(np.arange(200), np.diff(data.indptr))
    edge_index = torch.tensor(np.stack([data.indices, rows]), dtype=torch.long)
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor(data.features), edge_index)
        for batch in opened(data).minibatches([-1, -1], [5, 199, 0], batch_size=2):
            out = ours.eval()(batch.x, batch.blocks)
            torch.testing.assert_close(out, expected[batch.seeds], rtol=1e-4, atol=1e-5)


def test_a_loop_of_ones_own_learns(data):
    graph = opened(data)
    model = small_sage(graph, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    batches = graph.minibatches([10, 5], "train", batch_size=50)
    for _ in range(8):
        for batch in batches:
            optimizer.zero_grad()
            out = model(batch.x, batch.blocks)
            torch.nn.functional.cross_entropy(out, batch.labels).backward()
            optimizer.step()
    right = [
        (model(batch.x, batch.blocks).argmax(1) == batch.labels).float()
        for batch in graph.minibatches([-1, -1], "test")
    ]
    assert torch.cat(right).mean() > 0.6  # 0.25 by chance


def test_seeds_by_the_users_own_ids_by_mask_and_in_order(tmp_path):
    (tmp_path / "e.csv").write_text("ada,bob\nbob,cy\ncy,dan\n")
    (tmp_path / "n.csv").write_text("id,x\nada,1\nbob,2\ncy,3\ndan,4\n")
    words = daskgnn.read_edge_list(
        tmp_path / "e.csv", nodes=tmp_path / "n.csv", features=["x"]
    )
    graph = daskgnn.open_graph(words.partition(2))
    (batch,) = graph.minibatches([-1], ["cy", "ada"], shuffle=False)
    found = dict(zip(graph.node_ids()[batch.seeds], batch.x[:2, 0], strict=True))
    assert found == {"cy": 3, "ada": 1}
    assert batch.labels is None
    (batch,) = graph.minibatches([-1], np.array([True, False, True, False]))
    assert sorted(batch.seeds.tolist()) == [0, 2]
    with pytest.raises(InputError, match="'eve', which no node of graph"):
        graph.minibatches([-1], ["eve"])
    with pytest.raises(InputError, match=r"holds 3, .* are words, such as 'ada'"):
        graph.minibatches([-1], [3])


def test_vertex_cuts_and_features_on_disk(tmp_path):
    data = hub_graph(200)
    path = data.partition(8, "hdrf").save(tmp_path / "g.zarr")
    graph = daskgnn.open_graph(path, num_parts=2, features="disk")
    for batch in graph.minibatches([5, 5], "val"):
        n_id = batch.blocks[0].n_id
        np.testing.assert_array_equal(batch.x, data.features[n_id])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": "dev"}, "no such split .it has "),
        ({"seeds": [1, 1]}, "hold a node twice"),
        ({"seeds": [200]}, r"holds 200, .* are 0\.\.199"),
        ({"seeds": [-1]}, "holds -1"),
        ({"seeds": []}, "at least one node"),
        ({"seeds": 3}, r"expected a list of ids, as in \[3\]"),
        ({"seeds": [0.5]}, "give whole numbers"),
        ({"seeds": np.zeros(200, bool)}, "has 0 of 200 nodes"),
        ({"batch_size": 0}, "batch_size=0, expected a whole number of at least 1"),
        ({"seed": "a"}, "seed='a', expected a whole number"),
        ({"sampler": [0]}, "num_neighbors"),
        ({"sampler": 5}, "sampler"),
    ],
)
def test_what_cannot_be(data, options, said):
    with pytest.raises(InputError, match=said) as error:
        opened(data).minibatches(**{"sampler": [3], **options})
    assert "\n" not in str(error.value)


def test_a_graph_in_memory_says_to_open_it_first():
    data = daskgnn.load_dataset("karate")
    with pytest.raises(AttributeError, match=r"open_graph\(graph.partition\(\)\)"):
        data.minibatches([5, 5])
    with pytest.raises(AttributeError, match=r"graph.partition\(\).save"):
        data.save("karate.zarr")
    assert not hasattr(data, "colour")
