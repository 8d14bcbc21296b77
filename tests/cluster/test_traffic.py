"""What the quality report expects on the wire against what training then measures."""

import numpy as np
import pytest
import scipy.sparse as sp
from training import mostly_slow, small_sage, trainer

import daskgnn
from daskgnn.graph.datasets.generate import planted_partition

BATCH, STEPS = 100, 12


def clustered_graph(sparse):
    """Communities full of triangles, whose nodes differ in degree and row size."""
    rng = np.random.default_rng(0)
    drawn = planted_partition(4000, 16000, 20, num_features=0, seed=2)
    rows = np.repeat(np.arange(4000), np.diff(drawn.indptr))
    edges = np.stack([drawn.indices, rows])
    # Neighbours of a node become neighbours of each other.
    closing = np.stack([edges[0, :-1], edges[0, 1:]])[:, rows[:-1] == rows[1:]]
    features = rng.random((4000, 60)).astype(np.float32)
    if sparse:
        keep = rng.random((4000, 60)) < 0.01 * np.diff(drawn.indptr)[:, None]
        features = sp.csr_array(features * keep)
    return daskgnn.from_edge_index(
        np.concatenate([edges, closing], axis=1),
        num_nodes=4000,
        features=features,
        labels=drawn.labels,
        train=rng.choice(4000, BATCH * STEPS, replace=False),
    )


@pytest.fixture
def client(cluster):
    return cluster(2)


CASES = [
    (False, "hash", 1),
    (True, "metis", 1),
    (False, "metis", 4),
    (True, "hash", 4),
]


@pytest.mark.parametrize(
    ("sparse", "method", "window"),
    mostly_slow(CASES, *CASES[:2]),
)
def test_remote_bytes_are_as_expected(sparse, method, window, tmp_path, client):
    data = clustered_graph(sparse)
    path = data.partition(16, method).save(tmp_path / "g.zarr")
    graph = daskgnn.open_graph(path, 2)
    expected = graph.quality(num_neighbors=[6, 4], batch_size=BATCH, window=window)
    run = trainer(
        path,
        2,
        client,
        model=small_sage,
        num_neighbors=[6, 4],
        batch_size=BATCH,
        window=window,
    )
    run.fit(1)
    measured = run.run_state.total
    assert measured.remote_rows == measured.halo_rows
    rows = measured.remote_rows / STEPS
    assert expected.remote_rows_per_step == pytest.approx(rows, rel=0.15)
    per_step = measured.remote_bytes / STEPS
    assert expected.remote_bytes_per_step == pytest.approx(per_step, rel=0.15)
