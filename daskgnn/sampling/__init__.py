"""Samplers: from the seeds of a step to the nodes and edges that its layers need."""

from daskgnn.kernels.book import PartitionBook
from daskgnn.kernels.entries import Entries, PartRows
from daskgnn.kernels.sampled import LocalRows, SampledGraph
from daskgnn.sampling.labor import LaborSampler
from daskgnn.sampling.neighbor import NeighborSampler
from daskgnn.sampling.sampler import GraphStats, Sampler, SampleSize
from daskgnn.sampling.steps import StepPlan

__all__ = [
    "Entries",
    "GraphStats",
    "LaborSampler",
    "LocalRows",
    "NeighborSampler",
    "PartRows",
    "PartitionBook",
    "SampleSize",
    "SampledGraph",
    "Sampler",
    "StepPlan",
]
