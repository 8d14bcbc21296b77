"""What the package and the help of its commands import: nothing heavy."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from daskgnn.cli import gnn

ROOT = Path(__file__).parents[2]
HEAVY = ("numpy", "torch", "dask", "distributed", "numba", "scipy", "zarr", "pandas")
HEAVY += ("matplotlib", "fsspec", "yaml", "sparse", "pyarrow", "sklearn")
COMMANDS = ["chaos", "datasets", "doctor", "evaluate", "export", "generate", "info"]
COMMANDS += ["load", "partition", "plot", "predict", "report", "runs", "samplers"]
COMMANDS += ["scheduler", "train", "vision", "worker"]
CALL = "from click.testing import CliRunner; from daskgnn.cli import gnn; "
CALL += "result = CliRunner().invoke(gnn, {}, catch_exceptions=False); "
CALL += "assert result.exit_code == 0 and result.output"


def imported(code: str, heavy: tuple[str, ...] = HEAVY) -> set[str]:
    """Run code in a process of its own; return which heavy modules it has then."""
    told = f"{code}\nimport sys; print(*({set(heavy)!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", told],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import daskgnn; daskgnn.errors, daskgnn.History, dir(daskgnn)",
        CALL.format(["--help"]),
        "\n".join(CALL.format([name, "--help"]) for name in COMMANDS),
    ],
    ids=["package", "help", "help of each command"],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    assert imported(code) == set()


BEFORE_A_RUN = """
import inspect
import numpy as np
import torch
from dask.sizeof import sizeof
from daskgnn.kernels.features import SparseTable
from daskgnn.train.compute.optimizers import make_optimizer, take_step
layer = torch.nn.Linear(2, 1)
made = make_optimizer(torch.optim.Adam, list(layer.parameters()))
layer(torch.ones(2)).backward()
before = layer.weight.detach().clone()
take_step(made)
assert (layer.weight != before).all()
method = inspect.unwrap(torch.optim.Optimizer.add_param_group)
assert not vars(method).keys() - {"__wrapped__"}
rows = SparseTable(np.zeros(1001), np.zeros(0), np.zeros(0), (1000, 2))
assert sizeof(rows) > 8000
"""


def test_a_run_begins_without_what_other_commands_need() -> None:
    """The sizes of our objects, and an optimizer that takes a step."""
    unneeded = {"torch._dynamo", "joblib", "pyarrow", "matplotlib", "scipy.linalg"}
    assert not imported(BEFORE_A_RUN, HEAVY + tuple(unneeded)) & unneeded


def test_what_is_imported_is_seen() -> None:
    assert {"numpy", "scipy"} <= imported("import scipy.sparse")


def sections(text: str) -> dict[str, str]:
    """Return what a help says of each command, on one line."""
    found: dict[str, str] = {}
    name = ""
    for line in text.partition("Commands:\n")[2].splitlines():
        if line[:3].strip():
            name, _, line = line.strip().partition(" ")
        found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found


@pytest.mark.parametrize("under_dask", [False, True])
def test_the_help_has_the_first_sentence_of_each_command(under_dask: bool) -> None:
    (entry,) = entry_points(group="dask_cli", name="gnn")
    outer = click.Group("dask", commands=[entry.load()])
    words = ["gnn", "--help"] if under_dask else ["--help"]
    result = CliRunner().invoke(outer if under_dask else gnn, words)
    assert result.exit_code == 0
    told = sections(result.output)
    assert list(told) == COMMANDS
    for name in COMMANDS:
        command = gnn.get_command(click.Context(gnn), name)
        assert command is not None
        assert command.name == name
        text = " ".join((command.help or "").partition("\n\n")[0].split())
        assert text.startswith(told[name])
        assert told[name].endswith(".")
        assert told[name].count(".") == 1
