"""Defaults of daskgnn in Dask's configuration, under the key ``gnn``."""

from __future__ import annotations

from pathlib import Path

import dask
import yaml

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Environment variable by which torch asks for huge pages; read at its first use."""

with Path(__file__).with_name("daskgnn.yaml").open() as _file:
    DEFAULTS = yaml.safe_load(_file)

dask.config.update_defaults(DEFAULTS)


def variable_of(name: str) -> str:
    """Return the environment variable of one of Dask's settings.

    Examples
    --------
    >>> variable_of("gnn.memory-share")
    'DASK_GNN__MEMORY_SHARE'
    """
    return "DASK_" + name.replace(".", "__").replace("-", "_").upper()
