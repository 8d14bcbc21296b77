"""Tell Dask how large our objects are (entry point ``dask.sizeof``)."""

from __future__ import annotations

from functools import partial
from typing import Any


def register(sizeof: Any) -> None:
    """Register our types; called while Dask itself is being imported.

    So nothing of ours is imported before Dask meets the first object of a kind.
    """
    sizeof.register_lazy("daskgnn")(partial(_register_dataclasses, sizeof))
    sizeof.register_lazy("sparse")(partial(_register_sparse, sizeof))


def _register_dataclasses(sizeof: Any) -> None:
    from daskgnn.dataflow.bundle import Bundle
    from daskgnn.dataflow.part import PartBlocks
    from daskgnn.dataflow.sampling import Message, PendingSample, Sampling
    from daskgnn.dataflow.steps.gradients import PartGradient, PartStep
    from daskgnn.dataflow.timing import Timed
    from daskgnn.kernels.record import ArrayRecord, array_bytes
    from daskgnn.kernels.sampled import SampledWindow
    from daskgnn.tasks.scores import ClassScores, Ranking
    from daskgnn.train.compute.state import TrainState, Weights

    kinds = (
        ArrayRecord,
        Bundle,
        ClassScores,
        PendingSample,
        Message,
        PartGradient,
        PartStep,
        Ranking,
        SampledWindow,
        Sampling,
        Timed,
        TrainState,
        Weights,
    )
    for kind in kinds:
        sizeof.register(kind)(array_bytes)
    sizeof.register(PartBlocks)(part_bytes)


def _register_sparse(sizeof: Any) -> None:
    from daskgnn.graph.sources.gcxs import register_sizeof

    register_sizeof(sizeof)


def part_bytes(blocks: Any) -> int:
    """Return the bytes of a part's blocks; few where another process holds them."""
    return 64 + int(blocks.nbytes)
