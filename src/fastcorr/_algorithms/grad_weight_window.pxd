# SPDX-License-Identifier: BSD-3-Clause
"""What the weight gradient computes with: its job, and how a tile of dy and of x is staged.

A tile of dy is copied row by row, unless the kernels can read it as it lies; the window of x goes
to planes by the phases of the stride (kernels.h draws them) and, for CHANNELS, on to pixels.
"""

from libc.string cimport memset

from fastcorr._algorithms.operands cimport image_t, negate
from fastcorr._algorithms.window cimport axis_t, interior, positions
from fastcorr._kernels.kernels cimport FC_PAD, fc_kernels_t, fc_pack_fn, fc_run_t, fc_window_t


cdef enum way_t:
    CHANNELS
    COLUMNS
    TAPS


ctypedef struct job_t:
    const fc_kernels_t *kernel
    image_t x
    image_t dy
    char *dw
    char fill[16]               # the padding constant: real and imaginary part, compute type
    int x_type, dy_type, dw_type, compute_type
    Py_ssize_t x_item, dw_item
    int x_parts, m_parts        # of complex numbers
    bint dy_in_place            # read by the kernels just as it lies
    bint x_in_place             # CHANNELS: as rows of fc_store
    bint sums_in_place          # CHANNELS of one tap and one chunk: rows of dw hold the sums
    # the problem
    Py_ssize_t groups, m, channels, kh, kw, oh, ow, n_images
    Py_ssize_t stride_y, stride_x, dilation_y, dilation_x
    axis_t rows, columns
    # how it is multiplied: blocks of rows of dy, blocks of NR columns, calls per block
    int way, nv
    Py_ssize_t n_blocks, n_columns, n_column_blocks, n_taps, tile_size
    # tiles of pixels, chunks of tiles, parts of the rest, rounds of parallel_for
    Py_ssize_t tile_images, tile_rows, tile_columns
    Py_ssize_t n_image_tiles, n_row_tiles, n_column_tiles, n_tiles, n_chunks
    Py_ssize_t group_parts, block_parts, column_parts
    Py_ssize_t round, n_rounds
    # the window: planes [row plane][column plane][length][pitch] of some rows of taps
    Py_ssize_t band_kh, n_row_planes, n_column_planes, window_rows, pitch, plane
    Py_ssize_t column_step                    # from output to output, in a plane
    Py_ssize_t channel_size, image_size, block_size, blocks_at_once
    const Py_ssize_t *row_starts
    const Py_ssize_t *column_starts
    const Py_ssize_t *tap_row                 # [ky of the band]: its place in the window
    const Py_ssize_t *tap_column              # [kx]
    const Py_ssize_t *tap_bytes               # [tap]: its place in a kernel of dw
    const Py_ssize_t *side_by_side            # [channel]: multiples of an element
    const Py_ssize_t *dy_places               # [row of dy]: its place among those staged, elements
    const fc_run_t *runs                      # COLUMNS: of every block of NR columns
    const Py_ssize_t *first_run
    fc_pack_fn pack
    const Py_ssize_t *panel_offset            # [pixel]: multiples of NR
    const Py_ssize_t *stacks                  # TAPS: (first ky, step, count), above each other
    Py_ssize_t n_stacks
    Py_ssize_t dy_pitch
    # sums
    char *acc                                 # [chunk] of all, or NULL: of an item, in scratch
    Py_ssize_t chunk_size                     # elements
    # scratch, in bytes from its start
    Py_ssize_t at_row_bytes, at_column_bytes, at_dy_rows, at_pixel_bytes, at_offset, at_dy
    Py_ssize_t at_planes, at_window, at_acc


ctypedef struct item_t:
    Py_ssize_t chunk, group0, group1, block0, block1, column0, column1
    Py_ssize_t first_tile, tile0, tile1       # of the chunk, of this round


ctypedef struct tile_t:
    Py_ssize_t image0, row0, column0, images, rows, columns, n_pixels
    bint is_located             # the tables of the window are those of the tile before


cdef inline void stage_dy(const job_t *job, const tile_t *t, Py_ssize_t group, Py_ssize_t m0,
                          Py_ssize_t m1, char *scratch) noexcept nogil:
    """Copy rows m0 .. m1 of dy, one after the other; a complex dy as its turned parts."""
    cdef fc_window_t win
    cdef Py_ssize_t *row_bytes = <Py_ssize_t *> (scratch + job.at_dy_rows)
    cdef Py_ssize_t item = job.kernel.item_bytes, zero = 0, per_image = t.rows * t.columns
    cdef Py_ssize_t image, n, p, q, f, f0, f1, i
    cdef char nothing[16]
    cdef char *dst
    if job.dy_in_place:
        return
    memset(nothing, 0, sizeof(nothing))
    for i in range(t.rows):
        row_bytes[i] = i * job.dy.h
    win.row_bytes, win.column_bytes = row_bytes, &zero
    win.lo, win.step_bytes = 0, job.dy.w
    win.n_rows, win.n_columns = t.rows, t.columns
    if t.rows == 1 or job.dy.h == t.columns * job.dy.w:
        win.n_rows, win.n_columns = 1, per_image
    win.hi = win.pitch = win.n_columns
    if job.dy_type == job.compute_type and job.m_parts == 1 and job.dy.c == item and (
            job.dy.h % item == job.dy.w % item == 0):
        for image in range(t.images):
            turn_dy(job, &win, job.dy.data + (t.image0 + image) * job.dy.n
                    + (group * job.m + m0) * item + t.row0 * job.dy.h + t.column0 * job.dy.w,
                    m1 - m0, scratch + job.at_dy + image * per_image * item)
        return
    for image in range(t.images):
        n, q = (t.image0 + image) // job.x_parts, (t.image0 + image) % job.x_parts
        for p in range(job.m_parts):
            f0 = (m0 - p + job.m_parts - 1) // job.m_parts
            f1 = (m1 - p + job.m_parts - 1) // job.m_parts
            if f1 <= f0:
                continue
            dst = scratch + job.at_dy + (
                (f0 * job.m_parts + p - m0) * job.dy_pitch + image * per_image) * item
            job.kernel.stage[job.dy_type](
                &win,
                job.dy.data + n * job.dy.n + (group * (job.m // job.m_parts) + f0) * job.dy.c
                + t.row0 * job.dy.h + t.column0 * job.dy.w + (p ^ q) * job.dy.part,
                f1 - f0, job.dy.c, nothing, dst, job.m_parts * job.dy_pitch)
            if p == 1 and q == 1:
                for f in range(f1 - f0):
                    negate(dst + f * job.m_parts * job.dy_pitch * item, per_image, item)


cdef inline void turn_dy(const job_t *job, const fc_window_t *win, const char *src, Py_ssize_t m,
                         char *dst) noexcept nogil:
    """Rows of dy from pixels with channels side by side; writes up to a vector behind the rows."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, i, j
    for i in range(win.n_rows):
        j = 0
        while j < win.n_columns:
            job.kernel.interleave(min(lanes, win.n_columns - j), m,
                                  src + win.row_bytes[i] + j * job.dy.w, job.dy.w // item,
                                  dst + (i * win.pitch + j) * item, job.dy_places)
            j += lanes


cdef inline void locate_window(const job_t *job, const tile_t *t, Py_ssize_t ky0,
                               char *scratch) noexcept nogil:
    """Where the rows and columns of all planes come from."""
    cdef Py_ssize_t *row_bytes = <Py_ssize_t *> (scratch + job.at_row_bytes)
    cdef Py_ssize_t *column_bytes = <Py_ssize_t *> (scratch + job.at_column_bytes)
    cdef Py_ssize_t p
    if t.is_located:
        return
    for p in range(job.n_row_planes):
        positions(&job.rows, row_start(job, t, ky0, p), window_rows(job, t), job.x.h,
                  row_bytes + p * job.window_rows)
    for p in range(job.n_column_planes):
        positions(&job.columns, column_start(job, t, p), window_columns(job, t), job.x.w,
                  column_bytes + p * job.pitch)


cdef inline Py_ssize_t row_start(const job_t *job, const tile_t *t, Py_ssize_t ky0,
                                 Py_ssize_t py) noexcept nogil:
    return t.row0 * job.stride_y + ky0 * job.dilation_y + job.row_starts[py]


cdef inline Py_ssize_t column_start(const job_t *job, const tile_t *t,
                                    Py_ssize_t px) noexcept nogil:
    return t.column0 * job.stride_x + job.column_starts[px]


cdef inline Py_ssize_t window_rows(const job_t *job, const tile_t *t) noexcept nogil:
    return job.window_rows - (job.tile_rows - t.rows)


cdef inline Py_ssize_t window_columns(const job_t *job, const tile_t *t) noexcept nogil:
    return job.pitch - (job.tile_columns - t.columns) * job.column_step


cdef inline const char *channel_of(const job_t *job, const tile_t *t, Py_ssize_t image,
                                   Py_ssize_t group, Py_ssize_t c) noexcept nogil:
    cdef Py_ssize_t n = t.image0 + image
    return (job.x.data + n // job.x_parts * job.x.n + n % job.x_parts * job.x.part
            + (group * job.channels + c) * job.x.c)


cdef inline void stage_plane(const job_t *job, const tile_t *t, Py_ssize_t ky0, Py_ssize_t image,
                             const char *src, Py_ssize_t nc, Py_ssize_t py, Py_ssize_t px,
                             char *dst,
                             Py_ssize_t channel_step, char *scratch) noexcept nogil:
    """Copy one plane of nc channels."""
    cdef fc_window_t win
    cdef Py_ssize_t lo, hi
    win.row_bytes = <Py_ssize_t *> (scratch + job.at_row_bytes) + py * job.window_rows
    win.column_bytes = <Py_ssize_t *> (scratch + job.at_column_bytes) + px * job.pitch
    win.n_rows, win.n_columns = window_rows(job, t), window_columns(job, t)
    win.pitch = job.pitch
    win.step_bytes = job.columns.stride * job.x.w
    interior(&job.columns, column_start(job, t, px), win.n_columns, &win.lo, &win.hi)
    interior(&job.rows, row_start(job, t, ky0, py), win.n_rows, &lo, &hi)
    if (win.lo == 0 and win.hi == win.n_columns == job.pitch and lo == 0 and hi == win.n_rows
            and job.stride_y * job.x.h == win.n_columns * win.step_bytes
            and job.x.c != job.kernel.item_bytes):
        # One row of rows that follow each other without padding, in x and in the window.
        win.n_columns *= win.n_rows
        win.n_rows = 1
        win.hi = win.n_columns
    job.kernel.stage[job.x_type](
        &win, src, nc, job.x.c, job.fill + (t.image0 + image) % job.x_parts * job.kernel.item_bytes,
        dst, channel_step)


cdef inline void stage_channels(const job_t *job, const tile_t *t, Py_ssize_t group, Py_ssize_t ky0,
                                Py_ssize_t c0, Py_ssize_t nc, char *window,
                                char *scratch) noexcept nogil:
    """Copy the window of up to NR channels, pixel by pixel."""
    cdef Py_ssize_t item = job.kernel.item_bytes, nr = job.nv * job.kernel.lanes
    cdef Py_ssize_t image, py, px, at, n
    cdef char *planes = scratch + job.at_planes
    cdef const char *src
    for image in range(t.images):
        src = channel_of(job, t, image, group, c0)
        for py in range(job.n_row_planes):
            for px in range(job.n_column_planes):
                at = (image * job.image_size
                      + (py * job.n_column_planes + px) * job.plane) * nr * item
                if job.x.c == job.x_item:
                    copy_pixels(job, t, image, src, nc, py, px, window + at, scratch)
                    continue
                n = (window_rows(job, t) - 1) * job.pitch + window_columns(job, t)
                if job.x_in_place and is_inside(job, t, ky0, py, px):
                    job.kernel.store[job.compute_type](
                        src + (<Py_ssize_t *> (scratch + job.at_row_bytes))[py * job.window_rows]
                        + (<Py_ssize_t *> (scratch + job.at_column_bytes))[px * job.pitch],
                        job.x.c // item, nc, n, NULL, window + at, job.side_by_side, nr * item)
                    continue
                stage_plane(job, t, ky0, image, src, nc, py, px, planes, job.channel_size, scratch)
                job.kernel.store[job.compute_type](
                    planes, job.channel_size, nc, n, NULL, window + at, job.side_by_side, nr * item)


cdef inline bint is_inside(const job_t *job, const tile_t *t, Py_ssize_t ky0, Py_ssize_t py,
                           Py_ssize_t px) noexcept nogil:
    """Whether a plane has whole rows of x and no padding."""
    cdef Py_ssize_t lo, hi
    if window_columns(job, t) != job.pitch or job.x.h != job.pitch * job.x.w:
        return False
    interior(&job.columns, column_start(job, t, px), job.pitch, &lo, &hi)
    if lo > 0 or hi < job.pitch:
        return False
    interior(&job.rows, row_start(job, t, ky0, py), window_rows(job, t), &lo, &hi)
    return lo == 0 and hi == window_rows(job, t)


cdef inline void copy_pixels(const job_t *job, const tile_t *t, Py_ssize_t image, const char *src,
                             Py_ssize_t nc, Py_ssize_t py, Py_ssize_t px, char *dst,
                             char *scratch) noexcept nogil:
    """One plane from an x that has channels side by side, too."""
    cdef fc_window_t win
    cdef const Py_ssize_t *row_bytes = (
        <const Py_ssize_t *> (scratch + job.at_row_bytes) + py * job.window_rows)
    cdef const Py_ssize_t *column_bytes = (
        <const Py_ssize_t *> (scratch + job.at_column_bytes) + px * job.pitch)
    cdef Py_ssize_t *pixel_bytes = <Py_ssize_t *> (scratch + job.at_pixel_bytes)
    cdef Py_ssize_t item = job.kernel.item_bytes, i, j, zero = 0
    win.n_rows = window_columns(job, t)
    win.row_bytes, win.column_bytes = pixel_bytes, &zero
    win.lo, win.hi, win.n_columns = 0, nc, nc
    win.pitch, win.step_bytes = job.nv * job.kernel.lanes, job.x.c
    for i in range(window_rows(job, t)):
        for j in range(win.n_rows):
            pixel_bytes[j] = (FC_PAD if row_bytes[i] == FC_PAD or column_bytes[j] == FC_PAD
                              else row_bytes[i] + column_bytes[j])
        job.kernel.stage[job.x_type](
            &win, src, 1, 0, job.fill + (t.image0 + image) % job.x_parts * item,
            dst + i * job.pitch * win.pitch * item, 0)


cdef inline void locate_pixels(const job_t *job, const tile_t *t, Py_ssize_t unit,
                               Py_ssize_t *offset) noexcept nogil:
    """Place of every pixel in a window of `unit` elements per place."""
    cdef Py_ssize_t image, row, column, k = 0
    for image in range(t.images):
        for row in range(t.rows):
            for column in range(t.columns):
                offset[k] = (image * job.image_size + row * job.pitch
                             + column * job.column_step) * unit
                k += 1
