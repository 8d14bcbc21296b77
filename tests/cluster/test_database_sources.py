"""A graph in a database is trained as the same graph in a store."""

import os
import sys
from textwrap import dedent

import numpy as np
import pytest
from databases import INSTALLED, SAMPLERS, in_own_process, loaded, needs_kuzu
from training import (
    AtStep,
    die,
    hub_graph,
    hub_weights,
    mostly_slow,
    planted_graph,
    small_sage,
)

import daskgnn

EPOCHS = 2
FAN_OUTS = {"num_neighbors": [4, 3]}


def fitted(place, client=None, features="auto", **options):
    graph = daskgnn.open_graph(place, 2, features)
    given = {"batch_size": 48, "window": 3, **(options or FAN_OUTS)}
    given = {name: value for name, value in given.items() if value is not None}
    run = daskgnn.Trainer(small_sage(graph), graph, client=client, **given)
    run.fit(EPOCHS)
    return run


def losses(run):
    return [record["loss"] for record in run.recorder.history.steps]


@pytest.fixture(scope="module", params=mostly_slow(INSTALLED, *INSTALLED[:1]))
def places(request, tmp_path_factory):
    """A weighted graph in a store, and in a database."""
    folder = tmp_path_factory.mktemp(request.param)
    data = hub_graph(edge_weight=hub_weights())
    store = data.partition(16).save(folder / "g.zarr")
    return store, loaded(store, folder, request.param)


@pytest.fixture(scope="module")
def stored(places):
    return fitted(places[0])


@pytest.mark.parametrize(
    ("workers", "steps"),
    mostly_slow(
        [(0, "auto"), (1, "window"), (1, "tasks"), (2, "window"), (2, "tasks")],
        (2, "window"),
    ),
)
def test_any_number_of_workers_gives_the_bits_of_the_store(
    places, stored, cluster, workers, steps
):
    client = cluster(workers) if workers else None
    run = fitted(places[1], client, steps=steps, **FAN_OUTS)
    assert run.params_sha256 == stored.params_sha256
    assert losses(run) == losses(stored)
    assert run.evaluate("test") == stored.evaluate("test")
    predicted = run.predict().compute()
    np.testing.assert_array_equal(predicted, stored.predict().compute())


@pytest.mark.slow
@pytest.mark.parametrize("options", SAMPLERS, ids=lambda o: next(iter(o.values())))
def test_every_sampler_draws_what_it_draws_of_the_store(places, options):
    run, expected = (fitted(place, **options) for place in reversed(places))
    assert run.params_sha256 == expected.params_sha256
    assert losses(run) == losses(expected)


@pytest.fixture(scope="module")
def sparse_places(tmp_path_factory):
    """A graph with bags of words, in a store and in a database."""
    folder, rng = tmp_path_factory.mktemp("sparse"), np.random.default_rng(0)
    words = (rng.random((400, 600)) < 0.02).astype(np.float32)
    words[:, ::3] *= rng.random((400, 200), np.float32)
    store = planted_graph(400, features=words).partition(16).save(folder / "g.zarr")
    return store, loaded(store, folder, INSTALLED[0])


@pytest.mark.parametrize(
    ("workers", "options"),
    mostly_slow(
        [
            (0, {}),
            (0, {"normalize_features": True}),
            (0, {"sparse_features": False, "normalize_features": True}),
            (2, {"feature_dtype": "bfloat16"}),
            (2, {"sparse_features": False}),
            (2, {"halo_cache": "64kiB"}),
        ],
        (0, {"normalize_features": True}),
    ),
)
def test_sparse_features_are_read_on_demand(sparse_places, cluster, workers, options):
    client = cluster(workers) if workers else None
    store, place = sparse_places
    assert daskgnn.open_graph(place).features_in == "disk"
    run = fitted(place, client, **FAN_OUTS, **options)
    expected = fitted(store, **FAN_OUTS, **options)
    assert run.params_sha256 == expected.params_sha256
    assert run.evaluate("test") == expected.evaluate("test")


@pytest.mark.slow
def test_features_in_memory_give_the_same_bits(places, stored):
    run = fitted(places[1], features="memory")
    assert run.params_sha256 == stored.params_sha256


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(places, stored, killable):
    graph = daskgnn.open_graph(places[1], 2)
    victim = next(iter(killable.run(os.getpid).values()))
    run = daskgnn.Trainer(
        small_sage(graph),
        graph,
        client=killable,
        batch_size=48,
        window=3,
        progress=AtStep(2, lambda: die(victim)),
        **FAN_OUTS,
    )
    run.fit(EPOCHS)
    assert run.params_sha256 == stored.params_sha256


def test_a_minibatch_has_each_seeds_own_neighbours(places):
    """Exactly min(k, degree) distinct neighbours, the same as of the store."""
    graphs = [daskgnn.open_graph(place) for place in places]
    degree = np.diff(graphs[0].to_data().indptr)
    pairs = zip(*(graph.minibatches([5], "train", 50) for graph in graphs), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one.seeds, other.seeds)
        np.testing.assert_array_equal(one.x, other.x)
        (block,) = other.blocks
        drawn = block.edge_index[0][: block.indptr[-1]]
        rows = np.split(drawn.numpy(), block.indptr[1:-1].numpy())
        for seed, row in zip(one.seeds.tolist(), rows, strict=True):
            assert len(set(row.tolist())) == len(row) == min(5, degree[seed])


OWN_PROCESS = dedent(
    """
    import sys
    sys.path[:0] = sys.argv[2].split(":")
    from test_database_sources import SAMPLERS, fitted, loaded

    store, _, folder = sys.argv[1:]
    for place in (store, loaded(store, folder, "kuzu")):
        print(*(fitted(place, **how).params_sha256 for how in [{}, *SAMPLERS]))
    """
)


@needs_kuzu
@pytest.mark.slow
def test_kuzu_gives_the_same_bits(tmp_path):
    store = hub_graph(edge_weight=hub_weights()).partition(8).save(tmp_path / "g.zarr")
    found = in_own_process(OWN_PROCESS, store, ":".join(sys.path), str(tmp_path))
    half = len(SAMPLERS) + 1
    assert len(found) == 2 * half
    assert found[:half] == found[half:]
