"""The loop over windows that a run's options mean; the others are not imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskgnn.train.loop import TrainLoop

if TYPE_CHECKING:
    from daskgnn.train.deployment import Deployment


def loop_of(deployment: Deployment) -> type[TrainLoop]:
    """Return the loop of a deployment's run."""
    if deployment.options["device_map"] is not None:
        from daskgnn.train.staged import StagedLoop

        return StagedLoop
    if deployment.program.gradients.bound is not None:
        from daskgnn.train.server import ServerLoop

        return ServerLoop
    return TrainLoop
