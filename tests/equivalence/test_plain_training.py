"""Whole trainings by plain torch on one process: dense matrices, autograd, Adam.

Nothing of the library computes in `plainly`: it takes the seeds of each step, which are
the plan's, and the first parameters.
"""

from collections import deque

import numpy as np
import pytest
import torch
from test_full_graph import dense_forward
from training import planted_graph, stored

import daskgnn
from daskgnn import nn

PARTS, EPOCHS, LR = 2, 3, 0.02


def adam(parameters):
    # Near 0 Adam's steps would be signs of roundings.
    return torch.optim.Adam(parameters, lr=LR, eps=1e-3)


@pytest.fixture(scope="module")
def graph():
    return planted_graph(num_nodes=150)


@pytest.fixture(scope="module")
def path(graph, tmp_path_factory):
    return stored(graph, tmp_path_factory.mktemp("graph") / "g.zarr", num_clusters=8)


def trained(path, epochs=EPOCHS, **options):
    """Train with the library; return the trainer and its first parameters."""
    torch.manual_seed(0)
    model = nn.GCN(12, 16, 4, 2)
    first = [p.detach().double().clone() for p in model.parameters()]
    opened = daskgnn.open_graph(path, PARTS)
    given = {"num_neighbors": [-1, -1], "batch_size": 16, "optimizer": adam}
    given |= {"warmup_steps": 0, "ramp_steps": 0, **options}
    run = daskgnn.Trainer(model, opened, client=None, window=3, **given)
    run.fit(epochs)
    return run, [name for name, _ in model.named_parameters()], first


def steps_of(run, epoch):
    """Return the seeds of an epoch's steps, as the user numbers them."""
    book = run.graph.original_ids.compute()
    plan = run.plan
    order = plan.permutation(epoch)
    steps = [plan.step_targets(order, s) for s in range(plan.steps_per_epoch)]
    return [book[targets.nodes[:, 0]] for targets in steps]


def plainly(graph, run, names, first, *, count=1, clip=None, late=0, by_part=False):
    """Train as `run` was; return parameters, moments, and the norms before clipping.

    An update is of `count` steps, of the gradient at the parameters of `late` updates
    before; or, `by_part`, of the seeds of a part alone.
    """
    x = torch.tensor(graph.features, dtype=torch.float64)
    labels = torch.tensor(graph.labels)
    weights = [p.clone().requires_grad_() for p in first]
    optimizer = adam(weights)
    versions = deque([[w.detach().clone() for w in weights]], maxlen=late + 1)
    norms = []

    def mean_loss(at, seeds, over):
        logits = dense_forward("gcn", names, at, x, graph)[seeds]
        given = logits, labels[seeds]
        return torch.nn.functional.cross_entropy(*given, reduction="sum") / over

    for epoch in range(EPOCHS):
        steps = steps_of(run, epoch)
        updates = [
            steps[begin : begin + count] for begin in range(0, len(steps), count)
        ]
        sizes = [sum(map(len, together)) for together in updates]
        if by_part:
            updates = [[half] for step in steps for half in halves(step)]
            sizes = [len(step) / PARTS for step in steps for _ in range(PARTS)]
        for together, size in zip(updates, sizes, strict=True):
            at = [w.clone().requires_grad_() for w in versions[0]]
            optimizer.zero_grad()
            for seeds in together:
                mean_loss(at, seeds, size).backward()
            for weight, read in zip(weights, at, strict=True):
                weight.grad = read.grad
            if clip is not None:
                norms.append(torch.nn.utils.clip_grad_norm_(weights, clip).item())
            optimizer.step()
            versions.append([w.detach().clone() for w in weights])
    moments = {
        name: flat(optimizer.state[w][name] for w in weights)
        for name in ("exp_avg", "exp_avg_sq")
    }
    return flat(weights), moments, norms


def halves(step):
    """Return the seeds of both parts, each of which has every other one."""
    return step[::2], step[1::2]


def flat(tensors):
    return torch.cat([t.detach().reshape(-1) for t in tensors]).numpy()


WAYS = {
    "tree": ({}, {}),
    "ring": ({"gradients": "ring"}, {}),
    "no staleness": ({"gradients": "async", "staleness": 0}, {}),
    "late by 1": ({"gradients": "async", "staleness": 1}, {"late": 1}),
    "late by 3": ({"gradients": "async", "staleness": 3}, {"late": 3}),
    "of 3 steps": ({"accumulate": 3}, {"count": 3}),
    "clipped": ({"clip_norm": 0.45}, {"clip": 0.45}),
    "of 2 steps, clipped": (
        {"accumulate": 2, "clip_norm": 0.45},
        {"count": 2, "clip": 0.45},
    ),
    "all entries": ({"compress": "topk:1.0"}, {}),
    "full rank": ({"compress": "powersgd:99"}, {}),
    "server alone": ({"gradients": "server"}, {"by_part": True}),
}


@pytest.mark.parametrize("name", WAYS)
def test_training_equals_plain_torch(graph, path, name):
    options, plain = WAYS[name]
    run, names, first = trained(path, **options)
    wanted, moments, norms = plainly(graph, run, names, first, **plain)
    np.testing.assert_allclose(run.run_state.state.parameters, wanted, atol=2e-5)
    for moment, values in moments.items():
        np.testing.assert_allclose(
            run.run_state.state.optimizer[moment], values, atol=2e-6
        )
    # Some gradients were longer than the norm, some were not.
    assert not norms or min(norms) < plain["clip"] < max(norms)
    still = flat(first)
    assert np.abs(wanted - still).max() > 0.1
