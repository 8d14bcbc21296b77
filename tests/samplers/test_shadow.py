"""ShaDow: ego graphs, personalised PageRank, and models on subgraphs."""

import itertools

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy import stats
from training import hub_graph, planted_graph, small_sage, stored, trainer

import daskgnn
from daskgnn import nn
from daskgnn.errors import InputError
from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.counter import derive_key
from daskgnn.kernels.ranking import PushRule, RowRequest, answer_rows
from daskgnn.sampling import GraphStats, PartitionBook, PartRows, ShadowSampler
from daskgnn.sampling.rounds import sample_parts
from daskgnn.tasks import Targets, Task

NODES = 60


def directed(seed=0, chance=0.06):
    """Return a directed graph with weights, row = destination, with a hub."""
    rng = np.random.default_rng(seed)
    dense = (rng.random((NODES, NODES)) < chance) * (rng.random((NODES, NODES)) + 0.1)
    dense[3] = rng.random(NODES) + 0.1
    np.fill_diagonal(dense, 0)
    return sp.csr_array(dense.astype(np.float32))


def undirected(seed=0):
    """Return a graph without weights in which every edge goes both ways."""
    found = nx.barabasi_albert_graph(NODES, 3, seed=seed)
    return sp.csr_array(nx.to_scipy_sparse_array(found, format="csr", dtype=np.float32))


def sampled(sampler, matrix, steps, num_parts=1, order_seed=0):
    """Return each step's subgraphs, by the seed's original id.

    A subgraph is its nodes in their order, and its edges with weights as a dict, all in
    original ids.
    """
    order = np.random.default_rng(order_seed).permutation(NODES)
    place = np.argsort(order)
    bounds = np.arange(num_parts + 1) * NODES // num_parts
    parts = [_part(matrix, order, place, *pair) for pair in itertools.pairwise(bounds)]
    book = PartitionBook(bounds)
    seeds = [
        [np.sort(place[list(step)])[p::num_parts].astype(np.int32) for step in steps]
        for p in range(num_parts)
    ]
    keys = np.array([derive_key(4, s) for s in range(len(steps))], np.uint64)
    found = sample_parts(sampler, parts, book, seeds, keys)
    again = sample_parts(sampler, parts, book, seeds, keys, threads=3)
    for graphs, same in zip(found, again, strict=True):
        for one, other in zip(graphs, same, strict=True):
            assert one.sizes == other.sizes
            np.testing.assert_array_equal(one.ids, other.ids)
            np.testing.assert_array_equal(one.rows[0].indices, other.rows[0].indices)
    out = [{} for _ in steps]
    for graphs in found:
        for step, graph in zip(out, graphs, strict=True):
            _check_known(graph, matrix, order)
            step.update(_separate(graph, order))
    return out


def _part(matrix, order, place, first, last):
    rows = matrix[order[first:last]]
    columns = place[rows.indices].astype(np.int32)
    indptr = rows.indptr.astype(np.int64)
    return PartRows(
        AdjacencyBlock(int(first), indptr, columns, order[first:last], rows.data)
    )


def _check_known(graph, matrix, order):
    """Compare what is told of nodes with the graph."""
    known = order[graph.ids[: graph.sizes[-2]]]
    np.testing.assert_array_equal(graph.original_ids, known)
    np.testing.assert_array_equal(graph.degree, np.diff(matrix.indptr)[known])
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    np.testing.assert_allclose(graph.weighted_degree, sums[known], rtol=1e-5)


def _separate(graph, order):
    """Take the subgraphs of pooled seeds apart."""
    rows = graph.rows[0]
    assert graph.sizes == (len(graph.ids),) * len(graph.sizes)
    for first, last in itertools.pairwise(graph.pools.tolist()):
        edges = {}
        for i in range(first, last):
            for e in range(rows.indptr[i], rows.indptr[i + 1]):
                assert first <= rows.indices[e] < last
                pair = order[graph.ids[rows.indices[e]]], order[graph.ids[i]]
                edges[tuple(map(int, pair))] = float(rows.weights[e])
        nodes = tuple(order[graph.ids[first:last]].tolist())
        yield nodes[0], (nodes, edges)


def pooled(**options):
    """Return a sampler whose subgraphs follow each other."""
    return ShadowSampler(readout="mean", **options).for_graph(None, 2)


def as_networkx(matrix):
    """Return the graph with an edge from each column to its row."""
    return nx.from_scipy_sparse_array(matrix.T.tocsr(), create_using=nx.DiGraph)


@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("num_parts", [1, 3])
def test_everything_taken_is_the_induced_ego_graph(hops, num_parts):
    matrix = directed()
    sampler, steps = pooled(hops=hops, fanout=NODES), [range(20), range(10, 40)]
    whole = as_networkx(matrix)
    for step, found in zip(
        steps, sampled(sampler, matrix, steps, num_parts), strict=True
    ):
        assert sorted(found) == list(step)
        for seed, (nodes, edges) in found.items():
            ego = nx.ego_graph(whole.reverse(), seed, radius=hops)
            assert len(set(nodes)) == len(nodes)
            assert set(nodes) == set(ego)
            inside = whole.subgraph(ego)
            weights = {(u, v): w for u, v, w in inside.edges(data="weight")}
            assert edges == pytest.approx(weights)


@pytest.mark.parametrize(
    "options",
    [
        {"hops": 1, "fanout": 3},
        {"hops": 3, "fanout": 2},
        {"method": "ppr", "size": 12},
        {"method": "ppr", "size": 7, "epsilon": 0.02, "hops": 2},
    ],
)
@pytest.mark.parametrize("graph", [directed, undirected])
def test_subgraphs_do_not_depend_on_parts_or_order(options, graph):
    matrix, steps = graph(), [range(0, 40, 3), range(5), range(20, 45)]
    seen = [
        sampled(pooled(**options), matrix, steps, num_parts, seed)
        for seed, num_parts in enumerate([1, 2, 4])
    ]
    assert seen[0] == seen[1] == seen[2]


def test_drawn_nodes_are_near_and_no_more_than_the_fanout_allows():
    matrix = directed()
    steps = [range(NODES)]
    (found,) = sampled(pooled(hops=2, fanout=3), matrix, steps, 2)
    whole = as_networkx(matrix).reverse()
    for seed, (nodes, edges) in found.items():
        assert set(nodes) <= set(nx.ego_graph(whole, seed, radius=2))
        assert len(nodes) <= 1 + 3 + 9
        assert len(nodes) >= 1 + min(3, whole.out_degree(seed))
        inside = whole.reverse().subgraph(nodes)
        assert set(edges) == set(inside.edges)


def test_all_subsets_of_neighbours_are_drawn_equally_often():
    dense = np.zeros((NODES, NODES), np.float32)
    dense[0, 10:15] = 1
    steps = [[0]] * 4000
    found = sampled(pooled(hops=1, fanout=2), sp.csr_array(dense), steps)
    counts = dict.fromkeys(itertools.combinations(range(10, 15), 2), 0)
    for step in found:
        counts[tuple(sorted(step[0][0][1:]))] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_seeds_draw_independently_at_a_node_that_they_share():
    dense = np.zeros((NODES, NODES), np.float32)
    dense[[0, 1], 2] = 1
    dense[2, 10:16] = 1
    steps = [[0, 1]] * 4000
    found = sampled(pooled(hops=2, fanout=3), sp.csr_array(dense), steps)
    alike = sum(set(step[0][0][2:]) == set(step[1][0][2:]) for step in found)
    # One of the 20 subsets is drawn again by chance.
    assert abs(alike - 200) < 5 * np.sqrt(200 * 0.95)


def exact_pagerank(matrix, alpha):
    """Return personalised PageRank, row = seed, from its linear equation."""
    dense = (matrix.toarray() > 0).astype(float)
    degree = dense.sum(axis=1, keepdims=True)
    step = np.divide(dense, degree, out=np.zeros_like(dense), where=degree > 0)
    return alpha * np.linalg.inv(np.eye(len(dense)) - (1 - alpha) * step)


@pytest.mark.parametrize("graph", [directed, undirected])
def test_a_precise_push_finds_the_nodes_of_highest_pagerank(graph):
    matrix = graph()
    ppr = pooled(method="ppr", size=12, alpha=0.2, epsilon=1e-12, hops=40)
    exact = exact_pagerank(matrix, 0.2)
    (found,) = sampled(ppr, matrix, [range(NODES)], 2)
    for seed, (nodes, _) in found.items():
        others = [v for v in np.argsort(-exact[seed]) if v != seed]
        expected = [v for v in others[:11] if exact[seed, v] > 0]
        assert nodes[0] == seed
        assert len(nodes) == 1 + len(expected)
        np.testing.assert_allclose(
            exact[seed, list(nodes[1:])], exact[seed, expected], rtol=1e-6
        )


@pytest.mark.parametrize("epsilon", [0.1, 0.01, 0.003])
def test_a_coarse_push_is_wrong_by_epsilon_times_the_degree_at_most(epsilon):
    matrix = undirected()
    ppr = pooled(method="ppr", size=8, epsilon=epsilon, hops=25)
    exact, degree = exact_pagerank(matrix, 0.15), np.diff(matrix.indptr)
    (found,) = sampled(ppr, matrix, [range(NODES)])
    for seed, (nodes, _) in found.items():
        rest = np.setdiff1d(np.arange(NODES), nodes)
        missed = exact[seed, rest] - epsilon * degree[rest]
        if len(nodes) == 8:
            assert exact[seed, list(nodes[1:])].min() >= missed.max()
        assert len(nodes) > min(8, degree[seed]) - 1


def test_rows_that_are_not_pushed_are_not_sent():
    indptr = np.array([0, 50, 52])
    indices = np.concatenate([np.arange(2, 52), [0, 1]]).astype(np.int32)
    block = AdjacencyBlock(0, indptr, indices, np.arange(2))
    asked = RowRequest(np.array([0, 1], np.int32), np.array([0.2, 0.2]))
    rule = PushRule(size=10, alpha=0.15, epsilon=0.01)
    found = answer_rows(block, asked, rule, first=False)
    assert found.degree.tolist() == [50, 2]
    assert found.counts.tolist() == [0, 2]
    assert found.columns.tolist() == [0, 1]
    assert answer_rows(block, asked, rule, first=True).counts.tolist() == [50, 2]


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_nodes_are_ordered_by_hop_and_unneeded_ones_left_out(layers):
    matrix, steps = directed(chance=0.03), [range(30)]
    how = {"hops": 3, "fanout": 2}
    (apart,) = sampled(pooled(**how), matrix, steps)
    sampler = ShadowSampler(**how).for_graph(None, layers)
    part = _part(matrix, np.arange(NODES), np.arange(NODES), 0, NODES)
    book = PartitionBook(np.array([0, NODES]))
    keys = np.array([derive_key(4, 0)], np.uint64)
    seeds = np.arange(30, dtype=np.int32)
    ((graph,),) = sample_parts(sampler, [part], book, [[seeds]], keys)
    distances = []
    for seed, (nodes, edges) in apart.items():
        inside = nx.DiGraph([(v, u) for u, v in edges])
        inside.add_nodes_from(nodes)
        found = nx.single_source_shortest_path_length(inside, seed)
        distances += found.values()
    hops = np.array(distances)
    assert graph.sizes == tuple(int((hops <= h).sum()) for h in range(layers + 1))
    np.testing.assert_array_equal(graph.seeds, seeds)
    assert len(graph.rows[0].indptr) == graph.sizes[-2] + 1


class Plain(torch.nn.Module):
    """Layers of one matrix each over what a mean or a GCN aggregates."""

    def __init__(self, kind, num_layers, width):
        super().__init__()
        self.kind = kind
        torch.manual_seed(2)
        shape = (num_layers, width, width)
        self.weight = torch.nn.Parameter(torch.randn(shape) / width**0.5)

    def forward(self, x, blocks):
        for weight, block in zip(self.weight, blocks, strict=True):
            if self.kind == "gcn":
                near = block.propagate_gcn(x)
            else:
                near = block.aggregate(x, "mean") + block.dst(x)
            x = torch.tanh(near @ weight)
        return x

    def dense(self, x, matrix, whole):
        """Compute the same with the matrix of a subgraph and whole weighted degrees."""
        for weight in self.weight:
            x = torch.tanh(_aggregation(self.kind, matrix, *whole) @ x @ weight)
        return x


def _aggregation(kind, matrix, degree, total):
    """Return the matrix by which rows are multiplied."""
    inside = (matrix != 0).sum(dim=1, keepdim=True).clamp(min=1)
    if kind == "mean":
        return (matrix != 0) / inside + torch.eye(len(matrix))
    scale = (total + 1) ** -0.5
    between = matrix * scale[:, None] * scale[None] * (degree[:, None] / inside)
    return between + torch.diag(1 / (total + 1))


@pytest.fixture(scope="module")
def weighted():
    """Return a small directed graph with weights: as it is built, and opened."""
    rng = np.random.default_rng(5)
    weights = rng.random(5 * 120).astype(np.float32) + 0.1
    graph = planted_graph(120, edge_weight=weights, directed=True)
    matrix = sp.csr_array(
        (graph.edge_weight, graph.indices, graph.indptr), (120, 120)
    ).astype(np.float32)
    x = torch.from_numpy(np.asarray(graph.features))
    return daskgnn.open_graph(graph.partition()), matrix, x


def batch_of(graph, layers, **options):
    """Return the first minibatch of some seeds."""
    sampler = ShadowSampler(**options).for_graph(graph, layers)
    batches = graph.minibatches(sampler, seeds=np.arange(40), batch_size=40)
    return next(iter(batches))


@pytest.mark.parametrize("kind", ["mean", "gcn"])
@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize(
    "options", [{"hops": 2, "fanout": 3}, {"method": "ppr", "size": 9}]
)
def test_outputs_and_gradients_are_those_of_plain_torch(
    weighted, kind, layers, options
):
    graph, matrix, x = weighted
    model = Plain(kind, layers, x.shape[1])
    seeds = batch_of(graph, layers, **options)
    whole = batch_of(graph, layers, readout="mean", **options)
    torch.testing.assert_close(whole.seeds, seeds.seeds)
    rows = model(whole.x, whole.blocks)
    degree = torch.from_numpy(np.diff(matrix.indptr).astype(np.float32))
    total = torch.from_numpy(np.asarray(matrix.sum(axis=1)).ravel())
    nodes, outputs, means = whole.blocks[0].n_id.numpy(), [], []
    for first, last in itertools.pairwise(whole.pools.tolist()):
        own = nodes[first:last]
        inside = torch.from_numpy(matrix[own][:, own].toarray())
        out = model.dense(x[own], inside, (degree[own], total[own]))
        outputs.append(out[0])
        means.append(out.mean(dim=0))
        torch.testing.assert_close(rows[first:last], out, rtol=1e-4, atol=1e-5)
    expected = torch.stack(outputs)
    found = model(seeds.x, seeds.blocks)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    by_hand, by_rows = (
        torch.autograd.grad((out * torch.arange(out.shape[1])).sum(), model.weight)[0]
        for out in (expected, found)
    )
    torch.testing.assert_close(by_rows, by_hand, rtol=1e-3, atol=1e-3)
    assert len(whole.x) >= len(seeds.x)


@pytest.mark.parametrize("kind", ["mean", "gcn"])
def test_everything_within_the_layers_is_the_whole_graph(weighted, kind):
    graph, matrix, x = weighted
    model = Plain(kind, 2, x.shape[1])
    degree = torch.from_numpy(np.diff(matrix.indptr).astype(np.float32))
    total = torch.from_numpy(np.asarray(matrix.sum(axis=1)).ravel())
    exact = model.dense(x, torch.from_numpy(matrix.toarray()), (degree, total))
    for hops in (2, 3):
        batch = batch_of(graph, 2, hops=hops, fanout=1000)
        found = model(batch.x, batch.blocks)
        torch.testing.assert_close(found, exact[batch.seeds], rtol=1e-5, atol=1e-5)


def ego_outputs(model, graph, nodes, hops):
    """Return the mean over each node's ego graph of what a model gives of its rows."""
    matrix = sp.csr_array(
        (np.ones(len(graph.indices), np.float32), graph.indices, graph.indptr),
        (graph.num_nodes,) * 2,
    )
    whole, out = nx.from_scipy_sparse_array(matrix), []
    for node in nodes:
        own = sorted(nx.ego_graph(whole, node, radius=hops))
        inside = matrix[own][:, own].tocsr()
        block = nn.Block.from_csr(inside.indptr, inside.indices)
        x = torch.from_numpy(np.asarray(graph.features)[own])
        out.append(model(x, [block] * model.num_layers).mean(dim=0))
    return torch.stack(out)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Return a small graph, and where it is stored."""
    graph = planted_graph(100, seed=3)
    return graph, stored(graph, tmp_path_factory.mktemp("shadow") / "g.zarr")


def plain_sage(graph):
    """Return a model that draws nothing."""
    return small_sage(graph, dropout=0.0)


@pytest.mark.parametrize("num_parts", [1, 3])
def test_pooled_training_and_evaluation_are_those_of_plain_torch(planted, num_parts):
    graph, path = planted
    run = trainer(
        path,
        num_parts,
        None,
        plain_sage,
        sampler="shadow:hops=2,fanout=1000,readout=mean",
        num_neighbors=None,
        batch_size=1000,
        optimizer="sgd",
        lr=0.5,
    )
    model = plain_sage(run.graph)
    nodes = np.asarray(graph.splits["train"])
    labels = torch.from_numpy(np.asarray(graph.labels))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        outputs = ego_outputs(model, graph, nodes, 2)
        torch.nn.functional.cross_entropy(outputs, labels[nodes]).backward()
        optimizer.step()
    run.fit(2)
    trained = torch.nn.utils.parameters_to_vector(model.parameters())
    expected = trained.detach().numpy()
    found = run.run_state.state.parameters
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    best = run.best_parameters
    torch.nn.utils.vector_to_parameters(torch.from_numpy(best), model.parameters())
    with torch.no_grad():
        outputs = ego_outputs(model, graph, range(100), 2)
    predicted = run.predict().compute()
    np.testing.assert_allclose(predicted, outputs, rtol=1e-4, atol=1e-5)
    few = run.predict([7, 3]).compute()
    np.testing.assert_allclose(few, outputs[[7, 3]], rtol=1e-4, atol=1e-5)
    test = np.asarray(graph.splits["test"])
    right = (outputs[test].argmax(dim=1) == labels[test]).float().mean()
    assert run.evaluate("test")["accuracy"] == pytest.approx(float(right))


def test_pooled_predictions_do_not_depend_on_parts_and_are_repeated(planted):
    _, path = planted
    options = {"sampler": "shadow:hops=2,fanout=2,readout=mean", "num_neighbors": None}
    runs = [trainer(path, num_parts, None, **options) for num_parts in (1, 3)]
    first, second = (run.predict().compute() for run in runs)
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(first, runs[0].predict().compute())


class Pairs(Task):
    """Whether two nodes are of one class."""

    tables = ()

    def num_outputs(self, graph):
        return 4

    def targets(self, graph, split):
        nodes = graph.splits.get(split, np.empty(0, np.int64))[:20].reshape(-1, 2)
        values = np.ones(len(nodes), np.float32)
        return Targets(graph.original_ids_of(nodes[:, 0]), nodes, values)

    def loss(self, h, batch):
        both = h[batch.rows[:, 0]] * h[batch.rows[:, 1]]
        return ((both.sum(dim=1) - batch.values) ** 2).sum()

    def partial(self, h, batch):
        return {"count": len(batch.rows)}

    def score(self, total):
        return {"accuracy": 1.0 / total["count"]}


def test_targets_of_several_nodes_go_with_the_seeds_rows_alone(planted):
    _, path = planted
    options = {"num_neighbors": None, "task": Pairs()}
    run = trainer(path, 2, None, sampler="shadow:hops=1", **options)
    assert len(run.fit(1).epochs) == 1
    with pytest.raises(InputError, match="use readout='seed'"):
        trainer(path, 2, None, sampler="shadow:readout=mean", **options)


def test_embeddings_of_pooled_outputs_are_refused(planted):
    _, path = planted
    options = {"sampler": "shadow:readout=mean", "num_neighbors": None}
    with pytest.raises(InputError, match="pools subgraphs"):
        trainer(path, 2, None, **options).embeddings()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hops": 0}, "hops=0, expected a whole number of at least 1"),
        ({"hops": 1.5}, "hops=1.5, expected a whole number"),
        ({"fanout": -1}, "fanout=-1, expected a whole number of at least 1"),
        ({"size": 0}, "size=0, expected"),
        ({"alpha": 1}, "alpha=1, expected a number above 0 and below 1"),
        ({"alpha": "x"}, "alpha='x', expected a number"),
        ({"epsilon": 0.0}, "epsilon=0.0, expected a number above 0"),
        ({"method": "pagerank"}, "method='pagerank', expected one of fanout, ppr: sh"),
        ({"readout": "max"}, "readout='max', expected one of seed, mean: shadow:"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, said):
    with pytest.raises(InputError, match=said) as caught:
        ShadowSampler(**options)
    assert "\n" not in str(caught.value)


def test_vertex_cuts_are_refused_in_one_line(tmp_path):
    path = stored(hub_graph(), tmp_path / "g.zarr", "hdrf", 8)
    with pytest.raises(InputError, match="vertex-cut") as caught:
        trainer(path, 2, None, sampler="shadow", num_neighbors=None)
    assert "\n" not in str(caught.value)


def test_minibatches_ask_for_the_number_of_layers(planted):
    graph = daskgnn.open_graph(planted[1])
    with pytest.raises(InputError, match="how many layers the model has"):
        graph.minibatches(ShadowSampler())


def test_a_step_is_estimated_from_the_mean_degree():
    stats_of = GraphStats(num_nodes=10_000, num_edges=60_000)
    sampler = ShadowSampler(hops=2, fanout=3).for_graph(None, 5)
    size = sampler.estimate(stats_of, 10)
    assert (size.nodes, size.computed) == (130, 130)
    shallow = ShadowSampler(hops=2, fanout=3).for_graph(None, 1).estimate(stats_of, 10)
    assert (shallow.nodes, shallow.computed) == (40, 10)
