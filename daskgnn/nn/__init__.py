"""Models: plain torch over blocks."""

from daskgnn.nn.block import Block
from daskgnn.nn.check import check_model, pure_step
from daskgnn.nn.conv import GATConv, GCNConv, SAGEConv
from daskgnn.nn.counted import Draws, DropPath, SampleDropout, number_draws
from daskgnn.nn.dropout import Dropout, number_dropouts
from daskgnn.nn.models import GAT, GCN, GraphSAGE
from daskgnn.nn.sparse import SparseRows

__all__ = [
    "GAT",
    "GCN",
    "Block",
    "Draws",
    "DropPath",
    "Dropout",
    "GATConv",
    "GCNConv",
    "GraphSAGE",
    "SAGEConv",
    "SampleDropout",
    "SparseRows",
    "check_model",
    "number_draws",
    "number_dropouts",
    "pure_step",
]
