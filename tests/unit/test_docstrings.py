"""Every public name has a docstring: parameters, results, errors, a running example."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import inspect
import re
import textwrap
from functools import cached_property
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from daskgnn import errors

ROOT = Path(__file__).parents[2]
MODULES = [
    "daskgnn",
    "daskgnn.nn",
    "daskgnn.sampling",
    "daskgnn.tasks",
    "daskgnn.partition",
    "daskgnn.vision",
]
ERRORS = {name for name in vars(errors) if name[0].isupper()}
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
ENTRY = re.compile(
    r"^::: (\S+)$(?:\n    options:\n +members:\s+\[([^]]*)\])?", re.MULTILINE
)
"""An entry of the reference, and the members it shows where that is not all."""


class Entry(NamedTuple):
    """A public name: of a function or a class, or of a member of a class."""

    name: str
    thing: Any
    owner: type | None = None

    @property
    def function(self) -> Any:
        """The function behind it, or the thing itself."""
        thing = self.thing
        for kind, attribute in (
            (property, "fget"),
            (cached_property, "func"),
            (classmethod, "__func__"),
            (staticmethod, "__func__"),
        ):
            if isinstance(thing, kind):
                return getattr(thing, attribute)
        return thing

    @property
    def is_property(self) -> bool:
        """Whether it is read like an attribute."""
        return isinstance(self.thing, property | cached_property)

    @property
    def text(self) -> str:
        """The docstring, without indentation."""
        return inspect.cleandoc(self.function.__doc__ or "")

    @property
    def sections(self) -> dict[str, str]:
        """Its sections; what a method does not say is as of the one it overrides."""
        name = self.name.rpartition(".")[2]
        bases = self.owner.__mro__ if self.owner else ()
        overridden = [
            Entry(name, vars(base)[name]) for base in bases[1:] if name in vars(base)
        ]
        found: dict[str, str] = {}
        for entry in [*overridden[::-1], self]:
            found |= sections(entry.text)
        return found


def found(name: str) -> Any:
    """Return what a dotted name means."""
    words = name.split(".")
    for count in range(len(words), 0, -1):
        try:
            thing = import_module(".".join(words[:count]))
        except ModuleNotFoundError:
            continue
        for word in words[count:]:
            thing = getattr(thing, word)
        return thing
    raise LookupError(name)


def public_names() -> dict[str, list[str] | None]:
    """Return public names, with the members that the reference shows if not all."""
    names = [f"{m}.{name}" for m in MODULES for name in import_module(m).__all__]
    names += [f"daskgnn.errors.{name}" for name in sorted(ERRORS)]
    shown: dict[str, list[str] | None] = dict.fromkeys(names)
    for page in sorted((ROOT / "docs/reference").glob("*.md")):
        for name, chosen in ENTRY.findall(page.read_text()):
            shown[name] = re.findall(r"\w+", chosen) or None
    return shown


def entries() -> list[Entry]:
    """Return public functions, classes and the members of these, each once."""
    seen: dict[int, Entry] = {}
    for name, shown in public_names().items():
        thing = found(name)
        if not inspect.isclass(thing) and not inspect.isfunction(thing):
            continue
        seen.setdefault(id(thing), Entry(name, thing))
        for member in members(thing) if inspect.isclass(thing) else ():
            if shown is None or member.name in shown:
                entry = Entry(f"{name}.{member.name}", member.thing, thing)
                seen.setdefault(id(member.thing), entry)
    return list(seen.values())


def members(cls: type) -> list[Entry]:
    """Return the public methods and properties that the package gives a class."""
    named: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("daskgnn"):
            named |= {n: thing for n, thing in vars(base).items() if n[0] != "_"}
    found = [Entry(name, thing) for name, thing in named.items()]
    return [
        entry
        for entry in found
        if inspect.isfunction(entry.function)
        and entry.function.__module__.startswith("daskgnn")
        and entry.name != "extra_repr"  # torch's own, which print(model) calls
    ]


def sections(text: str) -> dict[str, str]:
    """Return the sections of a numpydoc docstring by their titles."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def described(section: str) -> dict[str, str]:
    """Return the names that a section describes and the types it gives them."""
    pairs = {}
    for line in section.splitlines():
        if line and not line[0].isspace():
            names, _, kind = line.partition(" : ")
            pairs |= {name.strip(" *"): kind for name in names.split(",")}
    return pairs


def fields_of(cls: type) -> set[str]:
    """Return the fields of a class that are told of by a string beneath them."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    return {
        before.target.id
        for before, after in pairwise(body)
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }


def is_record(cls: Any) -> bool:
    return dataclasses.is_dataclass(cls) or hasattr(cls, "_fields")


def parameters_of(entry: Entry) -> dict[str, inspect.Parameter]:
    """Return what a caller passes, by name."""
    thing = entry.function
    if entry.is_property or (inspect.isclass(thing) and issubclass(thing, Exception)):
        return {}
    plain = inspect.isclass(thing) and thing.__init__ is object.__init__
    if plain or getattr(thing, "_is_protocol", False):
        return {}
    signature = inspect.signature(thing)
    return {n: p for n, p in signature.parameters.items() if n not in ("self", "cls")}


def raised_by(thing: Any) -> set[str]:
    """Return the package's errors that a function's own lines raise."""
    if inspect.isclass(thing):
        own = vars(thing).get("__init__") or vars(thing).get("__post_init__")
        if own is None or (is_record(thing) and own.__name__ == "__init__"):
            own = vars(thing).get("__post_init__")
        return set() if own is None else raised_by(own)
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    calls = [
        node.exc.func
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    ]
    return {call.id for call in calls if isinstance(call, ast.Name)} & ERRORS


ENTRIES = entries()
OWNERS = [entry for entry in ENTRIES if entry.owner is None]
MEMBERS = [entry for entry in ENTRIES if entry.owner is not None]
FUNCTIONS = [e for e in ENTRIES if not e.is_property and not inspect.isclass(e.thing)]


def id_of(entry: Entry) -> str:
    return entry.name


def is_sentence(entry: Entry) -> bool:
    first = entry.text.partition("\n")[0]
    upper = first[:1].isupper() or not first[:1].isalpha()
    return upper and first.endswith(".") and len(first.split()) > 2


def has_its_parameters(entry: Entry) -> bool:
    """Return whether all parameters are described, each with its type."""
    expected = parameters_of(entry)
    given = described(entry.sections.get("Parameters", ""))
    if inspect.isclass(entry.thing) and is_record(entry.thing):
        return {n for n in expected if n[0] != "_"} <= fields_of(entry.thing) | {*given}
    plain = {n for n, p in expected.items() if p.kind != p.VAR_KEYWORD}
    if len(plain) < len(expected):  # what it takes may be listed
        return all(given.values()) and plain < set(given)
    return all(given.values()) and list(given) == list(expected)


def has_its_result(entry: Entry) -> bool:
    returned = inspect.signature(entry.function).return_annotation
    told = bool({"Returns", "Yields"} & set(entry.sections))
    return told == (returned not in ("None", None))


def has_its_errors(entry: Entry) -> bool:
    """Return whether the errors that its own lines raise are described, or a base."""
    told = set(described(entry.sections.get("Raises", "")))
    raised = [getattr(errors, name).__mro__ for name in raised_by(entry.function)]
    return told <= ERRORS | {"KeyboardInterrupt", "SystemExit"} and all(
        told & {base.__name__ for base in bases} for bases in raised
    )


def examples_of(entry: Entry) -> str:
    return sections(entry.text).get("Examples", "")


def is_used(entry: Entry) -> bool:
    """Return whether a member occurs in an example of its class."""
    assert entry.owner is not None
    bases = [b for b in entry.owner.__mro__ if b.__module__.startswith("daskgnn")]
    texts = [examples_of(Entry("", base)) for base in bases]
    texts += [examples_of(member) for member in members(entry.owner)]
    name = entry.name.rpartition(".")[2]
    used = r"\w+\(\w+, " if name == "forward" else rf"\b{name}\b"  # model(x, blocks)
    return re.search(used, "\n".join(texts)) is not None


def test_the_first_line_is_a_sentence() -> None:
    assert [entry.name for entry in ENTRIES if not is_sentence(entry)] == []


def test_every_parameter_is_described_with_its_type() -> None:
    assert [entry.name for entry in ENTRIES if not has_its_parameters(entry)] == []


def test_results_are_described() -> None:
    assert [entry.name for entry in FUNCTIONS if not has_its_result(entry)] == []


def test_errors_are_described() -> None:
    assert [entry.name for entry in ENTRIES if not has_its_errors(entry)] == []


def test_functions_and_classes_have_an_example() -> None:
    assert [e.name for e in OWNERS if ">>> " not in examples_of(e)] == []


def test_members_are_used_in_an_example_of_their_class() -> None:
    assert [entry.name for entry in MEMBERS if not is_used(entry)] == []


@pytest.mark.parametrize("entry", [e for e in ENTRIES if examples_of(e)], ids=id_of)
def test_examples_run(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = doctest.DocTestParser().get_doctest(
        examples_of(entry), {"__name__": "__main__"}, entry.name, None, None
    )
    assert not any(doctest.SKIP in example.options for example in lines.examples)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    said: list[str] = []
    runner.run(lines, out=said.append)
    assert not runner.summarize(verbose=False).failed, "".join(said)
    assert not list(tmp_path.iterdir()), "files are left in the reader's folder"
