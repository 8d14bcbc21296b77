"""One forward pass on a graph of two nodes, before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from daskgnn.errors import ModelError
from daskgnn.nn import Block

if TYPE_CHECKING:
    from daskgnn.graph.graph import Graph
    from daskgnn.kernels.neighbor import FanOut


def try_model(
    model: torch.nn.Module, graph: Graph, fan_out: FanOut, *, deterministic: bool
) -> None:
    """Run `model` once on two linked nodes and check what comes out.

    Raises
    ------
    ModelError
        If parameters are not float32 or missing, the forward pass fails, the outputs
        have another shape than (seeds, classes), or numbers were drawn from torch's
        generator.
    """
    parameters = list(model.parameters())
    if not parameters:
        raise ModelError("the model has no parameters: nothing to train")
    for name, p in model.named_parameters():
        if p.dtype != torch.float32:
            raise ModelError(
                f"parameter {name} is {p.dtype}, expected float32: call model.float()"
            )
    blocks = [_two_nodes(graph.weighted) for _ in range(fan_out.num_hops)]
    training = model.training
    before = torch.random.get_rng_state()
    try:
        with torch.no_grad():
            out = model.train()(torch.zeros(2, graph.num_features), blocks)
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"the model's forward(x, blocks) fails on x of shape "
            f"(2, {graph.num_features}) and {len(blocks)} blocks: "
            f"{type(error).__name__}: {said}"
        ) from error
    finally:
        model.train(training)
        drawn = not torch.equal(before, torch.random.get_rng_state())
        torch.random.set_rng_state(before)
    if drawn and deterministic:
        raise ModelError(
            "the model draws from torch's generator (torch.nn.functional.dropout?): "
            "use daskgnn.nn.Dropout, or deterministic=False"
        )
    if not isinstance(out, torch.Tensor) or out.shape != (2, graph.num_classes):
        shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out)
        raise ModelError(
            f"the model returns {shape} for 2 seeds, expected (2, "
            f"{graph.num_classes}): set out_channels={graph.num_classes}"
        )


def _two_nodes(weighted: bool) -> Block:
    return Block(
        num_src=2,
        num_dst=2,
        starts=np.array([0, 1]),
        ends=np.array([1, 2]),
        indices=np.array([1, 0], np.int32),
        edge_weight=np.ones(2, np.float32) if weighted else None,
        ids=np.arange(2),
        degree=np.ones(2, np.int64),
        strength=np.ones(2, np.float32),
        dropout_key=0,
        aggregated=None,
    )
