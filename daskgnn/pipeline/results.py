"""What a pipeline has learned, and its checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskgnn.errors import CheckpointError, InputError
from daskgnn.pipeline.build import arrays_of, states_in
from daskgnn.pipeline.layermodel import write_states
from daskgnn.train.compute.program import copied
from daskgnn.train.compute.state import flatten, hash_parameters
from daskgnn.train.persist.checkpoint import Checkpoint

if TYPE_CHECKING:
    import torch

    from daskgnn.pipeline.cuts import Cut
    from daskgnn.pipeline.engine import Engine
    from daskgnn.pipeline.layers import Layers
    from daskgnn.pipeline.settings import PipelineSettings


class PipelineResults:
    """The part of a pipeline that tells how far it has come."""

    settings: PipelineSettings
    _model: torch.nn.Module
    _layers: Layers
    _engine: Engine | None
    _restored: Checkpoint | None

    @property
    def steps_done(self) -> int:
        """Steps done so far.

        Returns
        -------
        int
        """
        if self._engine is not None:
            return self._engine.done
        return 0 if self._restored is None else self._restored.step

    def module(self) -> torch.nn.Module:
        """Return the model with what was trained, a copy.

        Returns
        -------
        torch.nn.Module
            In evaluation.
        """
        return copied(self._written()).eval()

    @property
    def params_sha256(self) -> str:
        """SHA-256 of the float32 bytes of all parameters, in the model's order.

        Returns
        -------
        str
        """
        return hash_parameters(flatten(list(self._written().parameters())))

    def _written(self) -> torch.nn.Module:
        """Return this process's model, with the present state."""
        if self._engine is not None:
            program, states = self._engine.program, self._engine.states()
            write_states(self._layers, program, states)
        return self._model

    def checkpoint(self, **facts: Any) -> Checkpoint:
        """Return what `restore` goes on from.

        Parameters
        ----------
        **facts : object
            What else is to be kept, as JSON has it.

        Returns
        -------
        Checkpoint
            For `daskgnn.train.persist.checkpoint.save_checkpoint`.

        Raises
        ------
        CheckpointError
            Before the first step.
        """
        if self._engine is None:
            if self._restored is None:
                raise CheckpointError("nothing to keep before the first step")
            return self._restored
        arrays = arrays_of(self._engine.states())
        mine = {"step": self._engine.done, "pipeline": self._facts(), **facts}
        return Checkpoint(arrays, mine)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint, whatever number of stages or workers it is of.

        Parameters
        ----------
        checkpoint : Checkpoint
            What `checkpoint` has returned.

        Raises
        ------
        CheckpointError
            If it is of another model, or of a run with other results.
        """
        theirs = checkpoint.facts.get("pipeline")
        if not isinstance(theirs, dict):
            raise CheckpointError("the checkpoint is not one of a pipeline")
        for name, mine in self._facts().items():
            if theirs.get(name) != mine:
                raise CheckpointError(
                    f"the checkpoint is of a run with {name}={theirs.get(name)!r}, "
                    f"this one has {mine!r}"
                )
        self._restored = checkpoint
        if self._engine is not None:
            states = states_in(checkpoint, self._engine.program)
            self._engine.restore(checkpoint.step, states)

    def _facts(self) -> dict[str, Any]:
        """Return what a checkpoint must agree with."""
        shapes = [list(p.shape) for p in self._model.parameters()]
        return {**self.settings.facts(), "shapes": shapes}

    def close(self) -> None:
        """Free what workers hold of this pipeline."""
        if self._engine is not None:
            self._engine.states()
            self._engine.close()

    @property
    def cut(self) -> Cut:
        """Which layers each stage has.

        Returns
        -------
        Cut
            With ``stages``, ``bounds`` and ``layers(stage)``.

        Raises
        ------
        InputError
            Before the first batch.
        """
        if self._engine is None:
            raise InputError("where a model is cut is known from the first batch on")
        return self._engine.cut
