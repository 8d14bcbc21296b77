"""A scheduler and workers started by hand, each in a directory of its own."""

import json
import runpy
import sys
import time

import pytest
from distributed import Client
from training import dask_processes, inside

from daskgnn.errors import ClusterError
from daskgnn.graph.sources.packed import check_path_everywhere

OWN_MODEL = """
import torch
import daskgnn
from beside_own import TwoStep       # a module beside the script
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

def main(store, client):
    graph = daskgnn.open_graph(store, num_parts=2)
    torch.manual_seed(0)
    trainer = daskgnn.Trainer(
        Net(graph.num_features, graph.num_classes), graph,
        num_neighbors=[4, 3], batch_size=64, client=client, warmup_steps=0,
    )
    trainer.fit(epochs=4)
    print("RESULT", trainer.params_sha256, trainer.evaluate("test")["accuracy"],
          trainer.predict().compute().shape)

if __name__ == "__main__":
    import sys
    store, scheduler = sys.argv[1:]
    if scheduler == "none":
        main(store, None)
    else:
        with Client(scheduler) as client:
            main(store, client)
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
    with dask_processes() as started:

        def start(name, *words):
            (home / name).mkdir()
            started(home / name, *words)

        place = ("--host=127.0.0.1", "--port=0", "--no-dashboard")
        start("scheduler", "scheduler", *place, f"--scheduler-file={told}")
        deadline = time.time() + 120
        while not told.exists():
            assert time.time() < deadline, (home / "scheduler" / "log").read_text()
            time.sleep(0.1)
        address = json.loads(told.read_text())["address"]
        for name in ("first", "second"):
            options = ("--nthreads=2", "--no-nanny", "--no-dashboard")
            start(name, "worker", address, *options, "--death-timeout=60")
        with Client(address, timeout=60) as client:
            client.wait_for_workers(2, timeout=120)
        yield address


@pytest.mark.filterwarnings("ignore:the scheduler's settings")
def test_the_command_line_uses_a_running_scheduler(scheduler, path, tmp_path):
    given = "--num-parts 2 --num-neighbors 4,3 --batch-size 64 --epochs 3"
    options = given.split()
    there, here = (str(tmp_path / name) for name in "ab")
    inside("train", path, *options, "--scheduler", scheduler, "--out", there)
    inside("train", path, *options, "--workers", "0", "--out", here)
    a, b = (json.loads((tmp_path / d / "summary.json").read_text()) for d in "ab")
    assert a["params_sha256"] == b["params_sha256"]
    assert a["num_workers"] == 2
    assert a["remote_bytes"] > 0
    out = inside("evaluate", there, "--scheduler", scheduler)
    assert json.loads(out)["accuracy"] == a["test_accuracy"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the scheduler's settings")
def test_a_model_in_a_script_reaches_workers_elsewhere(
    scheduler, path, tmp_path, monkeypatch, capsys
):
    (tmp_path / "beside_own.py").write_text(LAYERS)
    (tmp_path / "own.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    for where in (scheduler, "none"):
        monkeypatch.setattr(sys, "argv", ["own.py", path, where])
        runpy.run_path(str(tmp_path / "own.py"), run_name="__main__")
    del sys.modules["beside_own"]
    _, *results = capsys.readouterr().out.split("RESULT")
    assert results[0] == results[1]
    assert float(results[0].split()[1]) > 0.5


def test_workers_that_do_not_see_the_store_are_named(scheduler, tmp_path):
    with Client(scheduler) as client, pytest.raises(ClusterError, match="tcp://"):
        check_path_everywhere(client, str(tmp_path / "nowhere.zarr"))
