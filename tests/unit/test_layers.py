"""Imports between the package's folders go one way, of whatever kind they are."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "daskgnn"
FOLDERS = [
    "kernels",
    "sampling",
    "partition.methods",
    "partition",
    "graph.store",
    "graph.edges",
    "graph.memory",
    "graph.sources",
    "graph.readers",
    "graph.datasets",
    "graph.databases",
    "graph",
    "cluster",
    "monitor",
    "prepare",
    "nn",
    "tasks",
    "dataflow.steps",
    "dataflow",
    "train.persist",
    "train.options",
    "train.compute",
    "train.profile",
    "pipeline",
    "train",
    "vision.models",
    "vision.data",
    "vision",
    "cli",
]
"""A folder may import itself and those before it: when it is loaded, inside a function
and for type checkers alike."""
BASE = {
    "config",
    "display",
    "errors",
    "importing",
    "paths",
    "plot",
    "registry",
    "seams",
}
BASE |= {"values", "version"}
"""Modules that lie under all folders; the other ones of the package lie above."""
PURE = {"dask", "distributed", "torch"}
FOREIGN = {"kernels": PURE, "sampling": PURE, "dataflow": {"torch"}}
# nn comes before dataflow in the order, but task graphs know nothing of models.
APART = {"dataflow": {"nn", "tasks"}, "nn": {"graph"}, "prepare": {"sampling"}}


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(node, path)
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    """Return the module of ``from ..x import y`` without dots."""
    if not node.level:
        return node.module or ""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts[: -node.level]
    return ".".join([*parts, *([node.module] if node.module else [])])


def folder_of(module: str) -> str:
    """Return the folder of one of our modules; of one under all folders, its name."""
    words = module.split(".")[1:]
    for count in range(len(words), 0, -1):
        if (PACKAGE.joinpath(*words[:count])).is_dir():
            return ".".join(words[:count])
    return words[0] if words else ""


def test_every_folder_has_its_place() -> None:
    found = {
        ".".join(path.parent.relative_to(PACKAGE).parts)
        for path in PACKAGE.rglob("*.py")
    }
    assert found == {"", *FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_import_only_those_below(folder: str) -> None:
    apart = APART.get(folder.split(".")[0], set())
    before = FOLDERS[: FOLDERS.index(folder) + 1]
    allowed = {name for name in before if name.split(".")[0] not in apart} | BASE
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in sorted(PACKAGE.joinpath(*folder.split(".")).glob("*.py"))
        for module in imports(path)
        if module.split(".")[0] == "daskgnn" and folder_of(module) not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("folder", FOREIGN)
def test_folders_keep_away_from_libraries(folder: str) -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        for module in imports(path)
        if module.split(".")[0] in FOREIGN[folder]
    ]
    assert not wrong


def test_the_base_imports_no_folder() -> None:
    wrong = [
        f"{name}.py imports {module}"
        for name in sorted(BASE)
        for module in imports(PACKAGE / f"{name}.py")
        if module.split(".")[0] == "daskgnn" and folder_of(module) not in BASE
    ]
    assert not wrong


def test_the_design_page_shows_the_folders_and_the_base() -> None:
    page = (PACKAGE.parent / "docs" / "design.md").read_text()
    told = re.findall(r"^\| `([a-z/]+)/` \|", page, re.MULTILINE)
    assert [folder.replace("/", ".") for folder in told] == FOLDERS
    (base,) = re.findall(r"^`config\.py`.*?belong to no folder", page, re.M | re.DOTALL)
    assert set(re.findall(r"`(\w+)\.py`", base)) == BASE


def test_imports_of_every_kind_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "import torch.nn\nfrom daskgnn import nn\n"
        "if TYPE_CHECKING:\n    from daskgnn.graph.store import writer\n"
        "def f():\n    import daskgnn.cli\n"
    )
    found = sorted(imports(path))
    assert found[:2] == ["daskgnn.cli", "daskgnn.graph.store.writer"]
    assert found[2:] == ["daskgnn.nn", "torch.nn"]
    assert [folder_of(m) for m in found[:3]] == ["cli", "graph.store", "nn"]
    assert folder_of("daskgnn.graph.graph.Graph") == "graph"
    assert folder_of("daskgnn.errors.InputError") == "errors"
    node = ast.parse("from ..nn import Block").body[0]
    assert isinstance(node, ast.ImportFrom)
    assert _absolute(node, PACKAGE / "dataflow" / "step.py") == "daskgnn.nn"


CROSSINGS = {"from_numpy", "as_tensor", "numpy", "tensor", "from_dlpack", "asarray"}
"""How tensors are made of arrays and come back, as methods or of ``torch``."""


def crossings(tree: ast.AST) -> list[str]:
    """Return the calls of a module that torch answers with a tensor's other form."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = ast.unparse(node.func.value)
        is_torch = owner == "torch" and node.func.attr in CROSSINGS
        if is_torch or (node.func.attr == "numpy" and not node.args):
            found.append(ast.unparse(node.func))
    return found


def test_arrays_become_tensors_in_one_file() -> None:
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if crossings(ast.parse(path.read_text()))
    }
    assert found == {"nn/device.py"}


def test_crossings_are_seen() -> None:
    lines = "x.detach().numpy()", "torch.tensor(a)", "CPU.tensor(a)", "torch.zeros(3)"
    found = [crossings(ast.parse(line)) for line in lines]
    assert found == [["x.detach().numpy"], ["torch.tensor"], [], []]
