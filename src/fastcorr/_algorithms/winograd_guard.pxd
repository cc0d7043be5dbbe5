# SPDX-License-Identifier: BSD-3-Clause

from numpy cimport ndarray

from fastcorr._algorithms.window cimport axis_t
from fastcorr._kernels.kernels cimport fc_kernels_t


ctypedef struct guard_t:
    Py_ssize_t groups, rows, channels           # rows of w in a group
    # the channels are watched in n_watches pieces of at most `watch`, those in n_parts parts
    Py_ssize_t n_watches, watch, n_parts
    double min_terms, share
    # bounds from w; smallest |x| and greatest sum of |x| of a tile
    const double *taps                          # [groups][n_watches][9]
    const double *part_taps                     # [groups][n_watches * n_parts][9], of any scale
    double smallest, greatest


cdef class Bounds:
    """What w asks of a tile."""

    cdef ndarray taps, part_taps
    cdef double smallest, greatest
    cdef readonly str refusal       # why the guard would find every tile, or None

    cdef void apply(self, guard_t *guard) noexcept


cdef guard_t guard_of(problem) except *
cdef Bounds bounds_of(const guard_t *guard, ndarray sums, dtype)


cdef inline Py_ssize_t part_start(const guard_t *guard, Py_ssize_t part) noexcept nogil:
    return guard.channels * part // (guard.n_watches * guard.n_parts)


cdef void sum_row(const guard_t *guard, const fc_kernels_t *kernel, const char *w,
                  double *sums) noexcept nogil
cdef void mark_padding(const axis_t *down, const axis_t *across, int m, Py_ssize_t oh,
                       Py_ssize_t ow, Py_ssize_t row, Py_ssize_t column, Py_ssize_t n,
                       unsigned char *spoiled) noexcept nogil
