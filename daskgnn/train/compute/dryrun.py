"""Try a model and a task on a graph of two nodes before training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from daskgnn.errors import InputError, ModelError, first_line
from daskgnn.kernels.targets import distinct_nodes
from daskgnn.nn import Block, check_model, number_dropouts, pure_step
from daskgnn.nn.device import CPU
from daskgnn.seams import failed
from daskgnn.tasks.task import batch_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.graph.graph import Graph
    from daskgnn.kernels.targets import Targets
    from daskgnn.tasks.task import TargetBatch, Task


def try_both(
    model: torch.nn.Module,
    task: Task,
    graph: Graph,
    targets: Targets,
    num_layers: int,
    *,
    deterministic: bool,
) -> tuple[bool, int]:
    """Check model and task; return what `try_model` does."""
    check_model(model, deterministic=deterministic)
    number_dropouts(model)
    wanted = task.num_outputs(graph)
    found = try_model(model, graph, num_layers, wanted, deterministic=deterministic)
    try_task(task, graph, targets, found[1])
    return found


def try_model(
    model: torch.nn.Module,
    graph: Graph,
    num_layers: int,
    num_outputs: int | None,
    *,
    deterministic: bool,
) -> tuple[bool, int]:
    """Run `model` on two linked nodes and check what comes out.

    Parameters
    ----------
    num_outputs : int or None
        Columns that its output must have.

    Returns
    -------
    layered : bool
        Whether the model can be evaluated layer by layer: it has a method
        ``layer(i, h, block)`` whose loop gives what ``forward`` gives.
    num_outputs : int
        Columns of what it returns.

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
            _check_output(out, num_outputs)
            return _agrees_by_layers(model, x, blocks, expected), out.shape[1]
    finally:
        model.train(training)
        torch.random.set_rng_state(generator)


def hidden_width(model: Any, graph: Graph, num_layers: int) -> int:
    """Return how wide the output is of the last layer but one, by ``layer``."""
    block, training = _two_nodes(graph.weighted), model.training
    h = torch.zeros(2, graph.num_features)
    try:
        with torch.no_grad():
            for i in range(num_layers - 1):
                h = model.eval().layer(i, h, block)
    finally:
        model.train(training)
    return int(h.shape[1])


def try_task(task: Task, graph: Graph, targets: Targets, num_outputs: int) -> None:
    """Give `task` made-up outputs of some of its targets and check what it returns.

    Parameters
    ----------
    targets : Targets
        A few of the training targets, expanded.
    num_outputs : int
        Columns of the model's output.

    Raises
    ------
    InputError
        In one line: which method fails, or what it returned and what is expected.
    """
    name = type(task).__name__
    nodes, rows = distinct_nodes(targets.in_order())
    tables = {name: _some_labels(graph, len(nodes)) for name in task.tables}
    batch = batch_of(rows, len(nodes), tables, len(targets))
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(len(nodes), num_outputs, generator=generator).requires_grad_()
    _try_loss(f"{name}.loss(h, batch)", task, h, batch)
    found = _try(f"{name}.partial(h, batch)", task.partial, CPU.array(h), batch)
    total = _try(f"{name}.merge(left, right)", task.merge, found, found)
    try:
        scores = task.score(total)
    except InputError:
        return  # of what is scored, which here is made up
    except Exception as error:
        raise failed(f"{name}.score(total)", error) from error
    metric = task.metric(graph)
    if not isinstance(scores, dict) or not isinstance(
        scores.get(metric), float | int | np.number
    ):
        raise InputError(
            f"{name}.score(total) returned {scores!r}, expected a dict with a number "
            f"for {metric!r}, which {name}.metric(graph) names"
        )


def _try_loss(name: str, task: Task, h: torch.Tensor, batch: TargetBatch) -> None:
    before = torch.random.get_rng_state()
    loss = _try(name, task.loss, h, batch.as_tensors(CPU.tensor))
    drew = not torch.equal(before, torch.random.get_rng_state())
    torch.random.set_rng_state(before)
    if drew:
        raise InputError(
            f"{name} drew from torch's generator: take draws in expand(targets, key)"
        )
    if not isinstance(loss, torch.Tensor) or loss.shape != ():
        tensor = isinstance(loss, torch.Tensor)
        shape = tuple(loss.shape) if tensor else type(loss).__name__
        raise InputError(
            f"{name} returned {shape} for {len(batch.rows)} targets, expected their "
            "sum, a tensor of shape (): end it with .sum()"
        )
    if not loss.requires_grad:
        raise InputError(
            f"{name} returned a tensor without a gradient, expected one computed from "
            "h by torch"
        )
    (gradient,) = torch.autograd.grad(loss, h, allow_unused=True)
    if gradient is None or not (loss.isfinite() and gradient.isfinite().all()):
        raise InputError(
            f"{name} returned {loss.item()} for outputs near 0, expected a finite loss "
            "with a finite gradient by h"
        )


def _try(name: str, function: Callable[..., Any], *given: Any) -> Any:
    try:
        return function(*given)
    except Exception as error:
        raise failed(name, error) from error


def _some_labels(graph: Graph, count: int) -> np.ndarray:
    """Return made-up labels of the graph's kind, of at least two classes if it can."""
    assert graph.labels is not None
    labels = np.zeros((count, *graph.labels.shape[1:]), graph.labels.dtype)
    labels[1::2] = min(1, max(graph.num_classes - 1, graph.labels.ndim - 1))
    return labels


def _call(function: Callable[..., Any], name: str, x: torch.Tensor, *rest: Any) -> Any:
    """Call the model, and refuse it if it fails or writes into its input."""
    before = x.clone()
    try:
        out = function(x, *rest)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"the model's {name} fails on x of shape {tuple(x.shape)}: "
            f"{type(error).__name__}: {first_line(error)}"
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


def _check_output(out: Any, columns: int | None) -> None:
    wanted = (2, columns)
    if isinstance(out, torch.Tensor) and out.ndim == 2 and columns is None:
        wanted = (2, out.shape[1])
    if not isinstance(out, torch.Tensor) or out.shape != wanted:
        shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out)
        hint = "" if columns is None else f": set out_channels={columns}"
        raise ModelError(
            f"the model returns {shape} for 2 seeds, expected {wanted}{hint}"
        )


def _two_nodes(weighted: bool) -> Block:
    weight = np.ones(2, np.float32) if weighted else None
    return Block.from_csr(np.arange(3), np.array([1, 0]), weight)
