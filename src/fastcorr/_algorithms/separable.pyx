# SPDX-License-Identifier: BSD-3-Clause
"""Kernels of low rank as pairs of one-dimensional passes.

With w[ky, kx] = sum over terms of u[ky] v[kx], KH + KW multiplications serve for KH KW of them::

    for tile in (images x groups x rows x columns)           parallel_for
      for block of output rows
        for the rows of x that it needs beyond those of the block before, a few at a time
          for input channel of the group
            stage them                                       fc_stage
            for output channel, term:  rows of v             fc_fir, into the term's ring
        for output channel
          columns of u over the rings of all channels and terms   fc_fir_columns, into y

A ring keeps the finished rows that later blocks need, in the second-level cache; where it is full,
they move to its start. No row is computed twice, but for those at the joints of a thread's tiles.

A term of rank 1 has its zeros where w has them, and signs that multiply to those of w, so NaN and
Inf come out as from the definition. With several terms they need not: an image with such a result
is computed again by the definition.
"""

from dataclasses import replace

import numpy as np

from libc.string cimport memcpy, memmove, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport (
    aligned, image_of, image_t, is_computed_in, parts_of,
)
from fastcorr._algorithms.parallel cimport parallel_for, whole_lines
from fastcorr._algorithms.stencils cimport short_stencils, widest
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, axis_t, ceil_div, interior, positions
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport (
    FC_K_BLOCK, FC_STENCIL_MAX_VECTORS, FC_STENCIL_ROWS, fc_kernels_t, fc_stencil_fn, fc_window_t,
)

from fastcorr._algorithms.definition import definition_of
from fastcorr._algorithms.layout import axis_layout
from fastcorr._algorithms.low_rank import MAX_RANK, factors_of
from fastcorr._kernels.dispatch import (
    active_isa, compute_dtype, element_code, is_kernel_dtype,
)

import_array()

RING_BYTES = 640 * 1024         # of all terms of a tile, so that they stay in the L2 cache
LARGEST_RING_BYTES = 1280 * 1024
FEW_JOINTS = 4                  # the rows of a tile, in those of a joint
MIN_VECTORS = 8                 # across a tile
MAX_SIZE = 1024                 # rows and columns of a kernel
MAX_RINGS = 32                  # pairs of channels per group
MAX_STEP = 8                    # vertical stride or dilation
SECONDS_TO_FACTOR = 1e-3        # a kernel of more than one term
CYCLES_PER_THREAD = 100e3
CYCLES_PER_SECOND = 3.5e9


cdef enum:
    BLOCK_ROWS = 36             # output rows between looks at the rings
    CHUNK_ROWS = 4              # rows staged at a time


def unsupported(problem):
    """None, or why pairs of passes cannot serve the problem."""
    if not is_kernel_dtype(problem.dtype):
        return f"there are no kernels for {problem.dtype}"
    if problem.w_dtype.kind == "c":
        return "only real kernels are factored"
    if problem.KH == 1 or problem.KW == 1:
        return "the kernel has one dimension already"
    if max(problem.KH, problem.KW) > MAX_SIZE:
        return f"kernels of up to {MAX_SIZE} rows and columns are factored"
    if problem.F // problem.groups * (problem.C // problem.groups) > MAX_RINGS:
        return f"up to {MAX_RINGS} pairs of channels per group are served"
    if problem.stride[0] > 1 and problem.dilation[0] > 1:
        return "no vertical stride together with a vertical dilation"
    if problem.stride[0] > problem.KH:
        return "the vertical stride leaves rows out"
    if max(problem.stride[0], problem.dilation[0]) > MAX_STEP:
        return f"vertical strides and dilations of up to {MAX_STEP} are served"
    pairs = problem.F // problem.groups * (problem.C // problem.groups)
    if pairs * smallest_ring_bytes(problem) > LARGEST_RING_BYTES:
        return "the kernel is too large for the rings"
    return None


def smallest_ring_bytes(problem):
    """Bytes of one ring of MIN_VECTORS vectors."""
    halo = (problem.KH - 1) * problem.dilation[0]
    return 2 * (halo + BLOCK_ROWS * problem.stride[0]) * MIN_VECTORS * 64


def seconds(problem, is_bound=False):
    """Estimate of the time on one thread for kernels of rank 1 that are remembered.

    Fitted on an EPYC 9004, AVX-512, 2026-11; the first call with new kernels takes 0.3 ms more.
    """
    lanes = 64 // compute_dtype(problem.dtype).itemsize
    parts = 2 if problem.x_dtype.kind == "c" else 1
    pairs = problem.F * (problem.C // problem.groups)
    vectors = problem.N * parts * problem.OH * max(problem.OW, lanes) / lanes
    halo = 1 + (problem.KH - 1) * problem.dilation[0] / max(problem.OH, 1)
    cycles = pairs * (
        1.2 * problem.KW * problem.stride[0] * min(halo, 3) + 1.2 * problem.KH + 14
    )
    cycles += 8 * problem.C * problem.stride[0] * problem.stride[1]
    return 8e-6 + vectors * cycles / CYCLES_PER_SECOND


ctypedef struct job_t:
    const fc_kernels_t *kernel
    image_t x
    image_t y
    const char *bias                    # [image_parts][F], compute type, or NULL
    char fill[16]
    int x_type, y_type, image_parts
    Py_ssize_t groups, m, channels, kh, kw, oh, ow
    Py_ssize_t stride_y, stride_x, dilation_y
    axis_t rows
    axis_t columns
    bint direct_stores, plain_columns
    # the factors, in the compute type: terms first[k] .. first[k + 1] of pair k = (f, c)
    const Py_ssize_t *first             # [F * channels + 1]
    const char *u                       # [terms][KH], taps of one piece after the other
    const char *v                       # [terms][KW]
    # pieces of u: taps at[i] .. at[i + 1] begin at row piece_rows[i] of the ring
    Py_ssize_t n_pieces
    const Py_ssize_t *piece_at          # [n_pieces + 1]
    const Py_ssize_t *piece_rows
    # tiles
    Py_ssize_t tile_rows, tile_columns, n_row_tiles, n_column_tiles
    # the staged rows: planes [column plane][CHUNK_ROWS][window_pitch]
    const Py_ssize_t *column            # [KW]
    const Py_ssize_t *column_starts
    Py_ssize_t n_column_planes, row_length, window_pitch
    # rings: [term of the group][ring_rows + spare][pitch]
    Py_ssize_t ring_rows, ring_size, pitch
    Py_ssize_t at_row_bytes, at_column_bytes, at_window, at_rings, at_sums


ctypedef struct tile_t:
    Py_ssize_t image, part, group, row0, column0, rows, columns
    Py_ssize_t first, n_terms           # terms of the group


cdef void run_tile(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef tile_t t
    cdef Py_ssize_t i, px, n, need, start, term, halo, pairs = job.m * job.channels
    cdef Py_ssize_t origin = 0, have = 0, row = 0, row_bytes
    cdef char *ring
    i = index % job.n_column_tiles
    t.column0 = i * job.tile_columns
    t.columns = min(job.tile_columns, job.ow - t.column0)
    index //= job.n_column_tiles
    i = index % job.n_row_tiles
    t.row0 = i * job.tile_rows
    t.rows = min(job.tile_rows, job.oh - t.row0)
    index //= job.n_row_tiles
    t.group = index % job.groups
    index //= job.groups
    t.part, t.image = index % job.image_parts, index // job.image_parts
    t.first = job.first[t.group * pairs]
    t.n_terms = job.first[(t.group + 1) * pairs] - t.first
    for px in range(job.n_column_planes):
        positions(&job.columns, t.column0 * job.stride_x + job.column_starts[px],
                  job.row_length - (job.tile_columns - t.columns), job.x.w,
                  <Py_ssize_t *> (scratch + job.at_column_bytes) + px * job.row_length)
    halo = (job.kh - 1) * job.dilation_y
    row_bytes = job.pitch * job.kernel.item_bytes
    # Rows `origin` and on of the tile's input lie at the start of each ring; `have` are finished.
    while row < t.rows:
        n = min(<Py_ssize_t> BLOCK_ROWS, t.rows - row)
        start = row * job.stride_y
        need = start + (n - 1) * job.stride_y + halo + 1
        if need - origin > job.ring_rows:
            for term in range(t.n_terms):
                ring = scratch + job.at_rings + term * job.ring_size
                memmove(ring, ring + (start - origin) * row_bytes, (have - start) * row_bytes)
            origin = start
        while have < need:
            i = min(<Py_ssize_t> CHUNK_ROWS, need - have)
            correlate_rows(job, &t, have, i, have - origin, scratch)
            have += i
        for i in range(job.m):
            correlate_columns(job, &t, i, row, n, start - origin, scratch)
        row += n


cdef void correlate_rows(const job_t *job, const tile_t *t, Py_ssize_t row, Py_ssize_t n_rows,
                         Py_ssize_t slot, char *scratch) noexcept nogil:
    """Stage rows `row` and on of the tile's input, and run all v of the group over them."""
    cdef Py_ssize_t c, m, pair, term, kx, n_kx, item = job.kernel.item_bytes
    cdef Py_ssize_t n_vectors = ceil_div(t.columns, job.kernel.lanes)
    cdef const char *window = scratch + job.at_window
    cdef const char *v
    cdef char *ring
    positions(&job.rows, t.row0 * job.stride_y + row, n_rows, job.x.h,
              <Py_ssize_t *> (scratch + job.at_row_bytes))
    for c in range(job.channels):
        stage_channel(job, t, t.group * job.channels + c, n_rows, scratch)
        for m in range(job.m):
            pair = (t.group * job.m + m) * job.channels + c
            for term in range(job.first[pair], job.first[pair + 1]):
                v = job.v + term * job.kw * item
                ring = (scratch + job.at_rings + (term - t.first) * job.ring_size
                        + slot * job.pitch * item)
                kx = 0
                while kx < job.kw:
                    n_kx = min(<Py_ssize_t> FC_K_BLOCK, job.kw - kx)
                    row_of_taps(job, window, n_rows, n_vectors, kx, n_kx, v, ring)
                    kx += n_kx


cdef void row_of_taps(const job_t *job, const char *window, Py_ssize_t n_rows,
                      Py_ssize_t n_vectors, Py_ssize_t kx, Py_ssize_t n_kx, const char *v,
                      char *ring) noexcept nogil:
    """Taps kx .. kx + n_kx of v over the staged rows, into the ring; those after 0 are added."""
    cdef Py_ssize_t item = job.kernel.item_bytes, vector = job.kernel.lanes * item
    cdef Py_ssize_t j = 0, nv, n_across
    cdef const fc_stencil_fn *stencil = short_stencils(job.kernel, 1, 1)
    if job.plain_columns:
        job.kernel.fir(n_rows, n_vectors, window + kx * item, job.window_pitch, n_kx,
                       v + kx * item, ring, job.pitch, kx > 0)
        return
    while j < n_vectors:
        nv = widest(stencil, min(n_vectors - j, <Py_ssize_t> job.kernel.stencil_vectors))
        n_across = (n_vectors - j) // nv
        stencil[nv](
            ceil_div(n_rows, FC_STENCIL_ROWS), n_across, (nv - 1) * job.kernel.lanes,
            window + j * vector, job.window_pitch, 1, n_kx, job.column + kx, v + kx * item, 0, NULL,
            ring + j * vector, job.pitch, kx > 0)
        j += n_across * nv


cdef void stage_channel(const job_t *job, const tile_t *t, Py_ssize_t channel, Py_ssize_t n_rows,
                        char *scratch) noexcept nogil:
    cdef fc_window_t win
    cdef const Py_ssize_t *column_bytes = <const Py_ssize_t *> (scratch + job.at_column_bytes)
    cdef Py_ssize_t px, item = job.kernel.item_bytes
    win.row_bytes = <const Py_ssize_t *> (scratch + job.at_row_bytes)
    win.n_rows, win.pitch = n_rows, job.window_pitch
    win.n_columns = job.row_length - (job.tile_columns - t.columns)
    win.step_bytes = job.stride_x * job.x.w
    for px in range(job.n_column_planes):
        interior(&job.columns, t.column0 * job.stride_x + job.column_starts[px], win.n_columns,
                 &win.lo, &win.hi)
        win.column_bytes = column_bytes + px * job.row_length
        # The rows after are fetched ahead.
        job.kernel.stage[job.x_type](
            &win, job.x.data + t.image * job.x.n + t.part * job.x.part + channel * job.x.c, 1,
            CHUNK_ROWS * job.x.h, job.fill + t.part * item,
            scratch + job.at_window + px * CHUNK_ROWS * job.window_pitch * item, 0)


cdef void correlate_columns(const job_t *job, const tile_t *t, Py_ssize_t m, Py_ssize_t row,
                            Py_ssize_t n_rows, Py_ssize_t slot, char *scratch) noexcept nogil:
    """All u of an output channel over n_rows of its rows, from `slot` of the rings, into y."""
    cdef Py_ssize_t f = t.group * job.m + m, pair = f * job.channels, term, i
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef Py_ssize_t whole = t.columns // lanes if job.direct_stores else 0  # vectors, into y itself
    cdef const char *ring
    cdef const char *u
    cdef const char *bias = NULL
    cdef char *sums = scratch + job.at_sums
    cdef char *y = (job.y.data + t.image * job.y.n + t.part * job.y.part + f * job.y.c
                    + (t.row0 + row) * job.y.h + t.column0 * job.y.w)
    cdef bint accumulate = False
    if job.bias != NULL:
        bias = job.bias + (t.part * job.groups * job.m + f) * item
    for term in range(job.first[pair] - t.first, job.first[pair + job.channels] - t.first):
        ring = scratch + job.at_rings + term * job.ring_size + slot * job.pitch * item
        for i in range(job.n_pieces):
            u = job.u + ((t.first + term) * job.kh + job.piece_at[i]) * item
            if whole > 0:
                correlate_piece(job, ring, i, u, n_rows, 0, whole, y, job.y.h // item, False)
            if whole * lanes < t.columns:
                correlate_piece(job, ring, i, u, n_rows, whole, ceil_div(t.columns, lanes), sums,
                                job.pitch, accumulate)
            accumulate = True
    if whole * lanes < t.columns:
        store(job, n_rows, whole * lanes, t.columns, sums, bias, y)


cdef void correlate_piece(const job_t *job, const char *ring, Py_ssize_t piece, const char *u,
                          Py_ssize_t n_rows, Py_ssize_t vector, Py_ssize_t end, char *c,
                          Py_ssize_t ldc, bint accumulate) noexcept nogil:
    """One piece of u over n_rows output rows and vectors vector .. end of them."""
    cdef Py_ssize_t item = job.kernel.item_bytes, at = vector * job.kernel.lanes * item, residue
    ring += job.piece_rows[piece] * job.pitch * item + at
    for residue in range(min(job.dilation_y, n_rows)):
        job.kernel.fir_columns(
            ceil_div(n_rows - residue, job.dilation_y), end - vector,
            ring + residue * job.pitch * item, job.pitch * job.stride_y * job.dilation_y,
            job.piece_at[piece + 1] - job.piece_at[piece], u, c + residue * ldc * item + at,
            ldc * job.dilation_y, accumulate)


cdef void store(const job_t *job, Py_ssize_t n_rows, Py_ssize_t column, Py_ssize_t end,
                const char *sums, const char *bias, char *y) noexcept nogil:
    """Write finished sums of a block to y."""
    cdef Py_ssize_t zero = 0, item = job.kernel.item_bytes, row
    for row in range(n_rows):
        job.kernel.store[job.y_type](
            sums + (row * job.pitch + column) * item, 0, 1, end - column, bias,
            y + row * job.y.h + column * job.y.w, &zero, job.y.w)


cdef class Cut(TiledCut):
    """How the work is cut into tiles for one instruction set and number of threads."""

    cdef job_t job


cdef class Separable(Tiled):
    """The algorithm for one problem: see tiled.Tiled for the meaning of the arguments."""

    cdef job_t base
    cdef list arrays
    cdef dict runners               # a dict, which several threads may change at once
    cdef double seconds
    cdef Py_ssize_t ring_bytes      # of the narrowest tile, for rank 1
    cdef object taps                # order of the taps of u in the pieces

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        Tiled.__init__(self, problem, rows, columns)
        memset(job, 0, sizeof(job_t))
        self.runners = {}
        self.seconds = seconds(problem)
        job.x_type = element_code(problem.x_dtype)
        job.y_type = element_code(problem.dtype)
        job.image_parts = parts_of(problem)[0]
        job.groups = problem.groups
        job.m = problem.F // problem.groups
        job.channels = problem.C // problem.groups
        job.kh, job.kw, job.oh, job.ow = problem.KH, problem.KW, problem.OH, problem.OW
        job.stride_y, job.stride_x = problem.stride
        job.dilation_y = problem.dilation[0]
        job.plain_columns = job.stride_x == 1 and problem.dilation[1] == 1
        job.rows = axis_of(rows, problem.padding[0], problem.H, 1)
        job.columns = axis_of(columns, problem.padding[1], problem.W, problem.stride[1])
        self.ring_bytes = job.m * job.channels * smallest_ring_bytes(problem)
        # Pieces of u: the taps of one phase of the stride, up to FC_K_BLOCK of them.
        taps, at, piece_rows = [], [0], []
        for phase in range(job.stride_y):
            of_phase = range(phase, job.kh, job.stride_y)
            n_pieces = ceil_div(len(of_phase), FC_K_BLOCK)
            for i in range(n_pieces):
                piece = of_phase[len(of_phase) * i // n_pieces:len(of_phase) * (i + 1) // n_pieces]
                taps.extend(piece)
                at.append(len(taps))
                piece_rows.append(piece[0] * job.dilation_y)
        self.taps = np.array(taps)
        self.arrays = [np.array(at, dtype=np.intp), np.array(piece_rows, dtype=np.intp)]
        job.n_pieces = len(piece_rows)
        job.piece_at = <const Py_ssize_t *> PyArray_DATA(<ndarray> self.arrays[0])
        job.piece_rows = <const Py_ssize_t *> PyArray_DATA(<ndarray> self.arrays[1])

    def prepare(self, ndarray w, double budget):
        """The runner for these kernels, or a str: why they are not for this algorithm."""
        max_rank = min(int((budget - SECONDS_TO_FACTOR) / self.seconds), MAX_RANK) if (
            budget < np.inf) else MAX_RANK
        factors = factors_of(w, self.problem, max(max_rank, 1))
        if isinstance(factors, str):
            return factors
        if factors.rank * self.ring_bytes > LARGEST_RING_BYTES:
            return f"kernels of rank {factors.rank} are too large for the rings"
        if factors.rank > 1 and factors.rank * self.seconds > budget:
            return f"kernels of rank {factors.rank} take longer in passes than otherwise"
        latest = self.runners.get("latest")
        if latest is None or latest.factors is not factors:
            latest = self.runners["latest"] = Prepared(self, factors)
        return latest

    def run(self, x, w, bias, y, fill, int workers):
        """Compute y for kernels that `prepare` takes; ValueError for others."""
        prepared = self.prepare(w, np.inf)
        if isinstance(prepared, str):
            raise ValueError(prepared)
        prepared.run(x, w, bias, y, fill, workers)

    def cut(self, int workers):
        """The cut for that many threads in the instruction set in use, for kernels of rank 1."""
        return self.cut_for(workers, self.base.m * self.base.channels)

    def cut_for(self, int workers, Py_ssize_t n_rings):
        """The cut for groups of up to n_rings terms."""
        key = <Py_ssize_t> kernels(self.compute), workers, n_rings
        found = self.cuts.get(key)
        if found is None:
            found = self.cuts[key] = self._make(workers, n_rings)
        return found

    def _make(self, int workers, Py_ssize_t n_rings):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0
        job[0] = self.base
        job.kernel = kernel
        images = self.problem.N * job.image_parts * job.groups
        block = BLOCK_ROWS * job.stride_y
        halo = (job.kh - 1) * job.dilation_y
        # Twice the rows that stay, so that few are moved.
        job.ring_rows = min(2 * (halo + block), (job.oh - 1) * job.stride_y + halo + 1)
        spare_rows = FC_STENCIL_ROWS  # of rows of taps by fc_stencil

        vectors = ceil_div(job.ow, lanes)
        most = RING_BYTES // (n_rings * (job.ring_rows + spare_rows) * item * lanes)
        n_across = ceil_div(vectors, max(most, MIN_VECTORS))
        row_cycles = n_rings * (1.3 * job.kw * job.stride_y + 1.3 * job.kh + 8) + 8 * job.channels
        cycles = images * job.oh * vectors * row_cycles
        worth = min(workers, int(cycles / CYCLES_PER_THREAD) + 1)
        n_down = 1
        if worth > 1:
            # Tiles for every thread several times over: by rows where the joints, whose rows are
            # computed twice, are few, as long rows are read faster; then by columns.
            wanted = (4 if cycles > 40 * CYCLES_PER_THREAD else 2) * worth
            n_down = min(ceil_div(wanted, images * n_across),
                         max(job.oh * job.stride_y // max(FEW_JOINTS * halo, BLOCK_ROWS), 1))
            n_across = max(n_across, min(ceil_div(wanted, images * n_down), vectors // 16))
        job.tile_columns = ceil_div(vectors, n_across) * lanes
        job.tile_rows = ceil_div(job.oh, n_down)
        job.n_column_tiles = ceil_div(job.ow, job.tile_columns)
        job.n_row_tiles = ceil_div(job.oh, job.tile_rows)

        columns = min(job.tile_columns, job.ow)
        job.tile_columns = columns
        layout = axis_layout(columns, job.kw, job.stride_x, self.problem.dilation[1])
        job.row_length = layout.length
        # An odd number of lines, so that rows do not meet in one set of the cache.
        job.window_pitch = (ceil_div(layout.length, lanes) + 1) // 2 * 2 * lanes + lanes
        job.pitch = ceil_div(columns, lanes) // 2 * 2 * lanes + lanes
        job.n_column_planes = len(layout.starts)
        plane = CHUNK_ROWS * job.window_pitch
        column = (np.array(layout.plane) * plane + np.array(layout.offset)).astype(np.intp)
        column_starts = np.array(layout.starts, dtype=np.intp)
        cut.arrays = [column, column_starts]
        job.column = <const Py_ssize_t *> PyArray_DATA(<ndarray> column)
        job.column_starts = <const Py_ssize_t *> PyArray_DATA(<ndarray> column_starts)

        job.at_row_bytes, at = at, at + whole_lines(CHUNK_ROWS * sizeof(Py_ssize_t))
        job.at_column_bytes, at = at, at + whole_lines(
            job.n_column_planes * job.row_length * sizeof(Py_ssize_t))
        # Kernels read whole vectors and whole blocks of rows beyond the end.
        job.at_window, at = at, at + whole_lines(
            (plane * job.n_column_planes + FC_STENCIL_ROWS * job.window_pitch
             + (FC_STENCIL_MAX_VECTORS + 1) * lanes) * item)
        job.ring_size = whole_lines((job.ring_rows + spare_rows) * job.pitch * item)
        job.at_rings, at = at, at + n_rings * job.ring_size
        job.at_sums, at = at, at + whole_lines(
            BLOCK_ROWS * job.pitch * item)
        cut.scratch_bytes = at
        cut.n_tiles = images * job.n_row_tiles * job.n_column_tiles
        cut.workers = min(worth, cut.n_tiles)
        cut.tile_seconds = cycles / cut.n_tiles / CYCLES_PER_SECOND
        cut.kernel_name = f"fc_{kernel.name.decode()}_fir_1xn_{active_isa()}"
        return cut


cdef class Prepared:
    """The passes for given kernels."""

    cdef Separable algorithm
    cdef object u, v, first
    cdef readonly object factors
    cdef Py_ssize_t n_rings

    def __init__(self, Separable algorithm, factors):
        self.algorithm, self.factors = algorithm, factors
        self.u = np.ascontiguousarray(factors.u[:, algorithm.taps])
        self.v = np.ascontiguousarray(factors.v)
        self.first = factors.first
        pairs = algorithm.base.m * algorithm.base.channels
        self.n_rings = int(np.diff(self.first[::pairs]).max())

    @property
    def reason(self):
        """Why this algorithm."""
        problem = self.algorithm.problem
        terms = "" if self.factors.rank == 1 else f"{self.factors.rank} times "
        return (
            f"kernels of rank {self.factors.rank}: {terms}{problem.KW} + {problem.KH} "
            f"multiplications for {problem.KH * problem.KW}"
        )

    def cut(self, int workers):
        """The cut for that many threads in the instruction set in use."""
        return self.algorithm.cut_for(workers, self.n_rings)

    def run(self, ndarray x, ndarray w, bias, ndarray y, fill, int workers):
        """Compute y; see gemm.Gemm.run."""
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        cdef const char *fill_bytes = fill
        cdef Py_ssize_t item = job.kernel.item_bytes
        problem = self.algorithm.problem
        memcpy(job.fill, fill_bytes, item * job.image_parts)
        x = aligned(x)
        job.x = image_of(x, x.ndim, problem.channels_last, item)
        job.y = image_of(y, y.ndim, problem.channels_last, item)
        job.first = <const Py_ssize_t *> PyArray_DATA(<ndarray> self.first)
        job.u = <const char *> PyArray_DATA(<ndarray> self.u)
        job.v = <const char *> PyArray_DATA(<ndarray> self.v)
        job.bias = NULL if bias is None else <const char *> PyArray_DATA(<ndarray> bias)
        job.direct_stores = (
            is_computed_in(problem.dtype, problem, item) and job.bias == NULL
            and job.n_pieces == 1 and self.n_rings == job.m and job.dilation_y == 1
            and job.y.w == item and job.y.h % item == 0)
        parallel_for(run_tile, &job, cut.n_tiles, cut.workers, cut.scratch_bytes,
                     cut.tile_seconds)
        if self.factors.rank > 1 and problem.dtype.kind in "fc":
            self._repair(x, w, bias, y, fill, workers)

    def _repair(self, x, w, bias, y, fill, workers):
        """Images with NaN or Inf again by the definition: terms may have made or moved them."""
        problem = self.algorithm.problem
        one = replace(problem, N=1)
        again = None
        for n in range(problem.N):
            x_n, y_n = (x[n], y[n]) if x.ndim == 4 else (x, y)
            if np.isfinite(y_n).all():
                continue
            if again is None:
                again = definition_of(one, self.algorithm.rows, self.algorithm.columns)
            again.run(x_n, w, bias, y_n, fill, workers)
