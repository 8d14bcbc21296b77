"""A scheduler and workers started by hand, each in a directory of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training import planted_graph, stored

OWN_MODEL = """
import torch
import daskgnn
from layers import TwoStep           # a module beside the script
from distributed import Client

class Net(torch.nn.Module):          # and a class in the script itself
    num_layers = 2

    def __init__(self, inside, outside):
        super().__init__()
        self.first = TwoStep(inside, 16)
        self.second = TwoStep(16, outside)
        self.dropout = daskgnn.nn.Dropout(0.3)

    def forward(self, x, blocks):
        h = torch.relu(self.first(x, blocks[0]))
        return self.second(self.dropout(h, blocks[1]), blocks[1])

if __name__ == "__main__":
    import sys
    store, scheduler = sys.argv[1:]
    client = Client(scheduler) if scheduler != "none" else None
    graph = daskgnn.open_graph(store, num_parts=2)
    torch.manual_seed(0)
    trainer = daskgnn.Trainer(
        Net(graph.num_features, graph.num_classes), graph,
        num_neighbors=[4, 3], batch_size=64, client=client,
    )
    trainer.fit(epochs=4)
    print("RESULT", trainer.params_sha256, trainer.evaluate("test")["accuracy"],
          trainer.predict().compute().shape)
    if client is not None:
        client.close()
"""

LAYERS = """
import torch

class TwoStep(torch.nn.Module):
    def __init__(self, inside, outside):
        super().__init__()
        self.own = torch.nn.Linear(inside, outside)
        self.neighbours = torch.nn.Linear(inside, outside)

    def forward(self, h, block):
        return self.own(block.dst(h)) + self.neighbours(block.aggregate(h, "mean"))
"""


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """Address of a scheduler with two workers, in three directories."""
    home = tmp_path_factory.mktemp("by-hand")
    told = home / "scheduler.json"
    started = []

    def start(name, *words):
        directory = home / name
        directory.mkdir()
        with (directory / "log").open("w") as log:
            command = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
            process = subprocess.Popen(
                command, cwd=directory, stdout=log, stderr=subprocess.STDOUT
            )
        started.append(process)

    start(
        "scheduler",
        "dask_scheduler",
        "--host=127.0.0.1",
        "--port=0",
        "--no-dashboard",
        f"--scheduler-file={told}",
    )
    deadline = time.time() + 30
    while not told.exists():
        assert time.time() < deadline, (home / "scheduler" / "log").read_text()
        time.sleep(0.1)
    address = json.loads(told.read_text())["address"]
    for name in ("first", "second"):
        start(
            name,
            "dask_worker",
            address,
            "--nthreads=2",
            "--no-dashboard",
            "--death-timeout=30",
        )
    yield address
    for process in reversed(started):
        process.terminate()
    for process in started:
        process.wait(20)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stored(planted_graph(), tmp_path_factory.mktemp("store") / "g.zarr")


def run(words, cwd, **env):
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **env},
        check=False,
    )


def daskgnn(*words, cwd):
    return run(["-m", "daskgnn", *words], cwd)


def test_the_command_line_uses_a_running_scheduler(scheduler, store, tmp_path):
    options = [
        "--num-parts",
        "2",
        "--num-neighbors",
        "4,3",
        "--batch-size",
        "64",
        "--epochs",
        "3",
    ]
    there = daskgnn(
        "train", store, *options, "--scheduler", scheduler, "--out", "a", cwd=tmp_path
    )
    assert there.returncode == 0, there.stderr
    here = daskgnn(
        "train", store, *options, "--workers", "0", "--out", "b", cwd=tmp_path
    )
    assert here.returncode == 0, here.stderr
    a, b = (json.loads((tmp_path / d / "summary.json").read_text()) for d in "ab")
    assert a["params_sha256"] == b["params_sha256"]
    assert a["num_workers"] == 2
    assert a["remote_bytes"] > 0
    out = daskgnn("evaluate", "a", "--scheduler", scheduler, cwd=tmp_path)
    assert json.loads(out.stdout)["accuracy"] == a["test_accuracy"]


def test_a_model_in_a_script_reaches_workers_elsewhere(scheduler, store, tmp_path):
    (tmp_path / "layers.py").write_text(LAYERS)
    (tmp_path / "own.py").write_text(OWN_MODEL)
    results = []
    for address in (scheduler, "none"):
        done = run(["own.py", store, address], tmp_path)
        assert done.returncode == 0, done.stderr
        results.append(done.stdout.split("RESULT")[1])
    assert results[0] == results[1]
    assert float(results[0].split()[1]) > 0.5


def test_workers_that_do_not_see_the_store_are_named(scheduler, tmp_path):
    from distributed import Client

    from daskgnn.errors import ClusterError
    from daskgnn.graph.sources.packed import check_path_everywhere

    with Client(scheduler) as client, pytest.raises(ClusterError, match="tcp://"):
        check_path_everywhere(client, str(tmp_path / "nowhere.zarr"))


def test_no_scheduler_is_said_within_ten_seconds(store, tmp_path):
    began = time.time()
    done = daskgnn(
        "train", store, "--scheduler", "tcp://127.0.0.1:9", "--out", "x", cwd=tmp_path
    )
    # Ten seconds for the answer, the rest for starting Python on a busy machine.
    assert time.time() - began < 20
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "tcp://127.0.0.1:9" in done.stderr
    assert not Path(tmp_path / "x").exists()
