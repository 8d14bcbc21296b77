"""What training will hold is printed, and refused before it begins."""

import json

import numpy as np
import pytest
from training import planted_graph, small_sage, stored

import daskgnn
from daskgnn.cli import main
from daskgnn.dataflow.memory import (
    PROCESS_BYTES,
    WindowBudget,
    estimate_step,
    plan_memory,
)
from daskgnn.errors import InputError
from daskgnn.kernels.record import array_bytes
from daskgnn.sampling import NeighborSampler
from daskgnn.train.plan import Position, windows


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(), tmp_path_factory.mktemp("graph") / "g.zarr")


def run(capsys, *words):
    """Run the command line; return its status and what it wrote."""
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return stop.value.code, *capsys.readouterr()


TRAINED = ("--num-parts", "2", "--batch-size", "400", "--num-neighbors", "4,3")
SHARES = ("block_bytes", "window_bytes", "parameter_bytes")


def planned(path, capsys, *words):
    """Return what ``info`` plans for one worker that trains all parts."""
    words = ("--workers", "1", "--hidden-channels", "16", *TRAINED, *words)
    code, out, _ = run(capsys, "info", path, *words, "--json")
    assert code == 0
    return json.loads(out)["memory"]


def held_by(fitted):
    """Return the bytes of blocks, and of what evaluation keeps beside them."""
    deployment = fitted.deployment
    blocks = fitted.executor.result(deployment.preparation.blocks.keys)
    kept = fitted.executor.result(list(deployment.evaluator._whole.inputs))
    return sum(b.nbytes for b in blocks) + sum(map(array_bytes, kept))


def prepared_by(fitted):
    """Return the bytes of an epoch's prepared steps, and how many there are."""
    lookahead = fitted._new_loop().lookahead
    (window,) = windows(fitted.plan, Position(), 1, lambda: 99, None)
    batches = fitted.executor.result(lookahead.next(iter([window])).batches)
    return sum(map(array_bytes, batches)), window.size


@pytest.mark.parametrize("features", ["memory", "disk"])
@pytest.mark.parametrize(
    ("weighted", "dtype"), [(False, "float32"), (True, "bfloat16")]
)
def test_a_run_holds_about_what_is_planned(tmp_path, capsys, features, weighted, dtype):
    weights = np.ones(20_000) if weighted else None
    graph = planted_graph(4000, edge_weight=weights)
    path = stored(graph, tmp_path / "g.zarr")
    how = ("--features", features, "--feature-dtype", dtype)
    plan = planned(path, capsys, *how)
    opened = daskgnn.open_graph(path, 2, features=features)
    fitted = daskgnn.Trainer(
        small_sage(opened),
        opened,
        num_neighbors=[4, 3],
        batch_size=400,
        feature_dtype=dtype,
        client=None,
    )
    fitted.fit(1)
    assert 0.9 < held_by(fitted) / plan["block_bytes"] < 1.2
    nbytes, steps = prepared_by(fitted)
    assert steps == 5
    # Two windows at a time, of which nodes that are drawn twice are there once.
    one_step = plan["window_bytes"] / (2 * plan["window"])
    assert 0.4 < nbytes / steps / one_step < 1
    # In the model and in a state, a gradient, and Adam's two numbers.
    state = fitted.run_state.state
    numbers = [state.parameters, state.parameters, state.parameters]
    numbers += [state.optimizer[name] for name in ("exp_avg", "exp_avg_sq")]
    found = plan["parameter_bytes"] / sum(n.nbytes for n in numbers)
    assert 1 <= found <= 1.25


def test_without_validation_features_are_held_once(tmp_path, capsys):
    plans = [
        planned(stored(planted_graph(**splits), tmp_path / name), capsys)
        for name, splits in (("judged", {}), ("plain", {"val": None, "test": None}))
    ]
    saved = plans[0]["block_bytes"] - plans[1]["block_bytes"]
    edges = daskgnn.open_graph(tmp_path / "plain", 2).num_edges
    assert saved == 400 * 12 * 4 + edges * 4


def test_info_prints_the_plan_of_a_run(path, capsys):
    code, out, _ = run(capsys, "info", path, "--workers", "2", *TRAINED)
    assert code == 0
    lines = [line.split("  ")[0] for line in out.splitlines()[-6:]]
    assert lines[0] == "process"
    assert lines[1] == "blocks (1 parts)"
    assert lines[2].startswith("windows (")
    assert lines[3:] == ["parameters", "peak a worker", "memory limit"]
    plan = planned(path, capsys)
    # Beside what is held, a process with all it has imported: some 400 MB.
    rest = plan["peak"] - sum(plan[name] for name in SHARES)
    assert 3e8 < rest < 6e8


def test_what_does_not_fit_is_refused_naming_the_knob(path, tmp_path, capsys):
    larger = stored(planted_graph(4000), tmp_path / "g.zarr")
    words = ("--workers", "1", "--memory-limit", "1 MiB")
    code, _, err = run(capsys, "info", larger, *words)
    assert code == 2
    assert "lower batch_size or num_neighbors" in err
    graph = daskgnn.open_graph(path, 2)
    step = estimate_step(graph, NeighborSampler([15, 10]), 1024, "mean")
    with pytest.raises(InputError, match="raise memory_limit"):
        plan_memory(
            graph,
            step,
            WindowBudget(10**5, wanted=8, look_ahead=1, share=0.3),
            num_workers=2,
        )


def test_a_worker_that_has_room_for_its_process_alone_is_refused(path):
    graph = daskgnn.open_graph(path, 2)
    step = estimate_step(graph, NeighborSampler([4, 3]), 48, "mean")

    def plan(memory_limit):
        budget = WindowBudget(memory_limit, wanted=8, look_ahead=1, share=0.3)
        return plan_memory(graph, step, budget, num_workers=2)

    with pytest.raises(InputError, match=r"a process of .* raise memory_limit"):
        plan(PROCESS_BYTES)
    assert plan(2 * PROCESS_BYTES).window == 8
    # In this process there is nobody who would kill it.
    plan(0)


def test_a_limit_of_workers_needs_workers_of_ones_own(path, capsys):
    said = {
        ("--workers", "0"): "--workers 0 starts none",
        ("--scheduler", "tcp://127.0.0.1:1"): "--memory-limit 1GiB'",
    }
    for words, expected in said.items():
        code, _, err = run(capsys, "train", path, "--memory-limit", "1 GiB", *words)
        assert code == 2
        assert expected in err
    code, _, err = run(capsys, "train", path, "--memory-limit", "lots")
    assert code == 2
    assert "--memory-limit lots" in err
