"""GraphML, read element by element."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from daskgnn.errors import DatasetError, GraphFormatError
from daskgnn.graph.edges.assemble import Spool, limit_bytes
from daskgnn.graph.edges.identify import WordIds
from daskgnn.graph.edges.inputfiles import BROKEN, find_files, uncompressed
from daskgnn.graph.readers.build import build_graph, progress_bar, take_options

if TYPE_CHECKING:
    from pathlib import Path

    from daskgnn.graph.memory.data import GraphData

_CHUNK = 1 << 16
_REFUSED = ("hyperedge", "port")


def read_graphml(path: Any, *, weight: str | None = None, **options: Any) -> GraphData:
    """Read a graph from a GraphML file (it may be compressed).

    Nodes are numbered in the order of the file, and ``node_ids`` holds what the file
    calls them. Attributes of nodes are columns, as of a table of nodes: name them by
    ``features``, ``labels``, ``train``, ``val`` and ``test``.

    Parameters
    ----------
    path
        The file.
    weight
        Name of the edge attribute that holds the weights.
    options
        As for ``read_edge_list``; ``directed`` is what the file says if not given.

    Raises
    ------
    DatasetError
        If the file is missing or no XML.
    GraphFormatError
        If it describes no plain graph, or as for ``from_edge_index``.
    """
    (file, *more) = find_files(path)
    if more:
        raise DatasetError(
            f"{path} matches {len(more) + 1} files, expected one GraphML"
        )
    said = options.pop("directed", None)
    build = take_options(options, file.name.partition(".")[0])
    found = _GraphML(file, weight, limit_bytes(build.memory_limit))
    try:
        # The file is opened separately from the stream: its position shows progress.
        with (
            progress_bar([file], build.progress) as bar,
            file.open("rb") as raw,
            uncompressed(file, raw) as stream,
        ):
            for event, element in ElementTree.iterparse(stream, ("start", "end")):
                found.take(event, element)
                if not found.elements % 10000:
                    bar.update(raw.tell() - bar.n)
    except (ElementTree.ParseError, LookupError, ValueError, *BROKEN) as error:
        if isinstance(error, GraphFormatError):
            raise
        raise DatasetError(f"{file} is not GraphML ({error}): get it again") from None
    found.finish()
    build.directed = found.directed if said is None else bool(said)
    if build.nodes is None:
        build.nodes = found.table(build)
    return build_graph(found.spool, build, found.names)


class _GraphML:
    """What was read so far."""

    def __init__(self, path: Path, weight: str | None, limit: int) -> None:
        self.path, self.weight, self.directed = path, weight, False
        self.names, self.elements = WordIds(), 0
        self.spool = Spool(limit // 2, weighted=weight is not None)
        self._attributes: list[dict[str, Any]] = []
        self._keys: dict[str, tuple[str, str, Any]] = {}
        self._domains: dict[str, str] = {}
        self._graphs = 0
        self._open: list[ElementTree.Element] = []
        self._ends = array("q")
        self._weights = array("f")

    def take(self, event: str, element: ElementTree.Element) -> None:
        """Look at one element's start or end."""
        tag = element.tag.rpartition("}")[2]
        if event == "start":
            self._open.append(element)
            if tag == "graph":
                self._begin(element)
            return
        self._open.pop()
        self.elements += 1
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
        self._keys[key] = (name, kind, value)
        self._domains[key] = element.get("for", "all")

    def _value(self, kind: str, text: str | None) -> Any:
        """Return an attribute's value in its type."""
        text = (text or "").strip()
        try:
            if kind == "boolean":
                return {"true": True, "1": True, "false": False, "0": False}[
                    text.lower()
                ]
            if kind in ("int", "long"):
                return int(text)
            if kind in ("float", "double"):
                return float(text)
        except (ValueError, KeyError):
            raise self._wrong(f"the {kind} {text!r}", f"a {kind}") from None
        return text

    def _data(self, element: ElementTree.Element, domain: str) -> dict[str, Any]:
        """Return an element's attributes by name, defaults included."""
        found = {
            name: default
            for key, (name, _, default) in self._keys.items()
            if default is not None and self._domains[key] in (domain, "all")
        }
        for child in element:
            if not child.tag.endswith("data"):
                continue
            key = child.get("key", "")
            if key not in self._keys:
                raise self._wrong(f"data of key {key!r}", "a key that is declared")
            name, kind, _ = self._keys[key]
            found[name] = self._value(kind, child.text)
        return found

    def _node(self, element: ElementTree.Element) -> None:
        name = element.get("id")
        if name is None:
            raise self._wrong("a node without an id", "an id for each")
        number = int(self.names.number(np.array([name], object))[0])
        if number < len(self._attributes):
            raise self._wrong(f"node {name!r} twice, or after its edges", "each once")
        self._attributes.append(self._data(element, "node"))

    def _edge(self, element: ElementTree.Element) -> None:
        ends = [element.get("source"), element.get("target")]
        if None in ends:
            raise self._wrong("an edge without source or target", "both")
        said = element.get("directed")
        if said is not None and (said in ("true", "1")) != self.directed:
            raise self._wrong("directed and undirected edges", "one kind")
        self._ends.extend(self.names.number(np.array(ends, object)).tolist())
        if self.weight is not None:
            value = self._data(element, "edge").get(self.weight)
            if not isinstance(value, int | float):
                raise self._wrong(
                    f"an edge whose {self.weight!r} is {value!r}", "a number on each"
                )
            self._weights.append(value)
        if len(self._ends) >= 2 * _CHUNK:
            self._flush()

    def _flush(self) -> None:
        """Hand edges on."""
        ends = np.array(self._ends, np.int64).reshape(-1, 2)
        weights = [np.array(self._weights, np.float32)] if self.weight else []
        self.spool.append(ends[:, 0].copy(), ends[:, 1].copy(), *weights)
        self._ends, self._weights = array("q"), array("f")

    def finish(self) -> None:
        """Check that the file was complete."""
        self._flush()
        if not self._graphs:
            raise self._wrong("no graph", "one")
        if len(self.names) > len(self._attributes):
            name = str(self.names.words()[len(self._attributes)])
            raise self._wrong(f"an edge of node {name!r} that is not there", "a node")

    def table(self, build: Any) -> Any:
        """Return the nodes as a table of the attributes that are asked for."""
        import pandas as pd

        asked = [build.features, build.labels, build.train, build.val, build.test]
        names: list[str] = []
        for given in asked:
            names += [given] if isinstance(given, str) else []
            if isinstance(given, list | tuple):
                names += [name for name in given if isinstance(name, str)]
        for name in names:
            lacking = sum(name not in row for row in self._attributes)
            if lacking:
                raise GraphFormatError(
                    f"{self.path}: {lacking} of {len(self._attributes)} nodes have no "
                    f"attribute {name!r}: give it to every node, or a default"
                )
        columns = {name: [row[name] for row in self._attributes] for name in names}
        frame = pd.DataFrame(columns, index=range(len(self._attributes)))
        frame.insert(0, "id", self.names.words())
        return frame
