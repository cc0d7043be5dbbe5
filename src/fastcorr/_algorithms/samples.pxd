# SPDX-License-Identifier: BSD-3-Clause
"""Samples of dy staged for a matrix product: [channel][pitch], rows one after the other."""

from libc.string cimport memset

from fastcorr._algorithms.operands cimport image_t
from fastcorr._kernels.kernels cimport fc_kernels_t, fc_window_t

ctypedef struct samples_t:
    const fc_kernels_t *kernel
    image_t image
    int type
    bint has_pixels                     # as computed, channels side by side
    Py_ssize_t channels, columns
    Py_ssize_t pitch                    # from channel to channel, staged
    const Py_ssize_t *offset            # [channel]: multiples of the pitch


cdef inline void set_samples(samples_t *s, image_t image, int type, bint is_computed) noexcept:
    """`is_computed`: of numbers as kernels compute in them."""
    cdef Py_ssize_t item = s.kernel.item_bytes
    s.image, s.type = image, type
    s.has_pixels = is_computed and image.c == item and image.h % item == image.w % item == 0


cdef inline void stage_samples(const samples_t *s, Py_ssize_t image, Py_ssize_t row0,
                               Py_ssize_t rows, Py_ssize_t *row_bytes, char *dst) noexcept nogil:
    """Copy rows of all channels, and up to a vector behind them; `row_bytes` is room for rows."""
    cdef fc_window_t win
    cdef Py_ssize_t item = s.kernel.item_bytes, lanes = s.kernel.lanes, i, j, zero = 0
    cdef char[16] nothing
    cdef const char *src = s.image.data + image * s.image.n + row0 * s.image.h
    if s.has_pixels:
        for i in range(rows):
            j = 0
            while j < s.columns:
                s.kernel.interleave(
                    min(lanes, s.columns - j), s.channels, src + i * s.image.h + j * s.image.w,
                    s.image.w // item, dst + (i * s.columns + j) * item, s.offset)
                j += lanes
        return
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
