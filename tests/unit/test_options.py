"""Options are declared once: whatever takes them follows the declaration."""

import inspect
import json
import pydoc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training import planted_graph, stored, trainer

import daskgnn
from daskgnn.errors import CheckpointError, InputError
from daskgnn.kernels.jit import cache_folder
from daskgnn.train.fingerprint import check_same
from daskgnn.train.options.optiondocs import page
from daskgnn.train.options.options import RUN, TRAINER
from daskgnn.train.options.plainoptions import CLUSTER, FILES
from daskgnn.train.options.recipes import RECIPES, with_recipe

ROOT = Path(__file__).parents[2]

DEFAULTS = {
    "num_neighbors": None,
    "batch_size": 1024,
    "lr": 0.01,
    "weight_decay": 0.0,
    "optimizer": "adam",
    "warmup_steps": None,
    "lr_scheduler": None,
    "scheduler_interval": "epoch",
    "loss": None,
    "metric": None,
    "seed": 0,
    "client": "auto",
    "normalize_features": False,
    "feature_dtype": None,
    "sparse_features": None,
    "sample_by": "uniform",
    "threads_per_part": 1,
    "device_map": None,
    "deterministic": True,
    "out": None,
    "checkpoint_every": None,
    "checkpoint_seconds": None,
    "keep_checkpoints": 2,
    "eval_every": 1,
    "patience": None,
    "window": None,
    "steps": "auto",
    "precision": "float32",
    "gradients": "tree",
    "staleness": None,
    "ramp_steps": 100,
    "compensation": "auto",
    "accumulate": 1,
    "clip_norm": None,
    "compress": None,
    "local_steps": None,
    "checksum_every": None,
    "halo_cache": 0,
    "halo_cache_policy": "static",
    "standby": 0,
    "adapt": None,
    "metrics_port": None,
    "track": None,
    "callbacks": (),
    "progress": "auto",
    "sampler": None,
    "task": None,
}
"""What a user may count on, written down by hand."""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    weights = np.random.default_rng(0).random(600) + 0.1
    graph = planted_graph(120, edge_weight=weights)
    return stored(graph, tmp_path_factory.mktemp("graph") / "g.zarr")


def test_the_signature_shows_every_option_with_its_default():
    shown = inspect.signature(daskgnn.Trainer).parameters
    assert list(shown)[:2] == ["model", "graph"]
    keywords = {n: p for n, p in shown.items() if n not in ("model", "graph")}
    assert {n: p.default for n, p in keywords.items()} == DEFAULTS
    assert {p.kind for p in keywords.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_help_describes_every_option_between_graph_and_raises():
    text = pydoc.plain(pydoc.render_doc(daskgnn.Trainer))
    section = text[text.index("Parameters\n") : text.index("Raises\n")]
    lines = [line.strip(" |") for line in section.splitlines()]
    for name, option in TRAINER.items():
        (place,) = (i for i, line in enumerate(lines) if line.startswith(f"{name} : "))
        assert " ".join(lines[place + 1 :]).startswith(option.help)


def test_a_type_checker_knows_the_options(tmp_path):
    """Names and types of keywords, as an editor completes them."""
    mypy = pytest.importorskip("mypy.api")
    hint = daskgnn.Trainer.__init__.__annotations__["options"]
    assert hint == "Unpack[TrainOptions]"
    script = tmp_path / "script.py"
    script.write_text(
        "from typing import Unpack\n"
        "from daskgnn.train.options.options import TrainOptions\n"
        "def f(**options: Unpack[TrainOptions]) -> None: ...\n"
        "f(num_neighbors=[5, 3], lr=0.1, steps='tasks', feature_dtype=None)\n"
        "f(lr='high')\n"
        "f(steps='often')\n"
        "f(learning_rate=0.1)\n"
    )
    folder = ROOT / "daskgnn/train/options"
    files = [folder / f"{name}.py" for name in ("options", "plainoptions")]
    words = ["--no-incremental", "--follow-imports=skip", "--cache-dir", str(tmp_path)]
    words += ["--config-file=", "--namespace-packages", str(script), *map(str, files)]
    said = mypy.run(words)[0]
    lines = [line for line in said.splitlines() if line.startswith(str(script))]
    assert [line.split(":")[1] for line in lines if "error" in line] == ["5", "6", "7"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batchsize": 4}, "Trainer has no 'batchsize': did you mean 'batch_size'?"),
        ({"neighbors": [4]}, "'neighbors': did you mean 'num_neighbors'"),
        (
            {"num_neighbors": None},
            r"num_neighbors is missing: .*num_neighbors=\[15, 10",
        ),
        ({"num_neighbors": 5}, "num_neighbors=5, expected a list of whole numbers"),
        ({"num_neighbors": [5, True]}, r"num_neighbors=\[5, True\] has True"),
        (
            {"batch_size": True},
            "batch_size=True, expected a whole number of at least 1",
        ),
        ({"batch_size": None}, "batch_size=None, expected a whole number"),
        ({"lr": "high"}, "lr='high', expected a number of at least 0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0, expected a number of at least 0"),
        ({"clip_norm": 0}, "clip_norm=0, expected a number above 0, or None"),
        (
            {"checkpoint_seconds": "x"},
            "checkpoint_seconds='x', expected a number above",
        ),
        ({"staleness": -1}, "staleness=-1, expected a whole number of at least 0"),
        ({"precision": "fp8"}, "precision='fp8', expected one of 'float32', 'medium'"),
        ({"gradients": "gloo"}, "gradients='gloo', expected one of 'tree'"),
        (
            {"compensation": "x"},
            "compensation='x', expected one of 'auto', 'none', 'linear'",
        ),
        ({"normalize_features": "no"}, "normalize_features='no', expected True or Fal"),
        (
            {"halo_cache": "much"},
            "halo_cache='much', expected bytes, as in halo_cache=",
        ),
        ({"halo_cache": -1}, "halo_cache=-1, expected bytes"),
        ({"adapt": (4, 1)}, r"adapt=\(4, 1\), expected the fewest and the most"),
        ({"optimizer": 3}, "optimizer=3, expected a name or a function"),
        ({"out": 3}, "out=3, expected a path"),
        ({"sampler": object()}, "sampler= and num_neighbors= say the same"),
        ({"sampler": 1, "sample_by": "degree"}, "sampler= and num_neighbors= say"),
        ({"task": object(), "loss": len}, "task= and loss= say the same"),
    ],
)
def test_what_cannot_be_used_gets_one_line(path, options, said):
    with pytest.raises(InputError, match=said) as caught:
        trainer(path, 2, None, **options)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_numbers(path):
    given = {"batch_size": np.int32(48), "clip_norm": np.float32(1.0)}
    given |= {"num_neighbors": np.array([4, 3]), "normalize_features": np.True_}
    assert trainer(path, 2, None, **given)._facts["num_neighbors"] == [4, 3]


OTHERS = {
    "num_neighbors": [3, 2],
    "batch_size": 20,
    "lr": 0.5,
    "weight_decay": 0.1,
    "warmup_steps": 5,
    "optimizer": "sgd",
    "lr_scheduler": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
    "scheduler_interval": "step",
    "loss": lambda h, y: h.sum() * 0,
    "metric": "f1_macro",
    "seed": 3,
    "normalize_features": True,
    "feature_dtype": "float16",
    "sample_by": "edge_weight",
    "threads_per_part": 2,
    "device_map": [0, 1],
    "deterministic": False,
    "checkpoint_every": 3,
    "checkpoint_seconds": 2.5,
    "keep_checkpoints": 1,
    "eval_every": 2,
    "patience": 4,
    "window": 2,
    "steps": "tasks",
    "precision": "bf16",
    "gradients": "ring",
    "accumulate": 2,
    "clip_norm": 0.5,
    "compress": "int8",
    "local_steps": 2,
    "checksum_every": 5,
    "halo_cache": "1 MB",
    "halo_cache_policy": "lru",
}
"""Another value of every option that one process without a cluster can be given."""

TOGETHER = {
    "staleness": ({"gradients": "async"}, 2),
    "ramp_steps": ({"gradients": "async"}, 3),
    "compensation": ({"gradients": "async"}, "linear"),
}


@pytest.mark.parametrize("name", [*OTHERS, *TOGETHER])
def test_checkpoints_agree_on_what_is_declared_so_and_nothing_else(path, name):
    beside, value = TOGETHER.get(name, ({}, OTHERS.get(name)))
    plain = trainer(path, 2, None, **beside)._facts
    other = trainer(path, 2, None, **beside, **{name: value})._facts
    fact = TRAINER[name].fact
    if not fact:
        assert other == plain
        return
    with pytest.raises(CheckpointError, match=name if fact is True else fact):
        check_same(plain, other, 7)
    changed = {key for key in plain if plain[key] != other[key]}
    assert changed == {name if fact is True else fact}


def test_every_option_is_tried_in_these_tests():
    of_objects = {"client", "progress", "sampler", "task"}
    of_clusters = {"standby", "adapt", "out"}
    of_graphs = {"sparse_features"}  # see test_sparse_training.py
    of_watching = {"callbacks", "metrics_port", "track"}  # see test_monitor.py
    elsewhere = of_objects | of_clusters | of_graphs | of_watching
    assert set(TRAINER) == {*OTHERS, *TOGETHER} | elsewhere


def test_facts_that_older_checkpoints_lack_stood_at_the_defaults(path):
    facts = trainer(path, 2, None)._facts
    later = ("feature_dtype", "precision", "gradients", "sample_by")
    check_same({k: v for k, v in facts.items() if k not in later}, facts, 3)
    changed = trainer(path, 2, None, precision="bf16", seed=1)._facts
    for lacks, said in (("precision", "float32"), ("seed", "0")):
        old = {name: value for name, value in changed.items() if name != lacks}
        with pytest.raises(CheckpointError, match=f"with {lacks}={said}, this run"):
            check_same(old, changed, 3)
    part = {**facts, "gradients": {"accumulate": 1}}
    check_same(part, facts, 3)


def test_recipes_set_what_decides_a_result_and_nothing_else():
    for recipes in RECIPES.values():
        for recipe in recipes.values():
            for name, value in recipe.items():
                assert RUN[name].checked(name, value) == value
                assert RUN[name].group not in (CLUSTER, FILES)


def test_what_is_given_wins_over_the_recipe_and_that_over_defaults():
    found = with_recipe("cora", {"model": "gcn", "lr": 0.5}, use_recipe=True)
    assert (found["lr"], found["dropout"], found["keep_checkpoints"]) == (0.5, 0.5, 2)
    plain = with_recipe("cora", {"model": "gcn", "lr": None}, use_recipe=False)
    assert (plain["lr"], plain["dropout"]) == (0.01, 0.0)
    assert set(plain) == set(RUN)


def test_the_page_of_options_is_as_it_is_made():
    assert (ROOT / "docs" / "options.md").read_text() == page(), "make options"


def python(folder, code):
    kernels = {"DASKGNN_CACHE_DIR": str(cache_folder().parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(folder), **kernels},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_declarations_import_nothing_heavy(tmp_path):
    code = "import daskgnn.train.options.options, sys; print(*sys.modules)"
    assert not {"torch", "numpy", "dask", "click"} & set(python(tmp_path, code).split())


ONE_MORE = """
import inspect, json
from daskgnn.train.options import option
from daskgnn.train.options import options
from daskgnn.train.options import plainoptions

# As if it stood in the declaration: nothing else of the package is told of it.
more = option.Option(0.5, "Training", least=0, fact=True)
made = option._typed("", "How much to shake.", float, more)
options.TRAINER["shake"] = options.RUN["shake"] = made
plainoptions.PlainOptions.__annotations__["shake"] = None

from click.testing import CliRunner
from daskgnn.cli import gnn
from daskgnn.train.persist.checkpoint import newest_checkpoint
from daskgnn.train.options.optiondocs import page
from daskgnn.train.persist.storage import open_storage
from daskgnn.train.trainer import Trainer

def call(*words):
    done = CliRunner().invoke(gnn, ["train", *words, "--workers", "0"])
    return done.exit_code, done.output

help = call("--help")[1]
assert "--shake" in help[help.index("Training:"):help.index("Gradients:")], help
assert inspect.signature(Trainer).parameters["shake"].default == 0.5
assert "shake : float, default 0.5" in Trainer.__doc__
assert "| `shake` | float | `0.5` | both | yes | How much to shake. |" in page()
given = [PATH, "--epochs", "1", "--num-parts", "2", "--hidden-channels", "8"]
status, said = call(*given, "--shake", "2", "--out", "a")
assert status == 0, said
assert json.load(open("a/run.json"))["shake"] == 2.0
place = open_storage("a").inside("checkpoints")
assert newest_checkpoint(place).facts["plan"]["shake"] == 2.0
settings = json.load(open("a/run.json"))
json.dump({**settings, "shake": 1.0}, open("a/run.json", "w"))
status, said = call("--resume", "a")
assert status == 2, said
assert "written with --shake 2.0, this run has --shake 1.0" in said, said
open("run.yaml", "w").write("shake: -1\\n")
status, said = call(PATH, "--config", "run.yaml")
assert status == 2 and "shake=-1, expected a number of at least 0" in said, said
"""


@pytest.mark.slow
def test_one_more_declaration_is_all_that_an_option_takes(path, tmp_path):
    python(tmp_path, f"PATH = {path!r}\n{ONE_MORE}")


def test_a_run_of_gloo_is_refused_in_one_line(path, tmp_path):
    trainer(path, 2, None, out=tmp_path / "run").fit(1)
    facts = trainer(path, 2, None, out=tmp_path / "run")._facts
    then = {**facts, "gradients": {**facts["gradients"], "sums": "gloo"}}
    with pytest.raises(CheckpointError, match="'sums': 'gloo'"):
        check_same(then, facts, 1)
    settings = {name: option.default for name, option in RUN.items()}
    settings |= {"store": path, "num_parts": 2, "workers": 0, "gradients": "gloo"}
    settings |= {"num_neighbors": [4, 3], "num_layers": 2}
    (tmp_path / "run" / "run.json").write_text(json.dumps(settings))
    from daskgnn.train import run

    with pytest.raises(InputError, match="gradients='gloo', expected one of 'tree'"):
        run.resume(tmp_path / "run")
