"""The two runners of a window's steps: the same bits, whatever a step is.

The same windows run as a graph of tasks, in order in this process, and in order by
several members, each with some of the parts, that exchange sums.
"""

import numpy as np
import pytest
from dask.local import get_sync
from dask.task_spec import DataNode
from members import running_members
from training import mostly_slow, planted_graph, scaled_sage, stored, trainer

from daskgnn.dataflow.executor import LocalExecutor
from daskgnn.dataflow.steps.chain import chain_window
from daskgnn.dataflow.steps.member import Outcome, alone, run_in_order
from daskgnn.dataflow.steps.method import StepMethod, WindowSteps, run_steps
from daskgnn.train.plan import Position, windows

WAYS = {
    "tree": {},
    "sgd": {"optimizer": "sgd", "clip_norm": 0.1},
    "ring": {"gradients": "ring", "checksum_every": 1},
    "accumulate": {"accumulate": 3, "gradients": "ring"},
    "async 1": {"gradients": "async", "staleness": 1, "compensation": "linear"},
    "async 3": {"gradients": "async", "staleness": 3, "compensation": "dc-asgd"},
    "topk": {"compress": "topk:0.1", "gradients": "async", "staleness": 2},
    "powersgd": {"compress": "powersgd:2", "checksum_every": 2},
    "fp16": {"compress": "fp16", "accumulate": 2},
    "bf16": {"compress": "bf16"},
    "int8": {"compress": "int8", "clip_norm": 0.1},
    "local 1": {"local_steps": 1, "checksum_every": 1},
    "local 2": {"local_steps": 2, "checksum_every": 3},
    "local 3": {"local_steps": 3, "gradients": "ring"},
    "local 4": {"local_steps": 4, "model": scaled_sage},
    "half products": {"precision": "bf16"},
    "half": {"precision": "fp16", "accumulate": 2},
    "topk, only what is sent": {"compress": "topk:0.1", "ramp_steps": 1},
}


QUICK = ["tree", "accumulate", "async 3", "topk", "powersgd", "local 2", "half"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(200), tmp_path_factory.mktemp("graph") / "g.zarr")


@pytest.fixture
def members(monkeypatch):
    with running_members(monkeypatch) as members:
        yield members


def as_tasks(method, state, programs, batches, options):
    """Return the state that a graph of tasks ends with."""
    names = [[(word, p) for p in range(len(batches))] for word in ("program", "batch")]
    steps = WindowSteps(method, ("run", 0), state, *names, options)
    tasks, last = chain_window(steps)
    for keys, values in zip(names, (programs, batches), strict=True):
        tasks.update((k, DataNode(k, v)) for k, v in zip(keys, values, strict=True))
    return get_sync(tasks, last)


def bits(state):
    """Return all of a state that must not depend on who computed it."""
    arrays = {"parameters": state.parameters, **state.optimizer, **state.carried()}
    found = {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}
    sent = [(told.dense_bytes, told.sent_bytes) for told in state.reports]
    return found, state.step, state.losses, sent


@pytest.mark.parametrize("way", mostly_slow(WAYS, *QUICK))
def test_all_runners_give_the_same_bits(path, members, way):
    rng = np.random.default_rng(list(WAYS).index(way))
    num_parts, most = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    options = {"batch_size": int(rng.integers(9, 25)), **WAYS[way]}
    planned = trainer(path, num_parts, None, **options)
    loop, state = planned._new_loop(), planned.run_state.state
    holders = rng.integers(0, 3, num_parts)
    held = [np.flatnonzero(holders == holder).tolist() for holder in range(3)]
    parts = [tuple(mine) for mine in held if mine]
    programs = [planned.program] * num_parts
    first = state
    for window in windows(planned.plan, Position(), 2, lambda: most, None):
        batches = planned.executor.result(loop.lookahead.next(iter([window])).batches)
        updates = loop.lookahead.planner.updates(window)
        said = planned.run_state.schedule.window(updates)
        given = loop.method, state, programs, batches, said
        steps = WindowSteps(loop.method, ("run", 0), *given[1:])
        outcome = run_in_order(steps, alone(num_parts))
        assert bits(outcome.state) == bits(as_tasks(*given))
        outcomes = members.run(loop.method, parts, state, (programs, batches), said)
        assert all(isinstance(each, Outcome) for each in outcomes), outcomes
        for each in outcomes:
            assert bits(each.state) == bits(outcome.state)
        state = outcome.state.cleared()
    assert state.step == 2 * planned.plan.steps_per_epoch
    assert not np.array_equal(state.parameters, first.parameters)


@pytest.mark.parametrize("steps", ["tasks", "window"])
def test_without_a_cluster_steps_are_no_tasks(path, monkeypatch, steps):
    words = set()

    def submit(self, graph, keys, **how):
        words.update(key[0] for key in graph)
        return really(self, graph, keys, **how)

    really = LocalExecutor.submit
    monkeypatch.setattr(LocalExecutor, "submit", submit)
    fitted = trainer(path, 3, None, steps=steps)
    fitted.fit(1)
    assert "gather" in words
    assert not words & {"grad", "reduce", "state"}
    assert fitted.summary()["steps_form"] == "tasks"


# -- what the loop asks of a runner, and when


class Diary:
    """A runner that writes down what it is asked for."""

    num_parts, parts, done = 2, (0, 1), 10

    def __init__(self):
        self.lines = []

    def part_step(self, step, part, carried):
        if part == 0:
            self.lines.append(f"step {step.number}, {step.behind} behind: {carried}")
        return f"share {step.number}.{part}", f"kept {step.number}.{part}"

    def begin_sum(self, step, shares):
        self.lines.append(f"add {' '.join(shares.values())}")
        return f"sum {step.number}"

    def update(self, step, total, carried):
        self.lines.append(f"update {step.options}: {total}, {carried}")

    def compare(self, step, done):
        self.lines.append(f"compare {done}")

    def end(self, carried):
        return f"end {list(carried.values())}"


def told(method, options):
    """Return what a runner is asked for, and what comes out."""
    diary = Diary()
    return run_steps(method, diary, options), diary.lines


def test_an_update_waits_for_as_many_steps_as_it_may_be_late():
    end, lines = told(StepMethod(None, staleness=1, checksum_every=6), "abc")
    assert end == "end []"
    assert lines == [
        "step 0, 1 behind: None",
        "add share 0.0 share 0.1",
        "step 1, 0 behind: None",
        "add share 1.0 share 1.1",
        "update a: sum 0, None",
        "step 2, 0 behind: None",
        "add share 2.0 share 2.1",
        "update b: sum 1, None",
        "compare 12",
        "update c: sum 2, None",
    ]


class Keeping(StepMethod):
    """A method whose parts carry something, and add nothing where they are told so."""

    carries = True

    def adds(self, options):
        return options != "alone"


class Replacing(Keeping):
    """One in which that is replaced by an update."""

    begins_anew = True


def test_what_parts_carry_goes_on_or_is_replaced():
    options = ["alone", "together", "alone"]
    end, lines = told(Keeping(None), options)
    assert end == "end ['kept 2.0', 'kept 2.1']"
    assert lines == [
        "step 0, 0 behind: None",
        "step 1, 0 behind: kept 0.0",
        "add share 1.0 share 1.1",
        "update together: sum 1, None",
        "step 2, 0 behind: kept 1.0",
    ]
    end, lines = told(Replacing(None), options)
    assert end == "end ['kept 2.0', 'kept 2.1']"
    assert lines[-2:] == [
        "update together: sum 1, kept 1.0",
        "step 2, 0 behind: None",
    ]
    end, _ = told(Replacing(None), options[:2])
    assert end == "end []"
