# SPDX-License-Identifier: BSD-3-Clause
"""New arrays for results, where vectors can be written to them without meeting two cache lines."""

import math

import numpy as np

from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.parallel cimport CACHE_LINE

import_array()

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
    cdef ndarray room = np.empty(math.prod(shape) * dtype.itemsize + CACHE_LINE, np.uint8)
    return np.ndarray(shape, dtype, room, -<Py_ssize_t> PyArray_DATA(room) & (CACHE_LINE - 1))
