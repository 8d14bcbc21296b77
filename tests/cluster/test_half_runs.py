"""Half-precision features on a cluster: the bits of one process, half the bytes."""

import dask
import pytest
from training import mostly_slow, planted_graph, trainer

from daskgnn.train import loop


@pytest.fixture(autouse=True)
def _windows_of_all_steps_allowed(monkeypatch):
    """What crosses depends on windows' sizes, and these on measured times."""
    monkeypatch.setattr(loop, "WINDOW_SECONDS", 1e6)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    partitioned = planted_graph(200).partition(num_clusters=16)
    names = ("float32", "float16", "bfloat16")
    return {n: partitioned.save(folder / f"{n}.zarr", feature_dtype=n) for n in names}


def fitted(path, client, **options):
    # Whether a sum takes fewer bytes than its rows depends on the rows' dtype.
    with dask.config.set({"gnn.remote-aggregation": "off"}):
        run = trainer(path, 3, client, batch_size=24, window=3, **options)
        run.fit(2)
    return run


CASES = [("float16", "tasks"), ("bfloat16", "window")]


@pytest.mark.parametrize(("name", "steps"), mostly_slow(CASES, CASES[1]))
def test_every_form_gives_the_bits_of_one_process(paths, cluster, name, steps):
    client = cluster(2)
    exact = fitted(paths["float32"], client, steps="tasks").summary()
    alone = fitted(paths[name], None)
    scores = alone.summary()
    stored = fitted(paths[name], client, steps=steps)
    assert stored.params_sha256 == alone.params_sha256
    summary = stored.summary()
    assert summary["steps_form"] == steps
    assert summary["test_accuracy"] == scores["test_accuracy"]
    assert summary["remote_rows"] == exact["remote_rows"] > 0
    # Two bytes less for each of a row's 12 features.
    less = exact["remote_bytes"] - summary["remote_bytes"]
    assert less == 2 * 12 * summary["remote_rows"]
    asked = fitted(paths["float32"], client, feature_dtype=name)
    assert asked.params_sha256 == alone.params_sha256
