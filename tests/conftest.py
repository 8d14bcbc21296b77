"""Fixtures shared by all tests."""

import os
import sys
from pathlib import Path

import pytest

# Helpers beside the tests: training.py.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real data, or skip, saying so."""
    folder = os.environ.get("DASKGNN_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data is absent: set DASKGNN_DATA_DIR to its folder")
    return Path(folder)
