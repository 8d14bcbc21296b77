"""Names of places such as ``ladybug:cora.lbug``: which module opens which scheme."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from daskgnn.errors import InputError

if TYPE_CHECKING:
    from daskgnn.graph.databases.database import Database
    from daskgnn.graph.databases.mapping import Mapping
    from daskgnn.graph.databases.tables import MappedTables
    from daskgnn.graph.sources.source import GraphSource

_HERE = "daskgnn.graph.databases"
SCHEMES = {
    "ladybug": f"{_HERE}.ladybug",
    "kuzu": f"{_HERE}.kuzu",
    "duckdb": f"{_HERE}.duckdb",
    "mapped": f"{_HERE}.mapped",
    **dict.fromkeys(("bolt", "bolt+s", "bolt+ssc"), f"{_HERE}.bolt"),
    **dict.fromkeys(("neo4j", "neo4j+s", "neo4j+ssc"), f"{_HERE}.bolt"),
}
"""By scheme, the module that knows such places. It has ``open_source(place)``, which
returns a `GraphSource`; one that graphs are loaded into has
``new_database(place, overwrite)``, too, which returns a `Database` to write to; one
whose graphs may be of others has ``open_tables(mapping)``."""


def scheme_of(place: str | os.PathLike[str]) -> str | None:
    """Return the scheme of a place, if it is one of `SCHEMES`.

    Examples
    --------
    >>> scheme_of("ladybug:papers.lbug"), scheme_of("papers.zarr")
    ('ladybug', None)
    """
    scheme, colon, _ = os.fspath(place).partition(":")
    return scheme if colon and scheme in SCHEMES else None


def open_source(place: str) -> GraphSource:
    """Return the source of the graph at a place that has a scheme."""
    return _module(place).open_source(place)


def new_database(place: str, overwrite: bool = False) -> Database:
    """Return a database at a place that a graph can be loaded into."""
    check_database(place)
    return _module(place).new_database(place, overwrite)


def open_tables(mapping: Mapping) -> MappedTables:
    """Return what a mapping names in a database that somebody else has filled.

    Raises
    ------
    InputError
        If a mapping cannot be of such a database.
    """
    place = mapping.database
    if scheme_of(place) is None or not hasattr(_module(place), "open_tables"):
        raise InputError(
            f"{place!r} is no database that a mapping can be of: give ladybug:FILE, "
            "kuzu:FILE, duckdb:FILE or bolt://HOST/DB"
        )
    tables: MappedTables = _module(place).open_tables(mapping)
    return tables


def check_database(place: str) -> None:
    """Refuse a place that is none of a database that graphs are loaded into.

    Raises
    ------
    InputError
    """
    scheme = scheme_of(place)
    if scheme is None or not hasattr(_module(place), "new_database"):
        names = [name for name in SCHEMES if hasattr(_module(name), "new_database")]
        words = ", ".join(f"{name}:" for name in names)
        raise InputError(
            f"{place!r} names no database, expected one of {words} and where it is to "
            "be, as in ladybug:cora.lbug"
        )


def _module(place: str) -> Any:
    return import_module(SCHEMES[place.partition(":")[0]])
