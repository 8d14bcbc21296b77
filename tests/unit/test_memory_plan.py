"""What training will hold is printed, and refused before it begins."""

import json

import pytest
from training import planted_graph, stored, trainer

import daskgnn
from daskgnn.cli import main
from daskgnn.dataflow.memory import (
    PROCESS_BYTES,
    WindowBudget,
    estimate_blocks,
    estimate_step,
    plan_memory,
)
from daskgnn.errors import InputError
from daskgnn.sampling import NeighborSampler


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(), tmp_path_factory.mktemp("graph") / "g.zarr")


def run(capsys, *words):
    """Run the command line; return its status and what it wrote."""
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return stop.value.code, *capsys.readouterr()


def test_info_prints_the_plan_of_a_run(path, capsys):
    words = ("--workers", "2", "--num-neighbors", "15,10", "--batch-size", "1024")
    code, out, _ = run(capsys, "info", path, *words)
    assert code == 0
    lines = [line.split("  ")[0] for line in out.splitlines()[-6:]]
    assert lines[0] == "process"
    assert lines[1] == "blocks (1 parts)"
    assert lines[3:] == ["parameters", "peak a worker", "memory limit"]
    code, out, _ = run(capsys, "info", path, *words, "--json")
    found = json.loads(out)["memory"]
    # 12 features, two layers of 128 channels, 4 classes, six copies of 4 bytes.
    numbers = 2 * 12 * 128 + 128 + 2 * 128 * 4 + 4
    assert found["parameter_bytes"] == 24 * numbers
    rest = ("block_bytes", "window_bytes", "parameter_bytes")
    assert found["peak"] == PROCESS_BYTES + sum(found[name] for name in rest)


def test_the_plan_is_that_of_the_trainer(path):
    there = trainer(path, 4, None, num_neighbors=[4, 3], batch_size=48)
    graph = daskgnn.open_graph(path, 4)
    plan = plan_memory(
        graph,
        estimate_step(graph, NeighborSampler([4, 3]), 48, "mean"),
        WindowBudget(0, wanted=64, look_ahead=1, share=0.3),
        num_workers=1,
    )
    assert plan.window == there.window
    assert plan.parts == 4
    assert plan.block_bytes == 4 * estimate_blocks(graph)


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
        ("--workers", "0"): "workers=0 starts none",
        ("--scheduler", "tcp://127.0.0.1:1"): "--memory-limit 1GiB'",
    }
    for words, expected in said.items():
        code, _, err = run(capsys, "train", path, "--memory-limit", "1 GiB", *words)
        assert code == 2
        assert expected in err
    code, _, err = run(capsys, "train", path, "--memory-limit", "lots")
    assert code == 2
    assert "memory_limit='lots'" in err


def test_features_on_the_disk_are_never_held(path, tmp_path):
    held = estimate_blocks(daskgnn.open_graph(path, 2))
    left = estimate_blocks(daskgnn.open_graph(path, 2, features="disk"))
    assert held - left == 2 * 12 * 4 * 400 // 2
    unjudged = stored(planted_graph(val=None, test=None), tmp_path / "g.zarr")
    graph = daskgnn.open_graph(unjudged, 2, features="disk")
    assert estimate_blocks(graph) == (4 * graph.num_edges + 24 * 400) // 2
