# SPDX-License-Identifier: BSD-3-Clause
"""The guard of Winograd's algorithm: which tiles are computed by definition instead.

A tile mixes its inputs before it multiplies them, and its weights likewise, so an output inherits
rounding errors of all products of its tile. With e_c^2 and v_c^2 for the sums of squares of channel
c over the a x a inputs of the tile and over the r x r weights,

    |y - exact| <= ERROR u (sum over c of e_c^2 v_c^2)^(1/2) <= ERROR u e v,

    e = (sum of e_c^4)^(1/4),    v = (sum of v_c^4)^(1/4).

A tile is left to Winograd's algorithm if S = |x| * |w| is large beside that for all its outputs:

1.  If channels were exchangeable, S would be the sum over taps of (sum over c of |x|) (sum over c
    of |w|) / channels. This has to be ERROR / 64 e v at least, which makes 64 u S, and MIN_SHARE of
    what the average x of the tile would give: positive sums leave errors in proportion to it.
2.  In the worst order of all, each weight is small just where x is large. Even so S has to be
    1 / WORST of that, by the inequality of Cauchy and Schwarz with weights raised to t at least:

        S >= sum over taps of (sum over c of |x|^(1/2))^2 / (sum over c of 1 / max(|w|, t))
             - (sum of (max(|w|, t) - |w|)^2)^(1/2) (sum of x^2)^(1/2)

So 64 u takes data made for the purpose to exceed, and WORST * 64 u is about the end of it. Channels
are multiplied by the size of w in them before: that changes no S, and makes e and v small.

Outputs with most rows or columns of taps in a constant padding are found by their place alone; NaN,
Inf, and numbers that would overflow or underflow between the transforms, by e and v. If w alone
rules all tiles out, everything is computed by definition.

The kernels measure w (fc_winograd_row) and x (fc_winograd_input) and compare (fc_winograd_guard);
here what was measured is turned into bounds. Nothing here knows how work is cut.
"""

import math

import numpy as np

from libc.math cimport isfinite, sqrt
from libc.string cimport memset
from numpy cimport PyArray_DATA, import_array

from fastcorr._algorithms.window cimport axis_t
from fastcorr._kernels.kernels cimport FC_WINOGRAD_LEAST_SCALE, fc_winograd_t

import_array()

# The largest of 10^5 random numbers of either sign is about 10 u (sum over c of e_c^2 v_c^2)^(1/2),
# and e v, as it is bounded here, 1.4 times that root.
ERROR = 7.0
MIN_SHARE = 0.3
WORST = 16.0
# t above, beside the size of a row of w: half to twice its root mean square.
LEAST_WEIGHT = 1 / 64.0
# The kernel's roots are up to 6.1 % too large.
GREATEST_SQUARED_ROOT = 1.125
# Transforms multiply the largest number of a tile by no more than this.
GREATEST_GROWTH = 1e4

cdef enum:
    SAMPLED_ROWS = 16   # of w, which tell its size by channel

cdef double LARGE = 1e20


cdef class Guard:
    def __cinit__(self, problem, form, dtype):
        self.groups = problem.groups
        self.rows = problem.F // problem.groups
        self.channels = problem.C // problem.groups
        self.taps = math.prod(form.r)
        self.least_points = math.prod(r + 1 if r > 1 else 1 for r in form.r)
        # float16 rounds so coarsely that errors of float32 may grow before they show.
        coarseness = 512 if problem.dtype.itemsize == 2 else 1
        self.error = ERROR / 64 / coarseness
        self.worst_error = self.error / WORST
        self.least_root = 1 / GREATEST_SQUARED_ROOT
        self.share = MIN_SHARE / coarseness
        self.least_weight = LEAST_WEIGHT
        self.dtype = dtype
        self.scales = np.empty(problem.C, dtype)
        self.inverses = np.empty(problem.C * self.taps, dtype)
        self.measures = np.empty(problem.F * sizeof(fc_winograd_row_t), np.uint8)
        self.all_bounds = np.empty(problem.groups * sizeof(fc_winograd_bounds_t), np.uint8)
        self.scale = <char *> PyArray_DATA(self.scales)
        self.inverse = <char *> PyArray_DATA(self.inverses)
        self.measured = <fc_winograd_row_t *> PyArray_DATA(self.measures)
        self.bounds = <fc_winograd_bounds_t *> PyArray_DATA(self.all_bounds)

    cdef void scale_channels(self, const fc_winograd_t *kernel, Py_ssize_t item,
                             const char *w) noexcept nogil:
        """For fc_winograd_row; w is contiguous and of the compute type."""
        cdef Py_ssize_t group, at, n = min(self.rows, SAMPLED_ROWS)
        cdef Py_ssize_t row_step = self.channels * self.taps
        for group in range(self.groups):
            at = group * self.channels * item
            kernel.scale(w + group * self.rows * row_step * item, n, self.rows // n * row_step,
                         self.channels, self.scale + at, self.inverse + self.taps * at)

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
            # Beside the smallest tile, all x in it 1.
            expected, worst = 0, 0
            size = sqrt(self.least_points * sqrt(self.channels))
            for k in range(self.taps):
                expected += self.bounds[group].taps[k] * self.channels
                worst += self.bounds[group].roots[k] * self.channels ** 2
            if expected < size or worst < size:
                self.refusal = "many weights are much smaller than others"

    cdef void bound_group(self, Py_ssize_t group, double *smallest,
                          double *greatest) noexcept nogil:
        cdef const fc_winograd_row_t *row
        cdef fc_winograd_bounds_t *bounds = self.bounds + group
        cdef double size, worst, scale, root_channels = sqrt(self.channels)
        cdef double[25] largest  # of worst / root
        cdef Py_ssize_t i
        cdef int k
        memset(bounds, 0, sizeof(fc_winograd_bounds_t))
        for k in range(self.taps):
            bounds.taps[k], largest[k] = LARGE, self.least_root / LARGE
        for i in range(group * self.rows, (group + 1) * self.rows):
            row = self.measured + i
            if row.size == 0:
                continue
            if not isfinite(row.size):
                greatest[0] = row.size
                return
            size = sqrt(sqrt(self.taps * row.fourth))  # (taps * sum of w^4)^(1/4) >= v
            smallest[0] = min(smallest[0], row.size)
            greatest[0] = max(greatest[0], row.size * size)
            worst = self.worst_error * size + sqrt(row.raised * root_channels)  # sum of x^2 by e
            scale = 1 / (self.channels * self.error * size)
            for k in range(self.taps):
                bounds.taps[k] = min(bounds.taps[k], row.taps[k] * scale)
                largest[k] = max(largest[k], row.inverses[k] * worst)
        for k in range(self.taps):
            bounds.roots[k] = self.least_root / largest[k]


cdef void mark_padding(const axis_t *axis, Py_ssize_t k, Py_ssize_t m, Py_ssize_t n_outputs,
                       Py_ssize_t tile, Py_ssize_t n, unsigned char *spoiled) noexcept nogil:
    """Find the ones of n tiles in a row that have an output of which less than half of k taps see x
    along the axis.
    """
    cdef Py_ssize_t i, first, last
    if axis.sources_before != NULL:
        return
    for i in range(n):
        first = (tile + i) * m
        last = min(first + m, n_outputs) - 1
        if 2 * min(taps_on_image(axis, k, first), taps_on_image(axis, k, last)) < k:
            spoiled[i] = 1


cdef bint is_mostly_padding(const axis_t *axis, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """Whether at most half of n positions hold x: the corners of odd images under 5 x 5, where
    positive random numbers gave errors up to 23 u (|x| * |w|).
    """
    return axis.sources_before == NULL and 2 * taps_on_image(axis, n, first) <= n


cdef inline Py_ssize_t taps_on_image(const axis_t *axis, Py_ssize_t k,
                                     Py_ssize_t output) noexcept nogil:
    return min(output + k, axis.before + axis.n) - max(output, axis.before)
