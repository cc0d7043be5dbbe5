# SPDX-License-Identifier: BSD-3-Clause
"""Depthwise layers with vectors along the channels.

    for tile in (images x blocks of `lanes` channels x rows x columns)   parallel_for
      stage the window of x as [pixel][lanes], the weights as [tap][lanes]
      for block of FC_DEPTHWISE_PIXELS outputs                           fc_depthwise

For channels last, where stencils would read and write with holes, and for images too narrow to
fill vectors along their rows. Strides and dilations are offsets here: they cost nothing.
"""

import numpy as np

from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport (
    aligned, image_of, image_t, is_computed_in, weights_of, weights_t,
)
from fastcorr._algorithms.parallel cimport parallel_for, whole_lines
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, axis_t, ceil_div, interior, positions
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport FC_DEPTHWISE_PIXELS, FC_PAD, fc_kernels_t, fc_window_t

from fastcorr._kernels.dispatch import active_isa, element_code, is_kernel_dtype

import_array()

WINDOW_BYTES = 96 * 1024        # of a tile: second-level cache; a few rows are in the first
LARGEST_WINDOW_BYTES = 512 * 1024
MIN_CHANNELS = 8                # fewer leave most lanes empty
NARROW = 16                     # outputs in a row that fill no vector of a stencil
MAX_TAPS = 4096
CYCLES_PER_THREAD = 100e3
CYCLES_PER_SECOND = 2e9


def unsupported(problem):
    """None, or why this algorithm cannot serve the problem."""
    if not is_kernel_dtype(problem.dtype):
        return f"there are no kernels for {problem.dtype}"
    if problem.dtype.kind == "c":
        return "vectors along the channels serve real numbers"
    if problem.groups != problem.C or problem.F != problem.C or problem.C < MIN_CHANNELS:
        return f"it serves depthwise layers of {MIN_CHANNELS} channels and more"
    if not problem.channels_last and problem.OW >= NARROW:
        return f"with channels first, it serves images of less than {NARROW} columns"
    if problem.KH * problem.KW > MAX_TAPS or smallest_window_bytes(problem) > LARGEST_WINDOW_BYTES:
        return "the kernel is too large for a tile's window"
    return None


def smallest_window_bytes(problem):
    columns = reach(min(problem.OW, NARROW), problem.KW, problem.stride[1], problem.dilation[1])
    return columns * reach(1, problem.KH, problem.stride[0], problem.dilation[0]) * 16 * 8


def reach(n, taps, stride, dilation):
    """Inputs that n neighbouring outputs see."""
    return (n - 1) * stride + (taps - 1) * dilation + 1


ctypedef struct job_t:
    const fc_kernels_t *kernel
    image_t x
    image_t y
    weights_t w
    const char *bias                    # [C], compute type, or NULL
    char fill[16]                       # the padding constant
    int x_type, w_type, y_type
    Py_ssize_t channels, kh, kw, oh, ow
    Py_ssize_t stride_y, stride_x
    axis_t rows
    axis_t columns
    bint has_planes                     # x: rows of pixels of one channel, as computed
    bint direct_stores                  # y: channels side by side, as computed
    Py_ssize_t tile_rows, tile_columns, window_rows, window_columns
    Py_ssize_t n_blocks, n_row_tiles, n_column_tiles
    const Py_ssize_t *tap               # [KH * KW]: elements in the window
    Py_ssize_t at_rows, at_columns, at_pixels, at_from, at_to, at_window, at_weights, at_outputs


cdef void stage_window(const job_t *job, Py_ssize_t image, Py_ssize_t c0, Py_ssize_t n_channels,
                       Py_ssize_t row0, Py_ssize_t n_rows, Py_ssize_t column0,
                       Py_ssize_t n_columns, char *scratch) noexcept nogil:
    """Copy the window of up to `lanes` channels as [pixel][lanes]."""
    cdef fc_window_t win
    cdef Py_ssize_t *row_bytes = <Py_ssize_t *> (scratch + job.at_rows)
    cdef Py_ssize_t *column_bytes = <Py_ssize_t *> (scratch + job.at_columns)
    cdef Py_ssize_t *pixel_bytes = <Py_ssize_t *> (scratch + job.at_pixels)
    cdef Py_ssize_t[64] side_by_side
    cdef Py_ssize_t i, j, lo = 0, hi = 0, zero = 0
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef const char *src = job.x.data + image * job.x.n + c0 * job.x.c
    cdef char *dst = scratch + job.at_window
    positions(&job.rows, row0, n_rows, job.x.h, row_bytes)
    positions(&job.columns, column0, n_columns, job.x.w, column_bytes)
    if job.has_planes:
        interior(&job.columns, column0, n_columns, &lo, &hi)
        for j in range(n_channels):
            side_by_side[j] = j * item
    # A "row" of this window is a pixel, its "columns" are the channels.
    win.pitch, win.n_columns, win.column_bytes = lanes, n_channels, &zero
    win.lo, win.hi, win.step_bytes = 0, n_channels, job.x.c
    win.row_bytes = pixel_bytes
    for i in range(n_rows):
        if row_bytes[i] == FC_PAD or lo >= hi:
            stage_pixels(job, &win, src, row_bytes[i], column_bytes, 0, n_columns, pixel_bytes, dst)
        else:
            stage_pixels(job, &win, src, row_bytes[i], column_bytes, 0, lo, pixel_bytes, dst)
            job.kernel.store[job.y_type](
                src + row_bytes[i] + column_bytes[lo], job.x.c // item, n_channels, hi - lo, NULL,
                dst + lo * lanes * item, side_by_side, lanes * item)
            stage_pixels(job, &win, src, row_bytes[i], column_bytes, hi, n_columns, pixel_bytes,
                         dst)
        dst += n_columns * lanes * item


cdef inline void stage_pixels(const job_t *job, fc_window_t *win, const char *src, Py_ssize_t row,
                              const Py_ssize_t *column_bytes, Py_ssize_t begin, Py_ssize_t end,
                              Py_ssize_t *pixel_bytes, char *dst) noexcept nogil:
    cdef Py_ssize_t j
    if begin >= end:
        return
    for j in range(begin, end):
        pixel_bytes[j - begin] = (
            FC_PAD if row == FC_PAD or column_bytes[j] == FC_PAD else row + column_bytes[j])
    win.n_rows = end - begin
    job.kernel.stage[job.x_type](win, src, 1, 0, job.fill,
                                 dst + begin * win.pitch * job.kernel.item_bytes, 0)


cdef void stage_weights(const job_t *job, Py_ssize_t c0, Py_ssize_t n_channels,
                        char *scratch) noexcept nogil:
    """Copy the kernels and biases of up to `lanes` channels as [tap][lanes] and [lanes]."""
    cdef fc_window_t win
    cdef Py_ssize_t i, zero = 0, row, item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef char *dst = scratch + job.at_weights
    cdef char[16] nothing
    memset(nothing, 0, sizeof(nothing))
    win.n_rows, win.row_bytes = 1, &row
    win.pitch, win.n_columns, win.column_bytes = lanes, n_channels, &zero
    win.lo, win.hi, win.step_bytes = 0, n_channels, job.w.f
    for i in range(job.kh * job.kw):
        row = i // job.kw * job.w.kh + i % job.kw * job.w.kw
        job.kernel.stage[job.w_type](&win, job.w.data + c0 * job.w.f, 1, 0, nothing,
                                     dst + i * lanes * item, 0)
    dst += job.kh * job.kw * lanes * item
    memset(dst, 0, lanes * item)
    if job.bias != NULL:
        memcpy(dst, job.bias + c0 * item, n_channels * item)


cdef void run_tile(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef Py_ssize_t row0, column0, c0, n_channels, n_rows, n_columns, window_columns, i, j, n
    cdef Py_ssize_t *at = <Py_ssize_t *> (scratch + job.at_from)
    cdef Py_ssize_t *to = <Py_ssize_t *> (scratch + job.at_to)
    cdef Py_ssize_t y_h = job.y.h // item, y_w = job.y.w // item
    cdef const char *weights = scratch + job.at_weights
    cdef char *y
    cdef bint straight
    c0 = index % job.n_blocks * lanes
    index //= job.n_blocks
    column0 = index % job.n_column_tiles * job.tile_columns
    index //= job.n_column_tiles
    row0 = index % job.n_row_tiles * job.tile_rows
    index //= job.n_row_tiles
    n_channels = min(lanes, job.channels - c0)
    n_rows = min(job.tile_rows, job.oh - row0)
    n_columns = min(job.tile_columns, job.ow - column0)
    window_columns = job.window_columns
    stage_window(job, index, c0, n_channels, row0 * job.stride_y,
                 job.window_rows - (job.tile_rows - n_rows) * job.stride_y, column0 * job.stride_x,
                 window_columns, scratch)
    stage_weights(job, c0, n_channels, scratch)
    y = (job.y.data + index * job.y.n + c0 * job.y.c + row0 * job.y.h + column0 * job.y.w)
    straight = job.direct_stores and n_channels == lanes
    n = 0
    for i in range(n_rows):
        for j in range(n_columns):
            at[n] = (i * job.stride_y * window_columns + j * job.stride_x) * lanes
            to[n] = i * y_h + j * y_w if straight else n * lanes
            n += 1
    while n % FC_DEPTHWISE_PIXELS != 0:  # the last pixel again
        at[n], to[n] = at[n - 1], to[n - 1]
        n += 1
    job.kernel.depthwise(
        n // FC_DEPTHWISE_PIXELS, job.kh * job.kw, scratch + job.at_window, at, job.tap,
        weights, weights + job.kh * job.kw * lanes * item,
        y if straight else scratch + job.at_outputs, to)
    if straight:
        return
    for i in range(n_rows):
        for j in range(n_columns):
            at[j] = i * job.y.h + j * job.y.w
        job.kernel.store[job.y_type](
            scratch + job.at_outputs + i * n_columns * lanes * item, lanes, n_columns, n_channels,
            NULL, y, at, job.y.c)


cdef class Cut(TiledCut):
    """How the work is cut into tiles for one instruction set and number of threads."""

    cdef job_t job


cdef class Depthwise(Tiled):
    """The algorithm for one problem: see tiled.Tiled for the meaning of the arguments."""

    cdef job_t base
    cdef bint loads_as_computed, stores_as_computed

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        Tiled.__init__(self, problem, rows, columns)
        memset(job, 0, sizeof(job_t))
        job.x_type = element_code(problem.x_dtype)
        job.w_type = element_code(problem.w_dtype)
        job.y_type = element_code(problem.dtype)
        item = kernels(self.compute).item_bytes
        self.loads_as_computed = is_computed_in(problem.x_dtype, problem, item)
        self.stores_as_computed = is_computed_in(problem.dtype, problem, item)
        job.channels, job.kh, job.kw = problem.C, problem.KH, problem.KW
        job.oh, job.ow = problem.OH, problem.OW
        job.stride_y, job.stride_x = problem.stride
        job.rows = axis_of(rows, problem.padding[0], problem.H, 1)
        job.columns = axis_of(columns, problem.padding[1], problem.W, 1)

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0, n_pixels
        problem = self.problem
        (stride_y, stride_x), (dilation_y, dilation_x) = problem.stride, problem.dilation
        job[0] = self.base
        job.kernel = kernel
        job.n_blocks = ceil_div(job.channels, lanes)

        columns = job.ow
        limit = WINDOW_BYTES // (lanes * item)
        while True:
            window_columns = reach(columns, job.kw, stride_x, dilation_x)
            if columns <= NARROW or window_columns * reach(
                    4, job.kh, stride_y, dilation_y) <= limit:
                break
            columns = max(ceil_div(columns, 2), NARROW)
        halo = reach(1, job.kh, stride_y, dilation_y) - stride_y
        rows = min(max((limit // window_columns - halo) // stride_y, 1), job.oh)
        if workers > 1 and problem.N * job.n_blocks < 4 * workers:
            rows = min(rows, max(ceil_div(job.oh, 4 * workers), 4))
        job.tile_rows, job.tile_columns = rows, columns
        job.n_row_tiles, job.n_column_tiles = ceil_div(job.oh, rows), ceil_div(job.ow, columns)
        job.window_rows = reach(rows, job.kh, stride_y, dilation_y)
        job.window_columns = window_columns
        tap = np.array([(ky * dilation_y * window_columns + kx * dilation_x) * lanes
                        for ky in range(job.kh) for kx in range(job.kw)], dtype=np.intp)
        cut.arrays = [tap]
        job.tap = <const Py_ssize_t *> PyArray_DATA(<ndarray> tap)

        n_pixels = ceil_div(rows * columns, FC_DEPTHWISE_PIXELS) * FC_DEPTHWISE_PIXELS
        job.at_rows, at = at, at + whole_lines(job.window_rows * sizeof(Py_ssize_t))
        job.at_columns, at = at, at + whole_lines(job.window_columns * sizeof(Py_ssize_t))
        job.at_pixels, at = at, at + whole_lines(job.window_columns * sizeof(Py_ssize_t))
        job.at_from, at = at, at + whole_lines(n_pixels * sizeof(Py_ssize_t))
        job.at_to, at = at, at + whole_lines(n_pixels * sizeof(Py_ssize_t))
        job.at_weights, at = at, at + whole_lines((job.kh * job.kw + 1) * lanes * item)
        job.at_window, at = at, at + whole_lines(
            job.window_rows * job.window_columns * lanes * item)
        job.at_outputs, at = at, at + whole_lines(n_pixels * lanes * item)
        cut.scratch_bytes = at
        cut.n_tiles = problem.N * job.n_blocks * job.n_row_tiles * job.n_column_tiles
        tile_cycles = 300 + rows * columns * (job.kh * job.kw * 1.2 + 6)
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
        memcpy(job.fill, fill_bytes, item)
        x, w = aligned(x), aligned(w)
        job.x = image_of(x, x.ndim, self.problem.channels_last, 0)
        job.y = image_of(y, y.ndim, self.problem.channels_last, 0)
        job.w = weights_of(w, w.ndim, 0)
        job.bias = NULL if bias is None else <const char *> PyArray_DATA(<ndarray> bias)
        job.has_planes = (self.loads_as_computed and self.stores_as_computed
                          and job.x.w == item and job.x.c % item == 0)
        job.direct_stores = (self.stores_as_computed and job.y.c == item
                             and job.y.h % item == 0 and job.y.w % item == 0)
        return parallel_for(run_tile, &job, cut.n_tiles, cut.workers, cut.scratch_bytes,
                            cut.tile_seconds)
