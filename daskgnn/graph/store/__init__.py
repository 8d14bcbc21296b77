"""The Zarr store: what it holds, and how it is written and read."""
