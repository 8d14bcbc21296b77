"""Graphs in stores, in memory and as Dask arrays."""
