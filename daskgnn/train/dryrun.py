"""One forward pass on a graph of two nodes, before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from daskgnn.errors import ModelError
from daskgnn.nn import Block, pure_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.graph.graph import Graph


def try_model(
    model: torch.nn.Module, graph: Graph, num_layers: int, *, deterministic: bool
) -> bool:
    """Run `model` on two linked nodes and check what comes out.

    Returns
    -------
    bool
        Whether the model can be evaluated layer by layer: it has a method
        ``layer(i, h, block)`` whose loop gives what ``forward`` gives.

    Raises
    ------
    ModelError
        If the forward pass fails, returns another shape than (seeds, classes), or
        changes its input in place; or (with `deterministic`) drew from torch's
        generator or changed a buffer.
    """
    blocks = [_two_nodes(graph.weighted) for _ in range(num_layers)]
    x = torch.randn(2, graph.num_features, generator=torch.Generator().manual_seed(0))
    training = model.training
    generator = torch.random.get_rng_state()
    try:
        with torch.no_grad():
            with pure_step(model.train(), deterministic):
                out = _call(model, "forward(x, blocks)", x, blocks)
            expected = _call(model.eval(), "forward(x, blocks)", x, blocks)
            _check_output(out, graph.num_classes)
            return _agrees_by_layers(model, x, blocks, expected)
    finally:
        model.train(training)
        torch.random.set_rng_state(generator)


def _call(function: Callable[..., Any], name: str, x: torch.Tensor, *rest: Any) -> Any:
    """Call the model, and refuse it if it fails or writes into its input."""
    before = x.clone()
    try:
        out = function(x, *rest)
    except ModelError:
        raise
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"the model's {name} fails on x of shape {tuple(x.shape)}: "
            f"{type(error).__name__}: {said}"
        ) from error
    if not torch.equal(x, before):
        raise ModelError(
            f"the model's {name} changes its input in place, which other tasks read: "
            "use h = h * 0.5 rather than h.mul_(0.5)"
        )
    return out


def _agrees_by_layers(
    model: Any, x: torch.Tensor, blocks: list[Block], expected: torch.Tensor
) -> bool:
    """Return whether looping over ``layer`` gives the outputs of ``forward``."""
    if getattr(type(model), "layer", None) is None:
        return False
    h = x
    for i, block in enumerate(blocks):
        h = _call(
            lambda h, i, b: model.layer(i, h, b), "layer(i, h, block)", h, i, block
        )
    return h.shape == expected.shape and torch.allclose(h, expected, atol=1e-5)


def _check_output(out: Any, num_classes: int) -> None:
    if not isinstance(out, torch.Tensor) or out.shape != (2, num_classes):
        shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out)
        raise ModelError(
            f"the model returns {shape} for 2 seeds, expected (2, {num_classes}): set "
            f"out_channels={num_classes}"
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
