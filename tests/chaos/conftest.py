"""What an undisturbed run makes of the graph of all trials."""

import functools

import pytest
from faults import undisturbed


@pytest.fixture(scope="session")
def expected(path):
    """Return a function of epochs: the facts of a run that nothing disturbs."""
    return functools.cache(functools.partial(undisturbed, path))
