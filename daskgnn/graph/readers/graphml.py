"""GraphML, read element by element."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.identify import WordIds
from daskgnn.graph.edges.inputfiles import BROKEN, opened
from daskgnn.graph.memory.checks import SPLITS
from daskgnn.graph.readers.build import begin, build_graph
from daskgnn.graph.readers.spellings import split_columns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from daskgnn.graph.memory.data import GraphData

_CHUNK = 1 << 16
_REFUSED = ("hyperedge", "port")
_BROKEN = (ElementTree.ParseError, LookupError, ValueError, *BROKEN)
"""What a file that is no XML raises while it is read."""
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_TYPES: dict[str, Any] = {
    "boolean": lambda text: _BOOLEANS[text.lower()],
    **dict.fromkeys(("int", "long", "integer", "short"), int),
    **dict.fromkeys(("float", "double", "real"), float),
}


def read_graphml(path: Any, *, weight: str | None = None, **options: Any) -> GraphData:
    """Read a graph from a GraphML file, which may be compressed.

    Nodes are numbered in the order of the file; `GraphData.node_ids` has the ids of the
    file. Node attributes are the columns of a table of nodes: name them by `features`,
    `labels`, `train`, `val` and `test`. "split", or "train", "val" and "test", are
    taken by themselves.

    Parameters
    ----------
    path : str or path
        The file.
    weight : str, optional
        Name of the edge attribute with the weights.
    **options : dict
        Arguments of `read_edge_list` beyond `header`; `directed` is by default what the
        file says.

    Returns
    -------
    GraphData
        The checked graph.

    Raises
    ------
    DatasetError
        If the file is missing or no XML.
    GraphFormatError
        If it has hyperedges or ports, or lacks an attribute; as `from_edge_index`.

    Examples
    --------
    >>> import os, tempfile
    >>> import networkx as nx
    >>> import daskgnn
    >>> path = os.path.join(tempfile.mkdtemp(), "path.graphml")
    >>> nx.write_graphml(nx.path_graph(4), path)
    >>> daskgnn.read_graphml(path)
    GraphData('path', 4 nodes, 6 edges, 0 features, 0 classes)
    """
    said = options.pop("directed", None)
    reading = begin(path, options, single="GraphML")
    found = _GraphML(reading.files[0], weight)
    spool = reading.collect(found.chunks, weighted=weight is not None)
    build = reading.options
    build.directed = found.directed if said is None else bool(said)
    if build.nodes is None:
        build.nodes = found.table(build)
    return build_graph(spool, build, found.names)


class _GraphML:
    """What was read so far."""

    def __init__(self, path: Path, weight: str | None) -> None:
        self.path, self.weight, self.directed = path, weight, False
        self._numbers: dict[str, int] = {}
        self._attributes: list[dict[str, Any]] = []
        self._keys: dict[str, tuple[str, str, Any, str]] = {}
        self._graphs = 0
        self._open: list[ElementTree.Element] = []
        self._ends = array("q")
        self._weights = array("d")

    @property
    def names(self) -> WordIds:
        """The ids of nodes by number."""
        found = WordIds()
        found.number(list(self._numbers))
        return found

    def chunks(self, path: Path, bar: Any) -> Iterator[list[np.ndarray]]:
        """Yield the edges of the file."""
        with opened(path, "is not GraphML", _BROKEN) as (raw, text):
            for event, element in ElementTree.iterparse(text, ("start", "end")):
                self._take(event, element)
                if len(self._ends) >= 2 * _CHUNK:
                    bar.update(raw.tell() - bar.n)
                    yield self._flush()
        yield self._flush()
        if not self._graphs:
            raise self._wrong("no graph", "one")
        if len(self._numbers) > len(self._attributes):
            name = list(self._numbers)[len(self._attributes)]
            raise self._wrong(f"an edge of node {name!r} that is not there", "a node")

    def _take(self, event: str, element: ElementTree.Element) -> None:
        """Look at one element's start or end."""
        tag = element.tag.rpartition("}")[2]
        if event == "start":
            self._open.append(element)
            if tag == "graph":
                self._begin(element)
            return
        self._open.pop()
        if tag in _REFUSED:
            raise self._wrong(f"a {tag}", "a graph of nodes and edges alone")
        if tag == "key":
            self._key(element)
        elif tag == "node":
            self._node(element)
        elif tag == "edge":
            self._edge(element)
        if tag in ("node", "edge", "key", "graph") and self._open:
            # Elements are cleared when read, or the whole tree would stay in memory.
            self._open[-1].remove(element)

    def _wrong(self, what: str, expected: str) -> GraphFormatError:
        return GraphFormatError(f"{self.path} has {what}, expected {expected}")

    def _begin(self, element: ElementTree.Element) -> None:
        self._graphs += 1
        if self._graphs > 1:
            raise self._wrong("more than one graph", "one, without nested ones")
        self.directed = element.get("edgedefault") == "directed"

    def _key(self, element: ElementTree.Element) -> None:
        """Note an attribute's name, type and default."""
        key, kind = element.get("id", ""), element.get("attr.type", "string")
        default = next((c.text for c in element if c.tag.endswith("default")), None)
        name = element.get("attr.name", key)
        value = None if default is None else self._value(kind, default)
        self._keys[key] = (name, kind, value, element.get("for", "all"))

    def _value(self, kind: str, text: str | None) -> Any:
        """Return an attribute's value in its type, or None where there is none."""
        text = (text or "").strip()
        if not text:
            return None  # not given
        try:
            return _TYPES.get(kind, str)(text)
        except (ValueError, KeyError):
            raise self._wrong(f"the {kind} {text!r}", f"a {kind}") from None

    def _data(self, element: ElementTree.Element, domain: str) -> dict[str, Any]:
        """Return an element's attributes by name, defaults included."""
        found = {
            name: default
            for name, _, default, what in self._keys.values()
            if default is not None and what in (domain, "all")
        }
        for child in element:
            if not child.tag.endswith("data"):
                continue
            key = child.get("key", "")
            if key not in self._keys:
                raise self._wrong(f"data of key {key!r}", "a key that is declared")
            name, kind, *_ = self._keys[key]
            found[name] = self._value(kind, child.text)
        return {name: value for name, value in found.items() if value is not None}

    def _node(self, element: ElementTree.Element) -> None:
        name = element.get("id")
        if name is None:
            raise self._wrong("a node without an id", "an id for each")
        number = self._number(name)
        if number < len(self._attributes):
            raise self._wrong(f"node {name!r} twice, or after its edges", "each once")
        self._attributes.append(self._data(element, "node"))

    def _number(self, name: str | None) -> int:
        """Return the number of a node's id; a new one gets the next."""
        return self._numbers.setdefault(str(name), len(self._numbers))

    def _edge(self, element: ElementTree.Element) -> None:
        ends = [element.get("source"), element.get("target")]
        if None in ends:
            raise self._wrong("an edge without source or target", "both")
        said = element.get("directed")
        if said is not None and (said in ("true", "1")) != self.directed:
            raise self._wrong("directed and undirected edges", "one kind")
        self._ends.extend(map(self._number, ends))
        if self.weight is not None:
            value = self._data(element, "edge").get(self.weight)
            if not isinstance(value, int | float):
                raise self._wrong(
                    f"an edge whose {self.weight!r} is {value!r}", "a number on each"
                )
            self._weights.append(value)

    def _flush(self) -> list[np.ndarray]:
        """Return the edges that wait."""
        ends = np.array(self._ends, np.int64).reshape(-1, 2).T.copy()
        weights = [np.array(self._weights)] if self.weight else []
        self._ends, self._weights = array("q"), array("d")
        return [*ends, *weights]

    def table(self, build: Any) -> Any:
        """Return the nodes as a table of the attributes that are asked for.

        A label may lack, where it is not given, and so may a split that nobody asked
        for; other attributes are on every node.
        """
        import pandas as pd

        asked = [build.features, build.labels, build.train, build.val, build.test]
        names: list[str] = []
        for given in asked:
            names += [given] if isinstance(given, str) else []
            if isinstance(given, list | tuple):
                names += [name for name in given if isinstance(name, str)]
        for name in names:
            lacking = sum(name not in row for row in self._attributes)
            some = name == build.labels and lacking < len(self._attributes)
            if lacking and not some:
                raise GraphFormatError(
                    f"{self.path}: {lacking} of {len(self._attributes)} nodes have no "
                    f"attribute {name!r}: give it to every node, or a default"
                )
        given = [name for name in SPLITS if getattr(build, name) is not None]
        known = {name: None for row in self._attributes for name in row}
        names += split_columns(known, given)
        ids = pd.Index(list(self._numbers), dtype=object)
        columns = {
            name: pd.Series([row.get(name) for row in self._attributes], ids, object)
            for name in dict.fromkeys(names)
        }
        frame = pd.DataFrame(columns, ids)
        frame.attrs["file"] = str(self.path)  # for messages
        return frame
