# SPDX-License-Identifier: BSD-3-Clause
"""What stencils compute with: their job, and how a tile's window of x and its weights are read.

A window is one plane, or one for each phase of the column stride. Its rows are copied as they are
needed, a few at a time: then they are still in the first-level cache.
"""

from libc.string cimport memset

from fastcorr._algorithms.operands cimport image_t, negate, weights_t
from fastcorr._algorithms.window cimport axis_t, interior, positions
from fastcorr._kernels.kernels cimport fc_kernels_t, fc_window_t


ctypedef struct job_t:
    const fc_kernels_t *kernel
    image_t x
    image_t y
    weights_t w
    const char *bias                    # compute type, see bias_of; or NULL
    char fill[16]                       # the padding constant: real and imaginary part
    int x_type, w_type, y_type
    int x_parts, w_parts, y_parts       # 2 where complex
    Py_ssize_t groups, m, channels, kh, kw, oh, ow      # m: real output channels of a group
    Py_ssize_t stride_y, stride_x, dilation_y
    axis_t rows
    axis_t columns
    axis_t single_columns               # with a stride of 1, for the split
    bint direct_weights, direct_stores, constant_margins, split
    bint margins_fit_strips             # none but the outer ones see any
    bint in_place                       # large enough tiles read x where it lies
    bint swept                          # all tiles do, in strips
    bint loose                          # strips read around their rows: first_x to end_of_x
    const char *first_x
    const char *end_of_x
    Py_ssize_t reach                    # what they read of a row
    # pieces of the kernel
    Py_ssize_t piece_kh, piece_kw, n_pieces_y, n_pieces_x, n_sums
    # tiles
    Py_ssize_t tile_groups, tile_rows, tile_columns, chunk_rows
    Py_ssize_t n_group_tiles, n_row_tiles, n_column_tiles
    # the window: planes [column plane][window_rows][pitch]
    const Py_ssize_t *column            # [KW]
    const Py_ssize_t *column_starts
    Py_ssize_t n_column_planes, window_rows, row_length, pitch
    Py_ssize_t sums_pitch, sums_size    # of one output channel
    Py_ssize_t at_row_bytes, at_column_bytes, at_window, at_weights, at_sums, at_totals
    Py_ssize_t at_strips, at_inside, at_beside, at_edge_rows


ctypedef struct tile_t:
    Py_ssize_t image, row0, column0, rows, columns
    bint in_place
    Py_ssize_t pitch                    # of the window, or of x


cdef inline void find_window(const job_t *job, const tile_t *t, char *scratch) noexcept nogil:
    """The rows and columns of x in the tile's window: the same for all channels."""
    cdef Py_ssize_t px, n_columns = job.row_length - (job.tile_columns - t.columns)
    cdef Py_ssize_t *column_bytes = <Py_ssize_t *> (scratch + job.at_column_bytes)
    positions(&job.rows, t.row0 * job.stride_y,
              job.window_rows - (job.tile_rows - t.rows) * job.stride_y, job.x.h,
              <Py_ssize_t *> (scratch + job.at_row_bytes))
    if job.split:
        positions(&job.single_columns, t.column0 * 2, 2 * n_columns, job.x.w, column_bytes)
        return
    for px in range(job.n_column_planes):
        positions(&job.columns, t.column0 * job.stride_x + job.column_starts[px], n_columns,
                  job.x.w, column_bytes + px * job.row_length)


cdef inline void stage_rows(const job_t *job, const tile_t *t, Py_ssize_t channel, int part,
                            Py_ssize_t begin, Py_ssize_t end, bint is_first,
                            char *scratch) noexcept nogil:
    """Copy rows begin .. end of a channel's window; `find_window` has found them.

    Margins that are constant are written for the tile's first channel only.
    """
    cdef fc_window_t win
    cdef Py_ssize_t *column_bytes = <Py_ssize_t *> (scratch + job.at_column_bytes)
    cdef Py_ssize_t n_columns = job.row_length - (job.tile_columns - t.columns)
    cdef Py_ssize_t px, lo, hi, item = job.kernel.item_bytes
    cdef bint inner = job.constant_margins and not is_first
    cdef const char *src = job.x.data + t.image * job.x.n + channel * job.x.c + part * job.x.part
    if inner:
        interior(&job.rows, t.row0 * job.stride_y, end, &lo, &hi)
        begin, end = max(begin, lo), min(end, hi)
        if begin >= end:
            return
    win.row_bytes = <Py_ssize_t *> (scratch + job.at_row_bytes) + begin
    win.n_rows, win.pitch = end - begin, job.pitch
    if job.split:
        win.n_columns, win.column_bytes, win.step_bytes = 2 * n_columns, column_bytes, job.x.w
        interior(&job.single_columns, t.column0 * 2, 2 * n_columns, &win.lo, &win.hi)
        job.kernel.split(&win, src, job.fill + part * item,
                         scratch + job.at_window + begin * job.pitch * item,
                         job.window_rows * job.pitch)
        return
    win.step_bytes = job.stride_x * job.x.w
    for px in range(job.n_column_planes):
        interior(&job.columns, t.column0 * job.stride_x + job.column_starts[px], n_columns,
                 &win.lo, &win.hi)
        win.n_columns, lo = n_columns, 0
        if inner:
            lo, win.n_columns = win.lo, win.hi - win.lo
            win.lo, win.hi = 0, win.n_columns
        win.column_bytes = column_bytes + px * job.row_length + lo
        job.kernel.stage[job.x_type](
            &win, src, 1, 0, job.fill + part * item,
            scratch + job.at_window + ((px * job.window_rows + begin) * job.pitch + lo) * item, 0)


cdef inline const char *weights_for(const job_t *job, Py_ssize_t output, Py_ssize_t c, int part,
                                    Py_ssize_t m, char *scratch) noexcept nogil:
    """The (KH, KW) weights of an output for part `part` of channel c, in the compute type."""
    cdef fc_window_t win
    cdef Py_ssize_t zero = 0, ky, item = job.kernel.item_bytes
    cdef char nothing[16]
    cdef char *dst = scratch + job.at_weights + m * job.kh * job.kw * item
    cdef int p = <int> (output % job.y_parts)
    cdef const char *src = job.w.data + output // job.y_parts * job.w.f + c * job.w.c
    if job.direct_weights:
        return src
    if job.w_parts == 2:
        src += (p ^ part) * job.w.part
    memset(nothing, 0, sizeof(nothing))
    win.row_bytes, win.column_bytes = &zero, &zero
    win.n_rows, win.n_columns, win.pitch = 1, job.kw, job.kw
    win.lo, win.hi, win.step_bytes = 0, job.kw, job.w.kw
    for ky in range(job.kh):
        job.kernel.stage[job.w_type](&win, src + ky * job.w.kh, 1, 0, nothing,
                                     dst + ky * job.kw * item, 0)
    if job.w_parts == 2 and p == 0 and part == 1:  # the product of two imaginary parts
        negate(dst, job.kh * job.kw, item)
    return dst
