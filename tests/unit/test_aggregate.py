"""Aggregation kernels against brute force, bit for bit where order is defined."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from daskgnn.errors import InputError
from daskgnn.kernels import scaled, segment
from daskgnn.kernels.aggregate import (
    AGGREGATIONS,
    Rows,
    Sources,
    aggregate_grouped,
    frozen,
    gather_rows,
    gcn_coefficients,
)
from daskgnn.kernels.half import narrow, widen
from daskgnn.kernels.rows import TAG

SOURCES, CHANNELS = 200, 13


def make_rows(rng, lengths, spare=0):
    """Rows that are prefixes of longer ones, and lie in no order."""
    lengths = np.asarray(lengths)
    full = lengths + rng.integers(0, spare + 1, len(lengths))
    order = rng.permutation(len(lengths))
    starts = np.empty(len(lengths), np.int64)
    starts[order] = np.cumsum(full[order]) - full[order]
    indices = rng.integers(0, SOURCES, full.sum()).astype(np.int32)
    return starts, starts + lengths, indices


@pytest.fixture(params=["short", "long", "single"])
def rows(request):
    rng = np.random.default_rng(1)
    lengths = {
        "short": rng.integers(0, 7, 50),
        "long": rng.integers(0, 160, 20),
        "single": np.ones(9, np.int64),
    }
    return make_rows(rng, lengths[request.param], spare=3)


@pytest.fixture
def x():
    rng = np.random.default_rng(2)
    return rng.standard_normal((SOURCES, CHANNELS)).astype(np.float32)


@pytest.fixture
def placed(x):
    """Sources owned by four parts, their rows in the parts' tables."""
    rng = np.random.default_rng(3)
    owner = rng.integers(0, 4, SOURCES).astype(np.int32)
    row = np.empty(SOURCES, np.int64)
    for mine in (owner == 2, owner != 2):
        row[mine] = rng.permutation(mine.sum())
    local = np.empty(((owner == 2).sum(), CHANNELS), np.float32)
    received = np.empty(((owner != 2).sum(), CHANNELS), np.float32)
    local[row[owner == 2]] = x[owner == 2]
    received[row[owner != 2]] = x[owner != 2]
    return owner, row, 2, local, received


def by_definition(x, owner, neighbours, op, weight):
    """Group by owner, reduce in neighbour order, combine in part order: float32."""
    if not len(neighbours):
        return np.zeros(CHANNELS, np.float32)
    result = None
    for part in np.unique(owner[neighbours]):
        group = None
        for j, w in zip(neighbours, weight, strict=True):
            if owner[j] == part:
                term = x[j] * w
                combine = np.maximum if op == "max" else np.add
                group = term if group is None else combine(group, term)
        result = group if result is None else combine(result, group)
    return result / np.float32(len(neighbours)) if op == "mean" else result


@pytest.mark.parametrize("op", AGGREGATIONS)
def test_grouped_is_what_it_is_defined_as(rows, x, placed, op):
    starts, ends, indices = rows
    weight = np.random.default_rng(4).random(len(indices)).astype(np.float32)
    out = np.full((len(starts), CHANNELS), np.nan, np.float32)
    sources = Sources.in_two_tables(*placed)
    assert aggregate_grouped(rows, sources, op, out, weight) is out
    weight = weight if op == "gcn" else np.ones_like(weight)
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        expected = by_definition(
            x, placed[0], indices[start:end], op, weight[start:end]
        )
        np.testing.assert_array_equal(out[i], expected)


@pytest.mark.parametrize("op", ["sum", "mean", "max"])
def test_where_rows_lie_changes_no_bit(rows, x, placed, op):
    owner = placed[0]
    results = []
    for local_owner in range(5):
        own = owner == local_owner
        row = np.where(own, np.cumsum(own) - 1, np.cumsum(~own) - 1)
        out = np.empty((len(rows[0]), CHANNELS), np.float32)
        sources = Sources.in_two_tables(owner, row, local_owner, x[own], x[~own])
        aggregate_grouped(rows, sources, op, out)
        results.append(out)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("op", AGGREGATIONS)
def test_groups_reduced_by_their_owner_give_the_same_bits(rows, x, placed, op):
    starts, ends, indices = rows
    owner = placed[0]
    weight = np.random.default_rng(4).random(len(indices)).astype(np.float32)
    weight = weight if op == "gcn" else np.ones_like(weight)
    expected = np.empty((len(starts), CHANNELS), np.float32)
    aggregate_grouped(rows, Sources.in_two_tables(*placed), op, expected, weight)
    # Owner 3 sends every group of its own reduced, and none of its rows.
    alone = {"mean": "sum"}.get(op, op)
    groups = []
    for start, end in zip(starts, ends, strict=True):
        members = np.arange(start, end)[owner[indices[start:end]] == 3]
        if len(members):
            groups.append(np.empty((1, CHANNELS), np.float32))
            near = Sources.in_table(x, indices[members].astype(np.int64))
            bounds = np.array([0]), np.array([len(members)])
            places = np.arange(len(members))
            aggregate_grouped(
                (*bounds, places), near, alone, groups[-1], weight[members]
            )
    ready = np.concatenate([*groups, np.empty((0, CHANNELS), np.float32)])
    sources = Sources.in_two_tables(*placed)
    numbers = np.where(owner == 3, np.int64(3) << TAG, sources.numbers)
    where = np.zeros((4, 2), np.int64)
    where[3] = ready.ctypes.data, ready.ctypes.data + ready.nbytes
    out = np.empty_like(expected)
    aggregate_grouped(rows, Sources(numbers, sources.tables, where), op, out, weight)
    np.testing.assert_array_equal(out, expected)
    assert where[3, 0] == where[3, 1]


def test_a_row_that_was_not_received_is_said(rows, placed):
    sources = Sources.in_two_tables(*placed)
    nowhere = Sources(
        np.where(placed[0] == 1, np.int64(1) << TAG, sources.numbers),
        sources.tables,
        np.zeros((4, 2), np.int64),
    )
    out = np.empty((len(rows[0]), CHANNELS), np.float32)
    with pytest.raises(ValueError, match="groups of neighbours were not received"):
        aggregate_grouped(rows, nowhere, "sum", out)
    with pytest.raises(ValueError, match="rows were not received"):
        gather_rows(nowhere, np.empty((SOURCES, CHANNELS), np.float32))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("op", AGGREGATIONS)
def test_half_precision_tables_are_summed_as_float32(rows, x, placed, op, dtype):
    owner, row, part, local, received = placed
    half = narrow(local, dtype), narrow(received, dtype)
    wide = widen(half[0]), widen(half[1])
    weight = np.random.default_rng(4).random(len(rows[2])).astype(np.float32)
    outs = [np.empty((len(rows[0]), CHANNELS), np.float32) for _ in range(2)]
    for tables, out in zip((half, wide), outs, strict=True):
        sources = Sources.in_two_tables(owner, row, part, *tables)
        aggregate_grouped(rows, sources, op, out, weight)
    np.testing.assert_array_equal(*outs)
    gathered = gather_rows(
        Sources.in_two_tables(owner, row, part, *half), np.empty_like(x)
    )
    np.testing.assert_array_equal(gathered, widen(narrow(x, dtype)))


def test_read_only_and_writeable_input_agree(rows, placed):
    outs = [np.empty((len(rows[0]), CHANNELS), np.float32) for _ in range(2)]
    aggregate_grouped(rows, Sources.in_two_tables(*placed), "mean", outs[0])
    owner, row, part, local, received = placed
    frozen_input = (frozen(owner), frozen(row), part, frozen(local), frozen(received))
    sources = Sources.in_two_tables(*frozen_input)
    aggregate_grouped([frozen(a) for a in rows], sources, "mean", outs[1])
    np.testing.assert_array_equal(*outs)


def test_grouped_with_nothing_in_it():
    none = np.empty(0, np.int64)
    table = np.empty((0, 3), np.float32)
    out = np.ones((2, 3), np.float32)
    zeros = np.zeros(2, np.int64)
    sources = Sources.in_table(table, none)
    aggregate_grouped((zeros, zeros, none), sources, "max", out)
    assert not out.any()
    # A step without any node of a part: NumPy gives its views strides of their own.
    x, aggregated = np.empty((0, 3), np.float32).reshape(2, 0, 3)
    assert gather_rows(sources, x) is x
    aggregate_grouped((none, none, none), sources, "sum", aggregated)


@pytest.mark.parametrize(("op", "said"), [("min", "'min'"), ("gcn", "weight=")])
def test_grouped_says_what_it_cannot_do(rows, placed, op, said):
    out = np.empty((len(rows[0]), CHANNELS), np.float32)
    with pytest.raises(InputError, match=said):
        aggregate_grouped(rows, Sources.in_two_tables(*placed), op, out)


def test_gather_rows(x, placed):
    sources = Sources.in_two_tables(*placed)
    np.testing.assert_array_equal(gather_rows(sources, np.empty_like(x)), x)
    some = gather_rows(sources, np.empty((7, CHANNELS), np.float32))
    np.testing.assert_array_equal(some, x[:7])


@pytest.mark.parametrize("weighted", [False, True])
def test_gcn_coefficients(rows, weighted):
    starts, ends, indices = rows
    rng = np.random.default_rng(5)
    degree = (ends - starts) + rng.integers(0, 9, len(starts))
    weighted_degree = (rng.random(SOURCES) * 5).astype(np.float32)
    weight = rng.random(len(indices)).astype(np.float32)
    got = gcn_coefficients(
        Rows(*rows), weight if weighted else None, degree, weighted_degree
    )
    expected = np.zeros(len(indices))
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        for e in range(start, end):
            w = weight[e] if weighted else 1.0
            norm = (weighted_degree[i] + 1.0) * (weighted_degree[indices[e]] + 1.0)
            expected[e] = w / norm**0.5 * degree[i] / (end - start)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_gcn_coefficients_of_negative_strengths_are_zero():
    weighted_degree = np.array([-1, 1, -3], np.float32)
    rows = np.array([0, 1]), np.array([1, 3]), np.array([1, 0, 2], np.int32)
    got = gcn_coefficients(Rows(*rows), None, np.array([1, 2]), weighted_degree)
    np.testing.assert_array_equal(got, np.zeros(3))


def dense(rows, weight=None):
    """The rows as a matrix, neighbours that occur twice counted twice."""
    matrix = np.zeros((len(rows[0]), SOURCES))
    for i, (start, end) in enumerate(zip(rows[0], rows[1], strict=True)):
        for e in range(start, end):
            matrix[i, rows[2][e]] += 1 if weight is None else weight[e]
    return matrix


@pytest.mark.parametrize("mean", [False, True])
def test_segment_sum_and_its_backward(rows, x, mean):
    matrix = dense(rows)
    if mean:
        matrix /= np.maximum(matrix.sum(1, keepdims=True), 1)
    out = np.full((len(rows[0]), CHANNELS), np.nan, np.float32)
    segment.segment_sum(x, Rows(*rows), mean, out)
    np.testing.assert_allclose(out, matrix @ x, atol=2e-5)
    scale = np.ones(len(out), np.float32)
    if mean:
        scale /= np.maximum(rows[1] - rows[0], 1)
    by_source = segment.transpose_rows(Rows(*rows), len(x))
    grad = np.full_like(x, np.nan)
    np.testing.assert_array_equal(np.diff(by_source[0]), dense(rows).sum(0))
    sums = dense(rows) * scale[:, None]
    segment.segment_sum_backward(out, *by_source, scale, False, grad)
    np.testing.assert_allclose(grad, sums.T @ out, atol=2e-4)
    # With the gradients by the rows' own nodes beside.
    both = np.concatenate([out, 2 * out], axis=1)
    segment.segment_sum_backward(both, *by_source, scale, True, grad)
    own = np.zeros_like(x)
    own[: len(out)] = 2 * out
    np.testing.assert_allclose(grad, sums.T @ out + own, atol=2e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scaled_sum_and_its_backward(rows, x, dtype):
    rng = np.random.default_rng(7)
    x, factors = x.astype(dtype), rng.standard_normal(len(rows[2])).astype(dtype)
    matrix = dense(rows, factors)
    out = np.full((len(rows[0]), CHANNELS), np.nan, dtype)
    scaled.scaled_sum(x, factors, Rows(*rows), out)
    np.testing.assert_allclose(out, matrix @ x, atol=2e-5)
    edges = scaled.transpose_edges(Rows(*rows), factors, len(x))
    np.testing.assert_array_equal(np.diff(edges[0]), dense(rows).sum(0))
    both = np.concatenate([out, 2 * out], axis=1)
    for rooted, given in ((False, out), (True, both)):
        grad, own = np.full_like(x, np.nan), np.zeros_like(x)
        own[: len(out)] = 2 * out if rooted else 0
        scaled.scaled_sum_backward(given, *edges, rooted, grad)
        np.testing.assert_allclose(grad, matrix.T @ out + own, atol=2e-4)


def test_scaled_sum_of_bfloat16_rounds_only_its_gradient(rows, x):
    halves = torch.from_numpy(x).bfloat16()
    factors = np.random.default_rng(8).standard_normal(len(rows[2]))
    factors = factors.astype(np.float32)
    bits = halves.view(torch.uint16).numpy()
    out = np.empty((len(rows[0]), CHANNELS), np.float32)
    scaled.scaled_sum(bits, factors, Rows(*rows), out)
    expected = dense(rows, factors) @ halves.double().numpy()
    np.testing.assert_allclose(out, expected, atol=2e-5)
    grad = torch.from_numpy(out).bfloat16()
    edges = scaled.transpose_edges(Rows(*rows), factors, len(x))
    found, exact = torch.empty_like(halves), np.empty_like(x)
    half = found.view(torch.uint16).numpy()
    scaled.scaled_sum_backward(grad.view(torch.uint16).numpy(), *edges, False, half)
    scaled.scaled_sum_backward(grad.float().numpy(), *edges, False, exact)
    assert torch.equal(found, torch.from_numpy(exact).bfloat16())


def test_segment_max_and_its_backward(rows, x):
    out = np.full((len(rows[0]), CHANNELS), np.nan, np.float32)
    argmax = np.empty(out.shape, np.int32)
    segment.segment_max(x, Rows(*rows), out, argmax)
    grad, expected = np.zeros_like(x), np.zeros_like(x)
    segment.segment_max_backward(out, argmax, grad)
    for i, (start, end) in enumerate(zip(rows[0], rows[1], strict=True)):
        near = rows[2][start:end]
        if not len(near):
            assert not out[i].any()
            assert (argmax[i] == -1).all()
            continue
        np.testing.assert_array_equal(out[i], x[near].max(0))
        np.testing.assert_array_equal(argmax[i], near[x[near].argmax(0)])
        for f in range(CHANNELS):
            expected[argmax[i, f], f] += out[i, f]
    np.testing.assert_array_equal(grad, expected)


def test_segment_max_of_ties_takes_the_first_and_keeps_nan():
    x = np.array([[1.0], [1.0], [np.nan]], np.float32)
    starts, ends = np.array([0, 2]), np.array([2, 5])
    indices = np.array([1, 0, 0, 2, 1], np.int32)
    out, argmax = np.empty((2, 1), np.float32), np.empty((2, 1), np.int32)
    segment.segment_max(x, Rows(starts, ends, indices), out, argmax)
    assert argmax[:, 0].tolist() == [1, 2]
    assert np.isnan(out[1, 0])


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_weighted_sum_and_its_backward(rows, heads):
    rng = np.random.default_rng(6)
    width = 5
    x = rng.standard_normal((SOURCES, heads * width))
    weight = rng.random((len(rows[2]), heads))
    out = np.empty((len(rows[0]), heads * width))
    segment.segment_weighted(x, weight, Rows(*rows), out)
    by_x, by_weight = np.zeros_like(x), np.zeros_like(weight)
    grad = rng.standard_normal(out.shape)
    segment.segment_weighted_backward(grad, weight, Rows(*rows), by_x)
    segment.segment_weighted_backward_weight(grad, x, Rows(*rows), by_weight)
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        matrix = dense(rows, weight[:, h])
        np.testing.assert_allclose(out[:, part], matrix @ x[:, part], atol=1e-9)
        np.testing.assert_allclose(by_x[:, part], matrix.T @ grad[:, part], atol=1e-9)
        for i, (start, end) in enumerate(zip(rows[0], rows[1], strict=True)):
            expected = x[rows[2][start:end], part] @ grad[i, part]
            np.testing.assert_allclose(by_weight[start:end, h], expected, atol=1e-9)


def test_kernels_repeat_their_bits(rows, x):
    results = []
    for _ in range(3):
        out = np.empty((len(rows[0]), CHANNELS), np.float32)
        segment.segment_sum(x, Rows(*rows), True, out)
        grad = np.empty_like(x)
        by_source = segment.transpose_rows(Rows(*rows), len(x))
        scale = np.ones(len(out), np.float32)
        segment.segment_sum_backward(out, *by_source, scale, False, grad)
        results.append(out.tobytes() + grad.tobytes())
    assert len(set(results)) == 1


CHURN = """
import threading
import numpy as np
from daskgnn.kernels.aggregate import Sources, aggregate_grouped

def churn():
    while not stop.is_set():
        keep = [np.full(channels, 1e6, np.float32) for _ in range(8)]

def run():
    sources = Sources.in_two_tables(owner, np.arange(n), 0, *tables)
    out = np.empty((r, channels), np.float32)
    return aggregate_grouped((starts, starts + k, indices), sources, "sum", out)

n, r, k = 60, 2000, 6
rng = np.random.default_rng(0)
owner, starts = rng.integers(0, 2, n), np.arange(r) * k
indices = rng.integers(0, n, r * k).astype(np.int32)
for channels in (1000, 6805):
    tables = rng.normal(size=(2, n, channels)).astype(np.float32)
    wanted = run()
    stop = threading.Event()
    thread = threading.Thread(target=churn)
    thread.start()
    try:
        assert all(np.array_equal(run(), wanted) for _ in range(8))
    finally:
        stop.set()
        thread.join()
"""


def test_room_for_a_group_is_nobody_elses():
    # In a process of its own: what it is about ends one.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    found = subprocess.run(
        [sys.executable, "-c", CHURN], env=environment, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
