"""Description of the cluster on which a run is resumed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from daskgnn.cluster.tls import Encryption


@dataclass(frozen=True)
class ClusterSpec:
    """The cluster on which a run is resumed, as far as it was given."""

    workers: int | None
    scheduler: str | None
    given: Encryption | None
    memory_limit: str | None = None
    """Of each worker that is started."""

    @property
    def encryption(self) -> Encryption:
        """How connections are encrypted."""
        return self.given or Encryption()

    @property
    def is_given(self) -> bool:
        """Whether it was said where the run is to be resumed."""
        return self.workers is not None or self.scheduler is not None

    def or_as_before(self, settings: dict[str, Any]) -> ClusterSpec:
        """Return what was said, and what the run had where nothing was."""
        workers, scheduler, given = self.workers, self.scheduler, self.given
        limit = self.memory_limit
        if not self.is_given:
            workers, scheduler = settings["workers"], settings["scheduler"]
        if limit is None and scheduler is None and workers != 0:
            limit = settings.get("memory_limit")
        if not given:
            given = Encryption.of(settings)
            if scheduler is not None:
                given = replace(given, tls=None)
        return ClusterSpec(workers, scheduler, given, limit)
