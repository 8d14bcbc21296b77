"""Imports between the package's folders go one way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "daskgnn"
# A folder may import itself and those before it.
LAYERS = [
    "kernels",
    "sampling",
    "graph",
    "partition",
    "nn",
    "tasks",
    "dataflow",
    "train",
    "cli",
]
BASE = {"errors", "config", "seams"}
PURE = {"dask", "distributed", "torch"}
FOREIGN = {"kernels": PURE, "sampling": PURE, "dataflow": {"torch"}}
# nn comes before dataflow in the order, but task graphs know nothing of models.
OWN = {"tasks": {"partition"}, "dataflow": {"nn", "tasks"}}
# A data set in memory has the method partition(), which imports when it is called.
LATE = {("graph", "partition")}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield every module that a file imports, and whether only when called.

    Imports for type checkers alone are left out.
    """
    yield from _walk(ast.parse(path.read_text()), path, late=False)


def _walk(node: ast.AST, path: Path, late: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            origin = _absolute(child, path)
            yield origin, late
            if origin == "daskgnn":
                yield from ((f"daskgnn.{alias.name}", late) for alias in child.names)
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _walk(child, path, late or inside)


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    """Return the module of ``from ..x import y`` without dots."""
    if not node.level:
        return node.module or ""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts[: -node.level]
    return ".".join([*parts, *([node.module] if node.module else [])])


def files(layer: str) -> list[Path]:
    return sorted((PACKAGE / layer).rglob("*.py"))


@pytest.mark.parametrize("layer", LAYERS)
def test_folders_import_only_those_below(layer: str) -> None:
    allowed = set(LAYERS[: LAYERS.index(layer) + 1]) - OWN.get(layer, set())
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in files(layer)
        for module, late in imports(path)
        if module.startswith("daskgnn.")
        and (folder := module.split(".")[1]) in LAYERS
        and folder not in allowed
        and not (late and (layer, folder) in LATE)
    ]
    assert not wrong


@pytest.mark.parametrize("layer", FOREIGN)
def test_folders_keep_away_from_libraries(layer: str) -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in files(layer)
        for module, _ in imports(path)
        if module.split(".")[0] in FOREIGN[layer]
    ]
    assert not wrong


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


def test_the_base_imports_no_folder() -> None:
    wrong = [
        f"{name}.py imports {module}"
        for name in sorted(BASE)
        for module, _ in imports(PACKAGE / f"{name}.py")
        if module.startswith("daskgnn.") and module.split(".")[1] not in BASE
    ]
    assert not wrong


def test_relative_and_late_imports_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "import torch.nn\nfrom daskgnn import nn\n"
        "if TYPE_CHECKING:\n    import dask\ndef f():\n    import daskgnn.cli\n"
    )
    assert list(imports(path)) == [
        ("torch.nn", False),
        ("daskgnn", False),
        ("daskgnn.nn", False),
        ("daskgnn.cli", True),
    ]
    node = ast.parse("from ..nn import Block").body[0]
    assert isinstance(node, ast.ImportFrom)
    assert _absolute(node, PACKAGE / "dataflow" / "step.py") == "daskgnn.nn"
