# SPDX-License-Identifier: BSD-3-Clause
"""Kernels about as large as the image: transforms of large tiles, by kernels of our own.

    for tile in (images x groups x rows x columns x chunks of kernels)
      for block of rows of x and of w                                 parallel_for
        stage, transpose; transform pairs of rows; untangle them      into planes
      for strip of frequencies along the rows                         parallel_for
        transform the columns of x and of w, sum their products, transform back
      for block of rows of outputs                                    parallel_for
        entangle pairs of rows; transform back; store
      certify outputs; repair some by stencil or gemm                 certificate.py

The three loops share planes of frequencies: strip after strip of `lanes` of them, each with the
rows of x, of w and of the outputs, which take the place of the others where that is possible. A
real row has half as many frequencies as numbers.

Everything is computed in double. For doubles, |x| * |w| goes the same way in single precision, and
its last loop confirms outputs instead of storing them. An image with numbers that are not finite,
or too large or small to be squared, is left to `fft`.
"""

import math
from itertools import product

import numpy as np

from libc.math cimport fabs
from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport (
    aligned, image_of, image_t, weights_of, weights_t,
)
from fastcorr._algorithms.parallel cimport parallel_for, whole_lines
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport (
    FC_COMPUTE_F32, FC_COMPUTE_F64, FC_PAD, fc_kernels_t, fc_window_t,
)

from fastcorr._algorithms import certificate, fft
from fastcorr._algorithms.arrays import nchw
from fastcorr._algorithms.certificate import (
    LARGEST, NORM_ERROR, SMALLEST, TYPICAL_ERROR, UNITS_OF_DOUBLE, UNITS_OF_SINGLE,
)
from fastcorr._algorithms.fft_large_cuts import grid_of
from fastcorr._algorithms.lines import NOTHING as _NOTHING, tables_of
from fastcorr._algorithms.twiddles import order_of, twiddles_of
from fastcorr._kernels.dispatch import active_isa, element_code

import_array()

cdef enum:
    SUMS = 8            # terms of a sum in one accumulator
    CHUNK = 256         # columns that are staged at once

cdef Py_ssize_t NOTHING = _NOTHING


# The rows of x, or of w, that are transformed: planes of n_rows each, for each term of a kernel.
ctypedef struct source_t:
    const char *data                # of the first channel (and kernel)
    Py_ssize_t f, c, h, w           # strides, in bytes
    int type
    const char *fill
    Py_ssize_t n_planes, n_rows
    Py_ssize_t first                # row, of those of all planes, of the first plane
    Py_ssize_t step                 # from kernel to kernel
    const Py_ssize_t *rows          # [row phase][n_rows] of the image, or -1
    const Py_ssize_t *places        # [row phase][n_rows] in the transform
    const Py_ssize_t *counts        # [row phase]
    const Py_ssize_t *columns       # [column phase][n2] of the image, or -1
    const Py_ssize_t *runs          # [column phase][n_runs][end, step], see lines.py
    Py_ssize_t n_runs
    double scale                    # of magnitudes
    double unit                     # of spectra
    double *energies                # [plane][block]
    double *peaks


ctypedef struct job_t:
    const fc_kernels_t *kernel      # of double
    const fc_kernels_t *own         # of what is transformed
    bint is_magnitude               # |x| * |w|
    source_t x
    source_t w
    image_t y                       # data: the tile's first output, for kernel 0 of the chunk
    int y_type
    const double *bias              # [kernel of the chunk], or NULL
    Py_ssize_t n1, n2, n_strips
    const void *twiddles1
    const void *twiddles2
    const Py_ssize_t *order
    Py_ssize_t n_terms, n_phases, n_f
    const Py_ssize_t *phases        # [phase][row phase, column phase], by their number
    Py_ssize_t rows, columns        # of the tile
    Py_ssize_t y_first, y_step, y_rows
    char *planes
    Py_ssize_t strip_rows
    # certificate
    const double *thresholds        # [kernel] of |y|
    const double *needed            # [kernel] of |x| * |w|, times the shares
    const double *slack             # [kernel] and more, for its errors
    const double *row_shares
    const double *column_shares
    unsigned char *doubtful         # [kernel][rows][columns]
    double *largest                 # [block of rows of outputs]
    unsigned char *any              # [block of rows of outputs]
    const Py_ssize_t *blocks        # that are finished
    Py_ssize_t at_columns, at_window, at_strip, at_block


cdef inline Py_ssize_t row_bytes_of(const job_t *job) noexcept nogil:
    """A row of a strip."""
    return 2 * job.own.lanes * job.own.item_bytes


cdef inline char *plane_row(const job_t *job, Py_ssize_t strip, Py_ssize_t row) noexcept nogil:
    return job.planes + (strip * job.strip_rows + row) * row_bytes_of(job)


cdef void stage(const job_t *job, const source_t *source, fc_window_t *win, const char *data,
                Py_ssize_t first, Py_ssize_t end, const Py_ssize_t *runs,
                double *window) noexcept nogil:
    """Columns first .. end of the rows of a window, run by run."""
    cdef const Py_ssize_t *column_bytes = win.column_bytes
    cdef Py_ssize_t at = first, last, step, i, j, k
    cdef double constant = (<const double *> source.fill)[0]
    for k in range(source.n_runs):
        last, step = min(runs[2 * k], end), runs[2 * k + 1]
        if last <= at:
            continue
        if step == NOTHING:
            for i in range(win.n_rows):
                for j in range(at - first, last - first):
                    window[i * win.pitch + j] = constant
            at = last
            continue
        win.column_bytes, win.n_columns = column_bytes + at, last - at
        win.lo, win.hi, win.step_bytes = 0, win.n_columns if step else 0, step * source.w
        job.kernel.stage[source.type](win, data, 1, 0, source.fill, window + at - first, 0)
        at = last
    win.column_bytes = column_bytes


cdef void transform_rows(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """A block of rows of x, or of w, into the planes."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t lanes = job.own.lanes, item = job.own.item_bytes, size = 2 * lanes
    cdef Py_ssize_t n_blocks = job.x.n_rows // size
    cdef const source_t *source = &job.x
    cdef Py_ssize_t plane, block, f, term, row, n, i, c, s, chunk, width, pitch = CHUNK + 16
    cdef const Py_ssize_t *phase
    cdef const Py_ssize_t *rows
    cdef const Py_ssize_t *columns
    cdef const Py_ssize_t *run
    cdef Py_ssize_t[64] row_bytes
    cdef Py_ssize_t *column_bytes = <Py_ssize_t *> (scratch + job.at_columns)
    cdef double *window = <double *> (scratch + job.at_window)
    cdef char *strip = scratch + job.at_strip
    cdef char *square = scratch + job.at_block
    cdef const char *data
    cdef fc_window_t win
    cdef double energy = 0, peak = 0
    if index >= job.x.n_planes * n_blocks:
        index -= job.x.n_planes * n_blocks
        source = &job.w
        n_blocks = job.w.n_rows // size
    plane, block = index // n_blocks, index % n_blocks
    f, term = plane // job.n_terms, plane % job.n_terms
    row = block * size
    phase = job.phases + 2 * (term % job.n_phases)
    rows = source.rows + phase[0] * source.n_rows + row
    columns = source.columns + phase[1] * job.n2
    run = source.runs + phase[1] * 2 * source.n_runs
    n = min(size, max(source.counts[phase[0]] - row, 0))
    for i in range(n):
        row_bytes[i] = rows[i] * source.h if rows[i] >= 0 else FC_PAD
    for i in range(job.n2):
        column_bytes[i] = columns[i] * source.w if columns[i] >= 0 else FC_PAD
    data = source.data + f * source.f + term // job.n_phases * source.c
    win.row_bytes, win.n_rows, win.pitch, win.column_bytes = row_bytes, n, pitch, column_bytes
    memset(window + n * pitch, 0, (size - n) * pitch * sizeof(double))
    for chunk in range((job.n2 + CHUNK - 1) // CHUNK):
        c, width = chunk * CHUNK, min(CHUNK, job.n2 - chunk * CHUNK)
        stage(job, source, &win, data, c, c + width, run, window)
        if width % lanes:
            for i in range(n):
                memset(window + i * pitch + width, 0, lanes * sizeof(double))
        if job.is_magnitude and item == 8:
            for i in range(n * pitch):
                window[i] = fabs(window[i]) * source.scale
        for i in range((width + lanes - 1) // lanes):
            s = i * lanes
            if job.is_magnitude and item == 4:
                job.kernel.fft_magnitudes(lanes, window + s, window + lanes * pitch + s, pitch,
                                          source.scale, <float *> square)
            else:
                job.kernel.fft_load(lanes, window + s, window + lanes * pitch + s, pitch, square,
                                    &energy, &peak)
            job.own.fft_transpose(lanes, square, strip + (c + s) * size * item, 0)
    job.own.fft_forward(job.n2, job.twiddles2, strip)
    job.own.fft_untangle(
        job.n2, job.order, source.unit, strip,
        plane_row(job, 0, source.first + f * source.step + term * source.n_rows + row),
        job.strip_rows * size)
    source.energies[index], source.peaks[index] = energy, peak


cdef void place_rows(const job_t *job, const source_t *source, Py_ssize_t strip, Py_ssize_t f,
                     Py_ssize_t term, char *to) noexcept nogil:
    """The rows of a plane where the transform of columns has them."""
    cdef Py_ssize_t size = row_bytes_of(job), i
    cdef Py_ssize_t phase = job.phases[2 * (term % job.n_phases)]
    cdef const Py_ssize_t *places = source.places + phase * source.n_rows
    cdef const char *rows = plane_row(
        job, strip, source.first + f * source.step + term * source.n_rows)
    memset(to, 0, job.n1 * size)
    for i in range(source.counts[phase]):
        memcpy(to + places[i] * size, rows + i * size, size)


cdef void transform_columns(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """A strip of frequencies: from those of x and w to those of the outputs."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t size = row_bytes_of(job), whole = job.n1 * size, f, term, used
    cdef char *weights = scratch + job.at_strip
    cdef char *total = weights + whole
    cdef char *partial = total + whole
    cdef char *images = partial + (whole if job.n_terms > SUMS else 0)
    cdef char *sum
    for term in range(job.n_terms):
        place_rows(job, &job.x, index, 0, term, images + term * whole)
        job.own.fft_forward(job.n1, job.twiddles1, images + term * whole)
    for f in range(job.n_f):
        for term in range(job.n_terms):
            place_rows(job, &job.w, index, f, term, weights)
            job.own.fft_forward(job.n1, job.twiddles1, weights)
            sum = total if term < SUMS else partial
            job.own.fft_multiply(job.n1, images + term * whole, weights, sum, term % SUMS > 0)
            if term >= SUMS and (term % SUMS == SUMS - 1 or term == job.n_terms - 1):
                job.own.add(2 * job.own.lanes * job.n1, partial, total)
        job.own.fft_inverse(job.n1, job.twiddles1, total)
        used = job.rows * size
        memcpy(plane_row(job, index, job.y_first + f * job.y_step), total, used)
        memset(plane_row(job, index, job.y_first + f * job.y_step + job.rows), 0,
               (job.y_rows - job.rows) * size)


cdef void finish_rows(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """A block of rows of outputs, stored; or of |x| * |w|, held against what is needed."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t lanes = job.own.lanes, item = job.own.item_bytes, size = 2 * lanes
    cdef Py_ssize_t n_blocks = job.y_rows // size, at = job.blocks[index], f = at // n_blocks
    cdef Py_ssize_t row0 = at % n_blocks * size, row, c, n, n_rows, half, pair, k
    cdef Py_ssize_t whole = lanes * size * item     # a square, of both parts
    cdef char *strip = scratch + job.at_strip
    cdef char *square = scratch + job.at_block
    cdef char *part
    cdef double largest = 0
    cdef bint any = False
    job.own.fft_entangle(job.n2, job.order, plane_row(job, 0, job.y_first + f * job.y_step + row0),
                         job.strip_rows * size, strip)
    job.own.fft_inverse(job.n2, job.twiddles2, strip)
    # Two squares at a time: rows of y that lie 4096 bytes apart share a set of the first cache,
    # which must not lose half a line before it gets the other half.
    for pair in range((job.columns + 2 * lanes - 1) // (2 * lanes)):
        for k in range(2):
            c = (2 * pair + k) * lanes
            if c < job.columns:
                job.own.fft_transpose(lanes, strip + c * size * item, square + k * whole, 0)
        for half in range(2):
            row = row0 + half * lanes
            n_rows = min(lanes, job.rows - row)
            for k in range(2):
                c = (2 * pair + k) * lanes
                n = min(lanes, job.columns - c)
                if n_rows <= 0 or n <= 0:
                    break
                part = square + k * whole + half * lanes * item
                if job.is_magnitude:
                    largest = max(largest, job.own.fft_largest(n_rows, n, part))
                    any |= confirm(job, f, row, c, n_rows, n, part)
                else:
                    any |= store(job, f, row, c, n_rows, n, part, square + 2 * whole)
    job.largest[at] = largest
    job.any[at] = any


cdef inline unsigned char *flags_of(const job_t *job, Py_ssize_t f, Py_ssize_t row,
                                    Py_ssize_t column) noexcept nogil:
    return job.doubtful + (f * job.rows + row) * job.columns + column


cdef bint store(const job_t *job, Py_ssize_t f, Py_ssize_t row, Py_ssize_t column,
                Py_ssize_t n_rows, Py_ssize_t n, const char *part, char *scratch) noexcept nogil:
    """Store a square of outputs; flag those that are small."""
    cdef unsigned char *flags = <unsigned char *> scratch
    cdef Py_ssize_t lanes = job.own.lanes, i
    cdef char *y = job.y.data + f * job.y.c + row * job.y.h + column * job.y.w
    if not job.kernel.fft_store(n_rows, n, part, 0 if job.bias == NULL else job.bias[f],
                                job.thresholds[f], y, job.y_type, job.y.h, job.y.w, flags, lanes):
        return False
    for i in range(n_rows):
        memcpy(flags_of(job, f, row + i, column), flags + i * lanes, n)
    return True


cdef bint confirm(const job_t *job, Py_ssize_t f, Py_ssize_t row, Py_ssize_t column,
                  Py_ssize_t n_rows, Py_ssize_t n, const char *part) noexcept nogil:
    """Whether |x| * |w| is not large enough everywhere; flags where not, if there are flags."""
    cdef Py_ssize_t size = 2 * job.own.lanes, i, j
    cdef double needed = job.needed[f], slack = job.slack[f], most_rows = 0, most_columns = 0
    cdef double here, value
    cdef unsigned char[16 * 16] passed
    cdef bint any = False
    for i in range(n_rows):
        most_rows = max(most_rows, job.row_shares[row + i])
    for j in range(n):
        most_columns = max(most_columns, job.column_shares[column + j])
    memset(passed, 255, sizeof(passed))
    if not job.own.fft_confirm(n_rows, n, part, most_rows * most_columns * needed + slack,
                               passed, 16):
        return False
    for i in range(n_rows):
        for j in range(n):
            here = job.row_shares[row + i] * job.column_shares[column + j]
            if job.own.item_bytes == 4:
                value = (<const float *> part)[i * size + j]
            else:
                value = (<const double *> part)[i * size + j]
            if not value >= here * needed + slack:
                any = True
                if job.doubtful != NULL:
                    flags_of(job, f, row + i, column + j)[0] = 1
    return any


cdef class Cut(TiledCut):
    """The memory of that many threads."""


cdef class FftLarge(Tiled):
    """The algorithm for one problem: see tiled.Tiled for the meaning of the arguments."""

    cdef readonly str reason
    cdef list phases                # of rows, of columns: (phase, its taps, their places)
    cdef object pairs
    cdef dict tables                # of lines, which several threads may change at once
    cdef Py_ssize_t channels, kernels, n_terms

    def __init__(self, problem, rows, columns):
        Tiled.__init__(self, problem, rows, columns)
        self.tables = {}
        self.channels = problem.C // problem.groups
        self.kernels = problem.F // problem.groups
        self.phases = [
            fft.phases_of_taps(*axis)
            for axis in zip((problem.KH, problem.KW), problem.stride, problem.dilation, strict=True)
        ]
        self.pairs = np.array(list(product(*(range(len(p)) for p in self.phases))), np.intp)
        self.n_terms = self.channels * len(self.pairs)
        grid = grid_of(problem, True)
        self.reason = (
            f"large kernels: transforms of {grid.rows.n}x{grid.columns.n} points, "
            f"{grid.rows.count * grid.columns.count} per image"
        )

    def prepare(self, w, budget):
        """This runner, or why it cannot serve these kernels; `_plan` has the contract."""
        return certificate.refusal(self.problem, w) or self

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        grid = grid_of(self.problem, True)
        lanes = kernels(FC_COMPUTE_F64).lanes
        strips = -(-(grid.columns.n // 2 + 1) // lanes)
        total = strips * grid.planes.total * 16 * lanes
        cut.workers = workers
        cut.n_tiles = 0
        cut.scratch_bytes = self._scratch(grid, NULL) + total // workers
        cut.kernel_name = f"fc_f64_fft_{grid.rows.n}x{grid.columns.n}_{active_isa()}"
        return cut

    cdef Py_ssize_t _scratch(self, grid, job_t *job):
        """The scratch memory of a thread, and the places in it."""
        cdef Py_ssize_t at = 0, columns, window, strip, block, longest
        columns, at = at, at + whole_lines(grid.columns.n * sizeof(Py_ssize_t))
        window, at = at, at + whole_lines(32 * (CHUNK + 16) * sizeof(double))
        block, at = at, at + whole_lines(2 * 16 * 32 * 4 + 16 * 16)
        strip = at
        longest = (2 + self.n_terms + (self.n_terms > SUMS)) * grid.rows.n
        at += whole_lines(max(longest, grid.columns.n + 16) * 128)
        if job != NULL:
            job.at_columns, job.at_window = columns, window
            job.at_strip, job.at_block = strip, block
        return at

    def run(self, ndarray x, w, bias, ndarray y, fill, int workers):
        """Compute y; see gemm.Gemm.run."""
        problem = self.problem
        call = _Call(problem, (self.rows, self.columns), aligned(x), aligned(w), bias, y, fill)
        rows, columns = call.grid.rows, call.grid.columns
        places = list(product(
            range(problem.groups), range(rows.count), range(columns.count),
            range(0, self.kernels, call.grid.planes.kernels),
        ))
        for image in range(problem.N):
            if not all(self._tile(call, image, *place, workers) for place in places):
                fft.run_image(problem, (self.rows, self.columns), call.arrays, image, workers)
                continue
            for axis, cut in ((1, rows), (2, columns)):
                outputs = call.y[image]
                n = outputs.shape[axis]
                if cut.size * cut.count < n:  # more outputs than one period
                    rest = (slice(None),) * axis + (slice(cut.size, None),)
                    outputs[rest] = np.take(outputs, np.arange(cut.size, n) % cut.size, axis)

    def _tables(self, call, row_tile, column_tile):
        """The lines of x and of w along both axes."""
        key = bool(call.fill == 0), row_tile, column_tile
        if key not in self.tables:
            self.tables[key] = tables_of(
                self.problem, (self.rows, self.columns), call.grid, self.phases, call.fill,
                (row_tile, column_tile))
        return self.tables[key]

    def _tile(self, call, image, group, row_tile, column_tile, f0, workers):
        """Compute a chunk of kernels in a tile; False where its numbers are not for transforms."""
        cdef job_t job
        problem, grid, planes = self.problem, call.grid, call.grid.planes
        memset(&job, 0, sizeof(job_t))
        corner = row_tile * grid.rows.size, column_tile * grid.columns.size
        size = (min(grid.rows.size, problem.OH - corner[0]),
                min(grid.columns.size, problem.OW - corner[1]))
        n_f = min(planes.kernels, self.kernels - f0)
        f = group * self.kernels + f0
        tile = _Tile(call, image, group, f, n_f, corner, size, workers)
        self._fill_job(&job, call, tile, row_tile, column_tile)
        values = self._transform(&job, call, tile, np.float64, None)
        if values is None:
            return False
        (x_energies, x_peaks), (w_energies, w_peaks) = values
        norms = (np.sqrt(x_energies) * np.sqrt(w_energies)).sum(axis=1)     # by kernel
        levels = math.log2(grid.rows.n * grid.columns.n) + 2 * math.sqrt(self.n_terms)
        scales = x_peaks.max(), w_peaks.max()
        if problem.dtype.char != "d":
            self._store_single(&job, call, tile, norms, levels, scales)
        else:
            self._store_double(&job, call, tile, norms, levels, scales)
        if tile.flags is None:
            return True
        for k, flags in enumerate(tile.flags.view(bool)):
            if flags.any():
                certificate.repair(
                    problem, (self.rows, self.columns), call.arrays, image, f + k, corner, flags,
                    workers)
        return True

    cdef _store_single(self, job_t *job, call, tile, norms, levels, scales):
        """Store outputs; flag those for which neither |y| nor |x| * |w| is large enough."""
        problem, unit = self.problem, scales[0] * scales[1]
        error = NORM_ERROR * levels * norms * 2.0**-53
        needed = error / (UNITS_OF_SINGLE * np.finfo(problem.dtype).eps / 2)
        tile.flags = np.zeros((tile.n_f, *tile.size), np.uint8)
        found = self._finish(job, tile, error + needed, None, None)[1]
        if not found.any():
            tile.flags = None
        elif np.count_nonzero(tile.flags.view(bool)) <= certificate.FEW_TO_SUM:
            for k, row, column in _flagged(tile.flags, found, call.grid.planes.y):
                place = tile.corner[0] + row, tile.corner[1] + column
                least = needed[k] * tile.shares[0][row] * tile.shares[1][column]
                tile.flags[k, row, column] = not certificate.has_at_least(
                    problem, (self.rows, self.columns), call.arrays, tile.image, tile.f + k, place,
                    least)
        else:
            self._transform(job, call, tile, np.float64, scales)
            tile.flags[:] = 0
            self._finish(job, tile, None, needed / unit, error / unit)

    cdef _store_double(self, job_t *job, call, tile, norms, levels, scales):
        """Store outputs; flag those for which |x| * |w| is not large enough."""
        grid, unit = call.grid, scales[0] * scales[1]
        self._finish(job, tile, np.full(tile.n_f, -np.inf), None, None)
        if not (scales[0] > 0 and scales[1] > 0):
            return
        self._transform(job, call, tile, np.float32, scales)
        slack = NORM_ERROR * levels * norms * 2.0**-24
        of_peak = certificate.peak_error(grid.rows.n, grid.columns.n)
        of_norms = TYPICAL_ERROR / math.sqrt(grid.rows.n * grid.columns.n)
        most, blocks = norms, None
        for is_last in (False, True):
            error = (of_norms * norms + of_peak * most) * math.sqrt(levels) * 2.0**-53
            needed = error / (UNITS_OF_DOUBLE * 2.0**-53)
            largest, found = self._finish(job, tile, None, needed / unit, slack / unit, blocks)
            if not found.any():
                tile.flags = None
                return
            if not is_last:
                # Again with the largest |x| * |w|, now known, and flags.
                most = np.minimum(most, largest.max(axis=1) * unit + slack)
                blocks = np.flatnonzero(found)
                tile.flags = np.zeros((tile.n_f, *tile.size), np.uint8)

    cdef _fill_job(self, job_t *job, call, tile, row_tile, column_tile):
        """What both precisions share."""
        problem, grid, planes = self.problem, call.grid, call.grid.planes
        cdef ndarray x = call.arrays[0], y = call.arrays[3], w = call.arrays[1]
        cdef weights_t strides = weights_of(w, w.ndim, 0)
        cdef image_t image = image_of(x, x.ndim, problem.channels_last, 0)
        job.kernel = kernels(FC_COMPUTE_F64)
        job.y = image_of(y, y.ndim, problem.channels_last, 0)
        job.y.data += (
            <Py_ssize_t> tile.image * job.y.n + <Py_ssize_t> tile.f * job.y.c
            + <Py_ssize_t> tile.corner[0] * job.y.h + <Py_ssize_t> tile.corner[1] * job.y.w
        )
        job.y_type = element_code(problem.dtype)
        job.n_terms, job.n_phases, job.n_f = self.n_terms, len(self.pairs), tile.n_f
        job.n1, job.n2 = grid.rows.n, grid.columns.n
        job.phases = <const Py_ssize_t *> PyArray_DATA(<ndarray> self.pairs)
        order = order_of(grid.columns.n)
        job.order = <const Py_ssize_t *> PyArray_DATA(<ndarray> order)
        job.rows, job.columns = tile.size
        job.x.data = image.data + <Py_ssize_t> tile.image * image.n + (
            <Py_ssize_t> tile.group * self.channels * image.c)
        job.x.f, job.x.c, job.x.h, job.x.w = 0, image.c, image.h, image.w
        job.x.type = element_code(x.dtype)
        job.w.data = strides.data + <Py_ssize_t> tile.f * strides.f
        job.w.f, job.w.c, job.w.h, job.w.w = strides.f, strides.c, strides.kh, strides.kw
        job.w.type = element_code(w.dtype)
        job.x.n_planes, job.w.n_planes = self.n_terms, self.n_terms * tile.n_f
        job.x.n_rows, job.w.n_rows, job.y_rows = planes.x, planes.w, planes.y
        job.strip_rows = planes.total + 1       # strips must not share cache sets
        job.x.first, job.x.step, job.w.first = 0, 0, self.n_terms * planes.x
        job.w.step = job.y_step = max(self.n_terms * planes.w, planes.y)
        job.y_first = 0 if planes.kernels == 1 else job.w.first
        rows, columns = self._tables(call, row_tile, column_tile)
        set_lines(&job.x, rows[0], columns[0])
        set_lines(&job.w, rows[1], columns[1])
        constants = np.array([np.real(call.fill), 0.0])
        job.x.fill = <const char *> PyArray_DATA(<ndarray> constants)
        job.w.fill = job.x.fill + sizeof(double)
        shares = tile.shares
        job.row_shares = <const double *> PyArray_DATA(<ndarray> shares[0])
        job.column_shares = <const double *> PyArray_DATA(<ndarray> shares[1])
        tile.arrays += [order, rows, columns, constants, shares]
        if call.arrays[2] is not None:
            bias = call.arrays[2].reshape(-1)[tile.f : tile.f + tile.n_f].astype(np.float64)
            job.bias = <const double *> PyArray_DATA(<ndarray> bias)
            tile.arrays.append(bias)

    cdef _transform(self, job_t *job, call, tile, dtype, scales):
        """Into the planes: the frequencies of the outputs, or of |x| * |w| over the scales.

        Returns, of x and of w, the energies and peaks, each (kernels, channels); None where these
        are not for transforms.
        """
        grid = call.grid
        cdef Py_ssize_t lanes, scratch, n_blocks
        job.own = kernels(FC_COMPUTE_F32 if dtype == np.float32 else FC_COMPUTE_F64)
        job.is_magnitude = scales is not None
        lanes = job.own.lanes
        twiddles = [twiddles_of(n, dtype) for n in (grid.rows.n, grid.columns.n)]
        tile.arrays.append(twiddles)
        job.twiddles1 = <const void *> PyArray_DATA(<ndarray> twiddles[0])
        job.twiddles2 = <const void *> PyArray_DATA(<ndarray> twiddles[1])
        job.n_strips = -(-(grid.columns.n // 2 + 1) // lanes)
        planes = call.planes_of(job.n_strips * job.strip_rows * row_bytes_of(job))
        job.planes = <char *> PyArray_DATA(<ndarray> planes)
        job.x.unit, job.w.unit = 1.0, 1.0 / (grid.rows.n * grid.columns.n)
        job.x.scale, job.w.scale = (1 / scales[0], 1 / scales[1]) if job.is_magnitude else (1, 1)
        shapes = [
            (2, n_kernels, self.channels, self.n_terms // self.channels, n_rows // (2 * lanes))
            for n_kernels, n_rows in ((1, job.x.n_rows), (job.n_f, job.w.n_rows))
        ]
        measured = [np.zeros(shape) for shape in shapes]
        set_measures(&job.x, measured[0])
        set_measures(&job.w, measured[1])
        scratch = self._scratch(grid, job)
        n_blocks = (job.x.n_planes * job.x.n_rows + job.w.n_planes * job.w.n_rows) // (2 * lanes)
        parallel_for(transform_rows, job, n_blocks, tile.workers, scratch, 2e-5)
        found = [(e.sum(axis=(2, 3)), p.max(axis=(2, 3))) for e, p in measured]
        if not job.is_magnitude:
            for energy, peak in found:
                if not energy.sum() < LARGEST**2 or 0 < peak.max() < SMALLEST:
                    return None
        parallel_for(transform_columns, job, job.n_strips, tile.workers, scratch, 1e-4)
        return found

    cdef _finish(self, job_t *job, tile, thresholds, needed, slack, blocks=None):
        """From the planes to the outputs, or to flags, in all blocks of rows, or in some.

        Returns the largest |x| * |w| and whether any is too small, each (kernels, blocks).
        """
        cdef Py_ssize_t n_blocks = job.y_rows // (2 * job.own.lanes)
        largest = np.zeros((job.n_f, n_blocks))
        any_flags = np.zeros((job.n_f, n_blocks), np.uint8)
        if job.is_magnitude:
            job.needed = <const double *> PyArray_DATA(<ndarray> needed)
            job.slack = <const double *> PyArray_DATA(<ndarray> slack)
        else:
            job.thresholds = <const double *> PyArray_DATA(<ndarray> thresholds)
        job.largest = <double *> PyArray_DATA(<ndarray> largest)
        job.any = <unsigned char *> PyArray_DATA(<ndarray> any_flags)
        blocks = np.arange(any_flags.size) if blocks is None else blocks
        job.blocks = <const Py_ssize_t *> PyArray_DATA(<ndarray> blocks)
        job.doubtful = NULL
        if tile.flags is not None:
            job.doubtful = <unsigned char *> PyArray_DATA(<ndarray> tile.flags)
        parallel_for(finish_rows, job, len(blocks), tile.workers, self._scratch(
            tile.call.grid, NULL), 2e-5)
        return largest, any_flags


cdef set_lines(source_t *source, rows, columns):
    source.rows = <const Py_ssize_t *> PyArray_DATA(<ndarray> rows.sources)
    source.places = <const Py_ssize_t *> PyArray_DATA(<ndarray> rows.places)
    source.counts = <const Py_ssize_t *> PyArray_DATA(<ndarray> rows.counts)
    source.columns = <const Py_ssize_t *> PyArray_DATA(<ndarray> columns.sources)
    source.runs = <const Py_ssize_t *> PyArray_DATA(<ndarray> columns.runs)
    source.n_runs = columns.runs.shape[1]


cdef set_measures(source_t *source, measured):
    source.energies = <double *> PyArray_DATA(<ndarray> measured[0])
    source.peaks = <double *> PyArray_DATA(<ndarray> measured[1])


class _Call:
    """The arrays of a call, how they are cut, and memory that its tiles use one after the other."""

    def __init__(self, problem, margins, x, w, bias, y, fill):
        self.arrays = x, w, bias, y, fill
        self.y = nchw(y, problem.channels_last)
        self.fill = certificate.fill_of(problem, fill)
        self.problem = problem
        self.grid = grid_of(problem, bool(self.fill == 0))
        self.memory = np.empty(0, np.uint8)

    def planes_of(self, size):
        """That many bytes, at a cache line."""
        if self.memory.size < size + 64:
            self.memory = None
            self.memory = np.empty(size + 64, np.uint8)
        first = -self.memory.ctypes.data % 64
        return self.memory[first : first + size]


class _Tile:
    """Outputs that are computed together."""

    def __init__(self, call, image, group, f, n_f, corner, size, workers):
        self.call, self.image, self.group, self.f, self.n_f = call, image, group, f, n_f
        self.corner, self.size, self.workers = corner, size, workers
        self.flags = None
        self.arrays = []  # that a job points into
        self.shares = certificate.shares_of(call.problem, call.fill, corner, size)


def _flagged(flags, found, n_rows):
    """The places (kernel, row, column) of flags; they are in the blocks of rows that were found."""
    places, size = [], n_rows // found.shape[1]
    for k, block in np.argwhere(found).tolist():
        for row, column in np.argwhere(flags[k, block * size : (block + 1) * size]).tolist():
            places.append((k, block * size + row, column))
    return places
