"""What tests of samplers of subgraphs share."""

from itertools import pairwise

import numpy as np
import scipy.sparse as sp

from daskgnn.kernels.counter import SAMPLING, derive_key
from daskgnn.kernels.entries import PartRows
from daskgnn.sampling import PartitionBook
from daskgnn.sampling.rounds import sample_parts
from daskgnn.sampling.steps import runs_of
from daskgnn.tasks import NodeClassification


def part_rows(graph, sampler):
    """Return the rows of each part of a graph, and its book."""
    bounds = graph.partition_book
    parts = []
    for first, last in pairwise(bounds):
        block = graph.source.load_part(int(first), int(last))
        parts.append(PartRows(block, sampler.part_data(block, graph.source)))
    return parts, PartitionBook(bounds)


def step_plan(graph, sampler, seed=0):
    """Return the plan of a sampler's steps on a graph's training nodes."""
    targets = NodeClassification().targets(graph, "train")
    return sampler.steps(targets, seed, graph.num_parts)


def starts_of(plan, steps, num_parts, epoch=0):
    """Return what each part starts from in some steps, [P][W], and the steps' keys."""
    runs = [runs_of(plan.starts(epoch, step), num_parts) for step in steps]
    keys = [derive_key(SAMPLING, 0, epoch, step) for step in steps]
    starts = [[step[part] for step in runs] for part in range(num_parts)]
    return starts, np.array(keys, np.uint64)


def sampled(graph, sampler, steps, seed=0, epoch=0):
    """Return each part's graphs of some steps, [P][W]."""
    parts, book = part_rows(graph, sampler)
    plan = step_plan(graph, sampler, seed)
    starts, keys = starts_of(plan, steps, graph.num_parts, epoch)
    return sample_parts(sampler, parts, book, starts, keys)


def whole_matrix(graph):
    """Return the adjacency matrix in storage order: scipy CSR, row = destination."""
    block = graph.source.load_rows(0, graph.num_nodes)
    data = np.ones(len(block.indices)) if block.weights is None else block.weights
    shape = (graph.num_nodes, graph.num_nodes)
    return sp.csr_matrix((data, block.indices, block.indptr), shape)


def local_matrix(found):
    """Return the edges of a sampled graph by storage ids: scipy COO [n, n] and ids."""
    rows = found.rows[0]
    counts = np.diff(rows.indptr)
    data = np.ones(len(rows.indices)) if rows.weights is None else rows.weights
    where = np.repeat(np.arange(len(counts)), counts), rows.indices
    return sp.csr_matrix((data, where), (len(found.ids),) * 2), found.ids
