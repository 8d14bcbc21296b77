"""Sampling against a few lines of plain Python, on any graph."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskgnn.kernels import numbering
from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.counter import derive_key
from daskgnn.kernels.entries import PartRows
from daskgnn.kernels.neighbor import FanOut
from daskgnn.sampling import NeighborSampler, PartitionBook
from daskgnn.sampling.rounds import sample_parts

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def draws(step_key, node):
    key = mix(step_key ^ mix((node + GOLDEN) & MASK))
    return lambda j: mix((key + GOLDEN * (j + 1)) & MASK)


def draw_order(step_key, node, degree, drawn):
    """Return the places of a row after so many swaps of a Fisher-Yates shuffle."""
    draw, order = draws(step_key, node), list(range(degree))
    for j in range(min(drawn, degree)):
        other = j + ((draw(j) >> 32) * (degree - j) >> 32)
        order[j], order[other] = order[other], order[j]
    return order


def weighted_order(step_key, node, weights, k):
    """Return the k places with the smallest exponential keys, in their order."""
    draw = draws(step_key, node)
    keys = []
    for j, weight in enumerate(weights):
        uniform = ((draw(j) >> 11) + 0.5) / 2**53
        keys.append((-math.log(uniform) / float(weight), j))
    return [j for _, j in sorted(keys)[:k]]


def naive(graph, seeds, step_key, fan_out, weighted):
    """Return ids, sizes and rows (lists of columns) of one step."""
    rows = {}
    ids, sizes = list(seeds), [len(seeds)]
    for hop, limit in enumerate(fan_out.limits):
        for node in ids:
            if node in rows:
                continue
            begin, end = graph.indptr[node], graph.indptr[node + 1]
            degree = int(end - begin)
            k = min(degree, fan_out.width(hop))
            name = int(graph.original_ids[node])
            if degree <= fan_out.whole:
                order = list(range(k))
            elif weighted:
                order = weighted_order(step_key, name, graph.weights[begin:end], k)
            else:
                order = draw_order(step_key, name, degree, min(fan_out.drawn, k))
            rows[node] = [int(graph.indices[begin + j]) for j in order[:k]]
        for node in list(ids):
            for column in rows[node][:limit]:
                if column not in ids:
                    ids.append(column)
        sizes.append(len(ids))
    return ids, tuple(sizes), [rows[node] for node in ids[: sizes[-2]]]


@st.composite
def graphs(draw):
    """Draw a small graph with weights, of int32 or int64 ids."""
    n = draw(st.integers(2, 30))
    rows = [sorted(draw(st.sets(st.integers(0, n - 1), max_size=n))) for _ in range(n)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    dtype = draw(st.sampled_from([np.int32, np.int64]))
    indices = np.array([c for row in rows for c in row], dtype)
    weights = rng.random(len(indices)).astype(np.float32) + np.float32(0.1)
    return AdjacencyBlock(0, indptr, indices, rng.permutation(n), weights)


def cut_into(graph, bounds):
    """Return the blocks of a graph's parts."""
    blocks = []
    for start, stop in pairwise(bounds):
        first, last = graph.indptr[start], graph.indptr[stop]
        blocks.append(
            AdjacencyBlock(
                int(start),
                graph.indptr[start : stop + 1] - first,
                graph.indices[first:last],
                graph.original_ids[start:stop],
                graph.weights[first:last],
            )
        )
    return blocks


def sample(graph, seeds, keys, num_neighbors, *, weighted=False, parts=1, threads=1):
    """Return the graphs of a part that has all the seeds, of so many parts."""
    bounds = np.arange(parts + 1) * graph.num_rows // parts
    rows = [
        PartRows(block, {"draw_weights": block.weights} if weighted else {})
        for block in cut_into(graph, bounds)
    ]
    none = [run[:0] for run in seeds]
    runs = [seeds, *[none] * (parts - 1)]
    given = (NeighborSampler(num_neighbors), rows, PartitionBook(bounds), runs, keys)
    return sample_parts(*given, threads)[0]


FAN_OUTS = st.lists(st.sampled_from([-1, 1, 2, 3, 5]), min_size=1, max_size=3)


def seeds_of(graph, key):
    """Return some distinct seeds for three steps, one of them empty."""
    rng = np.random.default_rng(key)
    counts = (min(4, graph.num_rows), 0, 1)
    return [
        rng.choice(graph.num_rows, k, replace=False).astype(graph.indices.dtype)
        for k in counts
    ]


@settings(deadline=None)
@given(graphs(), FAN_OUTS, st.integers(0, 99), st.booleans(), st.integers(1, 3))
def test_samples_are_those_of_plain_python(graph, fan_out, key, weighted, parts):
    fan_out = FanOut(tuple(fan_out))
    keys = np.array([derive_key(key, s) for s in range(3)], np.uint64)
    seeds = seeds_of(graph, key)
    steps = sample(
        graph, seeds, keys, fan_out.num_neighbors, weighted=weighted, parts=parts
    )
    weight_of = {
        (v, int(graph.indices[e])): graph.weights[e]
        for v in range(graph.num_rows)
        for e in range(graph.indptr[v], graph.indptr[v + 1])
    }
    for step, run, step_key in zip(steps, seeds, keys, strict=True):
        ids, sizes, rows = naive(graph, run, int(step_key), fan_out, weighted)
        assert list(step.ids) == ids
        assert step.sizes == sizes
        assert list(step.seeds) == list(run)
        (local,) = step.rows
        edges = [(v, c) for v, row in zip(ids, rows, strict=False) for c in row]
        assert [ids[j] for j in local.indices] == [c for _, c in edges]
        assert list(local.weights) == [weight_of[edge] for edge in edges]
        assert list(np.diff(local.indptr)) == [len(row) for row in rows]
        assert list(step.original_ids) == list(graph.original_ids[ids[: sizes[-2]]])
        assert list(step.degree) == list(graph.degree[ids[: sizes[-2]]])
        assert list(step.weighted_degree) == list(
            graph.weighted_degree[ids[: sizes[-2]]]
        )


def arrays_of(step):
    """Return all that a step's graph holds, by name."""
    (rows,) = step.rows
    return {**vars(step), **vars(rows), "rows": len(step.rows)}


def assert_equal(steps, others):
    """Check that two windows hold the same bits."""
    for step, twin in zip(steps, others, strict=True):
        known = arrays_of(twin)
        for name, a in arrays_of(step).items():
            b = known[name]
            if isinstance(a, np.ndarray):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)
            else:
                assert a == b


@settings(deadline=None)
@given(graphs(), FAN_OUTS, st.integers(0, 99), st.booleans())
def test_threads_do_not_change_a_bit(graph, fan_out, key, weighted):
    keys = np.array([derive_key(key, s) for s in range(3)], np.uint64)
    given = (graph, seeds_of(graph, key), keys, tuple(fan_out))
    alone = sample(*given, weighted=weighted)
    for threads in (2, 3):
        assert_equal(alone, sample(*given, weighted=weighted, threads=threads))


@settings(deadline=None)
@given(graphs(), FAN_OUTS, st.integers(0, 99))
def test_either_table_numbers_the_same(graph, fan_out, key):
    keys = np.array([derive_key(key, s) for s in range(3)], np.uint64)
    given = (graph, seeds_of(graph, key), keys, tuple(fan_out))
    dense = sample(*given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numbering, "DENSE_NODES", 0)
        assert_equal(dense, sample(*given))


def test_a_dense_table_is_renewed_before_its_numbers_run_out(monkeypatch):
    rows = numbering.RowColumns(np.array([5, 3, 5, 0]), np.array([0]), np.array([4]))
    monkeypatch.setattr(numbering, "_LAST_BASE", 20)
    monkeypatch.setattr(numbering, "_free", [])
    for _ in range(9):
        ids, local = numbering.number_nodes(
            np.array([3]), [rows], 4, num_nodes=6, numbered=True
        )
        assert list(ids) == [3, 5, 0]
        assert list(local) == [1, 0, 1, 2]
