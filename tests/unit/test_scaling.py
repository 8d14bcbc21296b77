"""Loss scaling: the arithmetic of torch's own scaler, and training in float16."""

import numpy as np
import pytest
import torch
from training import AtStep, planted_graph, stop, stored, trainer

from daskgnn import nn
from daskgnn.errors import InputError, TrainingError
from daskgnn.train.compute import scaling, session
from daskgnn.train.compute.scaling import LossScale


def test_the_scale_is_that_of_torch(monkeypatch):
    monkeypatch.setattr(scaling, "INTERVAL", 3)
    theirs = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=3)
    p = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([p], lr=1.0)
    mine, position = LossScale(), np.zeros(3, np.float32)
    rng = np.random.default_rng(0)
    for step in range(40):
        gradient = rng.normal(size=3).astype(np.float32)
        if rng.random() < 0.3:
            gradient[step % 3] = [np.inf, np.nan][step % 2]
        scaled = gradient * np.float32(mine.factor)
        assert theirs.scale(torch.ones(())).item() == mine.factor
        p.grad = torch.tensor(scaled)
        theirs.step(optimizer)
        theirs.update()
        found = mine.unscaled(scaled)
        finite = bool(np.isfinite(found).all())
        if finite:
            position = position - found
        mine = mine.after(finite=finite)
        assert mine.factor == theirs.get_scale()
        assert LossScale.of(mine.to_array()) == mine
        np.testing.assert_array_equal(p.detach().numpy(), position)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(200), tmp_path_factory.mktemp("graph") / "g.zarr")


def gcn(graph):
    torch.manual_seed(0)
    return nn.GCN(graph.num_features, 16, graph.num_classes, 2)


OPTIONS = {"model": gcn, "batch_size": 24, "window": 2, "precision": "fp16"}


def fitted(path, epochs=2, **options):
    run = trainer(path, 2, None, **{**OPTIONS, **options})
    run.fit(epochs)
    return run


def test_training_in_float16_is_near_float32(path):
    wanted, found = (fitted(path, precision=p) for p in ("float32", "fp16"))
    losses = [[r["loss"] for r in f.recorder.history.steps] for f in (wanted, found)]
    np.testing.assert_allclose(*losses, atol=0.02)
    assert wanted.params_sha256 != found.params_sha256
    assert found.run_state.state.scaling.tolist() == [scaling.FIRST, 10]


class Overflowing(session.TrainSession):
    """A session one of whose gradients is too large."""

    def _gradient_of(self, loss):
        gradient, *given = super()._gradient_of(loss)
        if self._before.step + len(self._reports) == 3:
            gradient[5] = np.inf
        return gradient, *given


def test_an_update_that_is_not_finite_is_left_out_and_resume_is_exact(
    path, tmp_path, monkeypatch
):
    monkeypatch.setattr("daskgnn.train.compute.methods.TrainSession", Overflowing)
    wanted = fitted(path)
    assert np.isfinite(wanted.run_state.state.parameters).all()
    assert wanted.run_state.state.scaling.tolist() == [scaling.FIRST / 2, 6]
    options = {**OPTIONS, "out": tmp_path / "run", "checkpoint_every": 2}
    with pytest.raises(RuntimeError, match="stopped"):
        trainer(path, 2, None, progress=AtStep(8, stop), **options).fit(2)
    again = trainer(path, 2, None, **options)
    again.fit(2, resume=True)
    assert again.params_sha256 == wanted.params_sha256


class NeverFinite(session.TrainSession):
    """A session whose gradients are too large from a step on, whatever the scale."""

    def _gradient_of(self, loss):
        gradient, *given = super()._gradient_of(loss)
        if self._before.step + len(self._reports) >= 3:
            gradient[5] = np.nan
        return gradient, *given


def test_gradients_that_are_never_finite_stop_the_run(path, monkeypatch):
    monkeypatch.setattr("daskgnn.train.compute.methods.TrainSession", NeverFinite)
    # From 2 ** 16 down to below 2 ** -14 are 31 updates that are left out.
    with pytest.raises(TrainingError, match="gradient of step 33 is not finite in fl"):
        fitted(path, epochs=8)


@pytest.mark.parametrize(
    "options",
    [
        {"compress": "int8"},
        {"gradients": "async"},
        {"local_steps": 2},
        {"gradients": "server"},
    ],
)
def test_what_a_step_left_out_would_spoil_is_refused(path, options):
    with pytest.raises(InputError, match=r"precision='fp16' and .* cannot go together"):
        trainer(path, 2, None, **{**OPTIONS, **options})
