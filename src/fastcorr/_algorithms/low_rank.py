# SPDX-License-Identifier: BSD-3-Clause
"""Factors of kernels: w[ky, kx] = sum over terms of u[ky] v[kx], exactly or nearly so.

The contract of 'auto' is elementwise, 16 u (|x| * |w|), so each element of w is judged by itself:

- |w - sum u v| <= MAX_RESIDUAL u |w|. Zeros of w must be zeros of the factors. What is left of the
  16 u is for the rounding of the sums, which are short: KW terms, then KH.
- sum |u| |v| <= MAX_CANCELLATION |w|. The terms' own rounding is relative to them, not to w.

An SVD keeps neither: its errors are relative to the largest element. Here rows and columns of w
itself are taken (adaptive cross approximation, the pivot is the largest element left), so zeros
stay, and kernels of small integers keep integer factors. For rank 1 all kernels are done at once,
and the error of the one row and column taken is spread over all of them, which leaves about that
of a least-squares fit to the relative errors.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastcorr._kernels.dispatch import compute_dtype

MAX_RESIDUAL = 8.0
MAX_CANCELLATION = 2.0
MAX_RANK = 2
MAX_SEVERAL = 16  # kernels that may have more than one term
LOOK = 8  # rows and columns of a larger kernel that are looked at first
SMALLEST = 2.0**-900  # beside the largest element: products and their errors are normal numbers
# Kernels of at most that many bytes are factored once and remembered.
CACHED_BYTES = 64 * 1024


class Factors(NamedTuple):
    """Terms first[k] .. first[k + 1] belong to kernel k = (f, c) of w.

    `rank` is the largest number of terms of a kernel, `residual` the largest |w - sum u v| in units
    of u |w|; `u` (terms, KH) and `v` (terms, KW) are of the compute type. They are read-only.
    """

    u: np.ndarray
    v: np.ndarray
    first: np.ndarray
    rank: int
    residual: float


def factors_of(w, problem, max_rank=MAX_RANK):
    """Return the Factors of the real kernels w, or a str: why there are none.

    `problem` gives the dtype of the result, whose roundoff is the unit; w may have another one.
    """
    dtype = (
        np.dtype(f"f{problem.dtype.itemsize // 2}") if problem.dtype.kind == "c" else problem.dtype
    )
    key = w.shape[-2:], w.dtype.str, dtype.str, max_rank
    if w.nbytes <= CACHED_BYTES:
        return _remembered(w.tobytes(), *key)
    return _factors(np.ascontiguousarray(w), *key)


@lru_cache(maxsize=64)
def _remembered(w, shape, w_dtype, dtype, max_rank):
    return _factors(np.frombuffer(w, w_dtype), shape, w_dtype, dtype, max_rank)


def _factors(w, shape, w_dtype, dtype, max_rank):
    dtype = np.dtype(dtype)
    w = w.reshape(-1, *shape)
    if max_rank == 1 and not _may_be_of_rank_1(w[0]):
        return "the kernel is not of rank 1"
    if dtype.kind not in "iu" and min(shape) > LOOK and not _may_be_of_low_rank(w[0], dtype):
        return f"the kernel is not of rank {MAX_RANK} or less"
    if dtype.kind in "iu":
        factors = _factor_integers(w, dtype)
    else:
        factors = _factor_floats(w, dtype, max_rank)
    if not isinstance(factors, str):
        for array in factors[:3]:
            array.setflags(write=False)
    return factors


def _may_be_of_rank_1(w):
    """A look at one minor, for the many kernels that are nowhere near."""
    a, b, c, d = (float(w[i, j]) for i, j in ((0, 0), (-1, -1), (0, -1), (-1, 0)))
    return not abs(a * b - c * d) > 0.01 * abs(a * b)


def _may_be_of_low_rank(w, dtype):
    """A look at LOOK x LOOK elements of a large kernel.

    They are a matrix of rank MAX_RANK and less than MAX_RESIDUAL u of themselves, if w is one, so
    their next singular value is below LOOK MAX_RESIDUAL u of the largest.
    """
    i, j = (np.linspace(0, n - 1, LOOK, dtype=np.intp) for n in w.shape)
    part = w[i[:, None], j].astype(np.float64)
    if not np.isfinite(part).all():
        return True
    values = np.linalg.svd(part, compute_uv=False)
    return not values[MAX_RANK] > 2 * LOOK * MAX_RESIDUAL * np.finfo(dtype).eps * values[0]


def _factor_integers(w, dtype):
    """Factors that are exact modulo 2^64, and so modulo any 2^n."""
    w = w.astype(np.int64)  # uint64 wraps, which changes nothing modulo 2^64
    u, v = _integer_cross(w)
    if not np.array_equal(u[:, :, None] * v[:, None, :], w):
        return "the kernel is no product of two vectors of integers"
    dtype = compute_dtype(dtype)
    return Factors(u.astype(dtype), v.astype(dtype), np.arange(len(w) + 1), 1, 0.0)


def _integer_cross(w):
    """u and v such that u v = w for integers w, if there are such vectors of integers."""
    with np.errstate(all="ignore"):
        rows = np.arange(len(w))
        largest = np.abs(w).reshape(len(w), -1).argmax(axis=1)
        i, j = np.divmod(largest, w.shape[2])
        v = w[rows, i]
        v = v // np.maximum(np.gcd.reduce(v, axis=1), 1)[:, None]
        pivot = v[rows, j]
        return w[rows, :, j] // np.where(pivot == 0, 1, pivot)[:, None], v


def _factor_floats(w, dtype, max_rank):
    unit, work = np.finfo(dtype).eps / 2, compute_dtype(dtype)
    with np.errstate(all="ignore"):
        w = w.astype(dtype).astype(np.float64)
        if not np.isfinite(w).all():
            return "the kernel is not finite"
        # Powers of two bring the largest element of each kernel near 1.
        exponents = np.frexp(np.abs(w).max(axis=(1, 2)))[1]
        reach = np.finfo(work).maxexp // 2
        if (np.abs(exponents) > reach).any():
            return f"the kernel's largest element is beyond 2^-{reach} to 2^{reach}"
        w = np.ldexp(w, -exponents[:, None, None])
        if ((np.abs(w) < SMALLEST) & (w != 0)).any():
            return "the kernel's elements differ too much in size"

        u, v = _factor_once(w, work)
        residual = _residual(w, [(u, v)], unit)
        counts = np.ones(len(w), int)
        failed = np.flatnonzero(residual > MAX_RESIDUAL)
        if len(failed):
            if max_rank == 1:
                return "the kernel is not of rank 1"
            if len(failed) > MAX_SEVERAL:
                return f"{len(failed)} of the kernels are not of rank 1"
            us, vs = list(u[:, None]), list(v[:, None])
            for k in failed:
                us[k], vs[k], residual[k] = _factor_again(w[k], work, unit)
                if residual[k] > MAX_RESIDUAL:
                    return f"the kernel is not of rank {MAX_RANK} or less, or its terms cancel"
            counts = np.array([len(terms) for terms in us])
            u, v = np.concatenate(us), np.concatenate(vs)
        # Sums under v are not larger than x, so they overflow only where the result does.
        shift = np.frexp(np.abs(v).sum(axis=1))[1][:, None] + 1
        u = np.ldexp(u, np.repeat(exponents, counts)[:, None] + shift).astype(work)
        v = np.ldexp(v, -shift).astype(work)
        for factor in (u, v):
            if ((np.abs(factor) < np.finfo(work).tiny) & (factor != 0)).any():
                return "the factors would underflow"
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
    return Factors(u, v, first, int(counts.max()), float(residual.max()))


def _factor_once(w, work):
    """The best factors of rank 1 of each kernel: float64 numbers that `work` can hold."""
    # Integers times a power of two, as of Sobel and binomial kernels: their factors are exact.
    whole = w * 2.0**52
    u_whole, v_whole = _integer_cross(whole.astype(np.int64))
    fits = (
        (whole == np.rint(whole)).all(axis=(1, 2))
        & (u_whole[:, :, None] * v_whole[:, None, :] == whole).all(axis=(1, 2))
        & (u_whole.astype(work) == u_whole).all(axis=1)
        & (v_whole.astype(work) == v_whole).all(axis=1)
    )[:, None]
    u, v = _cross(w)
    # Spread the errors of the row and column taken over all.
    error = np.divide(_difference(w, [(u, v)]), w, out=np.zeros_like(w), where=w != 0)
    n_rows, n_columns = (np.maximum((a != 0).sum(axis=1, keepdims=True), 1) for a in (u, v))
    of_rows, of_columns = error.sum(axis=2) / n_columns, error.sum(axis=1) / n_rows
    mean = of_rows.sum(axis=1, keepdims=True) / n_rows
    u, v = u + u * (of_rows - mean / 2), v + v * (of_columns - mean / 2)
    return (
        np.where(fits, u_whole * 2.0**-52, u.astype(work)),
        np.where(fits, v_whole, v.astype(work)),
    )


def _factor_again(w, work, unit):
    """Factors of rank 2 to MAX_RANK of one kernel and their residual, infinite if they are none."""
    left, terms = w[None], []
    for _ in range(MAX_RANK):
        u, v = _cross(left)
        terms.append((u.astype(work).astype(np.float64), v.astype(work).astype(np.float64)))
        left = _difference(w[None], terms)
        residual = _residual(w[None], terms, unit)[0]
        if len(terms) > 1 and residual <= MAX_RESIDUAL:
            break
    us, vs = (np.concatenate(factor) for factor in zip(*terms, strict=True))
    cancelling = (np.abs(us).T @ np.abs(vs) > MAX_CANCELLATION * np.abs(w)).any()
    return us, vs, np.inf if cancelling else residual


def _cross(w):
    """The column and row through each kernel's largest element, which u v then repeats."""
    kernel = np.arange(len(w))
    i, j = np.divmod(np.abs(w).reshape(len(w), -1).argmax(axis=1), w.shape[2])
    pivot = w[kernel, i, j]
    return w[kernel, :, j], w[kernel, i] / np.where(pivot == 0, 1, pivot)[:, None]


def _residual(w, terms, unit):
    """The largest |w - sum u v| / (unit |w|) of each kernel; infinite where w is 0 and they not."""
    difference = np.abs(_difference(w, terms))
    ratio = np.where(difference == 0, 0, difference / (unit * np.abs(w)))
    return ratio.max(axis=(1, 2))


def _difference(w, terms):
    """w - sum u v, to twice the precision of float64: products and sums with their errors."""
    high, low = w, 0
    for u, v in terms:
        u, v = u[:, :, None], v[:, None, :]
        (u_high, u_low), (v_high, v_low) = _split(u), _split(v)
        product = u * v
        error = ((u_high * v_high - product) + u_high * v_low + u_low * v_high) + u_low * v_low
        total = high - product
        taken = total - high
        low = low + ((high - (total - taken)) - (product + taken)) - error
        high = total
    return high + low


def _split(a):
    """Halves of 26 bits, so that their products are exact (Dekker 1971)."""
    scaled = a * 134217729.0
    high = scaled - (scaled - a)
    return high, a - high
