# SPDX-License-Identifier: BSD-3-Clause
"""The weight gradient of depthwise kernels with vectors along the channels.

    for item in (chunks of pixels x blocks of `lanes` channels)   parallel_for
      for tile of the chunk's pixels            level 3 of the sum
        stage the tile of dy and its window of x as [pixel][lanes]    pixels.pxd
        multiply                                fc_depthwise_grad: levels 1 and 2 of the sum
    add the chunks in pairs and store dw        parallel_for; level 4 of the sum

grad_weight.pyx has pixels along the vectors instead: better for long rows with channels first, as
the way to [pixel][lanes] costs about as much as 10 taps for each of x and dy.

The order of a sum depends on the problem and the instruction set alone: tiles and chunks are cut by
shape; only how many blocks a thread takes at once follows the number of threads.
"""

import numpy as np

from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport aligned, image_of, is_computed_in
from fastcorr._algorithms.parallel cimport parallel_for
from fastcorr._algorithms.pixels cimport (
    find_window, part_t, pixels_t, place_window, set_image, stage_rows,
)
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, ceil_div
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport fc_depthwise_t, fc_kernels_t

from fastcorr._algorithms import depthwise
from fastcorr._algorithms.depthwise import pixel_table
from fastcorr._algorithms.layout import reach
from fastcorr._kernels.dispatch import active_isa, compute_code, element_code

import_array()

WINDOW_BYTES = 128 * 1024       # of x, and of dy: both stay in the second-level cache
CHUNKS_BYTES = 8 * 1024 * 1024  # sums of all chunks together
ITEMS = 32                      # chunks times blocks: enough for many threads

# Cycles of one vector multiply-add (EPYC 9004, AVX-512, 2026-11).
CYCLES_PER_TAP = 1.2            # and pixel
CYCLES_PER_PIXEL = 4.0          # staged with channels last
CYCLES_PER_TURNED_PIXEL = 15.0  # and with channels first
CYCLES_PER_TILE = 500.0
CYCLES_PER_SUM = 0.5            # to add and store one element of dw
CYCLES_PER_CHUNK = 50e3         # less work than this does not pay for sums of its own
CYCLES_PER_THREAD = 30e3
ITEM_CYCLES = 50e3              # of the blocks that a thread takes at once
MAX_ITEM_CYCLES = 50e6          # Ctrl-C waits for an item
CYCLES_PER_SECOND = 2e9


def unsupported(problem):
    """None, or why this algorithm cannot serve the weight gradient of the problem."""
    if problem.dtype.kind not in "fc":
        return f"there are no kernels for {problem.dtype}"
    return depthwise.unsupported(problem)


def is_better(problem, other):
    """Whether it serves a problem faster than `other`, its grad_weight.GradWeight."""
    if unsupported(problem) is not None:
        return False
    if problem.channels_last:
        return True
    cdef const fc_kernels_t *kernel = kernels(compute_code(problem.dtype))
    cycles = cycles_per_block(problem, *tile_of(problem, kernel.lanes * kernel.item_bytes))
    return ceil_div(problem.C, kernel.lanes) * cycles < other.cycles


ctypedef struct job_t:
    const fc_kernels_t *kernel
    pixels_t x
    pixels_t dy
    char *dw
    int dw_type
    Py_ssize_t dw_item
    Py_ssize_t channels, kh, kw, oh, ow
    Py_ssize_t stride_y, stride_x, dilation_y, dilation_x
    Py_ssize_t n_blocks, block_parts
    Py_ssize_t tile_rows, tile_columns, n_row_tiles, n_column_tiles, n_tiles, n_chunks
    Py_ssize_t round, n_rounds
    Py_ssize_t window_rows, window_columns
    const Py_ssize_t *tap_bytes         # [tap]: its place in a kernel of dw
    char *sums                          # [chunk][block][tap][lanes]
    Py_ssize_t block_bytes


cdef inline char *sums_of(const job_t *job, Py_ssize_t chunk, Py_ssize_t block) noexcept nogil:
    return job.sums + (chunk * job.n_blocks + block) * job.block_bytes


cdef void run_item(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """Some tiles of a chunk, for some blocks."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t part = index % job.block_parts, chunk = index // job.block_parts
    cdef Py_ssize_t block0 = job.n_blocks * part // job.block_parts
    cdef Py_ssize_t block1 = job.n_blocks * (part + 1) // job.block_parts
    cdef Py_ssize_t first = job.n_tiles * chunk // job.n_chunks
    cdef Py_ssize_t n = job.n_tiles * (chunk + 1) // job.n_chunks - first
    cdef Py_ssize_t tile
    for tile in range(first + n * job.round // job.n_rounds,
                      first + n * (job.round + 1) // job.n_rounds):
        run_tile(job, tile, chunk, block0, block1, tile == first, scratch)


cdef void run_tile(const job_t *job, Py_ssize_t index, Py_ssize_t chunk, Py_ssize_t block0,
                   Py_ssize_t block1, bint is_first, char *scratch) noexcept nogil:
    """Columns of tiles run fastest, then rows, then images."""
    cdef fc_depthwise_t s
    cdef part_t x, dy
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, block
    cdef const char *of_dy
    dy.column0 = index % job.n_column_tiles * job.tile_columns
    dy.n_columns = min(job.tile_columns, job.ow - dy.column0)
    index //= job.n_column_tiles
    dy.row0 = index % job.n_row_tiles * job.tile_rows
    dy.n_rows = min(job.tile_rows, job.oh - dy.row0)
    dy.image = x.image = index // job.n_row_tiles
    x.row0, x.column0 = dy.row0 * job.stride_y, dy.column0 * job.stride_x
    x.n_rows = job.window_rows - (job.tile_rows - dy.n_rows) * job.stride_y
    x.n_columns = job.window_columns  # in narrower tiles, too: `pixel` counts on it
    find_window(&job.x, &x, scratch)
    find_window(&job.dy, &dy, scratch)
    s.n_rows, s.n_columns, s.kh, s.kw = dy.n_rows, dy.n_columns, job.kh, job.kw
    s.x_row, s.x_pixel = job.stride_y * x.n_columns * lanes, job.stride_x * lanes
    s.tap_row, s.tap_pixel = job.dilation_y * x.n_columns * lanes, job.dilation_x * lanes
    for block in range(block0, block1):
        x.c0 = dy.c0 = block * lanes
        x.n_channels = dy.n_channels = min(lanes, job.channels - x.c0)
        x.is_first = dy.is_first = block == block0
        stage_rows(&job.x, &x, 0, x.n_rows, scratch)
        if job.dy.has_pixels and dy.n_channels == lanes:  # as it lies
            s.y_row, s.y_pixel = job.dy.image.h // item, job.dy.image.w // item
            of_dy = (job.dy.image.data + dy.image * job.dy.image.n + dy.row0 * job.dy.image.h
                     + dy.column0 * job.dy.image.w + dy.c0 * item)
        else:
            stage_rows(&job.dy, &dy, 0, dy.n_rows, scratch)
            s.y_row, s.y_pixel = dy.n_columns * lanes, lanes
            of_dy = scratch + job.dy.at_window
        job.kernel.depthwise_grad(&s, scratch + job.x.at_window, of_dy,
                                  sums_of(job, chunk, block), not is_first)


cdef void finish(const void *job_, Py_ssize_t block, char *scratch) noexcept nogil:
    """Add the chunks of one block, in pairs, and store it."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t step = 1, i, c0 = block * job.kernel.lanes, n_taps = job.kh * job.kw
    while step < job.n_chunks:
        i = 0
        while i + step < job.n_chunks:
            job.kernel.add(job.block_bytes // job.kernel.item_bytes, sums_of(job, i + step, block),
                           sums_of(job, i, block))
            i += 2 * step
        step *= 2
    job.kernel.store[job.dw_type](
        sums_of(job, 0, block), job.kernel.lanes, n_taps,
        min(job.kernel.lanes, job.channels - c0), NULL, job.dw + c0 * n_taps * job.dw_item,
        job.tap_bytes, n_taps * job.dw_item)


cdef class Cut(TiledCut):
    """How the work is cut for one instruction set and number of threads."""

    cdef job_t job


cdef class DepthwiseGrad(Tiled):
    """The weight gradient of a depthwise problem: see tiled.Tiled for the arguments."""

    cdef job_t base
    cdef bint loads_as_computed

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        Tiled.__init__(self, problem, rows, columns)
        memset(job, 0, sizeof(job_t))
        job.x.type = element_code(problem.x_dtype)
        job.dw_type, job.dw_item = element_code(problem.dtype), problem.dtype.itemsize
        item = kernels(self.compute).item_bytes
        self.loads_as_computed = is_computed_in(problem.x_dtype, problem, item)
        job.channels, job.kh, job.kw = problem.C, problem.KH, problem.KW
        job.oh, job.ow = problem.OH, problem.OW
        job.stride_y, job.stride_x = problem.stride
        job.dilation_y, job.dilation_x = problem.dilation
        job.x.constant_margins = problem.padding_mode == "constant"
        job.x.rows = axis_of(rows, problem.padding[0], problem.H, 1)
        job.x.columns = axis_of(columns, problem.padding[1], problem.W, 1)
        job.dy.constant_margins = True
        job.dy.rows = axis_of((None, None), (0, 0), problem.OH, 1)
        job.dy.columns = axis_of((None, None), (0, 0), problem.OW, 1)

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0
        problem = self.problem
        job[0] = self.base
        job.kernel = job.x.kernel = job.dy.kernel = kernel
        job.n_blocks = ceil_div(job.channels, lanes)
        n_taps = job.kh * job.kw
        job.block_bytes = n_taps * lanes * item
        rows, columns = tile_of(problem, lanes * item)
        job.tile_rows, job.tile_columns = rows, columns
        job.n_row_tiles, job.n_column_tiles = ceil_div(job.oh, rows), ceil_div(job.ow, columns)
        job.n_tiles = problem.N * job.n_row_tiles * job.n_column_tiles
        job.window_rows = reach(rows, job.kh, job.stride_y, job.dilation_y)
        job.window_columns = reach(columns, job.kw, job.stride_x, job.dilation_x)

        cycles = cycles_per_block(problem, rows, columns)
        job.n_chunks = min(ceil_div(ITEMS, job.n_blocks), max(int(cycles / CYCLES_PER_CHUNK), 1),
                           max(CHUNKS_BYTES // (job.n_blocks * job.block_bytes), 1), job.n_tiles)
        blocks = max(min(int(ITEM_CYCLES * job.n_chunks / cycles),
                         job.n_blocks * job.n_chunks // (4 * workers)), 1)
        job.block_parts = ceil_div(job.n_blocks, blocks)
        item_cycles = cycles / job.n_chunks * blocks
        job.n_rounds = min(int(item_cycles / MAX_ITEM_CYCLES) + 1,
                           ceil_div(job.n_tiles, job.n_chunks))
        cut.n_tiles = job.n_chunks * job.block_parts
        cut.workers = min(workers, cut.n_tiles,
                          int(cut.n_tiles * item_cycles / CYCLES_PER_THREAD) + 1)
        cut.tile_seconds = item_cycles / job.n_rounds / CYCLES_PER_SECOND

        tap_bytes = np.arange(n_taps, dtype=np.intp) * job.dw_item
        cut.arrays = [tap_bytes]
        job.tap_bytes = <const Py_ssize_t *> PyArray_DATA(<ndarray> tap_bytes)
        x_pixel = pixel_table(
            min(problem.H, job.window_rows), job.window_columns, problem.W, lanes)
        dy_pixel = pixel_table(rows, columns, problem.OW, lanes)
        cut.arrays += [x_pixel, dy_pixel]
        job.x.pixel = <const Py_ssize_t *> PyArray_DATA(<ndarray> x_pixel)
        job.dy.pixel = <const Py_ssize_t *> PyArray_DATA(<ndarray> dy_pixel)
        at = place_window(&job.x, job.window_rows, job.window_columns, at)
        cut.scratch_bytes = place_window(&job.dy, rows, columns, at)
        cut.kernel_name = f"fc_{kernel.name.decode()}_depthwise_grad_{lanes}xn_{active_isa()}"
        return cut

    def run(self, ndarray dy, ndarray x, ndarray dw, fill, int workers):
        """Compute dw; see grad_weight.GradWeight.run."""
        cdef Cut cut
        cdef job_t job
        cdef const char *fill_bytes = fill
        problem = self.problem
        if dy.size == 0:
            dw[...] = 0
            return 0
        cut = self.cut(workers)
        job = cut.job
        memcpy(job.x.fill, fill_bytes, job.kernel.item_bytes)
        dy, x = aligned(dy), aligned(x)
        job.dy.type = element_code(dy.dtype)
        set_image(&job.x, image_of(x, x.ndim, problem.channels_last, 0), self.loads_as_computed,
                  problem.W)
        set_image(&job.dy, image_of(dy, dy.ndim, problem.channels_last, 0),
                  is_computed_in(dy.dtype, problem, job.kernel.item_bytes), problem.OW)
        job.dw = <char *> PyArray_DATA(dw)
        sums = np.empty(job.n_chunks * job.n_blocks * job.block_bytes, np.uint8)
        job.sums = <char *> PyArray_DATA(<ndarray> sums)
        for job.round in range(job.n_rounds):
            parallel_for(run_item, &job, cut.n_tiles, cut.workers, cut.scratch_bytes,
                         cut.tile_seconds)
        block_cycles = (job.block_bytes // job.kernel.item_bytes) * (job.n_chunks * CYCLES_PER_SUM)
        workers = min(cut.workers, int(job.n_blocks * block_cycles / CYCLES_PER_THREAD) + 1)
        parallel_for(finish, &job, job.n_blocks, workers, 0, block_cycles / CYCLES_PER_SECOND)
        return 0


def tile_of(problem, pixel_bytes):
    """(rows, columns) of outputs whose window has WINDOW_BYTES at most, or nearly so."""
    rows, columns = depthwise.tile_of(problem, WINDOW_BYTES // pixel_bytes)
    return ceil_div(problem.OH, ceil_div(problem.OH, rows)), columns


def cycles_per_block(problem, rows, columns):
    """Estimated cycles of all tiles of that size for one block of channels."""
    (stride_y, stride_x), (dilation_y, dilation_x) = problem.stride, problem.dilation
    n_tiles = problem.N * ceil_div(problem.OH, rows) * ceil_div(problem.OW, columns)
    window = reach(rows, problem.KH, stride_y, dilation_y) * reach(
        columns, problem.KW, stride_x, dilation_x)
    staged = window + rows * columns
    per_pixel = CYCLES_PER_PIXEL if problem.channels_last else CYCLES_PER_TURNED_PIXEL
    return n_tiles * (CYCLES_PER_TILE + staged * per_pixel
                      + rows * columns * problem.KH * problem.KW * CYCLES_PER_TAP)
