"""Compressed gradients against numpy's own arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskgnn.kernels.compress import (
    BLOCK,
    DIRECTIONS,
    RESIDUAL,
    Compression,
    first_directions,
    low_rank,
    low_rank_shapes,
    to_int8,
    top_k,
)

SHAPES = ((40, 30), (40,), (), (7, 3, 5))
LENGTH = 40 * 30 + 40 + 1 + 105
WAYS = [
    Compression("topk", 0.05),
    Compression("powersgd", 2),
    Compression("fp16"),
    Compression("bf16"),
    Compression("int8"),
]


def name_of(way):
    return f"{way.kind}:{way.amount}"


def gradients(count, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return [(scale * rng.normal(size=LENGTH)).astype(np.float32) for _ in range(count)]


def sent(way, steps):
    """Send gradients one after another; return what was applied and carried."""
    carried, applied, messages = way.first(SHAPES), [], []
    for gradient in steps:
        message, carried = way.compress(gradient, carried, SHAPES)
        messages.append(message)
        applied.append(message.dense())
    return applied, carried, messages


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_what_was_applied_and_the_residual_are_all_gradients(way):
    steps = gradients(20)
    applied, carried, _ = sent(way, steps)
    wanted = np.sum(steps, 0, dtype=np.float64)
    found = np.sum(applied, 0, dtype=np.float64) + carried[RESIDUAL]
    np.testing.assert_allclose(found, wanted, atol=2e-5)


@pytest.mark.parametrize(
    "way", [w for w in WAYS if w.kind in ("topk", "fp16", "bf16")], ids=name_of
)
def test_whole_numbers_are_kept_exactly(way):
    rng = np.random.default_rng(1)
    steps = [rng.integers(-4000, 4000, LENGTH).astype(np.float32) for _ in range(30)]
    applied, carried, _ = sent(way, steps)
    total = np.sum(applied, 0, dtype=np.float64) + carried[RESIDUAL]
    np.testing.assert_array_equal(total, np.sum(steps, 0, dtype=np.float64))
    if way.kind != "fp16":  # below 2 ** 11 its numbers are whole as well
        assert carried[RESIDUAL].any()


def test_all_entries_are_the_gradient_itself():
    steps = gradients(5)
    applied, carried, messages = sent(Compression("topk", 1.0), steps)
    np.testing.assert_array_equal(applied, steps)
    assert not carried[RESIDUAL].any()
    assert messages[0].nbytes == 4 * LENGTH


@given(
    values=st.lists(st.integers(-5, 5), min_size=1, max_size=60),
    share=st.floats(0.01, 1.0),
)
@settings(max_examples=100, deadline=None)
def test_the_largest_entries_are_taken_the_first_of_equals(values, share):
    vector = np.array(values, np.float32)
    count = max(1, int(share * len(vector)))
    places, found = top_k(vector, count)
    order = sorted(range(len(vector)), key=lambda i: (-abs(vector[i]), i))
    assert places.tolist() == sorted(order[:count])
    np.testing.assert_array_equal(found, vector[places])


def test_eight_bits_are_off_by_half_a_level():
    (vector,) = gradients(1, scale=3.0)
    vector[BLOCK : BLOCK + 10] *= 1e4
    levels, scales = to_int8(vector)
    assert len(scales) == -(-LENGTH // BLOCK)
    dense = levels * np.repeat(scales, BLOCK)[:LENGTH]
    half = np.repeat(scales, BLOCK)[:LENGTH] * 0.5001
    assert (np.abs(dense - vector) <= half).all()
    assert not to_int8(np.zeros(5, np.float32))[0].any()


def test_sixteen_bits_are_those_of_torch():
    torch = pytest.importorskip("torch")
    (vector,) = gradients(1)
    for kind, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        applied, _, messages = sent(Compression(kind), [vector])
        wanted = torch.from_numpy(vector).to(dtype).float().numpy()
        np.testing.assert_array_equal(applied[0], wanted)
        assert messages[0].nbytes == 2 * LENGTH


def test_what_is_too_large_for_a_half_comes_later():
    steps = [np.full(LENGTH, value, np.float32) for value in (150_000, 0, 0)]
    applied, carried, _ = sent(Compression("fp16"), steps)
    assert np.isfinite(applied).all()
    np.testing.assert_array_equal(np.sum(applied, 0), steps[0])
    assert not carried[RESIDUAL].any()


@pytest.mark.parametrize("way", WAYS, ids=name_of)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_does_not_hide_in_the_residual(way, value):
    steps = gradients(3)
    steps[1][7] = value
    applied, carried, _ = sent(way, steps)
    assert not np.isfinite(applied[1][7])
    assert np.isfinite(carried[RESIDUAL]).all()
    assert carried.keys() == way.first(SHAPES).keys()


# -- PowerSGD


def test_full_rank_is_the_matrix_to_rounding():
    rng = np.random.default_rng(2)
    for rows, columns in ((20, 8), (8, 20), (9, 9)):
        matrix = rng.normal(size=(rows, columns)).astype(np.float32)
        right = rng.normal(size=(columns, min(rows, columns))).astype(np.float32)
        left, right = low_rank(matrix, right)
        np.testing.assert_allclose(left @ right.T, matrix, atol=1e-5)
        np.testing.assert_allclose(left.T @ left, np.eye(left.shape[1]), atol=1e-5)


def test_a_matrix_of_lower_rank_is_exact_and_has_no_noise():
    rng = np.random.default_rng(3)
    matrix = (rng.normal(size=(30, 2)) @ rng.normal(size=(2, 20))).astype(np.float32)
    left, right = low_rank(matrix, rng.normal(size=(20, 4)).astype(np.float32))
    np.testing.assert_allclose(left @ right.T, matrix, atol=1e-4)
    left, right = low_rank(np.zeros_like(matrix), right)
    assert not (left @ right.T).any()


def test_one_step_equals_numpy():
    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(30, 20)).astype(np.float32)
    start = rng.normal(size=(20, 3)).astype(np.float32)
    basis, _ = np.linalg.qr(matrix.astype(np.float64) @ start)
    wanted = basis @ (basis.T @ matrix)
    left, right = low_rank(matrix, start)
    np.testing.assert_allclose(left @ right.T, wanted, atol=1e-5)


def test_a_warm_start_finds_the_best_directions():
    rng = np.random.default_rng(5)
    weights = 0.6 ** np.arange(20)
    u, _ = np.linalg.qr(rng.normal(size=(30, 20)))
    v, _ = np.linalg.qr(rng.normal(size=(20, 20)))
    matrix = ((u * weights) @ v.T).astype(np.float32)
    best = np.linalg.norm(weights[3:])
    right = rng.normal(size=(20, 3)).astype(np.float32)
    errors = []
    for _ in range(30):
        left, right = low_rank(matrix, right)
        errors.append(np.linalg.norm(matrix - left @ right.T))
    assert errors[0] > 1.05 * best
    assert errors[-1] == pytest.approx(best, rel=1e-3)


def test_directions_are_carried_and_small_parameters_sent_whole():
    way = Compression("powersgd", 2)
    assert low_rank_shapes(SHAPES, 2) == (
        (40, 30, 2),
        (40, 1, 0),
        (1, 1, 0),
        (7, 15, 2),
    )
    (gradient,) = gradients(1)
    carried = way.first(SHAPES)
    np.testing.assert_array_equal(carried[DIRECTIONS], first_directions(SHAPES, 2))
    message, after = way.compress(gradient, carried, SHAPES)
    assert message.nbytes == 4 * (2 * (40 + 30) + 40 + 1 + 2 * (7 + 15))
    assert not np.array_equal(after[DIRECTIONS], carried[DIRECTIONS])
    np.testing.assert_array_equal(message.dense()[1200:1241], gradient[1200:1241])
    cold, _ = way.compress(gradient, carried, SHAPES)
    warm, _ = way.compress(
        gradient, {**carried, **{DIRECTIONS: after[DIRECTIONS]}}, SHAPES
    )
    off = [np.linalg.norm(m.dense() - gradient) for m in (cold, warm)]
    assert off[1] < off[0]


def test_directions_outlive_a_gradient_of_zeros():
    way, steps = Compression("powersgd", 2), gradients(200)
    _, wanted, _ = sent(way, steps)
    applied, found, _ = sent(way, [np.zeros(LENGTH, np.float32), *steps])
    assert not applied[0].any()
    lengths = [np.linalg.norm(carried[RESIDUAL]) for carried in (found, wanted)]
    # The first directions are those of a run without the zeros: so is all else.
    assert lengths[0] == lengths[1]
    assert lengths[0] < 0.8 * np.linalg.norm(np.sum(steps, 0))


def test_after_a_gradient_of_rank_one_all_directions_are_used_again():
    rng = np.random.default_rng(6)
    shapes, way = ((30, 20),), Compression("powersgd", 2)
    single = np.outer(rng.normal(size=30), rng.normal(size=20)).astype(np.float32)
    message, carried = way.compress(single.ravel(), way.first(shapes), shapes)
    assert np.linalg.matrix_rank(message.dense().reshape(30, 20), 1e-3) == 1
    double = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 20))
    carried[RESIDUAL][:] = 0
    message, _ = way.compress(double.astype(np.float32).ravel(), carried, shapes)
    np.testing.assert_allclose(message.dense().reshape(30, 20), double, atol=1e-4)


def test_the_same_inputs_give_the_same_bytes():
    steps = gradients(3)
    for way in WAYS:
        first, second = sent(way, steps), sent(way, steps)
        np.testing.assert_array_equal(first[0], second[0])
        for name, array in first[1].items():
            np.testing.assert_array_equal(array, second[1][name])
