# SPDX-License-Identifier: BSD-3-Clause
"""The guard of Winograd's algorithm: which tiles are computed by definition instead.

A tile mixes its inputs before it multiplies them, and its weights likewise, so an output inherits
rounding errors of all products of its tile. With e_c^2 and v_c^2 for the sums of squares of channel
c over the a x a inputs of the tile and over the nine weights,

    |y - exact| <= ERROR u (sum over c of e_c^2 v_c^2)^(1/2) <= ERROR u e v,

    e = (sum of e_c^4)^(1/4),    v = (sum of v_c^4)^(1/4).

A tile is left to Winograd's algorithm if S = |x| * |w| is large beside that for all its outputs:

1.  If channels were exchangeable, S would be the sum over taps of (sum over c of |x|) (sum over c
    of |w|) / channels. This has to be ERROR / 64 e v at least, which makes 64 u S, and MIN_SHARE of
    what the average x of the tile would give: positive sums leave errors in proportion to it.
2.  In the worst order of all, each weight is small just where x is large. Even so S has to be
    1 / WORST of that, by the inequality of Cauchy and Schwarz with n_small weights below t:

        S >= sum over taps of (sum over c of |x|^(1/2))^2 / (sum over c of 1 / max(|w|, t))
             - t n_small^(1/2) (sum of x^2)^(1/2)

So 64 u takes data made for the purpose to exceed, and WORST * 64 u is about the end of it. Channels
are multiplied by the size of w in them before: that changes no S, and makes e and v small.

Outputs with two of three rows or columns in a constant padding are found by their place alone; NaN,
Inf, and numbers that would overflow or underflow between the transforms, by e and v. If w alone
rules all tiles out, everything is computed by definition.

The kernels measure w (fc_winograd_row) and x (fc_winograd_input) and compare (fc_winograd_guard);
here what was measured is turned into bounds. Nothing here knows how work is cut.
"""

import numpy as np

from libc.math cimport isfinite, sqrt
from libc.string cimport memset
from numpy cimport PyArray_DATA, import_array

from fastcorr._algorithms.window cimport axis_t
from fastcorr._kernels.kernels cimport FC_WINOGRAD_LEAST_SCALE, fc_kernels_t

import_array()

# The largest of 10^5 random numbers of either sign is about 10 u (sum over c of e_c^2 v_c^2)^(1/2),
# and e v, as it is bounded here, 1.4 times that root.
ERROR = 7.0
MIN_SHARE = 0.3
WORST = 16.0
# t above, beside the root mean square of a row of w.
LEAST_WEIGHT = 1 / 64.0
# The kernel's roots are up to 6.1 % too large.
GREATEST_SQUARED_ROOT = 1.125
# Transforms multiply the largest number of a tile by no more than this.
GREATEST_GROWTH = 1e4

cdef enum:
    SAMPLED_ROWS = 16   # of w, which tell its size by channel

cdef double LARGE = 1e20


cdef class Guard:
    def __cinit__(self, problem, dtype):
        self.groups = problem.groups
        self.rows = problem.F // problem.groups
        self.channels = problem.C // problem.groups
        # float16 rounds so coarsely that errors of float32 may grow before they show.
        coarseness = 512 if problem.dtype.itemsize == 2 else 1
        self.error = ERROR / 64 / coarseness
        self.worst_error = self.error / WORST
        self.least_root = 1 / GREATEST_SQUARED_ROOT
        self.share = MIN_SHARE / coarseness
        self.least_weight = LEAST_WEIGHT
        self.dtype = dtype
        self.scales = np.empty(problem.C, dtype)
        self.inverses = np.empty(problem.C * 9, dtype)
        self.measures = np.empty(problem.F * sizeof(fc_winograd_row_t), np.uint8)
        self.all_bounds = np.empty(problem.groups * sizeof(fc_winograd_bounds_t), np.uint8)
        self.scale = <char *> PyArray_DATA(self.scales)
        self.inverse = <char *> PyArray_DATA(self.inverses)
        self.measured = <fc_winograd_row_t *> PyArray_DATA(self.measures)
        self.bounds = <fc_winograd_bounds_t *> PyArray_DATA(self.all_bounds)

    cdef void scale_channels(self, const fc_kernels_t *kernel, const char *w) noexcept nogil:
        """For fc_winograd_row; w is contiguous and of the compute type."""
        cdef Py_ssize_t group, item = kernel.item_bytes, n = min(self.rows, SAMPLED_ROWS)
        cdef Py_ssize_t row_step = self.channels * 9
        for group in range(self.groups):
            kernel.winograd_scale(
                w + group * self.rows * row_step * item, n, self.rows // n * row_step,
                self.channels, self.scale + group * self.channels * item,
                self.inverse + group * row_step * item)

    cdef void bound(self) except *:
        """Turn `measured` into bounds, or a refusal."""
        cdef double smallest = 1e300, greatest = 0, expected, worst, size
        cdef Py_ssize_t group
        cdef int k
        limits = np.finfo(self.dtype)
        tiny = float(limits.smallest_normal / limits.eps) / FC_WINOGRAD_LEAST_SCALE
        most = float(limits.max) / GREATEST_GROWTH * FC_WINOGRAD_LEAST_SCALE
        for group in range(self.groups):
            self.bound_group(group, &smallest, &greatest)
        if not greatest <= most:
            self.refusal = "w is not finite, or close to overflow"
        elif smallest < tiny:
            self.refusal = "w is close to underflow"
        for group in range(self.groups):
            self.bounds[group].share = self.share
            self.bounds[group].smallest = max(sqrt(tiny), tiny / smallest)
            self.bounds[group].greatest = most / max(greatest, 1.0)
            # Beside a tile of 4 x 4 times the same x, 1.
            expected, worst, size = 0, 0, 4 * sqrt(sqrt(self.channels))
            for k in range(9):
                expected += self.bounds[group].taps[k] * self.channels
                worst += self.bounds[group].roots[k] * self.channels ** 2
            if expected < size or worst < size:
                self.refusal = "many weights are much smaller than others"

    cdef void bound_group(self, Py_ssize_t group, double *smallest,
                          double *greatest) noexcept nogil:
        cdef const fc_winograd_row_t *row
        cdef fc_winograd_bounds_t *bounds = self.bounds + group
        cdef double size, worst, root_channels = sqrt(self.channels)
        cdef Py_ssize_t i
        cdef int k
        memset(bounds, 0, sizeof(fc_winograd_bounds_t))
        for k in range(9):
            bounds.taps[k] = bounds.roots[k] = LARGE
        for i in range(group * self.rows, (group + 1) * self.rows):
            row = self.measured + i
            if row.size == 0:
                continue
            if not isfinite(row.size):
                greatest[0] = row.size
                return
            size = sqrt(3 * sqrt(row.fourth))  # (9 sum of w^4)^(1/4) >= v
            smallest[0] = min(smallest[0], row.size)
            greatest[0] = max(greatest[0], row.size * size)
            worst = (self.worst_error * size
                     + self.least_weight * sqrt(row.n_small * root_channels))  # sum of x^2 by e
            for k in range(9):
                bounds.taps[k] = min(bounds.taps[k],
                                     row.taps[k] / (self.channels * self.error * size))
                bounds.roots[k] = min(bounds.roots[k],
                                      self.least_root / (row.inverses[k] * worst))


cdef void mark_padding(const axis_t *down, const axis_t *across, int m, Py_ssize_t oh,
                       Py_ssize_t ow, Py_ssize_t row, Py_ssize_t column, Py_ssize_t n,
                       unsigned char *spoiled) noexcept nogil:
    """Find the ones of n tiles side by side that have an output whose middle row or column is the
    constant: it sees little of x.
    """
    cdef Py_ssize_t tile, first, last
    first = row * m + 1
    last = min(first + m, oh + 1) - 1
    if not all_of_image(down, first, last):
        memset(spoiled, 1, n)
        return
    for tile in range(n):
        first = (column + tile) * m + 1
        last = min(first + m, ow + 1) - 1
        if not all_of_image(across, first, last):
            spoiled[tile] = 1


cdef inline bint all_of_image(const axis_t *axis, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    return axis.sources_before != NULL or (
        first >= axis.before and last < axis.before + axis.n)
