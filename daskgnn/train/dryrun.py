"""One forward pass on a graph of two nodes, before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from daskgnn.errors import ModelError
from daskgnn.nn import Block, pure_step

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
        If the forward pass fails, returns another shape than (seeds, classes), or
        (with `deterministic`) drew from torch's generator or changed a buffer.
    """
    blocks = [_two_nodes(graph.weighted) for _ in range(fan_out.num_hops)]
    training = model.training
    generator = torch.random.get_rng_state()
    model.train()
    try:
        with pure_step(model, deterministic), torch.no_grad():
            out = model(torch.zeros(2, graph.num_features), blocks)
    except ModelError:
        raise
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"the model's forward(x, blocks) fails on x of shape "
            f"(2, {graph.num_features}) and {len(blocks)} blocks: "
            f"{type(error).__name__}: {said}"
        ) from error
    finally:
        model.train(training)
        torch.random.set_rng_state(generator)
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
