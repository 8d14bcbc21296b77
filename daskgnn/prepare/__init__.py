"""From edges that do not fit in memory to a finished store."""
