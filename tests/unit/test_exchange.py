"""Rows or reduced groups: never more bytes than rows alone, and the same bits."""

from dataclasses import replace

import dask
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training import planted_graph, small_sage, stored, trainer

from daskgnn import nn
from daskgnn.dataflow.window import prepare_window
from daskgnn.errors import InputError
from daskgnn.kernels.choice import Costs, rows_or_sums
from daskgnn.train.plan import Window, WindowPlanner

FEATURES = 64


def bytes_of(starts, taken, asked, costs):
    members = np.diff(starts)[asked].sum()
    groups = costs.group * asked.sum() + costs.member * members
    return costs.row * taken.sum() + groups


@st.composite
def windows(draw):
    num_rows = draw(st.integers(1, 12))
    groups = draw(
        st.lists(st.lists(st.integers(-1, num_rows - 1), min_size=1, max_size=6))
    )
    free = draw(st.lists(st.booleans(), min_size=num_rows, max_size=num_rows))
    ranks = [rank for group in groups for rank in group]
    # Every row is there because something needs it.
    free = [f or r not in ranks for r, f in enumerate(free)]
    starts = np.cumsum([0, *map(len, groups)])
    return starts, np.array(ranks, np.int32), np.array(free, bool)


@settings(deadline=None)
@given(windows(), st.sampled_from([0.5, 1.0, 4.0]))
def test_never_more_bytes_than_all_rows(window, price):
    starts, ranks, free = window
    costs = Costs(row=100, group=int(100 * price), member=4)
    taken, asked = rows_or_sums(starts, ranks, free, costs)
    assert taken[free].all()
    lacking = np.append((ranks >= 0) & ~taken[ranks], False)
    np.testing.assert_array_equal(asked, np.add.reduceat(lacking, starts)[:-1] > 0)
    assert bytes_of(starts, taken, asked, costs) <= costs.row * len(free)


def test_rows_that_one_group_needs_are_reduced_and_shared_ones_sent():
    # Group 0 has rows of its own; groups 1 to 3 share theirs.
    starts = np.array([0, 4, 6, 8, 10])
    ranks = np.array([0, 1, 2, 3, 4, 5, 4, 5, 5, 4], np.int32)
    taken, asked = rows_or_sums(starts, ranks, np.zeros(6, bool), Costs(100, 110, 4))
    assert taken.tolist() == [False] * 4 + [True] * 2
    assert asked.tolist() == [True, False, False, False]


def test_rows_at_hand_make_a_group_cheap():
    starts, ranks = np.array([0, 4]), np.array([0, -1, -1, 1], np.int32)
    costs = Costs(100, 150, 4)
    assert rows_or_sums(starts, ranks, np.array([True, False]), costs)[0].all()
    assert not rows_or_sums(starts, ranks, np.array([False, False]), costs)[0].any()


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Stores of a graph whose rows are worth summing, without and with weights."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, FEATURES)).astype(np.float32)
    weight = rng.random(1500).astype(np.float32)
    folder = tmp_path_factory.mktemp("graphs")
    out = {}
    for name, options in (("plain", {}), ("weighted", {"edge_weight": weight})):
        graph = planted_graph(300, features=features, **options)
        out[name] = stored(graph, folder / f"{name}.zarr", method="hash")
    return out


def small_gcn(graph):
    torch.manual_seed(0)
    return nn.GCN(graph.num_features, 64, graph.num_classes, 2)


def prepared(path, model, num_parts, **changes):
    """Return the prepared windows of a trainer's first window, and its traffic."""
    run = trainer(path, num_parts, None, model=model)
    deployment = run.deployment
    plan = deployment.preparation
    deployment.preparation = replace(plan, inputs=replace(plan.inputs, **changes))
    planner = WindowPlanner(run.plan, num_parts, run.graph.index_dtype)
    seeds = planner.seeds(Window(0, 0, 0, 3, False))
    tasks, keys = prepare_window(deployment.preparation, 0, seeds)
    run.executor.submit(tasks, keys)
    return run.executor.result(keys)


def models():
    for aggr in ("mean", "sum", "max"):
        yield aggr, lambda graph, aggr=aggr: small_sage(graph, aggr=aggr)
    yield "gcn", small_gcn


@pytest.mark.parametrize(("name", "model"), list(models()))
@pytest.mark.parametrize("kind", ["plain", "weighted"])
@pytest.mark.parametrize("num_parts", [2, 5])
def test_owners_sums_change_bytes_and_no_bit(paths, name, model, kind, num_parts):
    rows = prepared(paths[kind], model, num_parts, remote_aggregation=False)
    sums = prepared(paths[kind], model, num_parts, remote_aggregation=True)
    for part, other in zip(rows, sums, strict=True):
        assert (other.traffic.rows <= part.traffic.rows).all()
        assert (other.traffic.nbytes <= part.traffic.nbytes).all()
        for step, same in zip(part.steps, other.steps, strict=True):
            assert step.aggregated.tobytes() == same.aggregated.tobytes()
            assert step.x.tobytes() == same.x.tobytes()
    sent = [sum(int(p.traffic.rows.sum()) for p in parts) for parts in (rows, sums)]
    assert sent[1] < sent[0]


def test_what_no_layer_reads_is_not_sent(paths):
    def width(model):
        windows = prepared(paths["plain"], model, 2, remote_aggregation=False)
        return [
            len(w.steps[0].graph.original_ids) == w.steps[0].sizes[-1] for w in windows
        ]

    assert not any(width(small_sage))
    assert not any(width(small_gcn))
    assert all(width(lambda graph: small_sage(graph, input_dropout=0.3)))


def test_the_setting_is_checked(paths):
    run = trainer(paths["plain"], 2, None)
    with (
        dask.config.set({"gnn.remote-aggregation": "sometimes"}),
        pytest.raises(
            InputError, match="'sometimes', expected one of 'auto', 'on', 'off'"
        ),
    ):
        run.fit(1)
