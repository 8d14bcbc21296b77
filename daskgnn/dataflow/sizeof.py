"""Tell Dask how large our objects are (entry point ``dask.sizeof``)."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def register(sizeof: Any) -> None:
    """Register every array dataclass that travels between tasks."""
    from daskgnn.dataflow.step import PartGradient
    from daskgnn.graph.gcxs import register_sizeof
    from daskgnn.kernels.adjacency import AdjacencyBlock
    from daskgnn.kernels.batch import FeatureRows, PreparedWindow
    from daskgnn.kernels.halo import Halo, WholePart
    from daskgnn.kernels.hops import Request, Rows, WindowNodes

    kinds = (
        AdjacencyBlock,
        FeatureRows,
        Halo,
        PartGradient,
        PreparedWindow,
        Request,
        Rows,
        WholePart,
        WindowNodes,
    )
    for kind in kinds:
        sizeof.register(kind)(array_bytes)
    register_sizeof(sizeof)


def array_bytes(value: Any) -> int:
    """Return the bytes of the arrays in (nested) dataclasses, tuples and dicts."""
    if isinstance(value, np.ndarray):
        # A broadcast array holds one number.
        return int(value.nbytes) if value.base is None or any(value.strides) else 8
    if is_dataclass(value):
        return 64 + sum(array_bytes(getattr(value, f.name)) for f in fields(value))
    if isinstance(value, dict):
        return sum(array_bytes(v) for v in value.values())
    if isinstance(value, tuple | list):
        return sum(array_bytes(v) for v in value)
    return 32
