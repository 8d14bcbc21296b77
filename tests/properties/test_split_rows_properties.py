"""Rows that are split over parts are sampled as plain rows are."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sampling_properties import FAN_OUTS, assert_equal, graphs, sample, seeds_of

from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.counter import derive_key
from daskgnn.kernels.entries import PartRows, completed, references
from daskgnn.kernels.split import SplitRows
from daskgnn.sampling import NeighborSampler, PartitionBook
from daskgnn.sampling.rounds import sample_parts


@st.composite
def cuts(draw):
    """Draw a graph, clusters, parts of them, split rows and who holds their slots."""
    graph = draw(graphs())
    n = graph.num_rows
    clusters = np.unique([0, n, *draw(st.lists(st.integers(1, n - 1), max_size=4))])
    inner = clusters[1:-1].tolist()
    parts = draw(st.sets(st.sampled_from(inner))) if inner else set()
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    split_rows = np.flatnonzero(rng.random(n) < 0.6)
    holders = rng.integers(0, len(clusters) - 1, len(graph.indices))
    return graph, clusters, np.array([0, *sorted(parts), n]), split_rows, holders


def blocks_of(graph, clusters, book, split_rows, holders):
    """Cut a graph with plain loops; return the blocks and where their places begin."""
    held, starts, bounds = [], {}, []
    for c in range(len(clusters) - 1):
        bounds.append(len(held))
        for row in split_rows.tolist():
            starts[row, c] = len(held)
            entries = range(graph.indptr[row], graph.indptr[row + 1])
            held += [e for e in entries if holders[e] == c]
    bounds.append(len(held))
    places = [bounds[np.searchsorted(clusters, b)] for b in book]
    blocks = []
    for part, (begin, end) in enumerate(pairwise(book.tolist())):
        own = [row for row in split_rows.tolist() if begin <= row < end]
        kept = [
            e
            for row in range(begin, end)
            if row not in own
            for e in range(graph.indptr[row], graph.indptr[row + 1])
        ]
        slots = [range(graph.indptr[r], graph.indptr[r + 1]) for r in own]
        flat = np.array([e for row in slots for e in row], np.int64)
        first, last = places[part : part + 2]
        here = np.array(kept + held[first:last], np.int64)
        table = [[starts[r, c] for c in range(len(clusters) - 1)] for r in own]
        split_row_ids = SplitRows(
            rows=np.array(own, np.int64) - begin,
            indptr=np.cumsum([0, *map(len, slots)]),
            holders=holders[flat].astype(np.uint8),
            starts=np.array(table, np.int32).reshape(-1, len(clusters) - 1),
            first=first,
            count=last - first,
            weighted_degree=np.array(
                [graph.weighted_degree[r] for r in own], np.float32
            ),
        )
        indptr = graph.indptr[begin : end + 1]
        blocks.append(
            AdjacencyBlock(
                begin,
                indptr - indptr[0],
                graph.indices[here],
                graph.original_ids[begin:end],
                graph.weights[here],
                split_row_ids,
            )
        )
    return blocks, np.array(places)


def sample_split_rows(graph, cut, seeds, keys, fan_out, part, threads):
    """Return the graphs of a part that has all the seeds."""
    blocks, places = blocks_of(graph, *cut)
    none = [run[:0] for run in seeds]
    runs = [seeds if p == part else none for p in range(len(blocks))]
    book = PartitionBook(cut[1], places)
    given = ([PartRows(block) for block in blocks], book, runs, keys)
    return sample_parts(NeighborSampler(fan_out), *given, threads)[part]


@settings(deadline=None)
@given(cuts(), FAN_OUTS, st.integers(0, 99), st.integers(1, 2), st.booleans())
def test_slots_are_those_of_plain_rows(drawn, fan_out, key, threads, last):
    graph, *cut = drawn
    keys = np.array([derive_key(key, s) for s in range(3)], np.uint64)
    seeds = seeds_of(graph, key)
    plain = sample(graph, seeds, keys, tuple(fan_out))
    part = len(cut[1]) - 2 if last else 0
    assert_equal(
        plain, sample_split_rows(graph, cut, seeds, keys, fan_out, part, threads)
    )


@settings(deadline=None)
@given(cuts(), st.integers(0, 99))
def test_entries_by_slot_are_those_of_the_whole_rows(drawn, key):
    graph, *cut = drawn
    blocks, places = blocks_of(graph, *cut)
    rng = np.random.default_rng(key)
    filled = np.flatnonzero(graph.degree)
    if not len(filled):
        return
    rows = rng.choice(filled, 9)
    slots = rng.integers(0, graph.degree[rows])
    there = graph.indptr[rows] + slots
    whole = PartRows(graph).entries(rows, slots)
    np.testing.assert_array_equal(whole.columns, graph.indices[there])
    np.testing.assert_array_equal(whole.weights, graph.weights[there])
    found = {}
    for p, block in enumerate(blocks):
        own = (rows >= block.start) & (rows < block.start + block.num_rows)
        found[p] = PartRows(block).entries(rows[own] - block.start, slots[own])
    book = PartitionBook(places, places)
    looked_up = {
        p: PartRows(block).held(references(found, book, p))
        for p, block in enumerate(blocks)
    }
    filled = completed(found, book, looked_up)
    order = np.argsort(np.searchsorted(cut[1], rows, side="right"), kind="stable")
    columns = np.concatenate([filled[p].columns for p in range(len(blocks))])
    weights = np.concatenate([filled[p].weights for p in range(len(blocks))])
    np.testing.assert_array_equal(columns, graph.indices[there][order])
    np.testing.assert_array_equal(weights, graph.weights[there][order])
