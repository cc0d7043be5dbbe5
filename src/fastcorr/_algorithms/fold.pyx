# SPDX-License-Identifier: BSD-3-Clause
"""From dy to dx of few channels at stride 1: products of dy with all taps, and where they fall.

    for tile in (images x parts of the channels)      parallel_for
      stage dy, all its channels                      samples.pxd
      for panel of NR samples of dy
        for block of the C KH KW taps                 fc_gemm_into: the sum over channels of dy
      for channel
        add up what falls on each place               fc_fold: the sum over the taps
      write the rows                                  fc_store

A correlation of dy that is padded by KH - 1 and KW - 1 (_adjoint.py) multiplies zeros all around,
three quarters of all numbers where the kernel is as large as y, and has as few rows in its matrix
product as x has channels; here are C KH KW of them and nothing but samples of dy. It is for images
whose products stay in a cache.

Sums over F are blocked as gemm's are; those over the taps are plain ones, of MAX_TAPS at most, in
the order of the taps.
"""

import numpy as np

from libc.string cimport memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport aligned, image_of, image_t
from fastcorr._algorithms.parallel cimport odd_lines, parallel_for, whole_lines
from fastcorr._algorithms.samples cimport place_samples, samples_t, set_samples, stage_samples
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport ceil_div
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport FC_GEMM_MAX_VECTORS, fc_fold_t, fc_kernels_t

from fastcorr._algorithms.gemm_cuts import best_blocks
from fastcorr._kernels.dispatch import active_isa, compute_dtype, element_code, is_kernel_dtype

import_array()

MAX_TAPS = 64
SAMPLES_BYTES = 512 * 1024      # of all channels of dy
PRODUCTS_BYTES = 512 * 1024     # of a part of the channels
TILE_CYCLES = 50e3              # more threads are not worth cutting the channels for less
CYCLES_PER_THREAD = 30e3
CYCLES_PER_SECOND = 2e9


def unsupported(problem):
    """None, or why it cannot serve dx of a problem of the operator, whose dtype is that of dx."""
    if not is_kernel_dtype(problem.dtype) or problem.dtype.kind != "f":
        return f"it does not serve {problem.dtype}"
    if problem.groups > 1 or problem.stride != (1, 1):
        return "it serves one group at stride 1"
    taps, pixels = problem.KH * problem.KW, problem.OH * problem.OW
    if taps == 1 or taps > MAX_TAPS:
        return f"it serves kernels of 2 to {MAX_TAPS} taps"
    if problem.F * pixels * 8 > SAMPLES_BYTES or taps * pixels * 8 > PRODUCTS_BYTES:
        return "dy or the products of a channel are too large"
    return None


ctypedef struct job_t:
    const fc_kernels_t *kernel
    samples_t dy
    image_t dx
    int dx_type
    const char *w                       # [c][tap][F], compute type
    const char *bias                    # [C], compute type, or NULL
    Py_ssize_t channels, n_taps, f, oh
    Py_ssize_t n_parts                  # of the channels
    int nv, most_rows                   # of a block
    fc_fold_t fold
    const Py_ssize_t *row_bytes         # [C]: channels of dx
    Py_ssize_t at_rows, at_window, at_products, at_sums


cdef void run_tile(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef const fc_fold_t *fold = &job.fold
    cdef Py_ssize_t item = job.kernel.item_bytes
    cdef Py_ssize_t image = index // job.n_parts, part = index % job.n_parts
    cdef Py_ssize_t c0 = job.channels * part // job.n_parts
    cdef Py_ssize_t c1 = job.channels * (part + 1) // job.n_parts, c, row
    cdef char *products = scratch + job.at_products
    cdef char *sums = scratch + job.at_sums
    stage_samples(&job.dy, image, 0, job.oh, <Py_ssize_t *> (scratch + job.at_rows),
                  scratch + job.at_window)
    multiply(job, c0 * job.n_taps, c1 * job.n_taps, scratch + job.at_window, products)
    for c in range(c1 - c0):
        job.kernel.fold(fold, products + c * job.n_taps * fold.plane * item,
                        sums + c * fold.n_rows * fold.ldc * item)
    for row in range(fold.n_rows):
        job.kernel.store[job.dx_type](
            sums + row * fold.ldc * item, fold.n_rows * fold.ldc, c1 - c0, fold.n_columns,
            NULL if job.bias == NULL else job.bias + c0 * item,
            job.dx.data + image * job.dx.n + row * job.dx.h, job.row_bytes + c0, job.dx.w)


cdef void multiply(const job_t *job, Py_ssize_t row0, Py_ssize_t row1, const char *window,
                   char *products) noexcept nogil:
    """Products of all samples with rows row0 .. row1 of w."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, panel = 0, block, m0, m1
    cdef Py_ssize_t size = job.oh * job.dy.columns, n_rows = row1 - row0
    cdef Py_ssize_t n_blocks = ceil_div(n_rows, job.most_rows)
    cdef int nv
    while panel < size:
        nv = <int> min(job.nv, ceil_div(size - panel, lanes))
        for block in range(n_blocks):
            m0, m1 = n_rows * block // n_blocks, n_rows * (block + 1) // n_blocks
            job.kernel.gemm_into[nv][m1 - m0](
                job.f, job.w + (row0 + m0) * job.f * item, job.f, window + panel * item,
                job.dy.offset, products + (m0 * job.fold.plane + panel) * item, job.fold.plane,
                lanes, NULL, 0)
        panel += nv * lanes


cdef class Cut(TiledCut):
    """How the work is cut into tiles for one instruction set and number of threads."""

    cdef job_t job


cdef class Fold(Tiled):
    """A rectangle of padded positions for one problem of the operator, whose dtype is that of dx.

    `rows` and `columns` are (first padded position, number of positions); see tiled.Tiled.
    """

    pads_dy = False

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef fc_fold_t *fold = &job.fold
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0
        problem = self.problem
        memset(job, 0, sizeof(job_t))
        job.kernel = kernel
        job.dx_type = element_code(problem.dtype)
        job.channels, job.f, job.oh = problem.C, problem.F, problem.OH
        job.n_taps = problem.KH * problem.KW
        pixels = problem.OH * problem.OW
        vectors = ceil_div(pixels, lanes)
        fold.top, fold.n_rows = self.rows
        fold.left, fold.n_columns = self.columns
        fold.ldc = ceil_div(fold.n_columns, lanes) * lanes
        fold.kh, fold.kw = problem.KH, problem.KW
        fold.tap_row, fold.tap_column = problem.dilation
        fold.p_rows, fold.p_columns = problem.OH, problem.OW
        fold.plane = odd_lines(vectors * lanes * item) // item

        # Parts of the channels that fit; more of them for more threads than there are images.
        n_parts = ceil_div(job.channels * job.n_taps * fold.plane * item, PRODUCTS_BYTES)
        cycles = job.n_taps * vectors * (job.f * 1.1 + 10)  # of a channel
        if workers > problem.N:
            n_parts = max(n_parts, min(2 * workers, int(job.channels * cycles / TILE_CYCLES)))
        job.n_parts = min(n_parts, job.channels)
        channels = ceil_div(job.channels, job.n_parts)
        n_rows = channels * job.n_taps
        most = tuple(kernel.gemm_rows[nv] for nv in range(FC_GEMM_MAX_VECTORS + 1))
        job.nv, n_blocks = best_blocks(n_rows, most)
        job.most_rows = most[job.nv]
        cut.n_tiles = problem.N * job.n_parts
        cut.workers = min(workers, cut.n_tiles,
                          int(problem.N * job.channels * cycles / CYCLES_PER_THREAD) + 1)
        cut.tile_seconds = channels * cycles / CYCLES_PER_SECOND

        pitch = odd_lines((pixels + lanes) * item) // item
        offset = np.arange(job.f, dtype=np.intp) * pitch
        cut.arrays = [offset]
        place_samples(&job.dy, kernel, problem.OW, pitch, offset)
        job.at_rows, at = at, at + whole_lines(job.oh * sizeof(Py_ssize_t))
        # Slack: fc_gemm reads whole vectors, fc_fold one before and one behind the products.
        job.at_window, at = at, at + whole_lines(
            (job.f * job.dy.pitch + job.nv * lanes) * item)
        at += whole_lines(lanes * item)
        job.at_products, at = at, at + whole_lines((n_rows * fold.plane + lanes) * item)
        job.at_sums, at = at, at + whole_lines(channels * fold.n_rows * fold.ldc * item)
        cut.scratch_bytes = at
        cut.kernel_name = (
            f"fc_{kernel.name.decode()}_gemm_{ceil_div(n_rows, n_blocks)}x{job.nv * lanes}"
            f"_{active_isa()}")
        return cut

    def run(self, ndarray dy, ndarray w, bias, ndarray dx, int workers):
        """Compute dx (N, C, ...) from dy (N, F, OH, OW), w (F, C, KH, KW) and bias (C,) or None.

        The arrays may have any strides; their dtypes promote to that of dx.
        """
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        problem = self.problem
        compute = compute_dtype(problem.dtype)
        dy = aligned(dy)
        set_samples(&job.dy, dy, element_code(dy.dtype), problem)
        job.dx = image_of(dx, 4, False, 0)
        w = np.ascontiguousarray(w.transpose(1, 2, 3, 0), compute)
        job.w = <const char *> PyArray_DATA(w)
        if bias is not None:
            bias = np.ascontiguousarray(bias, compute)
            job.bias = <const char *> PyArray_DATA(<ndarray> bias)
        row_bytes = np.arange(problem.C) * job.dx.c
        job.row_bytes = <const Py_ssize_t *> PyArray_DATA(<ndarray> row_bytes)
        return parallel_for(run_tile, &job, cut.n_tiles, cut.workers, cut.scratch_bytes,
                            cut.tile_seconds)
