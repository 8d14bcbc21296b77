"""One batch, in plain numpy and numba: no Dask, no torch."""
