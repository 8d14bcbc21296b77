"""Graph neural network training on large graphs, as a plain Dask dataflow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from daskgnn.importing import without_collections
from daskgnn.registry import STARTED
from daskgnn.version import __version__ as __version__

if TYPE_CHECKING:
    from daskgnn import errors, nn
    from daskgnn.cluster.settings import recommended_config
    from daskgnn.errors import DaskGNNError, InputError, TrainingError
    from daskgnn.graph.copying import copy_graph
    from daskgnn.graph.datasets.datasets import load_dataset
    from daskgnn.graph.datasets.known import list_datasets
    from daskgnn.graph.datasets.ogb import from_ogb
    from daskgnn.graph.graph import Graph
    from daskgnn.graph.memory.data import GraphData
    from daskgnn.graph.opening import open_graph
    from daskgnn.graph.readers.arrays import from_dask, read_numpy
    from daskgnn.graph.readers.edgelist import read_edge_list
    from daskgnn.graph.readers.graphml import read_graphml
    from daskgnn.graph.readers.matrixmarket import read_matrix_market
    from daskgnn.graph.readers.memory import (
        from_edge_index,
        from_scipy,
        read_npz,
    )
    from daskgnn.graph.readers.networkx import from_networkx
    from daskgnn.graph.readers.parquet import read_parquet
    from daskgnn.graph.readers.pyg import from_pyg
    from daskgnn.graph.sources.schema import GraphSchema
    from daskgnn.graph.sources.source import GraphSource
    from daskgnn.graph.validate import validate
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.monitor.callback import Callback
    from daskgnn.train.minibatches import Minibatch, Minibatches
    from daskgnn.train.persist.history import History
    from daskgnn.train.savedmodel import load_model
    from daskgnn.train.trainer import Trainer

# Imported when first used: a command's --help does not wait for torch.
_NAMES = {
    "cluster.settings": "recommended_config",
    "errors": "DaskGNNError InputError TrainingError",
    "graph.copying": "copy_graph",
    "graph.datasets.datasets": "load_dataset",
    "graph.datasets.known": "list_datasets",
    "graph.datasets.ogb": "from_ogb",
    "graph.graph": "Graph",
    "graph.memory.data": "GraphData",
    "graph.opening": "open_graph",
    "graph.readers.arrays": "from_dask read_numpy",
    "graph.readers.edgelist": "read_edge_list",
    "graph.readers.graphml": "read_graphml",
    "graph.readers.matrixmarket": "read_matrix_market",
    "graph.readers.memory": "from_edge_index from_scipy read_npz",
    "graph.readers.networkx": "from_networkx",
    "graph.readers.parquet": "read_parquet",
    "graph.readers.pyg": "from_pyg",
    "graph.sources.schema": "GraphSchema",
    "graph.sources.source": "GraphSource",
    "graph.validate": "validate",
    "kernels.adjacency": "AdjacencyBlock",
    "monitor.callback": "Callback",
    "train.minibatches": "Minibatch Minibatches",
    "train.persist.history": "History",
    "train.savedmodel": "load_model",
    "train.trainer": "Trainer",
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}

__all__ = [
    "AdjacencyBlock",
    "Callback",
    "DaskGNNError",
    "Graph",
    "GraphData",
    "GraphSchema",
    "GraphSource",
    "History",
    "InputError",
    "Minibatch",
    "Minibatches",
    "Trainer",
    "TrainingError",
    "copy_graph",
    "errors",
    "from_dask",
    "from_edge_index",
    "from_networkx",
    "from_ogb",
    "from_pyg",
    "from_scipy",
    "list_datasets",
    "load_dataset",
    "load_model",
    "nn",
    "open_graph",
    "read_edge_list",
    "read_graphml",
    "read_matrix_market",
    "read_npz",
    "read_numpy",
    "read_parquet",
    "recommended_config",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name in ("errors", "nn"):
        return _imported(name)
    if name in _HOMES:
        return getattr(_imported(_HOMES[name]), name)
    raise AttributeError(f"module 'daskgnn' has no attribute {name!r}")


def _imported(name: str) -> Any:
    with without_collections():
        return import_module(f"daskgnn.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# What graphs start, although it lies in a folder above theirs.
STARTED["minibatches"] = lambda *given, **options: __getattr__("Minibatches")(
    *given, **options
)
