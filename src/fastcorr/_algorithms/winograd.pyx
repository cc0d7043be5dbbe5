# SPDX-License-Identifier: BSD-3-Clause
"""Winograd's minimal filtering F(m x m, r x r) at stride 1: 3x3 and 5x5 kernels, and 3x1 and 1x3.

Outputs are cut into tiles of m x m, which run over rows and images as one flat index. The a x a
transformed inputs of a tile (a = m + r - 1) are multiplied, point by point, with a x a transformed
weights: at each point a matrix product over the channels (winograd.inc has the formulas).

    measure and transform w                         parallel_for over output channels
    for block of tiles, range of output channels    parallel_for
      for panel of NR tiles
        for row of tiles                            fc_winograd_input, fc_winograd_guard
      for block of m rows
        for chunk of channels                       their weights, transformed here or before
          for point, for panel                      fc_gemm
        for panel                                   fc_winograd_output, fc_store
      or, for images of few tiles (winograd_filterwise)
      for block of filters
        for chunk of channels                   their weights, transformed here or before
          for point, for some tiles             fc_filterwise
        for panel                               fc_winograd_output_filterwise, fc_store
      redo the tiles that the guard has found       the definition: fc_pack, fc_gemm

winograd_guard decides which tiles are redone, winograd_cuts how the work is cut.

The result of a tile depends on its inputs and w alone: not on how tiles are cut into blocks, nor on
the other images. Both directions of vectors round alike.
"""

import numpy as np

from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport aligned, image_of, is_computed_in
from fastcorr._algorithms.parallel cimport odd_lines, parallel_for, whole_lines
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, ceil_div
from fastcorr._algorithms.winograd_filterwise cimport multiply_filters, transform_filters
from fastcorr._algorithms.winograd_guard cimport Guard, is_mostly_padding, mark_padding
from fastcorr._algorithms.winograd_tiles cimport (
    block_start, channel_of, chunk_start, job_t, locate_task, next_run, run_t, task_t, window_of,
)
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport (
    FC_FILTERWISE_MAX_VECTORS, FC_GEMM_MAX_VECTORS, FC_WINOGRAD_2x2_5x5, fc_kernels_t, fc_run_t,
    fc_window_t,
)

from fastcorr._algorithms.gemm import Gemm
from fastcorr._algorithms.winograd_cuts import (
    CYCLES_PER_SECOND, CYCLES_PER_THREAD, KEPT_BYTES, candidates, form_of, is_filterwise,
    n_chunks_of, transformed_bytes,
)
from fastcorr._kernels.dispatch import active_isa, compute_dtype, element_code

import_array()

# Of products that wait for their transform, by thread.
PRODUCT_BYTES = 256 * 1024

cdef enum:
    STAGED_CHANNELS = 32    # even: the input transform takes channels in pairs
    ROWS_AT_A_TIME = 4      # of w
    REDONE_TILES = 4


cdef void transform_panel(const job_t *job, const task_t *t, Py_ssize_t panel,
                          char *scratch) noexcept nogil:
    """Fill a panel with transformed inputs and mark the tiles that the guard finds."""
    cdef Py_ssize_t start = t.start[panel], n = t.tiles[panel], lane = 0
    cdef Py_ssize_t nr = t.vectors[panel] * job.kernel.lanes
    cdef Py_ssize_t item = job.kernel.item_bytes
    cdef char *v = scratch + job.at_v + panel * job.v_panel
    cdef char *sums = scratch + job.at_sums
    cdef unsigned char *spoiled = <unsigned char *> (scratch + job.at_spoiled)
    cdef run_t run
    spoiled += start
    while lane < n:
        next_run(job, t.tile0 + start, lane, n, &run)
        mark_run(job, &run, spoiled + lane)
        memset(sums, 0, (2 * job.ah + 2) * job.pitch * item)
        transform_run(job, &run, t.group, v + lane * item, nr,
                      nr - lane if lane + run.n == n else run.n, sums, scratch)
        job.winograd.guard(
            job.bounds + t.group, sums, job.pitch, min(job.mh, job.oh - run.row * job.mh),
            min(job.mw * run.n, job.ow - run.column * job.mw), spoiled + lane)
        lane += run.n


cdef void mark_run(const job_t *job, const run_t *run, unsigned char *spoiled) noexcept nogil:
    """Find the tiles of a run that the constant beside the image rules out."""
    cdef unsigned char whole_row = 0
    cdef bint is_edge_row
    cdef Py_ssize_t i
    mark_padding(&job.down, job.kh, job.mh, job.oh, run.row, 1, &whole_row)
    if whole_row:
        memset(spoiled, 1, run.n)
        return
    mark_padding(&job.across, job.kw, job.mw, job.ow, run.column, run.n, spoiled)
    is_edge_row = (job.form == FC_WINOGRAD_2x2_5x5
                   and is_mostly_padding(&job.down, run.row * job.mh, job.ah))
    for i in range(run.n if is_edge_row else 0):
        spoiled[i] |= is_mostly_padding(&job.across, (run.column + i) * job.mw, job.aw)


cdef void transform_run(const job_t *job, const run_t *run, Py_ssize_t group, char *v,
                        Py_ssize_t nr, Py_ssize_t n_lanes, char *sums,
                        char *scratch) noexcept nogil:
    cdef Py_ssize_t item = job.kernel.item_bytes, c = 0, nc, i
    cdef const char *scale = job.scale + group * job.channels * item
    cdef char *window = scratch + job.at_window
    cdef Py_ssize_t zero = 0
    cdef Py_ssize_t staged_rows[8]
    cdef fc_window_t win, staged
    window_of(job, run.row * job.mh, run.column * job.mw, job.ah, job.mw * (run.n - 1) + job.aw,
              &win, scratch)
    win.pitch = job.pitch
    if job.x_as_computed:
        job.winograd.input(
            &win, channel_of(job, run.image, group, 0), job.channels, job.x.c, job.fill, scale, v,
            nr, job.v_step, n_lanes, nr - run.lane, sums)
        return
    staged = win
    staged.row_bytes, staged.column_bytes = staged_rows, &zero
    staged.lo, staged.hi = 0, win.n_columns
    for i in range(job.ah):
        staged_rows[i] = i * job.pitch * item
    while c < job.channels:
        nc = min(STAGED_CHANNELS, job.channels - c)
        job.kernel.stage[job.x_type](&win, channel_of(job, run.image, group, c), nc, job.x.c,
                                     job.fill, window, job.ah * job.pitch)
        job.winograd.input(
            &staged, window, nc, job.ah * job.pitch * item, job.fill, scale + c * item,
            v + c * nr * item, nr, job.v_step, n_lanes, nr - run.lane, sums)
        c += nc


cdef void multiply(const job_t *job, const task_t *t, char *scratch) noexcept nogil:
    """All panels times the rows of the task, through to y."""
    cdef Py_ssize_t first, end, block, panel, first_row, m0, mr, i
    cdef int point
    for i in range(ceil_div(t.block1 - t.block0, job.set_blocks)):
        first = t.block0 + i * job.set_blocks
        end = min(first + job.set_blocks, t.block1)
        first_row = block_start(job, first)
        if job.u == NULL:
            transform_rows(job, t, first, end, scratch)
        # At one point the panels stay in the first cache.
        for point in range(job.n_points):
            m0 = first_row
            for block in range(first, end):
                mr = block_start(job, block + 1) - m0
                multiply_point(job, t, point, m0, mr, m0 - first_row,
                               products_of(job, 0, block - first, scratch), scratch)
                m0 += mr
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
        job.winograd.weights(
            job.w + (t.group * job.rows + m) * job.channels * job.taps * item, job.channels,
            job.taps, job.w_end, scratch + job.at_u + (m - m0) * job.lda * item, job.local_step)


cdef inline void multiply_point(const job_t *job, const task_t *t, int point, Py_ssize_t m0,
                                Py_ssize_t mr, Py_ssize_t local_row, char *products,
                                char *scratch) noexcept nogil:
    """Rows of w from m0 on, which are the `local_row`th if made here; all panels and chunks."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef Py_ssize_t chunk, c0, c1 = 0, panel, nr
    cdef const char *u
    cdef int nv
    if job.u == NULL:
        u = scratch + job.at_u + (point * job.local_step + local_row * job.lda) * item
    else:
        u = job.u + (point * job.u_step + (t.group * job.rows + m0) * job.lda) * item
    for chunk in range(job.n_chunks):
        c0, c1 = c1, chunk_start(job, chunk + 1)
        for panel in range(t.n_panels):
            nv = t.vectors[panel]
            nr = nv * lanes
            job.kernel.gemm[nv][mr](
                c1 - c0, u + c0 * item, job.lda,
                scratch + job.at_v + panel * job.v_panel + (point * job.v_step + c0 * nr) * item,
                job.offset + nv * job.chunk,
                products + panel * job.set_blocks * job.products_step + point * mr * nr * item,
                chunk > 0)


cdef void store_panel(const job_t *job, const task_t *t, Py_ssize_t panel, Py_ssize_t m0,
                      Py_ssize_t mr, const char *products, char *scratch) noexcept nogil:
    cdef Py_ssize_t item = job.kernel.item_bytes, n = t.tiles[panel], lane = 0, i
    cdef Py_ssize_t nv = t.vectors[panel], nr = nv * job.kernel.lanes
    cdef Py_ssize_t row_bytes[32]
    cdef run_t run
    cdef char *out = scratch + job.at_out
    cdef const char *bias = NULL
    if job.bias != NULL:
        bias = job.bias + (t.group * job.rows + m0) * item
    for i in range(mr):
        row_bytes[i] = (t.group * job.rows + m0 + i) * job.y.c
    job.winograd.output(products, mr * nr, mr, nv, out)
    while lane < n:
        next_run(job, t.tile0 + t.start[panel], lane, n, &run)
        for i in range(min(job.mh, job.oh - run.row * job.mh)):
            job.kernel.store[job.y_type](
                out + (i * nr + lane) * job.mw * item, job.mh * job.mw * nr, mr,
                min(job.mw * run.n, job.ow - run.column * job.mw), bias,
                job.y.data + run.image * job.y.n + (run.row * job.mh + i) * job.y.h
                + run.column * job.mw * job.y.w, row_bytes, job.y.w)
        lane += run.n


cdef void redo_run(const job_t *job, const task_t *t, const run_t *run,
                   char *scratch) noexcept nogil:
    """At most REDONE_TILES side by side, by the definition."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef Py_ssize_t k = job.channels * job.taps, plane = job.redone_rows * job.redone_pitch
    cdef Py_ssize_t first = block_start(job, t.block0), end = block_start(job, t.block1)
    cdef Py_ssize_t width = job.mw * run.n, n_vectors = ceil_div(job.mh * width, lanes)
    cdef Py_ssize_t chunk, c0, c1, i, m0, mr, most, pixel, n_pixels
    cdef Py_ssize_t row_bytes[32]
    cdef fc_window_t win
    cdef fc_run_t runs[4]
    cdef char *window = scratch + job.at_window
    cdef char *panel = scratch + job.at_pixels
    cdef char *acc = scratch + job.at_acc
    cdef const char *bias = NULL
    cdef int nv = <int> min(n_vectors, 2)
    n_pixels = nv * lanes
    most = job.kernel.gemm_rows[nv]
    window_of(job, run.row * job.mh, run.column * job.mw, job.redone_rows, width + job.kw - 1, &win,
              scratch)
    win.pitch = job.redone_pitch
    for i in range(job.mh):
        runs[i].lane, runs[i].start, runs[i].n = i * width, i * win.pitch, width
    for chunk in range(job.n_redone_chunks):
        c0 = job.channels * chunk // job.n_redone_chunks
        c1 = job.channels * (chunk + 1) // job.n_redone_chunks
        job.kernel.stage[job.x_type](&win, channel_of(job, run.image, t.group, c0), c1 - c0,
                                     job.x.c, job.fill, window, plane)
        job.kernel.pack(job.taps * (c1 - c0), window, job.tap_offset, runs, job.mh, panel,
                        job.pixels)
        for i in range(ceil_div(n_vectors, nv)):
            pixel = i * n_pixels
            m0 = first
            while m0 < end:
                mr = min(most, end - m0)
                job.kernel.gemm[nv][mr](
                    job.taps * (c1 - c0),
                    job.w + ((t.group * job.rows + m0) * k + job.taps * c0) * item, k,
                    panel + pixel * item, job.pixel_offset,
                    acc + ((m0 - first) * job.pixels + pixel * mr) * item, chunk > 0)
                m0 += mr
    m0 = first
    while m0 < end:
        mr = min(most, end - m0)
        if job.bias != NULL:
            bias = job.bias + (t.group * job.rows + m0) * item
        for i in range(mr):
            row_bytes[i] = (t.group * job.rows + m0 + i) * job.y.c
        for i in range(min(job.mh, job.oh - run.row * job.mh)):
            store_pixels(job, acc + (m0 - first) * job.pixels * item, mr, n_pixels, i * width,
                         min(width, job.ow - run.column * job.mw), bias,
                         job.y.data + run.image * job.y.n + (run.row * job.mh + i) * job.y.h
                         + run.column * job.mw * job.y.w, row_bytes)
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
    cdef Py_ssize_t i, end, panel, n_spoiled = 0
    cdef unsigned char *spoiled = <unsigned char *> (scratch + job.at_spoiled)
    locate_task(job, index, &t)
    memset(spoiled, 0, t.n_tiles)
    if job.filters > 0:
        for i in range(job.mw * job.nv * job.kernel.lanes):
            (<Py_ssize_t *> (scratch + job.at_places))[i] = i * job.y.w
    for panel in range(t.n_panels):
        transform_panel(job, &t, panel, scratch)
    for i in range(t.n_tiles):
        n_spoiled += spoiled[i]
    if n_spoiled < t.n_tiles:
        if job.filters > 0:
            multiply_filters(job, &t, scratch)
        else:
            multiply(job, &t, scratch)
    i = 0
    while n_spoiled > 0:
        if not spoiled[i]:
            i += 1
            continue
        end = i + 1
        while end < min(i + REDONE_TILES, t.n_tiles) and spoiled[end]:
            end += 1
        next_run(job, t.tile0, i, end, &run)
        redo_run(job, &t, &run, scratch)
        i += run.n
        n_spoiled -= run.n


cdef void prepare_rows(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """Measure and, if there is a place for them, transform some rows of w."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t row_bytes = job.channels * job.taps * job.kernel.item_bytes, row
    cdef const char *w
    for row in range(index * ROWS_AT_A_TIME,
                     min((index + 1) * ROWS_AT_A_TIME, job.groups * job.rows)):
        w = job.w + row * row_bytes
        job.winograd.row(w, job.inverse + row // job.rows * row_bytes, job.channels,
                         job.least_weight, job.measured + row)
        if job.u != NULL and job.filters == 0:
            job.winograd.weights(w, job.channels, job.taps, job.w_end,
                                 job.u + row * job.lda * job.kernel.item_bytes, job.u_step)


cdef void prepare_filters(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """Transform a block of filters and a chunk of channels of w."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t block = index // job.n_chunks
    transform_filters(job, block // job.n_blocks, block % job.n_blocks, index % job.n_chunks,
                      job.u + index * job.u_chunk)


cdef bint is_accurate(const job_t *job) noexcept nogil:
    """5 x 5 with two roundings for a product and its sum had errors of 20 u (|x| * |w|)."""
    return job.form != FC_WINOGRAD_2x2_5x5 or job.kernel.is_fused


cdef Py_ssize_t transformed_size(const job_t *job) noexcept nogil:
    """Bytes of all transformed weights as they lie in memory."""
    if job.filters > 0:
        return job.groups * job.n_blocks * job.n_chunks * job.u_chunk
    return job.n_points * job.u_step * job.kernel.item_bytes


cdef class Cut(TiledCut):
    """How the work is cut into tasks for one instruction set and number of threads."""

    cdef job_t job
    # scratch_bytes has the thread's share of transformed weights in it, task_bytes has not
    cdef Py_ssize_t task_bytes
    cdef bint shared

    def __repr__(self):
        cdef job_t *job = &self.job
        return (
            f"<{self.n_tiles} tasks of up to {job.panels} panels of {job.nv * job.kernel.lanes} "
            f"tiles {job.mh} x {job.mw} and {job.tile_blocks} of {job.n_blocks} blocks, {job.rest} "
            f"vectors in ranges, weights {'shared' if self.shared else 'local'}, "
            f"{self.workers} threads>")


cdef class Weights:
    """w, measured for the guard and transformed; made by Winograd.transform_weights."""

    cdef ndarray w                  # as computed, contiguous
    cdef object u                   # transformed, or None
    cdef readonly Guard guard
    cdef tuple key                  # what they depend on beside w
    cdef readonly Py_ssize_t nbytes


cdef class Winograd(Tiled):
    """The algorithm for one problem: see tiled.Tiled for the meaning of the arguments."""

    cdef job_t base
    cdef object direct
    cdef readonly Weights weights   # what `bind` keeps, or None

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        Tiled.__init__(self, problem, rows, columns)
        memset(job, 0, sizeof(job_t))
        self.direct = Gemm(problem, rows, columns)
        job.x_type = element_code(problem.x_dtype)
        job.y_type = element_code(problem.dtype)
        job.groups = problem.groups
        job.rows = problem.F // problem.groups
        job.channels = problem.C // problem.groups
        job.kh, job.kw, job.taps = problem.KH, problem.KW, problem.KH * problem.KW
        job.n_chunks = n_chunks_of(job.channels)
        job.chunk = ceil_div(job.channels, job.n_chunks)
        job.oh, job.ow = problem.OH, problem.OW
        job.down = axis_of(rows, problem.padding[0], problem.H, 1)
        job.across = axis_of(columns, problem.padding[1], problem.W, 1)

    cdef object _find_tiles(self, job_t *job):
        """Tiles, and vectors along them or along filters, for the instruction set of job.kernel."""
        form = form_of(self.problem, job.kernel.is_fused)
        job.winograd = &job.kernel.winograd[<int> form.index]
        job.form, job.n_points = form.index, form.n_points
        (job.mh, job.mw), (job.ah, job.aw) = form.m, form.a
        job.tiles_across = ceil_div(job.ow, job.mw)
        job.tiles_per_image = ceil_div(job.oh, job.mh) * job.tiles_across
        job.n_tiles = self.problem.N * job.tiles_per_image
        job.filters = 0
        if is_filterwise(job.tiles_per_image, job.n_tiles, job.kernel.lanes):
            job.filters = FC_FILTERWISE_MAX_VECTORS * job.kernel.lanes
        return form

    def _make_cut(self, int workers):
        """Compare some cuts by the cost model; none of them changes the result."""
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef job_t *job = &self.base
        job.kernel = kernel
        form = self._find_tiles(job)
        best = min(candidates(
            form, job.groups, job.rows, job.channels, job.n_chunks, max(job.n_tiles, 1),
            job.tiles_across, job.filters > 0,
            tuple(kernel.gemm_rows[nv] for nv in range(FC_GEMM_MAX_VECTORS + 1)),
            kernel.lanes, kernel.item_bytes, workers,
            self.weights is not None))
        return self._make(kernel, workers, best)

    cdef Cut _make(self, const fc_kernels_t *kernel, int workers, best):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0, nr, rows, columns
        _, task_cycles, nv, panels, n_tile_blocks, n_blocks, blocks, shared, rest = best
        nr = nv * lanes
        job[0] = self.base
        job.kernel = kernel
        job.nv, job.panels, job.n_blocks, job.tile_blocks = nv, panels, n_blocks, blocks
        job.n_block_ranges = ceil_div(n_blocks, blocks)
        job.n_tile_blocks = n_tile_blocks
        job.rest, job.rest_ranges = rest, workers
        cut.shared = shared
        rows = job.filters if job.filters > 0 else ceil_div(job.rows, n_blocks)

        job.pixels = (ceil_div(REDONE_TILES * job.mh * job.mw, lanes) + 1) // 2 * 2 * lanes
        job.redone_rows = job.mh + job.kh - 1
        job.redone_pitch = REDONE_TILES * job.mw + job.kw - 1
        # As many terms at a time as of 3 x 3.
        job.n_redone_chunks = ceil_div(job.channels * job.taps, 9 * job.chunk)
        redone_channels = ceil_div(job.channels, job.n_redone_chunks)
        redone_terms = redone_channels * job.taps
        offset = (np.arange(FC_GEMM_MAX_VECTORS + 1)[:, None] * lanes
                  * np.arange(job.chunk, dtype=np.intp))
        k = np.arange(redone_terms, dtype=np.intp)
        tap_offset = ((k // job.taps * job.redone_rows + k % job.taps // job.kw) * job.redone_pitch
                      + k % job.kw)
        pixel_offset = k * job.pixels
        cut.arrays = [offset, tap_offset, pixel_offset]
        job.offset = <const Py_ssize_t *> PyArray_DATA(offset)
        job.tap_offset = <const Py_ssize_t *> PyArray_DATA(tap_offset)
        job.pixel_offset = <const Py_ssize_t *> PyArray_DATA(pixel_offset)

        # Odd numbers of cache lines: points and rows spread over the sets of the cache.
        job.lda = odd_lines(job.channels * item) // item
        job.u_step = odd_lines(job.groups * job.rows * job.lda * item) // item
        job.local_step = odd_lines(rows * job.lda * item) // item
        if job.filters > 0:
            job.u_step = odd_lines(job.chunk * rows * item) // item
            job.u_chunk = job.n_points * job.u_step * item
        job.v_step = odd_lines(job.channels * nr * item) // item
        job.v_panel = job.n_points * job.v_step * item
        job.products_step = job.n_points * rows * nr * item
        job.set_blocks = 1
        if shared and job.filters == 0:
            job.set_blocks = min(max(PRODUCT_BYTES // (panels * job.products_step), 1), blocks)
        columns = max(job.mw * (nr - 1) + job.aw, job.redone_pitch)
        job.pitch = ceil_div(columns, lanes) * lanes + lanes

        job.at_row_bytes, at = at, at + whole_lines(job.redone_rows * sizeof(Py_ssize_t))
        job.at_column_bytes, at = at, at + whole_lines(columns * sizeof(Py_ssize_t))
        job.at_sums, at = at, at + whole_lines((2 * job.ah + 2) * job.pitch * item)
        job.at_spoiled, at = at, at + whole_lines(panels * nr)
        job.at_v, at = at, at + panels * job.v_panel
        job.at_u = at
        if not shared:
            at += job.u_chunk if job.filters > 0 else job.n_points * job.local_step * item
        job.at_products, at = (
            at, at + panels * job.set_blocks * job.products_step)
        job.at_out, at = at, at + whole_lines(rows * job.mh * job.mw * nr * item)
        job.at_places, at = at, at + whole_lines(job.mw * nr * sizeof(Py_ssize_t))
        job.at_bias, at = at, at + whole_lines(rows * item)
        # The rest serves tiles by the definition and, its first part, staging.
        window = redone_channels * job.redone_rows * job.redone_pitch + lanes
        job.at_window, at = at, at + whole_lines(
            max(window, STAGED_CHANNELS * job.ah * job.pitch) * item)
        job.at_pixels, at = at, at + whole_lines((redone_terms * job.pixels + lanes) * item)
        job.at_acc, at = at, at + whole_lines((rows + 1) * blocks * job.pixels * item)
        cut.task_bytes = at
        cut.n_tiles = job.groups * job.n_block_ranges * job.n_tile_blocks
        if rest > 0:
            cut.n_tiles += workers
        worth = int(cut.n_tiles * task_cycles / CYCLES_PER_THREAD) + 1
        cut.workers = min(workers, cut.n_tiles, worth)
        cut.scratch_bytes = at
        if shared and self.weights is None:
            cut.scratch_bytes += transformed_size(job) // max(cut.workers, 1)
        cut.tile_seconds = task_cycles / CYCLES_PER_SECOND
        product = f"filterwise_nx{rows}" if job.filters > 0 else f"gemm_{rows}x{nr}"
        cut.kernel_name = (f"fc_{kernel.name.decode()}_winograd_{job.mh}x{job.mw}_"
                           f"{job.kh}x{job.kw}_{product}_{active_isa()}")
        return cut

    def bind(self, ndarray w, kept=()):
        """The runner for these kernels, see _plan: they are transformed, but for the largest."""
        cdef Winograd bound
        cdef job_t job = self.base
        job.kernel = kernels(self.compute)
        form = self._find_tiles(&job)
        n_bytes = transformed_bytes(form, job.groups * job.rows, job.channels,
                                    job.kernel.item_bytes)
        if not is_accurate(&job) or n_bytes > KEPT_BYTES:
            return self
        bound = Winograd(self.problem, self.rows, self.columns)
        key = self.problem.dtype, job.form, job.filters
        for weights in kept:
            if isinstance(weights, Weights) and (<Weights> weights).key == key:
                bound.weights = weights
                return bound
        weights = self.transform_weights(w, 1)
        (<Weights> weights).key = key
        bound.weights = weights
        return bound

    def transform_weights(self, ndarray w, int workers, bint transformed=True):
        """Measure w and, unless told otherwise, transform it: for `run(prepared=)`."""
        cdef Weights weights = Weights.__new__(Weights)
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        cdef Py_ssize_t rows = job.groups * job.rows
        cdef Guard guard
        w = np.require(w, compute_dtype(self.problem.dtype), "CA")
        guard = Guard(self.problem, form_of(self.problem, job.kernel.is_fused), w.dtype)
        job.w = <const char *> PyArray_DATA(w)
        job.w_end = job.w + <Py_ssize_t> w.nbytes
        job.inverse, job.measured = guard.inverse, guard.measured
        job.least_weight = guard.least_weight
        job.u = NULL
        weights.w, weights.u, weights.guard = w, None, guard
        if transformed:
            weights.u = np.empty(transformed_size(&job), dtype=np.uint8)
            job.u = <char *> PyArray_DATA(<ndarray> weights.u)
            weights.nbytes = weights.u.nbytes
        guard.scale_channels(job.winograd, job.kernel.item_bytes, job.w)
        parallel_for(prepare_rows, &job, ceil_div(rows, ROWS_AT_A_TIME), cut.workers, 0, 1e-6)
        if transformed and job.filters > 0:
            parallel_for(prepare_filters, &job, job.groups * job.n_blocks * job.n_chunks,
                         cut.workers, 0, 1e-6)
        guard.bound()
        return weights

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
        if not is_accurate(&job):
            self.direct.run(x, w, bias, y, fill, workers)
            return
        if (prepared is None and self.weights is not None
                and self.weights.key[1:] == (job.form, job.filters)):
            prepared = self.weights  # of this instruction set
        if prepared is None:
            prepared = self.transform_weights(w, workers, cut.shared)
        weights = prepared
        if weights.guard.refusal is not None:
            self.direct.run(x, w, bias, y, fill, workers)
            return
        memcpy(job.fill, fill_bytes, job.kernel.item_bytes)
        x = aligned(x)
        job.x = image_of(x, x.ndim, problem.channels_last, 0)
        job.y = image_of(y, y.ndim, problem.channels_last, 0)
        job.x_as_computed = (is_computed_in(problem.x_dtype, problem, job.kernel.item_bytes)
                             and (job.x.w == job.kernel.item_bytes or problem.W == 1))
        job.w = <const char *> PyArray_DATA(weights.w)
        job.w_end = job.w + <Py_ssize_t> weights.w.nbytes
        job.u = NULL
        if weights.u is not None:
            job.u = <char *> PyArray_DATA(<ndarray> weights.u)
        job.scale, job.bounds = weights.guard.scale, weights.guard.bounds
        job.bias = NULL if bias is None else <const char *> PyArray_DATA(<ndarray> bias)
        parallel_for(run_task, &job, cut.n_tiles, cut.workers, cut.task_bytes, cut.tile_seconds)
