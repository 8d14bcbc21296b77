"""Train on a graph of your own: edges, features, labels and a split as arrays."""

import numpy as np
import torch

import daskgnn


def make_ring(num_nodes: int = 3000, num_classes: int = 3) -> dict:
    """Make up people in a circle who know their neighbours and some strangers.

    The label says in which third of the circle one stands; the features hint at it,
    with so much noise that a node alone does not give it away.
    """
    random = np.random.default_rng(0)
    people = np.arange(num_nodes)
    near = [np.stack([people, (people + step) % num_nodes]) for step in range(1, 6)]
    strangers = random.integers(0, num_nodes, (2, num_nodes // 2))
    labels = people * num_classes // num_nodes
    features = np.eye(num_classes)[labels] + random.normal(0, 1.5, (num_nodes, 3))
    order = random.permutation(num_nodes)
    return {
        "edge_index": np.concatenate([*near, strangers], axis=1),
        "features": features.astype(np.float32),
        "labels": labels,
        "train": order[:300],
        "val": order[300:600],
        "test": order[600:],
    }


if __name__ == "__main__":
    graph = daskgnn.from_edge_index(**make_ring(), name="ring")
    print(graph)
    print(graph.report)  # what was symmetrised, merged or dropped
    partitioned = graph.partition(num_clusters=16)
    print(partitioned.quality(2))
    partitioned.save("ring.zarr", overwrite=True)
    graph = daskgnn.open_graph("ring.zarr", num_parts=2)
    torch.manual_seed(0)  # the model's first parameters
    model = daskgnn.nn.GraphSAGE(
        in_channels=graph.num_features,
        hidden_channels=32,
        out_channels=graph.num_classes,
        num_layers=2,
    )
    # Without a cluster the same kernels run in this process, with the same result.
    trainer = daskgnn.Trainer(
        model, graph, num_neighbors=[10, 10], batch_size=100, client=None
    )
    trainer.fit(epochs=10)
    print("test", trainer.evaluate("test"))
