"""A sampler of one's own, as a script would write it: the same bits everywhere.

It draws each node's neighbours with replacement, anew in every layer, so that each
layer has a CSR of its own.
"""

import os
from dataclasses import dataclass, replace

import numpy as np
import pytest
from training import (
    AtStep,
    die,
    hub_graph,
    hub_weights,
    small_sage,
    stop,
    stored,
)

import daskgnn
from daskgnn.errors import CheckpointError, InputError, ModelError
from daskgnn.kernels.counter import derive_key, keys_below
from daskgnn.sampling import LocalRows, NeighborSampler, SampledGraph, Sampler

PARTS, EPOCHS = 2, 2


@dataclass(frozen=True)
class Message:
    """Nodes whose rows are wanted, step after step; or what was drawn for them."""

    ids: np.ndarray
    ends: np.ndarray
    original_ids: np.ndarray | None = None
    degree: np.ndarray | None = None
    weighted_degree: np.ndarray | None = None
    counts: np.ndarray | None = None
    columns: np.ndarray | None = None
    weights: np.ndarray | None = None

    @property
    def nbytes(self):
        arrays = (self.ids, self.original_ids, self.degree, self.columns)
        return sum(a.nbytes for a in arrays if a is not None)


@dataclass(frozen=True)
class Step:
    """What one step has met so far."""

    ids: np.ndarray
    sizes: tuple
    rows: tuple = ()
    original_ids: np.ndarray | None = None
    degree: np.ndarray | None = None
    weighted_degree: np.ndarray | None = None


class WithReplacement(Sampler):
    """Draws `k` in-neighbours of each node, each from all of them."""

    def __init__(self, k, num_layers=2):
        self.k = k
        self.num_layers = self.rounds = num_layers

    def start(self, seeds, step_keys, book):
        return [Step(ids, (len(ids),)) for ids in seeds]

    def request(self, frontier, round, owner, book):
        wanted = [step.ids[book.owned(step.ids, owner)] for step in frontier]
        return Message(np.concatenate(wanted), np.cumsum([len(ids) for ids in wanted]))

    def answer(self, rows, asked, step_keys, round, book, threads=1):
        block = rows.block
        own = asked.ids.astype(np.int64) - block.start
        names, degree = block.original_ids[own], block.degree[own]
        step = np.searchsorted(asked.ends, np.arange(len(own)), side="right")
        keys = np.empty(len(own), np.uint64)
        for s, key in enumerate(step_keys):
            keys[step == s] = keys_below(key, names[step == s])
        slots = self.slots(rows, own, keys, round)
        counts = np.where(degree > 0, self.k, 0)
        found = rows.entries(np.repeat(own, counts), slots[degree > 0].ravel())
        told = (names, degree, block.weighted_degree[own], counts)
        return Message(asked.ids, asked.ends, *told, found.columns, found.weights)

    def slots(self, rows, own, keys, round):
        """Return `k` places in each row, [n, k]."""
        degree = rows.block.degree[own].astype(np.uint64)
        slots = np.empty((len(own), self.k), np.int64)
        for j in range(self.k):
            # Beneath the step's key and the node's original id: of the layer, the draw.
            bits = keys_below(np.uint64(derive_key(round, j)), keys.view(np.int64))
            slots[:, j] = (bits >> np.uint64(32)) * degree >> np.uint64(32)
        return slots

    def merge(self, frontier, answers, round, part, book, threads=1):
        after = []
        for s, step in enumerate(frontier):
            after.append(self._grown(step, s, answers, book))
        return after

    def _grown(self, step, s, answers, book):
        """Put the owners' rows into the order of the step's nodes."""
        places, told, columns, weights = [], [], [], []
        for owner, found in answers.items():
            a, b = found.ends[s - 1] if s else 0, found.ends[s]
            first = np.concatenate([[0], np.cumsum(found.counts)])
            places.append(np.flatnonzero(book.owned(step.ids, owner)))
            fields = (
                found.original_ids,
                found.degree,
                found.weighted_degree,
                found.counts,
            )
            told.append([field[a:b] for field in fields])
            columns.append(found.columns[first[a] : first[b]])
            if found.weights is not None:
                weights.append(found.weights[first[a] : first[b]])
        order = np.argsort(np.concatenate(places))
        names, degree, weighted_degree, counts = (
            np.concatenate(column)[order] for column in zip(*told, strict=True)
        )
        columns = np.concatenate(columns).reshape(-1, self.k)
        # Nodes without neighbours have no row of columns.
        filled = np.argsort(
            np.concatenate(places)[np.concatenate([t[3] for t in told]) > 0]
        )
        columns = columns[filled].ravel()
        if weights:
            weights = np.concatenate(weights).reshape(-1, self.k)[filled].ravel()
        new = columns[~np.isin(columns, step.ids)]
        _, firsts = np.unique(new, return_index=True)
        ids = np.concatenate([step.ids, new[np.sort(firsts)]])
        by_id = np.argsort(ids)
        local = by_id[np.searchsorted(ids[by_id], columns)].astype(np.int32)
        indptr = np.concatenate([[0], np.cumsum(counts)])
        rows = LocalRows(indptr, local, weights if len(weights) else None)
        sizes = (*step.sizes, len(ids))
        return Step(ids, sizes, (*step.rows, rows), names, degree, weighted_degree)

    def finish(self, frontier):
        return [
            SampledGraph(
                step.ids,
                step.sizes,
                step.rows,
                step.original_ids,
                step.degree,
                step.weighted_degree,
            )
            for step in frontier
        ]


def trainer(path, client, sampler=None, parts=PARTS, **options):
    graph = daskgnn.open_graph(path, parts)
    given = {"batch_size": 48, "window": 3, **options}
    sampler = WithReplacement(3) if sampler is None else sampler
    return daskgnn.Trainer(
        small_sage(graph), graph, sampler=sampler, client=client, **given
    )


@pytest.fixture(scope="module")
def alone(path):
    run = trainer(path, None)
    run.fit(EPOCHS)
    return run.params_sha256


@pytest.fixture
def client(cluster):
    return cluster(2)


def test_it_learns(path):
    run = trainer(path, None, WithReplacement(5))
    history = run.fit(8)
    assert history.epochs[-1]["loss"] < 0.8 * history.epochs[0]["loss"]


def test_the_short_form_is_the_neighbour_sampler(path):
    graph = daskgnn.open_graph(path, PARTS)
    given = {"batch_size": 48, "client": None}
    short = daskgnn.Trainer(small_sage(graph), graph, num_neighbors=[4, 3], **given)
    long = trainer(path, None, NeighborSampler([4, 3]))
    short.fit(1)
    long.fit(1)
    assert short.params_sha256 == long.params_sha256


def test_two_workers_give_the_same_bits(path, alone, client):
    run = trainer(path, client)
    run.fit(EPOCHS)
    assert run.params_sha256 == alone
    assert run.run_state.total.remote_bytes > 0


@pytest.mark.slow
def test_one_worker_gives_the_same_bits(path, alone, cluster):
    run = trainer(path, cluster(1))
    run.fit(EPOCHS)
    assert run.params_sha256 == alone


@pytest.mark.slow
def test_a_worker_dies_and_the_bits_are_the_same(path, alone, killable):
    victim = min(killable.run(os.getpid).values())
    run = trainer(path, killable, progress=AtStep(5, lambda: die(victim)))
    run.fit(EPOCHS)
    assert victim not in killable.run(os.getpid).values()
    assert run.params_sha256 == alone


def test_stopped_and_resumed_it_gives_the_same_bits(path, alone, tmp_path):
    out = tmp_path / "run"
    given = {"out": out, "checkpoint_every": 2}
    first = trainer(path, None, progress=AtStep(6, stop), **given)
    with pytest.raises(RuntimeError, match="stopped"):
        first.fit(EPOCHS)
    again = trainer(path, None, **given)
    again.fit(EPOCHS, resume=True)
    assert again.params_sha256 == alone
    with pytest.raises(CheckpointError, match="k"):
        trainer(path, None, WithReplacement(4), **given).fit(EPOCHS, resume=True)


def test_a_vertex_cut_looks_its_entries_up(tmp_path):
    """Draws go by slots: who holds the entries changes nothing but float rounding."""
    data = hub_graph(edge_weight=hub_weights())
    losses = []
    for method in ("metis", "hdrf"):
        path = stored(data, tmp_path / f"{method}.zarr", method=method)
        run = trainer(path, None, parts=3)
        losses.append([step["loss"] for step in run.fit(1).steps])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


class Counting(WithReplacement):
    """Before it draws, all parts learn how many seeds each step has in all of them."""

    def __init__(self):
        super().__init__(2)
        self.rounds, self.exchanges = 3, (0,)

    def request(self, frontier, round, owner, book):
        if round:
            return super().request(frontier, round, owner, book)
        counts = np.array([len(step.ids) for step in frontier])
        return Message(counts, counts)

    def merge(self, frontier, answers, round, part, book, threads=1):
        if round:
            return super().merge(frontier, answers, round, part, book, threads)
        total = sum(answers[p].ids for p in range(book.num_parts))
        if book.num_nodes == 400:
            # 200 training nodes are four steps of 48, and one of 8.
            assert set(total.tolist()) <= {48, 8}
        return frontier


@pytest.mark.slow
def test_parts_can_add_up_what_they_know(path, client):
    runs = [trainer(path, c, Counting(), parts=4) for c in (None, client)]
    for run in runs:
        run.fit(1)
    assert runs[0].params_sha256 == runs[1].params_sha256


class Hubs(WithReplacement):
    """Takes the neighbours of highest degree, which each part keeps beside its rows."""

    def part_data(self, block, source):
        ids = block.indices
        return {"degree": source.degrees(ids), "name": source.rows("original_ids", ids)}

    def slots(self, rows, own, keys, round):
        block, found = rows.block, np.zeros((len(own), self.k), np.int64)
        for i, row in enumerate(own):
            here = slice(block.indptr[row], block.indptr[row + 1])
            order = np.lexsort((rows.data["name"][here], -rows.data["degree"][here]))
            if len(order):
                found[i] = np.resize(order, self.k)
        return found


def test_parts_keep_what_a_sampler_wants(path, client):
    runs = [trainer(path, c, Hubs(2)) for c in (None, client)]
    runs.append(trainer(path, None, Hubs(2), parts=3))
    losses = [[step["loss"] for step in run.fit(1).steps] for run in runs]
    assert runs[0].params_sha256 == runs[1].params_sha256
    np.testing.assert_allclose(losses[0], losses[2], rtol=1e-4)


class NoAnswer(WithReplacement):
    answer = Sampler.answer


class KeepsList(WithReplacement):
    def part_data(self, block, source):
        return [block.degree]


class OtherForm(WithReplacement):
    def merge(self, frontier, answers):
        return frontier


class NoIds(WithReplacement):
    def request(self, frontier, round, owner, book):
        return [1, 2]


class Random(WithReplacement):
    def finish(self, frontier):
        graphs = super().finish(frontier)
        noise = np.random.default_rng().random(len(graphs[0].degree))
        rows = graphs[0].rows[-1]
        weights = np.repeat(noise, np.diff(rows.indptr)).astype(np.float32)
        changed = (*graphs[0].rows[:-1], replace(rows, weights=weights))
        return [replace(graphs[0], rows=changed), *graphs[1:]]


class Failing(WithReplacement):
    def start(self, seeds, step_keys, book):
        raise KeyError("seeds")


def finishing(change):
    """Return a sampler whose finished graphs are changed."""

    class Changed(WithReplacement):
        def finish(self, frontier):
            return [change(graph) for graph in super().finish(frontier)]

    return Changed(2)


def with_rows(graph, number, **changes):
    rows = list(graph.rows)
    rows[number] = replace(rows[number], **changes)
    return replace(graph, rows=tuple(rows))


REFUSED = {
    "NoAnswer lacks answer": NoAnswer(2),
    "OtherForm.merge is not of the form": OtherForm(2),
    "NoIds.request returns 2 objects, expected an object with ids": NoIds(2),
    "Random gives other samples for the same arguments": Random(2),
    "Failing.start fails on a made-up graph .* KeyError": Failing(2),
    "KeepsList.part_data returns 1 objects, expected a dict of numpy arrays": KeepsList(
        2
    ),
    "WithReplacement.num_layers is 0": WithReplacement(2, 0),
    "Changed.finish returns a list of int": finishing(lambda graph: 3),
    r"graph whose ids is float64 \[": finishing(
        lambda graph: replace(graph, ids=graph.ids.astype(float))
    ),
    r"graph whose sizes is .* expected 3 ascending numbers": finishing(
        lambda graph: replace(graph, sizes=graph.sizes[::-1])
    ),
    "whose ids is .* at first, expected the seeds there": finishing(
        lambda graph: replace(graph, ids=np.roll(graph.ids, 1))
    ),
    "whose ids is .* expected distinct numbers below 16": finishing(
        lambda graph: replace(graph, ids=graph.ids * 2)
    ),
    "whose degree is int32": finishing(
        lambda graph: replace(graph, degree=graph.degree.astype(np.int32))
    ),
    r"whose rows\[1\].indices is int64": finishing(
        lambda g: with_rows(g, 1, indices=g.rows[1].indices.astype(np.int64))
    ),
    r"whose rows\[0\].indices is between .* local numbers below": finishing(
        lambda g: with_rows(g, 0, indices=g.rows[0].indices + np.int32(90))
    ),
    r"whose rows\[0\].indptr is .* ascending numbers": finishing(
        lambda g: with_rows(g, 0, indptr=g.rows[0].indptr + 1)
    ),
    "whose rows is 3 CSRs, expected 1 or 2": finishing(
        lambda graph: replace(graph, rows=(*graph.rows, graph.rows[0]))
    ),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_cannot_sample_is_refused_in_one_line(path, said):
    with pytest.raises(InputError, match=said) as error:
        trainer(path, None, REFUSED[said])
    assert "\n" not in str(error.value)


def test_other_mistakes_are_named(path):
    graph = daskgnn.open_graph(path, PARTS)
    with pytest.raises(InputError, match="sampler=WithReplacement is a class"):
        trainer(path, None, WithReplacement)
    with pytest.raises(ModelError, match="3 hops, the model has 2"):
        trainer(path, None, WithReplacement(2, 3))
    both = {"num_neighbors": [2, 2], "sampler": WithReplacement(2)}
    with pytest.raises(InputError, match="sampler= and num_neighbors= say the same"):
        daskgnn.Trainer(small_sage(graph), graph, client=None, **both)
    with pytest.raises(InputError, match="num_neighbors is missing"):
        daskgnn.Trainer(small_sage(graph), graph, client=None)
