"""A trained model in a file, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from daskgnn.errors import ModelError
from daskgnn.nn import GAT, GCN, GraphSAGE
from daskgnn.nn.device import CPU
from daskgnn.train.compute.program import copied
from daskgnn.train.compute.state import hash_parameters, write_weights
from daskgnn.train.persist.modelfile import read_model_file, write_model_file
from daskgnn.version import __version__

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from daskgnn.train.compute.state import Weights
    from daskgnn.train.results import TrainResults

FORMAT, FORMAT_VERSION = "daskgnn model", 1

_MODELS = {cls.__name__: cls for cls in (GraphSAGE, GCN, GAT)}
"""Those that a file says how to make."""


def save_model(trainer: TrainResults, path: str | os.PathLike[str]) -> Path:
    """Write a trainer's model with its best weights: see `Trainer.save`.

    Raises
    ------
    InputError
        If the path names no kind of file.
    ModelError
        If a buffer has a type that a file cannot hold.
    """
    model = copied(trainer.model)
    weights = trainer.given.best_weights(trainer.run_state)
    write_weights(model, weights)
    arrays = {}
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, torch.Tensor) or tensor.dtype not in _KINDS:
            kind = getattr(tensor, "dtype", type(tensor).__name__)
            raise ModelError(
                f"{name!r} of {type(model).__name__} is {kind}, which the file cannot "
                "hold: make it a tensor of float32 or int64"
            )
        arrays[name] = CPU.array(tensor.contiguous())
    return write_model_file(path, arrays, _described(trainer, weights))


_KINDS = {
    *(torch.float64, torch.float32, torch.float16, torch.bool, torch.uint8),
    *(torch.int64, torch.int32, torch.int16, torch.int8),
}


def _described(trainer: TrainResults, weights: Weights) -> dict[str, Any]:
    """Return what is said of a trainer's model."""
    model, graph, options = trainer.model, trainer.graph, trainer.options
    known = type(model) in _MODELS.values()
    run_state = trainer.run_state
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "daskgnn": __version__,
        "model": type(model).__name__,
        "arguments": model.arguments if known else None,
        "layers": repr(model),
        "params_sha256": hash_parameters(weights.parameters),
        "graph": {
            "name": graph.name,
            "graph_hash": graph.graph_hash,
            "num_features": graph.num_features,
            "num_classes": graph.num_classes,
        },
        "training": {
            "normalize_features": options["normalize_features"],
            "num_neighbors": options["num_neighbors"],
            "epochs": run_state.position.epoch,
            "best_epoch": run_state.best and run_state.best.epoch,
            "metric": trainer.task.metric(graph),
        },
    }


def load_model(
    path: str | os.PathLike[str], model: torch.nn.Module | None = None
) -> torch.nn.Module:
    """Return a model that `Trainer.save` has written, ready to predict.

    No code is taken from the file, and no pickle is read.

    Parameters
    ----------
    path : str or path
        The file, ``.npz`` or ``.safetensors``.
    model : torch.nn.Module, optional
        For a class of your own: a model made with the same arguments, whose parameters
        and buffers are set. `GraphSAGE`, `GCN` and `GAT` are made here.

    Returns
    -------
    torch.nn.Module
        The model in evaluation mode. Its attribute `trained` is a dict of what the file
        says of it; features must be as they were in training, so see
        ``model.trained["training"]["normalize_features"]``.

    Raises
    ------
    InputError
        If there is no such file, or it is damaged.
    ModelError
        If the model is needed and not given, or has other parameters.

    Examples
    --------
    >>> import os, tempfile
    >>> import daskgnn
    >>> graph = daskgnn.open_graph(daskgnn.load_dataset("karate").partition())
    >>> model = daskgnn.nn.GraphSAGE(graph.num_features, 16, graph.num_classes)
    >>> trainer = daskgnn.Trainer(model, graph, num_neighbors=[10, 5], client=None)
    >>> _ = trainer.fit(2)
    >>> path = trainer.save(os.path.join(tempfile.mkdtemp(), "model.npz"))
    >>> again = daskgnn.load_model(path)
    >>> again.trained["model"], again.num_layers, again.training
    ('GraphSAGE', 2, False)
    """
    arrays, description = read_model_file(path)
    _check_description(path, description)
    if model is None:
        model = _made(path, description)
    tensors = {name: CPU.copy(array) for name, array in arrays.items()}
    _check_tensors(path, model, tensors)
    model.load_state_dict(tensors)
    trained: Any = description
    model.trained = trained
    return model.eval()


def _check_description(path: Any, said: Any) -> None:
    """Refuse a file of something else, or of a later version."""
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise ModelError(f"{path} holds no model of daskgnn")
    if said["format_version"] > FORMAT_VERSION:
        raise ModelError(
            f"{path} has format {said['format_version']}, this daskgnn reads up to "
            f"{FORMAT_VERSION}: upgrade daskgnn"
        )


def _made(path: Any, said: dict[str, Any]) -> torch.nn.Module:
    """Return a model of an included class, with parameters still to be set."""
    name, arguments = said["model"], said["arguments"]
    if arguments is None or name not in _MODELS:
        raise ModelError(
            f"{path} is of a class of your own, {name}: make one and pass it, "
            f"load_model(path, model={name}(...))"
        )
    with torch.random.fork_rng(devices=[]):
        made: torch.nn.Module = _MODELS[name](**arguments)
    return made


def _check_tensors(
    path: Any, model: torch.nn.Module, tensors: dict[str, torch.Tensor]
) -> None:
    """Refuse parameters and buffers that are not those of the model."""
    own = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in tensors.items()}
    for name in own | found:
        if own.get(name) != found.get(name):
            raise ModelError(
                f"{path} has {_shape(found, name)}, the {type(model).__name__} has "
                f"{_shape(own, name)}: make it with the arguments it was trained with"
            )


def _shape(shapes: dict[str, tuple[int, ...]], name: str) -> str:
    return f"{name} {list(shapes[name])}" if name in shapes else f"no {name}"
