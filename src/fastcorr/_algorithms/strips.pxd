# SPDX-License-Identifier: BSD-3-Clause
"""Strips of a tile of outputs for fc_sweep, which reads x where it lies.

A strip is as wide as the registers allow and as high as the tile, or, under a dilated kernel, has
every so many of its rows. Which lanes of its loads lie to the left and to the right of the image,
and what stands for them, is found once for all channels.
"""

from libc.stdint cimport uint8_t, uint16_t

from fastcorr._algorithms.window cimport axis_t, ceil_div, source_of
from fastcorr._kernels.kernels cimport (
    FC_ALL_EDGES, FC_BESIDE, FC_BESIDE_VECTORS, FC_FIRST_EDGE, FC_LAST_EDGE,
    FC_STENCIL_MAX_HEIGHT, FC_STENCIL_MAX_VECTORS, fc_beside_t, fc_kernels_t, fc_sweep_fn,
    fc_sweep_t,
)


ctypedef struct strip_t:
    fc_sweep_t shape
    fc_sweep_fn sweep
    Py_ssize_t x, y                     # bytes to its first column in a row, output in the tile


cdef inline Py_ssize_t strip_vectors(const fc_kernels_t *kernel, Py_ssize_t height) noexcept nogil:
    """How many vectors the widest strip for kernels of that height has; 0 where there is none."""
    cdef Py_ssize_t most = FC_STENCIL_MAX_VECTORS
    if height > FC_STENCIL_MAX_HEIGHT:
        return 0
    while most > 0 and kernel.sweep[height][most] == NULL:
        most -= 1
    return most


cdef inline Py_ssize_t count_strips(const fc_kernels_t *kernel, const axis_t *axis,
                                    Py_ssize_t height, Py_ssize_t columns) noexcept nogil:
    """How many stand side by side.

    Narrow ones to the left and to the right where x is continued beside the image.
    """
    cdef Py_ssize_t n_vectors = ceil_div(columns, kernel.lanes)
    if axis.sources_before == NULL:
        return ceil_div(n_vectors, strip_vectors(kernel, height))
    if n_vectors <= FC_BESIDE_VECTORS:
        return 1
    return 2 + ceil_div(max(n_vectors - 2 * FC_BESIDE_VECTORS, 0), strip_vectors(kernel, height))


cdef inline void find_strips(const fc_kernels_t *kernel, const axis_t *axis, Py_ssize_t height,
                             Py_ssize_t column0, Py_ssize_t columns, Py_ssize_t kw,
                             const Py_ssize_t *column, bint may_be_loose, strip_t *strips,
                             uint16_t *inside, fc_beside_t *beside) noexcept nogil:
    """Lay out strips over columns column0 .. column0 + columns of the outputs, evenly.

    `inside` and `beside` have room for those of all of them.
    """
    cdef Py_ssize_t lanes = kernel.lanes, n_vectors = ceil_div(columns, lanes), start = 0, i, nv
    cdef Py_ssize_t n_strips = count_strips(kernel, axis, height, columns), n_wide = n_strips
    cdef Py_ssize_t n_wide_vectors = n_vectors
    cdef bint has_sources = axis.sources_before != NULL
    cdef strip_t *strip
    if has_sources:
        n_wide, n_wide_vectors = n_strips - 2, n_vectors - 2 * FC_BESIDE_VECTORS
    for i in range(n_strips):
        strip = strips + i
        if has_sources and i in (0, n_strips - 1):
            nv = min(n_vectors - start // lanes, FC_BESIDE_VECTORS)
        else:
            nv = n_wide_vectors // n_wide + (i - has_sources < n_wide_vectors % n_wide)
        strip.x = strip.y = start * kernel.item_bytes
        strip.sweep = kernel.sweep[height][nv]
        strip.shape.kw, strip.shape.column, strip.shape.inside = kw, column, inside
        strip.shape.last, strip.shape.lanes = (nv - 1) * lanes, lanes
        if i == n_strips - 1 and columns >= lanes:
            strip.shape.last = columns - lanes - start
        elif i == n_strips - 1:
            strip.shape.lanes = columns
        strip.shape.edges = find_edges(
            strip, axis, nv, lanes, column0 + start - axis.before, inside, beside)
        strip.shape.beside = beside
        if may_be_loose and is_loose(&strip.shape, nv, lanes):
            strip.sweep = kernel.loose_sweep[height][nv]
        inside += kw * FC_STENCIL_MAX_VECTORS
        beside += kw * FC_STENCIL_MAX_VECTORS
        start += nv * lanes


cdef inline int find_edges(const strip_t *strip, const axis_t *axis, Py_ssize_t nv,
                           Py_ssize_t lanes, Py_ssize_t first, uint16_t *inside,
                           fc_beside_t *beside) noexcept nogil:
    """Which lanes are columns of x, `first` being that of the strip's first output."""
    cdef Py_ssize_t kx, v, at, lo, hi
    cdef bint has_sources = axis.sources_before != NULL
    cdef int edges = 0
    for kx in range(strip.shape.kw):
        for v in range(nv):
            at = first + strip.shape.column[kx] + (v * lanes if v < nv - 1 else strip.shape.last)
            lo, hi = min(max(-at, 0), lanes), min(max(axis.n - at, 0), lanes)
            inside[kx * FC_STENCIL_MAX_VECTORS + v] = <uint16_t> (
                ((1 << hi) - 1) & ~((1 << lo) - 1))
            if has_sources:
                find_beside(axis, lanes, first, at, lo, hi,
                            beside + kx * FC_STENCIL_MAX_VECTORS + v)
            if hi - lo < lanes:
                edges |= (FC_FIRST_EDGE if v == 0 else FC_LAST_EDGE if v == nv - 1
                          else FC_ALL_EDGES)
    return edges | FC_BESIDE if has_sources and edges else edges


cdef inline bint is_loose(const fc_sweep_t *shape, Py_ssize_t nv,
                          Py_ssize_t lanes) noexcept nogil:
    """Whether a loose sweep masks out all lanes beside the image that are written."""
    cdef Py_ssize_t kx, v
    cdef int all_lanes = (1 << lanes) - 1, inside
    for kx in range(shape.kw):
        for v in range(nv):
            inside = shape.inside[kx * FC_STENCIL_MAX_VECTORS + v]
            if v == nv - 1:
                inside |= all_lanes & ~((1 << shape.lanes) - 1)
            if (inside != all_lanes and not (v == 0 and kx < shape.kw // 2)
                    and not (v == nv - 1 and kx > shape.kw // 2)):
                return False
    return True


cdef inline void find_beside(const axis_t *axis, Py_ssize_t lanes, Py_ssize_t first, Py_ssize_t at,
                             Py_ssize_t lo, Py_ssize_t hi, fc_beside_t *beside) noexcept nogil:
    """Where the lanes of column `at`, but lo .. hi, come from: all of them from one vector."""
    cdef Py_ssize_t sources[16]
    cdef Py_ssize_t i, start = max(axis.n - lanes, 0)
    beside.from_, beside.reach = 0, 0
    if hi - lo == lanes:
        return
    for i in range(lanes):
        sources[i] = -1 if lo <= i < hi else source_of(axis, axis.before + at + i)
        if sources[i] >= 0:
            start = min(start, sources[i])
    beside.from_ = start - first
    beside.reach = <uint16_t> ((1 << min(lanes, axis.n)) - 1)
    for i in range(lanes):
        beside.lane[i] = <uint8_t> max(sources[i] - start, 0)


cdef inline void find_rows(const axis_t *axis, Py_ssize_t row, Py_ssize_t n, Py_ssize_t height,
                           Py_ssize_t dilation, fc_sweep_t *shape) noexcept nogil:
    """Which rows of x there are under n outputs from `row` on, `dilation` apart."""
    cdef Py_ssize_t top = row - axis.before
    shape.n = n
    if axis.sources_before != NULL:
        shape.begin, shape.end = 0, n + height - 1
        return
    shape.begin = ceil_div(-top, dilation) if top < 0 else 0
    shape.end = max(min(ceil_div(axis.n - top, dilation), n + height - 1), shape.begin)
