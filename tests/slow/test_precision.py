"""Lower precision of dense products costs no accuracy: real graphs, five seeds."""

import numpy as np
import pytest
import torch

import daskgnn
from daskgnn.train.options.recipes import with_recipe

SEEDS = range(5)
LARGEST_LOSS = 0.003
"""Of the mean test accuracy, below that in float32."""

pytestmark = [pytest.mark.slow, pytest.mark.data, pytest.mark.timeout(1800)]

FILES = {
    "coauthor_cs": {"hidden_channels": 64, "num_neighbors": [10, 5], "epochs": 5},
    "amazon_photo": {"hidden_channels": 64, "num_neighbors": [15, 10], "epochs": 30},
}


def options_of(name):
    """Return the recipe's settings, or those above."""
    given = {"model": "sage", **FILES.get(name, {})}
    return with_recipe(name, given, use_recipe=name not in FILES)


def accuracy(path, options, seed, precision):
    """Train in this process; return the test accuracy of the best epoch."""
    graph = daskgnn.open_graph(path, 2)
    torch.manual_seed(seed)
    model = daskgnn.nn.GraphSAGE(
        graph.num_features,
        options["hidden_channels"],
        graph.num_classes,
        len(options["num_neighbors"]),
        dropout=options["dropout"],
        input_dropout=options["input_dropout"],
    )
    trainer = daskgnn.Trainer(
        model,
        graph,
        client=None,
        seed=seed,
        precision=precision,
        **{
            name: options[name]
            for name in (
                "num_neighbors",
                "batch_size",
                "lr",
                "weight_decay",
                "normalize_features",
            )
        },
    )
    trainer.fit(options["epochs"])
    return trainer.evaluate("test")["accuracy"]


@pytest.mark.parametrize(
    "name", ["cora", "citeseer", "pubmed", "coauthor_cs", "amazon_photo"]
)
def test_accuracy_is_that_of_float32(tmp_path, data_dir, name):
    if name in FILES:
        data = daskgnn.read_npz(data_dir / f"{name}.npz")
    else:
        data = daskgnn.load_dataset(name, data_dir=data_dir)
    path = tmp_path / "graph.zarr"
    data.partition().save(path)
    options = options_of(name)
    means = {}
    for precision in ("float32", "bf16", "medium"):
        found = [accuracy(path, options, seed, precision) for seed in SEEDS]
        means[precision] = np.mean(found)
        print(f"{name} {precision}: {means[precision]:.4f} of {np.round(found, 4)}")
    assert means["bf16"] >= means["float32"] - LARGEST_LOSS
    assert means["medium"] >= means["float32"] - LARGEST_LOSS
