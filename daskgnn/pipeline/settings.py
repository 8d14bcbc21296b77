"""The settings of a pipeline, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from daskgnn.errors import InputError
from daskgnn.pipeline.schedules import SCHEDULES
from daskgnn.values import is_whole

FORMS = ("auto", "workers", "operations")
BALANCES = ("parameters", "time")
BOUNDARIES = ("float32", "bf16")


@dataclass(frozen=True)
class PipelineSettings:
    """How a model is cut and run."""

    stages: int | None
    device_map: dict[str, int] | None
    balance: str
    cut_at: tuple[str, ...]
    micro_batches: int
    schedule: str
    copies: int
    seed: int
    form: str
    recompute: bool
    boundary: str
    threads: int

    def __post_init__(self) -> None:
        for name, words in (
            ("schedule", SCHEDULES),
            ("form", FORMS),
            ("balance", BALANCES),
            ("boundary", BOUNDARIES),
        ):
            value = getattr(self, name)
            if value not in words:
                raise InputError(
                    f"{name}={value!r}, expected one of {', '.join(words)}"
                )
        for name in ("micro_batches", "copies", "threads"):
            value = getattr(self, name)
            if not is_whole(value) or value < 1:
                raise InputError(f"{name}={value!r}, expected a whole number from 1")
        if self.stages is not None and self.device_map is not None:
            raise InputError(
                "stages and device_map both say how the model is cut: give one of them"
            )
        if self.boundary == "bf16" and self.balance == "time":
            raise InputError(
                "balance='time' with boundary='bf16': rounding belongs to where the "
                "model is cut, which measured times must not decide; give "
                "balance='parameters', or a device_map"
            )

    @property
    def half(self) -> bool:
        """Whether what goes between stages is rounded to bfloat16."""
        return self.boundary == "bf16"

    def facts(self) -> dict[str, Any]:
        """Return what a checkpoint must agree with: what bits depend on."""
        names = "micro_batches", "copies", "seed", "boundary", "threads"
        return {name: getattr(self, name) for name in names}
