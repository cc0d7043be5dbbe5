# SPDX-License-Identifier: BSD-3-Clause
"""Winograd's minimal filtering for 3x3 kernels at stride 1: F(4x4, 3x3) and F(2x2, 3x3).

Outputs are cut into tiles of m x m, which run over rows and images as one flat index. The a x a
transformed inputs of a tile (a = m + 2) are multiplied, point by point, with a x a transformed
weights: at each point a matrix product over the channels (winograd.inc has the formulas).

    sum and transform w                             parallel_for over output channels
    for block of tiles, range of output channels    parallel_for
      for panel of NR tiles
        for row of tiles                            fc_winograd_input, and the guard below
      for block of m rows
        for chunk of channels                       their weights, transformed here or before
          for point, for panel                      fc_gemm
        for panel                                   fc_winograd_output, fc_store
      redo the tiles that the guard has found       the definition: fc_pack, fc_gemm

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

The result of a tile depends on its inputs and w alone: not on how tiles are cut into blocks, nor on
the other images.
"""

import numpy as np

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport aligned, image_of, image_t, is_computed_in
from fastcorr._algorithms.parallel cimport parallel_for, whole_lines
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, axis_t, ceil_div, interior, positions
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport (
    FC_GEMM_MAX_VECTORS, fc_kernels_t, fc_run_t, fc_window_t,
)

from fastcorr._algorithms.gemm import Gemm, block_choices, even_pieces, panel_cycles
from fastcorr._kernels.dispatch import (
    active_isa, compute_dtype, element_code, is_kernel_dtype,
)

import_array()

# With fewer, an output may have few terms of its own beside the tile's: at the corner of a padded
# image and 16 channels, random normal numbers gave errors up to 20 u (|x| * |w|).
MIN_CHANNELS = 32
# Terms of a sum in one register, for less than 256 channels; twice that from there on, where errors
# of more sums cancel. For positive numbers, 128 channels and an output in the corner of a padded
# image, whose tile has many more terms than itself, the largest error of 624 was 28 u (|x| * |w|)
# with 128 terms, 13 u with 64, 9 u with 32.
SUMMED_CHANNELS = 32

# Of the guard; see above. With it the largest errors seen on hostile data were 27 u (|x| * |w|);
# with MIN_TERMS = 0.5 45 u, with 0.25 140 u. Random normal numbers of 128 channels have 10 and
# more; x after a rectifier and w of a Laplace distribution, of unequal channels, 2.
MIN_TERMS = 1.0
MIN_SHARE = 0.3
WATCHED_CHANNELS = 128
PART_CHANNELS = 32
# Transforms multiply the largest number of a tile by no more than this.
GREATEST_GROWTH = 1e4

# Transformed weights up to this are kept for all blocks of tiles, or else made where they are used.
SHARED_BYTES = 16 << 20
# And up to this for many calls.
KEPT_BYTES = 160 << 20
CACHE_BYTES = 768 * 1024
PRODUCT_BYTES = 256 * 1024

# Cost model, in cycles of one vector multiply-add (EPYC 9004, AVX-512, 2026-11).
CYCLES_PER_INPUT_VECTOR = 45.0   # down the columns, two channels: vectors of a row
CYCLES_PER_INPUT_ROW = 60.0
CYCLES_PER_INPUT_TILES = 200.0   # along the rows: vectors of tiles
CYCLES_PER_OUTPUT_TILES = 300.0
CYCLES_PER_OUTPUT_ROW = 15.0
CYCLES_PER_WEIGHTS = 400.0       # vectors of channels
CYCLES_PER_CALL = 60.0
CYCLES_PER_THREAD = 100e3
CYCLES_PER_SECOND = 2e9
WEIGHT_BYTES_PER_CYCLE = 8.0     # from a shared cache
BYTES_PER_CYCLE_FROM_OTHERS = 3.0       # from the cache of another core
MAX_TILE_CYCLES = 50e6           # Ctrl-C waits for a tile


def unsupported(problem):
    """None, or why Winograd's algorithm cannot serve the problem."""
    if (problem.KH, problem.KW) != (3, 3):
        return f"kernels of 3 x 3 only, not {problem.KH} x {problem.KW}"
    if problem.stride != (1, 1) or problem.dilation != (1, 1):
        return "stride 1 and dilation 1 only"
    if problem.C // problem.groups < MIN_CHANNELS:
        return f"{MIN_CHANNELS} channels per group and more only, for accuracy"
    if problem.dtype.kind != "f" or not is_kernel_dtype(problem.dtype):
        return f"float16, float32 and float64 only, not {problem.dtype}"
    return None


cdef double HUGE_SHARE = 1e20

cdef extern from *:
    void prefetch "__builtin_prefetch" (const void *) noexcept nogil

cdef enum:
    STAGED_CHANNELS = 32    # even: the input transform takes channels in pairs
    ROWS_AT_A_TIME = 4      # of w


ctypedef struct job_t:
    const fc_kernels_t *kernel
    image_t x
    image_t y
    const char *w                   # [groups * rows][channels][3][3], compute type, contiguous
    const char *w_end
    const char *bias                # [groups * rows], compute type, or NULL
    char fill[16]
    int x_type, y_type
    bint x_as_computed              # the input transform reads x itself
    # the problem
    Py_ssize_t groups, rows, channels, oh, ow
    axis_t down, across
    # tiles of m x m outputs; points of the transform
    int m, a, n_points
    Py_ssize_t tiles_across, tiles_per_image, n_tiles
    # chunks of channels: of a sum, of the guard, and parts of the latter
    Py_ssize_t n_chunks, chunk, n_watches, watch, n_parts
    # blocks
    int nv
    Py_ssize_t panels, n_blocks, set_blocks, tile_blocks, n_block_ranges, n_tile_blocks
    const Py_ssize_t *offset        # [nv][chunk]: k * nv * lanes
    const Py_ssize_t *tap_offset    # [chunk * 9]: where tap k lies in the window of one tile
    const Py_ssize_t *pixel_offset  # [chunk * 9]: k * pixels of a tile, in whole vectors
    # transformed weights [point][groups * rows][lda], or NULL: made per block of rows
    char *u
    Py_ssize_t lda, u_step, local_step
    # guard: [groups][n_watches][9]; smallest |x| and greatest sum of |x| of a tile
    double *row_sums                # [groups * rows][n_watches * n_parts]: [nine sums, largest |w|]
    const double *taps
    const double *part_taps         # [groups][n_watches * n_parts][9], of any scale
    double share, smallest, greatest
    # scratch, in bytes from its start
    Py_ssize_t at_row_bytes, at_column_bytes, at_sums, at_window, at_v, v_step, v_panel, at_u
    Py_ssize_t at_products, products_step, at_out, at_spoiled, at_pixels, at_acc
    Py_ssize_t pitch, pixels


ctypedef struct task_t:
    Py_ssize_t group, block0, block1, tile0, n_tiles, n_panels


ctypedef struct run_t:              # tiles side by side in one image, within a panel
    Py_ssize_t image, row, column, n, lane


cdef inline Py_ssize_t block_start(const job_t *job, Py_ssize_t block) noexcept nogil:
    return job.rows * block // job.n_blocks


cdef inline Py_ssize_t chunk_start(const job_t *job, Py_ssize_t chunk) noexcept nogil:
    return job.channels * chunk // job.n_chunks


cdef inline Py_ssize_t part_start(const job_t *job, Py_ssize_t part) noexcept nogil:
    return job.channels * part // (job.n_watches * job.n_parts)


cdef inline Py_ssize_t panel_tiles(const job_t *job, const task_t *t,
                                   Py_ssize_t panel) noexcept nogil:
    cdef Py_ssize_t nr = job.nv * job.kernel.lanes
    return min(nr, t.n_tiles - panel * nr)


cdef inline void next_run(const job_t *job, Py_ssize_t first, Py_ssize_t lane, Py_ssize_t n,
                          run_t *run) noexcept nogil:
    """The run from that lane of a panel of n tiles on; `first` is the number of its first tile."""
    cdef Py_ssize_t tile = first + lane, place = tile % job.tiles_per_image
    run.image = tile // job.tiles_per_image
    run.row = place // job.tiles_across
    run.column = place % job.tiles_across
    run.n = min(job.tiles_across - run.column, n - lane)
    run.lane = lane


cdef void window_of(const job_t *job, Py_ssize_t row, Py_ssize_t column, Py_ssize_t n_columns,
                    fc_window_t *win, char *scratch) noexcept nogil:
    """The inputs of tiles side by side, as they lie in x."""
    cdef Py_ssize_t *row_bytes = <Py_ssize_t *> (scratch + job.at_row_bytes)
    cdef Py_ssize_t *column_bytes = <Py_ssize_t *> (scratch + job.at_column_bytes)
    positions(&job.down, row * job.m, job.a, job.x.h, row_bytes)
    positions(&job.across, column * job.m, n_columns, job.x.w, column_bytes)
    interior(&job.across, column * job.m, n_columns, &win.lo, &win.hi)
    win.row_bytes, win.column_bytes = row_bytes, column_bytes
    win.n_rows, win.n_columns, win.step_bytes = job.a, n_columns, job.x.w


cdef inline const char *channel_of(const job_t *job, Py_ssize_t image, Py_ssize_t group,
                                   Py_ssize_t c) noexcept nogil:
    return job.x.data + image * job.x.n + (group * job.channels + c) * job.x.c


cdef void transform_panel(const job_t *job, const task_t *t, Py_ssize_t panel,
                          char *scratch) noexcept nogil:
    """Fill a panel with transformed inputs and mark the tiles that the guard finds."""
    cdef Py_ssize_t lanes = job.kernel.lanes, n = panel_tiles(job, t, panel), lane = 0
    cdef Py_ssize_t nr = ceil_div(n, lanes) * lanes, first = t.tile0 + panel * job.nv * lanes
    cdef Py_ssize_t item = job.kernel.item_bytes, watch, part
    cdef char *v = scratch + job.at_v + panel * job.v_panel
    cdef unsigned char *spoiled = <unsigned char *> (scratch + job.at_spoiled)
    cdef Py_ssize_t n_sums = job.a * job.pitch
    cdef char *sums = scratch + job.at_sums
    cdef char *all_sums = sums + (job.a + 1) * job.pitch * item
    cdef fc_window_t win
    cdef run_t run
    spoiled += panel * job.nv * lanes
    while lane < n:
        next_run(job, first, lane, n, &run)
        window_of(job, run.row, run.column, job.m * run.n + 2, &win, scratch)
        win.pitch = job.pitch
        mark_padding(job, &run, spoiled)
        for watch in range(job.n_watches):
            memset(sums, 0, 2 * (job.a + 1) * job.pitch * item)
            for part in range(watch * job.n_parts, (watch + 1) * job.n_parts):
                memset(sums, 0, n_sums * item)
                transform_run(job, &win, &run, t.group, part_start(job, part),
                              part_start(job, part + 1), v + lane * item, nr,
                              nr - lane if lane + run.n == n else run.n, sums, scratch)
                watch_run(job, &run, sums,
                          job.part_taps + (t.group * job.n_watches * job.n_parts + part) * 9,
                          spoiled)
                job.kernel.add(n_sums, sums, all_sums)
            memcpy(all_sums + n_sums * item, sums + n_sums * item, job.pitch * item)
            watch_run(job, &run, all_sums, job.taps + (t.group * job.n_watches + watch) * 9,
                      spoiled)
        lane += run.n


cdef void mark_padding(const job_t *job, const run_t *run, unsigned char *spoiled) noexcept nogil:
    """Tiles with an output whose middle row or column is the constant: it sees little of x."""
    cdef Py_ssize_t tile, first, last
    first = run.row * job.m + 1
    last = min(first + job.m, job.oh + 1) - 1
    if not all_of_image(&job.down, first, last):
        memset(spoiled + run.lane, 1, run.n)
        return
    for tile in range(run.n):
        first = (run.column + tile) * job.m + 1
        last = min(first + job.m, job.ow + 1) - 1
        if not all_of_image(&job.across, first, last):
            spoiled[run.lane + tile] = 1


cdef inline bint all_of_image(const axis_t *axis, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    return axis.sources_before != NULL or (
        first >= axis.before and last < axis.before + axis.n)


cdef inline void watch_run(const job_t *job, const run_t *run, const char *sums,
                           const double *taps, unsigned char *spoiled) noexcept nogil:
    job.kernel.winograd_guard(
        job.m, sums, job.pitch, min(job.m, job.oh - run.row * job.m),
        min(job.m * run.n, job.ow - run.column * job.m), taps, job.share, job.smallest,
        job.greatest, spoiled + run.lane)


cdef void transform_run(const job_t *job, const fc_window_t *win, const run_t *run,
                        Py_ssize_t group, Py_ssize_t c0, Py_ssize_t c1, char *v, Py_ssize_t nr,
                        Py_ssize_t n_lanes, char *sums, char *scratch) noexcept nogil:
    cdef Py_ssize_t item = job.kernel.item_bytes, c, nc, i
    cdef char *window = scratch + job.at_window
    cdef Py_ssize_t zero = 0
    cdef Py_ssize_t staged_rows[8]
    cdef fc_window_t staged
    if job.x_as_computed:
        job.kernel.winograd_input[job.m // 2](
            win, channel_of(job, run.image, group, c0), c1 - c0, job.x.c, job.fill,
            v + c0 * nr * item, nr, job.v_step, n_lanes, nr - run.lane, sums)
        return
    staged = win[0]
    staged.row_bytes, staged.column_bytes = staged_rows, &zero
    staged.lo, staged.hi = 0, win.n_columns
    for i in range(job.a):
        staged_rows[i] = i * job.pitch * item
    c = c0
    while c < c1:
        nc = min(STAGED_CHANNELS, c1 - c)
        job.kernel.stage[job.x_type](win, channel_of(job, run.image, group, c), nc, job.x.c,
                                     job.fill, window, job.a * job.pitch)
        job.kernel.winograd_input[job.m // 2](
            &staged, window, nc, job.a * job.pitch * item, job.fill, v + c * nr * item, nr,
            job.v_step, n_lanes, nr - run.lane, sums)
        c += nc


cdef void multiply(const job_t *job, const task_t *t, char *scratch) noexcept nogil:
    """All panels times the rows of the task, through to y."""
    cdef Py_ssize_t first, end, block, panel, m0, mr, i
    cdef int point
    for i in range(ceil_div(t.block1 - t.block0, job.set_blocks)):
        first = t.block0 + i * job.set_blocks
        end = min(first + job.set_blocks, t.block1)
        if job.u == NULL:
            transform_rows(job, t, first, end, scratch)
        # At one point the panels stay in the first cache.
        for point in range(job.n_points):
            for block in range(first, end):
                multiply_point(job, t, point, first, block, scratch)
        for block in range(first, end):
            m0 = block_start(job, block)
            mr = block_start(job, block + 1) - m0
            for panel in range(t.n_panels):
                store_panel(job, t, panel, m0, mr,
                            products_of(job, panel, block - first, scratch),
                            scratch)


cdef inline char *products_of(const job_t *job, Py_ssize_t panel, Py_ssize_t block,
                              char *scratch) noexcept nogil:
    return (scratch + job.at_products
            + (panel * job.set_blocks + block) * job.products_step)


cdef void transform_rows(const job_t *job, const task_t *t, Py_ssize_t first, Py_ssize_t end,
                         char *scratch) noexcept nogil:
    cdef Py_ssize_t item = job.kernel.item_bytes, m0 = block_start(job, first), m
    for m in range(m0, block_start(job, end)):
        job.kernel.winograd_weights[job.m // 2](
            job.w + (t.group * job.rows + m) * job.channels * 9 * item, job.channels, job.w_end,
            scratch + job.at_u + (m - m0) * job.lda * item, job.local_step)


cdef inline void multiply_point(const job_t *job, const task_t *t, int point, Py_ssize_t first,
                                Py_ssize_t block, char *scratch) noexcept nogil:
    """One block of rows, all panels and all chunks of channels."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef Py_ssize_t m0 = block_start(job, block), mr = block_start(job, block + 1) - m0
    cdef Py_ssize_t chunk, c0, c1, panel, nr, i, row_bytes = job.lda * item, j
    cdef const char *u
    cdef const char *ahead
    cdef int nv
    if job.u == NULL:
        u = scratch + job.at_u + (
            point * job.local_step + (m0 - block_start(job, first)) * job.lda) * item
    else:
        u = job.u + (point * job.u_step + (t.group * job.rows + m0) * job.lda) * item
    for chunk in range(job.n_chunks):
        c0 = chunk_start(job, chunk)
        c1 = chunk_start(job, chunk + 1)
        ahead = u + c1 * item if chunk + 1 < job.n_chunks else u + mr * row_bytes
        for i in range(mr):
            for j in range((job.chunk * item + 63) // 64):
                prefetch(ahead + i * row_bytes + 64 * j)
        for panel in range(t.n_panels):
            nv = <int> ceil_div(panel_tiles(job, t, panel), lanes)
            nr = nv * lanes
            job.kernel.gemm[nv][mr](
                c1 - c0, u + c0 * item, job.lda,
                scratch + job.at_v + panel * job.v_panel + (point * job.v_step + c0 * nr) * item,
                job.offset + nv * job.chunk,
                products_of(job, panel, block - first, scratch) + point * mr * nr * item,
                chunk > 0)


cdef void store_panel(const job_t *job, const task_t *t, Py_ssize_t panel, Py_ssize_t m0,
                      Py_ssize_t mr, const char *products, char *scratch) noexcept nogil:
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, lane = 0
    cdef Py_ssize_t n = panel_tiles(job, t, panel), nv = ceil_div(n, lanes), nr = nv * lanes, i
    cdef Py_ssize_t row_bytes[32]
    cdef run_t run
    cdef char *out = scratch + job.at_out
    cdef const char *bias = NULL
    if job.bias != NULL:
        bias = job.bias + (t.group * job.rows + m0) * item
    for i in range(mr):
        row_bytes[i] = (t.group * job.rows + m0 + i) * job.y.c
    job.kernel.winograd_output[job.m // 2](
        products, mr * nr, mr, nv, out)
    while lane < n:
        next_run(job, t.tile0 + panel * job.nv * lanes, lane, n, &run)
        for i in range(min(job.m, job.oh - run.row * job.m)):
            job.kernel.store[job.y_type](
                out + (i * job.m * nr + job.m * lane) * item, job.m * job.m * nr, mr,
                min(job.m * run.n, job.ow - run.column * job.m), bias,
                job.y.data + run.image * job.y.n + (run.row * job.m + i) * job.y.h
                + run.column * job.m * job.y.w, row_bytes, job.y.w)
        lane += run.n


cdef void redo_tile(const job_t *job, const task_t *t, const run_t *run,
                    char *scratch) noexcept nogil:
    """One tile by the definition."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, k = job.channels * 9
    cdef Py_ssize_t first = block_start(job, t.block0), end = block_start(job, t.block1)
    cdef Py_ssize_t chunk, c0, c1, i, m0, mr, most, pixel, n_pixels, columns
    cdef Py_ssize_t row_bytes[32]
    cdef fc_window_t win
    cdef fc_run_t runs[4]
    cdef char *window = scratch + job.at_window
    cdef char *panel = scratch + job.at_pixels
    cdef char *acc = scratch + job.at_acc
    cdef const char *bias = NULL
    cdef int nv = <int> min(job.pixels // lanes, FC_GEMM_MAX_VECTORS)
    n_pixels = nv * lanes
    most = job.kernel.gemm_rows[nv]
    window_of(job, run.row, run.column, job.a, &win, scratch)
    win.pitch = job.a
    for i in range(job.m):
        runs[i].lane, runs[i].start, runs[i].n = i * job.m, i * job.a, job.m
    for chunk in range(job.n_chunks):
        c0 = chunk_start(job, chunk)
        c1 = chunk_start(job, chunk + 1)
        job.kernel.stage[job.x_type](&win, channel_of(job, run.image, t.group, c0), c1 - c0,
                                     job.x.c, job.fill, window, job.a * job.a)
        job.kernel.pack(9 * (c1 - c0), window, job.tap_offset, runs, job.m, panel, job.pixels)
        for i in range(job.pixels // n_pixels):
            pixel = i * n_pixels
            m0 = first
            while m0 < end:
                mr = min(most, end - m0)
                job.kernel.gemm[nv][mr](
                    9 * (c1 - c0), job.w + ((t.group * job.rows + m0) * k + 9 * c0) * item, k,
                    panel + pixel * item, job.pixel_offset,
                    acc + ((m0 - first) * job.pixels + pixel * mr) * item, chunk > 0)
                m0 += mr
    columns = min(job.m, job.ow - run.column * job.m)
    m0 = first
    while m0 < end:
        mr = min(most, end - m0)
        if job.bias != NULL:
            bias = job.bias + (t.group * job.rows + m0) * item
        for i in range(mr):
            row_bytes[i] = (t.group * job.rows + m0 + i) * job.y.c
        for i in range(min(job.m, job.oh - run.row * job.m)):
            # A row of m pixels lies in one panel: m divides its size, or is a multiple of it.
            store_pixels(job, acc + (m0 - first) * job.pixels * item, mr, n_pixels, i * job.m,
                         columns, bias,
                         job.y.data + run.image * job.y.n + (run.row * job.m + i) * job.y.h
                         + run.column * job.m * job.y.w, row_bytes)
        m0 += mr


cdef inline void store_pixels(const job_t *job, const char *acc, Py_ssize_t mr, Py_ssize_t nr,
                              Py_ssize_t pixel, Py_ssize_t n, const char *bias, char *at,
                              const Py_ssize_t *row_bytes) noexcept nogil:
    """Store n pixels of blocks [pixel // nr][mr][nr]."""
    cdef Py_ssize_t item = job.kernel.item_bytes, count
    while n > 0:
        count = min(n, nr - pixel % nr)
        job.kernel.store[job.y_type](acc + (pixel // nr * mr * nr + pixel % nr) * item, nr, mr,
                                     count, bias, at, row_bytes, job.y.w)
        at += count * job.y.w
        pixel += count
        n -= count


cdef void run_task(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef task_t t
    cdef run_t run
    cdef Py_ssize_t nr = job.nv * job.kernel.lanes, i, panel, n_spoiled = 0
    cdef unsigned char *spoiled = <unsigned char *> (scratch + job.at_spoiled)
    t.tile0 = index % job.n_tile_blocks * job.panels * nr
    t.n_tiles = min(job.panels * nr, job.n_tiles - t.tile0)
    t.n_panels = ceil_div(t.n_tiles, nr)
    index //= job.n_tile_blocks
    t.block0 = index % job.n_block_ranges * job.tile_blocks
    t.block1 = min(t.block0 + job.tile_blocks, job.n_blocks)
    t.group = index // job.n_block_ranges
    memset(spoiled, 0, t.n_tiles)
    for panel in range(t.n_panels):
        transform_panel(job, &t, panel, scratch)
    for i in range(t.n_tiles):
        n_spoiled += spoiled[i]
    if n_spoiled < t.n_tiles:
        multiply(job, &t, scratch)
    if n_spoiled > 0:
        for i in range(t.n_tiles):
            if spoiled[i]:
                next_run(job, t.tile0, i, i + 1, &run)
                redo_tile(job, &t, &run, scratch)


cdef void prepare_rows(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """Sum and, if there is a place for them, transform some rows of w."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t item = job.kernel.item_bytes, row, part, c0, c1
    cdef double *sums
    for row in range(index * ROWS_AT_A_TIME,
                     min((index + 1) * ROWS_AT_A_TIME, job.groups * job.rows)):
        for part in range(job.n_watches * job.n_parts):
            c0 = part_start(job, part)
            c1 = part_start(job, part + 1)
            sums = job.row_sums + (row * job.n_watches * job.n_parts + part) * 10
            job.kernel.winograd_sums(job.w + (row * job.channels + c0) * 9 * item, c1 - c0, sums,
                                     sums + 9)
        if job.u != NULL:
            job.kernel.winograd_weights[job.m // 2](
                job.w + row * job.channels * 9 * item, job.channels, job.w_end,
                job.u + row * job.lda * item, job.u_step)


cdef void least_shares(const job_t *job, const double *sums, double *taps, double *part_taps,
                       double *smallest, double *greatest, bint *is_finite) noexcept nogil:
    """From the sums of w over each row and part: least over rows, by tap.

    taps: sums over the parts that are watched together, by the row's largest |w| there; part_taps:
    by the part's own sum of all taps. Rows of zeros do not count. Also the smallest and the
    greatest of those largest |w|.
    """
    cdef Py_ssize_t group, row, watch, part, k, parts = job.n_watches * job.n_parts
    cdef const double *row_sums
    cdef double largest, total
    cdef double[9] all_parts
    for k in range(9 * job.groups * job.n_watches):
        taps[k] = HUGE_SHARE
    for k in range(9 * job.groups * parts):
        part_taps[k] = 1
    for group in range(job.groups):
        for row in range(job.rows):
            for watch in range(job.n_watches):
                largest = 0
                memset(all_parts, 0, sizeof(all_parts))
                for part in range(watch * job.n_parts, (watch + 1) * job.n_parts):
                    row_sums = sums + ((group * job.rows + row) * parts + part) * 10
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
                        taps[(group * job.n_watches + watch) * 9 + k] = min(
                            taps[(group * job.n_watches + watch) * 9 + k], all_parts[k] * largest)
    for k in range(9 * job.groups * parts):
        part_taps[k] *= HUGE_SHARE  # only their share is watched


cdef class Cut(TiledCut):
    """How the work is cut into tasks for one instruction set and number of threads."""

    cdef job_t job
    # scratch_bytes has the thread's share of transformed weights in it, task_bytes has not
    cdef Py_ssize_t task_bytes
    cdef bint shared

    def __repr__(self):
        cdef job_t *job = &self.job
        return (
            f"<{self.n_tiles} tasks of {job.panels} panels of {job.nv * job.kernel.lanes} tiles "
            f"{job.m} x {job.m} and {job.tile_blocks} of {job.n_blocks} blocks, weights "
            f"{'shared' if self.shared else 'local'}, {self.workers} threads>")


cdef class Weights:
    """w, summed for the guard and transformed; made by Winograd.transform_weights."""

    cdef ndarray w                  # as computed, contiguous
    cdef object u                   # transformed, or None
    cdef ndarray taps, part_taps
    cdef double smallest, greatest
    cdef tuple key                  # what they depend on beside w
    cdef readonly Py_ssize_t nbytes
    cdef readonly str refusal       # why the guard would find every tile, or None


cdef class Winograd(Tiled):
    """The algorithm for one problem: see tiled.Tiled for the meaning of the arguments."""

    cdef job_t base
    cdef object direct
    cdef double min_terms
    cdef readonly Weights weights   # what `bind` keeps, or None

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        Tiled.__init__(self, problem, rows, columns)
        memset(job, 0, sizeof(job_t))
        self.direct = Gemm(problem, rows, columns)
        # float16 rounds so coarsely that errors of float32 may grow before they show.
        coarseness = 512 if problem.dtype.itemsize == 2 else 1
        self.min_terms = MIN_TERMS / coarseness
        job.share = MIN_SHARE / coarseness
        job.x_type = element_code(problem.x_dtype)
        job.y_type = element_code(problem.dtype)
        job.groups = problem.groups
        job.rows = problem.F // problem.groups
        job.channels = problem.C // problem.groups
        job.oh, job.ow = problem.OH, problem.OW
        job.down = axis_of(rows, problem.padding[0], problem.H, 1)
        job.across = axis_of(columns, problem.padding[1], problem.W, 1)
        job.n_chunks = n_chunks_of(job.channels)
        job.chunk = ceil_div(job.channels, job.n_chunks)
        job.n_watches = ceil_div(job.channels, WATCHED_CHANNELS)
        job.watch = ceil_div(job.channels, job.n_watches)
        job.n_parts = ceil_div(job.watch, PART_CHANNELS)

    def _make_cut(self, int workers):
        """Compare some cuts by the cost model; none of them changes the result."""
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef job_t *job = &self.base
        # Two roundings for a product and its sum are too many for the errors of 4 x 4.
        job.m = tile_size(self.problem) if kernel.is_fused else 2
        job.a = job.m + 2
        job.n_points = job.a * job.a
        job.tiles_across = ceil_div(job.ow, job.m)
        job.tiles_per_image = ceil_div(job.oh, job.m) * job.tiles_across
        job.n_tiles = self.problem.N * job.tiles_per_image
        best = min(_candidates(
            job.m, job.groups, job.rows, job.channels, job.n_chunks, max(job.n_tiles, 1),
            job.tiles_across,
            block_rows(kernel), kernel.lanes, kernel.item_bytes, workers,
            self.weights is not None))
        return self._make(kernel, workers, best)

    cdef Cut _make(self, const fc_kernels_t *kernel, int workers, best):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0, nr, rows, columns
        _, task_cycles, nv, panels, n_blocks, blocks, shared = best
        nr = nv * lanes
        job[0] = self.base
        job.kernel = kernel
        job.nv, job.panels, job.n_blocks, job.tile_blocks = nv, panels, n_blocks, blocks
        job.n_block_ranges = ceil_div(n_blocks, blocks)
        job.n_tile_blocks = ceil_div(job.n_tiles, nr * panels)
        cut.shared = shared
        rows = ceil_div(job.rows, n_blocks)

        k = np.arange(job.chunk * 9, dtype=np.intp)
        job.pixels = ceil_div(job.m * job.m, lanes) * lanes
        offset = np.arange(FC_GEMM_MAX_VECTORS + 1)[:, None] * lanes * k[:job.chunk]
        offset = np.ascontiguousarray(offset, dtype=np.intp)
        tap_offset = k // 9 * (job.a * job.a) + k % 9 // 3 * job.a + k % 3
        pixel_offset = k * job.pixels
        cut.arrays = [offset, tap_offset, pixel_offset]
        job.offset = <const Py_ssize_t *> PyArray_DATA(offset)
        job.tap_offset = <const Py_ssize_t *> PyArray_DATA(tap_offset)
        job.pixel_offset = <const Py_ssize_t *> PyArray_DATA(pixel_offset)

        # Odd numbers of cache lines: points and rows spread over the sets of the cache.
        job.lda = odd_lines(job.channels * item) // item
        job.u_step = odd_lines(job.groups * job.rows * job.lda * item) // item
        job.local_step = odd_lines(rows * job.lda * item) // item
        job.v_step = odd_lines(job.channels * nr * item) // item
        job.v_panel = job.n_points * job.v_step * item
        job.products_step = job.n_points * rows * nr * item
        job.set_blocks = 1
        if shared:
            job.set_blocks = min(max(PRODUCT_BYTES // (panels * job.products_step), 1), blocks)
        columns = job.m * nr + 2
        job.pitch = ceil_div(columns, lanes) * lanes + lanes

        job.at_row_bytes, at = at, at + whole_lines(job.a * sizeof(Py_ssize_t))
        job.at_column_bytes, at = at, at + whole_lines(columns * sizeof(Py_ssize_t))
        job.at_sums, at = at, at + whole_lines(2 * (job.a + 1) * job.pitch * item)
        job.at_spoiled, at = at, at + whole_lines(panels * nr)
        job.at_v, at = at, at + panels * job.v_panel
        job.at_u = at
        if not shared:
            at += job.n_points * job.local_step * item
        job.at_products, at = (
            at, at + panels * job.set_blocks * job.products_step)
        job.at_out, at = at, at + whole_lines(rows * job.m * job.m * nr * item)
        # The rest serves tiles by the definition and, its first part, staging.
        window = job.chunk * job.a * job.a + lanes
        job.at_window, at = at, at + whole_lines(
            max(window, STAGED_CHANNELS * job.a * job.pitch) * item)
        job.at_pixels, at = at, at + whole_lines((job.chunk * 9 * job.pixels + lanes) * item)
        job.at_acc, at = at, at + whole_lines((rows + 1) * blocks * job.pixels * item)
        cut.task_bytes = at
        cut.n_tiles = job.groups * job.n_block_ranges * job.n_tile_blocks
        worth = int(cut.n_tiles * task_cycles / CYCLES_PER_THREAD) + 1
        cut.workers = min(workers, cut.n_tiles, worth)
        cut.scratch_bytes = at
        if shared and self.weights is None:
            cut.scratch_bytes += job.n_points * job.u_step * item // max(cut.workers, 1)
        cut.tile_seconds = task_cycles / CYCLES_PER_SECOND
        # The C library of Linux gives memory of this size back to the system at every call, and has
        # to clear it at the next, until so much was once asked for in one piece.
        PyMem_RawFree(PyMem_RawMalloc(cut.workers * cut.scratch_bytes))
        cut.kernel_name = (f"fc_{kernel.name.decode()}_winograd{job.m}_gemm_{rows}x{nr}"
                           f"_{active_isa()}")
        return cut

    def bind(self, ndarray w, kept=()):
        """The runner for these kernels, see _plan: they are transformed, but for the largest."""
        cdef Winograd bound
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        rows, channels = self.base.groups * self.base.rows, self.base.channels
        m = tile_size(self.problem) if kernel.is_fused else 2
        if transformed_bytes(m, rows, channels, kernel.item_bytes) > KEPT_BYTES:
            return self
        bound = Winograd(self.problem, self.rows, self.columns)
        key = self.problem.dtype, m
        for weights in kept:
            if isinstance(weights, Weights) and (<Weights> weights).key == key:
                bound.weights = weights
                return bound
        weights = self.transform_weights(w, 1)
        (<Weights> weights).key = key
        bound.weights = weights
        return bound

    def transform_weights(self, ndarray w, int workers, bint transformed=True):
        """Sum w for the guard and, unless told otherwise, transform it: for `run(prepared=)`."""
        cdef Weights weights = Weights.__new__(Weights)
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        cdef Py_ssize_t rows = job.groups * job.rows, item = job.kernel.item_bytes
        w = np.require(w, compute_dtype(self.problem.dtype), "CA")
        sums = np.empty((job.groups, job.rows, job.n_watches, job.n_parts, 10))
        job.w = <const char *> PyArray_DATA(w)
        job.w_end = job.w + rows * job.channels * 9 * item
        job.row_sums = <double *> PyArray_DATA(<ndarray> sums)
        job.u = NULL
        weights.w, weights.u = w, None
        if transformed:
            weights.u = np.empty(job.n_points * job.u_step * item, dtype=np.uint8)
            job.u = <char *> PyArray_DATA(<ndarray> weights.u)
            weights.nbytes = weights.u.nbytes
        parallel_for(prepare_rows, &job, ceil_div(rows, ROWS_AT_A_TIME), cut.workers, 0, 1e-6)
        self._guard(weights, sums)
        return weights

    cdef int _guard(self, Weights weights, ndarray sums) except -1:
        """Make the guard's bounds from the sums of w."""
        cdef job_t *job = &self.base
        cdef Py_ssize_t n_bounds = job.groups * job.n_watches, i
        cdef double smallest = 1e300, greatest = 0, total
        cdef bint is_finite = True
        limits = np.finfo(compute_dtype(self.problem.dtype))
        weights.taps = np.empty((n_bounds, 9))
        weights.part_taps = np.empty((n_bounds * job.n_parts, 9))
        cdef double *taps = <double *> PyArray_DATA(weights.taps)
        cdef double *part_taps = <double *> PyArray_DATA(weights.part_taps)
        with nogil:
            least_shares(job, <const double *> PyArray_DATA(sums), taps, part_taps, &smallest,
                         &greatest, &is_finite)
        tiny, most = float(limits.smallest_normal / limits.eps), float(limits.max) / GREATEST_GROWTH
        for i in range(9 * n_bounds):
            taps[i] /= self.min_terms * job.watch
        total = weights.taps.sum(axis=1).min() * job.watch
        weights.smallest = max(tiny, tiny / smallest)
        weights.greatest = most / max(greatest, 1.0)
        weights.refusal = None
        if not is_finite or greatest > most:
            weights.refusal = "w is not finite, or close to overflow"
        elif smallest < tiny:
            weights.refusal = "w is close to underflow"
        elif total < 1:
            weights.refusal = "few weights are much larger than the others"
        return 0

    def run(self, ndarray x, ndarray w, bias, ndarray y, fill, int workers, prepared=None):
        """Compute y, an array of the problem's shape and dtype that overlaps neither x nor w.

        `bias` has the result's dtype and is contiguous, or is None; `fill` is the padding constant
        as bytes of the compute type. `prepared` is of `transform_weights(w)`.
        """
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        cdef Weights weights
        cdef const char *fill_bytes = fill
        problem = self.problem
        if prepared is None and self.weights is not None and self.weights.key[1] == job.m:
            prepared = self.weights  # of this instruction set
        if prepared is None:
            prepared = self.transform_weights(w, workers, cut.shared)
        weights = prepared
        if weights.refusal is not None:
            self.direct.run(x, w, bias, y, fill, workers)
            return
        memcpy(job.fill, fill_bytes, job.kernel.item_bytes)
        x = aligned(x)
        job.x = image_of(x, x.ndim, problem.channels_last, 0)
        job.y = image_of(y, y.ndim, problem.channels_last, 0)
        job.x_as_computed = (is_computed_in(problem.x_dtype, problem, job.kernel.item_bytes)
                             and (job.x.w == job.kernel.item_bytes or problem.W == 1))
        job.w = <const char *> PyArray_DATA(weights.w)
        job.w_end = job.w + job.groups * job.rows * job.channels * 9 * job.kernel.item_bytes
        job.u = NULL
        if weights.u is not None:
            job.u = <char *> PyArray_DATA(<ndarray> weights.u)
        job.taps = <const double *> PyArray_DATA(weights.taps)
        job.part_taps = <const double *> PyArray_DATA(weights.part_taps)
        job.smallest, job.greatest = weights.smallest, weights.greatest
        job.bias = NULL if bias is None else <const char *> PyArray_DATA(<ndarray> bias)
        parallel_for(run_task, &job, cut.n_tiles, cut.workers, cut.task_bytes, cut.tile_seconds)


def tile_size(problem):
    """4, or 2 for images that four tiles of 4 x 4 would cover.

    It decides how a sum is rounded, so it follows the size of an image alone.
    """
    return 2 if ceil_div(problem.OH, 4) * ceil_div(problem.OW, 4) <= 4 else 4


def n_chunks_of(channels):
    """Pieces of a sum: short ones, as the errors of a tile's largest outputs are those of all."""
    longest = SUMMED_CHANNELS if channels < 8 * SUMMED_CHANNELS else 2 * SUMMED_CHANNELS
    return max(ceil_div(channels, longest), 2)


cdef list block_rows(const fc_kernels_t *kernel):
    """Most rows beside 0, 1, 2, ... vectors. GCC 12 compiles 13 and 14 beside one badly."""
    rows = [kernel.gemm_rows[nv] for nv in range(FC_GEMM_MAX_VECTORS + 1)]
    rows[1] = min(rows[1], 12)
    return rows


def transformed_bytes(m, rows, channels, item):
    """Bytes of transformed weights."""
    return (m + 2) ** 2 * rows * channels * item


def seconds(problem, is_bound=False):
    """Estimated time of one thread; `is_bound`: without that of preparing w.

    As with vectors of 64 bytes, whatever the instruction set: a plan does not depend on it.
    """
    item = compute_dtype(problem.dtype).itemsize
    lanes = 64 // item
    m = tile_size(problem)
    channels = problem.C // problem.groups
    tiles_down, tiles_across = ceil_div(problem.OH, m), ceil_div(problem.OW, m)
    n_tiles = max(problem.N, 1) * tiles_down * tiles_across
    best = min(_candidates(
        m, problem.groups, problem.F // problem.groups, channels, n_chunks_of(channels), n_tiles,
        tiles_across, (0, 12, 14, 9, 6), lanes, item, 1,
        is_bound and transformed_bytes(m, problem.F, channels, item) <= KEPT_BYTES))
    # Tiles that mark_padding finds.
    inner_down, inner_across = (
        max(n - sum(ceil_div(max(p - 1, 0), m) for p in padding), 0)
        if problem.padding_mode == "constant" else n
        for n, padding in zip((tiles_down, tiles_across), problem.padding, strict=True))
    redone = n_tiles * (1 - inner_down * inner_across / (tiles_down * tiles_across))
    cycles = redone * problem.F * channels * 9 * ceil_div(m * m, lanes) * 1.5
    return (best[0] + cycles) / CYCLES_PER_SECOND


def _candidates(m, groups, rows, channels, n_chunks, n_tiles, tiles_across, gemm_rows, lanes, item,
                workers, is_bound):
    """Yield (cycles, cycles of a task, vectors, panels, row blocks, of a task, shared weights).

    `is_bound`: the transformed weights are there before.
    """
    points = (m + 2) ** 2
    transform = CYCLES_PER_WEIGHTS * rows * ceil_div(channels, lanes)
    u_bytes = transformed_bytes(m, groups * rows, channels, item)
    for nv, n_blocks in block_choices(rows, gemm_rows, False):
        block = rows / n_blocks
        for panels in (1, 2, 4, 8):
            tiles = min(nv * lanes * panels, n_tiles)
            if panels > 1 and n_tiles <= nv * lanes * (panels - 1):
                break
            vectors = ceil_div(tiles, lanes)
            lines = tiles / tiles_across + panels
            v_bytes = points * channels * tiles * item
            staging = channels * (
                CYCLES_PER_INPUT_VECTOR / 2 * (m + 2) / 6 * (m * tiles / lanes + lines)
                + CYCLES_PER_INPUT_ROW / 2 * lines
                + CYCLES_PER_INPUT_TILES * (points / 36) * (tiles / lanes + lines / 2))
            per_block = points * (
                vectors / nv * panel_cycles(block, nv) * channels
                + CYCLES_PER_CALL * n_chunks * panels)
            per_block += block * (CYCLES_PER_OUTPUT_TILES * points / 36 * vectors
                                  + CYCLES_PER_OUTPUT_ROW * m * lines)
            if v_bytes > CACHE_BYTES:
                per_block += v_bytes / WEIGHT_BYTES_PER_CYCLE / 4
            for blocks in even_pieces(n_blocks):
                ranges = groups * ceil_div(n_blocks, blocks)
                for shared in [True] if is_bound else [True, False]:
                    if shared and u_bytes > SHARED_BYTES and not is_bound:
                        continue
                    weights = transform * blocks / n_blocks
                    if shared:
                        weights = u_bytes / groups * blocks / n_blocks / WEIGHT_BYTES_PER_CYCLE / 4
                    task = staging + blocks * per_block + weights
                    # The last block of tiles may be smaller.
                    vectors_left = ceil_div(n_tiles % tiles, lanes)
                    last = (staging + blocks * per_block) * vectors_left / vectors + weights
                    cycles = makespan(ranges * (n_tiles // tiles), task,
                                      ranges if vectors_left else 0, last, workers)
                    cycles *= max(1, task / MAX_TILE_CYCLES)
                    if shared and not is_bound:
                        cycles += 1.3 * transform * groups / workers
                        if workers > 1:
                            cycles += u_bytes / BYTES_PER_CYCLE_FROM_OTHERS
                    yield cycles, task, nv, panels, n_blocks, blocks, shared


def makespan(n_tasks, cycles, n_last, last_cycles, workers):
    """Time of equal tasks and then some smaller ones, each taken by the first free thread."""
    rounds, rest = divmod(n_tasks, workers)
    total = (rounds + (rest > 0)) * cycles
    if rest:
        n_last -= (workers - rest) * int(cycles / last_cycles) if n_last else 0
    if n_last > 0:
        total += ceil_div(n_last, workers) * last_cycles
    # A little for the last thread to finish on a busy machine.
    return total + (0.02 * cycles if workers > 1 else 0)


cdef inline Py_ssize_t odd_lines(Py_ssize_t n_bytes) noexcept nogil:
    return ((n_bytes + 127) // 128 * 2 + 1) * 64
