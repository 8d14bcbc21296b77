"""The package's limits of size, read from its source."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "daskgnn"
FUNCTION_LINES, PARAMETERS, ATTRIBUTES, FILE_LINES = 60, 8, 15, 400

PUBLIC_MODULES = ("__init__.py", "nn/__init__.py", "sampling/__init__.py")
PUBLIC_MODULES += ("pipeline/__init__.py", "tasks/__init__.py", "vision/__init__.py")
DOCUMENTED = {"planted_partition", "rmat", "prepare"}
"""Public functions that the docs tell to import from where they are."""

OFFENDERS: set[str] = set()
"""What is still over a limit; an entry that no longer is fails."""


def public_names():
    """Return the names that the public modules export."""
    names = set(DOCUMENTED)
    for module in PUBLIC_MODULES:
        path = PACKAGE / module
        tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names |= {alias.asname or alias.name for alias in node.names}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                names.add(node.value)
    return names


def docstring_lines(node):
    if not ast.get_docstring(node, clean=False):
        return 0
    return node.body[0].end_lineno - node.body[0].lineno + 1


def attributes(node):
    """Return the names that a class declares or sets on `self`."""
    found = {
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    for item in ast.walk(node):
        if isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Store):
            found |= {item.attr} if ast.unparse(item.value) == "self" else set()
    return found


def is_record(node):
    """Return whether a class only declares: a dataclass, or options."""
    words = " ".join(ast.unparse(item) for item in node.decorator_list + node.bases)
    return any(
        word in words
        for word in ("dataclass", "TypedDict", "NamedTuple", "PlainOptions")
    )


def functions(tree):
    """Yield each function with the class it is a method of, or None."""
    owners = {
        item: node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for item in node.body
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, owners.get(node)


def offences(source, name, public):
    """Yield ``file: name, limit`` for all that is over a limit in a file's source."""
    tree = ast.parse(source)
    if source.count("\n") > FILE_LINES:
        yield f"{name}: lines"
    for node, owner in functions(tree):
        where = f"{name}: {owner.name + '.' if owner else ''}{node.name}"
        lines = node.end_lineno - node.lineno + 1 - docstring_lines(node)
        if lines > FUNCTION_LINES:
            yield f"{where}, lines"
        given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        count = sum(a.arg not in ("self", "cls") for a in given)
        known = node.name in public
        if owner is not None:
            known = owner.name in public and node.name == "__init__"
        if count > PARAMETERS and not known and not name.startswith("kernels/"):
            yield f"{where}, parameters"
    for node in ast.walk(tree):
        counted = isinstance(node, ast.ClassDef) and not is_record(node)
        if counted and len(attributes(node)) > ATTRIBUTES:
            yield f"{name}: {node.name}, attributes"


def test_nothing_is_over_the_limits():
    public, found = public_names(), set()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        found |= set(offences(path.read_text(), name, public))
    assert sorted(found - OFFENDERS) == [], "over a limit"
    assert sorted(OFFENDERS - found) == [], "within the limits: remove the entries"


FUNCTION = "def f({}):\n" + "    x = 1\n" * 59
MANY = ", ".join(f"a{i}" for i in range(9))
CLASS = "class C({}):\n    def __init__(self, {}):\n"
SET = "".join(f"        self.b{i} = {i}\n" for i in range(16))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (FUNCTION.format(""), []),
        (FUNCTION.format("") + "    y = 2\n", ["f.py: f, lines"]),
        (FUNCTION.format(MANY), ["f.py: f, parameters"]),
        (FUNCTION.format(MANY).replace("f(", "shown("), []),
        ('def f():\n    """Say.\n' + "\n" * 99 + '    """\n    return 1\n', []),
        (CLASS.format("", MANY) + "        pass\n", ["f.py: C.__init__, parameters"]),
        (CLASS.format("", "") + SET, ["f.py: C, attributes"]),
        ("@dataclass\n" + CLASS.format("", "") + SET, []),
        (CLASS.format("TypedDict", "") + SET, []),
        ("\n" * 401, ["f.py: lines"]),
    ],
)
def test_what_is_over_a_limit_is_found(source, expected):
    assert list(offences(source, "f.py", {"shown"})) == expected


def test_kernels_may_take_many_arrays():
    assert list(offences(FUNCTION.format(MANY), "kernels/f.py", set())) == []
