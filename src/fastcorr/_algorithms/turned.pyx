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
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport FC_COMPUTE_U32, FC_COMPUTE_U64, fc_kernels_t

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
    const fc_kernels_t *kernel              # for single taps that lie in vectors along c, or NULL
    Py_ssize_t[BLOCK_CHANNELS] places       # of channels in the result


cdef void turn_block(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """Some channels of all kernels of a group."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t group = index // job.n_blocks, c0 = index % job.n_blocks * BLOCK_CHANNELS
    cdef Py_ssize_t n = min(<Py_ssize_t> BLOCK_CHANNELS, job.c - c0)
    cdef Py_ssize_t row = job.f * job.kh * job.kw
    cdef const char *src = job.w.data + group * job.f * job.w.f + c0 * job.w.c
    cdef char *out = job.turned + (group * job.c + c0) * row * job.item
    cdef Py_ssize_t f = 0
    if job.kernel != NULL:
        f = job.f // job.kernel.lanes * job.kernel.lanes
        turn_matrix(job, src, f, n, out)
        src += f * job.w.f
        out += f * job.item
    if job.is_aligned and job.item == 4:
        gather_kernels(src, job.w.f, job.f - f, job.w.c, n, job.w.kh, job.kh, job.w.kw, job.kw,
                       <uint32_t *> out, row)
    elif job.is_aligned and job.item == 8:
        gather_kernels(src, job.w.f, job.f - f, job.w.c, n, job.w.kh, job.kh, job.w.kw, job.kw,
                       <uint64_t *> out, row)
    else:
        gather_items(job, src, n, out)


cdef void turn_matrix(const job_t *job, const char *src, Py_ssize_t f, Py_ssize_t n,
                      char *out) noexcept nogil:
    """Single taps of n channels of f kernels, whole vectors of kernels."""
    cdef Py_ssize_t lanes = job.kernel.lanes, first = 0
    while first < f:
        job.kernel.interleave(lanes, n, src + first * job.w.f, job.w.f // job.item,
                              out + first * job.item, job.places)
        first += lanes


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


def turned(ndarray w, int groups, int workers, ndarray out=None):
    """Return kernels (C, F / G, KH, KW), contiguous, of w (F, C / G, KH, KW) of any strides.

    `out` may be such an array, aligned and of the same dtype.
    """
    cdef job_t job
    cdef ndarray result
    cdef Py_ssize_t i
    w = aligned(w)
    F, job.c, job.kh, job.kw = w.shape[0], w.shape[1], w.shape[2], w.shape[3]
    job.f, job.item = F // groups, w.itemsize
    job.is_aligned = w.dtype.alignment == w.itemsize  # pairs of numbers are not
    result = out
    if result is None:
        result = np.empty((groups * job.c, job.f, job.kh, job.kw), w.dtype)
    job.w = weights_of(w, 4, 0)
    job.turned = <char *> PyArray_DATA(result)
    job.kernel = NULL
    if job.kh == job.kw == 1 and job.w.c == job.item and job.w.f % job.item == 0 and (
            job.is_aligned and (job.item == 4 or job.item == 8)):
        job.kernel = kernels(FC_COMPUTE_U32 if job.item == 4 else FC_COMPUTE_U64)
        for i in range(BLOCK_CHANNELS):
            job.places[i] = i * job.f
    job.n_blocks = (job.c + BLOCK_CHANNELS - 1) // BLOCK_CHANNELS
    parallel_for(turn_block, &job, groups * job.n_blocks, workers, 0,
                 BLOCK_CHANNELS * job.f * job.kh * job.kw * SECONDS_PER_ITEM)
    return result
