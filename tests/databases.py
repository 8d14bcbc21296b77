"""Graphs in databases, which several test files load."""

import importlib.util
import subprocess
import sys

import pytest

import daskgnn

INSTALLED = [
    name for name in ("ladybug", "duckdb") if importlib.util.find_spec(name) is not None
]
"""Databases that one process may use together; kuzu and ladybug exclude each other."""

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
