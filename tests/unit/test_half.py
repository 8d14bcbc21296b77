"""Half-precision tables against torch, which has both types."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from numba import njit

from daskgnn.errors import InputError
from daskgnn.kernels.bfloat import read
from daskgnn.kernels.half import (
    TABLE_DTYPES,
    check_range,
    dtype_name,
    narrow,
    widen,
)

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
ALL_BITS = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)


def torch_widen(table, name):
    bits = torch.from_numpy(table.view(np.int16).copy())
    return bits.view(HALVES[name]).float().numpy()


def torch_narrow(values, name):
    half = torch.from_numpy(values).to(HALVES[name])
    return half.view(torch.int16).numpy().view(TABLE_DTYPES[name])


def same(found, expected):
    """Bit-equal, but for which NaN it is."""
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(found), nan)
    kind = np.uint32
    assert np.array_equal(found.view(kind)[~nan], expected.view(kind)[~nan])


@njit
def row_sums(table, out):
    for row in range(table.shape[0]):
        for f in range(table.shape[1]):
            out[f] += read(table[row, f])


@pytest.mark.parametrize("name", HALVES)
def test_every_bit_pattern_widens_as_in_torch(name):
    table = ALL_BITS.view(TABLE_DTYPES[name])
    same(widen(table), torch_widen(table, name))


def test_a_float16_array_is_a_float16_table():
    values = np.float16([[1.5, -2.25], [6e-8, 65504]])
    assert dtype_name(values) == "float16"
    assert np.array_equal(widen(values), values.astype(np.float32))


@pytest.mark.parametrize("name", HALVES)
def test_every_bit_pattern_narrows_back_to_itself(name):
    table = ALL_BITS.view(TABLE_DTYPES[name])
    back = narrow(widen(table), name)
    number = ~np.isnan(widen(table))
    assert np.array_equal(back[number], table[number])
    assert np.isnan(widen(back)[~number]).all()


@pytest.mark.parametrize("name", HALVES)
def test_random_numbers_narrow_as_in_torch(name):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, (1000, 257), dtype=np.uint32)
    values = bits.view(np.float32)
    largest = 65504 if name == "float16" else np.float32(3.38e38)
    values = np.where(np.abs(values) > largest, np.float32(1), values)
    usual = rng.standard_normal((1000, 257), dtype=np.float32)
    for array in (values, usual, usual * np.float32(1e-6)):
        expected = torch_narrow(array, name)
        found = narrow(array, name)
        nan = np.isnan(array)
        assert found.dtype == TABLE_DTYPES[name]
        assert np.array_equal(found[~nan], expected[~nan])
        assert np.isnan(widen(found)[nan]).all()


@pytest.mark.parametrize("name", HALVES)
def test_ties_round_to_even(name):
    table = ALL_BITS.view(TABLE_DTYPES[name])
    values = widen(table).ravel()
    values = np.unique(values[np.isfinite(values)])
    middle = ((values[1:].astype(np.float64) + values[:-1]) / 2).astype(np.float32)
    expected = torch_narrow(middle[None], name)
    assert np.array_equal(narrow(middle[None], name), expected)
    assert (expected & 1 == 0).all()


def test_float32_passes_through_uncopied():
    values = np.ones((3, 2), np.float32)
    assert narrow(values, "float32") is values
    assert widen(values) is values


@pytest.mark.parametrize(
    ("name", "fits", "large"),
    [("float16", 65519.0, 65520.0), ("bfloat16", 3.3895e38, 3.3962e38)],
)
def test_a_number_that_would_become_infinite_is_named(name, fits, large):
    values = np.zeros((5, 4), np.float32)
    values[1, 1] = fits
    assert np.isfinite(widen(narrow(values, name))).all()
    values[3, 2] = -large
    with pytest.raises(InputError, match=rf"row 3, column 2\), too large for {name}"):
        narrow(values, name)
    with pytest.raises(InputError, match="node 40, column 2"):
        check_range(values, name, "node", lambda row: 10 * row + 10)


def test_infinity_itself_stays():
    values = np.float32([[np.inf, -np.inf]])
    for name in HALVES:
        assert np.array_equal(widen(narrow(values, name)), values)


def test_unknown_dtypes_are_refused():
    with pytest.raises(InputError, match="feature_dtype is 'float8'"):
        narrow(np.zeros((1, 1), np.float32), "float8")
    with pytest.raises(InputError, match="dtype float64"):
        widen(np.zeros((1, 1)))


@pytest.mark.parametrize("name", TABLE_DTYPES)
def test_a_kernel_reads_every_kind_of_table(name):
    rng = np.random.default_rng(1)
    table = narrow(rng.standard_normal((50, 37), dtype=np.float32), name)
    found, expected = np.zeros((2, 37), np.float32)
    row_sums(table, found)
    for row in widen(table):
        expected += row
    assert np.array_equal(found, expected)


def test_rows_in_any_memory_order():
    values = np.random.default_rng(2).standard_normal((6, 8), dtype=np.float32)
    for name in HALVES:
        table = narrow(np.asfortranarray(values)[::2], name)
        assert table.flags.c_contiguous
        assert np.array_equal(table, narrow(values[::2].copy(), name))
        assert np.array_equal(widen(table[:, ::2]), widen(table)[:, ::2])


def test_kernels_are_vectorised():
    for name in TABLE_DTYPES:
        table = narrow(np.ones((4, 64), np.float32), name)
        row_sums(table, np.zeros(64, np.float32))
    code = row_sums.inspect_llvm()
    for signature, text in code.items():
        assert "x float> " in text, f"{signature} adds numbers one by one"


OLD_PROCESSOR = """
import numpy as np
from daskgnn.kernels.half import widen
table = np.arange(1 << 16, dtype=np.uint16).view(np.int16).reshape(256, 256)
found, expected = widen(table), table.view(np.float16).astype(np.float32)
nan = np.isnan(expected)
assert np.array_equal(np.isnan(found), nan)
assert np.array_equal(found.view(np.uint32)[~nan], expected.view(np.uint32)[~nan])
"""


def test_processors_without_half_precision_give_the_same_bits(tmp_path):
    """Numba is told of no processor features, so the bits are computed."""
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    subprocess.run([sys.executable, "-c", OLD_PROCESSOR], env=environment, check=True)
