# SPDX-License-Identifier: BSD-3-Clause
"""Large kernels of doubles in blocks, whose transforms err by as little as the outputs near them.

The error of a transform is relative to all that it transforms. So x and w are cut into blocks::

    y of tile p = sum over blocks b of w:  (x in window p + b)  correlated with  (block b)

a tile and a block are `size` x `size`, the window from its first row and column on twice that::

    for (images x groups)
      spectra of the blocks of w                              parallel_for
      for rows of tiles
        spectra of the rows of windows that are new           parallel_for
        for frequencies x tiles: sum of products over blocks  parallel_for
        for tile: transform back; store; certify              parallel_for
      compute the outputs that are too small again            certificate.py

All four loops do the same for |x| * |w| in single precision, which certifies. A window serves the
tiles of all its pairs, and windows of nothing but zeros are left out. A ring holds the rows of
windows that are needed at a time, so that memory is bounded. Spectra are those of real numbers,
half of the frequencies, in strips of `lanes` of them.
"""

import math

import numpy as np

from libc.math cimport sqrt
from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport aligned, image_of, image_t, weights_of, weights_t
from fastcorr._algorithms.parallel cimport parallel_for, whole_lines
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, axis_t, ceil_div, interior, positions
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport (
    FC_COMPUTE_F32, FC_COMPUTE_F64, FC_F64, FC_PAD, fc_kernels_t, fc_window_t,
)

from fastcorr._algorithms import certificate, fft
from fastcorr._algorithms.arrays import four, nchw
from fastcorr._algorithms.certificate import (
    LARGEST, NORM_ERROR, PEAK_ERROR, SMALLEST, TYPICAL_ERROR, UNITS_OF_DOUBLE,
)
from fastcorr._algorithms.definition import definition_of
from fastcorr._algorithms.fft_blocks_cuts import grid_of, grid_of_size
from fastcorr._algorithms.twiddles import order_of, twiddles_of
from fastcorr._kernels.dispatch import active_isa, element_code

import_array()

cdef enum:
    CHUNKS = 8          # of the rows of a strip, whose products are summed together
    BAND = 16           # rows of a box
    MOST_BANDS = 8


# The spectra in one precision: [window, block or tile][strip][strip_rows][2 * lanes].
ctypedef struct precision_t:
    const fc_kernels_t *kernel
    Py_ssize_t n_strips, strip_bytes, bytes     # of a spectrum
    const void *twiddles
    char *x                         # [ring row][column of windows]
    char *w                         # [block]
    char *y                         # [row of tiles served together][column]


ctypedef struct job_t:
    precision_t double_
    precision_t single
    image_t x                       # data: of the image and channel
    image_t y
    weights_t w
    double[2] fill                  # the padding constant
    int x_type, w_type
    double bias
    axis_t rows
    axis_t columns
    Py_ssize_t kh, kw, oh, ow
    Py_ssize_t size, n, pitch       # of a block, of a transform, of a staged window
    const Py_ssize_t *order
    double x_scale, w_scale         # of magnitudes
    # tiles, blocks, and the windows that hold not only zeros
    Py_ssize_t tile_rows, tile_columns, block_rows, block_columns
    Py_ssize_t first_row, end_row, first_column, end_column
    # at work: rows of tiles, and new rows of windows
    Py_ssize_t tile_row0, n_tile_rows, window_row0, ring
    double *x_energies              # [row of windows][column]
    double *x_peaks
    double *w_energies              # [block]
    Py_ssize_t *boxes               # [tile][MOST_BANDS][row, end, column, end], see find_boxes
    double levels, norm_error, typical_error, peak_error, units, smallest
    Py_ssize_t at_rows, at_columns, at_window, at_strip, at_square, at_sums, at_flags
    Py_ssize_t at_terms


cdef inline Py_ssize_t window_columns(const job_t *job) noexcept nogil:
    return job.end_column - job.first_column


cdef void transform(const job_t *job, const precision_t *to, const double *window,
                    const unsigned char *has_row, Py_ssize_t n_columns, double scale, double unit,
                    char *spectrum, double *energy, double *peak, char *scratch) noexcept nogil:
    """The spectrum of a staged window, of which the first n_columns are not all zeros."""
    cdef Py_ssize_t lanes = to.kernel.lanes, item = to.kernel.item_bytes, size = 2 * lanes
    cdef Py_ssize_t block, row, c, i, s, n = job.n
    cdef char *strip = scratch + job.at_strip
    cdef char *square = scratch + job.at_square
    cdef const double *re
    cdef bint any
    for block in range(n // size):
        row, any = block * size, False
        for i in range(size):
            any |= has_row[row + i]
        if not any:
            for s in range(to.n_strips):
                memset(spectrum + s * to.strip_bytes + row * size * item, 0, size * size * item)
            continue
        for i in range(n // lanes):
            c = i * lanes
            if c >= n_columns:
                memset(strip + c * size * item, 0, (n - c) * size * item)
                break
            re = window + row * job.pitch + c
            if item == 4:
                job.double_.kernel.fft_magnitudes(lanes, re, re + lanes * job.pitch, job.pitch,
                                                  scale, <float *> square)
            else:
                to.kernel.fft_load(lanes, re, re + lanes * job.pitch, job.pitch, square, energy,
                                   peak)
            to.kernel.fft_transpose(lanes, square, strip + c * size * item, 0)
        to.kernel.fft_forward(n, to.twiddles, strip)
        to.kernel.fft_untangle(n, job.order, unit, strip, spectrum + row * size * item,
                               to.strip_bytes // item)
    for s in range(to.n_strips):
        to.kernel.fft_forward(n, to.twiddles, spectrum + s * to.strip_bytes)


cdef void transform_window(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """A window of x, of a row of windows that is new."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t across = window_columns(job), i, at, place
    cdef Py_ssize_t row = job.window_row0 + index // across, column = index % across
    cdef Py_ssize_t *row_bytes = <Py_ssize_t *> (scratch + job.at_rows)
    cdef Py_ssize_t *column_bytes = <Py_ssize_t *> (scratch + job.at_columns)
    cdef double *window = <double *> (scratch + job.at_window)
    cdef unsigned char[256] has_row
    cdef fc_window_t win
    cdef double energy = 0, peak = 0
    cdef bint zeros = job.rows.sources_before == NULL and job.fill[0] == 0
    place = row % job.ring * across + column
    column += job.first_column
    positions(&job.rows, row * job.size, job.n, job.x.h, row_bytes)
    positions(&job.columns, column * job.size, job.n, job.x.w, column_bytes)
    win.row_bytes, win.column_bytes = row_bytes, column_bytes
    win.n_rows, win.n_columns, win.pitch, win.step_bytes = job.n, job.n, job.pitch, job.x.w
    interior(&job.columns, column * job.size, job.n, &win.lo, &win.hi)
    job.double_.kernel.stage[job.x_type](&win, job.x.data, 1, 0, &job.fill[0], window, 0)
    for i in range(job.n):
        has_row[i] = not (zeros and row_bytes[i] == FC_PAD)
    i = win.hi if zeros else job.n
    transform(job, &job.double_, window, has_row, i, 1, 1, job.double_.x + place *
              job.double_.bytes, &energy, &peak, scratch)
    transform(job, &job.single, window, has_row, i, job.x_scale, 1, job.single.x + place *
              job.single.bytes, NULL, NULL, scratch)
    at = (row - job.first_row) * across + column - job.first_column
    job.x_energies[at], job.x_peaks[at] = energy, peak


cdef void transform_block(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """A block of w."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t row = index // job.block_columns * job.size, i
    cdef Py_ssize_t column = index % job.block_columns * job.size
    cdef Py_ssize_t *row_bytes = <Py_ssize_t *> (scratch + job.at_rows)
    cdef Py_ssize_t *column_bytes = <Py_ssize_t *> (scratch + job.at_columns)
    cdef double *window = <double *> (scratch + job.at_window)
    cdef unsigned char[256] has_row
    cdef fc_window_t win
    cdef double energy = 0, peak = 0, unit = 1.0 / (job.n * job.n)
    cdef double nothing = 0
    for i in range(job.n):
        has_row[i] = i < job.size and row + i < job.kh
        row_bytes[i] = (row + i) * job.w.kh if has_row[i] else FC_PAD
        column_bytes[i] = FC_PAD
        if i < job.size and column + i < job.kw:
            column_bytes[i] = (column + i) * job.w.kw
    win.row_bytes, win.column_bytes = row_bytes, column_bytes
    win.n_rows, win.n_columns, win.pitch, win.step_bytes = job.n, job.n, job.pitch, job.w.kw
    win.lo, win.hi = 0, min(job.size, job.kw - column)
    job.double_.kernel.stage[job.w_type](&win, job.w.data, 1, 0, &nothing, window, 0)
    transform(job, &job.double_, window, has_row, win.hi, 1, unit, job.double_.w + index *
              job.double_.bytes, &energy, &peak, scratch)
    transform(job, &job.single, window, has_row, win.hi, job.w_scale, unit, job.single.w + index *
              job.single.bytes, NULL, NULL, scratch)
    job.w_energies[index] = energy


cdef inline void blocks_of(Py_ssize_t tile, Py_ssize_t blocks, Py_ssize_t first, Py_ssize_t end,
                           Py_ssize_t *lo, Py_ssize_t *hi) noexcept nogil:
    """The blocks along an axis whose windows for a tile hold something."""
    lo[0] = max(first - tile, 0)
    hi[0] = max(min(end - tile, blocks), lo[0])


cdef void multiply(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """Some frequencies of all tiles at work: the sums of products."""
    cdef const job_t *job = <const job_t *> job_
    cdef const precision_t *of = &job.double_
    cdef Py_ssize_t tile, row, column, br, bc, lo, hi, left, right, k, n, offset
    cdef Py_ssize_t across = window_columns(job)
    cdef const void **windows = <const void **> (scratch + job.at_terms)
    cdef const void **blocks = windows + job.block_rows * job.block_columns
    cdef const char *x
    if index >= of.n_strips * CHUNKS:
        index -= of.n_strips * CHUNKS
        of = &job.single
    n = job.n // CHUNKS
    offset = index // CHUNKS * of.strip_bytes
    offset += index % CHUNKS * n * 2 * of.kernel.lanes * of.kernel.item_bytes
    for tile in range(job.n_tile_rows * job.tile_columns):
        row, column = tile // job.tile_columns + job.tile_row0, tile % job.tile_columns
        blocks_of(row, job.block_rows, job.first_row, job.end_row, &lo, &hi)
        blocks_of(column, job.block_columns, job.first_column, job.end_column, &left, &right)
        k = 0
        for br in range(lo, hi):
            x = of.x + (row + br) % job.ring * across * of.bytes
            for bc in range(left, right):
                windows[k] = x + (column + bc - job.first_column) * of.bytes
                blocks[k] = of.w + (br * job.block_columns + bc) * of.bytes
                k += 1
        of.kernel.fft_dot(n, k, windows, blocks, offset, of.y + tile * of.bytes)


cdef void columns_back(const job_t *job, const precision_t *of, char *spectrum) noexcept nogil:
    cdef Py_ssize_t s
    for s in range(of.n_strips):
        of.kernel.fft_inverse(job.n, of.twiddles, spectrum + s * of.strip_bytes)


cdef void rows_back(const job_t *job, const precision_t *of, const char *spectrum, Py_ssize_t row,
                    char *strip) noexcept nogil:
    """Rows `row` .. row + 2 * lanes of a tile, whose columns are transformed back."""
    cdef Py_ssize_t size = 2 * of.kernel.lanes, item = of.kernel.item_bytes
    of.kernel.fft_entangle(job.n, job.order, spectrum + row * size * item, of.strip_bytes // item,
                           strip)
    of.kernel.fft_inverse(job.n, of.twiddles, strip)


# The outputs of a tile; `index` is its number among those served together.
ctypedef struct tile_t:
    Py_ssize_t index, row, column       # of tiles
    Py_ssize_t rows, columns            # of outputs
    double norms                        # the sum of |x block| |w block|, 2-norms
    Py_ssize_t n_terms
    bint is_lost                        # has numbers too small to be squared


cdef void locate_tile(const job_t *job, Py_ssize_t index, tile_t *t) noexcept nogil:
    """The tile, and what is known of the windows and blocks that it sees."""
    cdef Py_ssize_t lo, hi, left, right, br, bc, at, across = window_columns(job)
    cdef double energy, peak
    t.index = index
    t.row, t.column = index // job.tile_columns + job.tile_row0, index % job.tile_columns
    t.rows = min(job.size, job.oh - t.row * job.size)
    t.columns = min(job.size, job.ow - t.column * job.size)
    t.norms, t.is_lost = 0, False
    blocks_of(t.row, job.block_rows, job.first_row, job.end_row, &lo, &hi)
    blocks_of(t.column, job.block_columns, job.first_column, job.end_column, &left, &right)
    t.n_terms = (hi - lo) * (right - left)
    for br in range(lo, hi):
        for bc in range(left, right):
            at = (t.row + br - job.first_row) * across + t.column + bc - job.first_column
            energy, peak = job.x_energies[at], job.x_peaks[at]
            t.norms += sqrt(energy) * sqrt(job.w_energies[br * job.block_columns + bc])
            t.is_lost |= 0 < peak < job.smallest


cdef double magnitudes_back(const job_t *job, const tile_t *t, char *sums,
                            char *scratch) noexcept nogil:
    """Fill `sums` with |x| * |w|, in squares and in units of the largest numbers; the largest."""
    cdef const precision_t *of = &job.single
    cdef Py_ssize_t lanes = of.kernel.lanes, size = 2 * lanes, rb, cb, r, c, half, n_rows
    cdef char *spectrum = of.y + t.index * of.bytes
    cdef char *strip = scratch + job.at_strip
    cdef char *part
    cdef double largest = 0
    columns_back(job, of, spectrum)
    for rb in range(ceil_div(t.rows, size)):
        r = rb * size
        rows_back(job, of, spectrum, r, strip)
        for cb in range(ceil_div(t.columns, lanes)):
            c = cb * lanes
            part = sums + (r * job.size + c * size) * sizeof(float)
            of.kernel.fft_transpose(lanes, strip + c * size * sizeof(float), part, 0)
            for half in range(2):
                n_rows = min(lanes, t.rows - r - half * lanes)
                if n_rows > 0:
                    largest = max(largest, of.kernel.fft_largest(
                        n_rows, min(lanes, t.columns - c), part + half * lanes * sizeof(float)))
    return largest


cdef bint store_outputs(const job_t *job, const tile_t *t, double least, char *y,
                        unsigned char *flags, char *scratch) noexcept nogil:
    """Store y; whether any is smaller than `least`, and flags for those."""
    cdef const precision_t *of = &job.double_
    cdef Py_ssize_t lanes = of.kernel.lanes, size = 2 * lanes, rb, cb, r, c, i, half, n_rows
    cdef char *spectrum = of.y + t.index * of.bytes
    cdef char *strip = scratch + job.at_strip
    cdef char *square = scratch + job.at_square
    cdef bint any = False
    columns_back(job, of, spectrum)
    for rb in range(ceil_div(t.rows, size)):
        r = rb * size
        rows_back(job, of, spectrum, r, strip)
        for cb in range(ceil_div(t.columns, lanes)):
            c = cb * lanes
            of.kernel.fft_transpose(lanes, strip + c * size * sizeof(double), square, 0)
            for half in range(2):
                i = r + half * lanes
                n_rows = min(lanes, t.rows - i)
                if n_rows > 0:
                    any |= of.kernel.fft_store(
                        n_rows, min(lanes, t.columns - c), square + half * lanes * sizeof(double),
                        job.bias, least, y + i * job.y.h + c * job.y.w, FC_F64,
                        job.y.h, job.y.w, flags + i * job.size + c, job.size) != 0
    return any


cdef bint confirm(const job_t *job, const tile_t *t, const char *sums, double needed,
                  unsigned char *flags) noexcept nogil:
    """Clear flags where |x| * |w| is as large as needed; whether any are left."""
    cdef const precision_t *of = &job.single
    cdef Py_ssize_t lanes = of.kernel.lanes, size = 2 * lanes, rb, cb, r, c, i, half, n_rows
    cdef const char *part
    cdef bint any = False
    for rb in range(ceil_div(t.rows, size)):
        for cb in range(ceil_div(t.columns, lanes)):
            r, c = rb * size, cb * lanes
            part = sums + (r * job.size + c * size) * sizeof(float)
            for half in range(2):
                i = r + half * lanes
                n_rows = min(lanes, t.rows - i)
                if n_rows > 0:
                    any |= of.kernel.fft_confirm(
                        n_rows, min(lanes, t.columns - c), part + half * lanes * sizeof(float),
                        needed, flags + i * job.size + c, job.size) != 0
    return any


cdef void finish_tile(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """From the sum of products to outputs, and boxes around those that may be too inexact."""
    cdef const job_t *job = <const job_t *> job_
    cdef tile_t t
    cdef char *sums = scratch + job.at_sums
    cdef unsigned char *flags = <unsigned char *> (scratch + job.at_flags)
    cdef double error, needed, slack, levels, most, unit
    cdef char *y
    cdef bint any
    locate_tile(job, index, &t)
    y = job.y.data + t.row * job.size * job.y.h + t.column * job.size * job.y.w
    if t.n_terms == 0 or t.norms == 0 and not t.is_lost:
        store_zeros(job, t.rows, t.columns, y)
        return
    levels = job.levels + 2 * sqrt(<double> t.n_terms)
    unit = 1 / (job.x_scale * job.w_scale)
    slack = job.norm_error * levels * t.norms * 2.0**-24
    most = min(magnitudes_back(job, &t, sums, scratch) * unit + slack, t.norms)
    error = job.typical_error * t.norms / job.n + job.peak_error * most
    error *= sqrt(levels) * 2.0**-53
    needed = error / (job.units * 2.0**-53)
    any = store_outputs(job, &t, error + needed, y, flags, scratch)
    if t.is_lost:
        memset(flags, 1, job.size * job.size)
    elif any:
        any = confirm(job, &t, sums, (needed + slack) / unit, flags)
    if any or t.is_lost:
        find_boxes(job, flags, t.rows, t.columns, t.row * job.size, t.column * job.size,
                   job.boxes + (t.row * job.tile_columns + t.column) * MOST_BANDS * 4)


cdef void find_boxes(const job_t *job, const unsigned char *flags, Py_ssize_t rows,
                     Py_ssize_t columns, Py_ssize_t row0, Py_ssize_t column0,
                     Py_ssize_t *boxes) noexcept nogil:
    """Boxes around what is doubtful of a tile: a thin one, or one of each band of BAND rows."""
    cdef Py_ssize_t i, j, band
    cdef Py_ssize_t[4] all
    cdef Py_ssize_t *box
    for i in range(rows):
        for j in range(columns):
            if flags[i * job.size + j]:
                box = boxes + i // BAND * 4
                if box[1] == 0:
                    box[0], box[2], box[3] = row0 + i, column0 + j, column0 + j + 1
                box[1] = row0 + i + 1
                box[2], box[3] = min(box[2], column0 + j), max(box[3], column0 + j + 1)
    all[0], all[1], all[2], all[3] = row0 + rows, 0, column0 + columns, 0
    for band in range(MOST_BANDS):
        box = boxes + band * 4
        if box[1]:
            all[0], all[1] = min(all[0], box[0]), max(all[1], box[1])
            all[2], all[3] = min(all[2], box[2]), max(all[3], box[3])
    if all[3] - all[2] <= BAND:
        memset(boxes, 0, MOST_BANDS * 4 * sizeof(Py_ssize_t))
        memcpy(boxes, all, sizeof(all))


cdef void store_zeros(const job_t *job, Py_ssize_t rows, Py_ssize_t columns,
                      char *y) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(columns):
            (<double *> (y + i * job.y.h + j * job.y.w))[0] = job.bias


cdef class Cut(TiledCut):
    """The memory of that many threads."""

    cdef job_t job
    cdef Py_ssize_t of_thread       # bytes, without the spectra


cdef class FftBlocks(Tiled):
    """The algorithm for one problem: see tiled.Tiled for the meaning of the arguments."""

    cdef readonly str reason
    cdef object grid, order, twiddles, singles

    def __init__(self, problem, rows, columns):
        Tiled.__init__(self, problem, rows, columns)
        grid = self.grid = grid_of(problem)
        n = 2 * grid.size
        self.order, self.twiddles, self.singles = order_of(n), twiddles_of(n), twiddles_of(
            n, np.float32)
        self.reason = (
            f"large kernels: transforms of {n}x{n} points, a kernel is "
            f"{grid.rows.blocks * grid.columns.blocks} blocks"
        )

    def prepare(self, w, budget):
        """This runner, or why it cannot serve these kernels; `_plan` has the contract."""
        return certificate.refusal(self.problem, w) or self

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef Py_ssize_t at = 0
        problem, grid = self.problem, self.grid
        memset(job, 0, sizeof(job_t))
        job.double_.kernel, job.single.kernel = kernels(FC_COMPUTE_F64), kernels(FC_COMPUTE_F32)
        job.double_.twiddles = <const void *> PyArray_DATA(<ndarray> self.twiddles)
        job.single.twiddles = <const void *> PyArray_DATA(<ndarray> self.singles)
        job.order = <const Py_ssize_t *> PyArray_DATA(<ndarray> self.order)
        job.x_type, job.w_type = element_code(problem.x_dtype), element_code(problem.w_dtype)
        job.rows = axis_of(self.rows, problem.padding[0], problem.H, 1)
        job.columns = axis_of(self.columns, problem.padding[1], problem.W, 1)
        job.kh, job.kw, job.oh, job.ow = problem.KH, problem.KW, problem.OH, problem.OW
        job.size, job.n = grid.size, 2 * grid.size
        job.pitch = job.n + 16
        job.levels = math.log2(job.n * job.n)
        job.norm_error, job.typical_error, job.peak_error = NORM_ERROR, TYPICAL_ERROR, PEAK_ERROR
        job.units, job.smallest = UNITS_OF_DOUBLE, SMALLEST
        set_sizes(&job.double_, job.n)
        set_sizes(&job.single, job.n)
        job.at_rows, at = at, at + whole_lines(job.n * sizeof(Py_ssize_t))
        job.at_columns, at = at, at + whole_lines(job.n * sizeof(Py_ssize_t))
        job.at_window, at = at, at + whole_lines(job.n * job.pitch * sizeof(double))
        job.at_strip, at = at, at + whole_lines(job.n * 128)
        job.at_square, at = at, at + whole_lines(16 * 128)
        job.at_sums, at = at, at + whole_lines(job.size * job.size * sizeof(float))
        job.at_flags, at = at, at + whole_lines(job.size * job.size)
        job.at_terms, at = at, at + whole_lines(
            2 * grid.rows.blocks * grid.columns.blocks * sizeof(void *))
        cut.of_thread, cut.scratch_bytes = at, at + grid.bytes // workers
        cut.workers, cut.n_tiles = workers, 0
        cut.kernel_name = f"fc_f64_fft_{job.n}x{job.n}_{active_isa()}"
        return cut

    def run(self, ndarray x, ndarray w, bias, ndarray y, fill, int workers):
        """Compute y; see gemm.Gemm.run."""
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        cdef image_t image, outputs
        cdef weights_t weights
        cdef Py_ssize_t n, g
        problem, margins = self.problem, (self.rows, self.columns)
        if not certificate.is_moderate(w):
            definition_of(problem, *margins).run(x, w, bias, y, fill, workers)
            return
        x, w = aligned(x), aligned(w)
        constant = float(certificate.fill_of(problem, fill))
        memcpy(&job.fill[0], <const char *> fill, 16)
        grid = self.grid if constant == 0 else grid_of_size(problem, False, self.grid.size)
        image = image_of(x, x.ndim, problem.channels_last, 0)
        outputs = image_of(y, y.ndim, problem.channels_last, 0)
        weights = weights_of(w, w.ndim, 0)
        call = _Call(problem, grid, (x, w, bias, y, fill), workers)
        set_memory(&job.double_, call.spectra[0], grid)
        set_memory(&job.single, call.spectra[1], grid)
        set_grid(&job, grid)
        job.x_energies = <double *> PyArray_DATA(<ndarray> call.measures[0])
        job.x_peaks = <double *> PyArray_DATA(<ndarray> call.measures[1])
        job.w_energies = <double *> PyArray_DATA(<ndarray> call.measures[2])
        channels, kernels_ = nchw(x, problem.channels_last), four(w)
        prepared = None
        for n in range(problem.N):
            peaks = [max(peak_of(channel), abs(constant)) for channel in channels[n]]
            if not all(peak < LARGEST and not 0 < peak < SMALLEST for peak in peaks):  # NaN, too
                fft.run_image(problem, margins, call.arrays, n, workers)
                continue
            for g in range(problem.groups):
                job.x, job.y, job.w = image, outputs, weights
                job.w.data += g * weights.f
                job.x.data += n * image.n + g * image.c
                job.y.data += n * outputs.n + g * outputs.c
                job.bias = 0 if bias is None else bias.reshape(-1)[g]
                job.x_scale = 1 / (peaks[g] or 1)
                job.w_scale = 1 / (peak_of(kernels_[g]) or 1)
                if prepared != g:
                    parallel_for(transform_block, &job, job.block_rows * job.block_columns,
                                 workers, cut.of_thread, 5e-5)
                    prepared = g
                self._image(&job, cut, call, n, g)

    cdef _image(self, job_t *job, Cut cut, call, image, group):
        """Compute a channel of an image."""
        cdef Py_ssize_t row, begin, end, done = job.first_row, across = window_columns(job)
        cdef int workers = call.workers
        grid = call.grid
        boxes = np.zeros((grid.rows.tiles * grid.columns.tiles * MOST_BANDS, 4), np.intp)
        job.boxes = <Py_ssize_t *> PyArray_DATA(<ndarray> boxes)
        for row in range(0, job.tile_rows, grid.rows_at_once):
            job.tile_row0, job.n_tile_rows = row, min(grid.rows_at_once, job.tile_rows - row)
            end = min(row + job.n_tile_rows + job.block_rows - 1, job.end_row)
            begin = max(done, min(row, end))
            if begin < end:
                job.window_row0, done = begin, end
                parallel_for(transform_window, job, (end - begin) * across, workers,
                             cut.of_thread, 5e-5)
            parallel_for(multiply, job, (job.double_.n_strips + job.single.n_strips) * CHUNKS,
                         workers, cut.of_thread, 2e-5)
            parallel_for(finish_tile, job, job.n_tile_rows * job.tile_columns, workers,
                         cut.of_thread, 5e-5)
        boxes = boxes[boxes[:, 1] > 0]
        if len(boxes):
            certificate.compute_boxes(self.problem, (self.rows, self.columns), call.arrays, image,
                                      group, boxes.tolist(), workers)


cdef set_sizes(precision_t *of, Py_ssize_t n):
    cdef Py_ssize_t row = 2 * of.kernel.lanes * of.kernel.item_bytes
    of.n_strips = (n // 2 + 1 + of.kernel.lanes - 1) // of.kernel.lanes
    of.strip_bytes = (n + 1) * row      # strips must not share cache sets
    of.bytes = of.n_strips * of.strip_bytes


cdef set_grid(job_t *job, grid):
    job.tile_rows, job.tile_columns = grid.rows.tiles, grid.columns.tiles
    job.block_rows, job.block_columns = grid.rows.blocks, grid.columns.blocks
    job.first_row, job.end_row = grid.rows.first, grid.rows.end
    job.first_column, job.end_column = grid.columns.first, grid.columns.end
    job.ring = grid.rows_at_once + grid.rows.blocks - 1


cdef set_memory(precision_t *of, list memory, grid):
    """Make the arrays of all spectra, which `memory` keeps alive."""
    for n in (
        (grid.rows_at_once + grid.rows.blocks - 1) * (grid.columns.end - grid.columns.first),
        grid.rows.blocks * grid.columns.blocks,
        grid.rows_at_once * grid.columns.tiles,
    ):
        array = np.empty(n * of.bytes + 64, np.uint8)
        memory.append(array[-array.ctypes.data % 64:])
    of.x = <char *> PyArray_DATA(<ndarray> memory[0])
    of.w = <char *> PyArray_DATA(<ndarray> memory[1])
    of.y = <char *> PyArray_DATA(<ndarray> memory[2])


class _Call:
    """The arrays of a call, and memory."""

    def __init__(self, problem, grid, arrays, workers):
        self.arrays, self.grid, self.workers = arrays, grid, workers
        self.spectra = [], []
        windows = grid.rows.end - grid.rows.first, grid.columns.end - grid.columns.first
        self.measures = (
            np.empty(windows), np.empty(windows),
            np.empty((grid.rows.blocks, grid.columns.blocks)),
        )


def peak_of(a):
    """The largest magnitude, or NaN."""
    return max(float(a.max()), -float(a.min()))
