"""Graphs at rest, in memory and as Dask arrays."""
