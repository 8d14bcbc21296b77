"""Graphs in Ladybug, which has Kuzu's interface and a format of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskgnn.graph.databases.kuzu import KuzuDatabase
from daskgnn.graph.databases.source import DatabaseSource

if TYPE_CHECKING:
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


def read_database(place: str) -> LadybugDatabase:
    """Return a database that somebody else has filled."""
    return LadybugDatabase(place)
