"""How kernels read and write bfloat16: against torch."""

import numpy as np
import torch
from numba import njit

from daskgnn.kernels.bfloat import read, written


@njit
def read_all(x, out):
    for i in range(len(x)):
        out[i] = read(x[i])


@njit
def write_all(x, out):
    for i in range(len(x)):
        out[i] = written(x[i], out[i])


def test_every_pattern_is_read_as_torch_reads_it():
    bits = np.arange(2**16).astype(np.uint16)
    found = np.empty(len(bits), np.float32)
    read_all(bits, found)
    expected = torch.from_numpy(bits).view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(found, expected)


def test_numbers_are_rounded_as_torch_rounds_them():
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 2**32, 300_000, dtype=np.uint32).view(np.float32)
    ties = (np.arange(2**16, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan], np.float32)
    x = np.concatenate([patterns, ties, special])
    out = np.empty(len(x), np.uint16)
    write_all(x, out)
    expected = torch.from_numpy(x).bfloat16()
    found = torch.from_numpy(out).view(torch.bfloat16)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
