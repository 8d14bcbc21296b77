"""Gradients in the order of arrival: the bound, and plain SGD where nobody competes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training import AtStep, planted_graph, stop, stored, trainer

from daskgnn.dataflow.executor import LocalExecutor, PartsLost
from daskgnn.dataflow.steps.arrival import Pool, Versions
from daskgnn.errors import InputError
from daskgnn.train import deployment
from daskgnn.train.compute.session import TrainSession
from daskgnn.train.compute.state import TrainState
from daskgnn.train.plan import Position, windows

LR = 0.1
OPTIONS = {"optimizer": "sgd", "lr": LR, "batch_size": 24, "gradients": "server"}


@given(data=st.data(), bound=st.integers(0, 9), workers=st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_no_gradient_is_too_late_and_nobody_waits_for_ever(data, bound, workers):
    versions, todo, busy, come, stale = Versions(bound), list(range(40)), [], [], []
    while todo or busy or come:
        while todo and len(busy) < workers and versions.may_start():
            busy.append((todo.pop(), 0))
            versions.start(busy[-1])
        assert busy or come
        if busy:
            place = data.draw(st.integers(0, len(busy) - 1))
            come.append(busy.pop(place))
        ready = [unit for unit in come if versions.may_apply(unit)]
        assert busy or ready
        for unit in sorted(come, key=versions.read_at):
            if versions.may_apply(unit):
                come.remove(unit)
                stale.append(versions.apply(unit))
    assert len(stale) == versions.now == 40
    assert max(stale) <= min(bound, 39)


def test_of_a_bound_below_the_workers_some_wait():
    versions = Versions(1)
    for unit in ("a", "b"):
        assert versions.may_start()
        versions.start(unit)
    assert not versions.may_start()
    assert versions.apply("b") == 0
    versions.start("c")
    assert not versions.may_apply("c")
    assert versions.apply("a") == 1
    assert versions.apply("c") == 1


def taken(pool):
    """Let all workers take what they get, and be done at once."""
    found = []
    while (next_one := pool.take()) is not None:
        worker, unit = next_one
        found.append(next_one)
        pool.done(worker, 1.0)
        assert unit[0] >= 0
    return found


@pytest.mark.parametrize("places", [["a"], ["a", "b"], ["a", "a", "b"], list("abcd")])
def test_every_unit_is_taken_once(places):
    units = [unit for _, unit in taken(Pool.of(places, 5, 8))]
    wanted = {(step, part) for step in range(5) for part in range(len(places))}
    assert len(units) == len(wanted)
    assert set(units) == wanted


def test_one_worker_takes_units_in_the_plans_order():
    units = [unit for _, unit in taken(Pool.of(["a", "a"], 3, 8))]
    assert units == [(step, part) for step in range(3) for part in range(2)]


def test_a_slow_worker_leaves_the_last_units_to_others():
    pool = Pool.of(["slow", "fast"], 4, 1)
    pool.remember({"slow": 10.0, "fast": 1.0})
    worker, unit = pool.take()
    assert (worker, unit) == ("fast", (0, 1))
    assert pool.take() is None
    pool.done("fast", 1.0)
    assert taken(pool)[-1] == ("fast", (3, 0))


# -- training without a cluster


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(200), tmp_path_factory.mktemp("graph") / "g.zarr")


def run(path, epochs=1, parts=2, **options):
    fitted = trainer(path, parts, None, **{**OPTIONS, **options})
    fitted.fit(epochs)
    return fitted


@pytest.mark.parametrize("parts", [1, 3])
def test_alone_it_is_plain_sgd_over_the_units(path, parts):
    planned = trainer(path, parts, None, **OPTIONS)
    loop = planned._new_loop()
    (window,) = windows(planned.plan, Position(), 1, lambda: 99, None)
    batches = planned.executor.result(loop.lookahead.next(iter([window])).batches)
    now, losses = planned.run_state.state.parameters, []
    for step in range(window.size):
        losses.append(0.0)
        for batch in batches:
            share = TrainSession(planned.program, TrainState(now, {})).gradient(
                batch, step
            )
            now = now - np.float32(LR * parts) * share.gradient
            losses[-1] += share.loss
    fitted = run(path, parts=parts)
    np.testing.assert_allclose(fitted.run_state.state.parameters, now, atol=1e-6)
    found = [record["loss"] for record in fitted.recorder.history.steps]
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    assert fitted.recorder.history.epochs[0]["staleness"] == {"0": 5 * parts}


def test_one_part_is_synchronous_to_the_bit(path):
    options = {"parts": 1, "optimizer": "adam"}
    wanted = run(path, 2, gradients="tree", **options)
    assert run(path, 2, **options).params_sha256 == wanted.params_sha256


def test_a_stopped_run_goes_on_where_it_was(path, tmp_path):
    wanted = run(path, 2, window=2)
    options = {**OPTIONS, "out": tmp_path / "run", "checkpoint_every": 2, "window": 2}
    with pytest.raises(RuntimeError, match="stopped"):
        trainer(path, 2, None, progress=AtStep(8, stop), **options).fit(2)
    again = trainer(path, 2, None, **options)
    again.fit(2, resume=True)
    assert again.params_sha256 == wanted.params_sha256
    assert again.summary()["staleness"] == {"0": 20}


class Losing(LocalExecutor):
    """An executor that loses a part once, while units are under way."""

    def __init__(self):
        super().__init__()
        self.submitted, self.asked, self.left = [], 0, None

    def submit(self, graph, keys, **how):
        if self.left is None and self.asked == 3:
            self.left = [key for key in self._kept if key[0] == "unit"]
        self.submitted += keys
        super().submit(graph, keys, **how)

    def wait_any(self, keys):
        self.asked += 1
        if self.asked == 3:
            raise PartsLost
        return super().wait_any(keys)[:1]


def test_a_window_served_again_has_gradients_of_its_own(path, monkeypatch):
    wanted = run(path)
    losing = Losing()
    monkeypatch.setattr(deployment, "make_executor", lambda *_: losing)
    found = run(path)
    assert found.params_sha256 == wanted.params_sha256
    units = [key for key in losing.submitted if key[0] == "unit"]
    assert len(units) == len(set(units)) > 2 * 5
    assert losing.left == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"accumulate": 2}, "gradients='server' and accumulate=2 cannot go together"),
        ({"compress": "fp16"}, "cannot go together"),
        ({"local_steps": 2}, "cannot go together"),
        ({"staleness": -1}, "staleness=-1"),
    ],
)
def test_what_makes_no_sense_is_refused(path, options, said):
    with pytest.raises(InputError, match=said):
        trainer(path, 2, None, **{**OPTIONS, **options})
