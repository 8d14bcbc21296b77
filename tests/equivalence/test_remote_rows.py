"""Owners' sums and halo caches, on or off, here or on workers: the same bits."""

import dask
import numpy as np
import pytest
import torch
from training import mostly_slow, planted_graph, small_sage, stored, trainer

from daskgnn import nn

WIDE = 40
"""Features enough that a sum of a few rows takes fewer bytes than the rows."""

CACHES = {
    "none": {},
    "static": {"halo_cache": "8 kB"},
    "lru": {"halo_cache": "8 kB", "halo_cache_policy": "lru"},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, WIDE)).astype(np.float32)
    weight = rng.random(2000).astype(np.float32)
    graph = planted_graph(features=features, edge_weight=weight)
    return stored(graph, tmp_path_factory.mktemp("graph") / "g.zarr")


def small_gcn(graph):
    torch.manual_seed(0)
    return nn.GCN(graph.num_features, 40, graph.num_classes, 2, dropout=0.2)


def small_gat(graph):
    torch.manual_seed(0)
    return nn.GAT(graph.num_features, 8, graph.num_classes, 2, heads=2, dropout=0.2)


def fitted(path, num_parts, client=None, aggregation="on", **options):
    with dask.config.set({"gnn.remote-aggregation": aggregation}):
        run = trainer(path, num_parts, client, window=3, **options)
        run.fit(2)
    return run


CASES = [
    (3, small_sage, "float32"),
    (3, small_gcn, "bfloat16"),
    (3, small_gat, "float32"),
    (1, small_sage, "float32"),
    (3, small_gcn, "float32"),
    (3, small_sage, "bfloat16"),
]


@pytest.mark.parametrize(
    ("num_parts", "model", "dtype"), mostly_slow(CASES, *CASES[:2])
)
def test_no_bit_depends_on_how_rows_come(path, num_parts, model, dtype):
    options = {"model": model, "feature_dtype": dtype}
    plain = fitted(path, num_parts, aggregation="off", **options)
    sent = {"none": plain.run_state.total.halo_rows}
    for name, cache in CACHES.items():
        run = fitted(path, num_parts, **options, **cache)
        assert run.params_sha256 == plain.params_sha256
        assert (run.run_state.total.cache_hits > 0) == (
            name != "none" and num_parts > 1
        )
        sent[name + " and sums"] = run.run_state.total.halo_rows
    if num_parts > 1:
        assert min(sent.values()) < sent["none"]


@pytest.mark.parametrize("cache", mostly_slow(["static", "lru"], "lru"))
def test_forms_and_workers_agree(path, cluster, cache):
    plain = fitted(path, 3, aggregation="off")
    for steps in ("tasks", "window"):
        run = fitted(path, 3, cluster(2), steps=steps, **CACHES[cache])
        assert run.params_sha256 == plain.params_sha256
        assert run.run_state.total.cache_hits > 0
        assert run.summary()["steps_form"] == steps
