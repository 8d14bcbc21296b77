"""Accumulated, clipped and stale gradients, against plain torch and plain loops."""

import numpy as np
import pytest
import torch
from dask.local import get_sync
from dask.task_spec import DataNode
from training import (
    AtStep,
    mostly_slow,
    planted_graph,
    scaled_sage,
    stop,
    stored,
    trainer,
)

import daskgnn
from daskgnn import nn
from daskgnn.dataflow.executor import LocalExecutor
from daskgnn.dataflow.steps.gradients import PartGradient, add_gradients
from daskgnn.dataflow.steps.peers import check_copies
from daskgnn.dataflow.steps.ring import add_ring
from daskgnn.errors import InputError, TrainingError
from daskgnn.train.compute import methods
from daskgnn.train.compute.damping import Damping, stable_rate
from daskgnn.train.compute.gradients import (
    Gradients,
    clipped,
    compression,
    step_weights,
)
from daskgnn.train.compute.masking import updating_only
from daskgnn.train.compute.optimizers import optimizer_factory
from daskgnn.train.compute.session import TrainSession
from daskgnn.train.compute.state import TrainState
from daskgnn.train.plan import Position, windows

LR = 0.1
ALL = {"num_neighbors": [-1, -1], "optimizer": "sgd", "lr": LR}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(200), tmp_path_factory.mktemp("graph") / "g.zarr")


def plain_sage(graph):
    torch.manual_seed(0)
    return nn.GraphSAGE(graph.num_features, 16, graph.num_classes, 2)


def run(path, epochs=2, client=None, parts=2, **options):
    options = {"model": plain_sage, "batch_size": 24, "window": 3, **options}
    fitted = trainer(path, parts, client, **options)
    fitted.fit(epochs)
    return fitted


def parameters(fitted):
    return fitted.run_state.state.parameters


# -- accumulation


@pytest.mark.parametrize("count", mostly_slow([2, 3, 4], 3))
def test_accumulated_steps_equal_the_larger_batch(path, count):
    # 100 training nodes: the last update of an epoch is of fewer and smaller steps.
    small = run(path, accumulate=count, **ALL)
    large = run(path, batch_size=24 * count, **ALL)
    np.testing.assert_allclose(parameters(small), parameters(large), atol=1e-6)
    assert small.run_state.state.step > large.run_state.state.step


def test_weights_are_shares_of_seeds():
    found = list(step_weights(3, [8, 8, 8, 8, 2].__getitem__, 5, range(5)))
    assert found == [
        (1 / 3, False),
        (1 / 3, False),
        (1 / 3, True),
        (0.8, False),
        (0.2, True),
    ]
    assert (
        list(step_weights(3, [8, 8, 8, 8, 2].__getitem__, 5, range(1, 4))) == found[1:4]
    )


def test_a_stopped_run_resumes_between_the_steps_of_an_update(path, tmp_path):
    options = {"accumulate": 4, "optimizer": "adam", "batch_size": 24, "window": 1}
    wanted = run(path, **options).params_sha256
    options |= {"model": plain_sage, "out": tmp_path / "run", "checkpoint_every": 2}
    with pytest.raises(RuntimeError, match="stopped"):
        trainer(path, 2, None, progress=AtStep(8, stop), **options).fit(2)
    again = trainer(path, 2, None, **options)
    again.restore()
    # Of the five steps of an epoch four make an update, and the last another.
    assert again.run_state.position in (Position(1, 1), Position(1, 3))
    assert again.run_state.state.accumulated is not None
    again.fit(2, resume=True)
    assert again.params_sha256 == wanted


# -- clipping


def test_clipping_equals_plain_torch():
    rng = np.random.default_rng(0)
    for size, norm in ((5, 0.1), (1000, 3.0), (7, 1e6)):
        gradient = rng.normal(size=size).astype(np.float32)
        p = torch.nn.Parameter(torch.zeros(size))
        p.grad = torch.from_numpy(gradient.copy())
        torch.nn.utils.clip_grad_norm_([p], norm)
        np.testing.assert_allclose(clipped(gradient, norm), p.grad.numpy(), rtol=1e-6)
    assert clipped(gradient, None) is gradient


def test_a_step_is_no_longer_than_the_norm_times_the_rate(path):
    free = run(path, 1, batch_size=100, **ALL)
    bound = run(path, 1, batch_size=100, clip_norm=0.01, **ALL)
    start = trainer(path, 2, None, plain_sage, **ALL).run_state.state.parameters
    length = [np.linalg.norm(parameters(r) - start) for r in (bound, free)]
    assert length[0] == pytest.approx(LR * 0.01, rel=1e-3)
    assert length[1] > 2 * length[0]


# -- staleness


def prepared(path, model=plain_sage):
    """Return a trainer, its batches by part of a whole epoch, and how many steps."""
    planned = trainer(path, 2, None, model, batch_size=24, **ALL)
    loop = planned._new_loop()
    (window,) = windows(planned.plan, Position(), 1, lambda: 99, None)
    keys = loop.lookahead.next(iter([window])).batches
    return planned, planned.executor.result(keys), window.size


def delayed(path, staleness, compensation="none", ramp=0):
    """Train one epoch with late gradients in a plain loop; return the parameters."""
    planned, batches, size = prepared(path)
    versions, factor, usual = [planned.run_state.state.parameters], 0.0, None
    for step in range(size):
        late = min(step, staleness if step >= ramp else 0)
        then = versions[step - late]
        session = TrainSession(planned.program, TrainState(then, {}))
        total = add_gradients(*(session.gradient(batch, step) for batch in batches))
        gradient, rate = total.gradient, LR
        if compensation == "linear":
            rate /= 1 + 0.1 * late
        if compensation == "inverse":
            rate /= max(1, late)
        if compensation == "adaptive" or (compensation == "dc-asgd" and ramp):
            usual = total.loss if usual is None else usual
            highest = 1.5 * usual
            if late:
                factor = max(factor, 1 / (1 + late))  # SGD without momentum
                factor *= 0.5 if total.loss > highest else 1.05
                factor = min(max(factor, 1 / (1 + late)), 1)
                rate *= factor
            usual = 0.9 * usual + 0.1 * min(total.loss, highest)
        if compensation == "dc-asgd":
            gradient = gradient + 0.04 * gradient**2 * (versions[-1] - then)
        versions.append(versions[-1] - np.float32(rate) * gradient)
    assert size > 2 * staleness
    return versions[-1]


LATE = [
    (staleness, ramp, compensation)
    for staleness, ramp in [(1, 0), (2, 0), (2, 4)]
    for compensation in ("none", "linear", "inverse", "adaptive", "dc-asgd")
]
QUICK = [(1, 0, "none"), (2, 0, "linear"), (2, 0, "inverse"), (2, 4, "dc-asgd")]
QUICK += [(1, 0, "adaptive")]


@pytest.mark.parametrize(
    ("staleness", "ramp", "compensation"), mostly_slow(LATE, *QUICK)
)
def test_late_gradients_equal_a_plain_loop(path, staleness, ramp, compensation):
    options = {"staleness": staleness, "compensation": compensation, **ALL}
    fitted = run(path, 1, gradients="async", ramp_steps=ramp, **options)
    wanted = delayed(path, staleness, compensation, ramp)
    np.testing.assert_allclose(parameters(fitted), wanted, atol=2e-7)
    on_time = run(path, 1, **ALL)
    assert not np.allclose(parameters(on_time), wanted, atol=1e-5)


def test_late_gradients_are_damped_only_where_there_is_a_ramp(path):
    late = {"gradients": "async", "staleness": 2, "ramp_steps": 2, **ALL}
    bits = {
        how: run(path, 1, compensation=how, **late).params_sha256
        for how in ("auto", "adaptive", "none")
    }
    assert bits["auto"] == bits["adaptive"] != bits["none"]
    late |= {"ramp_steps": 0}
    bits = {how: run(path, 1, compensation=how, **late).params_sha256 for how in bits}
    assert bits["auto"] == bits["none"] != bits["adaptive"]


def test_rates_rise_while_the_loss_does_not():
    groups = [{"betas": (0.9, 0.999), "lr": 1.0}, {"lr": 1.0}]
    damping, factors = Damping(), []
    for late, loss in [(0, 2.0), *[(1, 1.0)] * 9, *[(1, 9.0)] * 5, *[(1, -1.0)] * 90]:
        damping = Damping.of(damping.after(loss, late, groups).to_array())
        factors.append(damping.rate(late))
    assert factors[0] == 1.0
    np.testing.assert_allclose(factors[1:10], 0.05 * 1.05 ** np.arange(1, 10))
    assert factors[10] == pytest.approx(0.05)  # at most halved, and stable at least
    assert factors[14] == pytest.approx(0.05)
    assert factors[-1] == 1.0


def largest_stable_curvature(late, momentum):
    """Return how curved a parabola may be for descent with rate 1, by its roots.

    x' = x + b (x - y) - (1 - b) c x[late], where y is the x before and c the curvature.
    """

    def grows(curvature):
        roots = np.zeros(late + 3)
        roots[:3] = 1, -1 - momentum, momentum
        roots[1 + late] += (1 - momentum) * curvature
        return np.abs(np.roots(roots)).max() >= 1

    below, above = 0.0, 1000.0
    for _ in range(40):
        middle = (below + above) / 2
        below, above = (below, middle) if grows(middle) else (middle, above)
    return below


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("late", [1, 2, 4, 8])
def test_damped_rates_stand_half_the_curvature_that_synchronous_ones_do(late, momentum):
    for group in ({"momentum": momentum}, {"betas": (momentum, 0.999)}):
        rate = stable_rate(late, group)
        stands = largest_stable_curvature(late, momentum) / rate
        assert 0.45 < stands / largest_stable_curvature(0, momentum) < 1.1
    assert stable_rate(0, group) == 1.0
    assert stable_rate(late, {}) == 1 / (1 + late)


def test_no_staleness_is_synchronous_to_the_bit(path):
    wanted = run(path, **ALL).params_sha256
    assert run(path, gradients="async", staleness=0, **ALL).params_sha256 == wanted


def test_staleness_is_counted_in_the_epochs_records(path):
    epochs = run(path, gradients="async", staleness=3, **ALL).recorder.history.epochs
    assert [epoch["staleness"] for epoch in epochs] == [
        {"0": 1, "1": 1, "2": 1, "3": 2},
        {"3": 5},
    ]
    assert "staleness" not in run(path, 1, **ALL).recorder.history.epochs[0]


def test_no_gradient_is_late_in_the_first_steps(path):
    options = {"gradients": "async", "staleness": 2, "ramp_steps": 6, **ALL}
    epochs = run(path, **options).recorder.history.epochs
    assert [epoch["staleness"] for epoch in epochs] == [
        {"0": 5},
        {"0": 1, "2": 4},
    ]


def test_what_is_sent_of_the_largest_entries_falls_over_the_first_steps(path):
    share, ramp = 0.05, 4
    fitted = run(path, 1, compress=f"topk:{share}", ramp_steps=ramp, **ALL)
    length = len(parameters(fitted))
    shares = [share ** (step / (ramp + 1)) for step in range(1, ramp + 2)]
    shares = [1.0 if s >= 0.5 else s for s in shares]
    # Two parts; 8 bytes an entry, or 4 for each of all entries.
    wanted = sum(2 * 8 * round(s * length) // (2 if s == 1 else 1) for s in shares)
    assert fitted.run_state.total.sent_gradient_bytes == wanted


def parameter_and(make, values, **options):
    """Return a parameter, and an optimizer of it."""
    p = torch.nn.Parameter(torch.from_numpy(values.copy()))
    return p, make([p], **options)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_only_what_is_sent_is_updated_as_in_a_sparse_adam(amsgrad):
    rng = np.random.default_rng(0)
    values = rng.normal(size=30).astype(np.float32)
    p, adam = parameter_and(torch.optim.Adam, values, lr=LR, amsgrad=amsgrad)
    q, sparse = parameter_and(torch.optim.SparseAdam, values, lr=LR)
    for share in (1.0, 0.3, 0.3, 0.1, 0.3):
        sent = rng.random(30) < share
        gradient = np.where(sent, rng.normal(size=30), 0).astype(np.float32)
        p.grad = torch.from_numpy(gradient)
        (places,) = np.nonzero(sent)
        parts = torch.from_numpy(places[None]), torch.from_numpy(gradient[sent])
        q.grad = torch.sparse_coo_tensor(*parts, (30,), check_invariants=True)
        before = p.detach().clone().numpy()
        with updating_only(sent, [p], adam):
            adam.step()
        sparse.step()
        np.testing.assert_array_equal(p.detach().numpy()[~sent], before[~sent])
        if not amsgrad:
            np.testing.assert_allclose(p.detach(), q.detach(), atol=1e-5)


def test_the_largest_entries_alone_are_updated_after_the_ramp(path):
    """With momentum, all would move; without a ramp and with weight decay, they do."""
    changed = {}
    for ramp, decay in ((0, 0.0), (1, 0.0), (1, 0.01)):
        options = {"compress": "topk:0.05", "ramp_steps": ramp, "optimizer": "adam"}
        options["weight_decay"] = decay
        fitted = trainer(path, 2, None, plain_sage, batch_size=120, **options)
        fitted.fit(1)  # of one step
        before = parameters(fitted)
        fitted.fit(2)
        changed[ramp, decay] = np.mean(parameters(fitted) != before)
    assert changed[1, 0.0] <= 0.101 < changed[0, 0.0]
    assert changed[1, 0.01] == 1


def test_warm_up_is_a_schedule_of_torch(path):
    def rising(optimizer):
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1, (step + 1) / 5)
        )

    options = {**ALL, "optimizer": "adam", "scheduler_interval": "step"}
    wanted = run(path, lr_scheduler=rising, **options)
    found = run(path, warmup_steps=4, **options)
    np.testing.assert_allclose(parameters(found), parameters(wanted), atol=1e-7)
    assert found.params_sha256 != run(path, **options).params_sha256


def test_epochs_record_the_learning_rate_of_their_last_update(path):
    options = {**ALL, "optimizer": "adam", "lr": 0.01, "batch_size": 100}
    found = run(path, 2, warmup_steps=4, **options).recorder.history
    per_epoch = len(found.steps) // 2
    assert 0 < per_epoch < 4
    rates = [0.01 * min(1, epoch * per_epoch / 5) for epoch in (1, 2)]
    assert [record["lr"] for record in found.epochs] == pytest.approx(rates)


def test_warm_up_is_the_default_without_a_scheduler(path):
    by_default = {"warmup_steps": None, **ALL}
    assert run(path, 1, **by_default).options["warmup_steps"] == 20
    schedule = {"lr_scheduler": lambda o: torch.optim.lr_scheduler.StepLR(o, 5)}
    assert run(path, 1, **by_default, **schedule).options["warmup_steps"] == 0


@pytest.mark.parametrize("ramp", mostly_slow([0, 7], 7))
def test_windows_do_not_matter_and_resuming_is_exact(path, tmp_path, ramp):
    options = {"gradients": "async", "staleness": 3, "optimizer": "adam"}
    options |= {"ramp_steps": ramp, "warmup_steps": ramp}
    wanted = run(path, 3, **options).params_sha256
    assert run(path, 3, **{**options, "window": 1}).params_sha256 == wanted
    options |= {"model": plain_sage, "batch_size": 24, "out": tmp_path / "run"}
    trainer(path, 2, None, **options).fit(1)
    again = trainer(path, 2, None, **options)
    again.fit(3, resume=True)
    assert again.params_sha256 == wanted


# -- compression


COMPRESSED = ["topk:0.1", "powersgd:2", "fp16", "bf16", "int8"]


@pytest.mark.parametrize(
    "compress", mostly_slow(COMPRESSED, "topk:0.1", "powersgd:2", "int8")
)
def test_compression_equals_a_plain_loop(path, compress):
    """Error feedback a part, the sum of what is sent, then plain SGD."""
    planned, batches, size = prepared(path)
    way, shapes = compression(compress), planned.program.shapes
    carried = [way.first(shapes) for _ in batches]
    parameters_now = planned.run_state.state.parameters
    for step in range(size):
        session = TrainSession(planned.program, TrainState(parameters_now, {}))
        total = np.zeros_like(parameters_now)
        for part, batch in enumerate(batches):
            gradient = session.gradient(batch, step).gradient
            message, carried[part] = way.compress(gradient, carried[part], shapes)
            total += message.dense()
        parameters_now = parameters_now - np.float32(LR) * total
    fitted = run(path, 1, compress=compress, **ALL)
    np.testing.assert_allclose(parameters(fitted), parameters_now, atol=2e-7)
    state = fitted.run_state.state
    for name in carried[0]:
        wanted = [held[name] for held in carried]
        np.testing.assert_allclose(state.by_part[name], wanted, atol=1e-6)


class Spoilt(TrainSession):
    """A session one of whose gradients is not finite, beside a loss that is."""

    def _gradient_of(self, loss):
        gradient, given = super()._gradient_of(loss)
        if self._before.step + len(self._reports) == 4:
            gradient[5] = np.nan
        return gradient, given


@pytest.mark.parametrize(
    "compress",
    mostly_slow([None, "topk:0.1", "powersgd:2", "fp16", "int8"], None, "powersgd:2"),
)
def test_a_gradient_that_is_not_finite_stops_the_run(path, monkeypatch, compress):
    monkeypatch.setattr(methods, "TrainSession", Spoilt)
    with pytest.raises(TrainingError, match="the loss of step 5 is nan"):
        run(path, compress=compress, **ALL)


def test_all_entries_are_the_uncompressed_run(path):
    wanted = run(path, optimizer="adam")
    found = run(path, optimizer="adam", compress="topk:1.0")
    assert found.params_sha256 == wanted.params_sha256


def test_full_rank_is_the_uncompressed_run_to_rounding(path):
    wanted, found = (run(path, compress=c, **ALL) for c in (None, "powersgd:16"))
    np.testing.assert_allclose(parameters(found), parameters(wanted), atol=1e-5)


def test_bytes_are_counted_before_and_after(path):
    fitted = run(path, 1, compress="topk:0.1", **ALL)
    count, steps, parts = len(parameters(fitted)), 5, 2
    (epoch,) = fitted.recorder.history.epochs
    for facts in (epoch, fitted.summary()):
        assert facts["gradient_bytes"] == 4 * count * steps * parts
        assert facts["sent_gradient_bytes"] == 8 * round(0.1 * count) * steps * parts
    plain = run(path, 1, **ALL).summary()
    assert plain["sent_gradient_bytes"] == plain["gradient_bytes"]


@pytest.mark.parametrize(
    "compress", mostly_slow(["topk:0.1", "powersgd:2"], "powersgd:2")
)
def test_residuals_are_in_checkpoints(path, tmp_path, compress):
    options = {"compress": compress, "optimizer": "adam", "batch_size": 24}
    wanted = run(path, 3, **options).params_sha256
    assert run(path, 3, **{**options, "window": 1}).params_sha256 == wanted
    options |= {"model": plain_sage, "window": 1, "checkpoint_every": 2}
    options["out"] = tmp_path / "run"
    with pytest.raises(RuntimeError, match="stopped"):
        trainer(path, 2, None, progress=AtStep(8, stop), **options).fit(3)
    again = trainer(path, 2, None, **options)
    again.fit(3, resume=True)
    assert again.params_sha256 == wanted


# -- sums in a ring


@pytest.mark.parametrize("num_parts", [1, 2, 3, 5])
def test_a_ring_adds_every_part_in_its_order(num_parts):
    rng = np.random.default_rng(0)
    vectors = rng.lognormal(0, 9, (num_parts, 23)).astype(np.float32)
    shares = [PartGradient(v, float(p), {}, 1, 2) for p, v in enumerate(vectors)]
    tasks = {("g", p): DataNode(("g", p), share) for p, share in enumerate(shares)}
    key = add_ring(tasks, ("r", 0, 0), list(tasks))
    whole = get_sync(tasks, key)
    wanted = []
    for chunk in range(num_parts):
        piece = slice(23 * chunk // num_parts, 23 * (chunk + 1) // num_parts)
        total = vectors[chunk][piece]
        for turn in range(1, num_parts):
            total = total + vectors[(chunk + turn) % num_parts][piece]
        wanted.append(total)
    np.testing.assert_array_equal(whole.gradient, np.concatenate(wanted))
    assert whole.loss == sum(range(num_parts))
    assert (whole.dense_bytes, whole.sent_bytes) == (num_parts, 2 * num_parts)


def test_a_ring_equals_the_tree_to_rounding(path):
    tree, ring = (run(path, gradients=way, parts=5, **ALL) for way in ("tree", "ring"))
    np.testing.assert_allclose(parameters(ring), parameters(tree), atol=1e-6)
    assert ring.params_sha256 != tree.params_sha256


# -- local steps


def locally_trained(path, every, name):
    """Train one epoch: a torch optimizer a part, averaged every few steps."""
    planned, batches, size = prepared(path)
    factory = optimizer_factory(name, LR, 0.0)
    replicas = [
        torch.nn.Parameter(torch.tensor(planned.run_state.state.parameters))
        for _ in batches
    ]
    optimizers = [factory([replica]) for replica in replicas]
    for step in range(size):
        for replica, optimizer, batch in zip(
            replicas, optimizers, batches, strict=True
        ):
            now = TrainState(replica.detach().numpy().copy(), {})
            share = TrainSession(planned.program, now).gradient(batch, step)
            replica.grad = torch.tensor(share.gradient * len(batches))
            optimizer.step()
        if (step + 1) % every and step + 1 < size:
            continue
        with torch.no_grad():
            mean = sum(replicas) / len(replicas)
            for replica in replicas:
                replica.copy_(mean)
            for moment in ("exp_avg", "exp_avg_sq"):
                entries = [
                    o.state[r] for o, r in zip(optimizers, replicas, strict=True)
                ]
                if moment in entries[0]:
                    mean = sum(entry[moment] for entry in entries) / len(entries)
                    for entry in entries:
                        entry[moment].copy_(mean)
    return replicas[0].detach().numpy()


LOCAL = [(optimizer, every) for optimizer in ("sgd", "adam") for every in (1, 2, 4)]


@pytest.mark.parametrize(
    ("optimizer", "every"), mostly_slow(LOCAL, ("sgd", 2), ("adam", 4))
)
def test_local_steps_equal_plain_torch(path, optimizer, every):
    options = {**ALL, "optimizer": optimizer, "local_steps": every}
    fitted = run(path, 1, **options)
    wanted = locally_trained(path, every, optimizer)
    np.testing.assert_allclose(parameters(fitted), wanted, atol=2e-6)
    assert not fitted.run_state.state.by_part


class Copy:
    """A part's parameters as torch has them, one by one, and its optimizer."""

    def __init__(self, planned, make):
        self.program = planned.program
        self.tensors = [
            torch.nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad)
            for p in planned.model.parameters()
        ]
        self.optimizer = make(self.tensors)

    def step(self, batch, step, weight):
        flat = torch.cat([p.detach().reshape(-1) for p in self.tensors])
        session = TrainSession(self.program, TrainState(flat.numpy().copy(), {}))
        pieces = torch.tensor(session.gradient(batch, step).gradient * weight).split(
            [p.numel() for p in self.tensors]
        )
        for p, piece in zip(self.tensors, pieces, strict=True):
            p.grad = piece.view(p.shape) if p.requires_grad else None
        self.optimizer.step()

    def numbers(self):
        """Return all that is averaged, by name."""
        found = {("parameter", i): p.data for i, p in enumerate(self.tensors)}
        for i, p in enumerate(self.tensors):
            entries = self.optimizer.state.get(p, {}).items()
            found.update({(n, i): e for n, e in entries if n != "step"})
        return found


@pytest.mark.parametrize("name", mostly_slow(["Adam", "Adafactor", "NAdam"], "Adam"))
def test_moments_of_single_parameters_are_averaged(path, name):
    def make(parameters):
        return getattr(torch.optim, name)(parameters, lr=LR)

    options = {**ALL, "model": scaled_sage, "optimizer": make, "local_steps": 2}
    fitted = run(path, 1, **options)
    planned, batches, size = prepared(path, scaled_sage)
    copies = [Copy(planned, make) for _ in batches]
    for step in range(size):
        for each, batch in zip(copies, batches, strict=True):
            each.step(batch, step, len(batches))
        if step % 2 or step + 1 == size:
            for numbers in zip(*(c.numbers().values() for c in copies), strict=True):
                mean = sum(numbers) / len(numbers)
                for number in numbers:
                    number.copy_(mean)
    wanted = copies[0].numbers()
    flat = [n.reshape(-1) for (entry, _), n in wanted.items() if entry == "parameter"]
    np.testing.assert_allclose(parameters(fitted), torch.cat(flat), atol=2e-6)
    found = fitted.run_state.state.optimizer
    assert {n for n in found if not n.startswith("step")} == {
        f"{entry}.{i}" for entry, i in wanted if entry != "parameter"
    }
    for (entry, i), number in wanted.items():
        if entry != "parameter":
            np.testing.assert_allclose(found[f"{entry}.{i}"], number, atol=2e-6)


def test_single_moments_resume_between_averages(path, tmp_path):
    options = {"local_steps": 4, "batch_size": 24, "model": scaled_sage, "window": 1}
    wanted = run(path, 3, **options).params_sha256
    options |= {"out": tmp_path / "run", "checkpoint_every": 2}
    with pytest.raises(RuntimeError, match="stopped"):
        trainer(path, 2, None, progress=AtStep(8, stop), **options).fit(3)
    again = trainer(path, 2, None, **options)
    again.fit(3, resume=True)
    assert again.params_sha256 == wanted


def test_one_local_step_of_sgd_is_synchronous_to_rounding(path):
    wanted, found, far = (run(path, local_steps=k, **ALL) for k in (None, 1, 3))
    np.testing.assert_allclose(parameters(found), parameters(wanted), atol=1e-6)
    assert not np.allclose(parameters(far), parameters(wanted), atol=1e-4)
    losses = [[r["loss"] for r in f.recorder.history.steps] for f in (wanted, found)]
    np.testing.assert_allclose(*losses, atol=1e-6)


def test_local_steps_resume_between_averages(path, tmp_path):
    options = {"local_steps": 4, "optimizer": "adam", "batch_size": 24}
    wanted = run(path, 3, **options)
    assert run(path, 3, **{**options, "window": 1}).params_sha256 == (
        wanted.params_sha256
    )
    count, parts, averages = len(parameters(wanted)), 2, 2 * 3
    summary = wanted.summary()
    assert summary["gradient_bytes"] == 4 * count * parts * 15
    assert summary["sent_gradient_bytes"] == 3 * 4 * count * parts * averages
    options |= {"model": plain_sage, "window": 1, "checkpoint_every": 2}
    options["out"] = tmp_path / "run"
    with pytest.raises(RuntimeError, match="stopped"):
        trainer(path, 2, None, progress=AtStep(8, stop), **options).fit(3)
    again = trainer(path, 2, None, **options)
    again.restore()
    assert again.run_state.position.step in (1, 3)
    assert again.run_state.state.by_part["parameters"].shape == (2, count)
    again.fit(3, resume=True)
    assert again.params_sha256 == wanted.params_sha256


# -- checksums


class Damaged(TrainSession):
    """A session whose copy of the parameters is not what was sent, in part 1."""

    calls = 0

    def checksum(self):
        Damaged.calls += 1
        wrong = self._before.step == 4 and Damaged.calls % 2 == 0
        return "damaged" if wrong else super().checksum()


def test_a_copy_that_differs_stops_the_run_naming_the_step(path, monkeypatch):
    monkeypatch.setattr(methods, "TrainSession", Damaged)
    # In order, this process has the one copy there is: as tasks, each part takes one.
    monkeypatch.setattr(LocalExecutor, "run_in_order", lambda *_: [])
    assert run(path, 1, checksum_every=3, **ALL).params_sha256 == (
        run(path, 1, **ALL).params_sha256
    )
    assert Damaged.calls == 2
    Damaged.calls = 0
    with pytest.raises(TrainingError, match=r"after step 4 .*part 1\) differ"):
        run(path, 1, checksum_every=2, **ALL)


def test_of_three_copies_the_one_that_differs_is_named():
    copies = {"a": "1", "b": "2", "c": "1"}
    with pytest.raises(TrainingError, match="those of b differ"):
        check_copies(copies, 7)
    check_copies({"a": "1", "b": "1"}, 7)


# -- input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gradients": "sync"}, "gradients='sync', expected one of 'tree', 'ring'"),
        ({"staleness": 2}, "staleness=2 needs gradients='async'"),
        ({"gradients": "async", "accumulate": 2}, "cannot go together"),
        ({"compensation": "linear"}, "give staleness=1 or more"),
        ({"gradients": "async", "compensation": "some"}, "compensation='some'"),
        ({"accumulate": 0}, "accumulate=0"),
        ({"compress": "topk:2"}, "compress='topk:2', expected topk:SHARE"),
        ({"compress": "powersgd"}, "compress='powersgd'"),
        ({"compress": "int8:3"}, "compress='int8:3'"),
        ({"compress": "fp16", "gradients": "ring"}, "cannot go together"),
        ({"local_steps": 2, "compress": "fp16"}, "cannot go together"),
        ({"local_steps": 2, "accumulate": 2}, "local_steps=2 and accumulate=2 cannot"),
        ({"local_steps": 0}, "local_steps=0"),
        ({"checksum_every": 0}, "checksum_every=0"),
        ({"clip_norm": 0.0}, "clip_norm=0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(path, options, said):
    with pytest.raises(InputError, match=said):
        trainer(path, 2, None, **options)


def test_a_checkpoint_of_another_way_is_refused(path, tmp_path):
    options = {"model": plain_sage, "batch_size": 24, "out": tmp_path / "run"}
    trainer(path, 2, None, **options).fit(1)
    again = trainer(path, 2, None, clip_norm=1.0, **options)
    with pytest.raises(daskgnn.errors.CheckpointError, match="gradients"):
        again.fit(2, resume=True)


def test_a_checkpoint_from_before_there_were_more_ways_is_continued(
    path, tmp_path, monkeypatch
):
    options = {"gradients": "async", "staleness": 2, "batch_size": 24}
    wanted = run(path, 2, **options).params_sha256
    options |= {"model": plain_sage, "out": tmp_path / "run"}
    names = ("accumulate", "clip_norm", "staleness", "compensation")
    with monkeypatch.context() as before:
        whole = Gradients.fingerprint
        before.setattr(
            Gradients, "fingerprint", lambda self: {n: whole(self)[n] for n in names}
        )
        trainer(path, 2, None, **options).fit(1)
    again = trainer(path, 2, None, **options)
    again.fit(2, resume=True)
    assert again.params_sha256 == wanted
