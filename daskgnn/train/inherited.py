"""What worker processes inherit: imported once, in the process they are forked from."""

from __future__ import annotations

import distributed  # noqa: F401
import torch

import daskgnn.dataflow.evaluate
import daskgnn.dataflow.executor
import daskgnn.graph.graph
import daskgnn.nn
import daskgnn.train.program  # noqa: F401

# The first optimizer of a process imports half of torch's compiler.
torch.optim.SGD([torch.zeros(1, requires_grad=True)])
