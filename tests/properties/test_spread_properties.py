"""Rows that are spread over parts are sampled as plain rows are."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sampling_properties import FAN_OUTS, graphs, sample, seeds_of

from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.counter import derive_key
from daskgnn.kernels.hops import Sampling, answer, first_nodes, request
from daskgnn.kernels.merge import merge
from daskgnn.kernels.neighbor import FanOut
from daskgnn.kernels.spread import Drawn, SpreadRows, look_up_entries


@st.composite
def cuts(draw):
    """Draw a graph, clusters, parts of them, spread rows and who holds their slots."""
    graph = draw(graphs())
    n = graph.num_rows
    clusters = np.unique([0, n, *draw(st.lists(st.integers(1, n - 1), max_size=4))])
    inner = clusters[1:-1].tolist()
    parts = draw(st.sets(st.sampled_from(inner))) if inner else set()
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = np.flatnonzero(rng.random(n) < 0.6)
    holders = rng.integers(0, len(clusters) - 1, len(graph.indices))
    return graph, clusters, np.array([0, *sorted(parts), n]), spread, holders


def blocks_of(graph, clusters, book, spread, holders):
    """Cut a graph with plain loops; return the blocks and where their places begin."""
    held, starts, bounds = [], {}, []
    for c in range(len(clusters) - 1):
        bounds.append(len(held))
        for row in spread.tolist():
            starts[row, c] = len(held)
            entries = range(graph.indptr[row], graph.indptr[row + 1])
            held += [e for e in entries if holders[e] == c]
    bounds.append(len(held))
    places = [bounds[np.searchsorted(clusters, b)] for b in book]
    blocks = []
    for part, (begin, end) in enumerate(pairwise(book.tolist())):
        own = [row for row in spread.tolist() if begin <= row < end]
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
        spread_rows = SpreadRows(
            rows=np.array(own, np.int64) - begin,
            indptr=np.cumsum([0, *map(len, slots)]),
            holders=holders[flat].astype(np.uint8),
            starts=np.array(table, np.int32).reshape(-1, len(clusters) - 1),
            first=first,
            count=last - first,
            strength=np.array([graph.strength[r] for r in own], np.float32),
        )
        indptr = graph.indptr[begin : end + 1]
        blocks.append(
            AdjacencyBlock(
                begin,
                indptr - indptr[0],
                graph.indices[here],
                graph.original_ids[begin:end],
                graph.weights[here],
                spread_rows,
            )
        )
    return blocks, np.array(places)


def sample_spread(graph, cut, seeds, keys, fan_out, part, threads):
    """Return the window of a part that has all the seeds."""
    blocks, places = blocks_of(graph, *cut)
    sampling = Sampling(FanOut(tuple(fan_out)), cut[1], places)
    labels = np.arange(graph.num_rows)
    window = first_nodes(seeds, keys, labels[:0], len(blocks))
    for hop in range(len(fan_out)):
        answers = {}
        for p, block in enumerate(blocks):
            asked = request(window, sampling, p)
            own = labels[block.start :][: block.num_rows] if hop == 0 else None
            given = (block, own, asked, keys, sampling, hop)
            answers[p] = answer(*given, threads=threads)
        drawn = Drawn.of(answers)
        found = {
            p: look_up_entries(block, drawn.places(places, p))
            for p, block in enumerate(blocks)
        }
        filled = drawn.filled(places, found)
        window = merge(window, filled, sampling, hop, part, threads)
    return window


@settings(deadline=None)
@given(cuts(), FAN_OUTS, st.integers(0, 99), st.integers(1, 2), st.booleans())
def test_slots_are_those_of_plain_rows(drawn, fan_out, key, threads, last):
    graph, *cut = drawn
    keys = np.array([derive_key(key, s) for s in range(3)], np.uint64)
    seeds = seeds_of(graph, key)
    plain = sample(graph, seeds, keys, tuple(fan_out))
    part = len(cut[1]) - 2 if last else 0
    spread = sample_spread(graph, cut, seeds, keys, fan_out, part, threads)
    assert (spread.traffic.rows == 0).all()
    for one, other in zip(plain.steps, spread.steps, strict=True):
        assert one.sizes == other.sizes
        for name in ("ids", "starts", "counts", "degree", "original_ids", "indices"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_array_equal(one.weights, other.weights)
        np.testing.assert_array_equal(one.strength, other.strength)
