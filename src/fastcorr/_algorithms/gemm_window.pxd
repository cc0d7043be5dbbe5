# SPDX-License-Identifier: BSD-3-Clause
"""What the implicit matrix product computes with: its job, and how its operands are read.

A chunk of x is staged as planes by the phases of the stride (kernels.h draws them), or read in
place where it lies as its window would; of w, a chunk of some rows is copied unless it is ready.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from fastcorr._algorithms.operands cimport image_t, negate, weights_t
from fastcorr._algorithms.turned cimport gather_kernels
from fastcorr._algorithms.window cimport axis_t, ceil_div, interior, positions
from fastcorr._kernels.kernels cimport fc_kernels_t, fc_run_t, fc_window_t


cdef enum:
    CHANNELS_AT_A_TIME = 4


ctypedef struct job_t:
    const fc_kernels_t *kernel
    image_t x
    image_t y
    weights_t w
    const char *bias            # [image_parts][groups * m], compute type, or NULL
    char fill[16]               # the padding constant: real and imaginary part, compute type
    int x_type, w_type, y_type
    # complex operands as real ones
    int image_parts, k_parts, m_parts
    # the problem
    Py_ssize_t groups, m, channels, kh, kw, oh, ow
    Py_ssize_t stride_y, stride_x, dilation_y, dilation_x
    axis_t rows, columns
    const char *ready           # [groups * m][lda], compute type, chunk after chunk; or NULL
    bint gathered_weights       # neighbouring rows are neighbours in w: a transposed array
    Py_ssize_t lda
    # chunks of k
    Py_ssize_t chunk_channels, chunk_kh, chunk_kw, n_chunks
    # tiles
    Py_ssize_t tile_images, tile_rows, tile_columns, tile_blocks
    Py_ssize_t n_image_tiles, n_row_tiles, n_column_tiles, n_block_tiles, n_images
    Py_ssize_t n_blocks                       # blocks of rows of w: balanced, at most gemm_rows[nv]
    const Py_ssize_t *block_starts            # [n_blocks + 1]
    int nv
    bint packed, by_row
    bint strips                               # packed, as a strip for each column of taps
    bint in_place                             # the kernels read x where it lies
    bint straight                             # and write y, where pixels lie side by side
    Py_ssize_t tail                           # last pixels of every image that fc_dot computes
    Py_ssize_t panels_per_group
    # the window: planes [channel][row plane][column plane][length][pitch]
    const Py_ssize_t *offset                  # [chunk k]
    const Py_ssize_t *last_offset             # the same for a chunk with fewer taps
    const Py_ssize_t *panel_offset            # [chunk k]: k * NR, or from the first strip
    const Py_ssize_t *strip_offset            # of a strip's first row: [channel][row plane][kx]
    Py_ssize_t strip_size
    const Py_ssize_t *row_starts
    const Py_ssize_t *column_starts
    Py_ssize_t n_row_planes, n_column_planes, window_rows, pitch, channel_size, image_size
    # scratch, in bytes from its start
    Py_ssize_t at_row_bytes, at_column_bytes, at_runs, at_window, at_panels, at_weights, at_tile
    Py_ssize_t at_acc, at_tail_columns, at_tail


ctypedef struct tile_t:
    Py_ssize_t image0, row0, column0, images, rows, columns, group, block0, block1
    Py_ssize_t n_pixels, line                 # pixels of the flat index, its step by rows
    Py_ssize_t n_panels
    Py_ssize_t panels_per_line                # of a row, by row; else of all pixels
    Py_ssize_t panel_vectors, larger_panels   # the first `larger_panels` have a vector more


ctypedef struct chunk_t:
    Py_ssize_t c0, nc, ky0, nky, kx0, nkx
    Py_ssize_t k0, kc               # its first tap in a row of w, and how many terms it has


cdef inline void locate_chunk(const job_t *job, Py_ssize_t index, chunk_t *chunk) noexcept nogil:
    cdef Py_ssize_t across = ceil_div(job.kw, job.chunk_kw), down = ceil_div(job.kh, job.chunk_kh)
    chunk.kx0 = index % across * job.chunk_kw
    chunk.nkx = min(job.chunk_kw, job.kw - chunk.kx0)
    chunk.ky0 = index // across % down * job.chunk_kh
    chunk.nky = min(job.chunk_kh, job.kh - chunk.ky0)
    chunk.c0 = index // (across * down) * job.chunk_channels
    chunk.nc = min(job.chunk_channels, job.channels - chunk.c0)
    chunk.k0 = (chunk.c0 * job.kh + chunk.ky0) * job.kw + chunk.kx0
    chunk.kc = chunk.nc * chunk.nky * chunk.nkx * job.k_parts


cdef inline const Py_ssize_t *offset_of(const job_t *job, const chunk_t *chunk) noexcept nogil:
    """Where the chunk's taps lie in the window. Fewer channels are a prefix of the table."""
    if chunk.nky * chunk.nkx < job.chunk_kh * job.chunk_kw:
        return job.last_offset
    return job.offset


cdef inline Py_ssize_t plane_start(const axis_t *axis, Py_ssize_t output, Py_ssize_t tap,
                                   Py_ssize_t phase) noexcept nogil:
    """The padded position of a plane's first row or column."""
    return output * axis.stride + tap + phase


cdef inline void stage_plane(const job_t *job, const tile_t *t, const chunk_t *chunk,
                             Py_ssize_t image, Py_ssize_t c, Py_ssize_t nc, Py_ssize_t py,
                             Py_ssize_t px, Py_ssize_t n_rows, Py_ssize_t n_columns,
                             char *scratch) noexcept nogil:
    """Copy one plane of nc channels from the chunk's channel c on."""
    cdef fc_window_t win
    cdef Py_ssize_t item = job.kernel.item_bytes, n = t.image0 + image, part, lo, hi
    win.row_bytes = <Py_ssize_t *> (scratch + job.at_row_bytes) + py * job.window_rows
    win.column_bytes = <Py_ssize_t *> (scratch + job.at_column_bytes) + px * job.pitch
    win.n_rows, win.n_columns, win.pitch = n_rows, n_columns, job.pitch
    win.step_bytes = job.stride_x * job.x.w
    interior(&job.columns, plane_start(&job.columns, t.column0, chunk.kx0 * job.dilation_x,
                                       job.column_starts[px]), n_columns, &win.lo, &win.hi)
    interior(&job.rows, plane_start(&job.rows, t.row0, chunk.ky0 * job.dilation_y,
                                    job.row_starts[py]), n_rows, &lo, &hi)
    if (win.lo == 0 and win.hi == n_columns == job.pitch and lo == 0 and hi == n_rows
            and job.stride_y * job.x.h == n_columns * win.step_bytes
            and job.x.c != item):
        # One row of rows that follow each other without padding, in x and in the window.
        win.n_columns *= n_rows
        win.n_rows = 1
        win.hi = win.n_columns
    for part in range(job.k_parts):
        job.kernel.stage[job.x_type](
            &win,
            job.x.data + n // job.image_parts * job.x.n
            + (n % job.image_parts + part) * job.x.part
            + (t.group * job.channels + chunk.c0 + c) * job.x.c,
            nc, job.x.c, job.fill + (n % job.image_parts + part) * item,
            scratch + job.at_window
            + (image * job.image_size + (c * job.k_parts + part) * job.channel_size
               + (py * job.n_column_planes + px) * job.window_rows * job.pitch) * item,
            job.k_parts * job.channel_size)


cdef inline void stage_window(const job_t *job, const tile_t *t, const chunk_t *chunk,
                              char *scratch) noexcept nogil:
    """Copy what the tile needs of x for the chunk."""
    cdef Py_ssize_t *row_bytes = <Py_ssize_t *> (scratch + job.at_row_bytes)
    cdef Py_ssize_t *column_bytes = <Py_ssize_t *> (scratch + job.at_column_bytes)
    cdef Py_ssize_t n_rows = job.window_rows - (job.tile_rows - t.rows)
    cdef Py_ssize_t n_columns = job.pitch - (job.tile_columns - t.columns)
    cdef Py_ssize_t py, px, image, c
    # All planes of a few channels at a time: they share the lines of x.
    cdef Py_ssize_t step = chunk.nc if job.n_column_planes == 1 else CHANNELS_AT_A_TIME
    for py in range(job.n_row_planes):
        positions(&job.rows, plane_start(&job.rows, t.row0, chunk.ky0 * job.dilation_y,
                                         job.row_starts[py]),
                  n_rows, job.x.h, row_bytes + py * job.window_rows)
    for px in range(job.n_column_planes):
        positions(&job.columns, plane_start(&job.columns, t.column0, chunk.kx0 * job.dilation_x,
                                            job.column_starts[px]),
                  n_columns, job.x.w, column_bytes + px * job.pitch)
    for image in range(t.images):
        for c in range(ceil_div(chunk.nc, step)):
            for py in range(job.n_row_planes):
                for px in range(job.n_column_planes):
                    stage_plane(job, t, chunk, image, c * step, min(step, chunk.nc - c * step),
                                py, px, n_rows, n_columns, scratch)
    if not job.packed or job.strips:
        clear_gaps(job, chunk, scratch)


cdef inline void clear_gaps(const job_t *job, const chunk_t *chunk, char *scratch) noexcept nogil:
    """Zeros between the channels of a window, where the last panel or row reads for nothing.

    What lies there may be subnormal: a product with it would take a hundred cycles.
    """
    cdef Py_ssize_t item = job.kernel.item_bytes, i
    cdef Py_ssize_t end = job.n_row_planes * job.window_rows * job.n_column_planes * job.pitch
    for i in range(chunk.nc * job.k_parts):
        memset(scratch + job.at_window + (i * job.channel_size + end) * item, 0,
               (job.channel_size - end) * item)


cdef inline const char *place_of(const job_t *job, const tile_t *t,
                                 const chunk_t *chunk) noexcept nogil:
    """The tile's first input of the chunk, in x."""
    return (job.x.data + t.image0 * job.x.n + (t.group * job.channels + chunk.c0) * job.x.c
            + (t.row0 + chunk.ky0 * job.dilation_y) * job.x.h
            + (t.column0 + chunk.kx0 * job.dilation_x) * job.x.w)


cdef inline bint reads_beyond(const job_t *job, const tile_t *t, const chunk_t *chunk,
                              Py_ssize_t end) noexcept nogil:
    """Whether pixels up to `end` would be read behind the last channel of x, from it or before."""
    cdef Py_ssize_t rows = t.row0 + (chunk.ky0 + chunk.nky - 1) * job.dilation_y
    cdef Py_ssize_t columns = t.column0 + (chunk.kx0 + chunk.nkx - 1) * job.dilation_x
    cdef Py_ssize_t channels_left = (
        (job.groups - t.group) * job.channels - chunk.c0 - chunk.nc)
    return (rows * job.columns.n + columns + end
            > channels_left * (job.x.c // job.kernel.item_bytes) + job.rows.n * job.columns.n)


cdef inline void clear_rest(const job_t *job, Py_ssize_t k, Py_ssize_t n,
                            char *panel) noexcept nogil:
    """Zeros behind the n pixels in k rows of a panel, to the end of a vector.

    What lies there may be subnormal, and would take a hundred cycles.
    """
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, i
    cdef Py_ssize_t nr = job.nv * lanes, rest = ceil_div(n, lanes) * lanes - n
    if rest > 0:
        for i in range(k):
            memset(panel + (i * nr + n) * item, 0, rest * item)


cdef inline void pack_in_place(const job_t *job, const tile_t *t, const chunk_t *chunk,
                               Py_ssize_t first, Py_ssize_t n, char *scratch) noexcept nogil:
    """A panel of n pixels, of which nothing more is read."""
    cdef fc_run_t run
    clear_rest(job, chunk.kc, n, scratch + job.at_panels)
    run.lane, run.start, run.n = 0, first, n
    job.kernel.pack_exact(chunk.kc, place_of(job, t, chunk), offset_of(job, chunk), &run, 1,
                          scratch + job.at_panels, job.nv * job.kernel.lanes)


cdef inline void gather_tail(const job_t *job, const tile_t *t, const chunk_t *chunk,
                             char *scratch) noexcept nogil:
    """The columns of the tail's pixels, each as kc numbers side by side."""
    cdef Py_ssize_t i, k, pixel, at, kc = chunk.kc
    cdef const Py_ssize_t *offset = offset_of(job, chunk)
    cdef const char *window = (
        place_of(job, t, chunk) if job.in_place else scratch + job.at_window)
    cdef char *out = scratch + job.at_tail_columns
    for i in range(job.tail):
        pixel = t.n_pixels + i
        at = pixel // t.columns * job.pitch + pixel % t.columns
        for k in range(kc):
            if job.kernel.item_bytes == 4:
                (<uint32_t *> out)[i * kc + k] = (<const uint32_t *> window)[at + offset[k]]
            else:
                (<uint64_t *> out)[i * kc + k] = (<const uint64_t *> window)[at + offset[k]]


cdef inline void load_weights(const job_t *job, const tile_t *t, const chunk_t *chunk,
                              Py_ssize_t m0, Py_ssize_t mr, char *weights,
                              Py_ssize_t lda) noexcept nogil:
    """Copy the chunk of rows m0 .. m0 + mr of w, as numbers of the compute type.

    For complex operands, row 2 f + p of the product takes part p ^ q of w for part q of x, with a
    minus where both are imaginary.
    """
    cdef fc_window_t win
    cdef Py_ssize_t item = job.kernel.item_bytes, taps = chunk.nky * chunk.nkx, zero = 0
    cdef Py_ssize_t i, m, p, q, ky, channel, n_pieces = chunk.nky, n_channels = chunk.nc
    cdef const char *src
    cdef char *dst
    cdef char nothing[16]
    if job.gathered_weights:
        src = (job.w.data + (t.group * job.m + m0) * job.w.f + chunk.c0 * job.w.c
               + chunk.ky0 * job.w.kh + chunk.kx0 * job.w.kw)
        if item == 4:
            gather_kernels(src, job.w.c, chunk.nc, job.w.f, mr, job.w.kh, chunk.nky, job.w.kw,
                           chunk.nkx, <uint32_t *> weights, lda)
        else:
            gather_kernels(src, job.w.c, chunk.nc, job.w.f, mr, job.w.kh, chunk.nky, job.w.kw,
                           chunk.nkx, <uint64_t *> weights, lda)
        return
    memset(nothing, 0, sizeof(nothing))
    win.row_bytes, win.column_bytes = &zero, &zero
    win.n_rows, win.n_columns = 1, chunk.nkx
    win.lo, win.step_bytes = 0, job.w.kw
    if chunk.nky == 1 or job.w.kh == chunk.nkx * job.w.kw:  # all taps in one run
        n_pieces, win.n_columns = 1, taps
        if job.k_parts == 1 and job.w.c == taps * job.w.kw:  # all channels, too
            n_channels, win.n_columns = 1, chunk.kc
    win.hi, win.pitch = win.n_columns, win.n_columns
    for i in range(mr):
        m = t.group * job.m + m0 + i
        p = m % job.m_parts
        for q in range(job.k_parts):
            src = (job.w.data + m // job.m_parts * job.w.f + chunk.c0 * job.w.c
                   + chunk.ky0 * job.w.kh + chunk.kx0 * job.w.kw + (p ^ q) * job.w.part)
            dst = weights + (i * lda + q * taps) * item
            for ky in range(n_pieces):
                job.kernel.stage[job.w_type](
                    &win, src + ky * job.w.kh, n_channels, job.w.c, nothing,
                    dst + ky * chunk.nkx * item, job.k_parts * taps)
            if p == 0 and q == 1:
                for channel in range(chunk.nc):
                    negate(dst + 2 * channel * taps * item, taps, item)
