# SPDX-License-Identifier: BSD-3-Clause
"""Stencils: one or two output channels per group, depthwise layers and single images.

    for tile in (images x groups x rows x columns)           parallel_for
      for strip of 1, 2, 3 or 4 vectors of outputs           if x can be read where it lies
        fc_sweep                                             the sum: registers
      or for input channel of the group, real or imaginary part
        for chunk of rows
          stage the chunk's rows of x                        fc_stage, fc_split
          for piece of the kernel (up to about FC_K_BLOCK taps)  level 2 of the sum: `sums`
            for block of 4 or 6 rows x (1, 2, 3 or 4 vectors) of outputs
              fc_stencil                                     level 1 of the sum: registers

A vector of x is loaded once for all rows of the block that it serves. Rows of a dilated kernel are
served in classes of rows `dilation` apart, column strides and dilations by the window's planes. A
complex operand is two real ones: part p of an output sums the parts of x under those of w.
"""

import math

import numpy as np

from libc.stdint cimport uint16_t
from libc.string cimport memcpy, memset
from numpy cimport (
    PyArray_DATA, PyArray_DIM, PyArray_IS_C_CONTIGUOUS, PyArray_STRIDE, import_array, ndarray,
)

from fastcorr._algorithms.operands cimport aligned, image_of, is_computed_in, weights_of
from fastcorr._algorithms.parallel cimport parallel_for, whole_lines
from fastcorr._algorithms.stencil_window cimport (
    find_window, job_t, stage_rows, tile_t, weights_for,
)
from fastcorr._algorithms.stencils cimport short_stencils, tall_stencils, widest
from fastcorr._algorithms.strips cimport (
    count_strips, find_rows, find_strips, strip_t, strip_vectors,
)
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, ceil_div, interior, positions
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport (
    FC_K_BLOCK, FC_STENCIL_3X3_VECTORS, FC_STENCIL_MAX_HEIGHT, FC_STENCIL_MAX_VECTORS,
    FC_STENCIL_ROWS, FC_STENCIL_TALL_ROWS, fc_beside_t, fc_kernels_t, fc_stencil_fn,
)

from fastcorr._algorithms.layout import axis_layout
from fastcorr._kernels.dispatch import active_isa, element_code, is_kernel_dtype

import_array()

WINDOW_BYTES = 400 * 1024       # of a tile, so that it stays in the second-level cache
BLOCK_BYTES = 80 * 1024          # of the rows under a block: whole rows are fetched ahead better
CHUNK_BYTES = 24 * 1024         # staged at a time: still in the first level when it is used
LARGEST_WINDOW_BYTES = 512 * 1024
MAX_CHANNELS = 2                # output channels per group: with more, gemm reuses loads better
MAX_DILATION = 8
# Longer rows of x lie too far apart to be fetched ahead: 7 x 7 over 1024 x 1024 took 1190 us in
# strips, 880 staged; 5 x 5 over 500 x 500 took 114 and 143 (one core of an Intel Xeon with AVX-512,
# 2026-11-27).
STRIP_ROW_BYTES = 2048
TILE_CYCLES = 150e3             # about 50 us: enough tiles to balance, few enough to be free
CYCLES_PER_THREAD = 30e3        # 10 us: several times what a second thread costs
CYCLES_PER_SECOND = 2e9


def unsupported(problem):
    """None, or why stencils cannot serve the problem."""
    if not is_kernel_dtype(problem.dtype):
        return f"there are no kernels for {problem.dtype}"
    if problem.F // problem.groups > MAX_CHANNELS:
        return f"stencils serve up to {MAX_CHANNELS} output channels per group"
    if problem.dilation[0] > MAX_DILATION:
        return f"stencils serve vertical dilations up to {MAX_DILATION}"
    if problem.stride[0] != 1 and (
            problem.stride[0] != 2 or problem.dilation[0] != 1 or problem.dtype.kind not in "fc"
            or problem.KH > FC_STENCIL_MAX_HEIGHT):
        return "stencils serve vertical stride 1, and 2 for floats and kernels of up to 7 rows"
    if smallest_window_bytes(problem) > LARGEST_WINDOW_BYTES:
        return "the kernel is too large for a stencil's window"
    return None


def is_swept(problem):
    """Whether strips can read x where it lies, if it is contiguous and any constant is zero."""
    return (
        problem.C == problem.groups and problem.dtype.kind == "f"
        and problem.x_dtype == problem.w_dtype == problem.dtype and problem.dtype.itemsize >= 4
        and problem.stride == (1, 1) and not problem.channels_last
        and 2 <= problem.KH <= FC_STENCIL_MAX_HEIGHT
        and (problem.padding_mode != "constant"
             or max(problem.padding[0]) <= (problem.KH - 1) * problem.dilation[0])
        and problem.W * problem.dtype.itemsize <= STRIP_ROW_BYTES)


def may_be_loose(problem):
    """Whether strips may be wide enough for loose sweeps; the instruction set must have some."""
    return (is_swept(problem) and problem.KH == problem.KW and problem.KW in (3, 5, 7)
            and problem.dilation[1] == 1 and problem.padding_mode == "constant"
            and max(problem.padding[1]) <= problem.KW // 2)


def has_steps(margins):
    """Whether what lies side by side beside the image comes from its samples side by side."""
    return all(margin is None or np.all(np.abs(np.diff(margin)) <= 1) for margin in margins)


def smallest_window_bytes(problem):
    row = axis_layout(min(problem.OW, 64), problem.KW, problem.stride[1], problem.dilation[1])
    rows = (2 * FC_STENCIL_TALL_ROWS + problem.KH - 1) * problem.dilation[0]
    return len(row.starts) * row.length * rows * 8


cdef enum:
    SUMS = 16  # pieces in a second-level sum before it is added to a third level


# Some rows of the tile, and some taps of one kernel.
ctypedef struct piece_t:
    Py_ssize_t row0, rows
    const char *window                  # from the tile's first row on
    const char *w
    Py_ssize_t ky0, nky, kx0, nkx
    const char *bias
    bint accumulate


cdef const char *bias_of(const job_t *job, Py_ssize_t output) noexcept nogil:
    """[F][parts] for a complex w, [parts][F] for a complex x under a real w."""
    if job.bias == NULL:
        return NULL
    if job.w_parts < job.y_parts:
        output = output % 2 * (job.groups * job.m // 2) + output // 2
    return job.bias + output * job.kernel.item_bytes


cdef void correlate(const job_t *job, const tile_t *t, const piece_t *piece, char *sums, char *y,
                    char *scratch) noexcept nogil:
    """A piece into `sums`, or, where y is not NULL, into y.

    In y the last block of rows and of columns ends with the piece, over some outputs that the block
    before has written: they are the same.
    """
    cdef Py_ssize_t residue, row, n, n_tall, step = job.dilation_y
    cdef const fc_stencil_fn *tall = tall_stencils(job.kernel, job.stride_y, piece.nky)
    for residue in range(min(step, piece.rows)):
        # Few rows too many: 6 + 6 + 4, or 6 + 4 + 4, but none of 6 for less than 6 rows.
        n = ceil_div(piece.rows - residue, step)
        n_tall = 0
        if tall != NULL and n >= FC_STENCIL_TALL_ROWS:
            n_tall = (n + 1) // FC_STENCIL_TALL_ROWS
            if n % FC_STENCIL_TALL_ROWS in (1, 2):
                n_tall -= 1
            n_tall = min(n_tall * FC_STENCIL_TALL_ROWS, n)
        row = piece.row0 + residue
        correlate_blocks(job, t, piece, tall, FC_STENCIL_TALL_ROWS, row, n_tall, 0, sums, y,
                         scratch)
        correlate_blocks(job, t, piece,
                         short_stencils(job.kernel, job.stride_y, piece.nky), FC_STENCIL_ROWS,
                         row + n_tall * step, n - n_tall, n_tall, sums, y, scratch)


cdef void correlate_blocks(const job_t *job, const tile_t *t, const piece_t *piece,
                           const fc_stencil_fn *stencil, Py_ssize_t block_rows, Py_ssize_t row,
                           Py_ssize_t n, Py_ssize_t n_before, char *sums, char *y,
                           char *scratch) noexcept nogil:
    """Rows row, row + dilation, ..., n of them, after n_before others of the piece."""
    cdef Py_ssize_t n_whole = n // block_rows, first = n_whole * block_rows
    cdef bint is_whole = y != NULL and n_before + n >= block_rows
    correlate_rows(job, t, piece, stencil, block_rows, row, n_whole, True, sums, y, scratch)
    if first < n:
        if is_whole:
            first = n - block_rows
        correlate_rows(job, t, piece, stencil, block_rows, row + first * job.dilation_y, 1,
                       is_whole, sums, y, scratch)


cdef void correlate_rows(const job_t *job, const tile_t *t, const piece_t *piece,
                         const fc_stencil_fn *stencil, Py_ssize_t block_rows, Py_ssize_t row,
                         Py_ssize_t n_down, bint are_whole, char *sums, char *y,
                         char *scratch) noexcept nogil:
    """n_down blocks of rows row, row + dilation, ...; one not whole ends beyond the tile."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef Py_ssize_t n_vectors = ceil_div(t.columns, lanes), most = job.kernel.stencil_vectors
    cdef Py_ssize_t done = 0, left, n_across, nv, last, ldc, block
    cdef const char *window = piece.window + (
        row * job.stride_y + piece.ky0 * job.dilation_y) * t.pitch * item
    cdef char *c
    cdef bint straight = y != NULL and are_whole and t.columns >= lanes
    if n_down == 0:
        return
    if piece.nky == 3 and piece.nkx == 3:
        most = min(most, FC_STENCIL_3X3_VECTORS)
    if straight:
        c, ldc = y + row * job.y.h, job.y.h // item * job.dilation_y
    else:
        c = sums + row * job.sums_pitch * item
        ldc = job.sums_pitch * job.dilation_y
    while done < n_vectors:
        # Many of the widest blocks in one call, but rather 3 + 2 vectors than 4 + 1.
        left = n_vectors - done
        nv = widest(stencil, min(left, most))
        n_across = left // nv
        if nv > 2 and nv == most and stencil[nv - 1] != NULL and left > nv and left % nv == 1:
            n_across -= 1
            if n_across == 0:
                nv, n_across = most - 1, 1
        last = (nv - 1) * lanes
        if straight and n_across * nv == left:
            last += t.columns - n_vectors * lanes
        stencil[nv](
            n_down, n_across, last, window + done * lanes * item, t.pitch * job.dilation_y,
            piece.nky, piece.nkx, job.column + piece.kx0,
            piece.w + (piece.ky0 * job.kw + piece.kx0) * item, job.kw,
            piece.bias if straight else NULL, c + done * lanes * item, ldc, piece.accumulate)
        done += n_across * nv
    if y != NULL and not straight:
        for block in range(n_down):
            store_rows(job, t, row + block * block_rows * job.dilation_y, job.dilation_y,
                       block_rows, sums, piece.bias, y)


cdef void store_rows(const job_t *job, const tile_t *t, Py_ssize_t row, Py_ssize_t step,
                     Py_ssize_t n_rows, const char *sums, const char *bias,
                     char *y) noexcept nogil:
    """Write finished sums to y: n_rows rows row, row + step, ... or those of them in the tile."""
    cdef Py_ssize_t i, zero = 0
    for i in range(min(n_rows, ceil_div(t.rows - row, step))):
        job.kernel.store[job.y_type](
            sums + (row + i * step) * job.sums_pitch * job.kernel.item_bytes, 0, 1, t.columns,
            bias, y + (row + i * step) * job.y.h, &zero, job.y.w)


cdef void store_complex_rows(const job_t *job, const tile_t *t, const piece_t *rows,
                             const char *sums, const char *biases, char *y) noexcept nogil:
    """The real and the imaginary part side by side."""
    cdef Py_ssize_t[2] parts
    cdef Py_ssize_t row
    parts[0], parts[1] = 0, job.y.part
    for row in range(rows.row0, rows.row0 + rows.rows):
        job.kernel.store[job.y_type](
            sums + row * job.sums_pitch * job.kernel.item_bytes, job.sums_size, 2, t.columns,
            biases, y + row * job.y.h, parts, job.y.w)


cdef void run_tile(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef tile_t t
    cdef Py_ssize_t i, group, group0
    i = index % job.n_column_tiles
    t.column0 = i * job.tile_columns
    t.columns = min(job.tile_columns, job.ow - t.column0)
    index //= job.n_column_tiles
    i = index % job.n_row_tiles
    t.row0 = i * job.tile_rows
    t.rows = min(job.tile_rows, job.oh - t.row0)
    index //= job.n_row_tiles
    group0 = index % job.n_group_tiles * job.tile_groups
    t.image = index // job.n_group_tiles
    if job.swept:
        sweep_tile(job, &t, group0, min(group0 + job.tile_groups, job.groups), scratch)
        return
    # Blocks that end with the tile read nothing beyond it.
    t.in_place = (job.in_place and t.columns >= job.kernel.lanes
                  and t.rows >= FC_STENCIL_ROWS * job.dilation_y)
    t.pitch = job.x.h // job.kernel.item_bytes if t.in_place else job.pitch
    if not t.in_place:
        find_window(job, &t, scratch)
    for group in range(group0, min(group0 + job.tile_groups, job.groups)):
        run_group(job, &t, group, group == group0, scratch)


cdef Py_ssize_t place_strips(const job_t *job, const tile_t *t, char *scratch) noexcept nogil:
    """Lay out the strips of the tile, the same for all channels; return how many there are."""
    cdef strip_t *strips = <strip_t *> (scratch + job.at_strips)
    cdef strip_t *strip
    cdef Py_ssize_t *row_bytes = <Py_ssize_t *> (scratch + job.at_row_bytes)
    cdef Py_ssize_t n = count_strips(job.kernel, &job.columns, job.kh, t.columns), i, residue
    cdef Py_ssize_t step = job.dilation_y
    find_strips(job.kernel, &job.columns, job.kh, t.column0, t.columns, job.kw, job.column,
                job.loose, strips, <uint16_t *> (scratch + job.at_inside),
                <fc_beside_t *> (scratch + job.at_beside))
    positions(&job.rows, t.row0, t.rows + (job.kh - 1) * step, job.x.h, row_bytes)
    for residue in range(min(step, t.rows)):
        for i in range(n):
            strip = strips + residue * n + i
            strip[0] = strips[i]
            strip.shape.row_bytes, strip.shape.row_step = row_bytes + residue, step
            strip.shape.ldc, strip.shape.ldw = step * job.y.h // job.kernel.item_bytes, job.kw
            find_rows(&job.rows, t.row0 + residue, ceil_div(t.rows - residue, step), job.kh, step,
                      &strip.shape)
            strip.y = strip.x + residue * job.y.h
    return n * min(step, t.rows)


cdef void sweep_tile(const job_t *job, const tile_t *t, Py_ssize_t group0, Py_ssize_t group1,
                     char *scratch) noexcept nogil:
    """All rows of the outputs of some channels, strip by strip."""
    cdef Py_ssize_t item = job.kernel.item_bytes, output, group, i, first, end
    cdef Py_ssize_t *row_bytes = <Py_ssize_t *> (scratch + job.at_row_bytes)
    cdef Py_ssize_t n_strips = place_strips(job, t, scratch)
    cdef Py_ssize_t[2] edges
    cdef const strip_t *strip
    cdef const char *x
    cdef char *y
    interior(&job.rows, t.row0, t.rows + (job.kh - 1) * job.dilation_y, &first, &end)
    if first < end:
        edges[0], edges[1] = row_bytes[first], row_bytes[end - 1]
    for group in range(group0, group1):
        x = (job.x.data + t.image * job.x.n + group * job.x.c
             + (t.column0 - job.columns.before) * item)
        if job.loose and first < end:
            row_bytes[first], row_bytes[end - 1] = edges[0], edges[1]
            if (x + edges[0] < job.first_x
                    or x + edges[1] + job.reach * item > job.end_of_x):
                move_row(job, x, row_bytes + first, scratch + job.at_edge_rows)
                move_row(job, x, row_bytes + end - 1,
                         scratch + job.at_edge_rows + job.reach * item)
        for output in range(group * job.m, (group + 1) * job.m):
            y = output_of(job, t, output)
            for i in range(n_strips):
                strip = <const strip_t *> (scratch + job.at_strips) + i
                strip.sweep(&strip.shape, x + strip.x, job.w.data + output * job.w.f,
                            bias_of(job, output), y + strip.y)


cdef void move_row(const job_t *job, const char *x, Py_ssize_t *row_bytes,
                   char *to) noexcept nogil:
    """Copy a row that ends the array, since strips read around it."""
    cdef Py_ssize_t item = job.kernel.item_bytes, before = job.columns.before * item
    memset(to, 0, job.reach * item)
    memcpy(to + before, x + row_bytes[0] + before, job.columns.n * item)
    row_bytes[0] = to - x


cdef void run_group(const job_t *job, const tile_t *t, Py_ssize_t group, bint is_first,
                    char *scratch) noexcept nogil:
    cdef Py_ssize_t n_terms = job.channels * job.x_parts, n_chunks, chunk, term, m, staged, end
    cdef Py_ssize_t channel
    cdef piece_t piece
    cdef const char *weights[2 * 2]
    cdef int part
    n_chunks = max(t.rows // job.chunk_rows, 1)
    for term in range(n_terms):
        part = <int> (term % job.x_parts)
        for m in range(job.m):
            weights[m] = weights_for(job, group * job.m + m, term // job.x_parts, part, m, scratch)
        staged = 0
        for chunk in range(n_chunks):
            piece.row0 = chunk * job.chunk_rows
            piece.rows = t.rows - piece.row0 if chunk == n_chunks - 1 else job.chunk_rows
            end = ((piece.row0 + piece.rows - 1) * job.stride_y
                   + (job.kh - 1) * job.dilation_y + 1)
            channel = group * job.channels + term // job.x_parts
            if t.in_place:
                piece.window = (job.x.data + t.image * job.x.n + channel * job.x.c
                                + t.row0 * job.x.h + t.column0 * job.x.w)
            else:
                piece.window = scratch + job.at_window
                stage_rows(job, t, channel, part, staged, end,
                           is_first and term == 0 or job.x_parts == 2, scratch)
            staged = end
            for m in range(job.m):
                if job.w_parts < job.y_parts and m % 2 != part:
                    continue  # a complex x under a real w
                piece.w = weights[m]
                add_term(job, t, group * job.m + m, m, term, &piece, scratch)
            if term == n_terms - 1 and not job.direct_stores:
                store_chunk(job, t, group, &piece, scratch)


cdef char *output_of(const job_t *job, const tile_t *t, Py_ssize_t output) noexcept nogil:
    return (job.y.data + t.image * job.y.n + output // job.y_parts * job.y.c + t.row0 * job.y.h
            + t.column0 * job.y.w)


cdef void add_term(const job_t *job, const tile_t *t, Py_ssize_t output, Py_ssize_t m,
                   Py_ssize_t term, piece_t *piece, char *scratch) noexcept nogil:
    """Add the channel's share to rows of an output."""
    cdef Py_ssize_t item = job.kernel.item_bytes, i, n_sums, n_pieces
    cdef Py_ssize_t at = piece.row0 * job.sums_pitch * item, n = piece.rows * job.sums_pitch
    cdef char *sums = scratch + job.at_sums + m * job.sums_size * item
    cdef char *totals = scratch + job.at_totals + m * job.sums_size * item
    cdef char *y = output_of(job, t, output) if job.direct_stores else NULL
    n_pieces = job.n_pieces_y * job.n_pieces_x
    if job.w_parts < job.x_parts:
        term //= 2
    n_sums = term * n_pieces
    piece.bias = bias_of(job, output) if job.direct_stores else NULL
    for i in range(n_pieces):
        piece.ky0 = i // job.n_pieces_x * job.piece_kh
        piece.nky = min(job.piece_kh, job.kh - piece.ky0)
        piece.kx0 = i % job.n_pieces_x * job.piece_kw
        piece.nkx = min(job.piece_kw, job.kw - piece.kx0)
        piece.accumulate = n_sums % SUMS > 0
        correlate(job, t, piece, sums, y, scratch)
        n_sums += 1
        if job.n_sums > SUMS and (n_sums % SUMS == 0 or n_sums == job.n_sums):
            if n_sums <= SUMS:
                memcpy(totals + at, sums + at, n * item)
            else:
                job.kernel.add(n, sums + at, totals + at)


cdef void store_chunk(const job_t *job, const tile_t *t, Py_ssize_t group, const piece_t *rows,
                      char *scratch) noexcept nogil:
    cdef Py_ssize_t i, m, output, item = job.kernel.item_bytes
    cdef const char *sums = scratch + (job.at_totals if job.n_sums > SUMS else job.at_sums)
    cdef const char *bias
    cdef char biases[2 * 8]
    for i in range(job.m // job.y_parts):
        m = i * job.y_parts
        output = group * job.m + m
        bias = bias_of(job, output)
        if job.y_parts == 1:
            store_rows(job, t, rows.row0, 1, rows.rows, sums + m * job.sums_size * item, bias,
                       output_of(job, t, output))
            continue
        if bias != NULL:
            memcpy(biases, bias, item)
            memcpy(biases + item, bias_of(job, output + 1), item)
        store_complex_rows(job, t, rows, sums + m * job.sums_size * item,
                           NULL if bias == NULL else biases, output_of(job, t, output))


cdef class Cut(TiledCut):
    """How the work is cut into tiles for one instruction set and number of threads."""

    cdef job_t job


cdef class Stencil(Tiled):
    """The algorithm for one problem: see tiled.Tiled for the meaning of the arguments."""

    cdef job_t base
    cdef bint loads_as_computed, weights_as_computed, stores_as_computed, may_stay, may_sweep
    cdef bint may_be_loose

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        Tiled.__init__(self, problem, rows, columns)
        memset(job, 0, sizeof(job_t))
        job.x_type = element_code(problem.x_dtype)
        job.w_type = element_code(problem.w_dtype)
        job.y_type = element_code(problem.dtype)
        item = kernels(self.compute).item_bytes
        self.loads_as_computed = is_computed_in(problem.x_dtype, problem, item)
        self.weights_as_computed = is_computed_in(problem.w_dtype, problem, item)
        self.stores_as_computed = is_computed_in(problem.dtype, problem, item)
        self.may_stay = (self.loads_as_computed and problem.stride == (1, 1)
                         and not any(problem.padding[0] + problem.padding[1]))
        self.may_sweep = is_swept(problem) and has_steps(columns)
        self.may_be_loose = may_be_loose(problem)
        job.x_parts, job.w_parts, job.y_parts = (
            1 + (dtype.kind == "c") for dtype in (problem.x_dtype, problem.w_dtype, problem.dtype))
        job.groups = problem.groups
        job.m = problem.F // problem.groups * job.y_parts
        job.channels = problem.C // problem.groups
        job.kh, job.kw, job.oh, job.ow = problem.KH, problem.KW, problem.OH, problem.OW
        job.stride_y, job.stride_x = problem.stride
        job.dilation_y = problem.dilation[0]
        job.constant_margins = problem.padding_mode == "constant"
        job.rows = axis_of(rows, problem.padding[0], problem.H, 1)
        job.columns = axis_of(columns, problem.padding[1], problem.W, problem.stride[1])
        job.single_columns = axis_of(columns, problem.padding[1], problem.W, 1)
        # Pieces of about FC_K_BLOCK taps: some rows of the kernel, or a part of one row.
        job.n_pieces_x = ceil_div(job.kw, FC_K_BLOCK)
        job.piece_kw = ceil_div(job.kw, job.n_pieces_x)
        job.n_pieces_x = ceil_div(job.kw, job.piece_kw)
        job.n_pieces_y = ceil_div(job.kh * job.piece_kw, FC_K_BLOCK + FC_K_BLOCK // 4)
        job.piece_kh = ceil_div(job.kh, job.n_pieces_y)
        job.n_pieces_y = ceil_div(job.kh, job.piece_kh)
        job.n_sums = job.channels * min(job.x_parts, job.w_parts) * job.n_pieces_y * job.n_pieces_x

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0, rows, columns, halo
        job[0] = self.base
        job.kernel = kernel
        halo = (job.kh - 1) * job.dilation_y
        has_tall = tall_stencils(kernel, job.stride_y, job.piece_kh) != NULL
        block = (FC_STENCIL_TALL_ROWS if has_tall else FC_STENCIL_ROWS) * job.dilation_y

        columns = job.ow
        while True:
            layout = axis_layout(columns, job.kw, job.stride_x, self.problem.dilation[1])
            row_bytes = layout.length * len(layout.starts) * item
            if columns <= 8 * lanes or row_bytes * (halo + block * job.stride_y) < BLOCK_BYTES:
                break
            columns = max((columns // 2 + lanes - 1) // lanes * lanes, 8 * lanes)
        rows = (WINDOW_BYTES // job.m // row_bytes - halo) // job.stride_y // block * block
        rows = min(max(rows, block), job.oh)
        # Whole blocks of either height, since a piece of the kernel may be too low for tall ones:
        # what a block computes beyond the chunk would spoil sums there.
        whole = math.lcm(block, FC_STENCIL_ROWS * job.dilation_y)
        job.chunk_rows = max(CHUNK_BYTES // row_bytes // job.stride_y // whole * whole, whole)
        cycles_per_row = max(columns, lanes) / lanes * job.kh * job.kw * job.channels * job.m * 1.6
        cycles_per_row *= min(job.x_parts, job.w_parts)
        if workers > 1:
            # Rows of a large image for every thread, several times over.
            if self.problem.N * job.groups < 4 * workers:
                share = ceil_div(job.oh, 4 * workers)
                rows = min(rows, ceil_div(share, block) * block)
        job.tile_rows, job.tile_columns = rows, columns
        tile_cycles = 300 + cycles_per_row * rows
        job.tile_groups = max(1, min(job.groups, int(TILE_CYCLES / tile_cycles)))
        job.n_group_tiles = ceil_div(job.groups, job.tile_groups)
        if 1 < job.n_group_tiles * self.problem.N < 4 * workers and job.tile_groups > 1:
            job.tile_groups = ceil_div(job.groups, ceil_div(4 * workers, self.problem.N))
            job.n_group_tiles = ceil_div(job.groups, job.tile_groups)
        tile_cycles *= job.tile_groups
        job.n_row_tiles = ceil_div(job.oh, rows)
        job.n_column_tiles = ceil_div(job.ow, columns)

        job.margins_fit_strips = (
            job.n_column_tiles == 1 and max(job.columns.before, job.columns.after) <= lanes)
        job.window_rows = (rows - 1) * job.stride_y + halo + 1
        # Whole vectors, shifted so that the image itself starts at one.
        job.row_length = layout.length
        shift = (lanes - job.columns.before // job.stride_x % lanes) % lanes
        job.pitch = (layout.length + shift + lanes - 1) // lanes * lanes
        job.n_column_planes = len(layout.starts)
        job.split = self.loads_as_computed and job.stride_x == 2 and layout.starts == [0, 1]
        # Blocks of rows compute beyond the tile, in rows that are never stored.
        spare_rows = (block + job.dilation_y) * job.stride_y
        plane = job.window_rows * job.pitch
        column = (np.array(layout.plane) * plane + np.array(layout.offset)).astype(np.intp)
        column_starts = np.array(layout.starts, dtype=np.intp)
        cut.arrays = [column, column_starts]
        job.column = <const Py_ssize_t *> PyArray_DATA(<ndarray> column)
        job.column_starts = <const Py_ssize_t *> PyArray_DATA(<ndarray> column_starts)
        job.sums_pitch = (columns + lanes - 1) // lanes * lanes
        job.sums_size = (rows + block) * job.sums_pitch

        job.at_row_bytes, at = at, at + whole_lines(job.window_rows * sizeof(Py_ssize_t))
        job.at_column_bytes, at = at, at + whole_lines(
            job.n_column_planes * job.row_length * sizeof(Py_ssize_t))
        job.at_window, at = at + shift * item, at + whole_lines(
            (shift + plane * job.n_column_planes + spare_rows * job.pitch
             + FC_STENCIL_MAX_VECTORS * lanes) * item)
        job.at_weights, at = at, at + whole_lines(job.m * job.kh * job.kw * item)
        job.at_sums, at = at, at + whole_lines(job.m * job.sums_size * item)
        most_strips = 0
        if strip_vectors(kernel, job.kh) > 0:
            most_strips = count_strips(kernel, &job.columns, job.kh, columns)
        job.at_strips, at = at, at + whole_lines(most_strips * job.dilation_y * sizeof(strip_t))
        job.at_inside, at = at, at + whole_lines(
            most_strips * job.kw * FC_STENCIL_MAX_VECTORS * sizeof(uint16_t))
        job.at_beside, at = at, at + whole_lines(
            most_strips * job.kw * FC_STENCIL_MAX_VECTORS * sizeof(fc_beside_t))
        # None but the first and the last row of x may end too near its ends.
        job.reach = max(columns, lanes) + job.kw - 1
        job.loose = (
            self.may_be_loose and job.n_column_tiles == 1 and most_strips > 0
            and kernel.loose_sweep[job.kh][1] != NULL
            and max(job.columns.before, job.reach - job.columns.before - job.columns.n)
            <= job.columns.n)
        job.at_edge_rows = at
        if job.loose:
            at += whole_lines(2 * job.reach * item)
        job.at_totals = at
        if job.n_sums > SUMS:
            at += whole_lines(job.m * job.sums_size * item)
        cut.scratch_bytes = at
        cut.n_tiles = (self.problem.N * job.n_group_tiles * job.n_row_tiles * job.n_column_tiles)
        worth = int(cut.n_tiles * tile_cycles / CYCLES_PER_THREAD) + 1
        cut.workers = min(workers, cut.n_tiles, worth)
        cut.tile_seconds = tile_cycles / CYCLES_PER_SECOND
        height = job.piece_kh if job.piece_kh <= FC_STENCIL_MAX_HEIGHT else "n"
        way = "sweep" if most_strips > 0 and self.may_sweep else "stencil"
        cut.kernel_name = (f"fc_{kernel.name.decode()}_{way}_{height}xn_s{job.stride_y}"
                           f"_{active_isa()}")
        return cut

    def run(self, ndarray x, ndarray w, bias, ndarray y, fill, int workers):
        """Compute y; see gemm.Gemm.run."""
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        cdef const char *fill_bytes = fill
        cdef Py_ssize_t item = job.kernel.item_bytes
        cdef int axis
        memcpy(job.fill, fill_bytes, 2 * item)
        x, w = aligned(x), aligned(w)
        job.x = image_of(x, x.ndim, self.problem.channels_last, x.itemsize // 2)
        job.y = image_of(y, y.ndim, self.problem.channels_last, y.itemsize // 2)
        job.w = weights_of(w, w.ndim, w.itemsize // 2)
        job.split = job.split and job.x.w == item
        job.bias = NULL if bias is None else <const char *> PyArray_DATA(<ndarray> bias)
        job.direct_weights = PyArray_IS_C_CONTIGUOUS(w) and self.weights_as_computed
        job.direct_stores = (
            self.stores_as_computed and job.n_sums == 1
            and job.y.w == item and job.y.h % item == 0)
        # Rows that are left out must not have met Inf or NaN.
        job.swept = (
            self.may_sweep and job.direct_stores and job.direct_weights
            and strip_vectors(job.kernel, job.kh) > 0 and job.n_column_planes == 1
            and job.x.w == item and job.x.h % item == 0 and job.x.h <= STRIP_ROW_BYTES
            and (not any(fill) and job.kernel.is_finite(w.size, job.w.data)
                 if job.constant_margins else job.margins_fit_strips))
        job.loose = job.loose and job.x.h >= self.problem.W * item
        job.first_x, job.end_of_x = job.x.data, job.x.data + item
        for axis in range(x.ndim):
            job.first_x += min((PyArray_DIM(x, axis) - 1) * PyArray_STRIDE(x, axis), 0)
            job.end_of_x += max((PyArray_DIM(x, axis) - 1) * PyArray_STRIDE(x, axis), 0)
        # Rows that meet in one set of the first-level cache lie better in a window.
        job.in_place = (
            self.may_stay and job.direct_stores and job.n_column_planes == 1 and job.x.w == item
            and job.x.h % item == 0 and 256 <= job.x.h % 4096 <= 3840)
        return parallel_for(run_tile, &job, cut.n_tiles, cut.workers, cut.scratch_bytes,
                            cut.tile_seconds)
