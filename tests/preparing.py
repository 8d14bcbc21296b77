"""Edges to prepare stores of, and stores to compare."""

import gzip
import json
from pathlib import Path

import numpy as np
import zarr


def arrays(path) -> dict[str, np.ndarray]:
    """Every array of a store."""
    group = zarr.open_group(path, mode="r")
    return {
        name: a[...]
        for name, a in group.members(max_depth=None)
        if a.path and hasattr(a, "shape")
    }


def assert_same_store(found, expected) -> None:
    """Compare all arrays, and all that is said of them."""
    left, right = arrays(found), arrays(expected)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype, name
        np.testing.assert_array_equal(left[name], right[name], name)
    said = [json.loads(Path(p, "zarr.json").read_text()) for p in (found, expected)]
    assert said[0]["attributes"] == said[1]["attributes"]


def edge_list(path, num_edges=4000, num_nodes=300, ids=str, seed=0):
    """Write edges with repeats, reverses and self-loops, and weights."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, num_nodes, (num_edges, 2))
    ends[:40, 1] = ends[:40, 0]
    weights = rng.random(num_edges).round(3)
    lines = [
        f"{ids(u)},{ids(v)},{w}"
        for (u, v), w in zip(ends.tolist(), weights, strict=True)
    ]
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        file.write("source,target,weight\n" + "\n".join(lines) + "\n")
    return path
