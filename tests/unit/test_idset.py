"""Sets of ids as bits against Python's own sets."""

import numpy as np
import pytest

from daskgnn.kernels.idset import IdSet, rank_of


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize(("first", "last"), [(0, 1000), (130, 777), (64, 128), (5, 5)])
def test_members_and_ranks(dtype, first, last):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 1000, n).astype(dtype) for n in (300, 0, 200)]
    without = rng.integers(0, 1000, 150).astype(dtype)
    ids = IdSet.of(arrays, first, last, without=[without])
    expected = set(np.concatenate(arrays).tolist()) - set(without.tolist())
    expected = sorted(v for v in expected if first <= v < last)
    members = ids.members(dtype)
    assert members.dtype == dtype
    assert members.tolist() == expected
    assert ids.size == len(expected)
    for node in range(first, last):
        rank = rank_of(ids.words, ids.before, node - first)
        assert rank == (expected.index(node) if node in expected else -1)
    every = np.arange(first, last)
    np.testing.assert_array_equal(ids.flags(every), np.isin(every, expected))
