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
    weight: str = ""
    """Property of the relationships that is the weight of an edge."""
    directed: bool = False
    """Whether an edge is only what its relationship points to."""
    name: str = "graph"
    """Name of the graph in reports."""
    method: str = "hash"
    """The partitioner: hash and range need no edges, others need them in memory."""
    num_clusters: int | None = None
    """Clusters of nodes, which are joined to parts later."""
    seed: int = 0
    """Of the partitioner."""
    path: str = field(default="", kw_only=True)
    """Of the file."""

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
    if not os.path.isabs(place):
        place = os.path.join(os.path.dirname(absolute), place)
    found["database"] = f"{scheme}:{place}"
    return Mapping(**found, path=absolute)


def _check_kind(path: str, name: str, value: Any) -> None:
    """Refuse a value of another kind than its default."""
    kinds = {"directed": bool, "seed": int, "num_clusters": int}
    words = value if isinstance(value, tuple) else (value,)
    kind = kinds.get(name, str)
    if not all(isinstance(word, kind) for word in words):
        raise InputError(
            f"{path}: {name} is {value!r}, expected {kind.__name__}: put a name in "
            "quotes if it looks like a number"
        )
