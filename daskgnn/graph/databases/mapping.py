"""What a YAML file says of a database that somebody else has filled."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import yaml

from daskgnn.errors import InputError, first_line
from daskgnn.paths import absolute_path

_EXAMPLE = "nodes: Paper"


@dataclass(frozen=True)
class Mapping:
    """Which tables and properties of a database are the graph."""

    database: str
    """Where it is, as in "ladybug:papers.lbug"; a path is relative to the file."""
    nodes: str
    """Label of the nodes."""
    edges: tuple[str, ...]
    """Types of the relationships that are edges."""
    features: tuple[str, ...]
    """Properties that are features: numbers, or one list of numbers or of bytes."""
    label: str = ""
    """Property that is the label: a whole number, or a word."""
    split: str = ""
    """Property that says which split a node is in: "train", "val" or "test"."""
    time: str = ""
    """Property that is the time of a node: a whole number, a date or a timestamp."""
    val_from: int | None = None
    """With `time` and without `split`: nodes before it are for training."""
    test_from: int | None = None
    """Nodes from this time on are for testing."""
    weight: str = ""
    """Property of the relationships that is the weight of an edge."""
    key: str = ""
    """Property that nodes are found by; by default the primary key."""
    source: str = "source"
    """In DuckDB, the column of tables of edges that has the key of where one begins."""
    target: str = "target"
    """That of where it ends."""
    directed: bool = False
    """Whether an edge is only what its relationship points to."""
    name: str = "graph"
    """Name of the graph in reports."""
    method: str = "hash"
    """The partitioner: hash and range need no edges, others read them all."""
    num_clusters: int | None = None
    """Clusters of nodes, which are joined to parts later."""
    seed: int = 0
    """Of the partitioner."""
    path: str = field(default="", kw_only=True)
    """Of the file."""

    @property
    def properties(self) -> list[str]:
        """Properties of the nodes that are named."""
        named = [*self.features, self.label, self.split, self.time]
        return [name for name in named if name]

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables of the graph."""
        known = {"labels": self.label, "time": self.time}
        return "features", "original_ids", *(name for name in known if known[name])

    @property
    def split_by_time(self) -> bool:
        """Whether the splits follow from times."""
        return self.val_from is not None

    @property
    def side_file(self) -> str:
        """Path of what was computed of the database."""
        return f"{self.path}.npz"

    def digest(self, content: str) -> str:
        """Identify the mapping of a database's content."""
        said = json.dumps({**asdict(self), "path": "", "content": content})
        return hashlib.sha256(said.encode()).hexdigest()


def read_mapping(path: str | os.PathLike[str]) -> Mapping:
    """Read a mapping.

    Raises
    ------
    InputError
        If it cannot be read, lacks something, or has what is unknown.
    """
    absolute = absolute_path(path)
    try:
        with open(absolute, encoding="utf-8") as stream:
            found = yaml.safe_load(stream)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is no mapping, expected lines such as '{_EXAMPLE}'")
    known = {f.name: f for f in fields(Mapping) if f.name != "path"}
    for name in found:
        if name not in known:
            words = ", ".join(known)
            raise InputError(f"{path}: {name!r} is unknown, expected one of {words}")
    for name in ("database", "nodes", "edges", "features"):
        if not found.get(name):
            raise InputError(f"{path}: {name!r} is missing, as in '{_EXAMPLE}'")
    for name in ("edges", "features"):
        given = found[name]
        found[name] = tuple(given) if isinstance(given, list) else (given,)
    for name, value in found.items():
        _check_kind(str(path), name, value)
    scheme, _, place = found["database"].partition(":")
    if not os.path.isabs(place):  # the address of a server begins with // here
        place = os.path.join(os.path.dirname(absolute), place)
    found["database"] = f"{scheme}:{place}"
    _check_times(str(path), found)
    return Mapping(**found, path=absolute)


def _check_times(path: str, found: dict[str, Any]) -> None:
    """Refuse splits by time without times, or beside other splits."""
    bounds = [found.get(name) for name in ("val_from", "test_from")]
    if bounds == [None, None]:
        return
    if None in bounds or not found.get("time") or found.get("split"):
        raise InputError(
            f"{path}: val_from and test_from split the nodes by their time: give both "
            "and 'time', and leave 'split' out"
        )


def _check_kind(path: str, name: str, value: Any) -> None:
    """Refuse a value of another kind than its default."""
    ints = ("seed", "num_clusters", "val_from", "test_from")
    kinds = {"directed": bool, **dict.fromkeys(ints, int)}
    words = value if isinstance(value, tuple) else (value,)
    kind = kinds.get(name, str)
    if not all(isinstance(word, kind) for word in words):
        raise InputError(
            f"{path}: {name} is {value!r}, expected {kind.__name__}: put a name in "
            "quotes if it looks like a number"
        )
