"""Models: plain torch over blocks."""

from daskgnn.nn.block import Block
from daskgnn.nn.check import check_model, pure_step
from daskgnn.nn.conv import GATConv, GCNConv, SAGEConv
from daskgnn.nn.dropout import Dropout, number_dropouts
from daskgnn.nn.models import GAT, GCN, GraphSAGE
from daskgnn.nn.sparse import SparseRows

__all__ = [
    "GAT",
    "GCN",
    "Block",
    "Dropout",
    "GATConv",
    "GCNConv",
    "GraphSAGE",
    "SAGEConv",
    "SparseRows",
    "check_model",
    "number_dropouts",
    "pure_step",
]
