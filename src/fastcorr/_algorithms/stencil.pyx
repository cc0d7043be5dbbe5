# SPDX-License-Identifier: BSD-3-Clause
"""Stencils: one or two output channels per group, depthwise layers and single images.

    for tile in (images x groups x rows x columns)           parallel_for
      for input channel of the group
        stage the channel's window of x                      fc_stage
        for piece of the kernel (up to about FC_K_BLOCK taps)  level 2 of the sum: `sums`
          for block of FC_STENCIL_ROWS x (1, 2 or 4 vectors) of outputs
            fc_stencil                                       level 1 of the sum: registers

A vector of x is loaded once for all rows of the block that it serves. Rows of a dilated kernel are
served in classes of rows `dilation` apart, column strides and dilations by the window's planes.
"""

import numpy as np

from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, PyArray_IS_C_CONTIGUOUS, import_array, ndarray

from fastcorr._algorithms.operands cimport (
    aligned, image_of, image_t, is_computed_in, weights_of, weights_t,
)
from fastcorr._algorithms.parallel cimport parallel_for, whole_lines
from fastcorr._algorithms.window cimport axis_of, axis_t, ceil_div, interior, positions
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport (
    FC_K_BLOCK, FC_STENCIL_MAX_HEIGHT, FC_STENCIL_MAX_VECTORS, FC_STENCIL_ROWS, fc_kernels_t,
    fc_window_t,
)

from fastcorr._algorithms.layout import axis_layout
from fastcorr._kernels.dispatch import active_isa, compute_code, element_code, is_kernel_dtype

import_array()

WINDOW_BYTES = 96 * 1024        # of a tile, so that it stays in the second-level cache
LARGEST_WINDOW_BYTES = 512 * 1024
MAX_CHANNELS = 2                # output channels per group: with more, gemm reuses loads better
MAX_DILATION = 8
TILE_CYCLES = 150e3             # about 50 us: enough tiles to balance, few enough to be free
CYCLES_PER_THREAD = 100e3
CYCLES_PER_SECOND = 2e9


def unsupported(problem):
    """None, or why stencils cannot serve the problem."""
    if not is_kernel_dtype(problem.dtype):
        return f"there are no kernels for {problem.dtype}"
    if problem.F // problem.groups > MAX_CHANNELS:
        return f"stencils serve up to {MAX_CHANNELS} output channels per group"
    if "c" in (problem.x_dtype.kind, problem.w_dtype.kind):
        return "stencils serve real numbers"
    if problem.dilation[0] > MAX_DILATION:
        return f"stencils serve vertical dilations up to {MAX_DILATION}"
    if problem.stride[0] != 1 and (
            problem.stride[0] != 2 or problem.dilation[0] != 1 or problem.dtype.kind != "f"
            or problem.KH > FC_STENCIL_MAX_HEIGHT):
        return "stencils serve vertical stride 1, and 2 for floats and kernels of up to 7 rows"
    if smallest_window_bytes(problem) > LARGEST_WINDOW_BYTES:
        return "the kernel is too large for a stencil's window"
    return None


def smallest_window_bytes(problem):
    row = axis_layout(min(problem.OW, 64), problem.KW, problem.stride[1], problem.dilation[1])
    rows = 4 * FC_STENCIL_ROWS * problem.dilation[0] + (problem.KH - 1) * problem.dilation[0]
    return len(row.starts) * row.length * rows * 8


cdef enum:
    SUMS = 16  # pieces in a second-level sum before it is added to a third level


ctypedef struct job_t:
    const fc_kernels_t *kernel
    image_t x
    image_t y
    weights_t w
    const char *bias                    # [F], compute type, or NULL
    char fill[16]
    int x_type, w_type, y_type
    Py_ssize_t groups, m, channels, kh, kw, oh, ow
    Py_ssize_t stride_y, stride_x, dilation_y
    axis_t rows
    axis_t columns
    bint direct_weights, direct_stores, constant_margins
    # pieces of the kernel
    Py_ssize_t piece_kh, piece_kw, n_pieces_y, n_pieces_x, n_sums
    # tiles
    Py_ssize_t tile_groups, tile_rows, tile_columns
    Py_ssize_t n_group_tiles, n_row_tiles, n_column_tiles
    # the window: planes [column plane][window_rows][pitch]
    const Py_ssize_t *column            # [KW]
    const Py_ssize_t *column_starts
    Py_ssize_t n_column_planes, window_rows, row_length, pitch
    Py_ssize_t sums_pitch, sums_size    # of one output channel
    Py_ssize_t at_row_bytes, at_column_bytes, at_window, at_weights, at_sums, at_totals


ctypedef struct tile_t:
    Py_ssize_t image, row0, column0, rows, columns


cdef void stage_channel(const job_t *job, const tile_t *t, Py_ssize_t channel, bint is_first,
                        char *scratch) noexcept nogil:
    """Copy a channel's window; `find_window` has found its rows and columns.

    Margins that are constant are written for the tile's first channel only.
    """
    cdef fc_window_t win
    cdef Py_ssize_t *row_bytes = <Py_ssize_t *> (scratch + job.at_row_bytes)
    cdef Py_ssize_t *column_bytes = <Py_ssize_t *> (scratch + job.at_column_bytes)
    cdef Py_ssize_t px, row_lo = 0, row_hi, lo, n_columns, item = job.kernel.item_bytes
    cdef Py_ssize_t n_rows = job.window_rows - (job.tile_rows - t.rows) * job.stride_y
    cdef bint inner = job.constant_margins and not is_first
    win.n_rows, win.pitch = n_rows, job.pitch
    win.step_bytes = job.stride_x * job.x.w
    if inner:
        interior(&job.rows, t.row0 * job.stride_y, n_rows, &row_lo, &row_hi)
        win.n_rows = row_hi - row_lo
    win.row_bytes = row_bytes + row_lo
    for px in range(job.n_column_planes):
        n_columns = job.row_length - (job.tile_columns - t.columns)
        interior(&job.columns, t.column0 * job.stride_x + job.column_starts[px], n_columns,
                 &win.lo, &win.hi)
        lo = 0
        if inner:
            lo = win.lo
            n_columns = win.hi - lo
            win.lo, win.hi = 0, n_columns
        win.n_columns = n_columns
        win.column_bytes = column_bytes + px * job.row_length + lo
        job.kernel.stage[job.x_type](
            &win, job.x.data + t.image * job.x.n + channel * job.x.c, 1, 0, job.fill,
            scratch + job.at_window
            + ((px * job.window_rows + row_lo) * job.pitch + lo) * item, 0)


cdef void find_window(const job_t *job, const tile_t *t, char *scratch) noexcept nogil:
    """The rows and columns of x in the tile's window: the same for all channels."""
    cdef Py_ssize_t px
    positions(&job.rows, t.row0 * job.stride_y,
              job.window_rows - (job.tile_rows - t.rows) * job.stride_y, job.x.h,
              <Py_ssize_t *> (scratch + job.at_row_bytes))
    for px in range(job.n_column_planes):
        positions(&job.columns, t.column0 * job.stride_x + job.column_starts[px],
                  job.row_length - (job.tile_columns - t.columns), job.x.w,
                  <Py_ssize_t *> (scratch + job.at_column_bytes) + px * job.row_length)


cdef const char *weights_for(const job_t *job, Py_ssize_t f, Py_ssize_t c,
                             char *scratch) noexcept nogil:
    """The (KH, KW) weights of one pair of channels, as numbers of the compute type."""
    cdef fc_window_t win
    cdef Py_ssize_t zero = 0, ky, item = job.kernel.item_bytes
    cdef char nothing[16]
    cdef const char *src = job.w.data + f * job.w.f + c * job.w.c
    if job.direct_weights:
        return src
    memset(nothing, 0, sizeof(nothing))
    win.row_bytes, win.column_bytes = &zero, &zero
    win.n_rows, win.n_columns, win.pitch = 1, job.kw, job.kw
    win.lo, win.hi, win.step_bytes = 0, job.kw, job.w.kw
    for ky in range(job.kh):
        job.kernel.stage[job.w_type](&win, src + ky * job.w.kh, 1, 0, nothing,
                                     scratch + job.at_weights + ky * job.kw * item, 0)
    return scratch + job.at_weights


# A piece of one kernel: taps ky0 .. ky0 + nky, kx0 .. kx0 + nkx.
ctypedef struct piece_t:
    const char *w
    Py_ssize_t ky0, nky, kx0, nkx
    bint accumulate


cdef void correlate(const job_t *job, const tile_t *t, const piece_t *piece, char *sums, char *y,
                    char *scratch) noexcept nogil:
    """One piece of a kernel over the whole tile: into `sums`, or, where y is not NULL, into y.

    In y the last block of rows and of columns ends with the tile, over some outputs that the block
    before has written: they are the same.
    """
    cdef Py_ssize_t residue, n_rows, n_whole
    for residue in range(min(job.dilation_y, t.rows)):
        n_rows = ceil_div(t.rows - residue, job.dilation_y)
        n_whole = n_rows // FC_STENCIL_ROWS
        if n_whole > 0:
            correlate_rows(job, t, piece, residue, n_whole, True, sums, y, scratch)
        if n_rows % FC_STENCIL_ROWS > 0:
            if y != NULL and n_whole > 0:
                n_rows -= FC_STENCIL_ROWS
            else:
                n_rows = n_whole * FC_STENCIL_ROWS
            correlate_rows(job, t, piece, residue + n_rows * job.dilation_y, 1,
                           y != NULL and n_whole > 0, sums, y, scratch)


cdef void correlate_rows(const job_t *job, const tile_t *t, const piece_t *piece, Py_ssize_t row,
                         Py_ssize_t n_down, bint are_whole, char *sums, char *y,
                         char *scratch) noexcept nogil:
    """Blocks of rows row, row + dilation, ...: whole ones, or one that ends beyond the tile."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef Py_ssize_t height = piece.nky
    cdef Py_ssize_t column = 0, left, n_across, n_columns, ldc, block
    cdef const char *window = scratch + job.at_window + (
        row * job.stride_y + piece.ky0 * job.dilation_y) * job.pitch * item
    cdef char *c
    cdef bint straight
    cdef int nv
    if height > FC_STENCIL_MAX_HEIGHT or job.kernel.stencil[job.stride_y - 1][height][1] == NULL:
        height = 0
    while column < t.columns:
        # Many whole blocks in one call, then narrower ones.
        left = t.columns - column
        if y != NULL and left < lanes <= t.columns:
            column, left = t.columns - lanes, lanes
        nv = <int> min(max(left // lanes, 1) if y != NULL else ceil_div(left, lanes),
                       job.kernel.stencil_vectors)
        n_across = max(left // (nv * lanes), 1)
        n_columns = n_across * nv * lanes
        straight = y != NULL and are_whole and n_columns <= left
        if straight:
            c, ldc = y + row * job.y.h + column * item, job.y.h // item * job.dilation_y
        else:
            c = sums + (row * job.sums_pitch + column) * item
            ldc = job.sums_pitch * job.dilation_y
        job.kernel.stencil[job.stride_y - 1][height][nv](
            n_down, n_across, window + column * item, job.pitch * job.dilation_y, piece.nky,
            piece.nkx, job.column + piece.kx0,
            piece.w + (piece.ky0 * job.kw + piece.kx0) * item, job.kw, c, ldc, piece.accumulate)
        if y != NULL and not straight:
            for block in range(n_down):
                store_rows(job, t, row + block * FC_STENCIL_ROWS * job.dilation_y, job.dilation_y,
                           column, min(n_columns, left), sums, NULL, y)
        column += n_columns


cdef void store_rows(const job_t *job, const tile_t *t, Py_ssize_t row, Py_ssize_t step,
                     Py_ssize_t column, Py_ssize_t n, const char *sums, const char *bias,
                     char *y) noexcept nogil:
    """Write up to FC_STENCIL_ROWS rows row, row + step, ... of finished sums to y."""
    cdef Py_ssize_t row_bytes[8]
    cdef Py_ssize_t i, item = job.kernel.item_bytes
    cdef Py_ssize_t n_rows = min(<Py_ssize_t> FC_STENCIL_ROWS, ceil_div(t.rows - row, step))
    cdef char biases[8 * 8]
    for i in range(n_rows):
        row_bytes[i] = i * step * job.y.h
        if bias != NULL:
            memcpy(biases + i * item, bias, item)
    job.kernel.store[job.y_type](
        sums + (row * job.sums_pitch + column) * item, job.sums_pitch * step, n_rows, n,
        NULL if bias == NULL else biases, y + row * job.y.h + column * job.y.w, row_bytes, job.y.w)


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
    find_window(job, &t, scratch)
    for group in range(group0, min(group0 + job.tile_groups, job.groups)):
        run_group(job, &t, group, group == group0, scratch)


cdef void run_group(const job_t *job, const tile_t *t, Py_ssize_t group, bint is_first,
                    char *scratch) noexcept nogil:
    cdef Py_ssize_t item = job.kernel.item_bytes
    cdef Py_ssize_t c, f, m, i, block, n_sums = 0
    cdef piece_t piece
    cdef const char *bias = NULL
    cdef char *sums
    cdef char *totals
    cdef char *y
    for c in range(job.channels):
        stage_channel(job, t, group * job.channels + c, is_first and c == 0, scratch)
        for m in range(job.m):
            f = group * job.m + m
            piece.w = weights_for(job, f, c, scratch)
            sums = scratch + job.at_sums + m * job.sums_size * item
            totals = scratch + job.at_totals + m * job.sums_size * item
            y = (job.y.data + t.image * job.y.n + f * job.y.c + t.row0 * job.y.h
                 + t.column0 * job.y.w)
            n_sums = c * job.n_pieces_y * job.n_pieces_x
            for i in range(job.n_pieces_y * job.n_pieces_x):
                piece.ky0 = i // job.n_pieces_x * job.piece_kh
                piece.nky = min(job.piece_kh, job.kh - piece.ky0)
                piece.kx0 = i % job.n_pieces_x * job.piece_kw
                piece.nkx = min(job.piece_kw, job.kw - piece.kx0)
                piece.accumulate = n_sums % SUMS > 0
                correlate(job, t, &piece, sums, y if job.direct_stores else NULL, scratch)
                n_sums += 1
                if job.n_sums > SUMS and (n_sums % SUMS == 0 or n_sums == job.n_sums):
                    if n_sums <= SUMS:
                        memcpy(totals, sums, job.sums_size * item)
                    else:
                        job.kernel.add(job.sums_size, sums, totals)
    if job.direct_stores:
        return
    for m in range(job.m):
        f = group * job.m + m
        sums = (scratch + (job.at_totals if job.n_sums > SUMS else job.at_sums)
                + m * job.sums_size * item)
        y = job.y.data + t.image * job.y.n + f * job.y.c + t.row0 * job.y.h + t.column0 * job.y.w
        if job.bias != NULL:
            bias = job.bias + f * item
        for block in range(ceil_div(t.rows, FC_STENCIL_ROWS)):
            store_rows(job, t, block * FC_STENCIL_ROWS, 1, 0, t.columns, sums, bias, y)


cdef class Cut:
    """How the work is cut into tiles for one instruction set and number of threads."""

    cdef job_t job
    cdef list arrays                # keeps the tables alive that job points into
    cdef readonly int workers
    cdef readonly Py_ssize_t n_tiles, scratch_bytes
    cdef readonly str kernel_name
    cdef double tile_seconds


cdef class Stencil:
    """The algorithm for one problem: see gemm.Gemm for the meaning of the arguments."""

    cdef job_t base
    cdef object problem, rows, columns
    cdef dict cuts
    cdef int compute
    cdef bint weights_as_computed, stores_as_computed

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        memset(job, 0, sizeof(job_t))
        self.problem, self.rows, self.columns = problem, rows, columns
        self.cuts = {}
        self.compute = compute_code(problem.dtype)
        job.x_type = element_code(problem.x_dtype)
        job.w_type = element_code(problem.w_dtype)
        job.y_type = element_code(problem.dtype)
        item = kernels(self.compute).item_bytes
        self.weights_as_computed = is_computed_in(problem.w_dtype, problem, item)
        self.stores_as_computed = is_computed_in(problem.dtype, problem, item)
        job.groups = problem.groups
        job.m = problem.F // problem.groups
        job.channels = problem.C // problem.groups
        job.kh, job.kw, job.oh, job.ow = problem.KH, problem.KW, problem.OH, problem.OW
        job.stride_y, job.stride_x = problem.stride
        job.dilation_y = problem.dilation[0]
        job.constant_margins = problem.padding_mode == "constant"
        job.rows = axis_of(rows, problem.padding[0], problem.H, 1)
        job.columns = axis_of(columns, problem.padding[1], problem.W, problem.stride[1])
        # Pieces of about FC_K_BLOCK taps: some rows of the kernel, or a part of one row.
        job.n_pieces_x = ceil_div(job.kw, FC_K_BLOCK)
        job.piece_kw = ceil_div(job.kw, job.n_pieces_x)
        job.n_pieces_x = ceil_div(job.kw, job.piece_kw)
        job.n_pieces_y = ceil_div(job.kh * job.piece_kw, FC_K_BLOCK + FC_K_BLOCK // 4)
        job.piece_kh = ceil_div(job.kh, job.n_pieces_y)
        job.n_pieces_y = ceil_div(job.kh, job.piece_kh)
        job.n_sums = job.channels * job.n_pieces_y * job.n_pieces_x

    def cut(self, int workers):
        """The cut for that many threads in the instruction set in use."""
        key = <Py_ssize_t> kernels(self.compute), workers
        found = self.cuts.get(key)
        if found is None:
            found = self.cuts[key] = self._make(workers)
        return found

    def _make(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0, rows, columns, halo
        job[0] = self.base
        job.kernel = kernel
        halo = (job.kh - 1) * job.dilation_y
        block = FC_STENCIL_ROWS * job.dilation_y

        columns = job.ow
        while True:
            layout = axis_layout(columns, job.kw, job.stride_x, self.problem.dilation[1])
            row_bytes = layout.length * len(layout.starts) * item
            if columns <= 8 * lanes or row_bytes * (halo + 4 * block * job.stride_y) < WINDOW_BYTES:
                break
            columns = max((columns // 2 + lanes - 1) // lanes * lanes, 8 * lanes)
        rows = (WINDOW_BYTES // row_bytes - halo) // job.stride_y // block * block
        rows = min(max(rows, block), job.oh)
        cycles_per_row = max(columns, lanes) / lanes * job.kh * job.kw * job.channels * job.m * 1.6
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

        job.window_rows = (rows - 1) * job.stride_y + halo + 1
        # Whole vectors, shifted so that the image itself starts at one.
        job.row_length = layout.length
        shift = (lanes - job.columns.before // job.stride_x % lanes) % lanes
        job.pitch = (layout.length + shift + lanes - 1) // lanes * lanes
        job.n_column_planes = len(layout.starts)
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
        job.at_weights, at = at, at + whole_lines(job.kh * job.kw * item)
        job.at_sums, at = at, at + whole_lines(job.m * job.sums_size * item)
        job.at_totals = at
        if job.n_sums > SUMS:
            at += whole_lines(job.m * job.sums_size * item)
        cut.scratch_bytes = at
        cut.n_tiles = (self.problem.N * job.n_group_tiles * job.n_row_tiles * job.n_column_tiles)
        worth = int(cut.n_tiles * tile_cycles / CYCLES_PER_THREAD) + 1
        cut.workers = min(workers, cut.n_tiles, worth)
        cut.tile_seconds = tile_cycles / CYCLES_PER_SECOND
        height = job.piece_kh if job.piece_kh <= FC_STENCIL_MAX_HEIGHT else "n"
        cut.kernel_name = (f"fc_{kernel.name.decode()}_stencil_{height}xn_s{job.stride_y}"
                           f"_{active_isa()}")
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
        job.direct_weights = PyArray_IS_C_CONTIGUOUS(w) and self.weights_as_computed
        job.direct_stores = (
            self.stores_as_computed and job.bias == NULL and job.n_sums == 1
            and job.y.w == item and job.y.h % item == 0)
        return parallel_for(run_tile, &job, cut.n_tiles, cut.workers, cut.scratch_bytes,
                            cut.tile_seconds)
