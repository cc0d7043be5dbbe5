# SPDX-License-Identifier: BSD-3-Clause
"""Strips of a tile of outputs for fc_sweep, which reads x where it lies.

A strip is as wide as the registers allow and as high as the tile. What its loads must leave out, to
the left and to the right of the image, is found once for all channels.
"""

from libc.stdint cimport uint16_t

from fastcorr._algorithms.window cimport axis_t, ceil_div
from fastcorr._kernels.kernels cimport (
    FC_ALL_EDGES, FC_FIRST_EDGE, FC_LAST_EDGE, FC_STENCIL_MAX_HEIGHT, FC_STENCIL_MAX_VECTORS,
    fc_kernels_t, fc_sweep_fn, fc_sweep_t,
)


ctypedef struct strip_t:
    fc_sweep_t shape
    fc_sweep_fn sweep
    Py_ssize_t column                   # its first one in the tile


cdef inline Py_ssize_t strip_vectors(const fc_kernels_t *kernel, Py_ssize_t height) noexcept nogil:
    """How many vectors the widest strip for kernels of that height has; 0 where there is none."""
    cdef Py_ssize_t most = FC_STENCIL_MAX_VECTORS
    if height > FC_STENCIL_MAX_HEIGHT:
        return 0
    while most > 0 and kernel.sweep[height][most] == NULL:
        most -= 1
    return most


cdef inline Py_ssize_t count_strips(const fc_kernels_t *kernel, Py_ssize_t height,
                                    Py_ssize_t columns) noexcept nogil:
    return ceil_div(ceil_div(columns, kernel.lanes), strip_vectors(kernel, height))


cdef inline void find_strips(const fc_kernels_t *kernel, const axis_t *axis, Py_ssize_t height,
                             Py_ssize_t column0, Py_ssize_t columns, Py_ssize_t kw,
                             const Py_ssize_t *column, strip_t *strips,
                             uint16_t *inside) noexcept nogil:
    """Lay out strips over columns column0 .. column0 + columns of the outputs, evenly.

    `inside` has room for the masks of all of them.
    """
    cdef Py_ssize_t lanes = kernel.lanes, n_vectors = ceil_div(columns, lanes), start = 0, i, nv
    cdef Py_ssize_t n_strips = count_strips(kernel, height, columns)
    cdef strip_t *strip
    for i in range(n_strips):
        strip = strips + i
        nv = n_vectors // n_strips + (i < n_vectors % n_strips)
        strip.column, strip.sweep = start, kernel.sweep[height][nv]
        strip.shape.kw, strip.shape.column, strip.shape.inside = kw, column, inside
        strip.shape.last, strip.shape.lanes = (nv - 1) * lanes, lanes
        if i == n_strips - 1 and columns >= lanes:
            strip.shape.last = columns - lanes - start
        elif i == n_strips - 1:
            strip.shape.lanes = columns
        strip.shape.edges = find_edges(
            strip, axis, nv, lanes, column0 + start - axis.before, inside)
        inside += kw * FC_STENCIL_MAX_VECTORS
        start += nv * lanes


cdef inline int find_edges(const strip_t *strip, const axis_t *axis, Py_ssize_t nv,
                           Py_ssize_t lanes, Py_ssize_t first, uint16_t *inside) noexcept nogil:
    """Which lanes are columns of x, `first` being that of the strip's first output."""
    cdef Py_ssize_t kx, v, at, lo, hi
    cdef int edges = 0
    for kx in range(strip.shape.kw):
        for v in range(nv):
            at = first + strip.shape.column[kx] + (v * lanes if v < nv - 1 else strip.shape.last)
            lo, hi = min(max(-at, 0), lanes), min(max(axis.n - at, 0), lanes)
            inside[kx * FC_STENCIL_MAX_VECTORS + v] = <uint16_t> (
                ((1 << hi) - 1) & ~((1 << lo) - 1))
            if hi - lo < lanes:
                edges |= (FC_FIRST_EDGE if v == 0 else FC_LAST_EDGE if v == nv - 1
                          else FC_ALL_EDGES)
    return edges


cdef inline void find_rows(const axis_t *axis, Py_ssize_t row, Py_ssize_t n, Py_ssize_t height,
                           Py_ssize_t dilation, fc_sweep_t *shape) noexcept nogil:
    """Which rows of x there are under n outputs from `row` on, `dilation` apart."""
    cdef Py_ssize_t top = row - axis.before
    shape.n = n
    shape.begin = ceil_div(-top, dilation) if top < 0 else 0
    shape.end = max(min(ceil_div(axis.n - top, dilation), n + height - 1), shape.begin)
