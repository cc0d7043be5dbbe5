# SPDX-License-Identifier: BSD-3-Clause
"""Kernels gathered from strided arrays, in an order that uses each cache line as it comes."""

from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    void prefetch "__builtin_prefetch" (const void *) noexcept nogil

cdef enum:
    AHEAD = 8               # outer indices: each of them lies in another page
    SIDE = 8                # of them at a time: as many lines as a set of the first cache has

ctypedef fused number_t:
    uint32_t
    uint64_t


cdef inline void gather_kernels(const char *w, Py_ssize_t outer_bytes, Py_ssize_t n_outer,
                                Py_ssize_t inner_bytes, Py_ssize_t n_inner, Py_ssize_t kh_bytes,
                                Py_ssize_t kh, Py_ssize_t kw_bytes, Py_ssize_t kw, number_t *out,
                                Py_ssize_t row) noexcept nogil:
    """out[inner * row + (outer, ky, kx)] = w[outer, inner, ky, kx]: inner ones are neighbours in w.

    Strides of w are in bytes.
    """
    cdef Py_ssize_t item = sizeof(number_t), first = 0, outer, inner, _ky, kx
    cdef const char *at
    cdef number_t *to
    if kh == kw == 3 and kw_bytes == -item and kh_bytes == -3 * item:  # flipped: in vectors
        for outer in range(n_outer):
            for inner in range(n_inner):
                prefetch(w + (outer + AHEAD) * outer_bytes + inner * inner_bytes)
                reverse_nine(<const number_t *> (w + outer * outer_bytes + inner * inner_bytes),
                             out + inner * row + outer * 9)
        return
    if kh == kw == 1:
        for outer in range(n_outer // SIDE):
            for inner in range(n_inner):
                turn_side(w + SIDE * outer * outer_bytes + inner * inner_bytes, outer_bytes,
                          out + inner * row + SIDE * outer)
        first = n_outer // SIDE * SIDE
    for outer in range(first, n_outer):
        for inner in range(n_inner):
            at = w + outer * outer_bytes + inner * inner_bytes
            to = out + inner * row + outer * kh * kw
            for _ky in range(kh):
                for kx in range(kw):
                    to[kx] = (<const number_t *> (at + kx * kw_bytes))[0]
                to += kw
                at += kh_bytes


cdef inline void reverse_nine(const number_t *last, number_t *to) noexcept nogil:
    cdef number_t[9] nine
    cdef int i
    for i in range(9):
        nine[i] = last[-i]
    for i in range(9):
        to[i] = nine[i]


cdef inline void turn_side(const char *w, Py_ssize_t outer_bytes, number_t *to) noexcept nogil:
    cdef int i
    for i in range(SIDE):
        to[i] = (<const number_t *> (w + i * outer_bytes))[0]
