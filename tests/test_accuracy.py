# SPDX-License-Identifier: BSD-3-Clause
"""The accuracy contract: 16 u (|x| * |w|) on random data, 64 u on hostile data, never loosened.

Up to 10^5 terms. NaN and Inf stand exactly where the definition puts them.
"""

import functools

import numpy as np
import pytest
from cases import Case, normal, whole_arrays
from contract import check, compare, definition, roundoff

import fastcorr

FLOATS = [np.float16, np.float32, np.float64, np.complex64, np.complex128]
SHAPES = [
    Case((64, 6, 9), (15, 64, 3, 3)),
    Case((130, 5, 17), (7, 130, 1, 1)),
    Case((512, 5, 5), (6, 512, 3, 3), {"padding": 1, "stride": 2}),
    Case((4096, 5, 9), (2, 4096, 5, 5)),
    Case((2, 5, 6, 512), (12, 128, 3, 3), {"channel_axis": -1, "groups": 4}),
    Case((3, 30, 40), (5, 3, 11, 11), {"padding": 5, "padding_mode": "symmetric"}),
    Case((4, 40, 41), (4, 1, 25, 25), {"groups": 4}),
    Case((60, 61), (31, 31)),
    Case((318, 324), (317, 317)),
    Case((1, 20_010), (1, 20_000)),
]
pytestmark = pytest.mark.kernels
by_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.__name__)
by_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def n_terms(case):
    return np.prod(case.w[-3:]) if len(case.w) == 4 else np.prod(case.w)


def uniform(shape, dtype, rng):
    values = rng.random(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.random(shape)
    return np.asarray(values).astype(dtype)


@functools.cache
def random_problem(i_shape, dtype, distribution):
    """Return x, w and what the definition makes of them: once for all instruction sets."""
    shape, rng = SHAPES[i_shape], np.random.default_rng(i_shape)
    x, w = distribution(shape.x, dtype, rng), distribution(shape.w, dtype, rng)
    if dtype is np.float16 and distribution is uniform:
        w = (w / n_terms(shape)).astype(dtype)  # the sum itself must not overflow
    return x, w, definition(x, w, **shape.options)


@by_dtype
@pytest.mark.parametrize("i_shape", range(len(SHAPES)), ids=lambda i: str(SHAPES[i]))
@pytest.mark.parametrize("distribution", [normal, uniform], ids=["either_sign", "all_positive"])
def test_random_data(isa, i_shape, dtype, distribution):
    x, w, expected = random_problem(i_shape, dtype, distribution)
    y = fastcorr.corr2d(x, w, **SHAPES[i_shape].options)
    compare(y, *expected, units=16)


def constant(x, w, rng):
    x[...], w[...] = 0.1, 0.7


def constant_image(x, w, rng):
    x[...] = 1 / 3


def bright_star(x, w, rng):
    x[...] = 0.5 + np.abs(x)
    x.reshape(-1)[x.size // 2] = 1e12


def bright_star_positive_kernel(x, w, rng):
    bright_star(x, w, rng)
    w[...] = np.abs(w)


def tiny_beside_huge(x, w, rng):
    x[..., : x.shape[-1] // 2] *= 1e-15
    x[..., x.shape[-1] // 2 :] *= 1e15


def every_magnitude(x, w, rng):
    x *= (10.0 ** rng.uniform(-9, 9, x.shape)).astype(x.real.dtype)
    w *= (10.0 ** rng.uniform(-9, 9, w.shape)).astype(w.real.dtype)


def huge_and_cancelling(x, w, rng):
    w[...] = 1 + np.abs(w) * 1e-3
    x.reshape(-1)[::2] += 1e6
    x.reshape(-1)[1::2] -= 1e6


def growing_kernel(x, w, rng):
    x[...] = np.abs(x)
    w.reshape(-1)[:] = np.geomspace(1e-12, 1, w.size)


HOSTILE = [
    constant, constant_image, bright_star, bright_star_positive_kernel, tiny_beside_huge,
    every_magnitude, huge_and_cancelling, growing_kernel,
]  # fmt: skip


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", FLOATS[1:4], ids=lambda d: d.__name__)
@by_shape
def test_hostile_data(shape, dtype, spoil):
    rng = np.random.default_rng(2)
    x, w = normal(shape.x, dtype, rng), normal(shape.w, dtype, rng)
    spoil(x, w, rng)
    check(x, w, units=64, **shape.options)


@by_shape
def test_hostile_data_in_float16(shape):
    x, w = np.full(shape.x, 0.1, np.float16), np.full(shape.w, 0.7, np.float16)
    check(x, (w / n_terms(shape)).astype(np.float16), units=64, **shape.options)
    rng = np.random.default_rng(3)
    x, w = normal(shape.x, np.float16, rng), normal(shape.w, np.float16, rng)
    x.reshape(-1)[x.size // 2] = 10_000
    check(x, w, units=64, **shape.options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_running_sum_would_not_pass(dtype):
    """So the data above are hostile enough to tell a blocked sum from a plain one."""
    terms = np.full(102_400, dtype(0.1) * dtype(0.7))
    exact = np.longdouble(terms[0]) * terms.size
    assert abs(np.cumsum(terms)[-1] - exact) > 64 * roundoff(dtype) * exact


PATHS = [
    Case((7, 40), (3, 3)),
    Case((20, 6, 18), (15, 20, 3, 3)),
    Case((2, 4, 6, 19), (4, 1, 3, 3), {"groups": 4}),
    Case((6, 18, 20), (3, 20, 3, 3), {"channel_axis": -1, "stride": 2}),
]
SPECIAL = [np.nan, np.inf, -np.inf]
by_path = pytest.mark.parametrize("path", PATHS, ids=str)
special_dtypes = pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.complex64, np.longdouble]
)


@special_dtypes
@by_path
def test_nan_and_inf_in_the_image(path, dtype):
    x, w = whole_arrays(path, dtype)  # its zeros make 0 * Inf as well
    for value in SPECIAL:
        for position in np.linspace(0, x.size - 1, 4).astype(int):
            spoiled = x.copy()
            spoiled.reshape(-1)[position] = value
            for mode in ("constant", "wrap"):
                check(spoiled, w, padding=2, padding_mode=mode, **path.options)
    x.reshape(-1)[[0, x.size // 2, -1]] = np.inf, -np.inf, np.nan
    check(x, w, padding="same", **path.options)


@by_path
def test_nan_and_inf_on_every_instruction_set(isa, path):
    x, w = whole_arrays(path, np.float32)
    x.reshape(-1)[[0, x.size // 3, -1]] = np.nan, np.inf, -np.inf
    check(x, w, padding=2, **path.options)
    w.reshape(-1)[-1] = np.inf
    check(x, w, padding=2, **path.options)


@special_dtypes
@by_path
def test_nan_and_inf_in_the_kernel(path, dtype):
    """At the border they meet the padding: 0 * Inf and 0 * NaN are NaN there, too."""
    x, w = whole_arrays(path, dtype)
    for value in SPECIAL:
        for position in (0, w.size // 2, w.size - 1):
            spoiled = w.copy()
            spoiled.reshape(-1)[position] = value
            check(x, spoiled, padding=((1, 2), (0, 3)), **path.options)
            check(np.abs(x).astype(dtype) + 1, spoiled, padding=1, padding_value=1, **path.options)


@special_dtypes
@by_path
def test_nan_and_inf_as_padding_value(path, dtype):
    x, w = whole_arrays(path, dtype)
    for value in SPECIAL:
        for padding in (1, ((0, 4), (3, 0)), "same", "full"):
            check(x, w, padding=padding, padding_value=value, **path.options)
        check(x, w, padding="valid", padding_value=value, **path.options)


@pytest.mark.parametrize("value", SPECIAL)
@by_path
def test_real_meets_complex_as_in_numpy(path, value):
    """The real side is promoted first, so Inf or NaN of one part spoils the other part, too."""
    x, w = whole_arrays(path, np.complex64)
    for a, b in ((x.real.copy(), w), (x, w.real.copy())):
        for side in (a, b):
            spoiled = side.copy()
            spoiled.reshape(-1)[side.size // 2] = value
            pair = (spoiled, b) if side is a else (a, spoiled)
            check(*pair, padding=1, **path.options)


@special_dtypes
def test_bias_of_nan_and_inf(dtype):
    x, w = whole_arrays(PATHS[1], dtype)
    bias = np.zeros(15, dtype)
    bias[[0, 6, 14]] = np.nan, np.inf, -np.inf
    check(x, w, bias, padding=1)


def test_finite_sums_that_overflow_are_inf():
    for dtype in (np.float32, np.float64):
        huge = np.finfo(dtype).max
        for path in PATHS:
            x, w = np.full(path.x, huge, dtype), np.full(path.w, 2, dtype)
            check(x, w, **path.options)
            check(x, -w, **path.options)
