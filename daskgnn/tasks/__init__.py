"""What is predicted: targets, losses and scores."""

from daskgnn.kernels.targets import Targets
from daskgnn.tasks.node import NodeClassification
from daskgnn.tasks.scores import Ranking
from daskgnn.tasks.task import TargetBatch, Task

__all__ = ["NodeClassification", "Ranking", "TargetBatch", "Targets", "Task"]
