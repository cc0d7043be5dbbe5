# SPDX-License-Identifier: BSD-3-Clause
"""From dy to dx for depthwise kernels, with vectors along the channels: all phases of the stride.

    for tile in (images x channels x rows x columns of dx)    parallel_for
      find the samples of dy that the tile sees
      for block of `lanes` channels
        stage the taps as [phase][tap][lanes]                 fc_interleave
        stage the samples of dy as [pixel][lanes]             pixels.pxd
        for phase of the rows, for phase of the columns       fc_depthwise
        write the positions, if channels are first            fc_deinterleave

_adjoint.py says what the phases are. Each phase is a correlation at stride 1 of the same samples
with some of the taps; between its positions lie those of the others, which is only another step
between outputs here. Where channels lie side by side, there is nothing to gather or to scatter.

Samples before and after dy are zeros, which must not meet taps that are not finite: `pads_dy`.
"""

import numpy as np

from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport aligned, image_of, is_computed_in
from fastcorr._algorithms.parallel cimport parallel_for, whole_lines
from fastcorr._algorithms.pixels cimport (
    choose_block, find_window, locate_tile, pixels_t, place_window, set_image, set_target,
    stage_rows, store_rows, target_t, tile_t, tiling_t,
)
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, axis_t, ceil_div
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport fc_depthwise_t, fc_kernels_t

from fastcorr._algorithms import depthwise
from fastcorr._algorithms.depthwise import FEWEST_COLUMNS, pixel_table
from fastcorr._kernels.dispatch import active_isa, compute_dtype, element_code

import_array()

unsupported = depthwise.unsupported  # the same layers, going forward

TILE_BYTES = 128 * 1024         # of outputs of a block: with the samples of dy in the second level
SIDE_BLOCKS = 8                 # of channels side by side in memory, that one thread takes
ITEM_CYCLES = 50e3              # of the blocks that a thread takes at once
CYCLES_PER_THREAD = 30e3
CYCLES_PER_TAP = 1.2            # and pixel (EPYC 9004, AVX-512, 2026-11)
CYCLES_PER_PIXEL = 10.0
CYCLES_PER_SECOND = 2e9


# One phase of one axis: where its first sample lies in the window, and its taps.
ctypedef struct phase_t:
    Py_ssize_t start, n_taps

# One axis: phase i has the positions i, i + stride, ... of n.
ctypedef struct axis_phases_t:
    Py_ssize_t stride, n, n_phases
    Py_ssize_t first, extent            # the window of one position of each phase
    Py_ssize_t dilation
    const phase_t *phases

ctypedef struct job_t:
    const fc_kernels_t *kernel
    pixels_t dy
    target_t dx
    const char *w                       # [C][tap] as computed
    const char *bias                    # [C] as computed, or NULL
    Py_ssize_t channels, n_taps
    axis_phases_t rows, columns
    const Py_ssize_t *tap_place         # [tap]: in the table of taps, elements
    const Py_ssize_t *first_tap         # [row phase][column phase]: in that table, taps
    tiling_t tiling                     # of dx
    Py_ssize_t at_weights, at_outputs

cdef inline Py_ssize_t window_of(const axis_phases_t *axis, Py_ssize_t n) noexcept nogil:
    """Samples that n positions see, the first of them of phase 0."""
    return ceil_div(n, axis.stride) - 1 + axis.extent


cdef void run_tile(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t block
    cdef tile_t t
    locate_tile(&job.tiling, index, &t)
    t.window.row0 = t.row0 // job.rows.stride + job.rows.first
    t.window.column0 = t.column0 // job.columns.stride + job.columns.first
    t.window.n_rows = window_of(&job.rows, t.rows)
    # The same in narrower tiles: `pixel` counts on it.
    t.window.n_columns = window_of(&job.columns, job.tiling.tile_columns)
    find_window(&job.dy, &t.window, scratch)
    for block in range(t.block0, t.block1):
        choose_block(&t, block, job.kernel.lanes, job.channels)
        run_block(job, &t, scratch)


cdef void run_block(const job_t *job, const tile_t *t, char *scratch) noexcept nogil:
    """Up to `lanes` channels of a tile."""
    cdef fc_depthwise_t s
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, py, px
    cdef Py_ssize_t row = t.window.n_columns * lanes, y_row = t.columns * lanes, y_pixel = lanes
    cdef char *weights = scratch + job.at_weights
    cdef char *bias = weights + job.n_taps * lanes * item
    cdef char *dx = (
        job.dx.image.data + t.window.image * job.dx.image.n + t.window.c0 * job.dx.image.c
        + t.row0 * job.dx.image.h + t.column0 * job.dx.image.w)
    cdef char *outputs = scratch + job.at_outputs
    cdef bint straight = job.dx.to_pixels and t.window.n_channels == lanes
    cdef const phase_t *of_row
    cdef const phase_t *of_column
    job.kernel.interleave(t.window.n_channels, job.n_taps,
                          job.w + t.window.c0 * job.n_taps * item, job.n_taps, weights,
                          job.tap_place)
    memset(bias, 0, lanes * item)
    if job.bias != NULL:
        memcpy(bias, job.bias + t.window.c0 * item, t.window.n_channels * item)
    stage_rows(&job.dy, &t.window, 0, t.window.n_rows, scratch)
    if straight:
        outputs, y_row, y_pixel = dx, job.dx.image.h // item, job.dx.image.w // item
    s.x_row, s.x_pixel = row, lanes
    s.tap_row, s.tap_pixel = job.rows.dilation * row, job.columns.dilation * lanes
    s.y_row, s.y_pixel = job.rows.stride * y_row, job.columns.stride * y_pixel
    for py in range(min(job.rows.n_phases, t.rows)):
        of_row = job.rows.phases + py
        s.n_rows = ceil_div(t.rows - py, job.rows.stride)
        for px in range(min(job.columns.n_phases, t.columns)):
            of_column = job.columns.phases + px
            s.n_columns = ceil_div(t.columns - px, job.columns.stride)
            s.kh, s.kw = of_row.n_taps, of_column.n_taps
            if s.kw == 0:  # no output sees these positions
                s.kh, s.kw = 0, 1
            job.kernel.depthwise(
                &s, NULL, scratch + job.dy.at_window
                + (of_row.start * row + of_column.start * lanes) * item,
                weights + job.first_tap[py * job.columns.n_phases + px] * lanes * item, bias,
                outputs + (py * y_row + px * y_pixel) * item)
    if not straight:
        store_rows(&job.dx, outputs, t.rows, t.columns, t.window.n_channels, dx,
                   <Py_ssize_t *> (scratch + job.dy.at_pixels))


cdef class Cut(TiledCut):
    """How the work is cut into tiles for one instruction set and number of threads."""

    cdef job_t job


cdef class DepthwiseTranspose(Tiled):
    """A rectangle of padded positions for one problem of the operator, whose dtype is that of dx.

    `rows` and `columns` are the phases of its rows and columns, as in _adjoint; see tiled.Tiled.
    """

    pads_dy = True

    cdef job_t base
    cdef object kept
    cdef object compute_type

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        Tiled.__init__(self, problem, rows, columns)
        memset(job, 0, sizeof(job_t))
        self.compute_type = compute_dtype(problem.dtype)
        job.dx.type = element_code(problem.dtype)
        job.channels, job.n_taps = problem.C, problem.KH * problem.KW
        self.kept = []
        job.dy.constant_margins = True
        job.dy.rows = self._axis(&job.rows, rows, problem.OH)
        job.dy.columns = self._axis(&job.columns, columns, problem.OW)

    cdef axis_t _axis(self, axis_phases_t *axis, phases, Py_ssize_t n_samples):
        """Fill in what is known of an axis of dx; return that of dy."""
        seen = [phase for phase in phases if phase.n_taps > 0]
        first = min((phase.first_output for phase in seen), default=0)
        end = max((phase.first_output + (phase.n_taps - 1) * phase.dilation + 1
                   for phase in seen), default=1)
        table = np.array([(phase.first_output - first if phase.n_taps else 0, phase.n_taps)
                          for phase in phases], np.intp)
        self.kept.append(table)
        axis.n, axis.n_phases = sum(phase.n_positions for phase in phases), len(phases)
        axis.stride, axis.dilation = phases[0].stride, phases[0].dilation
        axis.phases = <const phase_t *> PyArray_DATA(<ndarray> table)
        before = max(-first, 0)
        axis.first, axis.extent = first + before, end - first
        return axis_of((None, None), (before, 0), n_samples, 1)

    cdef object _tap_tables(self, Py_ssize_t lanes):
        """(place of every tap, first tap of every pair of phases): the taps of a pair in a row."""
        problem = self.problem
        place = np.full((problem.KH, problem.KW), -1, np.intp)
        first, count = [], 0
        for row in self.rows:
            for column in self.columns:
                first.append(count)
                n = row.n_taps * column.n_taps
                place[row.taps, column.taps] = np.arange(count, count + n).reshape(
                    row.n_taps, column.n_taps)
                count += n
        unseen = place < 0  # too few positions have all phases
        place[unseen] = np.arange(count, problem.KH * problem.KW)
        return place * lanes, np.array(first, np.intp)

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0
        job[0] = self.base
        job.kernel = job.dy.kernel = job.dx.kernel = kernel
        n_blocks = ceil_div(job.channels, lanes)
        stride_y, stride_x = job.rows.stride, job.columns.stride

        # With channels last, a thread takes blocks side by side, whose lines it fetches together,
        # of smaller tiles, so that they are still there.
        side = 1
        if self.problem.channels_last:
            side = ceil_div(n_blocks, ceil_div(n_blocks, SIDE_BLOCKS))

        # Whole strides, so that all tiles begin with the first phase.
        most = min(TILE_BYTES, 2 * TILE_BYTES // side) // (lanes * item)
        columns = job.columns.n
        while columns > FEWEST_COLUMNS and columns * max(4, stride_y) > most:
            columns = max(ceil_div(columns, 2), FEWEST_COLUMNS)
        columns = ceil_div(columns, stride_x) * stride_x
        rows = max(most // columns, 1)
        n_column_tiles = ceil_div(job.columns.n, columns)
        cycles_per_row = columns * (
            CYCLES_PER_PIXEL + CYCLES_PER_TAP * job.n_taps / (stride_y * stride_x))
        if workers > 1:  # tiles for every thread, where they are worth it
            others = self.problem.N * ceil_div(n_blocks, side) * n_column_tiles
            n_row_tiles = min(ceil_div(4 * workers, others),
                              1 + int(job.rows.n * cycles_per_row * side / ITEM_CYCLES))
            rows = min(rows, max(ceil_div(job.rows.n, n_row_tiles), 4))
        rows = ceil_div(min(rows, job.rows.n), stride_y) * stride_y
        n_row_tiles = ceil_div(job.rows.n, rows)
        tile_cycles = 500 + cycles_per_row * rows
        others = self.problem.N * n_row_tiles * n_column_tiles
        blocks = max(
            min(int(ITEM_CYCLES / tile_cycles), n_blocks * others // (4 * workers)), side)
        n_block_tiles = ceil_div(n_blocks, blocks)
        tile_cycles *= blocks
        job.tiling = tiling_t(
            rows=job.rows.n, columns=job.columns.n, n_blocks=n_blocks,
            tile_rows=rows, tile_columns=columns, tile_blocks=blocks,
            n_row_tiles=n_row_tiles, n_column_tiles=n_column_tiles, n_block_tiles=n_block_tiles)
        cut.n_tiles = others * n_block_tiles
        cut.workers = min(workers, cut.n_tiles,
                          int(cut.n_tiles * tile_cycles / CYCLES_PER_THREAD) + 1)
        cut.tile_seconds = tile_cycles / CYCLES_PER_SECOND

        window_rows, window_columns = window_of(&job.rows, rows), window_of(&job.columns, columns)
        place, first = self._tap_tables(lanes)
        pixel = pixel_table(
            min(self.problem.OH, window_rows), window_columns, self.problem.OW, lanes)
        cut.arrays = [place, first, pixel, self.kept]
        job.tap_place = <const Py_ssize_t *> PyArray_DATA(<ndarray> place)
        job.first_tap = <const Py_ssize_t *> PyArray_DATA(<ndarray> first)
        job.dy.pixel = <const Py_ssize_t *> PyArray_DATA(<ndarray> pixel)
        at = place_window(&job.dy, window_rows, max(window_columns, columns), at)
        job.at_weights, at = at, at + whole_lines((job.n_taps + 1) * lanes * item)
        job.at_outputs, at = at, at + whole_lines(rows * columns * lanes * item)
        cut.scratch_bytes = at
        cut.kernel_name = f"fc_{kernel.name.decode()}_depthwise_{lanes}xn_{active_isa()}"
        return cut

    def run(self, ndarray dy, ndarray w, bias, ndarray dx, int workers):
        """Compute dx (N, C, H, W) from dy (N, C, OH, OW), w (C, 1, KH, KW) and bias (C,) or None.

        The arrays may have any strides; their dtypes promote to that of dx.
        """
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        problem = self.problem
        w = np.require(w, self.compute_type, "CA")
        dy = aligned(dy)
        job.w = <const char *> PyArray_DATA(w)
        if bias is not None:
            bias = np.require(bias, self.compute_type, "CA")
            job.bias = <const char *> PyArray_DATA(<ndarray> bias)
        job.dy.type = element_code(dy.dtype)
        item_bytes = job.kernel.item_bytes
        set_image(&job.dy, image_of(dy, 4, False, 0),
                  is_computed_in(dy.dtype, problem, item_bytes), problem.OW)
        set_target(&job.dx, image_of(dx, 4, False, 0),
                   is_computed_in(problem.dtype, problem, item_bytes))
        return parallel_for(run_tile, &job, cut.n_tiles, cut.workers, cut.scratch_bytes,
                            cut.tile_seconds)
