"""Samplers: from the seeds of a step to the nodes and edges that its layers need."""

from daskgnn.kernels.book import PartitionBook
from daskgnn.kernels.entries import Entries, PartRows
from daskgnn.kernels.sampled import LocalRows, SampledGraph
from daskgnn.sampling.cluster import ClusterSampler
from daskgnn.sampling.fastgcn import FastGCNSampler
from daskgnn.sampling.labor import LaborSampler
from daskgnn.sampling.ladies import LadiesSampler
from daskgnn.sampling.neighbor import NeighborSampler
from daskgnn.sampling.saint import SaintSampler
from daskgnn.sampling.sampler import Sampler
from daskgnn.sampling.shadow import ShadowSampler
from daskgnn.sampling.size import GraphStats, SampleSize
from daskgnn.sampling.steps import StepPlan

__all__ = [
    "ClusterSampler",
    "Entries",
    "FastGCNSampler",
    "GraphStats",
    "LaborSampler",
    "LadiesSampler",
    "LocalRows",
    "NeighborSampler",
    "PartRows",
    "PartitionBook",
    "SaintSampler",
    "SampleSize",
    "SampledGraph",
    "Sampler",
    "ShadowSampler",
    "StepPlan",
]
