"""A run whose loss multiplies in its first steps says so, once."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from training import planted_graph, stored, trainer

import daskgnn

DIVERGING = {"optimizer": "sgd", "lr": 3.0, "batch_size": 24}


def linear(graph):
    """Return a model whose loss is as large as its features."""
    torch.manual_seed(0)
    return daskgnn.nn.GraphSAGE(graph.num_features, 16, graph.num_classes, 2)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    graph = planted_graph(200)
    graph = replace(graph, features=graph.features * np.float32(6))
    return stored(graph, tmp_path_factory.mktemp("graph") / "g.zarr")


def warned(path, **options):
    """Return the warnings of two epochs."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer(path, 2, None, linear, **options).fit(2)
    return [str(w.message) for w in told]


def test_scaling_is_suggested_where_features_are_large(large):
    (told,) = warned(large, **DIVERGING)
    assert told.startswith("the loss rose from ")
    assert "rows of features have norms of about" in told
    assert "scale columns before the graph is built" in told
    assert "\n" not in told


def test_another_rate_is_suggested_elsewhere(small_path):
    (told,) = warned(small_path, **{**DIVERGING, "lr": 100.0})
    assert told.endswith("lower lr=100, or raise warmup_steps=0")


def test_gentle_first_steps_stand_in_the_summary(small_path):
    options = {"warmup_steps": 3, "ramp_steps": 5, "compress": "topk:0.5"}
    run = trainer(small_path, 2, None, **options)
    told = run.summary()
    assert (told["warmup_steps"], told["ramp_steps"]) == (3, 5)
    told = trainer(small_path, 2, None, warmup_steps=0, ramp_steps=5).summary()
    assert (told["warmup_steps"], told["ramp_steps"]) == (0, 0)  # nothing ramps


def test_a_loss_that_falls_is_not_spoken_of(small_path):
    assert warned(small_path, batch_size=24) == []
