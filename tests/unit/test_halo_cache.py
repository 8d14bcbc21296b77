"""Halo caches: what they hold, and that each is a function of its inputs."""

import json
import tracemalloc
from types import SimpleNamespace

import dask
import numpy as np
import pytest
from training import planted_graph, stored, trainer

from daskgnn.dataflow.halo_cache import CachePlan
from daskgnn.dataflow.memory import estimate_cache
from daskgnn.errors import InputError
from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.book import PartitionBook
from daskgnn.kernels.exchange import FeatureReply, FeatureRequest
from daskgnn.kernels.halo_cache import (
    choose_static,
    expected_visits,
    update_lru,
)


def block():
    """Rows 0 to 3 of a graph of 8 nodes: remote neighbours are 4 to 7."""
    rows = [[1, 4, 5], [4], [5, 6, 0, 4], [7]]
    indptr = np.cumsum([0, *map(len, rows)])
    return AdjacencyBlock(0, indptr, np.concatenate(rows), np.arange(4))


def how(*fan_outs):
    return PartitionBook(np.array([0, 4, 8])), fan_outs


def test_visits_of_one_hop_are_draws_over_degrees():
    seeds = np.array([0, 1, 2])
    ids, visits = expected_visits(block(), *how(2), seeds, 1.5)
    assert ids.tolist() == [4, 5, 6, 7]
    # Each training node is a seed in half of the steps.
    expected = 0.5 * np.array([2 / 3 + 1 + 2 / 4, 2 / 3 + 2 / 4, 2 / 4, 0])
    np.testing.assert_allclose(visits, expected)


def test_visits_of_two_hops_go_through_own_rows():
    ids, visits = expected_visits(block(), *how(1, 1), np.array([0]), 1.0)
    # Node 0 surely, node 1 by one of node 0's three draws.
    reached = 1 - np.exp(-1 / 3)
    sure = 1 - np.exp(-1)
    np.testing.assert_allclose(visits, [sure / 3 + reached, sure / 3, 0, 0])
    assert len(ids) == 4


def test_static_keeps_the_most_visited():
    seeds = np.array([0, 1, 2])
    assert choose_static(block(), *how(2), seeds, 3, 2).tolist() == [4, 5]
    # Nobody visits node 7.
    assert choose_static(block(), *how(2), seeds, 3, 9).tolist() == [4, 5, 6]
    assert len(choose_static(block(), *how(2), seeds[:0], 3, 9)) == 0


def window_of(*steps):
    graphs = [SimpleNamespace(ids=np.array(ids)) for ids in steps]
    return SimpleNamespace(graphs=graphs)


def rows_of(ids):
    ids = np.array(ids, np.int64)
    values = np.stack([ids, 10 * ids], 1).astype(np.float32)
    return [FeatureRequest(ids)], [FeatureReply(values, ids + 100, None)]


def checked(cache):
    """The cache's ids and last uses, once its rows are known to be theirs."""
    np.testing.assert_array_equal(cache.values[:, 0], cache.ids)
    np.testing.assert_array_equal(cache.values[:, 1], 10 * cache.ids)
    np.testing.assert_array_equal(cache.original_ids, cache.ids + 100)
    assert cache.weighted_degree is None
    return dict(zip(cache.ids.tolist(), cache.used.tolist(), strict=True))


def test_lru_keeps_what_was_wanted_last():
    first = update_lru(None, window_of([4, 5], [5, 6]), *rows_of([4, 5, 6]), 0, 4)
    assert checked(first) == {4: 0, 5: 0, 6: 0}
    # Row 5 is there and used again; 4 and 6 were used longest ago.
    second = update_lru(first, window_of([5, 7], [8, 1]), *rows_of([7, 8]), 1, 4)
    assert checked(second) == {4: 0, 5: 1, 7: 1, 8: 1}
    assert checked(first) == {4: 0, 5: 0, 6: 0}


def test_lru_of_one_window_keeps_what_more_steps_want():
    steps = [9, 4], [9, 5], [5, 6]
    cache = update_lru(None, window_of(*steps), *rows_of([4, 5, 6, 9]), 0, 2)
    assert checked(cache) == {5: 0, 9: 0}


def test_lru_copies_no_row_that_it_drops():
    count, width = 2000, 500
    half = np.arange(count // 2)

    def after(before, ids, number):
        rows = np.ones((count, width), np.float32)
        reply = FeatureReply(rows, None, None)
        given = [FeatureRequest(np.arange(count) + number * count)], [reply]
        return update_lru(before, window_of(ids), *given, number, count)

    before = after(None, np.arange(count), 0)
    tracemalloc.start()
    cache = after(before, np.concatenate([half, half + count]), 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(cache.ids, np.concatenate([half, half + count]))
    # The reply, its copy, the new cache and half of it on its way: not both caches.
    assert peak < 4.2 * cache.values.nbytes


def test_lru_without_anything_received():
    before = update_lru(None, window_of([4]), *rows_of([4]), 0, 2)
    after = update_lru(before, window_of([1, 4]), *rows_of([]), 1, 2)
    assert checked(after) == {4: 1}
    assert not checked(update_lru(None, window_of([1]), *rows_of([]), 0, 2))


def test_lru_starts_empty_every_few_windows():
    plan = CachePlan("lru", 10, "run", reset=3)
    assert [plan.before(w, 0) is None for w in range(7)] == [
        w % 3 == 0 for w in range(7)
    ]
    for window in range(7):
        held = plan.held(window, 2)
        after = plan.before(window + 1, 1)
        assert (after.key in held) if after else not held


def test_memory_is_planned_for():
    assert estimate_cache("static", 100, 1) == 100
    assert estimate_cache("lru", 100, 1) == 300


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    return stored(planted_graph(), folder / "g.zarr", method="hash")


@pytest.mark.parametrize("policy", ["static", "lru"])
def test_hits_and_misses_are_on_record(path, tmp_path, policy):
    plain = trainer(path, 2, None, window=3)
    plain.fit(2)
    run = trainer(
        path,
        2,
        None,
        window=3,
        halo_cache="3 kB",
        halo_cache_policy=policy,
        out=tmp_path / "run",
    )
    run.fit(2)
    assert run.params_sha256 == plain.params_sha256
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["cache_hits"] > 0
    # With 12 features a row is 48 bytes, and its id 4 or 8.
    assert summary["cache_saved_bytes"] >= 52 * summary["cache_hits"]
    assert summary["cache_misses"] == summary["halo_rows"]
    assert summary["halo_rows"] < plain.summary()["halo_rows"]
    epochs = [
        record
        for record in map(
            json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        )
        if record["event"] == "epoch"
    ]
    assert sum(e["cache_hits"] for e in epochs) == summary["cache_hits"]
    assert plain.summary()["cache_hits"] == plain.summary()["cache_misses"] == 0


def test_kept_rows_of_an_lru_are_let_go(path):
    with dask.config.set({"gnn.halo-cache-reset": 2}):
        run = trainer(
            path, 2, None, window=1, halo_cache="3 kB", halo_cache_policy="lru"
        )
        run.fit(2)
    assert not [k for k in run.executor._kept if k[0] == "halo-cache"]


def test_one_part_has_no_halo(path):
    run = trainer(path, 1, None, halo_cache="1 MB")
    run.fit(1)
    assert run.summary()["cache_hits"] == 0


@pytest.mark.parametrize("size", ["much", -1, True, None, "12 parsecs"])
def test_sizes_are_checked(path, size):
    with pytest.raises(
        InputError, match=r"expected bytes, as in (halo_cache=)?'64 MB'"
    ):
        trainer(path, 2, None, halo_cache=size)


def test_policies_are_checked(path):
    with pytest.raises(InputError, match="halo_cache_policy='fifo', expected one of"):
        trainer(path, 2, None, halo_cache=1, halo_cache_policy="fifo")
