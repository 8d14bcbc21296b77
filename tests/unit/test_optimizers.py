"""One step a task equals one step in one process, for every optimizer."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from daskgnn.dataflow.steps.chain import update
from daskgnn.dataflow.steps.gradients import PartGradient
from daskgnn.dataflow.steps.method import Step, StepMethod
from daskgnn.errors import ModelError, TrainingError
from daskgnn.tasks import NodeClassification
from daskgnn.train.compute.gradients import UpdateOptions
from daskgnn.train.compute.optimizers import (
    make_optimizer,
    optimizer_factory,
    take_step,
)
from daskgnn.train.compute.program import make_program
from daskgnn.train.compute.schedule import Schedule, check_optimizer
from daskgnn.train.compute.session import TrainSession
from daskgnn.train.compute.state import TrainState, flatten, hash_parameters

NAMES = ["adam", "adamw", "sgd", "adagrad", "adadelta", "adamax", "asgd", "nadam"]
NAMES += ["radam", "rmsprop", "rprop", "adafactor"]


def small_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))


METHOD = StepMethod(TrainSession)


def gradients(model, count):
    rng = np.random.default_rng(1)
    size = sum(p.numel() for p in model.parameters())
    return [rng.normal(size=size).astype(np.float32) for _ in range(count)]


def set_gradient(parameters, flat):
    place = 0
    for p in parameters:
        p.grad = torch.tensor(flat[place : place + p.numel()]).view(p.shape)
        place += p.numel()


def by_tasks(model, factory, grads, options=None):
    program = make_program(model, NodeClassification(), factory, 1)
    state = TrainState(flatten(list(model.parameters())), {})
    for i, grad in enumerate(grads):
        left = PartGradient(grad / 2, 0.5)
        given = UpdateOptions([{}]) if options is None else options[i]
        step = Step(0, options=given)
        state = update(METHOD, program, state, step, left, left, None)
    return state


class Halved(torch.optim.SGD):
    """An optimizer with a step of its own."""

    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.grad.mul_(0.5)
        return super().step(closure)


def after_steps(step, factory):
    """Return a model's weights after three steps, and how often a hook was called."""
    model = small_model()
    optimizer = make_optimizer(factory, list(model.parameters()))
    calls = []
    if factory is torch.optim.Adamax:
        optimizer.register_step_post_hook(lambda *_: calls.append(1))
    for flat in gradients(model, 3):
        set_gradient(optimizer.param_groups[0]["params"], flat)
        step(optimizer)
    return hash_parameters(flatten(list(model.parameters()))), len(calls)


FACTORIES = [optimizer_factory(name, lr=0.01, weight_decay=0.0) for name in NAMES]
FACTORIES += [partial(torch.optim.Adam, fused=True), Halved, torch.optim.Adamax]


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_step_without_the_compiler_is_the_same_step(factory):
    expected = after_steps(lambda optimizer: optimizer.step(), factory)
    assert after_steps(take_step, factory) == expected


@pytest.mark.parametrize("name", NAMES)
def test_updates_equal_plain_torch(name):
    factory = optimizer_factory(name, lr=0.01, weight_decay=0.0)
    model = small_model()
    grads = gradients(model, 6)
    state = by_tasks(model, factory, grads)
    parameters = list(model.parameters())
    optimizer = factory(parameters)
    for grad in grads:
        set_gradient(parameters, grad)
        optimizer.step()
    np.testing.assert_array_equal(state.parameters, flatten(parameters))
    assert state.step == 6
    assert len(state.losses) == 6


def test_momentum_and_parameter_groups_travel():
    def factory(parameters):
        return torch.optim.SGD(
            [
                {"params": parameters[:2], "weight_decay": 0.1},
                {"params": parameters[2:], "lr": 0.5},
            ],
            lr=0.1,
            momentum=0.9,
        )

    model = small_model()
    grads = gradients(model, 4)
    state = by_tasks(model, factory, grads, [UpdateOptions([{}, {}])] * 4)
    parameters = list(model.parameters())
    optimizer = factory(parameters)
    for grad in grads:
        set_gradient(parameters, grad)
        optimizer.step()
    np.testing.assert_array_equal(state.parameters, flatten(parameters))
    assert list(state.optimizer) == ["momentum_buffer"]


@pytest.mark.parametrize(
    ("make", "interval"),
    [
        (lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.5), "epoch"),
        (lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [1, 3], 0.1), "epoch"),
        (lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda e: 0.9**e), "epoch"),
        (lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 8), "step"),
        (
            lambda o: torch.optim.lr_scheduler.SequentialLR(
                o,
                [
                    torch.optim.lr_scheduler.ConstantLR(o, 0.5, 2),
                    torch.optim.lr_scheduler.MultiStepLR(o, [1, 2], 0.1),
                ],
                [2],
            ),
            "step",
        ),
        (
            lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=12),
            "step",
        ),
        (
            lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(
                o, mode="max", patience=0
            ),
            "epoch",
        ),
    ],
)
def test_schedules_equal_plain_torch_and_survive_a_checkpoint(make, interval):
    factory = optimizer_factory("adam", lr=0.01, weight_decay=0.0)
    model = small_model()
    grads = gradients(model, 8)
    metrics = [0.5, 0.5, 0.4, 0.6]

    parameters = list(model.parameters())
    optimizer = factory(parameters)
    scheduler = make(optimizer)
    plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
    rates = []
    for i, grad in enumerate(grads):
        rates.append(optimizer.param_groups[0]["lr"])
        set_gradient(parameters, grad)
        optimizer.step()
        if interval == "step":
            scheduler.step()
        elif i % 2 == 1:
            scheduler.step(*([metrics[i // 2]] if plateau else []))

    fresh = small_model()
    schedule = Schedule(check_optimizer(factory, fresh), make, interval)
    options = []
    for epoch in range(4):
        options += schedule.window([UpdateOptions([])] * 2)
        schedule.end_epoch(metrics[epoch], 1.0)
        again = Schedule(check_optimizer(factory, fresh), make, interval)
        again.load(json.loads(json.dumps(schedule.state())))
        schedule = again
    assert [o.groups[0]["lr"] for o in options] == rates
    state = by_tasks(fresh, factory, grads, options)
    np.testing.assert_array_equal(state.parameters, flatten(parameters))


def test_unknown_or_unfit_optimizers_are_refused():
    with pytest.raises(ModelError, match=r"optimizer='adamm'.*adamw"):
        optimizer_factory("adamm", 0.1, 0.0)
    for name in ("lbfgs", "sparseadam"):
        with pytest.raises(ModelError, match="needs"):
            check_optimizer(optimizer_factory(name, 0.1, 0.0), small_model())
    with pytest.raises(ModelError, match="weight_decay"):
        optimizer_factory("lbfgs", 0.1, 0.5)


@pytest.mark.parametrize("name", NAMES)
def test_steps_in_one_session_equal_steps_one_by_one(name):
    factory = optimizer_factory(name, lr=0.01, weight_decay=0.0)
    model = small_model()
    grads = gradients(model, 4)
    one_by_one = by_tasks(model, factory, grads)
    program = make_program(model, NodeClassification(), factory, 1)
    start = TrainState(flatten(list(model.parameters())), {})
    session = TrainSession(program, start)
    assert session.state() is start
    for grad in grads:
        half = PartGradient(grad / 2, 0.5)
        session.update(half, half, UpdateOptions([{}]))
    state = session.state()
    np.testing.assert_array_equal(state.parameters, one_by_one.parameters)
    assert state.optimizer.keys() == one_by_one.optimizer.keys()
    for key, array in state.optimizer.items():
        np.testing.assert_array_equal(array, one_by_one.optimizer[key])
    assert (state.step, state.losses) == (one_by_one.step, one_by_one.losses)


def test_a_loss_that_is_not_finite_stops_the_run():
    model = small_model()
    factory = optimizer_factory("sgd", 0.1, 0.0)
    program = make_program(model, NodeClassification(), factory, 1)
    state = TrainState(flatten(list(model.parameters())), {})
    bad = PartGradient(np.zeros_like(state.parameters), float("nan"))
    given = UpdateOptions([{}])
    with pytest.raises(TrainingError, match="step 0"):
        update(METHOD, program, state, Step(0, options=given), bad, None, None)


def test_the_hash_is_of_little_endian_float32():
    import hashlib

    values = np.array([1.5, -2.0], ">f4")
    expected = hashlib.sha256(b"\x00\x00\xc0\x3f\x00\x00\x00\xc0").hexdigest()
    assert hash_parameters(values) == expected
