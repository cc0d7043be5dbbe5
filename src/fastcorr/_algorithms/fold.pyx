# SPDX-License-Identifier: BSD-3-Clause
"""From dy to dx by products of dy with all taps: of few channels, or under a stride.

    for tile in (images x parts of the channels)      parallel_for
      stage dy, all its channels                      samples.pxd; or read it in place
      for panel of NR samples of dy
        for block of the C KH KW taps                 fc_gemm_into: the sum over channels of dy
      for channel, for phase of the stride
        add up what falls on each place               fc_fold: the sum over the taps of the phase
      write the rows                                  fc_store: two phases of columns at once

A correlation of dy that is padded by KH - 1 and KW - 1 (_adjoint.py) multiplies zeros all around,
three quarters of all numbers where the kernel is as large as y, and has as few rows in its matrix
product as x has channels; here are C KH KW of them and nothing but samples of dy. Under a stride it
would be a correlation for each phase, of few terms each, that writes single numbers of dx; here all
phases are one product, and dx is written in whole rows. It is for images whose products stay in a
cache.

Where there are more weights than products, all products of some images come from a product of
matrices that turns no weights (pointwise_transpose.py), and the tiles only add them up.

Sums over F are blocked as gemm's are; those over the taps are plain ones, of MAX_TAPS at most, in
the order of the taps.
"""

from dataclasses import replace

import numpy as np

from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport aligned, image_of, image_t, is_computed_in
from fastcorr._algorithms.parallel cimport odd_lines, parallel_for, whole_lines
from fastcorr._algorithms.samples cimport place_samples, samples_t, set_samples, stage_samples
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport ceil_div
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport FC_GEMM_MAX_VECTORS, fc_fold_t, fc_kernels_t, fc_run_t

from fastcorr._algorithms.gemm_cuts import best_blocks
from fastcorr._algorithms.pointwise_transpose import (
    PointwiseTranspose, unsupported as unsupported_product,
)
from fastcorr._algorithms.turned import turned
from fastcorr._kernels.dispatch import active_isa, compute_dtype, element_code, is_kernel_dtype

import_array()

MAX_TAPS = 64
SAMPLES_BYTES = 512 * 1024      # of all channels of dy, as if of double
STRIDED_SAMPLES_BYTES = 2 * 1024 * 1024  # most are read in place, some of them at a time
PRODUCTS_BYTES = 512 * 1024     # of a part of the channels
ALL_PRODUCTS_BYTES = 4 * 1024 * 1024  # of the images whose products are there before the tiles
SHARED_SET_BYTES = 1024         # channels of dy so far apart meet in a few sets of a cache
TILE_CYCLES = 50e3              # more threads are not worth cutting the channels for less
CYCLES_PER_THREAD = 30e3
CYCLES_PER_SECOND = 2e9


def unsupported(problem):
    """None, or why it cannot serve dx of a problem of the operator, whose dtype is that of dx."""
    if not is_kernel_dtype(problem.dtype) or problem.dtype.kind != "f":
        return f"it does not serve {problem.dtype}"
    if problem.groups > 1:
        return "it serves one group"
    taps, pixels = problem.KH * problem.KW, problem.OH * problem.OW
    if taps > MAX_TAPS or (taps == 1 and problem.stride == (1, 1)):
        return f"it serves kernels of up to {MAX_TAPS} taps, where there is something to add up"
    most = SAMPLES_BYTES if problem.stride == (1, 1) else STRIDED_SAMPLES_BYTES
    if problem.F * pixels * 8 > most or taps * pixels * 8 > PRODUCTS_BYTES:
        return "dy or the products of a channel are too large"
    return None


# Positions of a phase of the stride in each axis.
ctypedef struct phase_t:
    fc_fold_t fold
    Py_ssize_t products                 # of its first tap
    Py_ssize_t sums                     # within those of a channel
    Py_ssize_t row, column              # its first position in dx


ctypedef struct job_t:
    const fc_kernels_t *kernel
    samples_t dy
    bint in_place                       # dy is read where it lies
    image_t dx
    int dx_type
    bint has_pairs                      # two phases of columns alternate in the rows of dx
    const char *w                       # [c][tap][F], compute type
    const char *products                # [image][c][tap][plane] if they are there; or NULL
    const char *bias                    # [C], compute type, or NULL
    Py_ssize_t channels, n_taps, f, oh
    Py_ssize_t n_parts                  # of the channels
    int nv, most_rows                   # of a block
    Py_ssize_t plane                    # from tap to tap in the products
    Py_ssize_t n_row_phases, n_column_phases, stride_y, stride_x
    const phase_t *phases               # [row phase][column phase]
    Py_ssize_t phase_sums, channel_sums  # from one phase, and one channel, to the next
    const Py_ssize_t *panel_offset      # [F]: k * NR
    const Py_ssize_t *row_bytes         # [C]: channels of dx
    Py_ssize_t at_rows, at_window, at_panel, at_products, at_sums


cdef void run_tile(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t image = index // job.n_parts, part = index % job.n_parts
    cdef Py_ssize_t c0 = job.channels * part // job.n_parts
    cdef Py_ssize_t c1 = job.channels * (part + 1) // job.n_parts, c, i
    cdef const char *samples = scratch + job.at_window
    cdef const char *products = scratch + job.at_products
    if job.products != NULL:
        products = job.products + (
            (image * job.channels + c0) * job.n_taps * job.plane * job.kernel.item_bytes)
    elif job.in_place:
        samples = job.dy.image.data + image * job.dy.image.n
    else:
        stage_samples(&job.dy, image, 0, job.oh, <Py_ssize_t *> (scratch + job.at_rows),
                      scratch + job.at_window)
    if job.products == NULL:
        multiply(job, c0 * job.n_taps, c1 * job.n_taps, samples, scratch)
    if job.has_pairs:
        for c in range(c1 - c0):
            fold_channel(job, c, products, scratch + job.at_sums)
            store_pairs(job, image, c0 + c, scratch + job.at_sums)
        return
    for c in range(c1 - c0):
        fold_channel(job, c, products,
                     scratch + job.at_sums + c * job.channel_sums * job.kernel.item_bytes)
    for i in range(job.n_row_phases * job.n_column_phases):
        store_phase(job, job.phases + i, image, c0, c1, scratch)


cdef inline void fold_channel(const job_t *job, Py_ssize_t c, const char *products,
                              char *sums) noexcept nogil:
    """Sums of all phases of channel c of the part."""
    cdef Py_ssize_t item = job.kernel.item_bytes, i
    cdef const phase_t *phase
    products += c * job.n_taps * job.plane * item
    for i in range(job.n_row_phases * job.n_column_phases):
        phase = job.phases + i
        job.kernel.fold(&phase.fold, products + phase.products * item, sums + phase.sums * item)


cdef inline void store_phase(const job_t *job, const phase_t *phase, Py_ssize_t image,
                             Py_ssize_t c0, Py_ssize_t c1, char *scratch) noexcept nogil:
    """All channels of the part, row by row: they may lie side by side."""
    cdef Py_ssize_t item = job.kernel.item_bytes, row
    for row in range(phase.fold.n_rows):
        job.kernel.store[job.dx_type](
            scratch + job.at_sums + (phase.sums + row * phase.fold.ldc) * item, job.channel_sums,
            c1 - c0, phase.fold.n_columns, NULL if job.bias == NULL else job.bias + c0 * item,
            job.dx.data + image * job.dx.n + (phase.row + row * job.stride_y) * job.dx.h
            + phase.column * job.dx.w,
            job.row_bytes + c0, job.stride_x * job.dx.w)


cdef inline void store_pairs(const job_t *job, Py_ssize_t image, Py_ssize_t c,
                             const char *sums) noexcept nogil:
    """Both phases of columns of one channel; the first one may have a column more."""
    cdef Py_ssize_t item = job.kernel.item_bytes, i, n
    cdef Py_ssize_t[2] places
    cdef char[16] bias
    cdef const phase_t *even
    cdef const char *at
    cdef char *to
    places[0], places[1] = 0, item
    if job.bias != NULL:
        memcpy(bias, job.bias + c * item, item)
        memcpy(bias + item, job.bias + c * item, item)
    for i in range(job.n_row_phases):
        even = job.phases + 2 * i
        n = even[1].fold.n_columns
        at = sums + even.sums * item
        to = job.dx.data + image * job.dx.n + c * job.dx.c + even.row * job.dx.h
        for _ in range(even.fold.n_rows):
            job.kernel.store[job.dx_type](at, job.phase_sums, 2, n,
                                          NULL if job.bias == NULL else bias, to, places, 2 * item)
            if even.fold.n_columns > n:
                job.kernel.store[job.dx_type](at + n * item, 0, 1, 1,
                                              NULL if job.bias == NULL else bias,
                                              to + 2 * n * item, places, item)
            at += even.fold.ldc * item
            to += job.stride_y * job.dx.h


cdef void multiply(const job_t *job, Py_ssize_t row0, Py_ssize_t row1, const char *samples,
                   char *scratch) noexcept nogil:
    """Products of all samples with rows row0 .. row1 of w."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, panel = 0, block, m0, m1
    cdef Py_ssize_t size = job.oh * job.dy.columns, n_rows = row1 - row0, n, i
    cdef Py_ssize_t n_blocks = ceil_div(n_rows, job.most_rows), vectors = ceil_div(size, lanes)
    cdef Py_ssize_t n_panels = ceil_div(vectors, job.nv)
    cdef const Py_ssize_t *offset
    cdef const char *b
    cdef int nv
    for i in range(n_panels):
        # Of equal numbers of vectors, or nearly so: a single vector keeps no unit busy.
        nv = <int> (vectors * (i + 1) // n_panels - vectors * i // n_panels)
        n = min(nv * lanes, size - panel)
        b, offset = samples + panel * item, job.dy.offset
        if job.in_place and n < nv * lanes:
            pack_last(job, b, n, nv * lanes, scratch + job.at_panel)
            b, offset = scratch + job.at_panel, job.panel_offset
        for block in range(n_blocks):
            m0, m1 = n_rows * block // n_blocks, n_rows * (block + 1) // n_blocks
            job.kernel.gemm_into[nv][m1 - m0](
                job.f, job.w + (row0 + m0) * job.f * item, job.f, b, offset,
                scratch + job.at_products + (m0 * job.plane + panel) * item, job.plane,
                lanes, NULL, 0)
        panel += nv * lanes


cdef inline void pack_last(const job_t *job, const char *samples, Py_ssize_t n,
                           Py_ssize_t n_packed, char *panel) noexcept nogil:
    """The last samples, with zeros behind them: nothing more of dy is read."""
    cdef Py_ssize_t item = job.kernel.item_bytes, nr = job.nv * job.kernel.lanes, k
    cdef fc_run_t run
    run.lane, run.start, run.n = 0, 0, n
    for k in range(job.f):
        memset(panel + (k * nr + n) * item, 0, (n_packed - n) * item)
    job.kernel.pack_exact(job.f, samples, job.dy.offset, &run, 1, panel, nr)


cdef class Cut(TiledCut):
    """How the work is cut into tiles for one instruction set and number of threads."""

    cdef job_t job


cdef class Fold(Tiled):
    """Padded positions for one problem of the operator, whose dtype is that of dx.

    `rows` and `columns` are their phases in each axis (_adjoint._Phase); see tiled.Tiled.
    """

    pads_dy = False
    cdef object product                 # of all samples with all taps, where w is not turned

    def __init__(self, problem, rows, columns):
        Tiled.__init__(self, problem, rows, columns)
        self.product = None
        of_products = replace(
            problem, C=problem.C * problem.KH * problem.KW, H=problem.OH, W=problem.OW, KH=1, KW=1,
            stride=(1, 1), padding=((0, 0), (0, 0)), padding_mode="constant")
        if (problem.stride != (1, 1) and not problem.channels_last
                and unsupported_product(of_products) is None):
            self.product = PointwiseTranspose(of_products)

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0
        problem = self.problem
        memset(job, 0, sizeof(job_t))
        job.kernel = kernel
        job.dx_type = element_code(problem.dtype)
        job.channels, job.f, job.oh = problem.C, problem.F, problem.OH
        job.n_taps = problem.KH * problem.KW
        job.stride_y, job.stride_x = problem.stride
        pixels = problem.OH * problem.OW
        vectors = ceil_div(pixels, lanes)
        job.plane = odd_lines(vectors * lanes * item) // item
        if self.product is not None:
            job.plane = pixels
        phases = self._place_phases(job)

        # Parts of the channels that fit; more of them for more threads than there are images.
        n_parts = ceil_div(job.channels * job.n_taps * job.plane * item, PRODUCTS_BYTES)
        cycles = job.n_taps * vectors * (job.f * 1.1 + 10)  # of a channel
        if workers > problem.N:
            n_parts = max(n_parts, min(2 * workers, int(job.channels * cycles / TILE_CYCLES)))
        job.n_parts = min(n_parts, job.channels)
        channels = ceil_div(job.channels, job.n_parts)
        n_rows = channels * job.n_taps
        most = tuple(kernel.gemm_rows[nv] for nv in range(FC_GEMM_MAX_VECTORS + 1))
        job.nv, n_blocks = best_blocks(n_rows, most, vectors)
        job.most_rows = most[job.nv]
        cut.n_tiles = problem.N * job.n_parts
        cut.workers = min(workers, cut.n_tiles,
                          int(problem.N * job.channels * cycles / CYCLES_PER_THREAD) + 1)
        cut.tile_seconds = channels * cycles / CYCLES_PER_SECOND

        nr = job.nv * lanes
        pitch = odd_lines((pixels + lanes) * item) // item
        offset = np.arange(job.f, dtype=np.intp) * pitch
        panel_offset = np.arange(job.f, dtype=np.intp) * nr
        job.panel_offset = <const Py_ssize_t *> PyArray_DATA(panel_offset)
        cut.arrays = [phases, offset, panel_offset]
        place_samples(&job.dy, kernel, problem.OW, pitch, offset)
        job.at_rows, at = at, at + whole_lines(job.oh * sizeof(Py_ssize_t))
        # Slack: fc_gemm reads whole vectors, fc_fold one before and one behind the products.
        job.at_window, at = at, at + whole_lines((job.f * job.dy.pitch + nr) * item)
        job.at_panel, at = at, at + whole_lines(job.f * nr * item)
        at += whole_lines(lanes * item)
        job.at_products, at = at, at + whole_lines((n_rows * job.plane + lanes) * item)
        job.at_sums, at = at, at + whole_lines(channels * job.channel_sums * item)
        cut.scratch_bytes = at
        cut.kernel_name = (
            f"fc_{kernel.name.decode()}_gemm_{ceil_div(n_rows, n_blocks)}x{nr}_{active_isa()}")
        return cut

    cdef ndarray _place_phases(self, job_t *job):
        """The table of phases, which the caller keeps alive."""
        cdef Py_ssize_t lanes = job.kernel.lanes, ldc, i = 0
        cdef phase_t *phase
        problem = self.problem
        job.n_row_phases, job.n_column_phases = len(self.rows), len(self.columns)
        n_phases = job.n_row_phases * job.n_column_phases
        table = np.zeros(n_phases * sizeof(phase_t), np.uint8)
        phase = <phase_t *> PyArray_DATA(<ndarray> table)
        job.phases = phase
        ldc = ceil_div(max(column.n_positions for column in self.columns), lanes) * lanes
        job.phase_sums = max(row.n_positions for row in self.rows) * ldc
        job.channel_sums = n_phases * job.phase_sums
        for row in self.rows:
            for column in self.columns:
                phase.fold.ldc = ldc
                phase.fold.p_rows, phase.fold.p_columns = problem.OH, problem.OW
                phase.fold.n_rows, phase.fold.n_columns = row.n_positions, column.n_positions
                # The taps in the order in which they lie: from that which sees the last sample.
                phase.fold.kh, phase.fold.kw = row.n_taps, column.n_taps
                phase.fold.top = row.first_output + (row.n_taps - 1) * row.dilation
                phase.fold.left = column.first_output + (column.n_taps - 1) * column.dilation
                phase.fold.tap_row, phase.fold.tap_column = row.dilation, column.dilation
                phase.fold.plane_y = -row.tap_step * problem.KW * job.plane
                phase.fold.plane_x = -column.tap_step * job.plane
                phase.products = (
                    (row.first_tap + (row.n_taps - 1) * row.tap_step) * problem.KW
                    + column.first_tap + (column.n_taps - 1) * column.tap_step) * job.plane
                phase.sums = i * job.phase_sums
                phase.row, phase.column = row.first_position, column.first_position
                phase += 1
                i += 1
        return table

    def run(self, ndarray dy, ndarray w, bias, ndarray dx, int workers):
        """Compute dx (N, C, ...) from dy (N, F, OH, OW), w (F, C, KH, KW) and bias (C,) or None.

        The arrays may have any strides; their dtypes promote to that of dx.
        """
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        cdef Py_ssize_t item = job.kernel.item_bytes
        problem = self.problem
        compute = compute_dtype(problem.dtype)
        dy = aligned(dy)
        set_samples(&job.dy, dy, element_code(dy.dtype), problem)
        job.in_place = (
            job.n_parts > 1 and is_computed_in(dy.dtype, problem, item)
            and job.dy.image.w == item and job.dy.image.h == problem.OW * item
            and job.dy.image.c % item == 0 and job.dy.image.c % SHARED_SET_BYTES != 0)
        if job.in_place:
            offset = np.arange(problem.F, dtype=np.intp) * (job.dy.image.c // item)
            job.dy.offset = <const Py_ssize_t *> PyArray_DATA(<ndarray> offset)
        job.dx = image_of(dx, 4, False, 0)
        job.has_pairs = (
            job.n_column_phases == job.stride_x == 2 and job.dx.w == item
            and job.dx.c % item == job.dx.h % item == 0
            and is_computed_in(problem.dtype, problem, item))
        if self.product is not None:
            w = np.require(w, None, "CA")
        elif w.dtype == compute and w.flags.c_contiguous:
            w = turned(w.reshape(problem.F, problem.C * job.n_taps, 1, 1), 1, workers)
        else:
            w = np.require(w.transpose(1, 2, 3, 0), compute, "CA")
        job.w = <const char *> PyArray_DATA(w)
        if bias is not None:
            bias = np.require(bias, compute, "CA")
            job.bias = <const char *> PyArray_DATA(<ndarray> bias)
        row_bytes = np.arange(problem.C) * job.dx.c
        job.row_bytes = <const Py_ssize_t *> PyArray_DATA(<ndarray> row_bytes)
        if self.product is None:
            return parallel_for(run_tile, &job, cut.n_tiles, cut.workers, cut.scratch_bytes,
                                cut.tile_seconds)
        return self._fold_products(cut, job, dy, w, workers)

    cdef _fold_products(self, Cut cut, job_t job, ndarray dy, ndarray w, int workers):
        """Some images at a time."""
        cdef Py_ssize_t item = job.kernel.item_bytes, start, n, step, size, slack
        problem = self.problem
        w = w.reshape(problem.F, problem.C * job.n_taps, 1, 1)
        shape = problem.C * job.n_taps, problem.OH, problem.OW
        size, slack = shape[0] * job.plane, job.kernel.lanes  # fc_fold reads a vector more
        step = max(ALL_PRODUCTS_BYTES // (size * item), 1)
        room = np.zeros(min(step, problem.N) * size + 2 * slack, compute_dtype(problem.dtype))
        for start in range(0, problem.N, step):
            n = min(step, problem.N - start)
            products = room[slack:slack + n * size].reshape(n, *shape)
            self.product.run(dy[start:start + n], w, None, products, workers)
            job.products = <const char *> PyArray_DATA(<ndarray> products)
            parallel_for(run_tile, &job, n * job.n_parts, cut.workers, cut.scratch_bytes,
                         cut.tile_seconds)
            job.dx.data += n * job.dx.n
