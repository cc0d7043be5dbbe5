# SPDX-License-Identifier: BSD-3-Clause
"""From dy to dx where kernels do not overlap: each number of dx is one sum over the channels of dy.

    for tile in (images x rows of dy)                 parallel_for
      stage the rows of dy, all channels
      for panel of NR samples of dy
        for block of the C KH KW taps                 fc_gemm: the sum over the F channels of dy
        for row of dy in the panel, for group of taps that are neighbours in dx
          write them for each sample                  fc_store

With channels first these are the KW taps of a (c, ky), with channels last KW C of a ky.

That is a step of at least the kernel's size, as in the first layers of networks that cut an image
into patches. The phases of the stride (_adjoint.py) would be KH KW matrix products of C rows each,
every one of which writes single numbers far apart.
"""

import numpy as np

from libc.string cimport memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport aligned, image_of, image_t
from fastcorr._algorithms.parallel cimport parallel_for, whole_lines
from fastcorr._algorithms.samples cimport place_samples, samples_t, set_samples, stage_samples
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport ceil_div
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport FC_GEMM_MAX_VECTORS, fc_kernels_t

from fastcorr._algorithms.gemm_cuts import best_blocks
from fastcorr._kernels.dispatch import active_isa, compute_dtype, element_code, is_kernel_dtype

import_array()

MAX_CHANNELS = 8                # more of them fill the products of a phase, too,
MAX_CHANNELS_OF_NEIGHBOURS = 96  # but pairs, and channels side by side, are written much faster
WINDOW_BYTES = 512 * 1024       # of a tile, with all channels of dy, so that it stays in a cache
PANEL_BYTES = 256 * 1024        # of the products of a panel
CYCLES_PER_STORED = 1.0         # number (EPYC 9004, AVX-512, 2026-11)
CYCLES_PER_THREAD = 30e3
TILE_CYCLES = 100e3
CYCLES_PER_SECOND = 2e9


def unsupported(problem):
    """None, or why it cannot serve dx of a problem of the operator, whose dtype is that of dx."""
    if not is_kernel_dtype(problem.dtype) or problem.dtype.kind != "f":
        return f"it does not serve {problem.dtype}"
    has_neighbours = problem.KW == 2 or problem.channels_last
    most = MAX_CHANNELS_OF_NEIGHBOURS if has_neighbours else MAX_CHANNELS
    if problem.groups > 1 or problem.C > most:
        return f"it serves up to {most} channels of x, in one group"
    for k, stride, dilation, padding in zip(
        (problem.KH, problem.KW), problem.stride, problem.dilation, problem.padding, strict=True
    ):
        if (k - 1) * dilation >= stride or any(padding):
            return "kernels overlap, or see padding"
    if problem.KH * problem.KW == 1:
        return "a kernel of one tap is one phase"
    n_rows = problem.C * problem.KH * problem.KW
    if problem.F * problem.OW * 8 > WINDOW_BYTES or n_rows * 16 * 8 > PANEL_BYTES:
        return "a row of dy or the kernels are too large for a tile"
    return None


ctypedef struct job_t:
    const fc_kernels_t *kernel
    samples_t dy
    image_t dx
    int dx_type
    const char *w                       # [tap of channel][F], compute type
    const char *bias                    # [tap of channel], compute type, or NULL
    Py_ssize_t f, oh, ow, stride_y, stride_x
    Py_ssize_t n_rows, n_blocks         # of the product
    Py_ssize_t group                    # of its rows: neighbours in dx
    int nv
    Py_ssize_t tile_rows, n_row_tiles
    const Py_ssize_t *row_bytes         # [tap of channel]: its place in dx
    Py_ssize_t at_rows, at_window, at_products


cdef void run_tile(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef Py_ssize_t image = index // job.n_row_tiles
    cdef Py_ssize_t row0 = index % job.n_row_tiles * job.tile_rows
    cdef Py_ssize_t rows = min(job.tile_rows, job.oh - row0), size = rows * job.ow
    cdef Py_ssize_t panel = 0, n, block, m0, m1
    cdef int nv
    stage_samples(&job.dy, image, row0, rows, <Py_ssize_t *> (scratch + job.at_rows),
                  scratch + job.at_window)
    while panel < size:
        n = min(job.nv * lanes, size - panel)
        nv = <int> ceil_div(n, lanes)
        for block in range(job.n_blocks):
            m0 = job.n_rows * block // job.n_blocks
            m1 = job.n_rows * (block + 1) // job.n_blocks
            job.kernel.gemm[nv][m1 - m0](
                job.f, job.w + m0 * job.f * item, job.f, scratch + job.at_window + panel * item,
                job.dy.offset, scratch + job.at_products + m0 * nv * lanes * item, 0)
        store_panel(job, image, row0, panel, n, nv * lanes, scratch)
        panel += n


cdef void store_panel(const job_t *job, Py_ssize_t image, Py_ssize_t row0, Py_ssize_t panel,
                      Py_ssize_t n, Py_ssize_t ld, char *scratch) noexcept nogil:
    """Write the products of samples panel .. panel + n, row by row of dy."""
    cdef Py_ssize_t item = job.kernel.item_bytes, first = panel, row, column, count, m
    cdef char *dx
    while first < panel + n:
        row, column = first // job.ow, first % job.ow
        count = min(job.ow - column, panel + n - first)
        dx = (job.dx.data + image * job.dx.n + (row0 + row) * job.stride_y * job.dx.h
              + column * job.stride_x * job.dx.w)
        m = 0
        while m < job.n_rows:
            job.kernel.store[job.dx_type](
                scratch + job.at_products + (m * ld + first - panel) * item, ld, job.group, count,
                NULL if job.bias == NULL else job.bias + m * item, dx, job.row_bytes + m,
                job.stride_x * job.dx.w)
            m += job.group
        first += count


cdef class Cut(TiledCut):
    """How the work is cut into tiles for one instruction set and number of threads."""

    cdef job_t job


cdef class Patches(Tiled):
    """dx for one problem of the operator, whose dtype is that of dx: see tiled.Tiled."""

    pads_dy = False

    def __init__(self, problem):
        Tiled.__init__(self, problem, None, None)

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0
        problem = self.problem
        memset(job, 0, sizeof(job_t))
        job.kernel = kernel
        job.dx_type = element_code(problem.dtype)
        job.f, job.oh, job.ow = problem.F, problem.OH, problem.OW
        job.stride_y, job.stride_x = problem.stride
        job.n_rows = problem.C * problem.KH * problem.KW
        job.group = problem.KW
        if problem.channels_last:
            job.group = problem.C * (problem.KW if problem.dilation[1] == 1 else 1)
        most = tuple(kernel.gemm_rows[nv] for nv in range(FC_GEMM_MAX_VECTORS + 1))
        job.nv, job.n_blocks = best_blocks(job.n_rows, most)
        cycles_per_row = job.n_rows * job.ow * (job.f / lanes * 1.2 + CYCLES_PER_STORED)
        # Tiles for every thread, several times over, where they are worth it.
        rows = min(max(WINDOW_BYTES // (job.f * job.ow * item), 1), job.oh)
        if workers > 1:
            n_row_tiles = min(ceil_div(4 * workers, problem.N),
                              1 + int(job.oh * cycles_per_row / TILE_CYCLES))
            rows = min(rows, ceil_div(job.oh, n_row_tiles))
        job.tile_rows, job.n_row_tiles = rows, ceil_div(job.oh, rows)
        cut.n_tiles = problem.N * job.n_row_tiles
        cut.workers = min(workers, cut.n_tiles,
                          int(cut.n_tiles * rows * cycles_per_row / CYCLES_PER_THREAD) + 1)
        cut.tile_seconds = rows * cycles_per_row / CYCLES_PER_SECOND

        pitch = rows * job.ow + lanes
        offset = np.arange(job.f, dtype=np.intp) * pitch
        cut.arrays = [offset]
        place_samples(&job.dy, kernel, job.ow, pitch, offset)
        nr = job.nv * lanes
        job.at_rows, at = at, at + whole_lines(rows * sizeof(Py_ssize_t))
        # Slack: fc_gemm reads whole vectors.
        job.at_window, at = at, at + whole_lines((job.f * job.dy.pitch + nr) * item)
        job.at_products, at = at, at + whole_lines(job.n_rows * nr * item)
        cut.scratch_bytes = at
        cut.kernel_name = (
            f"fc_{kernel.name.decode()}_gemm_{ceil_div(job.n_rows, job.n_blocks)}x{nr}"
            f"_{active_isa()}")
        return cut

    def run(self, ndarray dy, ndarray w, bias, ndarray dx, int workers):
        """Compute dx (N, C, H, W) from dy (N, F, OH, OW), w (F, C, KH, KW) and bias (C,) or None.

        The arrays may have any strides; their dtypes promote to that of dx.
        """
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        problem = self.problem
        compute = compute_dtype(problem.dtype)
        seen = problem.OH * problem.KH, problem.OW * problem.KW
        if seen != (problem.H, problem.W):  # no output sees the others
            dx[...] = 0 if bias is None else bias[:, None, None]
        dy = aligned(dy)
        set_samples(&job.dy, dy, element_code(dy.dtype), problem)
        job.dx = image_of(dx, 4, False, 0)
        # [c][ky][kx], or [ky][kx][c] where that is the order in dx.
        order = (1, 2, 0) if problem.channels_last else (0, 1, 2)
        w = np.require(w.transpose(*(axis + 1 for axis in order), 0), compute, "CA")
        job.w = <const char *> PyArray_DATA(w)
        places = (
            np.arange(problem.C)[:, None, None] * job.dx.c
            + np.arange(problem.KH)[:, None] * (problem.dilation[0] * job.dx.h)
            + np.arange(problem.KW) * (problem.dilation[1] * job.dx.w))
        row_bytes = places.transpose(order).ravel()
        if bias is not None:
            bias = np.broadcast_to(bias.astype(compute)[:, None, None], places.shape)
            bias = bias.transpose(order).ravel()
            job.bias = <const char *> PyArray_DATA(<ndarray> bias)
        job.row_bytes = <const Py_ssize_t *> PyArray_DATA(<ndarray> row_bytes)
        return parallel_for(run_tile, &job, cut.n_tiles, cut.workers, cut.scratch_bytes,
                            cut.tile_seconds)
