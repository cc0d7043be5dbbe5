# SPDX-License-Identifier: BSD-3-Clause
"""Every dtype and every pair of them: promotion as np.result_type, bool counted as uint8."""

import numpy as np
import pytest
from cases import Case, normal_arrays, whole_arrays, whole_numbers
from contract import check, check_exact, roundoff

import fastcorr

pytestmark = pytest.mark.kernels

DTYPES = [np.dtype(c) for c in "?bBhHiIlLqQefdgFDG"]
INTEGERS = [d for d in DTYPES if d.kind in "iu"]
PATHS = [
    Case((9, 20), (3, 2)),
    Case((20, 5, 9), (15, 20, 3, 3), {"padding": 1}),
    Case((3, 2, 6, 5), (4, 1, 3, 3), {"padding": "same", "groups": 2}),
    Case((2, 6, 5, 20), (3, 20, 2, 2), {"channel_axis": -1}),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.char)
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_every_dtype(path, dtype):
    check_exact(*whole_arrays(path, dtype), **path.options)
    if dtype.kind in "fc":
        check(*normal_arrays(path, dtype), **path.options)


@pytest.mark.parametrize("of_w", DTYPES, ids=lambda d: d.char)
@pytest.mark.parametrize("of_x", DTYPES, ids=lambda d: d.char)
def test_every_pair_of_dtypes(of_x, of_w):
    rng = np.random.default_rng(0)
    for path in PATHS[:2]:
        x, w = whole_numbers(path.x, of_x, rng), whole_numbers(path.w, of_w, rng)
        check_exact(x, w, **path.options)


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda d: d.char)
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_integers_wrap_as_numpys(path, dtype):
    rng = np.random.default_rng(1)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = rng.integers(low, high, path.x, dtype, endpoint=True)
    w = rng.integers(low, high, path.w, dtype, endpoint=True)
    check(x, w, **path.options)
    check(np.full(path.x, high, dtype), np.full(path.w, low, dtype), **path.options)
    if len(path.w) == 4:
        check(x, w, rng.integers(low, high, path.w[0], dtype), **path.options)


@pytest.mark.parametrize("terms", [127, 128, 129, 1000])
def test_sums_of_extreme_bytes(terms):
    """Widened to 16 or 32 bits, pairs of products are where an integer kernel saturates."""
    for x, w in ((-128, -128), (-128, 127), (127, 127)):
        check(np.full((terms, 3, 9), x, np.int8), np.full((7, terms, 1, 1), w, np.int8))
    check(np.full((terms, 3, 9), 255, np.uint8), np.full((7, terms, 1, 1), 255, np.uint8))
    check(np.full((terms, 3, 9), 255, np.uint8), np.full((7, terms, 1, 1), -128, np.int8))


def test_large_int64_are_not_sent_through_float():
    x = np.array([[2**62 + 1, -(2**53) - 1]])
    assert fastcorr.corr2d(x, [[1]]).tolist() == x.tolist()
    assert fastcorr.corr2d(x.astype(np.uint64), np.array([[1]], np.uint64))[0, 0] == 2**62 + 1
    border = fastcorr.corr2d(x, [[1]], padding=1, padding_value=2**53 + 1)
    assert border[0, 0] == 2**53 + 1


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_float16_accumulates_in_float32(path):
    """One rounding to float16, of a sum that has the error of a float32 sum."""
    x, w = normal_arrays(path, np.float16)
    y = fastcorr.corr2d(x, w, **path.options)
    wide = fastcorr.corr2d(x.astype(np.float64), w.astype(np.float64), **path.options)
    unit = fastcorr.corr2d(np.abs(x).astype(float), np.abs(w).astype(float), **path.options)
    allowed = roundoff(np.float16) * np.abs(wide) + 16 * roundoff(np.float32) * unit + 2.0**-25
    assert y.dtype == np.float16
    assert np.all(np.abs(y - wide) <= allowed)


def test_float16_overflows_only_at_the_end():
    x = np.full((1, 400), 1000, np.float16)
    w = np.full((1, 400), 1000, np.float16)
    w[0, ::2] *= -1
    assert fastcorr.corr2d(x, w)[0, 0] == 0
    assert fastcorr.corr2d(x, np.abs(w))[0, 0] == np.inf


def test_subnormal_numbers_are_kept():
    for dtype in (np.float32, np.float64):
        tiny = np.finfo(dtype).smallest_subnormal
        for path in PATHS:
            x, w = whole_arrays(path, dtype)
            y = fastcorr.corr2d(x * tiny, w, **path.options)
            np.testing.assert_array_equal(y, fastcorr.corr2d(x, w, **path.options) * tiny)
