"""Graphs in databases, which several test files load."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

import daskgnn

INSTALLED = [
    name for name in ("ladybug", "duckdb") if importlib.util.find_spec(name) is not None
]
"""Databases that one process may use together; kuzu and ladybug exclude each other."""

SAMPLERS = [
    {"sampler": "neighbor:replace=true", "num_neighbors": [4, 3]},
    {"sampler": "labor", "num_neighbors": [4, 3]},
    {"sample_by": "edge_weight", "num_neighbors": [4, 3]},
    {"sample_by": "degree", "num_neighbors": [4, 3]},
    {"sampler": "fastgcn:size=64"},
    {"sampler": "ladies:size=64"},
    {"sampler": "cluster", "batch_size": None},
    {"sampler": "saint", "batch_size": None},
    {"sampler": "shadow:hops=2,fanout=3"},
]
"""Of every kind, as options of a run."""

_NASTY = "`'\"\\;{}()[]$/*->\n\t é0 MATCH DELETE -- //"


def nasty_names(count, seed=0):
    """Return distinct names of characters that mean something in queries."""
    rng = np.random.default_rng(seed)
    letters = list(_NASTY)
    words = ("".join(rng.choice(letters, rng.integers(1, 20))) for _ in range(count))
    return [f"{word}{number}" for number, word in enumerate(words)]


needs_kuzu = pytest.mark.skipif(
    importlib.util.find_spec("kuzu") is None, reason="kuzu is not installed"
)


def loaded(graph, folder, scheme):
    """Load a store or a partitioned graph into a database; return its place."""
    return daskgnn.copy_graph(graph, f"{scheme}:{folder}/g.{scheme}")


def in_own_process(script, *words):
    """Run a script that imports a database which no other test may meet."""
    ran = subprocess.run(
        [sys.executable, "-c", script, *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()
