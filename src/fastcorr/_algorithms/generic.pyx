# SPDX-License-Identifier: BSD-3-Clause
"""The definition, in long double: for dtypes that the kernels do not compute in.

Complex operands are pairs of real ones, as in gemm. Sums run over the columns of a kernel's row
first, then over its rows and channels.
"""

from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport (
    aligned, image_of, image_t, parts_of, weights_of, weights_t,
)
from fastcorr._algorithms.parallel cimport parallel_for
from fastcorr._algorithms.window cimport axis_of, axis_t, source_of

import_array()


def unsupported(problem):
    """None: the definition serves every problem."""
    return None


ctypedef struct job_t:
    image_t x
    image_t y
    weights_t w
    const long double *bias             # [image_parts][F * m_parts], or NULL
    long double fill[2]
    int image_parts, k_parts, m_parts
    Py_ssize_t groups, m, channels, kh, kw, oh, ow
    Py_ssize_t stride_y, stride_x, dilation_y, dilation_x
    axis_t rows
    axis_t columns


cdef void run_row(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """One row of one output channel of one image."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t oy = index % job.oh, ox, c, ky, kx, iy, ix
    cdef Py_ssize_t m = index // job.oh % (job.groups * job.m)
    cdef Py_ssize_t n = index // job.oh // (job.groups * job.m)
    cdef Py_ssize_t f = m // job.m_parts, channel0 = m // job.m * job.channels
    cdef int p = m % job.m_parts, q, image_part = n % job.image_parts
    cdef long double total, row, value, weight
    cdef const char *x = job.x.data + n // job.image_parts * job.x.n
    cdef const char *w = job.w.data + f * job.w.f
    for ox in range(job.ow):
        total = 0
        for c in range(job.channels):
            for ky in range(job.kh):
                iy = source_of(&job.rows, oy * job.stride_y + ky * job.dilation_y)
                row = 0
                for kx in range(job.kw):
                    ix = source_of(&job.columns, ox * job.stride_x + kx * job.dilation_x)
                    for q in range(job.k_parts):
                        if iy < 0 or ix < 0:
                            value = job.fill[image_part + q]
                        else:
                            value = (<const long double *> (
                                x + (channel0 + c) * job.x.c + iy * job.x.h + ix * job.x.w
                                + (image_part + q) * job.x.part))[0]
                        weight = (<const long double *> (
                            w + c * job.w.c + ky * job.w.kh + kx * job.w.kw
                            + (p ^ q) * job.w.part))[0]
                        row += -value * weight if p == 0 and q == 1 else value * weight
                total += row
        if job.bias != NULL:
            total += job.bias[image_part * job.groups * job.m + m]
        (<long double *> (job.y.data + n // job.image_parts * job.y.n + f * job.y.c
                          + oy * job.y.h + ox * job.y.w + (image_part + p) * job.y.part))[0] = total


cdef class Generic:
    """The algorithm for one problem: see tiled.Tiled for the meaning of the arguments."""

    cdef job_t base
    cdef object problem, margins
    cdef readonly int workers
    cdef readonly Py_ssize_t scratch_bytes, n_tiles
    cdef readonly str kernel_name

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        memset(job, 0, sizeof(job_t))
        self.problem, self.margins = problem, (rows, columns)
        self.kernel_name = "fc_longdouble_generic"
        job.image_parts, job.k_parts, job.m_parts = parts_of(problem)
        job.groups = problem.groups
        job.m = problem.F // problem.groups * job.m_parts
        job.channels = problem.C // problem.groups
        job.kh, job.kw, job.oh, job.ow = problem.KH, problem.KW, problem.OH, problem.OW
        job.stride_y, job.stride_x = problem.stride
        job.dilation_y, job.dilation_x = problem.dilation
        job.rows = axis_of(rows, problem.padding[0], problem.H, problem.stride[0])
        job.columns = axis_of(columns, problem.padding[1], problem.W, problem.stride[1])
        self.n_tiles = problem.N * job.image_parts * job.groups * job.m * job.oh

    def cut(self, int workers):
        """One output row is one tile, for any number of threads."""
        return self

    def run(self, ndarray x, ndarray w, bias, ndarray y, fill, int workers):
        """Compute y; see gemm.Gemm.run. x and w are of the result's precision."""
        cdef job_t job = self.base
        cdef Py_ssize_t size = sizeof(long double)
        cdef double row_seconds
        cdef const char *fill_bytes = fill
        memcpy(job.fill, fill_bytes, 2 * size)
        x, w = aligned(x), aligned(w)
        job.x = image_of(x, x.ndim, self.problem.channels_last, size)
        job.y = image_of(y, y.ndim, self.problem.channels_last, size)
        job.w = weights_of(w, w.ndim, size)
        job.bias = NULL if bias is None else <const long double *> PyArray_DATA(<ndarray> bias)
        row_seconds = 2e-9 * job.ow * job.channels * job.kh * job.kw * job.k_parts
        if row_seconds * self.n_tiles < 50e-6:
            workers = 1
        return parallel_for(run_row, &job, self.n_tiles, workers, 64, row_seconds)
