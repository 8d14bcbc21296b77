"""One graph for all trials, and what an undisturbed run makes of it."""

import functools

import pytest
from faults import undisturbed
from training import planted_graph, stored


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    return stored(planted_graph(), tmp_path_factory.mktemp("graph") / "g.zarr")


@pytest.fixture(scope="session")
def expected(path):
    """Return a function of epochs: the facts of a run that nothing disturbs."""
    return functools.cache(functools.partial(undisturbed, path))
