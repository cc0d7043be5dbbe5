# SPDX-License-Identifier: BSD-3-Clause
"""The weight gradient of 3x3 kernels at stride 1 by Winograd's algorithm F(3x3, 4x4).

Outputs are cut into tiles of 4 x 4; a tile of dy and the 6 x 6 numbers of x that it meets are
transformed into 36 points (winograd_grad.inc has the formulas), at each of them the sum over tiles
is a matrix product, and the sums of all tiles are transformed into nine taps.

    measure a sample of tiles                       parallel_for over parts of dw; the guard
    for item in (chunks of tiles x parts of dw)     parallel_for
      for piece of the chunk
        for block of tiles
          stage and transform x and dy              pixels.pxd, fc_winograd_grad_x and _dy
          multiply at every point                   fc_filterwise
        transform the sums                          fc_winograd_taps
    add the chunks in pairs and store dw            parallel_for
    sum again what the guard has found              grad_weight.GradWeight

The guard
---------
A tile mixes its numbers before it multiplies them: with e and v the norms of a tile of x and of dy,

    |dw - exact| <= ERROR u S,    S^2 = sum over tiles of e^2 v^2,

as errors of tiles are independent. That is 64 u D, D the sum of |x| |dy| of each of the nine taps,
if S <= 64 / ERROR D. S is one more point of the products. D is bounded from below by the same sums
of absolute values over a sample of tiles. What the sample misses makes D greater than the bound,
and S has it: so a star is found wherever it is. As S grows with the root of the number of tiles, a
sample of 1.5 T^1/2 of T tiles gives a bound that rectified numbers pass.

Where tiles repeat, the errors in adding them up repeat, too: up to DRIFT u for a sum at a point.
Such sums are large beside S, T^1/2 times, so their squares, weighted, are added to S^2. Here D is
taken for what the sample of n makes it, T / n times the bound: it is no matter of single tiles.

If the sample shows that many pairs of channels will fail, all of dw is summed by the definition.
Otherwise the pairs that fail, and those that meet NaN or Inf, are summed again by it.

The order of a sum depends on the problem alone: blocks, pieces and chunks of tiles are cut by
shape; the parts that dw is cut into follow the number of threads and do not change a bit.
"""

from dataclasses import replace

import numpy as np

from libc.math cimport NAN, fabs, log2, round
from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport aligned, image_of
from fastcorr._algorithms.parallel cimport (
    CACHE_LINE, align, odd_lines, parallel_for, whole_lines,
)
from fastcorr._algorithms.pixels cimport (
    find_window, part_t, pixels_t, place_window, set_image, stage_rows,
)
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, ceil_div
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport fc_kernels_t, fc_winograd_grad_fn

from fastcorr._algorithms.depthwise import pixel_table
from fastcorr._algorithms.grad_weight import GradWeight
from fastcorr._algorithms.grad_weight_winograd_cuts import (
    CYCLES_PER_SECOND, CYCLES_PER_THREAD, best_parts, cycles, tiling, unsupported,
)
from fastcorr._kernels.dispatch import active_isa, compute_code, element_code

import_array()

# S is compared with 64 / ERROR D. Errors of one tile of random numbers: 1.0 u e v rms, 12 u e v the
# largest of 180 000; of sums of 200 tiles 1.9 and 8 u S.
ERROR = 7.0
# Tiles that repeat reach 62 u D with 16, 77 u with 12: 32 terms may all be rounded one way.
DRIFT = 16.0
# Shares of all pairs of channels: more in the sample, or in the end, and the definition serves all.
MOST_IN_SAMPLE = 1 / 50.0
MOST_SUMMED_AGAIN = 1 / 16.0
# Copies of channels to be summed again, at a time.
COPIED_BYTES = 4 * 1024 * 1024

cdef enum:
    POINTS = 37         # the last one is the guard's
    VALUES = 10         # taps, and the last point
    SUMMED_TILES = 32   # in registers; 64 doubled the errors of tiles that repeat


ctypedef struct job_t:
    const fc_kernels_t *kernel
    pixels_t x
    pixels_t dy
    char *dw
    int type
    Py_ssize_t groups, rows, channels           # of a group: kernels and input channels
    # tiles; patches of rows and columns of them; blocks of patches; pieces of blocks; chunks
    Py_ssize_t tiles_down, tiles_across, tiles_per_image, n_tiles
    Py_ssize_t patches_down, patches_across, n_patches
    Py_ssize_t block_patches, n_blocks, piece_blocks, n_chunks
    Py_ssize_t n_sampled, block_tiles           # most tiles of a block
    bint is_sample
    double x_scale, dy_scale, factor, growth, drift
    # parts of dw: blocks of rows, and of columns of nv vectors
    int nv
    Py_ssize_t n_row_blocks, n_columns, row_parts, column_parts
    Py_ssize_t part_rows, part_columns          # most of a part
    const Py_ssize_t *row_start                 # [row block]
    const Py_ssize_t *tile_offset               # [tile]: of transformed dy
    const Py_ssize_t *tap_bytes
    Py_ssize_t u_tile, u_point, v_point, v_column, sum_point, sum_column, tap_step, part_size
    char *limits                                # [part][column][row][channel]: of S^2
    char *partial                               # [chunk][part], or NULL
    Py_ssize_t *n_beyond                        # [part]
    # scratch, in bytes from its start
    Py_ssize_t at_u, at_v, at_sums, at_result, at_beyond


ctypedef struct item_t:
    Py_ssize_t part, chunk, group, row_block0, row_block1, row0, n_rows, column0, column1


ctypedef struct patch_t:
    part_t dy
    part_t x
    Py_ssize_t rows, columns                    # of tiles


cdef inline Py_ssize_t columns_of(const job_t *job, Py_ssize_t column) noexcept nogil:
    """Channels in that block of columns."""
    cdef Py_ssize_t nr = job.nv * job.kernel.lanes
    return min(nr, job.channels - column * nr)


cdef inline int vectors_of(const job_t *job, Py_ssize_t column) noexcept nogil:
    return <int> ceil_div(columns_of(job, column), job.kernel.lanes)


cdef void locate_item(const job_t *job, Py_ssize_t index, item_t *t) noexcept nogil:
    cdef Py_ssize_t i, n_parts = job.groups * job.row_parts * job.column_parts
    t.part = index % n_parts
    t.chunk = index // n_parts
    i = t.part % job.column_parts
    t.column0 = job.n_columns * i // job.column_parts
    t.column1 = job.n_columns * (i + 1) // job.column_parts
    i = t.part // job.column_parts % job.row_parts
    t.row_block0 = job.n_row_blocks * i // job.row_parts
    t.row_block1 = job.n_row_blocks * (i + 1) // job.row_parts
    t.group = t.part // (job.column_parts * job.row_parts)
    t.row0 = job.row_start[t.row_block0]
    t.n_rows = job.row_start[t.row_block1] - t.row0


cdef inline Py_ssize_t sampled_tile(const job_t *job, Py_ssize_t i) noexcept nogil:
    """One of each of n_sampled equal shares of all tiles."""
    cdef Py_ssize_t first = job.n_tiles * i // job.n_sampled
    cdef Py_ssize_t n = job.n_tiles * (i + 1) // job.n_sampled - first
    # Multiplication scatters; the middle bits are the best.
    return first + <Py_ssize_t> ((<unsigned long long> (i + 1) * 0x9E3779B97F4A7C15ULL >> 33)
                                 % <unsigned long long> n)


cdef void locate_patch(const job_t *job, Py_ssize_t patch, patch_t *t) noexcept nogil:
    """Where the tiles of a patch, or the sampled one, lie."""
    cdef Py_ssize_t tile, place, column, row, i
    if job.is_sample:
        tile = sampled_tile(job, patch)
        t.x.image, place = tile // job.tiles_per_image, tile % job.tiles_per_image
        row, column = place // job.tiles_across, place % job.tiles_across
        t.rows = t.columns = 1
    else:
        i = patch % job.patches_across
        column = job.tiles_across * i // job.patches_across
        t.columns = job.tiles_across * (i + 1) // job.patches_across - column
        i = patch // job.patches_across % job.patches_down
        row = job.tiles_down * i // job.patches_down
        t.rows = job.tiles_down * (i + 1) // job.patches_down - row
        t.x.image = patch // (job.patches_across * job.patches_down)
    t.x.row0, t.x.column0 = 4 * row, 4 * column
    t.dy = t.x
    t.dy.n_rows, t.dy.n_columns = 4 * t.rows, 4 * t.columns
    t.x.n_rows, t.x.n_columns = 4 * t.rows + 2, 4 * t.columns + 2


cdef void transform_patch(const job_t *job, const item_t *t, patch_t *patch, Py_ssize_t first,
                          char *scratch) noexcept nogil:
    """Transform the tiles for all channels of the item; `first` is the place in their block."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, i, column, tile_step
    cdef part_t *part = &patch.dy
    find_window(&job.dy, part, scratch)
    for i in range(ceil_div(t.n_rows, lanes)):
        part.c0 = t.group * job.rows + t.row0 + i * lanes
        part.n_channels = min(lanes, t.n_rows - i * lanes)
        part.is_first = i == 0
        stage_rows(&job.dy, part, 0, part.n_rows, scratch)
        transform_rows(job, job.kernel.winograd_grad_dy, patch, part, job.dy_scale,
                       scratch + job.dy.at_window,
                       scratch + job.at_u + (first * job.u_tile + i * lanes) * item, job.u_tile,
                       job.u_point)
    part = &patch.x
    find_window(&job.x, part, scratch)
    for column in range(t.column0, t.column1):
        tile_step = vectors_of(job, column) * lanes
        for i in range(vectors_of(job, column)):
            part.c0 = t.group * job.channels + (column * job.nv + i) * lanes
            part.n_channels = min(lanes, columns_of(job, column) - i * lanes)
            part.is_first = column == t.column0 and i == 0
            stage_rows(&job.x, part, 0, part.n_rows, scratch)
            transform_rows(job, job.kernel.winograd_grad_x, patch, part, job.x_scale,
                           scratch + job.x.at_window,
                           scratch + job.at_v + ((column - t.column0) * job.v_column
                                                 + first * tile_step + i * lanes) * item,
                           tile_step, job.v_point)


cdef inline void transform_rows(const job_t *job, fc_winograd_grad_fn transform,
                                const patch_t *patch, const part_t *part, double scale,
                                const char *window, char *to, Py_ssize_t tile_step,
                                Py_ssize_t point_step) noexcept nogil:
    cdef Py_ssize_t pitch = part.n_columns * job.kernel.lanes, row
    for row in range(patch.rows):
        transform(window + 4 * row * pitch * job.kernel.item_bytes, pitch, patch.columns, scale,
                  job.is_sample,
                  to + row * patch.columns * tile_step * job.kernel.item_bytes, tile_step,
                  point_step)


cdef void multiply(const job_t *job, const item_t *t, Py_ssize_t n_tiles, bint accumulate,
                   char *scratch) noexcept nogil:
    """At every point, all rows and columns of the item."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef Py_ssize_t point, column, block, m0, mr, i, k0, k1, n_calls
    cdef const char *u
    cdef const char *v
    cdef char *sums
    cdef int nv
    n_calls = ceil_div(n_tiles, <Py_ssize_t> SUMMED_TILES)
    for point in range(POINTS):
        u = scratch + job.at_u + point * job.u_point * item
        for column in range(t.column0, t.column1):
            nv = vectors_of(job, column)
            v = scratch + job.at_v + (
                (column - t.column0) * job.v_column + point * job.v_point) * item
            sums = scratch + job.at_sums + (
                (column - t.column0) * job.sum_column + point * job.sum_point) * item
            for block in range(t.row_block0, t.row_block1):
                m0 = job.row_start[block] - t.row0
                mr = job.row_start[block + 1] - t.row0 - m0
                k0 = 0
                for i in range(n_calls):
                    k1 = n_tiles * (i + 1) // n_calls
                    job.kernel.filterwise[nv][mr](
                        k1 - k0, u + (k0 * job.u_tile + m0) * item, 1, job.tile_offset,
                        v + k0 * nv * lanes * item, NULL, sums + m0 * nv * lanes * item,
                        accumulate or i > 0)
                    k0 = k1


cdef void sum_patches(const job_t *job, const item_t *t, Py_ssize_t first, Py_ssize_t end,
                      bint accumulate, char *scratch) noexcept nogil:
    """Add a block of patches to the sums."""
    cdef Py_ssize_t i, n_tiles = 0
    cdef patch_t patch
    for i in range(first, end):
        locate_patch(job, i, &patch)
        transform_patch(job, t, &patch, n_tiles, scratch)
        n_tiles += patch.rows * patch.columns
    multiply(job, t, n_tiles, accumulate, scratch)


cdef inline char *dw_of(const job_t *job, const item_t *t, Py_ssize_t row,
                        Py_ssize_t column) noexcept nogil:
    """The kernels of a row and the first channel of a block of columns."""
    return job.dw + (((t.group * job.rows + t.row0 + row) * job.channels
                      + column * job.nv * job.kernel.lanes) * 9) * job.kernel.item_bytes


cdef inline char *limits_of(const job_t *job, const item_t *t, Py_ssize_t row,
                            Py_ssize_t column) noexcept nogil:
    return job.limits + (
        (t.part * job.part_columns + column - t.column0) * job.tap_step
        + row * vectors_of(job, column) * job.kernel.lanes) * job.kernel.item_bytes


# ---- the sample --------------------------------------------------------------------------------

cdef void measure_part(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """Sum absolute values over the sample, and set the limits of S^2."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef Py_ssize_t i = 0, column, row, nr, n, n_rows, n_beyond = 0
    cdef item_t t
    locate_item(job, index, &t)
    while i < job.n_sampled:
        sum_patches(job, &t, i, min(i + job.block_tiles, job.n_sampled), i > 0, scratch)
        i += job.block_tiles
    for column in range(t.column0, t.column1):
        nr, n, n_rows = vectors_of(job, column) * lanes, columns_of(job, column), 1
        if n == nr:  # all rows as one
            n, n_rows = n * t.n_rows, t.n_rows
        for row in range(t.n_rows // n_rows):
            n_beyond += job.kernel.winograd_limits(
                scratch + job.at_sums + ((column - t.column0) * job.sum_column + row * nr) * item,
                job.sum_point, n, job.factor, job.growth, limits_of(job, &t, row, column))
    job.n_beyond[t.part] = n_beyond


cdef double mean_of(const pixels_t *p, const job_t *job, Py_ssize_t n_channels) noexcept nogil:
    """The mean absolute value in the middle of the sampled tiles."""
    cdef Py_ssize_t i, c, tile, place, row, column
    cdef const char *at
    cdef double total = 0
    for i in range(job.n_sampled):
        tile = sampled_tile(job, i)
        place = tile % job.tiles_per_image
        row = min(4 * (place // job.tiles_across) + 1, p.rows.n - 1)
        column = min(4 * (place % job.tiles_across) + 1, p.columns.n - 1)
        at = (p.image.data + tile // job.tiles_per_image * p.image.n + row * p.image.h
              + column * p.image.w)
        for c in range(n_channels):
            if job.kernel.item_bytes == 4:
                total += fabs((<const float *> (at + c * p.image.c))[0])
            else:
                total += fabs((<const double *> (at + c * p.image.c))[0])
    return total / (job.n_sampled * n_channels)


# ---- the sums ----------------------------------------------------------------------------------

cdef void run_item(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t item = job.kernel.item_bytes, first, end, block, column, nr
    cdef Py_ssize_t n_parts = job.groups * job.row_parts * job.column_parts
    cdef char *result = scratch + job.at_result
    cdef item_t t
    cdef bint is_first = True
    locate_item(job, index, &t)
    if job.partial != NULL:
        result = job.partial + (t.chunk * n_parts + t.part) * job.part_size * item
    first = job.n_blocks * t.chunk // job.n_chunks
    end = job.n_blocks * (t.chunk + 1) // job.n_chunks
    for block in range(first, end):
        sum_patches(job, &t, block * job.block_patches,
                    min((block + 1) * job.block_patches, job.n_patches),
                    (block - first) % job.piece_blocks > 0, scratch)
        if block < end - 1 and (block + 1 - first) % job.piece_blocks > 0:
            continue
        for column in range(t.column0, t.column1):
            nr = vectors_of(job, column) * job.kernel.lanes
            job.kernel.winograd_taps(
                scratch + job.at_sums + (column - t.column0) * job.sum_column * item,
                job.sum_point, t.n_rows * nr,
                result + (column - t.column0) * VALUES * job.tap_step * item, job.tap_step,
                job.drift, not is_first)
        is_first = False
    if job.partial == NULL:
        store_part(job, &t, result, <unsigned char *> (scratch + job.at_beyond))


cdef void finish_part(const void *job_, Py_ssize_t part, char *scratch) noexcept nogil:
    """Add the chunks in pairs, and store."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t n_parts = job.groups * job.row_parts * job.column_parts, step = 1, i
    cdef Py_ssize_t part_bytes = job.part_size * job.kernel.item_bytes
    cdef item_t t
    locate_item(job, part, &t)
    while step < job.n_chunks:
        i = 0
        while i + step < job.n_chunks:
            job.kernel.add(job.part_size, job.partial + ((i + step) * n_parts + part) * part_bytes,
                           job.partial + (i * n_parts + part) * part_bytes)
            i += 2 * step
        step *= 2
    store_part(job, &t, job.partial + part * part_bytes,
               <unsigned char *> (scratch + job.at_beyond))


cdef void store_part(const job_t *job, const item_t *t, const char *result,
                     unsigned char *is_beyond) noexcept nogil:
    """Write the taps; NaN is the first one of a kernel whose S^2 is beyond the limit."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef Py_ssize_t column, row, nr, n, j, found, n_beyond = 0
    cdef const char *taps
    cdef char *dw
    for column in range(t.column0, t.column1):
        nr, n = vectors_of(job, column) * lanes, columns_of(job, column)
        for row in range(t.n_rows):
            taps = result + ((column - t.column0) * VALUES * job.tap_step + row * nr) * item
            dw = dw_of(job, t, row, column)
            found = job.kernel.winograd_beyond(
                taps + 9 * job.tap_step * item, limits_of(job, t, row, column), n, is_beyond)
            job.kernel.store[job.type](taps, job.tap_step, 9, n, NULL, dw, job.tap_bytes, 9 * item)
            if found == 0:
                continue
            n_beyond += found
            for j in range(n):
                if is_beyond[j] and item == 4:
                    (<float *> dw)[9 * j] = NAN
                elif is_beyond[j]:
                    (<double *> dw)[9 * j] = NAN
    job.n_beyond[t.part] = n_beyond


# ---- cuts --------------------------------------------------------------------------------------

def is_better(problem, dy_dtype, other):
    """Whether it serves a problem faster than `other`, its grad_weight.GradWeight."""
    if unsupported(problem, dy_dtype) is not None:
        return False
    cdef const fc_kernels_t *kernel = kernels(compute_code(problem.dtype))
    return kernel.is_fused and cycles(problem, kernel.lanes) < other.cycles


cdef class Cut(TiledCut):
    """How the work is cut for one instruction set and number of threads."""

    cdef job_t job
    cdef readonly Py_ssize_t n_parts
    cdef readonly Py_ssize_t shared_bytes
    cdef double part_seconds

    def __repr__(self):
        cdef job_t *job = &self.job
        return (
            f"<winograd: {job.n_tiles} tiles in {job.n_chunks} chunks, blocks of "
            f"{job.block_tiles}, {job.n_sampled} sampled; {job.row_parts} x {job.column_parts} "
            f"parts, {self.workers} threads, {self.scratch_bytes} + {self.shared_bytes} bytes>")


cdef class GradWeightWinograd(Tiled):
    """The weight gradient of a forward problem: see tiled.Tiled for the arguments.

    `direct` is its grad_weight.GradWeight. `n_again` tells of the last run, for tests: how many
    pairs of channels were summed by the definition.
    """

    cdef job_t base
    cdef readonly object direct
    cdef readonly Py_ssize_t n_again

    def __init__(self, problem, rows, columns, direct):
        cdef job_t *job = &self.base
        Tiled.__init__(self, problem, rows, columns)
        memset(job, 0, sizeof(job_t))
        self.direct = direct
        job.type = job.x.type = job.dy.type = element_code(problem.dtype)
        job.groups = problem.groups
        job.rows, job.channels = problem.F // job.groups, problem.C // job.groups
        job.x.constant_margins = problem.padding_mode == "constant"
        job.x.rows = axis_of(rows, problem.padding[0], problem.H, 1)
        job.x.columns = axis_of(columns, problem.padding[1], problem.W, 1)
        job.dy.constant_margins = True
        job.dy.rows = axis_of((None, None), (0, 0), problem.OH, 1)
        job.dy.columns = axis_of((None, None), (0, 0), problem.OW, 1)
        cut = tiling(problem)
        job.tiles_down, job.tiles_across = cut.tiles_down, cut.tiles_across
        job.tiles_per_image = job.tiles_across * job.tiles_down
        job.patches_down, job.patches_across = cut.patches_down, cut.patches_across
        job.n_tiles, job.n_patches = cut.n_tiles, cut.n_patches
        job.block_patches, job.n_blocks, job.block_tiles = (
            cut.block_patches, cut.n_blocks, cut.block_tiles)
        job.piece_blocks, job.n_chunks = cut.piece_blocks, cut.n_chunks
        job.n_sampled = cut.n_sampled
        job.growth = job.n_tiles / <double> max(job.n_sampled, 1)

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0, nr
        job[0] = self.base
        job.kernel = job.x.kernel = job.dy.kernel = kernel
        job.nv = 2
        nr = job.nv * lanes
        job.n_row_blocks = ceil_div(job.rows, kernel.gemm_rows[job.nv])
        job.n_columns = ceil_div(job.channels, nr)
        parts = best_parts(self.problem, job.n_row_blocks, job.n_columns, nr, lanes, item, workers)
        job.row_parts, job.column_parts = parts.rows, parts.columns
        job.part_rows = min(ceil_div(job.n_row_blocks, job.row_parts)
                            * ceil_div(job.rows, job.n_row_blocks), job.rows)
        job.part_columns = ceil_div(job.n_columns, job.column_parts)
        cut.n_parts = job.groups * job.row_parts * job.column_parts
        cut.n_tiles = cut.n_parts * job.n_chunks
        cut.workers = min(workers, cut.n_tiles,
                          int(cut.n_tiles * parts.cycles / CYCLES_PER_THREAD) + 1)
        cut.tile_seconds = parts.cycles / CYCLES_PER_SECOND
        cut.part_seconds = cut.tile_seconds * job.n_chunks * job.n_sampled / job.n_tiles

        # Odd numbers of cache lines: points spread over the sets of the cache.
        job.u_point = ceil_div(job.part_rows, lanes) * lanes
        job.u_tile = odd_lines(POINTS * job.u_point * item) // item
        job.v_point = odd_lines(job.block_tiles * nr * item) // item
        job.v_column = POINTS * job.v_point
        job.sum_point = odd_lines(job.part_rows * nr * item) // item
        job.sum_column = POINTS * job.sum_point
        job.tap_step = job.part_rows * nr
        job.part_size = job.part_columns * VALUES * job.tap_step
        if job.n_chunks > 1:
            cut.shared_bytes = cut.n_tiles * job.part_size * item
        row_start = np.arange(job.n_row_blocks + 1, dtype=np.intp) * job.rows // job.n_row_blocks
        tile_offset = np.arange(job.block_tiles, dtype=np.intp) * job.u_tile
        tap_bytes = np.arange(9, dtype=np.intp) * item
        rows = 4 * ceil_div(job.tiles_down, job.patches_down)
        columns = 4 * ceil_div(job.tiles_across, job.patches_across)
        x_pixel = pixel_table(rows + 2, columns + 2, self.problem.W, lanes)
        dy_pixel = pixel_table(rows, columns, self.problem.OW, lanes)
        cut.arrays = [row_start, tile_offset, tap_bytes, x_pixel, dy_pixel]
        job.row_start = <const Py_ssize_t *> PyArray_DATA(<ndarray> row_start)
        job.tile_offset = <const Py_ssize_t *> PyArray_DATA(<ndarray> tile_offset)
        job.tap_bytes = <const Py_ssize_t *> PyArray_DATA(<ndarray> tap_bytes)
        job.x.pixel = <const Py_ssize_t *> PyArray_DATA(<ndarray> x_pixel)
        job.dy.pixel = <const Py_ssize_t *> PyArray_DATA(<ndarray> dy_pixel)

        at = place_window(&job.x, rows + 2, columns + 2, at)
        at = place_window(&job.dy, rows, columns, at)
        job.at_u, at = at, at + job.block_tiles * job.u_tile * item
        job.at_v, at = at, at + job.part_columns * job.v_column * item
        job.at_sums, at = at, at + job.part_columns * job.sum_column * item
        job.at_beyond, at = at, at + whole_lines(nr)
        job.at_result = at
        if job.n_chunks == 1:
            at += job.part_size * item
        cut.scratch_bytes = at
        cut.kernel_name = (f"fc_{kernel.name.decode()}_winograd_grad_"
                           f"{ceil_div(job.rows, job.n_row_blocks)}x{nr}_{active_isa()}")
        return cut

    def run(self, ndarray dy, ndarray x, ndarray dw, fill, int workers):
        """Compute dw; see grad_weight.GradWeight.run."""
        self.n_again = dw.shape[0] * dw.shape[1]
        if dy.size == 0 or not kernels(self.compute).is_fused or not (
                self._sum(aligned(dy), aligned(x), dw, fill, workers)):
            self.direct.run(dy, x, dw, fill, workers)
            return
        if self.n_again > 0:
            self._sum_again(dy, x, dw, fill, workers)

    def _sum(self, ndarray dy, ndarray x, ndarray dw, fill, int workers):
        """Sum all pairs of channels; whether there are few that have to be summed again."""
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        cdef const char *fill_bytes = fill
        cdef ndarray n_beyond = np.zeros(cut.n_parts, np.intp)
        memcpy(job.x.fill, fill_bytes, job.kernel.item_bytes)
        set_image(&job.x, image_of(x, 4, False, 0), True, self.problem.W)
        set_image(&job.dy, image_of(dy, 4, False, 0), True, self.problem.OW)
        # Sampled tiles and patches may be narrower than the windows that dense rows are copied to.
        x_is_dense = job.x.is_dense and job.patches_across == 1
        dy_is_dense = job.dy.is_dense and job.patches_across == 1
        job.x.is_dense = job.dy.is_dense = False
        job.dw = <char *> PyArray_DATA(dw)
        job.n_beyond = <Py_ssize_t *> PyArray_DATA(n_beyond)
        if not scale(&job):
            return False
        limits = np.empty(cut.n_parts * job.part_columns * job.tap_step * job.kernel.item_bytes,
                          np.uint8)
        job.limits = <char *> PyArray_DATA(<ndarray> limits)
        job.is_sample = True
        parallel_for(measure_part, &job, cut.n_parts, cut.workers, cut.scratch_bytes,
                     cut.part_seconds)
        if n_beyond.sum() > MOST_IN_SAMPLE * dw.shape[0] * dw.shape[1]:
            return False
        job.is_sample = False
        job.x.is_dense, job.dy.is_dense = x_is_dense, dy_is_dense
        if cut.shared_bytes > 0:
            partial = np.empty(cut.shared_bytes + CACHE_LINE, np.uint8)
            job.partial = align(<char *> PyArray_DATA(<ndarray> partial))
        parallel_for(run_item, &job, cut.n_tiles, cut.workers, cut.scratch_bytes, cut.tile_seconds)
        if job.partial != NULL:
            parallel_for(finish_part, &job, cut.n_parts, cut.workers, cut.scratch_bytes,
                         cut.part_seconds)
        self.n_again = n_beyond.sum()
        return self.n_again <= MOST_SUMMED_AGAIN * dw.shape[0] * dw.shape[1]

    def _sum_again(self, dy, x, dw, fill, workers):
        """By the definition, as depthwise kernels: pairs of channels that the guard has found."""
        problem = self.problem
        rows, channels = np.nonzero(np.isnan(dw[:, :, 0, 0]))
        sources = channels + rows // (problem.F // problem.groups) * (problem.C // problem.groups)
        image_bytes = (x[:, 0].size + dy[:, 0].size) * dw.itemsize
        most = max(COPIED_BYTES // image_bytes, 1)
        for i in range(0, len(rows), most):
            n = min(most, len(rows) - i)
            f, c = rows[i:i + n], sources[i:i + n]
            if n == 1:
                f, c = slice(f[0], f[0] + 1), slice(c[0], c[0] + 1)
            sums = np.empty((n, 1, 3, 3), dw.dtype)
            pairs = replace(
                problem, F=n, C=n, groups=n, w_shape=sums.shape,
                x_shape=(problem.N, n, problem.H, problem.W),
                y_shape=(problem.N, n, problem.OH, problem.OW))
            GradWeight(pairs, self.rows, self.columns).run(dy[:, f], x[:, c], sums, fill, workers)
            dw[rows[i:i + n], channels[i:i + n]] = sums[:, 0]


cdef bint scale(job_t *job) noexcept:
    """Powers of two that bring x and dy close to 1; whether the guard can trust its sums then."""
    cdef double x = mean_of(&job.x, job, job.groups * job.channels)
    cdef double dy = mean_of(&job.dy, job, job.groups * job.rows)
    cdef double most = 1e20 if job.kernel.item_bytes == 4 else 1e140
    cdef double most_product = 1e15 if job.kernel.item_bytes == 4 else 1e100
    if not (1 / most < x < most and 1 / most < dy < most
            and 1 / most_product < x * dy < most_product):
        return False
    job.x_scale = 2.0 ** -round(log2(x))
    job.dy_scale = 2.0 ** -round(log2(dy))
    job.factor = 64 / ERROR * job.x_scale * job.dy_scale
    job.drift = (DRIFT / ERROR * job.x_scale * job.dy_scale / job.growth) ** 2 * ceil_div(
        job.n_blocks, job.piece_blocks)
    return True
