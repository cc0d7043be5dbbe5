# SPDX-License-Identifier: BSD-3-Clause
"""The accuracy contract as assertions: what "right" means in every test of the operator.

`check` runs corr2d and compares it with reference.py in units of u (|x| * |w|); `check_exact` is
for data whose every partial sum is a small integer, where only equality is right.
"""

import numpy as np
import reference

import fastcorr

STEERING = ("method", "out", "workers")  # keywords that must not change the result


def check(x, w, bias=None, *, units=16, **options):
    """Run corr2d and assert the contract: `units` of u (|x| * |w|), NaN and Inf in their places."""
    y = fastcorr.corr2d(x, w, bias, **options)
    compare(y, *definition(x, w, bias, **options), units=units)
    return y


def definition(x, w, bias=None, **options):
    """Return (y, |x| * |w|, dtype of y) by the definition; the second is None for integers."""
    options = {k: v for k, v in options.items() if k not in STEERING}
    dtype = reference.result_type(x, w, bias)
    exact = reference.correlate(x, w, bias, **options)
    if dtype.kind in "iu":
        return exact, None, dtype
    return exact, reference.magnitude(x, w, bias, **options).real, dtype


def compare(y, exact, magnitude, dtype, *, units=16):
    """Assert that y, a result of corr2d, is within the contract."""
    _check_kind(y, exact, dtype)
    if magnitude is None:
        np.testing.assert_array_equal(y, exact.astype(dtype))
        return
    with np.errstate(all="ignore"):
        expected = exact.astype(dtype)  # where the exact value itself overflows, so may y
    _check_special_values(y, expected)
    finite = np.isfinite(expected)
    error = np.abs(np.where(finite, y, 0).astype(exact.dtype) - np.where(finite, exact, 0))
    worst = _largest_ratio(error, np.where(finite, magnitude * roundoff(dtype), 1))
    assert worst <= units, f"{worst:.3g} u (|x| * |w|), the contract allows {units}"


def check_exact(x, w, bias=None, **options):
    """Run corr2d on small whole numbers and assert equality with the definition."""
    y = fastcorr.corr2d(x, w, bias, **options)
    options = {k: v for k, v in options.items() if k not in STEERING}
    exact = reference.correlate(x, w, bias, **options)
    dtype = reference.result_type(x, w, bias)
    _check_kind(y, exact, dtype)
    np.testing.assert_array_equal(y, exact.astype(dtype), err_msg=str(options))
    return y


def check_bits(a, b):
    """Assert that two results are the same, bit for bit (the sign of zero and NaN included)."""
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    if a.dtype.char in "gG":  # long double carries padding bytes
        np.testing.assert_array_equal(a, b)
    else:
        assert a.tobytes() == b.tobytes()


def roundoff(dtype):
    """Return u of a float or complex dtype: half the gap between 1 and its successor."""
    return np.finfo(dtype).eps / 2


def _check_kind(y, exact, dtype):
    assert type(y) is np.ndarray
    assert y.dtype == dtype
    assert y.dtype.isnative
    assert y.shape == exact.shape


def _check_special_values(y, expected):
    for part in ("real", "imag") if y.dtype.kind == "c" else ("real",):
        got, want = getattr(y, part), getattr(expected, part)
        special = ~np.isfinite(want) | ~np.isfinite(got)
        np.testing.assert_array_equal(got[special], want[special], err_msg=f"NaN or Inf, {part}")


def _largest_ratio(error, unit):
    if error.size == 0:
        return 0.0
    exact_zero = unit == 0
    assert not error[exact_zero].any(), "a sum of zeros is not zero"
    return float((error / np.where(exact_zero, 1, unit)).max())
