"""A store that is larger than what all workers may hold trains as it does anywhere."""

import json
from pathlib import Path

import numpy as np
import psutil
import pytest

import daskgnn
from daskgnn.graph.memory.data import RowSource
from daskgnn.train.run import RunOptions, build_model, train

NODES, COLUMNS = 2600, 100_000
LIMIT = 900 << 20


class Waves(RowSource):
    """Rows of a hundred thousand numbers, held nowhere; their mean tells the class."""

    def rows(self, ids):
        columns = np.arange(self.shape[1], dtype=np.float32)
        phase = (ids[:, None] % 17).astype(np.float32)
        return np.sin(columns * 0.37 + phase) + (ids[:, None] % 2).astype(np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rng = np.random.default_rng(0)
    graph = daskgnn.from_edge_index(rng.integers(0, NODES, (2, 4 * NODES)))
    where = tmp_path_factory.mktemp("wide") / "wide.zarr"
    splits = {"train": np.arange(160), "test": np.arange(160, 400)}
    wide = daskgnn.GraphData(
        graph.indptr,
        graph.indices,
        features=Waves(graph.num_nodes, COLUMNS),
        labels=np.arange(graph.num_nodes) % 2,
        num_classes=2,
        splits=splits,
    )
    return wide.partition(8, "metis").save(where)


@pytest.mark.slow
def test_a_store_beyond_the_limits_gives_the_same_bits(path, tmp_path):
    if psutil.virtual_memory().available < 6 << 30:
        pytest.skip("less than 6 GiB of memory are free for the run without limits")
    size = sum(f.stat().st_size for f in Path(path).rglob("*") if f.is_file())
    assert size > LIMIT
    settings = {"num_parts": 2, "hidden_channels": 4, "num_neighbors": [2, 2]}
    settings |= {"batch_size": 16, "epochs": 2, "num_layers": 2, "dropout": 0.0}
    out = tmp_path / "run"
    config = RunOptions(
        graph=path,
        out=str(out),
        features="disk",
        workers=1,
        memory_limit=str(LIMIT),
        **settings,
    )
    found = train(config)
    events = (out / "metrics.jsonl").read_text().splitlines()
    lost = [e for e in map(json.loads, events) if e["event"] == "worker_lost"]
    assert not lost
    there = json.loads((out / "run.json").read_text())
    hashes, accuracies = set(), set()
    for where in ("memory", "disk"):
        graph = daskgnn.open_graph(path, 2, features=where)
        if where == "memory":
            # Without exact evaluation, which would hold the features three times.
            graph.splits.pop("test")
        alone = daskgnn.Trainer(
            build_model(there, graph),
            graph,
            window=2,
            **{k: there[k] for k in ("num_neighbors", "batch_size", "lr", "seed")},
            **{k: there[k] for k in ("optimizer", "weight_decay")},
        )
        alone.fit(2)
        hashes.add(alone.params_sha256)
        if where == "disk":
            accuracies.add(alone.evaluate("test")["accuracy"])
    assert hashes == {found["params_sha256"]}
    assert accuracies == {found["test_accuracy"]}
