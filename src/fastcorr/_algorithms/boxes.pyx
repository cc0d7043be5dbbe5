# SPDX-License-Identifier: BSD-3-Clause
"""Boxes of outputs from the definition: what transforms have left too inexact.

    for box of up to ROWS x COLUMNS outputs                    parallel_for
      for channel, group of up to TAP_ROWS x FC_K_BLOCK taps
        stage their window of x, and the taps                  fc_stage
        for piece of FC_K_BLOCK taps                           level 2 of the sum: `sums`
          fc_stencil                                           level 1 of the sum: registers
      store

Nothing is planned for a box, so that dozens of small ones cost what their sums take. A box that is
taller than wide lies on its side. Real numbers, without stride and dilation.
"""

import numpy as np

from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport aligned, image_of, image_t, weights_of, weights_t
from fastcorr._algorithms.parallel cimport parallel_for, whole_lines
from fastcorr._algorithms.stencils cimport short_stencils, widest
from fastcorr._algorithms.window cimport axis_of, axis_t, ceil_div, interior, positions
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport (
    FC_K_BLOCK, FC_STENCIL_ROWS, fc_kernels_t, fc_stencil_fn, fc_window_t,
)

from fastcorr._kernels.dispatch import compute_code, element_code, is_kernel_dtype

import_array()

BLOCK = 16, 64      # outputs: ROWS, COLUMNS

cdef enum:
    ROWS = 16
    COLUMNS = 64
    TAP_ROWS = 16
    SUMS = 16               # pieces in a second-level sum before it is added to a third level
    FIELDS = 9
    PITCH = COLUMNS + FC_K_BLOCK + 64   # kernels read whole vectors beyond the end
    WINDOW_ROWS = ROWS + TAP_ROWS + FC_STENCIL_ROWS


ctypedef struct job_t:
    const fc_kernels_t *kernel
    image_t x               # data: of the image, and the group's first channel
    image_t y               # data: of the image and the kernel
    weights_t w             # data: of the kernel
    double[2] fill          # the padding constant, compute type
    int x_type, w_type, y_type
    const char *bias        # compute type, or NULL
    axis_t rows
    axis_t columns
    Py_ssize_t channels
    const Py_ssize_t *boxes  # [index][FIELDS]
    const Py_ssize_t *column
    Py_ssize_t at_rows, at_columns, at_window, at_weights, at_sums, at_totals


def serves(problem):
    """Whether boxes of the problem's outputs can be computed here."""
    return (problem.dtype.kind == "f" and problem.w_dtype.kind != "c"
            and is_kernel_dtype(problem.dtype)
            and problem.stride == problem.dilation == (1, 1))


cdef void run_box(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef const Py_ssize_t *box = job.boxes + index * FIELDS
    cdef int across = 0 if box[8] else 2    # the axis along which the vectors lie
    cdef int down = 2 - across
    cdef Py_ssize_t n_rows = box[down + 1] - box[down], n_columns = box[across + 1] - box[across]
    cdef Py_ssize_t item = job.kernel.item_bytes, ky, kx, nky, nkx, c, piece, n, row, zero = 0
    cdef Py_ssize_t x_row = job.x.w if box[8] else job.x.h, x_column = job.x.h + job.x.w - x_row
    cdef Py_ssize_t w_row = job.w.kw if box[8] else job.w.kh
    cdef Py_ssize_t w_column = job.w.kh + job.w.kw - w_row
    cdef Py_ssize_t y_row = job.y.w if box[8] else job.y.h, y_column = job.y.h + job.y.w - y_row
    cdef Py_ssize_t n_sums = 0, size = ROWS * COLUMNS * item
    cdef const axis_t *rows = &job.columns if box[8] else &job.rows
    cdef const axis_t *columns = &job.rows if box[8] else &job.columns
    cdef Py_ssize_t *row_bytes = <Py_ssize_t *> (scratch + job.at_rows)
    cdef Py_ssize_t *column_bytes = <Py_ssize_t *> (scratch + job.at_columns)
    cdef char *window = scratch + job.at_window
    cdef char *weights = scratch + job.at_weights
    cdef char *sums = scratch + job.at_sums
    cdef char *totals = scratch + job.at_totals
    cdef char *y = job.y.data + box[down] * y_row + box[across] * y_column
    cdef double[2] nothing
    cdef fc_window_t win
    nothing[0] = nothing[1] = 0
    memset(totals, 0, size)
    for c in range(job.channels):
        ky = box[4 + down]
        while ky < box[5 + down]:
            nky = min(<Py_ssize_t> TAP_ROWS, box[5 + down] - ky)
            kx = box[4 + across]
            while kx < box[5 + across]:
                nkx = min(<Py_ssize_t> FC_K_BLOCK, box[5 + across] - kx)
                win.row_bytes, win.column_bytes = row_bytes, column_bytes
                win.n_rows, win.n_columns = n_rows + nky - 1, n_columns + nkx - 1
                win.pitch, win.step_bytes = PITCH, x_column
                positions(rows, box[down] + ky, win.n_rows, x_row, row_bytes)
                positions(columns, box[across] + kx, win.n_columns, x_column, column_bytes)
                interior(columns, box[across] + kx, win.n_columns, &win.lo, &win.hi)
                job.kernel.stage[job.x_type](&win, job.x.data + c * job.x.c, 1, 0, &job.fill[0],
                                             window, 0)
                for n in range(nky):
                    row_bytes[n] = (ky + n) * w_row
                column_bytes[0] = kx * w_column
                win.n_rows, win.n_columns, win.pitch, win.step_bytes = nky, nkx, nkx, w_column
                win.lo, win.hi = 0, nkx
                job.kernel.stage[job.w_type](&win, job.w.data + c * job.w.c, 1, 0, &nothing[0],
                                             weights, 0)
                piece = 0
                while piece < nky:
                    n = min(max(FC_K_BLOCK // nkx, 1), nky - piece)
                    add_piece(job, n_rows, n_columns, window + piece * PITCH * item, n, nkx,
                              weights + piece * nkx * item, sums, n_sums % SUMS > 0)
                    n_sums += 1
                    if n_sums % SUMS == 0:
                        job.kernel.add(ROWS * COLUMNS, sums, totals)
                    piece += n
                kx += nkx
            ky += nky
    if n_sums % SUMS:
        job.kernel.add(ROWS * COLUMNS, sums, totals)
    for row in range(n_rows):
        job.kernel.store[job.y_type](totals + row * COLUMNS * item, 0, 1, n_columns, job.bias,
                                     y + row * y_row, &zero, y_column)


cdef void add_piece(const job_t *job, Py_ssize_t n_rows, Py_ssize_t n_columns, const char *window,
                    Py_ssize_t nky, Py_ssize_t nkx, const char *weights, char *sums,
                    bint accumulate) noexcept nogil:
    """A piece of the kernel into `sums`, or added to them; all of its blocks are whole."""
    cdef Py_ssize_t vector = job.kernel.lanes * job.kernel.item_bytes, done = 0, nv
    cdef Py_ssize_t n_vectors = ceil_div(n_columns, job.kernel.lanes)
    cdef const fc_stencil_fn *stencil = short_stencils(job.kernel, 1, nky)
    while done < n_vectors:
        nv = widest(stencil, min(n_vectors - done, <Py_ssize_t> job.kernel.stencil_vectors))
        stencil[nv](ceil_div(n_rows, FC_STENCIL_ROWS), 1, (nv - 1) * job.kernel.lanes,
                    window + done * vector, PITCH, nky, nkx, job.column, weights, nkx, NULL,
                    sums + done * vector, COLUMNS, accumulate)
        done += nv


def compute(problem, margins, arrays, image, f, ndarray boxes, workers):
    """Compute boxes of a kernel's outputs, of up to BLOCK or on their side.

    `arrays` are (x, w, bias, y, fill) of the call; `boxes` are the intp [index][row, end, column,
    end, tap row, end, tap column, end, whether it is on its side].
    """
    cdef job_t job
    cdef Py_ssize_t at = 0, item, group
    cdef ndarray x = aligned(arrays[0]), w = aligned(arrays[1]), y = arrays[3]
    cdef const char *fill = arrays[4]
    cdef ndarray column = np.arange(FC_K_BLOCK, dtype=np.intp)
    memset(&job, 0, sizeof(job_t))
    job.kernel = kernels(compute_code(problem.dtype))
    item = job.kernel.item_bytes
    memcpy(&job.fill[0], fill, 2 * item)
    job.x = image_of(x, x.ndim, problem.channels_last, 0)
    job.y = image_of(y, y.ndim, problem.channels_last, 0)
    job.w = weights_of(w, w.ndim, 0)
    job.channels = problem.C // problem.groups
    group = f // (problem.F // problem.groups)
    job.x.data += <Py_ssize_t> image * job.x.n + group * job.channels * job.x.c
    job.y.data += <Py_ssize_t> image * job.y.n + <Py_ssize_t> f * job.y.c
    job.w.data += <Py_ssize_t> f * job.w.f
    job.x_type, job.w_type = element_code(problem.x_dtype), element_code(problem.w_dtype)
    job.y_type = element_code(problem.dtype)
    if arrays[2] is not None:
        job.bias = <const char *> PyArray_DATA(<ndarray> arrays[2]) + <Py_ssize_t> f * item
    job.rows = axis_of(margins[0], problem.padding[0], problem.H, 1)
    job.columns = axis_of(margins[1], problem.padding[1], problem.W, 1)
    job.boxes = <const Py_ssize_t *> PyArray_DATA(boxes)
    job.column = <const Py_ssize_t *> PyArray_DATA(column)
    job.at_rows, at = at, at + whole_lines(WINDOW_ROWS * sizeof(Py_ssize_t))
    job.at_columns, at = at, at + whole_lines(PITCH * sizeof(Py_ssize_t))
    job.at_window, at = at, at + whole_lines((WINDOW_ROWS + 1) * PITCH * item)
    job.at_weights, at = at, at + whole_lines(TAP_ROWS * FC_K_BLOCK * item)
    job.at_sums, at = at, at + whole_lines(ROWS * COLUMNS * item)
    job.at_totals, at = at, at + whole_lines(ROWS * COLUMNS * item)
    parallel_for(run_box, &job, len(boxes), workers, at, 2e-5)
