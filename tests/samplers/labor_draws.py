"""Small graphs, many draws of their rows, and LABOR in a few lines of plain Python."""

import math
from itertools import pairwise

import networkx as nx
import numpy as np
from scipy import stats

from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.counter import derive_key
from daskgnn.kernels.entries import PartRows
from daskgnn.kernels.hops import Request
from daskgnn.sampling import PartitionBook

MASK = 2**64 - 1
LOW = 2**32 - 1
GOLDEN = 0x9E3779B97F4A7C15


class Source:
    """What a part asks of the graph that it is of."""

    def __init__(self, original_ids, degrees):
        self.original_ids, self.known = original_ids, degrees

    def degrees(self, ids):
        return self.known[ids]

    def rows(self, table, ids):
        assert table == "original_ids"
        return self.original_ids[ids]


def matrices():
    """Return three graphs as CSR matrices, row = destination: name -> matrix."""
    directed = nx.gnp_random_graph(14, 0.6, seed=1, directed=True)
    hubs = nx.barabasi_albert_graph(16, 3, seed=2)
    regular = nx.circulant_graph(12, [1, 2, 3, 5])
    found = {}
    for name, g in {"directed": directed, "hubs": hubs, "regular": regular}.items():
        matrix = nx.to_scipy_sparse_array(g, format="csr", dtype=float).T.tocsr()
        matrix.sort_indices()
        rng = np.random.default_rng(len(found))
        matrix.data = rng.uniform(0.2, 3.0, len(matrix.data))
        found[name] = matrix
    return found


def block_of(matrix, *, weighted=False):
    weights = matrix.data.astype(np.float32) if weighted else None
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    return AdjacencyBlock(0, indptr, indices, np.arange(matrix.shape[0]), weights)


def parts_of(matrix, order, num_parts, sampler, *, weighted=False):
    """Cut a graph so that storage id i is node order[i]; return rows and bounds."""
    n = matrix.shape[0]
    place = np.argsort(order)
    bounds = np.arange(num_parts + 1) * n // num_parts
    source = Source(order, np.diff(matrix.indptr)[order])
    parts = []
    for start, stop in pairwise(bounds):
        spans = [slice(*matrix.indptr[v : v + 2]) for v in order[start:stop]]
        columns = np.concatenate([place[matrix.indices[span]] for span in spans])
        weights = np.concatenate([matrix.data[span] for span in spans])
        block = AdjacencyBlock(
            int(start),
            np.concatenate([[0], np.cumsum([s.stop - s.start for s in spans])]),
            columns.astype(np.int32),
            order[start:stop],
            weights.astype(np.float32) if weighted else None,
        )
        parts.append(PartRows(block, sampler.part_data(block, source)))
    return parts, PartitionBook(bounds)


def step_keys(count, seed=0):
    return np.array([derive_key(seed, s) for s in range(count)], np.uint64)


def drawn_rows(sampler, matrix, keys, *, weighted=False):
    """Return what one layer samples of all nodes in each step, and the graph's rows."""
    block, n = block_of(matrix, weighted=weighted), matrix.shape[0]
    source = Source(np.arange(n), block.degree)
    rows = PartRows(block, sampler.part_data(block, source))
    ids = np.tile(np.arange(n, dtype=np.int32), len(keys))
    asked = Request(ids, np.arange(len(keys) + 1) * n)
    return sampler.answer(rows, asked, keys, 0, PartitionBook(np.array([0, n])))


def means(found, features, steps):
    """Return each draw's means of all rows, [steps, n, F]."""
    share = found.mean_weights
    if share is None:
        share = np.repeat(1 / np.maximum(found.counts, 1), found.counts)
    row = np.repeat(np.arange(len(found.counts)), found.counts)
    out = np.zeros((len(found.counts), features.shape[1]))
    np.add.at(out, row, share[:, None] * features[found.columns])
    return out.reshape(steps, -1, features.shape[1])


def all_within(draws, exact):
    """Return whether means of draws [steps, ...] are exact, at 1e-3 over all of them.

    What never varies must be exact but for float32.
    """
    spread = draws.std(axis=0) / math.sqrt(len(draws))
    off = np.abs(draws.mean(axis=0) - exact)
    limit = stats.norm.isf(1e-3 / 2 / max(exact.size, 1))
    return (off <= limit * spread + 1e-5 * np.abs(exact) + 1e-9).all()


def mix(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def variate(step_key, layer, node):
    """Return a node's variate, below 2**32; layers are 0 where they share them."""
    key = mix(step_key ^ mix((layer + GOLDEN) & MASK))
    x = ((node ^ mix(node >> 32)) & LOW) ^ (key & LOW)
    x = (x ^ (x >> 16)) * 0x7FEB352D & LOW
    x = (x ^ (x >> 15)) ^ (key >> 32)
    x = x * 0x846CA68B & LOW
    return x ^ (x >> 16)


def chances(rows, k, updates):
    """Return LABOR's probabilities of rows (lists of sources) by bisection."""
    nodes = sorted({t for row in rows for t in row})
    pi = dict.fromkeys(nodes, 1.0)
    c = [min(k, len(row)) / len(row) if row else 0.0 for row in rows]
    for _ in range(updates):
        pi = {
            t: pi[t] * max(c[s] for s, row in enumerate(rows) if t in row)
            for t in nodes
        }
        c = [solved([pi[t] for t in row], k) for row in rows]
    return [
        [1.0 if len(row) <= k else min(1.0, c[s] * pi[t]) for t in row]
        for s, row in enumerate(rows)
    ]


def solved(pi, k):
    """Return the least c with ``sum 1 / min(1, c * pi) = d**2 / k``."""
    if not pi:
        return 0.0
    low, high, target = 0.0, 1 / min(pi), len(pi) ** 2 / min(k, len(pi))
    for _ in range(200):
        middle = (low + high) / 2
        if sum(1 / max(min(1.0, middle * p), 1e-300) for p in pi) > target:
            low = middle
        else:
            high = middle
    return high
