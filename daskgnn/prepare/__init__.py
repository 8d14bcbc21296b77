"""From edges that do not fit in memory to a finished store."""

from daskgnn.prepare.stages import prepare

__all__ = ["prepare"]
