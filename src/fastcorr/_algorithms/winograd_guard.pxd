# SPDX-License-Identifier: BSD-3-Clause

from numpy cimport ndarray

from fastcorr._algorithms.window cimport axis_t
from fastcorr._kernels.kernels cimport fc_winograd_t, fc_winograd_bounds_t, fc_winograd_row_t


cdef class Guard:
    """What w asks of a tile."""

    cdef readonly str refusal               # why the guard would find every tile, or None
    cdef Py_ssize_t groups, rows, channels  # rows of w in a group
    cdef Py_ssize_t taps, least_points      # of the transform, for the smallest tiles
    cdef double error, worst_error, share, least_weight, least_root
    cdef object dtype
    cdef ndarray scales, inverses, measures, all_bounds
    cdef char *scale                        # [groups][channels], compute type
    cdef char *inverse                      # [groups][channels][taps]: 1 / scale
    cdef fc_winograd_row_t *measured        # [groups * rows]
    cdef fc_winograd_bounds_t *bounds       # [groups]

    cdef void scale_channels(self, const fc_winograd_t *kernel, Py_ssize_t item,
                             const char *w) noexcept nogil
    cdef void bound(self) except *
    cdef void bound_group(self, Py_ssize_t group, double *smallest, double *greatest) noexcept nogil


cdef void mark_padding(const axis_t *axis, Py_ssize_t k, Py_ssize_t m, Py_ssize_t n_outputs,
                       Py_ssize_t tile, Py_ssize_t n, unsigned char *spoiled) noexcept nogil
cdef bint is_mostly_padding(const axis_t *axis, Py_ssize_t first, Py_ssize_t n) noexcept nogil
