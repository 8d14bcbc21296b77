"""What the package imports is what setup.cfg declares."""

import ast
import os
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from training import ROOT

OTHER_NAMES = {"mlflow": ["mlflow-skinny"]}
"""Distributions of packages that may not be installed here."""
WITHOUT = ("matplotlib", "bokeh", "sklearn", "ogb", "prometheus_client", "PIL")


def imported():
    """Return the distributions of all that the package's files import."""
    names = set()
    for path in (ROOT / "daskgnn").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module).partition(".")[0])
    names -= {"daskgnn", *sys.stdlib_module_names}
    known = OTHER_NAMES | packages_distributions()
    return {canonicalize_name(known.get(n, [n])[0]): n for n in names}


def declared(section, name):
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config[section][name].split("\n")
    found = [Requirement(line) for line in lines if line and "%" not in line]
    return {canonicalize_name(requirement.name) for requirement in found}


def test_every_import_is_declared_and_every_requirement_imported():
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    needed = declared("options", "install_requires")
    internal = {"test", "docs", "dev"}
    extras = {
        name
        for extra in config["options.extras_require"].keys() - internal
        for name in declared("options.extras_require", extra)
    }
    found = imported()
    assert found.keys() - needed - extras == set()
    assert needed - found.keys() == set()


ALONE = f"""
import sys
sys.modules.update(dict.fromkeys({WITHOUT!r}))
import numpy as np, daskgnn
from daskgnn.errors import InputError
edges = np.random.default_rng(0).integers(0, 60, (2, 300))
labels = edges[0, :60] % 3
graph = daskgnn.from_edge_index(edges, num_nodes=60, features=np.eye(60),
    labels=labels, train=np.arange(30), val=np.arange(30, 60))
graph.partition(4).save("g.zarr")
graph = daskgnn.open_graph("g.zarr", num_parts=2)
model = daskgnn.nn.GraphSAGE(60, 8, 3)
trainer = daskgnn.Trainer(model, graph, num_neighbors=[3, 3], batch_size=16,
    client=None, out="run")
history = trainer.fit(1)
for call in (lambda: daskgnn.load_dataset("digits"), history.plot):
    try:
        call()
    except InputError as error:
        print(error)
"""


@pytest.mark.slow
def test_training_from_arrays_needs_none_of_these(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "the data set digits needs scikit-learn: pip install scikit-learn",
        "a picture needs matplotlib: pip install matplotlib",
    ]
