"""The layers of a model: what its stages are made of.

A model that can be cut is a `torch.nn.Sequential`, has ``num_layers`` and ``layer(i,
x)``, as `daskgnn.nn.models.Stack` has, or is cut before modules that are named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from daskgnn.errors import ModelError, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST = "first"
"""The name of what comes before the first module that a model is cut at."""


class Layers:
    """A model's layers, in order.

    Parameters
    ----------
    model : torch.nn.Module
    cut_at : sequence of str, optional
        Names of modules, as ``"blocks.3"``: a layer begins with each of them. What is
        called before belongs to the layer ``"first"``.

    Raises
    ------
    ModelError
        If the model cannot be cut, or not there.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.pipeline.layers import Layers
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU())
    >>> layers = Layers(model)
    >>> layers.names
    ('layer.0', 'layer.1')
    >>> layers.run(0, torch.zeros(2, 4)).shape
    torch.Size([2, 8])
    """

    def __init__(self, model: torch.nn.Module, cut_at: Sequence[str] = ()) -> None:
        self.model = model
        self.pieces: list[torch.nn.Module] | None = None
        """A module a layer, where each has one."""
        self.own_names: tuple[str, ...] = ()
        """What the model calls its layers."""
        if cut_at:
            named = _cut(model, cut_at)
            self.own_names, self.pieces = tuple(named), list(named.values())
        elif isinstance(model, torch.nn.Sequential):
            self.own_names = tuple(name for name, _ in model.named_children())
            self.pieces = list(model)
        elif not (hasattr(model, "num_layers") and hasattr(model, "layer")):
            raise ModelError(
                f"{type(model).__name__} cannot be cut into stages: make it a "
                "torch.nn.Sequential, give it num_layers and layer(i, x), or name the "
                "modules that layers begin with, as in cut_at=['blocks.3', 'blocks.6']"
            )
        given: Any = model
        count = len(self.pieces) if self.pieces is not None else given.num_layers
        self.names = tuple(f"layer.{i}" for i in range(count))
        if not cut_at and self.pieces is None:
            self.own_names = self.names
        elif cut_at:
            self.names = self.own_names

    def __len__(self) -> int:
        return len(self.names)

    def run(self, number: int, x: torch.Tensor, *beside: Any) -> torch.Tensor:
        """Compute one layer.

        Parameters
        ----------
        x : torch.Tensor
            What the layer before has returned.
        beside
            What the layer takes besides, as a graph's block.

        Raises
        ------
        ModelError
            If it does not return one tensor.
        """
        if self.pieces is not None:
            out = self.pieces[number](x, *beside)
        else:
            model: Any = self.model
            out = model.layer(number, x, *beside)
        if not isinstance(out, torch.Tensor):
            raise ModelError(
                f"{self.names[number]} returns {type(out).__name__}, expected one "
                "tensor: only that goes from stage to stage"
            )
        return out

    def scope(self, number: int) -> torch.nn.Module:
        """Return the module that has all of a layer, and may have more."""
        return self.model if self.pieces is None else self.pieces[number]


def _cut(model: torch.nn.Module, cut_at: Sequence[str]) -> dict[str, torch.nn.Module]:
    """Return a model's pieces by the names of the modules that they begin with."""
    known = dict(model.named_modules())
    for name in cut_at:
        if not name or name not in known:
            raise ModelError(
                f"cut_at names {name!r}, and {type(model).__name__} has no such "
                f"module: expected names as in {_some(known)}"
            )
    graph = _traced(model, cut_at)
    nodes = [n for n in graph.nodes if n.op not in ("placeholder", "output")]
    places = [_place(nodes, name) for name in cut_at]
    if places != sorted(set(places)) or places[0] == 0:
        raise ModelError(
            f"cut_at={list(cut_at)}, expected modules in the order in which forward() "
            "calls them, without the first one"
        )
    inputs = [n for n in graph.nodes if n.op == "placeholder"]
    if len(inputs) != 1:
        raise ModelError(
            f"{type(model).__name__}.forward takes {len(inputs)} arguments, expected "
            "one tensor"
        )
    (result,) = (n.args[0] for n in graph.nodes if n.op == "output")
    pieces, source = {}, inputs[0]
    bounds = [0, *places, len(nodes)]
    for i, name in enumerate([FIRST, *cut_at]):
        mine, later = nodes[bounds[i] : bounds[i + 1]], nodes[bounds[i + 1] :]
        end = _crossing(source, mine, later, result, (*cut_at, "")[i])
        pieces[name] = _piece(model, source, mine, end)
        source = end
    return pieces


def _some(known: dict[str, Any]) -> str:
    return ", ".join(repr(name) for name in list(known)[1:6])


def _traced(model: torch.nn.Module, cut_at: Sequence[str]) -> fx.Graph:
    """Return what forward() does, down to the modules that are cut at."""

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: torch.nn.Module, name: str) -> bool:
            return not any(point.startswith(f"{name}.") for point in cut_at)

    try:
        return Tracer().trace(model)
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be cut at {', '.join(cut_at)}, because "
            f"torch.fx cannot follow its forward() ({first_line(error)}): make it a "
            "torch.nn.Sequential, or give it num_layers and layer(i, x)"
        ) from error


def _place(nodes: list[fx.Node], name: str) -> int:
    """Return the place of the first call of a module, or of one inside it."""
    for i, node in enumerate(nodes):
        called = str(node.target) if node.op == "call_module" else ""
        if called == name or called.startswith(f"{name}."):
            return i
    raise ModelError(f"cut_at names {name!r}, which forward() does not call")


def _crossing(
    source: fx.Node,
    mine: list[fx.Node],
    later: list[fx.Node],
    result: fx.Node,
    point: str,
) -> fx.Node:
    """Return the one value that goes on to the next piece.

    Raises
    ------
    ModelError
        If another one does, too: a skip connection.
    """
    if not later:
        return result
    found = []
    for node in [source, *mine]:
        users = [u for u in node.users if u in later or u.op == "output"]
        if users:
            found.append((node, users[0]))
    others = [(node, user) for node, user in found if node is not mine[-1]]
    if len(found) == 1:
        return found[0][0]
    begin, end = others[0]
    raise ModelError(
        f"the model cannot be cut at {point!r}: what {_named(begin)} returns is used "
        f"behind it by {_named(end)}, too (a skip connection); cut before "
        f"{_named(begin)} or behind {_named(end)}"
    )


def _named(node: fx.Node) -> str:
    """Return what a user calls a value's maker."""
    if node.op == "placeholder":
        return "the model's input"
    return f"'{node.target}'" if node.op == "call_module" else f"'{node.name}'"


def _piece(
    model: torch.nn.Module, source: fx.Node, mine: list[fx.Node], end: fx.Node
) -> torch.nn.Module:
    """Return a module of some nodes, from the value `source` to `end`."""
    graph = fx.Graph()
    copies = {source: graph.placeholder("x")}
    for node in mine:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[end])
    return fx.GraphModule(model, graph)
