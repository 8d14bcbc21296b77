"""Stores of vertex-cuts: every edge once, copies counted by sets, damage found."""

import shutil

import numpy as np
import pytest
from stored_graphs import assert_same_graph, make_graph
from test_validate import forge
from training import hub_graph, hub_weights, mostly_slow, small_sage

import daskgnn
from daskgnn.dataflow.memory import estimate_blocks, estimate_mapped
from daskgnn.dataflow.part import PartSource
from daskgnn.errors import InputError, PartitionError, StoreError
from daskgnn.graph.memory.vertexcut import VertexCutGraph, split_threshold
from daskgnn.graph.sources.stored import ZarrSource
from daskgnn.graph.store.store import open_store
from daskgnn.graph.validate import validate
from daskgnn.partition.methods.vertexcut import VERTEX_CUTS
from daskgnn.prepare.stages import prepare
from daskgnn.sampling import NeighborSampler
from daskgnn.train.compute.program import packed_sampler

SAMPLER = packed_sampler(NeighborSampler([2, 2]))
SPREAD = ["rows", "indptr", "holders", "starts", "bounds"]


@pytest.fixture(scope="module", params=[False, True], ids=["undirected", "directed"])
def data(request):
    options = {"edge_weight": hub_weights()} if request.param else {}
    return hub_graph(directed=request.param, **options)


@pytest.fixture(scope="module", params=mostly_slow(VERTEX_CUTS, "hdrf"))
def path(request, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    return data.partition(8, request.param).save(folder / "g.zarr")


def entries_of(path):
    """(row, column, holding cluster) of every stored entry, in original ids."""
    store = open_store(path)
    original, bounds = store.read("original_ids"), store.read("cluster_bounds")
    degree, split_rows = (
        np.diff(store.read("indptr")),
        store.read("spread_rows").tolist(),
    )
    holders = iter(store.read("spread_holders").tolist())
    held = sorted(
        (next(holders), row, slot) for row in split_rows for slot in range(degree[row])
    )
    rows = [
        (int(np.searchsorted(bounds, row, side="right")) - 1, row, slot)
        for row in range(len(degree))
        if row not in split_rows
        for slot in range(degree[row])
    ]
    columns = store.read("indices").tolist()
    assert len(columns) == len(rows) + len(held)
    return [
        (int(original[row]), int(original[column]), cluster)
        for (cluster, row, _), column in zip(rows + held, columns, strict=True)
    ]


def test_every_edge_is_stored_once(data, path):
    stored = sorted((v, u) for v, u, _ in entries_of(path))
    rows = np.repeat(np.arange(data.num_nodes), np.diff(data.indptr))
    pairs = sorted(zip(rows.tolist(), data.indices.tolist(), strict=True))
    assert stored == pairs
    assert_same_graph(daskgnn.open_graph(path).to_data(), data)


def test_rows_of_low_degree_are_whole_and_others_where_the_method_says(data, path):
    graph = daskgnn.open_graph(path)
    how = graph.partitioner
    least = how["spread_from"]
    assert least == split_threshold(data.num_nodes, data.num_edges, graph.num_clusters)
    degree = np.diff(data.indptr)
    assert how["spread_rows"] == (degree >= least).sum() > 5
    assert how["spread_entries"] == degree[degree >= least].sum()
    found = {}
    for v, u, cluster in entries_of(path):
        found[v, u] = cluster
    cut = VERTEX_CUTS[how["method"]](data, 8, 0)
    numbers = {}
    rows = np.repeat(np.arange(data.num_nodes), degree)
    told = zip(rows.tolist(), data.indices.tolist(), cut.holders.tolist(), strict=True)
    for v, u, holder in told:
        if degree[v] >= least:
            # The method's clusters under other numbers.
            assert numbers.setdefault(holder, found[v, u]) == found[v, u]
        else:
            assert found[v, u] == numbers.setdefault(cut.masters[v], found[v, u])
    assert len(set(numbers.values())) == len(numbers)


@pytest.mark.parametrize("num_parts", mostly_slow([1, 2, 3, 8], 3, 8))
def test_copies_and_entries_are_those_of_plain_sets(data, path, num_parts):
    graph = daskgnn.open_graph(path, num_parts)
    store = open_store(path)
    bounds, original = store.read("cluster_bounds"), store.read("original_ids")
    part_of = np.searchsorted(graph.partition_book, bounds[:-1], side="right") - 1
    where = [set() for _ in range(data.num_nodes)]
    entries = np.zeros(num_parts, int)
    for part in range(num_parts):
        start, stop = graph.partition_book[part : part + 2]
        for v in original[start:stop]:
            where[v].add(part)
    for v, u, cluster in entries_of(path):
        where[v].add(part_of[cluster])
        where[u].add(part_of[cluster])
        entries[part_of[cluster]] += 1
    again = data.partition(8, graph.partitioner["method"])
    for quality in (graph.quality(), again.quality(num_parts)):
        copies = sum(map(len, where)) / data.num_nodes
        assert quality.replication_factor == pytest.approx(copies)
        np.testing.assert_array_equal(quality.edges, entries)


def test_whole_rows_are_those_of_other_stores(data, path, tmp_path):
    other = data.partition(8, "hash").save(tmp_path / "hash.zarr")
    rows = []
    for where in (path, other):
        parts = [
            ZarrSource(where).load_rows(int(start), int(stop))
            for start, stop in zip(*bounds_of(where), strict=True)
        ]
        ids = np.concatenate([part.original_ids for part in parts])
        columns = ids[np.concatenate([part.indices for part in parts])]
        degree = np.concatenate([part.degree for part in parts])
        weighted_degree = np.concatenate([part.weighted_degree for part in parts])
        weights = [part.weights for part in parts if part.weights is not None]
        found = np.split(columns, np.cumsum(degree)[:-1])
        beside = np.split(np.concatenate([columns * 0.0, *weights]), np.cumsum(degree))
        rows.append(
            {
                int(v): (found[i].tolist(), beside[i].tolist(), weighted_degree[i])
                for i, v in enumerate(ids)
            }
        )
    assert rows[0] == rows[1]


def bounds_of(path):
    book = daskgnn.open_graph(path, 3).partition_book
    return book[:-1], book[1:]


def test_strengths_are_those_of_whole_rows(path):
    for part in range(3):
        source = source_of(path, part)
        block = source.load().adjacency
        whole = source.load_whole_rows()
        np.testing.assert_array_equal(block.weighted_degree, whole.weighted_degree)
        np.testing.assert_array_equal(block.degree, whole.degree)


def source_of(path, part):
    graph = daskgnn.open_graph(path, 3)
    rows = [int(n) for n in graph.partition_book[part : part + 2]]
    return PartSource(graph.source, *rows, "float32", False, SAMPLER)


def test_memory_is_planned(data, path):
    graph = daskgnn.open_graph(path, 3)
    held = 0
    for part in range(3):
        block = source_of(path, part).load().adjacency
        held += block.indices.nbytes + block.indptr.nbytes + block.split_rows.nbytes
        held += block.original_ids.nbytes
        held += 0 if block.weights is None else block.weights.nbytes
    planned = estimate_mapped(graph) - data.features.nbytes - 8 * data.num_nodes
    assert planned == pytest.approx(held, rel=0.05)
    assert estimate_blocks(graph) * 3 > planned


def test_a_graph_without_hubs_is_stored_as_usual(tmp_path):
    graph = make_graph().partition(4, "hdrf")
    assert not isinstance(graph, VertexCutGraph)
    store = open_store(graph.save(tmp_path / "g.zarr"))
    assert store.attributes["format_version"] == 1
    assert not [name for name in store.arrays if name.startswith("spread")]
    assert daskgnn.open_graph(store.path, 2).held_book is None


def test_what_a_cluster_without_masters_holds_goes_to_the_row(tmp_path):
    data = hub_graph()
    cut = VERTEX_CUTS["hdrf"](data, 8, 0)
    masters = np.where(cut.masters == 5, 4, cut.masters)
    cut = type(cut)(masters, cut.holders)
    path = VertexCutGraph.from_cut(data, cut, {"method": "hdrf"}).save(tmp_path / "g")
    assert daskgnn.open_graph(path).num_clusters == 7
    validate(path)
    assert_same_graph(daskgnn.open_graph(path).to_data(), data)


def test_refusals(path, tmp_path):
    graph = make_graph(edge_attr={"kind": np.arange(240)})
    with pytest.raises(PartitionError, match=r"'dbh'.*\(kind\).*method='fennel'"):
        graph.partition(4, "dbh")
    np.save(tmp_path / "edges.npy", np.array([[0, 1], [1, 2]]))
    with pytest.raises(PartitionError, match=r"'hdrf'.*in memory.*method='cluster'"):
        prepare(tmp_path / "edges.npy", tmp_path / "out.zarr", method="hdrf")
    graph = daskgnn.open_graph(path, 2)
    for sample_by in ("degree", *["edge_weight"] * graph.weighted):
        with pytest.raises(InputError, match=r"sample_by='uniform'.*method='fennel'"):
            daskgnn.Trainer(
                small_sage(graph), graph, num_neighbors=[2, 2], sample_by=sample_by
            )


def forged(store):
    """Wrong content by array, and what is said of it."""
    arrays = {name: store.read(f"spread_{name}") for name in SPREAD}
    holders = arrays["holders"].copy()
    a, b = (int(np.flatnonzero(holders == c)[0]) for c in holders[[0, -1]])
    holders[[a, b]] = holders[[b, a]]
    return {
        "rows": (arrays["rows"][::-1].copy(), "names no row or one twice"),
        "indptr": (arrays["indptr"] + 1, "does not cut the slots"),
        "holders": (np.full_like(holders, 8), "names no cluster"),
        "starts": (arrays["starts"][::-1].copy(), "does not count the entries of rows"),
        "bounds": (arrays["bounds"] + 1, "does not count the entries of holders"),
    }


@pytest.mark.parametrize("name", mostly_slow(SPREAD, "rows", "holders"))
def test_wrong_content_is_found_out(path, tmp_path, name):
    assert validate(path).num_edges == daskgnn.open_graph(path).num_edges
    array, said = forged(open_store(path))[name]
    wrong = forge(path, tmp_path / "wrong.zarr", **{f"spread_{name}": array})
    with pytest.raises(StoreError, match=f"'spread_{name}'.*{said}"):
        validate(wrong)


@pytest.mark.parametrize("name", mostly_slow(SPREAD, "starts", "bounds"))
def test_damage_is_named(path, tmp_path, name):
    copy = shutil.copytree(path, tmp_path / "copy.zarr")
    chunk = next(f for f in (copy / f"spread_{name}" / "c").rglob("*") if f.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 16
    chunk.write_bytes(content)
    with pytest.raises(StoreError, match=f"'spread_{name}'"):
        source_of(str(copy), 1).load()
    chunk.unlink()
    with pytest.raises(StoreError, match=f"'spread_{name}'"):
        daskgnn.open_graph(copy, 2)
