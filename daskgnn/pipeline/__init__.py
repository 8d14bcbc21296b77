"""Layers on different workers: pipelines of stages and micro-batches."""

from daskgnn.pipeline.pipeline import Pipeline
from daskgnn.pipeline.plan import MicroBatch, Span, StepResult

__all__ = ["MicroBatch", "Pipeline", "Span", "StepResult"]
