# SPDX-License-Identifier: BSD-3-Clause
"""Samples of dy staged for a matrix product: [channel][pitch], rows one after the other."""

from libc.string cimport memset
from numpy cimport PyArray_DATA, ndarray

from fastcorr._algorithms.operands cimport image_of, image_t, is_computed_in
from fastcorr._kernels.kernels cimport fc_kernels_t, fc_window_t

ctypedef struct samples_t:
    const fc_kernels_t *kernel
    image_t image
    int type
    bint has_pixels                     # as computed, channels side by side
    Py_ssize_t channels, columns
    Py_ssize_t pitch                    # from channel to channel, staged
    const Py_ssize_t *offset            # [channel]: multiples of the pitch


cdef inline void place_samples(samples_t *s, const fc_kernels_t *kernel, Py_ssize_t columns,
                               Py_ssize_t pitch, ndarray offset):
    """Where they are staged; the caller keeps the offsets, multiples of the pitch, alive."""
    s.kernel, s.columns, s.pitch, s.channels = kernel, columns, pitch, offset.shape[0]
    s.offset = <const Py_ssize_t *> PyArray_DATA(offset)


cdef inline void set_samples(samples_t *s, ndarray dy, int type, problem):
    cdef Py_ssize_t item = s.kernel.item_bytes
    s.image, s.type = image_of(dy, 4, False, 0), type
    s.has_pixels = (is_computed_in(dy.dtype, problem, item) and s.image.c == item
                    and s.image.h % item == s.image.w % item == 0)


cdef inline void stage_samples(const samples_t *s, Py_ssize_t image, Py_ssize_t row0,
                               Py_ssize_t rows, Py_ssize_t *row_bytes, char *dst) noexcept nogil:
    """Copy rows of all channels, and zeros to the end of a vector; `row_bytes` has room for rows.

    What lies behind the samples is multiplied, too, and numbers too small for a type take long.
    """
    cdef Py_ssize_t item = s.kernel.item_bytes, n = rows * s.columns, c
    cdef const char *src = s.image.data + image * s.image.n + row0 * s.image.h
    if s.has_pixels:
        interleave_samples(s, src, rows, dst)
    else:
        stage_channels(s, src, rows, row_bytes, dst)
    for c in range(s.channels):
        memset(dst + (c * s.pitch + n) * item, 0, (-n & (s.kernel.lanes - 1)) * item)


cdef inline void interleave_samples(const samples_t *s, const char *src, Py_ssize_t rows,
                                    char *dst) noexcept nogil:
    """Of channels side by side; writes up to a vector behind them."""
    cdef Py_ssize_t item = s.kernel.item_bytes, lanes = s.kernel.lanes, i, j
    for i in range(rows):
        j = 0
        while j < s.columns:
            s.kernel.interleave(
                min(lanes, s.columns - j), s.channels, src + i * s.image.h + j * s.image.w,
                s.image.w // item, dst + (i * s.columns + j) * item, s.offset)
            j += lanes


cdef inline void stage_channels(const samples_t *s, const char *src, Py_ssize_t rows,
                                Py_ssize_t *row_bytes, char *dst) noexcept nogil:
    cdef fc_window_t win
    cdef Py_ssize_t i, zero = 0
    cdef char[16] nothing
    memset(nothing, 0, sizeof(nothing))
    for i in range(rows):
        row_bytes[i] = i * s.image.h
    win.n_rows, win.row_bytes = rows, row_bytes
    win.n_columns, win.column_bytes, win.pitch = s.columns, &zero, s.columns
    win.lo, win.hi, win.step_bytes = 0, s.columns, s.image.w
    if s.image.h == s.columns * s.image.w:  # one row, without a gap
        win.n_rows, win.n_columns = 1, rows * s.columns
        win.hi = win.pitch = win.n_columns
    s.kernel.stage[s.type](&win, src, s.channels, s.image.c, nothing, dst, s.pitch)
