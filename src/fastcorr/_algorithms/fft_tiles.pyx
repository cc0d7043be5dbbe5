# SPDX-License-Identifier: BSD-3-Clause
"""Kernels of middle size: small overlapping tiles, transformed by kernels of our own.

    spectra of w and, for double, of |w|                        once for a chunk of kernels
    for pair of tiles in (images x groups x rows x columns)     parallel_for
      for channel and phase of the stride
        stage the two windows: one is the real, one the imaginary part       fc_stage
        transform columns, transpose, transform rows                         fourier.inc
      for kernel
        for double: |x| * |w| in single precision, the same way
        sum the products of the spectra; transform back; store; certify
    compute boxes of doubtful outputs again, from the definition

x and w are real, so a complex transform correlates two tiles at once. Both are of one image: what
else is in a batch changes nothing. A thread's tile stays in its second-level cache. Everything is
computed in double; what `certificate` says of errors holds, with norms over the pair.
"""

import math
from typing import NamedTuple

import numpy as np

from libc.math cimport INFINITY, sqrt
from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport aligned, image_of, image_t
from fastcorr._algorithms.parallel cimport parallel_for, whole_lines
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, axis_t, interior, positions
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport (
    FC_COMPUTE_F32, FC_COMPUTE_F64, fc_kernels_t, fc_window_t,
)

from fastcorr._algorithms.certificate import (
    LARGEST, NORM_ERROR, PEAK_ERROR, SMALLEST, TYPICAL_ERROR, UNITS_OF_DOUBLE, UNITS_OF_SINGLE,
    is_moderate, phases_of, refusal, settle,
)
from fastcorr._algorithms.definition import definition_of
from fastcorr._algorithms.fft_tiles_cuts import SPECTRA_BYTES, TILES_BYTES, grid_of
from fastcorr._algorithms.twiddles import twiddles_of
from fastcorr._kernels.dispatch import active_isa, compute_dtype, element_code

import_array()

KEPT_BYTES = 64 * 2**20     # of the spectra of w that a bound runner keeps

cdef enum:
    SUMS = 8            # terms of a sum in one accumulator


ctypedef struct job_t:
    const fc_kernels_t *kernel
    const fc_kernels_t *single
    image_t x
    image_t y
    const double *w                 # (F, channels, KH, KW)
    const double *bias              # [F], or NULL
    char fill[16]
    int x_type, y_type
    bint is_certified_in_single     # by |x| * |w|: for double
    Py_ssize_t channels, m, kh, kw, oh, ow
    Py_ssize_t n1, n2, pitch, tile_rows, tile_columns, n_row_tiles, n_column_tiles
    axis_t rows
    axis_t columns
    # terms: the channel, the phases of the stride, and the places of the phases' taps
    Py_ssize_t n_terms, n_phases
    const Py_ssize_t *phases        # [phase][row phase, column phase]
    Py_ssize_t stride_y, stride_x, dilation_y, dilation_x
    # the chunk: kernels f0 .. f0 + n_f of groups group0 .. group0 + n_groups
    Py_ssize_t group0, n_groups, f0, n_f
    double *spectra                 # [group][f][term][2 n1 n2], those of |w| behind
    float *magnitudes
    const double *norms             # [F][channels] the 2-norms of w
    const double *sums              # [F][channels] the sums of |w|
    const double *largest           # [F] the largest |w|
    int *boxes                      # [item][half][f][row, end, column, end] of doubtful outputs
    const double *twiddles1
    const double *twiddles2
    const float *single_twiddles1
    const float *single_twiddles2
    double levels, unit
    double norm_error, typical_error, peak_error, units, greatest, smallest
    # places in scratch memory
    Py_ssize_t at_rows, at_columns, at_planes, at_strip, at_spectra, at_singles, at_single
    Py_ssize_t at_doubtful


ctypedef struct half_t:
    Py_ssize_t row0, column0, rows, columns


cdef void forward(const job_t *job, const double *re, const double *im, double *spectrum,
                  double *strip, double *energy, double *largest) noexcept nogil:
    """The spectrum of a matrix re + i im, in strips of transformed rows."""
    cdef Py_ssize_t s, lanes = job.kernel.lanes, size = 2 * lanes * job.n2
    for s in range(job.n2 // lanes):
        job.kernel.fft_load(job.n1, re + s * lanes, NULL if im == NULL else im + s * lanes,
                            job.pitch, strip, energy, largest)
        job.kernel.fft_forward(job.n1, job.twiddles1, strip)
        job.kernel.fft_transpose(job.n1, strip, spectrum + s * lanes * 2 * lanes, size)
    for s in range(job.n1 // lanes):
        job.kernel.fft_forward(job.n2, job.twiddles2, spectrum + s * size)


cdef void forward_single(const job_t *job, const double *re, const double *im, double scale,
                         float *spectrum, float *strip) noexcept nogil:
    """The same of |re| + i |im|, in single precision."""
    cdef Py_ssize_t s, lanes = job.single.lanes, size = 2 * lanes * job.n2
    for s in range(job.n2 // lanes):
        job.kernel.fft_magnitudes(job.n1, re + s * lanes, NULL if im == NULL else im + s * lanes,
                                  job.pitch, scale, strip)
        job.single.fft_forward(job.n1, job.single_twiddles1, strip)
        job.single.fft_transpose(job.n1, strip, spectrum + s * lanes * 2 * lanes, size)
    for s in range(job.n1 // lanes):
        job.single.fft_forward(job.n2, job.single_twiddles2, spectrum + s * size)


cdef void backward(const job_t *job, const fc_kernels_t *kernel, const char *spectra,
                   const char *weights, const void *twiddles, char *strip,
                   char *out) noexcept nogil:
    """The sum of the products of spectra, with rows transformed back, in strips of columns."""
    cdef Py_ssize_t lanes = kernel.lanes, item = kernel.item_bytes, s, term
    cdef Py_ssize_t size = 2 * lanes * job.n2 * item, whole = 2 * job.n1 * job.n2 * item
    cdef char *total = strip + size
    cdef char *sum
    for s in range(job.n1 // lanes):
        for term in range(job.n_terms):
            sum = total if term < SUMS else strip
            kernel.fft_multiply(job.n2, spectra + term * whole + s * size,
                                weights + term * whole + s * size, sum, term % SUMS > 0)
            if term >= SUMS and (term % SUMS == SUMS - 1 or term == job.n_terms - 1):
                kernel.add(2 * lanes * job.n2, strip, total)
        kernel.fft_inverse(job.n2, twiddles, total)
        kernel.fft_transpose(job.n2, total, out + s * lanes * 2 * lanes * item,
                             2 * lanes * job.n1)


cdef void transform_weights(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """The spectra of a kernel's channel and phase, and of its magnitudes."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t term = index % job.n_terms, f, ky, kx, y, x, n = job.n1 * job.n2
    cdef Py_ssize_t channel = term // job.n_phases
    cdef const Py_ssize_t *phase = job.phases + 2 * (term % job.n_phases)
    cdef double *plane = <double *> (scratch + job.at_planes)
    cdef double *spectrum = job.spectra + index * 2 * n
    cdef float *single = job.magnitudes + index * 2 * n
    cdef const double *w
    cdef double energy = 0, largest = 0, scale = 1.0 / n
    f = index // job.n_terms
    f = (job.group0 + f // job.n_f) * job.m + job.f0 + f % job.n_f
    w = job.w + (f * job.channels + channel) * job.kh * job.kw
    memset(plane, 0, job.n1 * job.pitch * sizeof(double))
    for ky in range(job.kh):
        y = ky * job.dilation_y
        if y % job.stride_y != phase[0]:
            continue
        for kx in range(job.kw):
            x = kx * job.dilation_x
            if x % job.stride_x == phase[1]:
                plane[y // job.stride_y * job.pitch + x // job.stride_x] = w[ky * job.kw + kx]
    forward(job, plane, NULL, spectrum, <double *> (scratch + job.at_strip), &energy, &largest)
    multiply_by(spectrum, n, scale)
    if job.is_certified_in_single:
        forward_single(job, plane, NULL, 1 / job.largest[f], single,
                       <float *> (scratch + job.at_strip))
        multiply_by(single, n, scale)


ctypedef fused real_t:
    float
    double


cdef void multiply_by(real_t *spectrum, Py_ssize_t n, double scale) noexcept nogil:
    """The n complex numbers of a spectrum, times scale."""
    cdef Py_ssize_t i
    for i in range(2 * n):
        spectrum[i] *= <real_t> scale


cdef void stage(const job_t *job, const half_t *t, Py_ssize_t image, Py_ssize_t channel,
                const Py_ssize_t *phase, double *plane, char *scratch) noexcept nogil:
    """Copy a window of x."""
    cdef fc_window_t win
    cdef Py_ssize_t *row_bytes = <Py_ssize_t *> (scratch + job.at_rows)
    cdef Py_ssize_t *column_bytes = <Py_ssize_t *> (scratch + job.at_columns)
    cdef Py_ssize_t row = t.row0 * job.stride_y + phase[0]
    cdef Py_ssize_t column = t.column0 * job.stride_x + phase[1]
    positions(&job.rows, row, job.n1, job.x.h, row_bytes)
    positions(&job.columns, column, job.n2, job.x.w, column_bytes)
    win.row_bytes, win.column_bytes = row_bytes, column_bytes
    win.n_rows, win.n_columns, win.pitch = job.n1, job.n2, job.pitch
    win.step_bytes = job.stride_x * job.x.w
    interior(&job.columns, column, job.n2, &win.lo, &win.hi)
    job.kernel.stage[job.x_type](&win, job.x.data + image * job.x.n + channel * job.x.c, 1, 0,
                                 job.fill, plane, 0)


cdef half_t half_of(const job_t *job, Py_ssize_t tile) noexcept nogil:
    cdef half_t t
    t.row0 = tile // job.n_column_tiles * job.tile_rows
    t.column0 = tile % job.n_column_tiles * job.tile_columns
    t.rows = min(job.tile_rows, job.oh - t.row0)
    t.columns = min(job.tile_columns, job.ow - t.column0)
    return t


cdef void run_pair(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t n_tiles = job.n_row_tiles * job.n_column_tiles, n_pairs = (n_tiles + 1) // 2
    cdef Py_ssize_t pair = index % n_pairs, group = index // n_pairs % job.n_groups
    cdef Py_ssize_t image = index // (n_pairs * job.n_groups), item = index
    cdef Py_ssize_t points = job.n1 * job.n2, term, channel, i, f
    cdef int n_halves = 2 if 2 * pair + 1 < n_tiles else 1, h
    cdef half_t[2] t
    cdef double *re = <double *> (scratch + job.at_planes)
    cdef double *im = NULL
    cdef double *strip = <double *> (scratch + job.at_strip)
    cdef double *spectra = <double *> (scratch + job.at_spectra)
    cdef float *singles = <float *> (scratch + job.at_singles)
    cdef double[64] energies, peaks     # MOST_TERMS
    cdef double energy = 0, peak = 0
    cdef int *box
    t[0] = half_of(job, 2 * pair)
    if n_halves == 2:
        t[1] = half_of(job, 2 * pair + 1)
        im = re + job.n1 * job.pitch
    for term in range(job.n_terms):
        channel = (job.group0 + group) * job.channels + term // job.n_phases
        for h in range(n_halves):
            stage(job, &t[h], image, channel, job.phases + 2 * (term % job.n_phases),
                  im if h == 1 else re, scratch)
        energies[term] = peaks[term] = 0
        forward(job, re, im, spectra + term * 2 * points, strip, &energies[term], &peaks[term])
        energy += energies[term]
        peak = max(peak, peaks[term])
        if job.is_certified_in_single and 0 < peaks[term] < job.greatest:
            forward_single(job, re, im, 1 / peaks[term], singles + term * 2 * points,
                           <float *> strip)
        elif job.is_certified_in_single:
            memset(singles + term * 2 * points, 0, 2 * points * sizeof(float))
    box = job.boxes + item * 2 * job.n_f * 4
    # NaN, infinities, and numbers whose squares leave the range: the definition, for all.
    if not energy < job.greatest * job.greatest or 0 < peak < job.smallest:
        for h in range(n_halves):
            for f in range(job.n_f):
                i = (h * job.n_f + f) * 4
                box[i], box[i + 1], box[i + 2], box[i + 3] = 0, t[h].rows, 0, t[h].columns
        return
    if job.is_certified_in_single and job.n_terms > 1 and peak > 0:
        for term in range(job.n_terms):
            for i in range(2 * points):
                singles[term * 2 * points + i] *= <float> (peaks[term] / peak)
    for f in range(job.n_f):
        run_kernel(job, &t[0], n_halves, image, group, f, energies, peaks, peak, box + f * 4,
                   scratch)


cdef void run_kernel(const job_t *job, const half_t *t, int n_halves, Py_ssize_t image,
                     Py_ssize_t group, Py_ssize_t f, const double *energies, const double *peaks,
                     double peak, int *box, char *scratch) noexcept nogil:
    """One kernel's outputs of a pair of tiles."""
    cdef Py_ssize_t points = job.n1 * job.n2, lanes, s, n, term, channel, doubtful_size
    cdef Py_ssize_t at = (group * job.n_f + f) * job.n_terms * 2 * points
    cdef Py_ssize_t output = (job.group0 + group) * job.m + job.f0 + f
    cdef double *out = <double *> (scratch + job.at_planes)
    cdef float *single = <float *> (scratch + job.at_single)
    cdef unsigned char *doubtful = <unsigned char *> (scratch + job.at_doubtful)
    cdef double norms = 0, most = 0, length, largest, error, needed, unit = 0, slack = 0
    cdef double bias = 0 if job.bias == NULL else job.bias[output]
    cdef char *y
    cdef int h
    cdef bint any
    for channel in range(job.channels):
        length = largest = 0
        for term in range(channel * job.n_phases, (channel + 1) * job.n_phases):
            length += energies[term]
            largest = max(largest, peaks[term])
        length = sqrt(length)
        norms += length * job.norms[output * job.channels + channel]
        most += largest * job.sums[output * job.channels + channel]
    if job.is_certified_in_single:
        unit = peak * job.largest[output]
        backward(job, job.single, <char *> (scratch + job.at_singles),
                 <char *> (job.magnitudes + at), job.single_twiddles2,
                 scratch + job.at_strip, <char *> single)
        lanes, largest = job.single.lanes, 0
        for s in range(job.n2 // lanes):
            job.single.fft_inverse(job.n1, job.single_twiddles1, single + s * 2 * lanes * job.n1)
            for h in range(n_halves):
                n = min(lanes, t[h].columns - s * lanes)
                if n > 0:
                    largest = max(largest, job.single.fft_largest(
                        t[h].rows, n, single + (s * 2 * job.n1 + h) * lanes))
        slack = job.norm_error * job.levels * norms * 2.0**-24
        most = min(most, largest * unit + slack)
        error = job.typical_error * norms / sqrt(<double> points)
        error += job.peak_error * min(most, norms)
        error *= sqrt(job.levels) * 2.0**-53
    else:
        error = job.norm_error * job.levels * norms * 2.0**-53
    needed = error / (job.units * job.unit)
    backward(job, job.kernel, <char *> (scratch + job.at_spectra), <char *> (job.spectra + at),
             job.twiddles2, scratch + job.at_strip, <char *> out)
    doubtful_size, any, lanes = job.tile_rows * job.tile_columns, False, job.kernel.lanes
    for s in range(job.n2 // lanes):
        if s * lanes >= job.tile_columns:
            break
        job.kernel.fft_inverse(job.n1, job.twiddles1, out + s * 2 * lanes * job.n1)
        for h in range(n_halves):
            n = min(lanes, t[h].columns - s * lanes)
            if n > 0:
                y = (job.y.data + image * job.y.n + output * job.y.c + t[h].row0 * job.y.h
                     + (t[h].column0 + s * lanes) * job.y.w)
                any |= job.kernel.fft_store(
                    t[h].rows, n, out + (s * 2 * job.n1 + h) * lanes, bias, error + needed, y,
                    job.y_type, job.y.h, job.y.w,
                    doubtful + h * doubtful_size + s * lanes, job.tile_columns) != 0
    if not any:
        return
    if job.is_certified_in_single:
        any, lanes = False, job.single.lanes
        needed = (needed + slack) / unit if unit > 0 else INFINITY
        for s in range(job.n2 // lanes):
            for h in range(n_halves):
                n = min(lanes, t[h].columns - s * lanes)
                if n > 0:
                    any |= job.single.fft_confirm(
                        t[h].rows, n, single + (s * 2 * job.n1 + h) * lanes, needed,
                        doubtful + h * doubtful_size + s * lanes, job.tile_columns) != 0
        if not any:
            return
    for h in range(n_halves):
        find_box(doubtful + h * doubtful_size, t[h].rows, t[h].columns, job.tile_columns,
                 box + h * job.n_f * 4)


cdef void find_box(const unsigned char *doubtful, Py_ssize_t rows, Py_ssize_t columns,
                   Py_ssize_t pitch, int *box) noexcept nogil:
    """box = row, end, column, end of what holds all that is doubtful."""
    cdef Py_ssize_t i, j
    box[0], box[1], box[2], box[3] = <int> rows, 0, <int> columns, 0
    for i in range(rows):
        for j in range(columns):
            if doubtful[i * pitch + j]:
                box[0], box[1] = min(box[0], i), i + 1
                box[2], box[3] = min(box[2], j), max(box[3], j + 1)


cdef class Cut(TiledCut):
    """How the work is cut into tiles for one instruction set and number of threads."""

    cdef job_t job


cdef class FftTiles(Tiled):
    """The algorithm for one problem: see tiled.Tiled for the meaning of the arguments."""

    cdef job_t base
    cdef list arrays
    cdef readonly str reason
    cdef object grid
    cdef Py_ssize_t bytes_of_kernel, n_groups, n_f

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        Tiled.__init__(self, problem, rows, columns)
        memset(job, 0, sizeof(job_t))
        grid = self.grid = grid_of(problem)
        self.reason = (
            f"large kernels: transforms of {grid.rows.n}x{grid.columns.n} points, "
            f"{grid.rows.count * grid.columns.count} tiles per image"
        )
        job.x_type, job.y_type = element_code(problem.x_dtype), element_code(problem.dtype)
        job.is_certified_in_single = problem.dtype.char == "d"
        job.channels = problem.C // problem.groups
        job.m = problem.F // problem.groups
        job.kh, job.kw, job.oh, job.ow = problem.KH, problem.KW, problem.OH, problem.OW
        job.stride_y, job.stride_x = problem.stride
        job.dilation_y, job.dilation_x = problem.dilation
        job.n1, job.n2 = grid.rows.n, grid.columns.n
        job.pitch = job.n2 + 16
        job.tile_rows, job.tile_columns = grid.rows.size, grid.columns.size
        job.n_row_tiles, job.n_column_tiles = grid.rows.count, grid.columns.count
        job.rows = axis_of(rows, problem.padding[0], problem.H, problem.stride[0])
        job.columns = axis_of(columns, problem.padding[1], problem.W, problem.stride[1])
        phases = np.array([
            (row, column)
            for row in phases_of(problem.KH, problem.stride[0], problem.dilation[0])
            for column in phases_of(problem.KW, problem.stride[1], problem.dilation[1])
        ], np.intp)
        job.n_phases = len(phases)
        job.n_terms = job.n_phases * job.channels
        points = job.n1 * job.n2
        self.bytes_of_kernel = job.n_terms * points * (24 if job.is_certified_in_single else 16)
        self.n_f = max(1, min(job.m, SPECTRA_BYTES // self.bytes_of_kernel))
        self.n_groups = 1
        if self.n_f == job.m:
            self.n_groups = max(1, min(
                problem.groups, SPECTRA_BYTES // (self.bytes_of_kernel * job.m)))
        twiddles = [twiddles_of(n) for n in (grid.rows.n, grid.columns.n)]
        singles = [twiddles_of(n, np.float32) for n in (grid.rows.n, grid.columns.n)]
        self.arrays = [phases, *twiddles, *singles]
        job.phases = <const Py_ssize_t *> PyArray_DATA(<ndarray> phases)
        job.twiddles1 = <const double *> PyArray_DATA(<ndarray> twiddles[0])
        job.twiddles2 = <const double *> PyArray_DATA(<ndarray> twiddles[1])
        job.single_twiddles1 = <const float *> PyArray_DATA(<ndarray> singles[0])
        job.single_twiddles2 = <const float *> PyArray_DATA(<ndarray> singles[1])
        job.levels = math.log2(points) + 2 * math.sqrt(job.n_terms)
        job.unit = np.finfo(problem.dtype).eps / 2
        job.norm_error, job.typical_error, job.peak_error = NORM_ERROR, TYPICAL_ERROR, PEAK_ERROR
        job.units = UNITS_OF_DOUBLE if job.is_certified_in_single else UNITS_OF_SINGLE
        job.greatest, job.smallest = LARGEST, SMALLEST

    def prepare(self, w, budget):
        """This runner, or why it cannot serve these kernels; `_plan` has the contract."""
        return refusal(self.problem, w) or self

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef Py_ssize_t points = self.base.n1 * self.base.n2, at = 0, longest
        cdef Py_ssize_t singles = self.base.is_certified_in_single
        job[0] = self.base
        job.kernel, job.single = kernels(FC_COMPUTE_F64), kernels(FC_COMPUTE_F32)
        longest = max(job.n1, job.n2)
        job.at_rows, at = at, at + whole_lines(job.n1 * sizeof(Py_ssize_t))
        job.at_columns, at = at, at + whole_lines(job.n2 * sizeof(Py_ssize_t))
        job.at_planes, at = at, at + whole_lines(2 * job.n1 * job.pitch * sizeof(double))
        job.at_strip, at = at, at + whole_lines(4 * longest * 64)
        job.at_spectra, at = at, at + whole_lines(job.n_terms * 16 * points)
        job.at_singles, at = at, at + whole_lines(singles * job.n_terms * 8 * points)
        job.at_single, at = at, at + whole_lines(singles * 8 * points)
        job.at_doubtful, at = at, at + whole_lines(2 * job.tile_rows * job.tile_columns + 64)
        cut.scratch_bytes = at
        n_pairs = (job.n_row_tiles * job.n_column_tiles + 1) // 2
        cut.n_tiles = self.problem.N * self.n_groups * n_pairs
        cut.workers = min(workers, max(TILES_BYTES // at, 1), cut.n_tiles)
        n_all = self.problem.N * self.problem.groups * n_pairs
        cut.tile_seconds = self.grid.seconds / max(n_all, 1)
        cut.kernel_name = f"fc_f64_fft_{job.n1}x{job.n2}_{active_isa()}"
        return cut

    def run(self, ndarray x, w, bias, ndarray y, fill, int workers):
        """Compute y; see gemm.Gemm.run."""
        problem = self.problem
        if not is_moderate(w):
            definition_of(problem, self.rows, self.columns).run(x, w, bias, y, fill, workers)
            return
        self.run_with({}, x, w, bias, y, fill, workers)

    def _key(self, lanes):
        """What the layout of the spectra follows."""
        return (self.bytes_of_kernel, self.grid.rows.n, self.n_groups, self.n_f, lanes)

    def bind(self, w, kept=()):
        """The runner for these kernels, see _plan: they are transformed, but for the largest."""
        cdef const fc_kernels_t *kernel = kernels(FC_COMPUTE_F64)
        if not is_moderate(w) or self.problem.F * self.bytes_of_kernel > KEPT_BYTES:
            return self
        key = self._key(kernel.lanes)
        for weights in kept:
            if isinstance(weights, Weights) and weights.key == key:
                return Bound(self, weights)
        chunks = {}
        for group in range(0, self.problem.groups, self.n_groups):
            for f in range(0, self.base.m, self.n_f):
                chunks[group, f] = self.spectra_of(w, group, f, 1)
        return Bound(self, Weights(key, chunks))

    def run_with(self, chunks, ndarray x, w, bias, ndarray y, fill, int workers):
        """Compute y with the Spectra of w that are known, by (group, f) where they begin."""
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        cdef double constant
        cdef ndarray boxes
        problem = self.problem
        constant = float(np.frombuffer(fill, compute_dtype(problem.dtype))[0])
        memcpy(job.fill, &constant, sizeof(double))
        x = aligned(x)
        job.x = image_of(x, x.ndim, problem.channels_last, 0)
        job.y = image_of(y, y.ndim, problem.channels_last, 0)
        biases = None if bias is None else bias.reshape(-1).astype(np.float64)
        job.bias = NULL if bias is None else <const double *> PyArray_DATA(<ndarray> biases)
        n_pairs = (job.n_row_tiles * job.n_column_tiles + 1) // 2
        for group in range(0, problem.groups, self.n_groups):
            job.group0, job.n_groups = group, min(self.n_groups, problem.groups - group)
            for f in range(0, job.m, self.n_f):
                job.f0, job.n_f = f, min(self.n_f, job.m - f)
                spectra = chunks.get((group, f)) or self.spectra_of(w, group, f, workers)
                self._use(&job, spectra)
                n = problem.N * job.n_groups * n_pairs
                boxes = np.zeros((problem.N, job.n_groups, n_pairs, 2, job.n_f, 4), np.intc)
                job.boxes = <int *> PyArray_DATA(boxes)
                parallel_for(run_pair, &job, n, cut.workers, cut.scratch_bytes, cut.tile_seconds)
                self._repair(boxes, group, f, x, w, bias, y, fill, workers)

    cdef _use(self, job_t *job, spectra):
        job.w = <const double *> PyArray_DATA(<ndarray> spectra.w)
        job.norms = <const double *> PyArray_DATA(<ndarray> spectra.norms)
        job.sums = <const double *> PyArray_DATA(<ndarray> spectra.sums)
        job.largest = <const double *> PyArray_DATA(<ndarray> spectra.largest)
        job.spectra = <double *> PyArray_DATA(<ndarray> spectra.spectra)
        job.magnitudes = <float *> PyArray_DATA(<ndarray> spectra.magnitudes)

    def spectra_of(self, w, group, f, workers):
        """The Spectra of a chunk of kernels."""
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        cdef Py_ssize_t n
        job.group0, job.n_groups = group, min(self.n_groups, self.problem.groups - group)
        job.f0, job.n_f = f, min(self.n_f, job.m - f)
        n = job.n_groups * job.n_f * job.n_terms
        w = np.require(w, np.float64, "CA").reshape(-1, job.channels, job.kh, job.kw)
        largest = np.abs(w).max(axis=(1, 2, 3))
        largest[largest == 0] = 1
        sizes = (n, 2 * job.n1 * job.n2)
        spectra = Spectra(
            w, np.sqrt(np.einsum("fcij,fcij->fc", w, w)), np.abs(w).sum(axis=(2, 3)), largest,
            np.empty(sizes),
            np.empty(sizes if job.is_certified_in_single else (0,), np.float32),
        )
        self._use(&job, spectra)
        parallel_for(transform_weights, &job, n, cut.workers, cut.scratch_bytes,
                     cut.tile_seconds / 4)
        return spectra

    def _repair(self, boxes, group, f, x, w, bias, y, fill, workers):
        """Compute the doubtful outputs again."""
        rows, columns = self.grid.rows, self.grid.columns
        arrays, margins = (x, w, bias, y, fill), (self.rows, self.columns)
        for image, g, pair, half in np.argwhere(boxes[..., 1].any(axis=-1)).tolist():
            row, column = divmod(2 * pair + half, columns.count)
            corner = np.array([row * rows.size, column * columns.size])
            f0 = (group + g) * (self.problem.F // self.problem.groups) + f
            settle(self.problem, margins, arrays, image, f0, corner, boxes[image, g, pair, half],
                   workers)


class Weights(NamedTuple):
    """The Spectra of all chunks of a w, for any runner of the same key."""

    key: tuple
    chunks: dict

    @property
    def nbytes(self):
        """Memory, in bytes."""
        return sum(array.nbytes for spectra in self.chunks.values() for array in spectra)


class Bound:
    """The runner for given kernels."""

    def __init__(self, algorithm, weights):
        self.algorithm, self.weights, self.reason = algorithm, weights, algorithm.reason

    def cut(self, workers):
        """The cut for that many threads in the instruction set in use."""
        return self.algorithm.cut(workers)

    def run(self, x, w, bias, y, fill, workers):
        """Compute y; see gemm.Gemm.run."""
        self.algorithm.run_with(self.weights.chunks, x, w, bias, y, fill, workers)


class Spectra(NamedTuple):
    """What is known of a chunk of kernels: their numbers, norms and transforms."""

    w: np.ndarray
    norms: np.ndarray
    sums: np.ndarray
    largest: np.ndarray
    spectra: np.ndarray
    magnitudes: np.ndarray
