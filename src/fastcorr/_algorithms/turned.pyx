# SPDX-License-Identifier: BSD-3-Clause
"""Kernels for the way back: input and output channels change places within each group.

What NumPy would do by a transposed view and `ascontiguousarray`, but by several threads and in
blocks that fit the caches. Flipped kernels and the taps of a phase come as strides of the view.
"""

import numpy as np

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.operands cimport aligned, weights_of, weights_t
from fastcorr._algorithms.parallel cimport parallel_for

import_array()

cdef enum:
    BLOCK_CHANNELS = 32     # rows of the result that are written side by side

cdef double SECONDS_PER_ITEM = 1e-9


ctypedef struct job_t:
    weights_t w
    char *turned
    Py_ssize_t f, c, kh, kw, item           # f and c of a group
    bint is_aligned                         # to whole items
    Py_ssize_t n_blocks                     # of c


cdef void turn_block(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """Some channels of all kernels of a group."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t group = index // job.n_blocks, c0 = index % job.n_blocks * BLOCK_CHANNELS
    cdef Py_ssize_t n = min(<Py_ssize_t> BLOCK_CHANNELS, job.c - c0)
    cdef Py_ssize_t row = job.f * job.kh * job.kw
    cdef const char *src = job.w.data + group * job.f * job.w.f + c0 * job.w.c
    cdef char *out = job.turned + (group * job.c + c0) * row * job.item
    if job.is_aligned and job.item == 4:
        gather_kernels(src, job.w.f, job.f, job.w.c, n, job.w.kh, job.kh, job.w.kw, job.kw,
                       <uint32_t *> out, row)
    elif job.is_aligned and job.item == 8:
        gather_kernels(src, job.w.f, job.f, job.w.c, n, job.w.kh, job.kh, job.w.kw, job.kw,
                       <uint64_t *> out, row)
    else:
        gather_items(job, src, n, out)


cdef void gather_items(const job_t *job, const char *src, Py_ssize_t n, char *out) noexcept nogil:
    """The same for items of any size."""
    cdef Py_ssize_t f, c, ky, kx
    for c in range(n):
        for f in range(job.f):
            for ky in range(job.kh):
                for kx in range(job.kw):
                    memcpy(out, src + f * job.w.f + c * job.w.c + ky * job.w.kh + kx * job.w.kw,
                           job.item)
                    out += job.item


def turned(ndarray w, int groups, int workers):
    """Return kernels (C, F / G, KH, KW), contiguous, of w (F, C / G, KH, KW) of any strides."""
    cdef job_t job
    cdef ndarray result
    w = aligned(w)
    F, job.c, job.kh, job.kw = w.shape[0], w.shape[1], w.shape[2], w.shape[3]
    job.f, job.item = F // groups, w.itemsize
    job.is_aligned = w.dtype.alignment == w.itemsize  # pairs of numbers are not
    result = np.empty((groups * job.c, job.f, job.kh, job.kw), w.dtype)
    job.w = weights_of(w, 4, 0)
    job.turned = <char *> PyArray_DATA(result)
    job.n_blocks = (job.c + BLOCK_CHANNELS - 1) // BLOCK_CHANNELS
    parallel_for(turn_block, &job, groups * job.n_blocks, workers, 0,
                 BLOCK_CHANNELS * job.f * job.kh * job.kw * SECONDS_PER_ITEM)
    return result
