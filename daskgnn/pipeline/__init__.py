"""Layers on different workers: pipelines of stages and micro-batches."""

from daskgnn.pipeline.pipeline import Pipeline, StepResult
from daskgnn.pipeline.plan import MicroBatch

__all__ = ["MicroBatch", "Pipeline", "StepResult"]
