# SPDX-License-Identifier: BSD-3-Clause
"""The user's arrays as the steps of a call need them: with four axes, and safe to write.

Views only, but for new arrays of results.
"""

import math

import numpy as np

from fastcorr._algorithms.tiled import on_a_line

CACHE_LINE = 64
ALIGNED_BYTES = 64 * 1024  # smaller ones are not worth the microsecond


def empty_of(shape, dtype):
    """Return the function that makes arrays of that shape and dtype: np.empty, or one like it.

    NumPy's begin 16 bytes behind a cache line, so each vector of AVX-512 would be written to two.
    Large arrays of rows of whole lines begin with one, therefore: batches of depthwise layers with
    channels last would take 1.2 times as long.
    """
    row_bytes = shape[-1] * dtype.itemsize if shape else 0
    if row_bytes % CACHE_LINE or math.prod(shape) * dtype.itemsize < ALIGNED_BYTES:
        return np.empty
    return _empty_on_a_line


def _empty_on_a_line(shape, dtype):
    n_bytes = math.prod(shape) * dtype.itemsize
    return on_a_line(np.empty(n_bytes + CACHE_LINE, np.uint8), shape, dtype)


def four(a):
    """Return a view with four axes, those that are missing put in front."""
    return a if a.ndim == 4 else a[(None,) * (4 - a.ndim)]


_CHANNELS_FIRST = {3: (2, 0, 1), 4: (0, 3, 1, 2)}  # np.moveaxis takes 4 us


def nchw(a, channels_last):
    """Return a view (N, C, H, W) of x or y; one of two axes has no channels."""
    return four(a.transpose(_CHANNELS_FIRST[a.ndim]) if channels_last and a.ndim > 2 else a)


def place(out, shape, dtype, *inputs):
    """Return `out`, or a new array where it cannot be written while the inputs are read."""
    if out is None or not out.flags.aligned or any(np.may_share_memory(out, a) for a in inputs):
        return empty_of(shape, dtype)(shape, dtype)
    return out


def placed(result, out):
    """Return the result, in `out` if that was given."""
    if out is None or result is out:
        return result
    out[...] = result
    return out
