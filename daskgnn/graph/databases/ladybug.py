"""Graphs in Ladybug, which has Kuzu's interface and a format of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskgnn.graph.databases.kuzu import KuzuDatabase
from daskgnn.graph.databases.relationships import Relationships
from daskgnn.graph.databases.source import DatabaseSource

if TYPE_CHECKING:
    from daskgnn.graph.databases.mapping import Mapping
    from daskgnn.graph.databases.tables import MappedTables
    from daskgnn.graph.sources.source import GraphSource


class LadybugDatabase(KuzuDatabase):
    """A file of Ladybug."""

    scheme = package = "ladybug"


def open_source(place: str) -> GraphSource:
    """Return the graph in a file of Ladybug."""
    return DatabaseSource(LadybugDatabase, place)


def new_database(place: str, overwrite: bool) -> LadybugDatabase:
    """Return an empty database, or one that was begun."""
    return LadybugDatabase(place, write=True, overwrite=overwrite)


def open_tables(mapping: Mapping) -> MappedTables:
    """Return what a mapping names in a file of Ladybug."""
    return Relationships(LadybugDatabase(mapping.database), mapping)
