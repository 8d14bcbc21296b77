"""One setting: its type, default, check and documentation."""

from __future__ import annotations

import ast
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, get_args, get_origin

from daskgnn.errors import InputError
from daskgnn.train.options.absent import instead_of
from daskgnn.values import in_short, is_number, is_whole

if TYPE_CHECKING:
    import torch

OptimizerFactory: TypeAlias = (
    "Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]"
)
"""Makes an optimizer of parameters."""
SchedulerFactory: TypeAlias = "Callable[[torch.optim.Optimizer], Any]"
"""Makes a learning rate scheduler of an optimizer."""


@dataclass(frozen=True)
class Option:
    """The declaration of a setting, in addition to its name and Python type."""

    default: Any = None
    group: str = ""
    """The heading that it stands under; by default, that of the option before."""
    help: str = ""
    """A sentence, for ``--help``, the docstring and the page of options: the first
    paragraph of the field's docstring."""
    notes: str = ""
    """More, for the docstring and the page: the paragraphs after it."""
    least: float | None = None
    above: float | None = None
    below: float | None = None
    run_least: float | None = None
    """Of a run's settings, where a trainer takes less as well."""
    check: Callable[[str, Any], Any] | None = None
    """Returns the value to use, or raises `InputError`; after the type's own check."""
    kind: str = ""
    """"whole", "number", "switch", "choice", "text", "path", "numbers", "devices",
    "words", "names" (or one), "size", "name" (or a function), or "object" (of Python
    alone); by the type."""
    type_name: str = ""
    """As documented; by the type."""
    annotation: Any = None
    """The Python type."""
    words: tuple[str, ...] = ()
    """Of a choice; by the type."""
    optional: bool = False
    """Whether None can be given; by the type."""
    none: str = ""
    """A word that stands for None."""
    flag: bool | str = True
    """Whether the command line has it, or how it is written there."""
    metavar: str | None = None
    shown: str = ""
    """What ``--help`` says of the default, if not the default itself."""
    fact: bool | str = False
    """Whether a checkpoint must agree with it to be continued: as a fact of its own
    name, or as part of another fact."""
    before: Any = None
    """What runs and checkpoints without it stood at; None: at the default."""
    formerly: str = ""
    """The name that it had before, which is still understood."""

    def checked(self, name: str, value: Any) -> Any:
        """Return the value to use.

        Raises
        ------
        InputError
            In one line: what was given, and what is expected.
        """
        if self.optional and (value is None or (self.none and value == self.none)):
            return None
        if not _KINDS[self.kind][1](self, value):
            raise InputError(f"{name}={in_short(value)}, expected {self.expected}")
        if self.kind == "whole":
            value = int(value)
        return value if self.check is None else self.check(name, value)

    @property
    def expected(self) -> str:
        """What can be given, in words."""
        said = _KINDS[self.kind][0]
        if self.kind == "choice":
            said = f"one of {', '.join(map(repr, self.words))}"
        limits = {"of at least": self.least, "above": self.above, "below": self.below}
        told = [f"{w} {limit:g}" for w, limit in limits.items() if limit is not None]
        said = " ".join([said, " and ".join(told)]).strip()
        return f"{said}, or None" if self.optional else said

    def in_run(self) -> Option:
        """Return the option as one of a run's settings."""
        least = self.least if self.run_least is None else self.run_least
        return replace(self, least=least)

    def within(self, value: Any) -> bool:
        """Return whether a number is within the limits."""
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) and bool(os.fspath(value).strip())


def _is_list(value: Any) -> bool:
    # The option's own check has a better message for its content.
    return not isinstance(value, str | Mapping) and isinstance(value, Iterable)


_KINDS: dict[str, tuple[str, Callable[[Option, Any], bool]]] = {
    "whole": ("a whole number", lambda o, value: is_whole(value) and o.within(value)),
    "number": ("a number", lambda o, value: is_number(value) and o.within(value)),
    # numpy's truth values, too: numpy is not imported for them.
    "switch": ("True or False", lambda _, v: type(v).__name__ in ("bool", "bool_")),
    "choice": ("", lambda o, value: value in o.words),
    "text": ("a word", lambda _, value: isinstance(value, str)),
    "path": ("a path", lambda _, value: _is_path(value)),
    "numbers": (
        "a list of whole numbers, as in [15, 10]",
        lambda _, value: _is_list(value),
    ),
    "devices": (
        "the worker of each layer, as in [0, 0, 1]",
        lambda _, value: isinstance(value, Mapping) or _is_list(value),
    ),
    "words": ("a list of names", lambda _, value: _is_list(value)),
    "names": (
        "a name or a list of names",
        lambda _, value: isinstance(value, str) or _is_list(value),
    ),
    "size": ("bytes, as in '64 MB'", lambda _, value: not isinstance(value, bool)),
    "name": (
        "a name or a function",
        lambda _, value: isinstance(value, str) or callable(value),
    ),
    "object": ("", lambda *_: True),
}
"""What a value of a kind is, in words, and whether one is of it."""


def one_or_more(name: str, value: Any) -> list[str]:
    """Return one name or several as a list of them."""
    several = isinstance(value, Iterable) and not isinstance(value, str)
    names = list(value) if several else [value]
    if not names or not all(isinstance(word, str) and word for word in names):
        raise InputError(
            f"{name}={in_short(value)}, expected a name or a list of names"
        )
    return names


def fewest_and_most(name: str, value: Any) -> tuple[int, int]:
    """Return the fewest and the most workers."""
    try:
        least, most = (int(number) for number in value)
    except (TypeError, ValueError):
        least, most = 0, 0
    if not 1 <= least <= most:
        raise InputError(
            f"{name}={in_short(value)}, expected the fewest and the most workers, as "
            "in (1, 4)"
        )
    return least, most


def device_of_each_layer(name: str, value: Any) -> dict[str, int]:
    """Return the worker of each layer by the layer's name."""
    if isinstance(value, Mapping):
        return dict(value)
    return {f"layer.{i}": device for i, device in enumerate(value)}


def cache_bytes(name: str, value: Any) -> Any:
    """Refuse what is no size of a cache."""
    from dask.utils import parse_bytes

    try:
        size = int(parse_bytes(value))
    except (ValueError, TypeError, AttributeError):
        size = -1
    if size < 0:
        raise InputError(
            f"{name}={in_short(value)}, expected bytes, as in {name}='64 MB', or 0 for "
            "no cache"
        )
    return value


def callbacks(name: str, value: Any) -> list[Any]:
    """Return callbacks as a list."""
    from daskgnn.monitor.callback import check_callbacks

    return check_callbacks(name, value)


def trackers(name: str, value: Any) -> list[str]:
    """Return trackers as a list of words, each NAME or NAME:DIR."""
    from daskgnn.monitor.trackers import check_trackers

    return check_trackers(name, one_or_more(name, value))


_BY_TYPE: dict[frozenset[Any], tuple[str, str]] = {
    frozenset([int]): ("whole", "int"),
    frozenset([float]): ("number", "float"),
    frozenset([bool]): ("switch", "bool"),
    frozenset([str]): ("text", "str"),
    frozenset([str, Path]): ("path", "path"),
    frozenset([int, str]): ("size", "int or str"),
    frozenset([Sequence[int]]): ("numbers", "sequence of int"),
    frozenset([Sequence[str]]): ("words", "sequence of str"),
}
"""Kinds and their names in the documentation, by Python types."""


def declared(*names: type) -> dict[str, Option]:
    """Return the options of a `TypedDict`, the last of `names`, in its order.

    The others are its bases. The docstring under a field is what is said of the option.
    """
    texts: dict[str, str] = {}
    for cls in names:
        texts |= _field_docstrings(cls.__module__).get(cls.__name__, {})
    found: dict[str, Option] = {}
    group = ""
    for name, said in names[-1].__annotations__.items():
        found[name] = _typed(group, texts.get(name, ""), *get_args(said))
        group = found[name].group
    return found


@cache
def _field_docstrings(module: str) -> dict[str, dict[str, str]]:
    """Return the docstrings of a module's fields, by class and field.

    Python drops them when it compiles a module, so they are read from its source; where
    only compiled files are installed, there are none.
    """
    found: dict[str, dict[str, str]] = {}
    try:
        source = ast.parse(inspect.getsource(sys.modules[module]))
    except OSError:
        return found
    for cls in (node for node in source.body if isinstance(node, ast.ClassDef)):
        own = found.setdefault(cls.name, {})
        for field, below in pairwise(cls.body):
            match field, below:
                case ast.AnnAssign(ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                    own[name] = text
    return found


def _typed(group: str, text: str, said: Any, option: Option) -> Option:
    """Return an option with its heading, its texts, and what its Python type says."""
    members = get_args(said) if get_origin(said) in (Union, UnionType) else (said,)
    plain = [member for member in members if member is not NoneType]
    words = get_args(plain[0]) if get_origin(plain[0]) is Literal else ()
    kind, name = _BY_TYPE.get(frozenset(plain), ("object", "object"))
    if words:
        kind, name = "choice", "{" + ", ".join(f'"{word}"' for word in words) + "}"
    summary, _, notes = text.partition("\n\n")
    return replace(
        option,
        group=option.group or group,
        help=" ".join(summary.split()),
        notes=" ".join(notes.split()),
        annotation=said,
        kind=option.kind or kind,
        type_name=option.type_name or name,
        words=words,
        optional=len(plain) < len(members),
    )


def taken(
    options: Mapping[str, Option], given: Mapping[str, Any], who: str
) -> dict[str, Any]:
    """Return all options' values: what is given, checked, and defaults.

    Raises
    ------
    InputError
        If a name is none of theirs, naming the nearest, or a value cannot be used.
    """
    given = renamed(options, given, who)
    for name in given:
        if name not in options:
            instead = instead_of(name)
            meant = instead or f"did you mean {nearest(name, options)!r}?"
            raise InputError(f"{who} has no {name!r}: {meant}")
    return {
        name: option.checked(name, given[name]) if name in given else option.default
        for name, option in options.items()
    }


def renamed(
    options: Mapping[str, Option], given: Mapping[str, Any], who: str
) -> dict[str, Any]:
    """Return what is given under the present names; warn of those from before.

    Raises
    ------
    InputError
        If a setting is given under both names.
    """
    found = dict(given)
    for name, option in options.items():
        old = option.formerly
        if old not in found or old in options:
            continue
        if name in found:
            raise InputError(
                f"{who} got {old} and {name}, which are the same: omit {old}"
            )
        warnings.warn(f"{who}: {old} is now called {name}", FutureWarning, stacklevel=2)
        found[name] = found.pop(old)
    return found


def nearest(name: str, options: Mapping[str, Any]) -> str:
    """Return the name that is alike, or whose option has a help that begins so."""
    names = list(options)
    words = name.replace("_", " ").lower()
    helps = {n: getattr(options[n], "help", "").lower() for n in names}
    meant = [n for n in names if helps[n].startswith(words)]
    alike = get_close_matches(name, names, 1, 0.75)
    return (alike or meant or get_close_matches(name, names, 1, 0.0))[0]
