"""Try a model and a task on a graph of a few nodes before training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from daskgnn.errors import InputError, ModelError, first_line
from daskgnn.kernels.targets import distinct_nodes
from daskgnn.nn import Block, check_model, number_dropouts, pure_step
from daskgnn.nn.batchnorm import BatchNorms
from daskgnn.nn.blockarrays import BlockArrays
from daskgnn.nn.device import CPU
from daskgnn.nn.ops import plain_operations
from daskgnn.nn.sparse import SparseRows
from daskgnn.seams import failed
from daskgnn.tasks.task import batch_of, twice
from daskgnn.train.compute.program import Trial, copied

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
    sparse_features: bool = False,
) -> Trial:
    """Check model and task; return what `try_model` does."""
    check_model(model, deterministic=deterministic)
    number_dropouts(model)
    wanted = task.num_outputs(graph)
    how = {"deterministic": deterministic, "sparse_features": sparse_features}
    found = try_model(model, graph, num_layers, wanted, **how)
    try_task(task, graph, targets, found.num_outputs)
    return found


def try_model(
    model: torch.nn.Module,
    graph: Graph,
    num_layers: int,
    num_outputs: int | None,
    *,
    deterministic: bool,
    sparse_features: bool = False,
) -> Trial:
    """Run a copy of `model` on two seeds and check what comes out.

    Parameters
    ----------
    num_outputs : int or None
        Columns that its output must have.
    sparse_features
        Whether it is given `daskgnn.nn.SparseRows`.

    Raises
    ------
    ModelError
        If the forward pass fails, returns another shape than (seeds, classes), or
        changes its input in place; changes a buffer that is no state; or (with
        `deterministic`) drew from torch's generator.
    """
    x, blocks = _two_seeds(graph, num_layers, sparse=sparse_features)
    model = copied(model).train()
    norms = BatchNorms(model)
    norms.watch()
    with torch.random.fork_rng(devices=[]), plain_operations():
        with pure_step(model, deterministic):
            norms.begin()
            out = _outputs(model, graph, x, blocks, num_outputs)
            calls = norms.calls()
        unused = _without_gradient(model, out)
        with torch.no_grad():
            expected = _call(model.eval(), "forward(x, blocks)", x, blocks)
            layered = _agrees_by_layers(model, x, blocks, expected)
    return Trial(layered, out.shape[1], calls, unused)


def takes_sparse_rows(model: torch.nn.Module, graph: Graph, num_layers: int) -> None:
    """Run a copy of `model` on sparse rows of two seeds.

    Raises
    ------
    DenseRowsNeeded
        If it needs dense ones.
    """
    x, blocks = _two_seeds(graph, num_layers, sparse=True)
    number_dropouts(model)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), plain_operations():
        copied(model).train()(x, blocks)


def _without_gradient(model: torch.nn.Module, out: torch.Tensor) -> tuple[int, ...]:
    """Return the numbers of trained parameters on which an output does not depend."""
    numbered = list(enumerate(model.parameters()))
    trained = [(i, p) for i, p in numbered if p.requires_grad]
    if not out.requires_grad:
        raise ModelError(
            f"what {type(model).__name__} returns does not depend on its trained "
            "parameters: compute it without torch.no_grad() and .detach()"
        )
    grads = torch.autograd.grad(out.sum(), [p for _, p in trained], allow_unused=True)
    pairs = zip(trained, grads, strict=True)
    return tuple(i for (i, _), gradient in pairs if gradient is None)


def hidden_width(model: Any, graph: Graph, num_layers: int) -> int:
    """Return how wide the output is of the last layer but one, by ``layer``."""
    h, blocks = _two_seeds(graph, num_layers)
    model = copied(model).eval()
    with torch.no_grad():
        for i, block in enumerate(blocks[:-1]):
            h = model.layer(i, h, block)
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
    _try_sum(f"{name}.loss(h, batch)", task, h, batch)
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


def _try_sum(name: str, task: Task, h: torch.Tensor, batch: TargetBatch) -> None:
    """Refuse a loss that is the same for targets that are there twice."""
    once = task.loss(h, batch.as_tensors(CPU.tensor)).item()
    both, again = torch.cat([h, h]), twice(batch, len(h)).as_tensors(CPU.tensor)
    found = _try(name, task.loss, both, again).item()
    if once and abs(found - once) < 1e-5 * abs(once):
        raise InputError(
            f"{name} returned {once:g} for {len(batch.rows)} targets and for each of "
            "them twice, so it is a mean, expected their sum: end it with .sum()"
        )


def _try(name: str, function: Callable[..., Any], *given: Any) -> Any:
    try:
        return function(*given)
    except Exception as error:
        raise failed(name, error) from error


def _some_labels(graph: Graph, count: int) -> np.ndarray:
    """Return made-up labels of the graph's kind, of at least two classes if it can."""
    labels: np.ndarray = np.zeros(count, np.int64)
    if graph.multilabel:
        labels = np.zeros((count, graph.num_classes), np.float32)
    labels[1::2] = min(1, max(graph.num_classes - 1, labels.ndim - 1))
    return labels


def _call(function: Callable[..., Any], name: str, x: torch.Tensor, *rest: Any) -> Any:
    """Call the model, and refuse it if it fails or writes into its input."""
    before = None if isinstance(x, SparseRows) else x.detach().clone()
    try:
        out = function(x, *rest)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"the model's {name} fails on x of shape {tuple(x.shape)}: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    if before is not None and not torch.equal(x, before):
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


def _outputs(
    model: torch.nn.Module,
    graph: Graph,
    x: torch.Tensor,
    blocks: list[Block],
    columns: int | None,
) -> torch.Tensor:
    """Return a model's outputs; refuse what is not one row a seed, and say what it is.

    Raises
    ------
    ModelError
        It says with how many blocks the model would be right, if it is their number.
    """
    try:
        out = _call(model, "forward(x, blocks)", x, blocks)
        if isinstance(out, torch.Tensor) and out.ndim == 2 and columns is None:
            columns = out.shape[1]
        _check_output(out, columns)
    except ModelError as error:
        given = len(blocks)
        others = (given + 1, given + 2, given - 1)
        if not columns or _fits(model, graph, given, columns):
            raise
        for other in filter(None, others):
            if _fits(model, graph, other, columns):
                raise ModelError(
                    f"{error}; it would be right with {other} blocks, one a layer, and "
                    f"there are {given}, one a fan-out: give {other} fan-outs, as in "
                    f"num_neighbors={[10] * other}, or a model of {given} layers"
                ) from error
        raise
    found: torch.Tensor = out
    return found


def _check_output(out: Any, columns: int | None) -> None:
    wanted = (2, "C" if columns is None else columns)
    if isinstance(out, torch.Tensor):
        if out.shape != wanted:
            hint = f": set out_channels={columns}"
            if out.ndim == 2 and out.shape[1] == columns:
                hint = ": return rows of the last block's destinations, as block.dst(h)"
            raise ModelError(
                f"the model returns {tuple(out.shape)} for 2 seeds, expected "
                f"{wanted}{hint}"
            )
        return
    inside = dict(enumerate(out)) if isinstance(out, tuple | list) else out
    pairs = inside.items() if isinstance(inside, dict) else ()
    fits = [key for key, each in pairs if getattr(each, "shape", None) == wanted]
    advice = f", as in return out[{fits[0]!r}]" if fits else ""
    raise ModelError(
        f"the model returns {_described(out)} for 2 seeds, expected a tensor of shape "
        f"{wanted}: return the outputs alone{advice}"
    )


def _described(out: Any) -> str:
    """Return what a model has returned, in a few words."""
    if isinstance(out, torch.Tensor):
        return f"{tuple(out.shape)}"
    if isinstance(out, tuple | list):
        inside = ", ".join(map(_described, out))
        return f"a {type(out).__name__} of {len(out)} ({inside})"
    return "None" if out is None else f"a {type(out).__name__}"


def _fits(model: torch.nn.Module, graph: Graph, num_blocks: int, columns: int) -> bool:
    """Return whether a model gives the right shape with so many blocks."""
    try:
        with torch.no_grad():
            out = model(*_two_seeds(graph, num_blocks))
    except Exception:
        return False
    return isinstance(out, torch.Tensor) and out.shape == (2, columns)


def _two_seeds(
    graph: Graph, num_layers: int, *, sparse: bool = False
) -> tuple[Any, list[Block]]:
    """Return made-up rows and blocks of two seeds, and of one more node a hop."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = 2 + num_layers, graph.num_features
    x: Any = torch.randn(rows, columns, generator=generator)
    if sparse:  # all numbers, in CSR
        given = np.arange(rows + 1) * columns, np.tile(np.arange(columns), rows)
        values = CPU.array(x.flatten())
        x = SparseRows.from_csr(*given, values, num_columns=columns)
    sizes = range(1 + num_layers, 1, -1)
    return x, [_ring(num_dst, weighted=graph.weighted) for num_dst in sizes]


def _ring(num_dst: int, *, weighted: bool) -> Block:
    """Return a block of a node more than destinations, each of which has the next."""
    num_src = num_dst + 1
    arrays = BlockArrays(
        starts=np.arange(num_dst),
        ends=np.arange(num_dst) + 1,
        indices=np.arange(1, num_src, dtype=np.int32),
        ids=np.arange(num_src),
        degree=np.ones(num_src, np.int64),
        weighted_degree=np.ones(num_src, np.float32),
        weights=np.ones(num_dst, np.float32) if weighted else None,
    )
    return Block(num_src, num_dst, arrays)
