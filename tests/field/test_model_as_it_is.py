"""`fit` takes the model as it is when it is called; the oracle is a new trainer."""

import copy

import numpy as np
import pytest
import torch
from field_steps import flat, linear, run_of, torchs
from torch.nn import functional
from training import AtStep, small_sage, stop, trainer

import daskgnn
from daskgnn.errors import ModelError
from daskgnn.train import taking
from daskgnn.train.compute.dryrun import try_both


def test_weights_loaded_before_fit_are_trained():
    run, wanted = run_of(linear(0)), run_of(linear(7))
    run.model.load_state_dict(linear(7).state_dict())
    run.fit(1)
    wanted.fit(1)
    assert run.params_sha256 == wanted.params_sha256


def test_weights_loaded_before_a_second_fit_are_trained():
    run, theirs = run_of(linear(0)), linear(7)
    run.fit(1)
    run.model.load_state_dict(linear(7).state_dict())
    run.fit(2)
    epochs = run.recorder.history.epochs
    assert len(epochs) == 2
    # Plain SGD: the second epoch is that of a run from these weights.
    torchs_second_epoch(theirs, run)
    np.testing.assert_allclose(run.run_state.state.parameters, flat(theirs), atol=1e-5)
    assert run.run_state.best.epoch == 1


def torchs_second_epoch(model, run):
    from field_steps import batches

    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    steps = list(batches(run, 2))[run.plan.steps_per_epoch :]
    for x, y in steps:
        optimizer.zero_grad()
        functional.cross_entropy(model.layers(x), y).backward()
        optimizer.step()


def test_weights_loaded_are_evaluated_and_predicted():
    run, wanted = run_of(linear(0)), run_of(linear(7))
    run.model.load_state_dict(linear(7).state_dict())
    np.testing.assert_array_equal(run.predict().compute(), wanted.predict().compute())
    assert run.evaluate("val") == wanted.evaluate("val")
    run.fit(1)
    run.model.load_state_dict(linear(7).state_dict())
    assert run.evaluate("test") == wanted.evaluate("test")


@pytest.mark.parametrize("workers", [0, 2])
def test_requires_grad_is_as_it_is_now(path, cluster, workers):
    client = cluster(workers) if workers else None
    run = trainer(path, 2, client)
    frozen = next(iter(run.model.parameters()))
    frozen.requires_grad_(False)
    before = frozen.detach().clone()
    run.fit(1)
    assert torch.equal(frozen, before)
    frozen.requires_grad_(True)
    run.fit(2)
    assert not torch.equal(frozen, before)
    frozen.requires_grad_(False)
    last = run.run_state.state.parameters[: frozen.numel()].copy()
    run.fit(3)
    np.testing.assert_array_equal(run.run_state.state.parameters[: len(last)], last)


def test_a_second_fit_of_an_unchanged_model_goes_on(path):
    once, twice = trainer(path, 2, None), trainer(path, 2, None)
    once.fit(3)
    twice.fit(1)
    twice.evaluate("val")
    twice.model.eval()
    twice.fit(3)
    assert once.params_sha256 == twice.params_sha256


def with_buffer(graph):
    model = small_sage(graph)
    model.register_buffer("scale", torch.ones(1, dtype=torch.bfloat16))
    return model


def more_dropout(model):
    for module in model.modules():
        if isinstance(module, daskgnn.nn.Dropout):
            module.p = 0.1


CHANGES = {
    "a setting": more_dropout,
    "what is trained": lambda model: next(model.parameters()).requires_grad_(False),
    "a buffer": lambda model: model.scale.add_(1),
    "code": lambda model: setattr(model, "extra", lambda x: x),
}


def test_a_model_is_sent_again_if_it_has_changed_and_only_then(path, monkeypatch):
    tried = []

    def counted(*given, **how):
        tried.append(given)
        return try_both(*given, **how)

    monkeypatch.setattr(taking, "try_both", counted)
    run = trainer(path, 2, None, with_buffer)
    first = run.program
    for epochs in (1, 2):
        run.fit(epochs)
    run.model.load_state_dict(copy.deepcopy(run.model.state_dict()))
    run.model.eval()
    run.predict(nodes=[0])
    run.fit(3)
    assert run.program is first
    for number, change in enumerate(CHANGES.values(), 1):
        change(run.model)
        for _ in range(2):
            run.evaluate("val")
        assert len(tried) == 1 + number


def test_a_fit_that_failed_goes_on_where_it_was(path):
    whole = trainer(path, 2, None)
    whole.fit(3)
    run = trainer(path, 2, None, progress=AtStep(6, stop), window=2)
    with pytest.raises(RuntimeError, match="stopped"):
        run.fit(3)
    run.recorder.progress = daskgnn.train.persist.recorder.Silent()
    run.fit(3)
    assert run.params_sha256 == whole.params_sha256


def test_a_resumed_run_takes_the_checkpoint(path, tmp_path):
    options = {"out": tmp_path / "run", "checkpoint_every": 2}
    trainer(path, 2, None, **options).fit(1)
    again = trainer(path, 2, None, lambda graph: small_sage(graph, seed=5), **options)
    with torch.no_grad():
        next(again.model.parameters()).add_(1)
    again.fit(2, resume=True)
    whole = trainer(path, 2, None)
    whole.fit(2)
    assert again.params_sha256 == whole.params_sha256


def test_weights_that_were_loaded_are_in_a_checkpoint_at_once(tmp_path):
    options = {"out": str(tmp_path / "run")}
    run = run_of(linear(0), **options, progress=AtStep(4, stop), window=1)
    run.fit(1)
    run.model.load_state_dict(linear(7).state_dict())
    with pytest.raises(RuntimeError, match="stopped"):
        run.fit(2)
    again = run_of(linear(3), **options)
    again.restore()
    np.testing.assert_array_equal(again.run_state.state.parameters, flat(linear(7)))


def test_a_model_that_cannot_be_trained_any_more_is_refused(path):
    run = trainer(path, 2, None)
    for p in run.model.parameters():
        p.requires_grad_(False)
    with pytest.raises(ModelError, match="no parameters to train"):
        run.fit(1)
    run = run_of(linear())
    run.model.layers[0] = torch.nn.Sequential(
        torch.nn.Linear(12, 9), torch.nn.Linear(9, 4)
    )
    with pytest.raises(ModelError, match=r"other shapes.*make another Trainer"):
        run.fit(1)


def test_first_epoch_is_torchs():
    run, theirs = run_of(linear(3)), linear(3)
    run.fit(1)
    torchs(theirs, run, functional.cross_entropy)
    np.testing.assert_allclose(run.run_state.state.parameters, flat(theirs), atol=1e-5)
