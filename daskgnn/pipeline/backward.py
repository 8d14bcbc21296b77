"""The backward pass of one layer: whole, or the gradient by its input first.

In the split form nothing is computed twice but what one node of autograd's graph
computes for both: a matrix product's or a convolution's two gradients are two products.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.graph import GradientEdge, get_gradient_edge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Gradients = "list[torch.Tensor | None]"
"""One a parameter; None where there is none."""


def backward(
    out: torch.Tensor,
    gradient: torch.Tensor,
    source: torch.Tensor | None,
    parameters: Sequence[torch.Tensor],
) -> tuple[torch.Tensor | None, list[torch.Tensor | None]]:
    """Return the gradient by a layer's input, if there is one, and by its parameters.

    Parameters
    ----------
    out, gradient : torch.Tensor
        The layer's output, and the gradient by it.
    source : torch.Tensor or None
        The layer's input, a leaf; None if nobody needs the gradient by it.
    parameters : sequence of torch.Tensor
    """
    leaves = [*parameters] if source is None else [source, *parameters]
    if not leaves or not out.requires_grad:
        return None, [None] * len(parameters)
    found: list[torch.Tensor | None] = list(
        torch.autograd.grad(out, leaves, gradient, allow_unused=True)
    )
    return (found.pop(0) if source is not None else None), found


@dataclass
class Pending:
    """What is left of a layer's backward pass: the gradients by its parameters."""

    finish: Callable[[], list[torch.Tensor | None]]
    """Returns them, once."""


@dataclass
class _Branch:
    """A node that the input's gradient passes, with parameters beside it."""

    node: Any
    parameters: set[int] = field(default_factory=set)
    """Their numbers."""
    arrived: tuple[torch.Tensor | None, ...] = ()
    """The gradients that have arrived at the node."""


def split_backward(
    out: torch.Tensor,
    gradient: torch.Tensor,
    source: torch.Tensor | None,
    parameters: Sequence[torch.Tensor],
) -> tuple[torch.Tensor | None, Pending]:
    """Return the gradient by a layer's input, and what gives the parameters' later.

    Both are the bits of `backward`. Where a parameter is used at two places, its
    gradient is computed at once: the sum's order is autograd's.
    """
    if source is None or not parameters or not out.requires_grad:
        if source is None:
            return None, Pending(lambda: backward(out, gradient, None, parameters)[1])
        by_source, _ = backward(out, gradient, source, ())
        return by_source, Pending(lambda: [None] * len(parameters))
    branches = _branches(out, source, parameters)
    if branches is None:
        by_source, found = backward(out, gradient, source, parameters)
        return by_source, Pending(lambda: found)
    hooks = [
        branch.node.register_prehook(_keeps(branch))
        for branch in branches
        if branch.node is not None
    ]
    try:
        (by_source,) = torch.autograd.grad(
            out, [source], gradient, retain_graph=True, allow_unused=True
        )
    finally:
        for hook in hooks:
            hook.remove()
    return by_source, Pending(lambda: _by_parameters(branches, parameters))


def _keeps(branch: _Branch) -> Callable[[Any], None]:
    """Return a hook that keeps what arrives at a node."""

    def keep(arrived: tuple[torch.Tensor | None, ...]) -> None:
        branch.arrived = arrived

    return keep


def _by_parameters(
    branches: list[_Branch], parameters: Sequence[torch.Tensor]
) -> list[torch.Tensor | None]:
    found: list[torch.Tensor | None] = [None] * len(parameters)
    for branch in branches:
        came = [(i, g) for i, g in enumerate(branch.arrived) if g is not None]
        if not came:
            continue
        numbers = sorted(branch.parameters)
        edges = [GradientEdge(branch.node, i) for i, _ in came]
        wanted: list[Any] = [parameters[number] for number in numbers]
        wanted += _asked_besides(branch.node)
        given = [g for _, g in came]
        # The graph is freed with the tensors: a node may serve several branches.
        got = torch.autograd.grad(
            edges, wanted, given, retain_graph=True, allow_unused=True
        )
        for number, each in zip(numbers, got, strict=False):
            found[number] = each
    return found


def _asked_besides(node: Any) -> list[GradientEdge]:
    """Return the edge to a node's input, if its gradient cannot be left out.

    Torch's GroupNorm crashes the process where channels are last in memory and only the
    gradients by scale and shift are asked for.
    """
    if node.name() != "NativeGroupNormBackward0" or node._saved_input.is_contiguous():
        return []
    return [GradientEdge(*node.next_functions[0])]


def _branches(
    out: torch.Tensor, source: torch.Tensor, parameters: Sequence[torch.Tensor]
) -> list[_Branch] | None:
    """Return the nodes where parameters join the way to the input.

    None if a parameter joins it at two of them.
    """
    root = out.grad_fn
    aim = get_gradient_edge(source).node
    leaves = {get_gradient_edge(p).node: i for i, p in enumerate(parameters)}
    order = _children_first(root)
    leads: dict[Any, bool] = {}
    below: dict[Any, frozenset[int]] = {}
    for node in order:
        children = [child for child, _ in node.next_functions if child is not None]
        leads[node] = node is aim or any(leads[child] for child in children)
        if node in leaves:
            below[node] = frozenset((leaves[node],))
        elif leads[node]:
            below[node] = frozenset()  # counted at the node itself
        else:
            below[node] = frozenset().union(*(below[child] for child in children))
    found: dict[Any, _Branch] = {}
    met: dict[int, int] = defaultdict(int)
    for node in order:
        if not leads[node]:
            continue
        for child, _ in node.next_functions:
            if child is None or leads[child]:
                continue
            for number in below[child]:
                met[number] += 1
                found.setdefault(node, _Branch(node)).parameters.add(number)
    if not leads.get(root, False) or any(count > 1 for count in met.values()):
        return None
    return list(found.values())


def _children_first(root: Any) -> list[Any]:
    """Return the nodes of autograd's graph, each after those that it leads to."""
    order: list[Any] = []
    seen: set[Any] = set()
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
            continue
        if node in seen:
            continue
        seen.add(node)
        stack.append((node, True))
        stack += [(c, False) for c, _ in node.next_functions if c is not None]
    return order
