# SPDX-License-Identifier: BSD-3-Clause
"""The guard of Winograd's algorithm: which tiles are computed by definition instead.

A tile mixes its inputs before it multiplies them, and its weights likewise, so an output inherits
rounding errors in proportion to the largest products of its tile instead of to its own. The guard
keeps this harmless. For each tile and each 128 channels it estimates the sum of |x| |w| of every
output as if channels were exchangeable,

    sum over the nine taps of  (sum over c of |x|) * (sum over c of |w|) / channels,

w scaled to a largest |w| of 1 and the tap taken from the output channel that has least of it. This
has to be MIN_TERMS times the largest |x| of the tile, and MIN_SHARE of what the tile's average x
would give; the latter for each 32 channels, too. Outputs with two of three rows or columns in a
constant padding are found by their place alone. So a star, an edge of what was dark, NaN and Inf,
numbers that would overflow or underflow between the transforms: all those tiles are computed by
definition, and everything is if w alone rules the rest out. This is no proof: it cannot see that w
is small in just those few of 32 channels in which x is large beside an output. The bound there is
that of the algorithm, about 10 u times the largest (|x| * |w|) that x and w of those sizes allow.

The kernels sum x (fc_winograd_input) and compare (fc_winograd_guard); here w is summed and turned
into bounds. Nothing here knows how work is cut.
"""

import numpy as np

from libc.string cimport memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.window cimport axis_t, ceil_div
from fastcorr._kernels.kernels cimport fc_kernels_t

import_array()

# Of the guard; see above. With it the largest errors seen on hostile data were 27 u (|x| * |w|);
# with MIN_TERMS = 0.5 45 u, with 0.25 140 u. Random normal numbers of 128 channels have 10 and
# more; x after a rectifier and w of a Laplace distribution, of unequal channels, 2.
MIN_TERMS = 1.0
MIN_SHARE = 0.3
WATCHED_CHANNELS = 128
PART_CHANNELS = 32
# Transforms multiply the largest number of a tile by no more than this.
GREATEST_GROWTH = 1e4

cdef double HUGE_SHARE = 1e20


cdef guard_t guard_of(problem) except *:
    """How the channels are watched; `bounds_of` and `Bounds.apply` add what w asks."""
    cdef guard_t guard
    memset(&guard, 0, sizeof(guard))
    # float16 rounds so coarsely that errors of float32 may grow before they show.
    coarseness = 512 if problem.dtype.itemsize == 2 else 1
    guard.min_terms = MIN_TERMS / coarseness
    guard.share = MIN_SHARE / coarseness
    guard.groups = problem.groups
    guard.rows = problem.F // problem.groups
    guard.channels = problem.C // problem.groups
    guard.n_watches = ceil_div(guard.channels, WATCHED_CHANNELS)
    guard.watch = ceil_div(guard.channels, guard.n_watches)
    guard.n_parts = ceil_div(guard.watch, PART_CHANNELS)
    return guard


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


cdef void sum_row(const guard_t *guard, const fc_kernels_t *kernel, const char *w,
                  double *sums) noexcept nogil:
    """Sums of |w| over the parts of one row: [n_watches * n_parts][nine sums, largest |w|]."""
    cdef Py_ssize_t part, c0
    for part in range(guard.n_watches * guard.n_parts):
        c0 = part_start(guard, part)
        kernel.winograd_sums(w + c0 * 9 * kernel.item_bytes, part_start(guard, part + 1) - c0,
                             sums + part * 10, sums + part * 10 + 9)


cdef void least_shares(const guard_t *guard, const double *sums, double *taps, double *part_taps,
                       double *smallest, double *greatest, bint *is_finite) noexcept nogil:
    """From the sums of w over each row and part: least over rows, by tap.

    taps: sums over the parts that are watched together, by the row's largest |w| there; part_taps:
    by the part's own sum of all taps. Rows of zeros do not count. Also the smallest and the
    greatest of those largest |w|.
    """
    cdef Py_ssize_t group, row, watch, part, k, parts = guard.n_watches * guard.n_parts
    cdef const double *row_sums
    cdef double largest, total
    cdef double[9] all_parts
    for k in range(9 * guard.groups * guard.n_watches):
        taps[k] = HUGE_SHARE
    for k in range(9 * guard.groups * parts):
        part_taps[k] = 1
    for group in range(guard.groups):
        for row in range(guard.rows):
            for watch in range(guard.n_watches):
                largest = 0
                memset(all_parts, 0, sizeof(all_parts))
                for part in range(watch * guard.n_parts, (watch + 1) * guard.n_parts):
                    row_sums = sums + ((group * guard.rows + row) * parts + part) * 10
                    total = 0
                    for k in range(9):
                        total += row_sums[k]
                        all_parts[k] += row_sums[k]
                    largest = max(largest, row_sums[9])
                    if not total <= 1e300:
                        is_finite[0] = False
                    if total > 0:
                        total = 1 / total
                        for k in range(9):
                            part_taps[(group * parts + part) * 9 + k] = min(
                                part_taps[(group * parts + part) * 9 + k], row_sums[k] * total)
                if largest > 0:
                    smallest[0] = min(smallest[0], largest)
                    greatest[0] = max(greatest[0], largest)
                    largest = 1 / largest
                    for k in range(9):
                        taps[(group * guard.n_watches + watch) * 9 + k] = min(
                            taps[(group * guard.n_watches + watch) * 9 + k], all_parts[k] * largest)
    for k in range(9 * guard.groups * parts):
        part_taps[k] *= HUGE_SHARE  # only their share is watched


cdef class Bounds:
    cdef void apply(self, guard_t *guard) noexcept:
        """Let the guard use these bounds, which the caller keeps alive."""
        guard.taps = <const double *> PyArray_DATA(self.taps)
        guard.part_taps = <const double *> PyArray_DATA(self.part_taps)
        guard.smallest, guard.greatest = self.smallest, self.greatest


cdef Bounds bounds_of(const guard_t *guard, ndarray sums, dtype):
    """Make bounds from the sums of all rows of w, computed in `dtype`."""
    cdef Bounds bounds = Bounds.__new__(Bounds)
    cdef Py_ssize_t n_bounds = guard.groups * guard.n_watches, i
    cdef double smallest = 1e300, greatest = 0, total
    cdef bint is_finite = True
    limits = np.finfo(dtype)
    bounds.taps = np.empty((n_bounds, 9))
    bounds.part_taps = np.empty((n_bounds * guard.n_parts, 9))
    cdef double *taps = <double *> PyArray_DATA(bounds.taps)
    cdef double *part_taps = <double *> PyArray_DATA(bounds.part_taps)
    with nogil:
        least_shares(guard, <const double *> PyArray_DATA(sums), taps, part_taps, &smallest,
                     &greatest, &is_finite)
    tiny, most = float(limits.smallest_normal / limits.eps), float(limits.max) / GREATEST_GROWTH
    for i in range(9 * n_bounds):
        taps[i] /= guard.min_terms * guard.watch
    total = bounds.taps.sum(axis=1).min() * guard.watch
    bounds.smallest = max(tiny, tiny / smallest)
    bounds.greatest = most / max(greatest, 1.0)
    if not is_finite or greatest > most:
        bounds.refusal = "w is not finite, or close to overflow"
    elif smallest < tiny:
        bounds.refusal = "w is close to underflow"
    elif total < 1:
        bounds.refusal = "few weights are much larger than the others"
    return bounds
