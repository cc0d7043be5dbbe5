# SPDX-License-Identifier: BSD-3-Clause
"""The weight gradient: dw (m output channels x channels x taps), summed over the pixels of dy.

    for item in (chunks of pixels x groups x output channels x channels)        parallel_for
      for tile of the chunk's pixels            level 3 of the sum
        stage the tile of dy and its window of x
        multiply                                levels 1 and 2 of the sum, in one of three ways
    add the chunks in pairs and store dw        parallel_for; level 4 of the sum

CHANNELS, for many channels per group: the window holds NR channels of a pixel side by side. For
every tap, fc_gemm multiplies rows of dy, pixels as terms, with the vectors that the tap sees:

    window:      [channel block][row][column][NR]
    offset[k]:   place of pixel k in the window; a tap adds a constant

COLUMNS, for few channels and many kernels: fc_pack writes, for each pixel, the inputs of all
(c, ky, kx) side by side, and fc_gemm multiplies rows of dy with those.

TAPS, for depthwise kernels and the like: fc_taps keeps the sums of a block of taps in registers,
with pixels along the vectors.

The order of a sum depends on the problem and the instruction set alone: tiles and chunks of pixels
are cut by shape. What follows the number of threads, the parts that groups and channels are cut
into, does not change a bit of the result.

A complex image is two real ones, with dy turned to fit: the real part of dy conj(x) is
Re dy Re x + Im dy Im x, the imaginary part Im dy Re x - Re dy Im x.
"""

from typing import NamedTuple

import numpy as np

from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport aligned, image_of, image_t, negate
from fastcorr._algorithms.parallel cimport parallel_for, whole_lines
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, axis_t, ceil_div, interior, positions
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport (
    FC_GEMM_MAX_VECTORS, FC_PAD, FC_TAPS_MAX_HEIGHT, FC_TAPS_MAX_WIDTH, FC_TAPS_ROWS, fc_kernels_t,
    fc_pack_fn, fc_run_t, fc_window_t,
)

from fastcorr._algorithms.gemm_cuts import even_pieces, panel_cycles
from fastcorr._algorithms.layout import AxisLayout, axis_layout
from fastcorr._kernels.dispatch import (
    active_isa, compute_dtype, element_code, is_kernel_dtype,
)

import_array()

# Pixels of a tile: the terms of one call of fc_gemm; fc_taps adds up lanes at the end of its call.
TILE_PIXELS = 512
TILE_PIXELS_OF_COLUMNS = 1024
TILE_PIXELS_OF_TAPS = 16 * 1024
# Bytes per thread, so that dy, the window and the sums stay in a 1 MB cache.
DY_BYTES = 384 * 1024
WINDOW_BYTES = 384 * 1024
ACC_BYTES = 1024 * 1024
# Sums of all chunks together.
CHUNKS_BYTES = 8 * 1024 * 1024
MAX_CHUNKS = 32

# Cost model, in cycles of one vector multiply-add (EPYC 9004, AVX-512, 2026-11).
CYCLES_PER_STAGED_VECTOR = 8.0
CYCLES_PER_STAGED_ROW = 20.0
CYCLES_PER_TRANSPOSED_VECTOR = 6.0
CYCLES_PER_PACKED_RUN = 3.0
CYCLES_PER_TAP = 1.1            # and vector of pixels, where loads do not take longer
CYCLES_PER_LOAD = 2.0           # of a vector that meets two cache lines
CYCLES_PER_DY_VECTOR = 12.0     # of TAPS, which often waits for dy
CYCLES_PER_CALL = 80.0
CYCLES_PER_TILE = 500.0
CYCLES_PER_SUM = 1.5            # to add, transpose and store one element of dw
CYCLES_PER_THREAD = 100e3       # less work than this does not pay for waking a thread
CYCLES_PER_CHUNK = 100e3        # nor for sums of its own
CYCLES_PER_SECOND = 2e9
MAX_ITEM_CYCLES = 50e6          # Ctrl-C waits for an item


def unsupported(problem):
    """None, or why the compiled weight gradient cannot serve the problem."""
    if not is_kernel_dtype(problem.dtype) or problem.dtype.kind not in "fc":
        return f"there are no kernels for {problem.dtype}"
    return None


cdef enum way_t:
    CHANNELS
    COLUMNS
    TAPS


WAYS = {CHANNELS: "channels", COLUMNS: "columns", TAPS: "taps"}


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


# Sums of an item and one group: [block][column block][tap][tile_size]
ctypedef struct acc_t:
    char *base
    Py_ssize_t block0, column0, n_column_blocks


cdef inline Py_ssize_t block_start(const job_t *job, Py_ssize_t block) noexcept nogil:
    return job.m * block // job.n_blocks


cdef inline char *sums_of(const job_t *job, const acc_t *acc, Py_ssize_t block,
                          Py_ssize_t column_block, Py_ssize_t tap) noexcept nogil:
    return acc.base + (
        ((block - acc.block0) * acc.n_column_blocks + column_block - acc.column0) * job.n_taps + tap
    ) * job.tile_size * job.kernel.item_bytes


cdef inline void shared_sums(const job_t *job, Py_ssize_t chunk, Py_ssize_t group,
                             acc_t *acc) noexcept nogil:
    acc.block0, acc.column0, acc.n_column_blocks = 0, 0, job.n_column_blocks
    acc.base = job.acc + (chunk * job.chunk_size + group * (job.chunk_size // job.groups)
                          ) * job.kernel.item_bytes


# ---- staging -----------------------------------------------------------------------------------

cdef void stage_dy(const job_t *job, const tile_t *t, Py_ssize_t group, Py_ssize_t m0,
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


cdef void locate_window(const job_t *job, const tile_t *t, Py_ssize_t ky0,
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


cdef void stage_plane(const job_t *job, const tile_t *t, Py_ssize_t ky0, Py_ssize_t image,
                      const char *src, Py_ssize_t nc, Py_ssize_t py, Py_ssize_t px, char *dst,
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


cdef void stage_channels(const job_t *job, const tile_t *t, Py_ssize_t group, Py_ssize_t ky0,
                         Py_ssize_t c0, Py_ssize_t nc, char *window, char *scratch) noexcept nogil:
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


cdef void copy_pixels(const job_t *job, const tile_t *t, Py_ssize_t image, const char *src,
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


cdef void locate_pixels(const job_t *job, const tile_t *t, Py_ssize_t unit,
                        Py_ssize_t *offset) noexcept nogil:
    """Place of every pixel in a window of `unit` elements per place."""
    cdef Py_ssize_t image, row, column, k = 0
    for image in range(t.images):
        for row in range(t.rows):
            for column in range(t.columns):
                offset[k] = (image * job.image_size + row * job.pitch
                             + column * job.column_step) * unit
                k += 1


# ---- one tile ----------------------------------------------------------------------------------

cdef inline const char *dy_of(const job_t *job, const tile_t *t, Py_ssize_t group, Py_ssize_t m,
                              const char *scratch, Py_ssize_t *ldy) noexcept nogil:
    """Row m of dy, where m is the item's first, and the step to the next one."""
    if job.dy_in_place:
        ldy[0] = job.dy.c // job.kernel.item_bytes
        return (job.dy.data + t.image0 * job.dy.n + (group * job.m + m) * job.dy.c
                + t.row0 * job.dy.h + t.column0 * job.dy.w)
    ldy[0] = job.dy_pitch
    return scratch + job.at_dy


cdef void multiply(const job_t *job, const tile_t *t, const item_t *item_, Py_ssize_t group,
                   const acc_t *acc, bint is_first, Py_ssize_t column0, Py_ssize_t column1,
                   Py_ssize_t tap0, Py_ssize_t tap1, const Py_ssize_t *offset,
                   char *scratch) noexcept nogil:
    """All blocks of the item's dy times some column blocks of the window, or the panel of one."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, nr = job.nv * lanes
    cdef Py_ssize_t m_first = block_start(job, item_.block0), block, b, tap, m0, mr, ldy
    cdef const char *base
    cdef const char *dy = dy_of(job, t, group, m_first, scratch, &ldy)
    cdef int nv
    for b in range(column0, column1):
        nv = <int> ceil_div(min(nr, job.n_columns - b * nr), lanes)
        for tap in range(tap0, tap1):
            base = scratch + job.at_window
            if job.way == CHANNELS:
                base += ((b - column0) * job.block_size
                         + (job.tap_row[(tap - tap0) // job.kw] + job.tap_column[tap % job.kw]) * nr
                         ) * item
            for block in range(item_.block0, item_.block1):
                m0 = block_start(job, block)
                mr = block_start(job, block + 1) - m0
                job.kernel.gemm[nv][mr](
                    t.n_pixels, dy + (m0 - m_first) * ldy * item, ldy, base, offset,
                    sums_of(job, acc, block, b, tap), not is_first)


cdef void run_channels(const job_t *job, const tile_t *t, const item_t *item_, Py_ssize_t group,
                       const acc_t *acc, bint is_first, char *scratch) noexcept nogil:
    cdef Py_ssize_t nr = job.nv * job.kernel.lanes, ky0, b0, b1, b
    cdef Py_ssize_t *offset = <Py_ssize_t *> (scratch + job.at_offset)
    stage_dy(job, t, group, block_start(job, item_.block0), block_start(job, item_.block1), scratch)
    locate_pixels(job, t, nr, offset)
    ky0 = 0
    while ky0 < job.kh:
        locate_window(job, t, ky0, scratch)
        b0 = item_.column0
        while b0 < item_.column1:
            b1 = min(b0 + job.blocks_at_once, item_.column1)
            for b in range(b0, b1):
                stage_channels(
                    job, t, group, ky0, b * nr, min(nr, job.channels - b * nr),
                    scratch + job.at_window + (b - b0) * job.block_size * job.kernel.item_bytes,
                    scratch)
            multiply(job, t, item_, group, acc, is_first, b0, b1, ky0 * job.kw,
                     min(ky0 + job.band_kh, job.kh) * job.kw, offset, scratch)
            b0 = b1
        ky0 += job.band_kh


cdef void run_columns(const job_t *job, const tile_t *t, const item_t *item_, Py_ssize_t group,
                      const acc_t *acc, bint is_first, char *scratch) noexcept nogil:
    cdef Py_ssize_t item = job.kernel.item_bytes, nr = job.nv * job.kernel.lanes
    cdef Py_ssize_t image, py, px, b
    cdef Py_ssize_t *offset = <Py_ssize_t *> (scratch + job.at_offset)
    stage_dy(job, t, group, block_start(job, item_.block0), block_start(job, item_.block1), scratch)
    locate_window(job, t, 0, scratch)
    for image in range(t.images):
        for py in range(job.n_row_planes):
            for px in range(job.n_column_planes):
                stage_plane(
                    job, t, 0, image, channel_of(job, t, image, group, 0), job.channels, py, px,
                    scratch + job.at_planes
                    + (image * job.image_size + (py * job.n_column_planes + px) * job.plane) * item,
                    job.channel_size, scratch)
    locate_pixels(job, t, 1, offset)
    for b in range(item_.column0, item_.column1):
        job.pack(t.n_pixels, scratch + job.at_planes, offset, job.runs + job.first_run[b],
                 job.first_run[b + 1] - job.first_run[b], scratch + job.at_window, nr)
        multiply(job, t, item_, group, acc, is_first, b, b + 1, 0, 1, job.panel_offset, scratch)


cdef void run_taps(const job_t *job, const tile_t *t, const item_t *item_, Py_ssize_t group,
                   const acc_t *acc, bint is_first, char *scratch) noexcept nogil:
    """The tile is of one image; blocks of rows and of columns are single ones."""
    cdef Py_ssize_t item = job.kernel.item_bytes, py, px, ky0, c, f, ldy
    cdef const char *dy
    stage_dy(job, t, group, item_.block0, item_.block1, scratch)
    dy = dy_of(job, t, group, item_.block0, scratch, &ldy)
    ky0 = 0
    while ky0 < job.kh:
        locate_window(job, t, ky0, scratch)
        for c in range(item_.column0, item_.column1):
            for py in range(job.n_row_planes):
                for px in range(job.n_column_planes):
                    stage_plane(
                        job, t, ky0, 0, channel_of(job, t, 0, group, c), 1, py, px,
                        scratch + job.at_window
                        + (py * job.n_column_planes + px) * job.plane * item,
                        0, scratch)
            for f in range(item_.block0, item_.block1):
                sum_taps(job, t, ky0, dy + (f - item_.block0) * ldy * item,
                         job.dy.h // item if job.dy_in_place else t.columns,
                         sums_of(job, acc, f, c, 0), is_first, scratch)
        ky0 += job.band_kh


cdef void sum_taps(const job_t *job, const tile_t *t, Py_ssize_t ky0, const char *dy,
                   Py_ssize_t ldy, char *sums, bint is_first, char *scratch) noexcept nogil:
    """All taps of a band for one pair of channels, in blocks that have a kernel."""
    cdef Py_ssize_t item = job.kernel.item_bytes, i, ky, step, count, width, kx, nx, n_across
    cdef Py_ssize_t nky = min(job.band_kh, job.kh - ky0)
    for i in range(job.n_stacks):
        ky, step = job.stacks[3 * i], job.stacks[3 * i + 1]
        if ky >= nky:
            continue
        count = min(job.stacks[3 * i + 2], (nky - 1 - ky) // step + 1)
        width = min(<Py_ssize_t> FC_TAPS_MAX_WIDTH, job.kw)
        while job.kernel.taps[count][width] == NULL:
            width -= 1
        n_across = ceil_div(job.kw, width)
        kx = 0
        while kx < job.kw:
            nx = ceil_div(job.kw - kx, n_across)
            n_across -= 1
            job.kernel.taps[count][nx](
                t.rows, t.columns, dy, ldy,
                scratch + job.at_window + job.tap_row[ky] * item, job.pitch, job.tap_column + kx,
                sums + ((ky0 + ky) * job.kw + kx) * item, step * job.kw, not is_first)
            kx += nx


# ---- items -------------------------------------------------------------------------------------

cdef void locate_tile(const job_t *job, Py_ssize_t index, tile_t *t) noexcept nogil:
    """The tile of that number: columns run fastest, then rows, then images."""
    t.column0 = index % job.n_column_tiles * job.tile_columns
    t.columns = min(job.tile_columns, job.ow - t.column0)
    index //= job.n_column_tiles
    t.row0 = index % job.n_row_tiles * job.tile_rows
    t.rows = min(job.tile_rows, job.oh - t.row0)
    t.image0 = index // job.n_row_tiles * job.tile_images
    t.images = min(job.tile_images, job.n_images - t.image0)
    t.n_pixels = t.images * t.rows * t.columns


cdef void locate_item(const job_t *job, Py_ssize_t index, item_t *item_) noexcept nogil:
    cdef Py_ssize_t i, end
    i = index % job.column_parts
    item_.column0 = job.n_column_blocks * i // job.column_parts
    item_.column1 = job.n_column_blocks * (i + 1) // job.column_parts
    index //= job.column_parts
    i = index % job.block_parts
    item_.block0 = job.n_blocks * i // job.block_parts
    item_.block1 = job.n_blocks * (i + 1) // job.block_parts
    index //= job.block_parts
    i = index % job.group_parts
    item_.group0 = job.groups * i // job.group_parts
    item_.group1 = job.groups * (i + 1) // job.group_parts
    item_.chunk = i = index // job.group_parts
    item_.first_tile = job.n_tiles * i // job.n_chunks
    end = job.n_tiles * (i + 1) // job.n_chunks
    item_.tile0 = item_.first_tile + (end - item_.first_tile) * job.round // job.n_rounds
    item_.tile1 = item_.first_tile + (end - item_.first_tile) * (job.round + 1) // job.n_rounds


cdef void run_item(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef item_t item_
    cdef tile_t t
    cdef acc_t acc
    cdef Py_ssize_t group, i
    locate_item(job, index, &item_)
    for group in range(item_.group0, item_.group1):
        if job.acc != NULL:
            shared_sums(job, item_.chunk, group, &acc)
        else:
            acc.base = scratch + job.at_acc
            acc.block0, acc.column0 = item_.block0, item_.column0
            acc.n_column_blocks = item_.column1 - item_.column0
        for i in range(item_.tile0, item_.tile1):
            locate_tile(job, i, &t)
            t.is_located = (job.n_row_tiles == job.n_column_tiles == 1 and job.band_kh == job.kh
                            and (i > item_.tile0 or group > item_.group0))
            if job.way == CHANNELS:
                run_channels(job, &t, &item_, group, &acc, i == item_.first_tile, scratch)
            elif job.way == COLUMNS:
                run_columns(job, &t, &item_, group, &acc, i == item_.first_tile, scratch)
            else:
                run_taps(job, &t, &item_, group, &acc, i == item_.first_tile, scratch)
        if job.acc == NULL:
            for i in range(item_.block0, item_.block1):
                store_block(job, &acc, group, i, item_.column0, item_.column1)


cdef void store_block(const job_t *job, const acc_t *acc, Py_ssize_t group, Py_ssize_t block,
                      Py_ssize_t column0, Py_ssize_t column1) noexcept nogil:
    """Write finished sums to dw."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, nr = job.nv * lanes
    cdef Py_ssize_t m0 = block_start(job, block), mr = block_start(job, block + 1) - m0
    cdef Py_ssize_t taps = job.kh * job.kw, row, b, i, n
    cdef char *dw
    row = job.channels * taps * job.dw_item
    for i in range(mr):
        dw = (job.dw + (group * job.m + m0 + i) // job.m_parts * row
              + (m0 + i) % job.m_parts * (job.dw_item // job.m_parts))
        if job.way == TAPS:
            job.kernel.store[job.dw_type](
                sums_of(job, acc, block, column0, 0), 0, 1, (column1 - column0) * taps, NULL,
                dw + column0 * taps * job.dw_item, job.tap_bytes, job.dw_item)
            continue
        for b in range(column0, column1):
            n = min(nr, job.n_columns - b * nr)
            job.kernel.store[job.dw_type](
                sums_of(job, acc, block, b, 0) + i * ceil_div(n, lanes) * lanes * item,
                job.tile_size, job.n_taps, n, NULL, dw + b * nr * job.n_taps * job.dw_item,
                job.tap_bytes, job.n_taps * job.dw_item)


cdef void finish(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """Add the chunks of one block of one group, in pairs, and store it."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t group = index // job.n_blocks, block = index % job.n_blocks, step = 1, i
    cdef acc_t to, other
    while step < job.n_chunks:
        i = 0
        while i + step < job.n_chunks:
            shared_sums(job, i, group, &to)
            shared_sums(job, i + step, group, &other)
            job.kernel.add(job.n_column_blocks * job.n_taps * job.tile_size,
                           sums_of(job, &other, block, 0, 0), sums_of(job, &to, block, 0, 0))
            i += 2 * step
        step *= 2
    shared_sums(job, 0, group, &to)
    store_block(job, &to, group, block, 0, job.n_column_blocks)


# ---- cuts --------------------------------------------------------------------------------------

class Shape(NamedTuple):
    """How the sums are formed: all that a bit of the result may depend on, but for the chunks."""

    way: int
    nv: int
    n_blocks: int
    images: int
    rows: int
    columns: int
    band_kh: int
    layout_y: AxisLayout
    layout_x: AxisLayout
    column_step: int
    cycles: float               # of one group
    dy_cycles: float            # of which: staging dy, and x
    x_cycles: float


def gemm_blocks(m, vectors, gemm_rows):
    """(cycles per pixel, vectors per call, blocks of the m rows): the best."""
    choices = []
    for nv in range(1, FC_GEMM_MAX_VECTORS + 1):
        if gemm_rows[nv] == 0:
            continue
        n_blocks = ceil_div(m, gemm_rows[nv])
        cycles = vectors // nv * panel_cycles(m / n_blocks, nv)
        if vectors % nv:
            cycles += panel_cycles(m / n_blocks, vectors % nv)
        choices.append((cycles * n_blocks, nv, n_blocks))
    return min(choices)


def tile_pixels(way):
    return {CHANNELS: TILE_PIXELS, COLUMNS: TILE_PIXELS_OF_COLUMNS, TAPS: TILE_PIXELS_OF_TAPS}[way]


def area(layout_y, layout_x):
    """Places of a window."""
    return len(layout_y.starts) * layout_y.length * len(layout_x.starts) * layout_x.length


cdef class Cut(TiledCut):
    """How the work is cut for one instruction set and number of threads."""

    cdef job_t job
    cdef readonly Py_ssize_t shared_bytes

    def __repr__(self):
        cdef job_t *job = &self.job
        return (
            f"<{WAYS[job.way]}: {job.n_tiles} tiles of {job.tile_images} x {job.tile_rows} x "
            f"{job.tile_columns} pixels in {job.n_chunks} chunks, {job.n_blocks} blocks x "
            f"{job.n_column_blocks} of {job.nv} vectors in {job.group_parts} x {job.block_parts} x "
            f"{job.column_parts} parts, {self.workers} threads, {self.scratch_bytes} + "
            f"{self.shared_bytes} bytes>")


cdef class GradWeight(Tiled):
    """The weight gradient of a forward problem: see tiled.Tiled for the arguments."""

    cdef job_t base

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        Tiled.__init__(self, problem, rows, columns)
        memset(job, 0, sizeof(job_t))
        job.x_type = element_code(problem.x_dtype)
        job.dw_type = element_code(problem.dtype)
        job.compute_type = element_code(compute_dtype(problem.dtype))
        job.x_item, job.dw_item = problem.x_dtype.itemsize, problem.dtype.itemsize
        job.x_parts = 1 + (problem.x_dtype.kind == "c")
        job.m_parts = 1 + (problem.dtype.kind == "c")
        job.groups = problem.groups
        job.m = problem.F // problem.groups * job.m_parts
        job.channels = problem.C // problem.groups
        job.kh, job.kw, job.oh, job.ow = problem.KH, problem.KW, problem.OH, problem.OW
        job.stride_y, job.stride_x = problem.stride
        job.dilation_y, job.dilation_x = problem.dilation
        job.n_images = problem.N * job.x_parts

    def _shape(self):
        """The cheapest by the cost model."""
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        lanes, item = kernel.lanes, kernel.item_bytes
        found = [
            shape for way in WAYS for columns in self._column_sizes(way, lanes)
            for shape in self._candidates(way, columns, lanes, item, kernel.gemm_rows)]
        return min(found, key=lambda shape: shape.cycles)

    def _column_sizes(self, way, lanes):
        """Columns of a tile: few where that makes a window with little around its pixels."""
        cdef job_t *job = &self.base
        pixels = tile_pixels(way)
        least = 8 * lanes if way == TAPS else 16
        sizes = [n for n in even_pieces(job.ow) if n <= pixels]
        return [n for n in sizes if n >= least] or sizes[:1]

    def _candidates(self, way, columns, lanes, item, gemm_rows):
        cdef job_t *job = &self.base
        taps, step = job.kh * job.kw, 1
        layout_x = axis_layout(columns, job.kw, job.stride_x, job.dilation_x)
        pixels = tile_pixels(way)
        if way == TAPS:
            nv, n_blocks, per_pixel = 1, job.m, 0.0
        elif way == CHANNELS:
            per_pixel, nv, n_blocks = gemm_blocks(job.m, ceil_div(job.channels, lanes), gemm_rows)
        else:
            vectors = ceil_div(job.channels * taps, lanes)
            per_pixel, nv, n_blocks = gemm_blocks(job.m, vectors, gemm_rows)
            if job.dilation_x == 1:
                step = job.stride_x
                layout_x = AxisLayout(
                    (columns - 1) * step + job.kw, [0], [0] * job.kw, list(range(job.kw)))
        fewest = ceil_div(job.oh, max(1, min(pixels // columns, job.oh)))
        for n_row_tiles in range(fewest, min(fewest + 4, job.oh) + 1):
            rows = ceil_div(job.oh, n_row_tiles)
            images = 1
            if way != TAPS and rows == job.oh and columns == job.ow:
                images = max(1, min(pixels // (rows * columns), job.n_images))
            for images in range(images, images // 2, -1):
                shape = self._costed(
                    way, nv, n_blocks, images, rows, columns, layout_x, step, lanes, item,
                    per_pixel)
                if shape is not None:
                    yield shape

    def _costed(self, way, nv, n_blocks, images, rows, columns, layout_x, step, lanes, item,
                per_pixel):
        cdef job_t *job = &self.base
        taps, band_kh = job.kh * job.kw, job.kh
        side_by_side = nv * lanes if way == CHANNELS else job.channels if way == COLUMNS else 1
        while True:
            layout_y = axis_layout(rows, band_kh, job.stride_y, job.dilation_y)
            window = images * area(layout_y, layout_x)
            if window * side_by_side * item <= WINDOW_BYTES or band_kh == 1:
                break
            if way == COLUMNS:
                return None
            band_kh = ceil_div(band_kh, 2)
        n_tiles = (ceil_div(max(job.n_images, 1), images) * ceil_div(job.oh, rows)
                   * ceil_div(job.ow, columns))
        pixels = images * rows * columns
        staged = window * ceil_div(job.kh, band_kh)
        staged_rows = staged / layout_x.length
        # Whole rows can be read in place, if dy is contiguous and has the right dtype.
        dy = job.m * CYCLES_PER_STAGED_VECTOR * pixels / lanes
        if columns == job.ow and images == 1:
            dy /= 2
        else:
            dy += job.m * CYCLES_PER_STAGED_ROW * images * (1 if columns == job.ow else rows)
        x = job.channels * (CYCLES_PER_STAGED_ROW * staged_rows
                            + CYCLES_PER_STAGED_VECTOR * staged / lanes)
        if way == TAPS:
            high = min(ceil_div(job.kh, job.stride_y), FC_TAPS_MAX_HEIGHT)
            if job.dilation_y > 1:
                high = 1
            wide = min(job.kw, max(1, 20 // high), FC_TAPS_MAX_WIDTH)
            loads = ((FC_TAPS_ROWS - 1 + high) * wide + FC_TAPS_ROWS) / (FC_TAPS_ROWS * high * wide)
            per_tap = max(CYCLES_PER_TAP, CYCLES_PER_LOAD * loads)
            cycles = job.m * job.channels * (
                (taps * per_tap + CYCLES_PER_DY_VECTOR) * rows * ceil_div(columns, lanes)
                + CYCLES_PER_CALL * ceil_div(taps, high * wide))
        elif way == CHANNELS:
            vectors = ceil_div(job.channels, lanes)
            x += CYCLES_PER_TRANSPOSED_VECTOR * staged * vectors
            cycles = taps * (pixels * per_pixel
                             + CYCLES_PER_CALL * n_blocks * ceil_div(vectors, nv))
        else:
            runs = job.channels * job.kh * (
                ceil_div(job.kw, lanes) if job.dilation_x == 1 else job.kw)
            x += pixels * CYCLES_PER_PACKED_RUN * runs
            vectors = ceil_div(job.channels * taps, lanes)
            cycles = pixels * per_pixel + CYCLES_PER_CALL * n_blocks * ceil_div(vectors, nv)
        # As even a share for 2, 4 or 8 threads as there can be.
        even = 8 if n_tiles >= 8 else 4 if n_tiles >= 4 else 2 if n_tiles >= 2 else 1
        waste = 0.5 + 0.5 * ceil_div(n_tiles, even) * even / n_tiles
        return Shape(
            way, nv, n_blocks, images, rows, columns, band_kh, layout_y, layout_x, step,
            n_tiles * (CYCLES_PER_TILE + dy + x + cycles) * waste, n_tiles * dy, n_tiles * x)

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, nr, taps, at = 0
        problem = self.problem
        shape = self._shape()
        job[0] = self.base
        job.kernel = kernel
        taps = job.kh * job.kw
        layout_y, layout_x = shape.layout_y, shape.layout_x
        job.way, job.nv, job.n_blocks, job.band_kh = (
            shape.way, shape.nv, shape.n_blocks, shape.band_kh)
        job.column_step = shape.column_step
        job.rows = axis_of(self.rows, problem.padding[0], problem.H, job.stride_y)
        job.columns = axis_of(self.columns, problem.padding[1], problem.W,
                              job.stride_x // job.column_step)
        nr = job.nv * lanes
        if job.way == TAPS:
            job.n_columns = job.n_column_blocks = job.channels
            job.n_taps, job.tile_size = taps, 1
        else:
            job.n_columns, job.n_taps = job.channels, taps
            if job.way == COLUMNS:
                job.n_columns, job.n_taps = job.channels * taps, 1
            job.n_column_blocks = ceil_div(job.n_columns, nr)
            job.tile_size = ceil_div(job.m, job.n_blocks) * nr
        job.tile_images, job.tile_rows, job.tile_columns = shape.images, shape.rows, shape.columns
        job.n_image_tiles = ceil_div(max(job.n_images, 1), job.tile_images)  # `run` knows of none
        job.n_row_tiles = ceil_div(job.oh, job.tile_rows)
        job.n_column_tiles = ceil_div(job.ow, job.tile_columns)
        job.n_tiles = job.n_image_tiles * job.n_row_tiles * job.n_column_tiles
        pixels = job.tile_images * job.tile_rows * job.tile_columns
        job.dy_pitch = odd_lines(pixels * item) // item
        job.chunk_size = (job.groups * job.n_blocks * job.n_column_blocks * job.n_taps
                          * job.tile_size)
        job.n_chunks = self._chunks(shape, job.n_tiles, job.chunk_size * item)
        self._parts(cut, shape, workers)
        self._tables(cut, layout_y, layout_x, lanes, item)

        images = job.tile_images
        job.at_row_bytes, at = at, at + whole_lines(
            job.n_row_planes * job.window_rows * sizeof(Py_ssize_t))
        job.at_dy_rows, at = at, at + whole_lines(job.tile_rows * sizeof(Py_ssize_t))
        job.at_column_bytes, at = at, at + whole_lines(
            job.n_column_planes * job.pitch * sizeof(Py_ssize_t))
        job.at_pixel_bytes, at = at, at + whole_lines(job.pitch * sizeof(Py_ssize_t))
        if job.way != TAPS:
            job.at_offset, at = at, at + whole_lines(pixels * sizeof(Py_ssize_t))
        blocks = ceil_div(job.n_blocks, job.block_parts)
        m = min(blocks * ceil_div(job.m, job.n_blocks), job.m)
        job.at_dy, at = at, at + whole_lines(m * job.dy_pitch * item)
        # Slack: fc_pack and fc_gemm read whole vectors, and fc_pack writes them.
        if job.way == CHANNELS:
            job.at_planes, at = at, at + whole_lines((nr * job.channel_size + lanes) * item)
            job.at_window, at = at, at + whole_lines(
                (job.blocks_at_once * job.block_size + lanes) * item)
        elif job.way == COLUMNS:
            job.at_planes, at = at, at + whole_lines((images * job.image_size + lanes) * item)
            job.at_window, at = at, at + whole_lines((pixels * nr + lanes) * item)
        else:
            job.at_window, at = at, at + whole_lines((job.channel_size + lanes) * item)
        job.at_acc = at
        if cut.shared_bytes == 0:
            at += self._item_bytes(cut, job.block_parts, job.column_parts)
        cut.scratch_bytes = at
        operation = (
            "taps" if job.way == TAPS else f"gemm_{ceil_div(job.m, job.n_blocks)}x{nr}")
        cut.kernel_name = f"fc_{kernel.name.decode()}_{operation}_{active_isa()}"
        return cut

    def _item_bytes(self, Cut cut, block_parts, column_parts):
        """Sums of one item and group."""
        cdef job_t *job = &cut.job
        return (ceil_div(job.n_blocks, block_parts) * ceil_div(job.n_column_blocks, column_parts)
                * job.n_taps * job.tile_size * job.kernel.item_bytes)

    def _chunks(self, shape, n_tiles, chunk_bytes):
        """Chunks of tiles: enough for many threads where groups are not, within CHUNKS_BYTES."""
        cdef job_t *job = &self.base
        most = min(ceil_div(MAX_CHUNKS, job.groups), CHUNKS_BYTES // chunk_bytes,
                   int(shape.cycles * job.groups / CYCLES_PER_CHUNK), n_tiles)
        return ceil_div(n_tiles, ceil_div(n_tiles, max(most, 1)))

    def _parts(self, Cut cut, shape, workers):
        """Cut groups and channels for that many threads; no cut changes the result."""
        cdef job_t *job = &cut.job
        cdef Py_ssize_t item = job.kernel.item_bytes
        multiply = shape.cycles - shape.dy_cycles - shape.x_cycles
        best = None
        for groups in even_pieces(job.groups):
            for blocks in even_pieces(job.n_blocks):
                block_parts = ceil_div(job.n_blocks, blocks)
                dy_bytes = blocks * ceil_div(job.m, job.n_blocks) * job.dy_pitch * item
                if dy_bytes > DY_BYTES and blocks > 1:
                    continue
                for columns in even_pieces(job.n_column_blocks):
                    column_parts = ceil_div(job.n_column_blocks, columns)
                    if (self._item_bytes(cut, block_parts, column_parts) > ACC_BYTES
                            and job.n_chunks == 1 and blocks * columns > 1):
                        continue
                    b, c = blocks / job.n_blocks, columns / job.n_column_blocks
                    cycles = CYCLES_PER_TILE + groups * ceil_div(job.n_tiles, job.n_chunks) / (
                        job.n_tiles) * (shape.dy_cycles * b + shape.x_cycles * c + multiply * b * c)
                    n_items = (job.n_chunks * ceil_div(job.groups, groups) * block_parts
                               * column_parts)
                    waves = ceil_div(n_items, workers) + (0.02 if workers > 1 else 0)
                    if best is None or cycles * waves < best[0]:
                        best = (cycles * waves, cycles, n_items, ceil_div(job.groups, groups),
                                block_parts, column_parts)
        (_, cycles, cut.n_tiles, job.group_parts, job.block_parts, job.column_parts) = best
        cut.workers = min(workers, cut.n_tiles, int(cut.n_tiles * cycles / CYCLES_PER_THREAD) + 1)
        job.n_rounds = min(int(cycles / MAX_ITEM_CYCLES) + 1, ceil_div(job.n_tiles, job.n_chunks))
        cut.tile_seconds = cycles / job.n_rounds / CYCLES_PER_SECOND
        if job.n_chunks > 1 or job.n_rounds > 1:
            cut.shared_bytes = job.n_chunks * job.chunk_size * item

    def _tables(self, Cut cut, layout_y, layout_x, Py_ssize_t lanes, Py_ssize_t item):
        """The window and the tables that describe it."""
        cdef job_t *job = &cut.job
        cdef Py_ssize_t nr = job.nv * lanes
        job.n_row_planes, job.n_column_planes = len(layout_y.starts), len(layout_x.starts)
        job.window_rows, job.pitch = layout_y.length, layout_x.length
        job.plane = job.window_rows * job.pitch
        places = area(layout_y, layout_x)
        # An odd number of cache lines: channels spread over the sets of the cache.
        if job.way == CHANNELS:
            job.channel_size = odd_lines(job.plane * item) // item
            job.image_size = places
            job.block_size = odd_lines(job.tile_images * places * nr * item) // item
            job.blocks_at_once = max(1, min(WINDOW_BYTES // (job.block_size * item),
                                            ceil_div(job.n_column_blocks, job.column_parts)))
        else:
            job.channel_size = odd_lines(places * item) // item
            job.image_size = job.channels * job.channel_size
        row_starts = np.array(layout_y.starts, np.intp)
        column_starts = np.array(layout_x.starts, np.intp)
        tap_row = (np.array(layout_y.plane) * (job.n_column_planes * job.plane)
                   + np.array(layout_y.offset) * job.pitch).astype(np.intp)
        tap_column = (np.array(layout_x.plane) * job.plane
                      + np.array(layout_x.offset)).astype(np.intp)
        tap_bytes = np.arange(job.n_taps) * job.dw_item
        side_by_side = np.arange(nr) * item
        runs = first_run = panel_offset = stacks = np.empty(0, np.intp)
        if job.way == COLUMNS:
            blocks = self._runs(cut, nr, tap_row, tap_column)
            runs = np.array([run for block in blocks for run in block], np.intp)
            job.pack = (job.kernel.pack_short if runs[:, 2].max() <= lanes // 2
                        else job.kernel.pack)
            first_run = np.cumsum([0, *map(len, blocks)], dtype=np.intp)
            panel_offset = np.arange(
                job.tile_images * job.tile_rows * job.tile_columns, dtype=np.intp) * nr
        if job.way == TAPS:
            stacks = np.array(stacks_of(layout_y), np.intp)
            job.n_stacks = len(stacks)
        cut.arrays = [row_starts, column_starts, tap_row, tap_column, tap_bytes, side_by_side,
                      runs, first_run, panel_offset, stacks]
        job.row_starts = <const Py_ssize_t *> PyArray_DATA(<ndarray> row_starts)
        job.column_starts = <const Py_ssize_t *> PyArray_DATA(<ndarray> column_starts)
        job.tap_row = <const Py_ssize_t *> PyArray_DATA(<ndarray> tap_row)
        job.tap_column = <const Py_ssize_t *> PyArray_DATA(<ndarray> tap_column)
        job.tap_bytes = <const Py_ssize_t *> PyArray_DATA(<ndarray> tap_bytes)
        job.side_by_side = <const Py_ssize_t *> PyArray_DATA(<ndarray> side_by_side)
        job.runs = <const fc_run_t *> PyArray_DATA(<ndarray> runs)
        job.first_run = <const Py_ssize_t *> PyArray_DATA(<ndarray> first_run)
        job.panel_offset = <const Py_ssize_t *> PyArray_DATA(<ndarray> panel_offset)
        job.stacks = <const Py_ssize_t *> PyArray_DATA(<ndarray> stacks)

    def _runs(self, Cut cut, nr, tap_row, tap_column):
        """[(first lane, place in the window, length)] of every block of NR columns (c, ky, kx)."""
        cdef job_t *job = &cut.job
        breaks = [0, *(np.flatnonzero(np.diff(tap_column) != 1) + 1), job.kw]
        blocks = [[] for _ in range(job.n_column_blocks)]
        for c in range(job.channels):
            for ky in range(job.kh):
                for kx, end in zip(breaks[:-1], breaks[1:], strict=True):
                    while kx < end:
                        column = (c * job.kh + ky) * job.kw + kx
                        n = min(end - kx, nr - column % nr)
                        place = c * job.channel_size + tap_row[ky] + tap_column[kx]
                        blocks[column // nr].append((column % nr, place, n))
                        kx += n
        return blocks

    def run(self, ndarray dy, ndarray x, ndarray dw, fill, int workers):
        """Compute dw, a C-contiguous array of the problem's w_shape and dtype.

        dy has the problem's y_shape and x its x_shape; both have native dtypes that promote to the
        problem's, and overlap dw nowhere. `fill` is the padding constant as bytes of the compute
        type (real and imaginary part).
        """
        cdef Cut cut
        cdef job_t job
        cdef const char *fill_bytes = fill
        cdef Py_ssize_t item
        problem = self.problem
        if dy.size == 0:
            dw[...] = 0
            return 0
        cut = self.cut(workers)
        job = cut.job
        item = job.kernel.item_bytes
        memcpy(job.fill, fill_bytes, 2 * item)
        if (dy.dtype.kind == "c") != (problem.dtype.kind == "c"):
            dy = dy.astype(problem.dtype)
        dy, x = aligned(dy), aligned(x)
        job.dy_type = element_code(dy.dtype)
        job.dy = image_of(dy, dy.ndim, problem.channels_last, dy.itemsize // 2)
        job.x = image_of(x, x.ndim, problem.channels_last, x.itemsize // 2)
        job.dw = <char *> PyArray_DATA(dw)
        job.dy_in_place = (
            job.dy_type == job.compute_type and job.m_parts == 1 and job.dy.w == item
            and job.dy.h % item == job.dy.c % item == 0
            and (job.way == TAPS or job.dy.h == job.tile_columns * item
                 and job.tile_images == job.n_column_tiles == 1 and not collide(job.dy.c)))
        job.x_in_place = (
            job.x_type == job.compute_type and job.x_parts == job.stride_y == job.stride_x == 1
            and job.x.w == item and job.x.c % item == 0)
        if cut.shared_bytes > 0:
            sums = np.empty(cut.shared_bytes + 64, np.uint8)
            job.acc = <char *> PyArray_DATA(<ndarray> sums)
            job.acc += -(<Py_ssize_t> job.acc) & 63
        for job.round in range(job.n_rounds):
            parallel_for(run_item, &job, cut.n_tiles, cut.workers, cut.scratch_bytes,
                         cut.tile_seconds)
        if job.acc != NULL:
            parallel_for(finish, &job, job.groups * job.n_blocks, cut.workers, 0,
                         job.chunk_size // (job.groups * job.n_blocks) * job.n_chunks
                         * CYCLES_PER_SUM / CYCLES_PER_SECOND)
        return 0


def stacks_of(layout_y):
    """[(first ky, step, count)]: taps that see rows of x above each other, for one fc_taps."""
    stacks, left = [], list(range(len(layout_y.plane)))
    while left:
        stack = [left[0]]
        for ky in left[1:]:
            if (layout_y.plane[ky] == layout_y.plane[left[0]]
                    and layout_y.offset[ky] == layout_y.offset[left[0]] + len(stack)
                    and len(stack) < FC_TAPS_MAX_HEIGHT
                    and (len(stack) < 2 or ky - stack[-1] == stack[1] - stack[0])):
                stack.append(ky)
        left = [ky for ky in left if ky not in stack]
        stacks.append((stack[0], stack[1] - stack[0] if len(stack) > 1 else 1, len(stack)))
    return stacks


cdef inline bint collide(Py_ssize_t step) noexcept nogil:
    """Whether rows that far apart meet in one set of a first-level cache."""
    return (step + 64) % 4096 < 128


cdef inline Py_ssize_t odd_lines(Py_ssize_t n_bytes) noexcept nogil:
    return ((n_bytes + 127) // 128 * 2 + 1) * 64
