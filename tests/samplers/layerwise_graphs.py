"""Small graphs for samplers of layers, samples of them in parts, exact answers."""

from functools import cached_property
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import scipy.sparse as sp
from scipy import stats

from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.book import PartitionBook
from daskgnn.kernels.counter import derive_key
from daskgnn.kernels.entries import PartRows
from daskgnn.sampling.rounds import sample_parts


class Rows:
    """A matrix [N, N] (row = destination) as a source, its nodes in some order."""

    def __init__(self, matrix, order=None, *, directed=True, weighted=False):
        matrix = sp.csr_array(matrix)
        matrix.sort_indices()
        self.num_nodes = matrix.shape[0]
        self.order = np.arange(self.num_nodes) if order is None else order
        self.matrix, self.weighted = matrix, weighted
        self.schema = SimpleNamespace(
            num_nodes=self.num_nodes,
            num_edges=matrix.nnz,
            directed=directed,
            weighted=weighted,
        )

    @cached_property
    def place(self):
        place = np.empty(self.num_nodes, np.int64)
        place[self.order] = np.arange(self.num_nodes)
        return place

    def load_rows(self, start, stop):
        nodes = self.order[start:stop]
        some = self.matrix[nodes]
        weights = some.data.astype(np.float32) if self.weighted else None
        near = self.place[some.indices].astype(np.int32)
        indptr = some.indptr.astype(np.int64)
        return AdjacencyBlock(start, indptr, near, nodes.astype(np.int64), weights)

    def degrees(self, ids):
        return np.diff(self.matrix.indptr)[self.order[ids]]


def directed_graph(n=14, seed=0, num_edges=60):
    """Return 0/1 entries of a random directed graph in which some nodes lack edges."""
    rng = np.random.default_rng(seed)
    dense = np.zeros((n, n))
    dense[rng.integers(0, n - 1, num_edges), rng.integers(1, n, num_edges)] = 1
    np.fill_diagonal(dense, 0)
    return dense


def hub_graph(n=16, seed=1):
    """Return an undirected graph with two hubs."""
    rng = np.random.default_rng(seed)
    dense = (rng.random((n, n)) < 0.12).astype(float)
    dense[0, 1:] = dense[1, 5:] = 1
    dense = np.maximum(dense, dense.T)
    np.fill_diagonal(dense, 0)
    return dense


def regular_graph(n=15):
    """Return a ring in which each node has the three next on both sides."""
    rows = np.arange(n)[:, None]
    near = (rows + np.array([-3, -2, -1, 1, 2, 3])) % n
    dense = np.zeros((n, n))
    dense[rows, near] = 1
    return dense


GRAPHS = {
    "directed": (directed_graph(), True),
    "hubs": (hub_graph(), False),
    "regular": (regular_graph(), False),
}


def prepared(sampler, rows, num_parts, num_layers, bounds=None):
    """Return the sampler as a run uses it, the parts and their book."""
    if bounds is None:
        bounds = np.arange(num_parts + 1) * rows.num_nodes // num_parts
    blocks = [rows.load_rows(a, b) for a, b in pairwise(bounds)]
    sampler = sampler.for_graph(None, num_layers)
    parts = [PartRows(block, sampler.part_data(block, rows)) for block in blocks]
    sampler = sampler.with_summaries([sampler.summarize(part) for part in parts])
    return sampler, parts, PartitionBook(np.asarray(bounds))


def step_keys(count, seed=0):
    return np.array([derive_key(seed, 1, s) for s in range(count)], np.uint64)


def sampled(sampler, rows, seeds, keys, num_parts=1, num_layers=1, bounds=None):
    """Return each part's graphs of a window in which every step has the same seeds.

    Seeds are original ids; they are cut into equal runs in storage order.
    """
    sampler, parts, book = prepared(sampler, rows, num_parts, num_layers, bounds)
    places = np.sort(rows.place[np.asarray(seeds)]).astype(np.int32)
    runs = [np.ascontiguousarray(run) for run in np.array_split(places, len(parts))]
    given = [[run] * len(keys) for run in runs]
    return sample_parts(sampler, parts, book, given, keys)


def layer_matrix(rows, graph, layer):
    """Return [N, N] in original ids: what each neighbour counts in a layer's means."""
    starts, ends, indices, _, means = graph.layer(layer)
    ids = rows.order[graph.ids]
    out = np.zeros((rows.num_nodes,) * 2)
    row = np.repeat(np.arange(len(starts)), ends - starts)
    out[ids[row], ids[indices]] = means
    return out


def mean_matrix(dense):
    """Return the exact means over neighbours, zeros where there are none."""
    known = (dense != 0).astype(float)
    return known / np.maximum(known.sum(1, keepdims=True), 1)


def norm_matrix(dense, adjacency):
    """Return the normalised adjacency by its definition, without self-loops."""
    if adjacency == "mean":
        return mean_matrix(dense)
    total = dense.sum(1) + 1
    return dense / np.sqrt(np.outer(total, total))


def largest_z(draws, exact):
    """Return the largest |z| of means of draws [T, k], and its Bonferroni bound."""
    spread = draws.std(0, ddof=1)
    still = spread < 1e-6
    assert np.abs(draws.mean(0) - exact)[still].max(initial=0) < 1e-5
    z = (draws.mean(0) - exact)[~still] / (spread[~still] / np.sqrt(len(draws)))
    return np.abs(z).max(initial=0), stats.norm.isf(0.5e-3 / max(len(z), 1))


def linear_draws(sampler, rows, num_draws, num_layers, seeds, window=500):
    """Return draws of a linear model's output on the seeds, and of its gradient.

    The output is ``A (A X)`` with the sampled A of each layer, [T, N]; the loss is
    linear in it, and the gradient is that of two weights the columns of X go through.
    """
    n = rows.num_nodes
    rng = np.random.default_rng(9)
    x, c = rng.normal(size=(n, 2)) + 0.5, rng.normal(size=n)
    outputs, gradients = [], []
    keys = step_keys(num_draws)
    c[np.setdiff1d(np.arange(n), seeds)] = 0
    for begin in range(0, num_draws, window):
        some = keys[begin : begin + window]
        (graphs,) = sampled(sampler, rows, seeds, some, 1, num_layers)
        for graph in graphs:
            h = x
            for layer in reversed(range(num_layers)):
                h = layer_matrix(rows, graph, layer) @ h
            outputs.append(h[seeds].sum(1))
            gradients.append(c @ h)
    exact = np.linalg.matrix_power(mean_matrix(rows.matrix.toarray()), num_layers) @ x
    draws = np.array(outputs), np.array(gradients)
    return draws, (exact[seeds].sum(1), c @ exact)


def check_unbiased(sampler, graph, num_draws, num_layers, seeds):
    """Check that the means of draws of output and gradient are the exact ones."""
    dense, directed = GRAPHS[graph]
    rows = Rows(dense, directed=directed)
    found = linear_draws(sampler, rows, num_draws, num_layers, seeds)
    for draws, exact in zip(*found, strict=True):
        z, bound = largest_z(draws, exact)
        assert z <= bound


def ratio_error(sampler, rows, num_draws, seeds):
    """Return how far the mean of drawn aggregates is from the exact, relatively."""
    (draws, _), (exact, _) = linear_draws(sampler, rows, num_draws, 1, seeds)
    return np.linalg.norm(draws.mean(0) - exact) / np.linalg.norm(exact)


def dense_graph(n=40):
    """Return a directed graph in which every node has half of the others."""
    rng = np.random.default_rng(5)
    dense = (rng.random((n, n)) < 0.5).astype(float)
    np.fill_diagonal(dense, 0)
    return dense


def layer_nodes(rows, windows):
    """Return, step by step, {(layer, destination): {source: mean weight}}, by id."""
    out = [{} for _ in windows[0]]
    for graphs in windows:
        for s, graph in enumerate(graphs):
            ids = rows.order[graph.ids]
            assert len(set(ids.tolist())) == len(ids)
            for layer in range(graph.num_layers):
                starts, ends, indices, _, means = graph.layer(layer)
                assert len(starts) == graph.sizes[layer]
                for i, (a, b) in enumerate(zip(starts, ends, strict=True)):
                    assert (indices[a:b] < graph.sizes[layer + 1]).all()
                    row = dict(zip(ids[indices[a:b]], means[a:b], strict=True))
                    known = out[s].setdefault((layer, ids[i]), row)
                    assert known == row
    return out
