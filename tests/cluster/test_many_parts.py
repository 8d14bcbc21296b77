"""More parts than workers, far more too: the same bits in both forms."""

import pytest
from training import mostly_slow, planted_graph, stored, trainer

MOST_PARTS = 32


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    return stored(planted_graph(256), folder / "g.zarr", "hash", MOST_PARTS)


@pytest.mark.parametrize(
    ("num_parts", "workers"),
    mostly_slow([(3, 1), (MOST_PARTS, 2)], (3, 1)),
)
def test_many_parts_on_few_workers(path, cluster, num_parts, workers):
    alone = facts(fitted(path, num_parts, None, "auto"))
    for form in ("tasks", "window"):
        run = fitted(path, num_parts, cluster(workers), form)
        assert set(run.run_state.forms) == {form}
        assert facts(run) == alone


@pytest.mark.slow
def test_caches_of_many_parts(path, cluster):
    alone = facts(fitted(path, 4, None, "auto"))
    cached = {"halo_cache": "2 kB", "window": 1}
    for policy in ("lru", "static"):
        run = fitted(path, 4, cluster(2), "auto", halo_cache_policy=policy, **cached)
        assert run.summary()["cache_hits"]
        assert facts(run) == alone


def fitted(path, num_parts, client, steps, **options):
    """Train two steps: with the most parts, two seeds a part and step."""
    options = {"num_neighbors": [3, 2], "batch_size": 64, "window": 2, **options}
    run = trainer(path, num_parts, client, steps=steps, eval_every=9, **options)
    run.fit(1)
    return run


def facts(run):
    """Return what must not depend on where a run ran, nor in which form."""
    return run.params_sha256, [step["loss"] for step in run.recorder.history.steps]
