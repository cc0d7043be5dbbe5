# SPDX-License-Identifier: BSD-3-Clause
"""Depthwise layers with vectors along the channels.

    for tile in (images x channels x rows x columns)    parallel_for
      for block of `lanes` channels
        stage the weights as [tap][lanes]               fc_interleave
        for chunk of rows
          stage the rows of x as [pixel][lanes]         fc_interleave, fc_copy_pixels
          for row, for block of up to 8 outputs         fc_depthwise
          write the outputs, if channels are first      fc_deinterleave

All lanes are full whatever the size of the image, and strides and dilations are offsets that cost
nothing. With channels first, the way there and back costs about as much as 10 taps; stencils do
without, and waste what their rows leave of vectors. With channels last, x is read where it lies.
Margins of zeros are neither staged nor multiplied, unless w has Inf or NaN for them.
"""

import numpy as np

from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, PyArray_IS_C_CONTIGUOUS, import_array, ndarray

from fastcorr._algorithms.operands cimport (
    aligned, image_of, is_computed_in, weights_of, weights_t,
)
from fastcorr._algorithms.parallel cimport parallel_for, whole_lines
from fastcorr._algorithms.pixels cimport (
    choose_block, find_window, locate_tile, pixels_t, place_window, set_image, set_target,
    stage_rows, store_rows, target_t, tile_t, tiling_t,
)
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, ceil_div
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport (
    FC_K_BLOCK, fc_depthwise_t, fc_extent_t, fc_kernels_t, fc_window_t,
)

from fastcorr._algorithms.layout import reach
from fastcorr._kernels.dispatch import active_isa, element_code, is_kernel_dtype

import_array()

WINDOW_BYTES = 256 * 1024       # of a tile, so that it stays in the second-level cache
CHUNK_BYTES = 8 * 1024          # of outputs at a time: with their inputs in the first level
LARGEST_WINDOW_BYTES = 512 * 1024
MIN_CHANNELS = 8                # fewer leave most lanes empty
SIDE_BLOCKS = 4                 # of channels side by side in memory, that one thread takes
FEWEST_COLUMNS = 16             # of a tile
MAX_TAPS = 4096
PART_COLUMNS = 16               # of outputs, for all blocks of channels that stay where they are
NARROW_COLUMNS = 32             # not worth parts
WEIGHTS_BYTES = 256 * 1024      # of those blocks
TILE_CYCLES = 50e3
CYCLES_PER_THREAD = 30e3
CYCLES_PER_SECOND = 2e9


cdef enum:
    PART_ROWS = 16


def unsupported(problem):
    """None, or why this algorithm cannot serve the problem."""
    if not is_kernel_dtype(problem.dtype):
        return f"there are no kernels for {problem.dtype}"
    if problem.dtype.kind == "c":
        return "vectors along the channels serve real numbers"
    if problem.groups != problem.C or problem.F != problem.C or problem.C < MIN_CHANNELS:
        return f"it serves depthwise layers of {MIN_CHANNELS} channels and more"
    if problem.KW > FC_K_BLOCK:
        return f"it serves kernels of up to {FC_K_BLOCK} columns"
    if problem.KH * problem.KW > MAX_TAPS or smallest_window_bytes(problem) > LARGEST_WINDOW_BYTES:
        return "the kernel is too large for a tile's window"
    return None


def may_clip(problem):
    """Whether taps on zeros beside the image can be left out: what fc_extent_t is for."""
    return (has_width(problem) and problem.padding_mode == "constant"
            and max(problem.padding[1]) <= problem.KW // 2 * problem.dilation[1])


def has_width(problem):
    """Whether there is a kernel for just that width, which loads x once for all taps of a row."""
    return (problem.dtype.kind == "f" and problem.KW in (3, 5, 7)
            and problem.stride[1] in (problem.dilation[1], 2 * problem.dilation[1]))


def smallest_window_bytes(problem):
    columns = min(problem.OW, FEWEST_COLUMNS)
    columns = reach(columns, problem.KW, problem.stride[1], problem.dilation[1])
    return columns * reach(1, problem.KH, problem.stride[0], problem.dilation[0]) * 16 * 8


def tile_of(problem, most_pixels):
    """(rows, columns) of outputs whose window has that many pixels at most, or nearly so."""
    (stride_y, stride_x), (dilation_y, dilation_x) = problem.stride, problem.dilation
    columns = problem.OW
    while columns > FEWEST_COLUMNS and most_pixels < (
            reach(columns, problem.KW, stride_x, dilation_x)
            * reach(4, problem.KH, stride_y, dilation_y)):
        columns = max(ceil_div(columns, 2), FEWEST_COLUMNS)
    halo = reach(1, problem.KH, stride_y, dilation_y) - stride_y
    rows = (most_pixels // reach(columns, problem.KW, stride_x, dilation_x) - halo) // stride_y
    return min(max(rows, 1), problem.OH), columns


def pixel_table(n_rows, n_columns, width, lanes):
    """Of rows of `width` pixels, where each lies in a window of n_columns: pixels_t.pixel.

    It is read only where whole rows are staged at once.
    """
    rows = np.arange(n_rows, dtype=np.intp)[:, None] * n_columns
    return (rows + np.arange(min(width, n_columns))) * lanes


ctypedef struct job_t:
    const fc_kernels_t *kernel
    pixels_t x
    target_t y
    weights_t w
    const char *bias                    # [C], compute type, or NULL
    int w_type
    Py_ssize_t channels, kh, kw, oh, ow
    Py_ssize_t stride_y, stride_x, dilation_y, dilation_x
    bint direct_weights                 # w as computed, all taps side by side
    bint has_margins
    bint zero_margins                   # that can be left out
    bint stays                          # x is read where it lies
    tiling_t tiling
    Py_ssize_t chunk_rows, window_rows, window_columns
    const Py_ssize_t *tap               # of w, in its own table
    Py_ssize_t weights_bytes, part_columns
    Py_ssize_t at_weights, at_blocks, at_outputs


# A block of channels that is read where it lies.
ctypedef struct block_t:
    Py_ssize_t c0
    const char *weights
    bint clips                          # leaves out taps beside the image


cdef void stage_weights(const job_t *job, const tile_t *t, char *dst) noexcept nogil:
    """Copy the kernels and biases of the channels as [tap][lanes] and [lanes]."""
    cdef fc_window_t win
    cdef Py_ssize_t i, zero = 0, row, item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef Py_ssize_t n_taps = job.kh * job.kw
    cdef Py_ssize_t n_channels = t.window.n_channels
    cdef const char *src = job.w.data + t.window.c0 * job.w.f
    cdef char[16] nothing
    if job.direct_weights:
        job.kernel.interleave(n_channels, n_taps, src, job.w.f // item, dst, job.tap)
    else:
        memset(nothing, 0, sizeof(nothing))
        win.n_rows, win.row_bytes = 1, &row
        win.pitch, win.n_columns, win.column_bytes = lanes, n_channels, &zero
        win.lo, win.hi, win.step_bytes = 0, n_channels, job.w.f
        for i in range(n_taps):
            row = i // job.kw * job.w.kh + i % job.kw * job.w.kw
            job.kernel.stage[job.w_type](&win, src, 1, 0, nothing, dst + i * lanes * item, 0)
    dst += n_taps * lanes * item
    memset(dst, 0, lanes * item)
    if job.bias != NULL:
        memcpy(dst, job.bias + t.window.c0 * item, n_channels * item)


cdef void run_tile(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """Blocks of channels that are read where they lie come last, all of them together."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t block
    cdef char *weights = scratch + job.at_weights
    cdef block_t *blocks = <block_t *> (scratch + job.at_blocks)
    cdef block_t *here = blocks
    cdef tile_t t
    locate_tile(&job.tiling, index, &t)
    t.window.row0, t.window.column0 = t.row0 * job.stride_y, t.column0 * job.stride_x
    t.window.n_rows = job.window_rows - (job.tiling.tile_rows - t.rows) * job.stride_y
    t.window.n_columns = job.window_columns
    find_window(&job.x, &t.window, scratch)
    for block in range(t.block0, t.block1):
        choose_block(&t, block, job.kernel.lanes, job.channels)
        stage_weights(job, &t, weights)
        # Zeros that are left out must not have met Inf or NaN.
        here.clips = job.zero_margins and job.kernel.is_finite(
            job.kh * job.kw * job.kernel.lanes, weights)
        if (job.stays and t.window.n_channels == job.kernel.lanes
                and (here.clips or not job.has_margins)):
            here.c0, here.weights = t.window.c0, weights
            here, weights = here + 1, weights + job.weights_bytes
        else:
            run_block(job, &t, here.clips, weights, scratch)
    if here > blocks:
        run_in_place(job, &t, blocks, here - blocks)


cdef fc_extent_t extent_of(const job_t *job, const tile_t *t, Py_ssize_t row,
                           Py_ssize_t column) noexcept nogil:
    """What there is of x, from the window of that output of the tile on."""
    cdef fc_extent_t extent
    extent.top = job.x.rows.before - (t.row0 + row) * job.stride_y
    extent.left = job.x.columns.before - (t.column0 + column) * job.stride_x
    extent.bottom, extent.right = extent.top + job.x.rows.n, extent.left + job.x.columns.n
    extent.stride_y, extent.stride_x = job.stride_y, job.stride_x
    extent.dilation_y, extent.dilation_x = job.dilation_y, job.dilation_x
    return extent


cdef fc_depthwise_t shape_of(const job_t *job, Py_ssize_t x_row,
                             Py_ssize_t x_pixel) noexcept nogil:
    """The kernel on pixels that lie so far apart."""
    cdef fc_depthwise_t s
    s.kh, s.kw = job.kh, job.kw
    s.tap_row, s.tap_pixel = job.dilation_y * x_row, job.dilation_x * x_pixel
    s.x_row, s.x_pixel = job.stride_y * x_row, job.stride_x * x_pixel
    s.y_row = job.y.image.h // job.kernel.item_bytes
    s.y_pixel = job.y.image.w // job.kernel.item_bytes
    return s


cdef char *output_of(const job_t *job, const tile_t *t, Py_ssize_t c0, Py_ssize_t row,
                     Py_ssize_t column) noexcept nogil:
    return (job.y.image.data + t.window.image * job.y.image.n + c0 * job.y.image.c
            + (t.row0 + row) * job.y.image.h + (t.column0 + column) * job.y.image.w)


cdef void run_in_place(const job_t *job, const tile_t *t, const block_t *blocks,
                       Py_ssize_t n_blocks) noexcept nogil:
    """Parts of a tile, all channels of one before the next: lines of x are still near then."""
    cdef Py_ssize_t item = job.kernel.item_bytes, part, row, column, i
    cdef Py_ssize_t n_across = ceil_div(t.columns, job.part_columns)
    cdef fc_depthwise_t s = shape_of(job, job.x.image.h // item, job.x.image.w // item)
    cdef fc_extent_t extent
    cdef const char *x
    cdef const char *weights
    for part in range(ceil_div(t.rows, PART_ROWS) * n_across):
        row, column = part // n_across * PART_ROWS, part % n_across * job.part_columns
        s.n_rows = min(PART_ROWS, t.rows - row)
        s.n_columns = min(job.part_columns, t.columns - column)
        extent = extent_of(job, t, row, column)
        x = (job.x.image.data + t.window.image * job.x.image.n
             - extent.top * job.x.image.h - extent.left * job.x.image.w)
        for i in range(n_blocks):
            weights = blocks[i].weights
            job.kernel.depthwise(
                &s, &extent if blocks[i].clips else NULL, x + blocks[i].c0 * item, weights,
                weights + job.kh * job.kw * job.kernel.lanes * item,
                output_of(job, t, blocks[i].c0, row, column))


cdef void run_block(const job_t *job, tile_t *t, bint clips, const char *weights,
                    char *scratch) noexcept nogil:
    """Up to `lanes` channels of a tile: some rows are staged, and used while they are near."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, row, staged = 0, end
    cdef const char *bias = weights + job.kh * job.kw * lanes * item
    cdef bint straight = job.y.to_pixels and t.window.n_channels == lanes
    cdef fc_depthwise_t s = shape_of(job, t.window.n_columns * lanes, lanes)
    cdef fc_extent_t extent
    cdef char *y
    cdef char *outputs
    if job.zero_margins:
        t.window.is_first = not clips
    s.n_columns = t.columns
    if not straight:
        s.y_row, s.y_pixel = t.columns * lanes, lanes
    row = 0
    while row < t.rows:
        s.n_rows = min(job.chunk_rows, t.rows - row)
        end = (row + s.n_rows - 1) * job.stride_y + (job.kh - 1) * job.dilation_y + 1
        stage_rows(&job.x, &t.window, staged, end, scratch)
        staged = end
        extent = extent_of(job, t, row, 0)
        y = output_of(job, t, t.window.c0, row, 0)
        outputs = y if straight else scratch + job.at_outputs
        job.kernel.depthwise(&s, &extent if clips else NULL,
                             scratch + job.x.at_window + row * s.x_row * item, weights, bias,
                             outputs)
        if not straight:
            store_rows(&job.y, outputs, s.n_rows, t.columns, t.window.n_channels, y,
                       <Py_ssize_t *> (scratch + job.x.at_pixels))
        row += s.n_rows


cdef class Cut(TiledCut):
    """How the work is cut into tiles for one instruction set and number of threads."""

    cdef job_t job


cdef class Depthwise(Tiled):
    """The algorithm for one problem: see tiled.Tiled for the meaning of the arguments."""

    cdef job_t base
    cdef bint loads_as_computed, weights_as_computed, stores_as_computed, may_clip

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        Tiled.__init__(self, problem, rows, columns)
        memset(job, 0, sizeof(job_t))
        job.x.type = element_code(problem.x_dtype)
        job.w_type = element_code(problem.w_dtype)
        job.y.type = element_code(problem.dtype)
        item = kernels(self.compute).item_bytes
        self.loads_as_computed = is_computed_in(problem.x_dtype, problem, item)
        self.weights_as_computed = is_computed_in(problem.w_dtype, problem, item)
        self.stores_as_computed = is_computed_in(problem.dtype, problem, item)
        job.channels, job.kh, job.kw = problem.C, problem.KH, problem.KW
        job.oh, job.ow = problem.OH, problem.OW
        job.stride_y, job.stride_x = problem.stride
        job.dilation_y, job.dilation_x = problem.dilation
        job.x.constant_margins = problem.padding_mode == "constant"
        job.has_margins = any(problem.padding[0] + problem.padding[1])
        self.may_clip = may_clip(problem)
        job.x.rows = axis_of(rows, problem.padding[0], problem.H, 1)
        job.x.columns = axis_of(columns, problem.padding[1], problem.W, 1)

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0
        problem = self.problem
        (stride_y, stride_x), (dilation_y, dilation_x) = problem.stride, problem.dilation
        job[0] = self.base
        job.kernel = job.x.kernel = job.y.kernel = kernel
        n_blocks = ceil_div(job.channels, lanes)
        # Processors fetch lines of memory in pairs: two threads in blocks side by side would fetch
        # each other's. A thread finds the next block's in its second-level cache.
        side = ceil_div(n_blocks, ceil_div(n_blocks, SIDE_BLOCKS)) if problem.channels_last else 1

        most_bytes = min(WINDOW_BYTES, 2 * WINDOW_BYTES // side)
        rows, columns = tile_of(problem, most_bytes // (lanes * item))
        n_column_tiles = ceil_div(job.ow, columns)
        cycles_per_row = 60 + columns * (job.kh * job.kw * 1.2 + 12)
        if workers > 1:
            # Tiles for every thread, several times over, where they are worth it.
            others = problem.N * ceil_div(n_blocks, side) * n_column_tiles
            n_row_tiles = min(ceil_div(4 * workers, others),
                              1 + int(job.oh * cycles_per_row * side / TILE_CYCLES))
            rows = min(rows, max(ceil_div(job.oh, n_row_tiles), 4))
        # As many rows in each tile, or nearly so.
        rows = ceil_div(job.oh, ceil_div(job.oh, rows))
        n_row_tiles = ceil_div(job.oh, rows)
        job.chunk_rows = max(CHUNK_BYTES // (columns * lanes * item), 1)
        job.chunk_rows = ceil_div(rows, ceil_div(rows, job.chunk_rows))
        tile_cycles = 300 + cycles_per_row * rows
        others = problem.N * n_row_tiles * n_column_tiles
        blocks = max(min(int(TILE_CYCLES / tile_cycles), n_blocks * others // (4 * workers)), side)
        job.stays = problem.channels_last
        if job.stays:
            blocks = max(min(blocks, WEIGHTS_BYTES // (job.kh * job.kw * lanes * item)), 1)
        n_block_tiles = ceil_div(n_blocks, blocks)
        job.part_columns = columns if columns <= NARROW_COLUMNS else PART_COLUMNS
        tile_cycles *= blocks
        job.tiling = tiling_t(
            rows=job.oh, columns=job.ow, n_blocks=n_blocks,
            tile_rows=rows, tile_columns=columns, tile_blocks=blocks,
            n_row_tiles=n_row_tiles, n_column_tiles=n_column_tiles, n_block_tiles=n_block_tiles)
        job.window_rows = reach(rows, job.kh, stride_y, dilation_y)
        job.window_columns = reach(columns, job.kw, stride_x, dilation_x)
        tap = np.arange(job.kh * job.kw, dtype=np.intp) * lanes
        pixel = pixel_table(
            min(problem.H, job.window_rows), job.window_columns, problem.W, lanes)
        cut.arrays = [tap, pixel]
        job.tap = <const Py_ssize_t *> PyArray_DATA(<ndarray> tap)
        job.x.pixel = <const Py_ssize_t *> PyArray_DATA(<ndarray> pixel)

        at = place_window(&job.x, job.window_rows, job.window_columns, at)
        job.weights_bytes = whole_lines((job.kh * job.kw + 1) * lanes * item)
        job.at_weights, at = at, at + (blocks if job.stays else 1) * job.weights_bytes
        job.at_blocks, at = at, at + whole_lines((blocks + 1) * sizeof(block_t))
        job.at_outputs, at = at, at + whole_lines(job.chunk_rows * columns * lanes * item)
        cut.scratch_bytes = at
        cut.n_tiles = others * n_block_tiles
        cut.workers = min(workers, cut.n_tiles,
                          int(cut.n_tiles * tile_cycles / CYCLES_PER_THREAD) + 1)
        cut.tile_seconds = tile_cycles / CYCLES_PER_SECOND
        cut.kernel_name = f"fc_{kernel.name.decode()}_depthwise_{lanes}xn_{active_isa()}"
        return cut

    def run(self, ndarray x, ndarray w, bias, ndarray y, fill, int workers):
        """Compute y; see gemm.Gemm.run."""
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        cdef const char *fill_bytes = fill
        cdef Py_ssize_t item = job.kernel.item_bytes
        memcpy(job.x.fill, fill_bytes, item)
        job.zero_margins = self.may_clip and not any(fill)
        x, w = aligned(x), aligned(w)
        set_image(&job.x, image_of(x, x.ndim, self.problem.channels_last, 0),
                  self.loads_as_computed, self.problem.W)
        set_target(&job.y, image_of(y, y.ndim, self.problem.channels_last, 0),
                   self.stores_as_computed)
        # Pixels 512, 1024 ... bytes apart meet in few sets of the first-level cache: 5 x 5 over
        # 28 x 28 pixels of 128 channels took 85 us where they lie, 69 staged (one core of an Intel
        # Xeon with AVX-512, 2026-11-28).
        job.stays = (job.stays and job.x.has_pixels and job.y.to_pixels
                     and (job.x.image.w < 512 or job.x.image.w & (job.x.image.w - 1)))
        job.w = weights_of(w, w.ndim, 0)
        job.bias = NULL if bias is None else <const char *> PyArray_DATA(<ndarray> bias)
        job.direct_weights = PyArray_IS_C_CONTIGUOUS(w) and self.weights_as_computed
        return parallel_for(run_tile, &job, cut.n_tiles, cut.workers, cut.scratch_bytes,
                            cut.tile_seconds)
