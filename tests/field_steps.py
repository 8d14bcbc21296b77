"""Runs whose every minibatch can be computed by torch alone."""

import numpy as np
import torch
from torch.nn import functional
from training import AT_ONCE, planted_graph

import daskgnn


class OfSeeds(torch.nn.Module):
    """A model of the seeds' own rows: what neighbours are drawn does not matter."""

    num_layers = 1

    def __init__(self, *layers):
        super().__init__()
        self.layers = torch.nn.Sequential(*layers)

    def forward(self, x, blocks):
        return self.layers(blocks[-1].dst(x))


def linear(seed=0):
    """Return a model of 12 features and 4 classes."""
    torch.manual_seed(seed)
    return OfSeeds(torch.nn.Linear(12, 4))


def run_of(model, num_parts=2, data=None, client=None, **options):
    """Return a trainer of a planted graph, with plain SGD."""
    data = data or planted_graph(120, name="small")
    options = {"batch_size": 16, "optimizer": "sgd", "lr": 0.3, **AT_ONCE, **options}
    graph = daskgnn.open_graph(data.partition(8), num_parts)
    return daskgnn.Trainer(model, graph, num_neighbors=[1], client=client, **options)


def batches(run, epochs=1):
    """Yield features and labels of each step's seeds, in storage order."""
    features = torch.from_numpy(np.asarray(run.graph.features.compute()))
    labels = torch.from_numpy(np.asarray(run.graph.labels.compute()))
    for epoch in range(epochs):
        permutation = run.plan.permutation(epoch)
        for step in range(run.plan.steps_per_epoch):
            nodes = run.plan.step_targets(permutation, step).nodes[:, 0]
            yield features[nodes], labels[nodes]


def torchs(model, run, loss, epochs=1, lr=0.3):
    """Train `model` as plain torch does; return the losses."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    losses = []
    for x, y in batches(run, epochs):
        optimizer.zero_grad()
        found = loss(model.layers(x), y)
        found.backward()
        optimizer.step()
        losses.append(found.item())
    return losses


def recorded(run):
    """Return the losses of all steps."""
    return [record["loss"] for record in run.recorder.history.steps]


def flat(model):
    """Return a model's parameters as one vector."""
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).numpy()


cross_entropy = functional.cross_entropy
