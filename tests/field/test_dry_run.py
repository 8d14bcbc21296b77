"""What cannot be trained is said in one line before any work."""

import threading
from itertools import pairwise

import pytest
import torch
from field_steps import OfSeeds, linear, run_of
from torch import nn
from torch.optim import lr_scheduler
from training import planted_graph, trainer

import daskgnn
from daskgnn.errors import InputError, ModelError


def one_line(caught, run=None):
    assert "\n" not in str(caught.value)
    assert run is None or run.run_state.state.step == 0


def one_cycle(total):
    return lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=total)


@pytest.mark.parametrize(
    ("interval", "total", "right"), [("step", 10, 12), ("epoch", 2, 3)]
)
def test_a_schedule_that_is_too_short(interval, total, right):
    options = {"scheduler_interval": interval}
    run = run_of(linear(), lr_scheduler=one_cycle(total), **options)
    assert run.plan.steps_per_epoch == 4
    with pytest.raises(ModelError, match=f"OneCycleLR.*make it for {right}") as caught:
        run.fit(3)
    one_line(caught, run)
    run = run_of(linear(), lr_scheduler=one_cycle(right + 1), **options)
    run.fit(3)
    assert run.run_state.position.epoch == 3


def test_accumulated_steps_are_one_update():
    options = {"scheduler_interval": "step", "accumulate": 3}
    run = run_of(linear(), lr_scheduler=one_cycle(5), **options)
    run.fit(2)  # two updates an epoch
    with pytest.raises(ModelError, match="after update 6 of 6"):
        run.fit(3)


def test_warm_up_leaves_the_schedule_as_long_as_it_is():
    options = {"scheduler_interval": "step", "warmup_steps": 3}
    run = run_of(linear(), lr_scheduler=one_cycle(9), **options)
    run.fit(2)
    with pytest.raises(ModelError, match="after update 10 of 12"):
        run.fit(3)


class OwnRate(torch.optim.Optimizer):
    """An optimizer that calls its learning rate something else."""

    def __init__(self, parameters):
        super().__init__(parameters, {"eta": 0.1})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(p.grad, alpha=-group["eta"])


def test_warm_up_leaves_an_optimizer_without_learning_rate_alone():
    runs = [run_of(linear(), optimizer=OwnRate, warmup_steps=w) for w in (0, 20)]
    for run in runs:
        run.fit(1)
    plain = run_of(linear(), lr=0.1)
    plain.fit(1)
    assert {run.params_sha256 for run in runs} == {plain.params_sha256}


def test_a_plateau_by_step_is_told_what_to_do():
    with pytest.raises(ModelError, match="scheduler_interval='epoch'") as caught:
        run_of(
            linear(),
            lr_scheduler=lr_scheduler.ReduceLROnPlateau,
            scheduler_interval="step",
        )
    one_line(caught)


def failing(*_):
    raise KeyError("anything")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": failing}, "the optimizer cannot be made.*KeyError"),
        ({"optimizer": lambda parameters: None}, "optimizer returned NoneType"),
        ({"lr_scheduler": failing}, "scheduler cannot be made.*KeyError"),
        ({"lr_scheduler": lambda optimizer: None}, "scheduler returned NoneType"),
        ({"loss": failing}, "loss=failing.*KeyError"),
    ],
)
def test_functions_that_fail(options, said):
    with pytest.raises(InputError, match=said) as caught:
        run_of(linear(), **options)
    one_line(caught)


def test_objects_where_functions_are_expected():
    """One line, however long the object's own description is."""
    made = torch.optim.Adam(linear().parameters(), lr=0.02)
    cases = [
        ("optimizer", made, r"optimizer=lambda .*optim\.Adam\(parameters, lr=0\.02\)"),
        ("lr_scheduler", lr_scheduler.StepLR(made, 3), "lambda optimizer: .*StepLR"),
        *((name, linear(), "<OfSeeds>") for name in ("batch_size", "metric", "client")),
        *((name, linear(), "<OfSeeds>") for name in ("progress", "callbacks")),
        ("loss", torch.ones(9, 9), "loss=<Tensor>, expected a function"),
    ]
    for name, given, said in cases:
        with pytest.raises((InputError, ModelError), match=said) as caught:
            run_of(linear(), **{name: given})
        one_line(caught)


class Stepping(torch.optim.SGD):
    """An optimizer whose first step is something else."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.change(p)


class Dividing(Stepping):
    def change(self, p):
        return 1 / 0


class Listing(Stepping):
    """What it keeps cannot be carried from window to window as numbers."""

    def change(self, p):
        self.state[p].setdefault("seen", {}).update(count=1)


class Continuing(Stepping):
    """It cannot go on from what it keeps."""

    def change(self, p):
        if "count" in self.state[p]:
            raise KeyError("another time")
        self.state[p]["count"] = 1


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (Dividing, "Dividing fails in its first steps .ZeroDivisionError"),
        (Listing, "Listing keeps 'seen' of a parameter, which is a dict"),
        (Continuing, "Continuing fails in its first steps .KeyError"),
    ],
)
def test_an_optimizer_that_fails_in_its_first_steps(optimizer, said):
    with pytest.raises(ModelError, match=said) as caught:
        run_of(linear(), optimizer=optimizer)
    one_line(caught)


def test_every_optimizer_of_torch_can_be_tried():
    """Those that train here also take the steps that are tried."""
    names = "adadelta adagrad adam adamax adamw asgd nadam radam rmsprop rprop sgd"
    for name in names.split():
        run = run_of(linear(), optimizer=name, lr=0.01)
        assert run.run_state.state.step == 0


def test_a_lock_in_the_model():
    model = linear()
    model.lock = threading.Lock()
    with pytest.raises(ModelError, match=r"cannot be sent to workers.*locks") as caught:
        run_of(model)
    one_line(caught)


class Returning(OfSeeds):
    def __init__(self, change):
        super().__init__(nn.Linear(12, 4))
        self.change = change

    def forward(self, x, blocks):
        return self.change(super().forward(x, blocks), x)


def test_what_a_model_returns_is_said():
    cases = [
        (lambda out, x: (out, x), r"a tuple of 2 \(\(2, 4\), .*out\[0\]"),
        (lambda out, x: {"logits": out}, r"a dict for 2.*out\['logits'\]"),
        (lambda out, x: x[:, :4] + 0 * out.sum(), r"returns \(3, 4\).*block\.dst"),
        (lambda out, x: None, "returns None for 2 seeds"),
        (lambda out, x: out[:, :3], r"returns \(2, 3\).*set out_channels=4"),
        (lambda out, x: out.detach(), "does not depend on its trained parameters"),
    ]
    for change, said in cases:
        with pytest.raises(ModelError, match=said) as caught:
            run_of(Returning(change))
        one_line(caught)


class Deep(nn.Module):
    """A model of so many layers that does not say how many."""

    def __init__(self, widths, by_number=False):
        super().__init__()
        self.by_number = by_number
        convs = (daskgnn.nn.SAGEConv(*pair) for pair in pairwise(widths))
        self.convs = nn.ModuleList(convs)

    def forward(self, x, blocks):
        for i, conv in enumerate(self.convs[: None if self.by_number else len(blocks)]):
            x = conv(x, blocks[i])
        return x


def test_layers_and_fan_outs_that_differ(path):
    with pytest.raises(
        ModelError, match=r"returns \(2, 8\).*with 3 blocks.*give 3 fan-outs"
    ) as caught:
        trainer(path, 2, None, lambda graph: Deep([12, 8, 8, 4]))
    one_line(caught)
    with pytest.raises(ModelError, match=r"with 1 blocks.*give 1 fan-outs") as caught:
        trainer(path, 2, None, lambda graph: Deep([12, 4]))
    one_line(caught)
    with pytest.raises(ModelError, match=r"IndexError.*give 3 fan-outs") as caught:
        trainer(path, 2, None, lambda graph: Deep([12, 8, 8, 4], by_number=True))
    one_line(caught)


def test_float_labels_are_named():
    with pytest.raises(
        InputError, match=r"labels hold 1\.5 \(node 1, dtype float.*task of your own"
    ) as caught:
        planted_graph(40, labels=[0.0, 1.5] * 20)
    one_line(caught)


def test_the_models_generator_is_left_alone():
    before = torch.get_rng_state()
    run_of(linear())
    torch.manual_seed(0)
    linear()
    assert before is not None
