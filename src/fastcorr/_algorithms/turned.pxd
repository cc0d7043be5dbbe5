# SPDX-License-Identifier: BSD-3-Clause
"""Kernels gathered from strided arrays, in an order that uses each cache line as it comes."""

from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    typedef uint32_t fc_four_t __attribute__((vector_size(16), aligned(4), may_alias));
    typedef uint64_t fc_two_t __attribute__((vector_size(16), aligned(8), may_alias));

    static inline void fc_reverse_four(const uint32_t *from, uint32_t *to) {
        const fc_four_t v = *(const fc_four_t *)from;
        *(fc_four_t *)to = __builtin_shufflevector(v, v, 3, 2, 1, 0);
    }
    static inline void fc_reverse_two(const uint64_t *from, uint64_t *to) {
        const fc_two_t v = *(const fc_two_t *)from;
        *(fc_two_t *)to = __builtin_shufflevector(v, v, 1, 0);
    }
    """
    void fc_reverse_four(const uint32_t *, uint32_t *) noexcept nogil
    void fc_reverse_two(const uint64_t *, uint64_t *) noexcept nogil
    void prefetch "__builtin_prefetch" (const void *) noexcept nogil

cdef enum:
    AHEAD = 8               # outer indices: each of them lies in another page
    SIDE = 8                # of them at a time: as many lines as a set of the first cache has
    MOST_TAPS = 64          # of a kernel whose taps are found by a table

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
    cdef Py_ssize_t item = sizeof(number_t), n = kh * kw, first = 0, outer, inner, i
    cdef Py_ssize_t[MOST_TAPS] tap
    cdef const char *at
    cdef number_t *to
    if kw == 1:
        kw_bytes = kh_bytes
    if n > 1 and kw_bytes == -item and (kh == 1 or kw == 1 or kh_bytes == -kw * item):  # flipped
        for outer in range(n_outer):
            for inner in range(n_inner):
                at = w + outer * outer_bytes + inner * inner_bytes
                to = out + inner * row + outer * n
                prefetch(at + AHEAD * outer_bytes)
                if n == 9:  # as a constant
                    reverse_run(<const number_t *> at, to, 9)
                else:
                    reverse_run(<const number_t *> at, to, n)
        return
    if n == 1:
        for outer in range(n_outer // SIDE):
            for inner in range(n_inner):
                turn_side(w + SIDE * outer * outer_bytes + inner * inner_bytes, outer_bytes,
                          out + inner * row + SIDE * outer)
        first = n_outer // SIDE * SIDE
    if n <= MOST_TAPS:
        for i in range(n):
            tap[i] = i // kw * kh_bytes + i % kw * kw_bytes
    for outer in range(first, n_outer):
        for inner in range(n_inner):
            at = w + outer * outer_bytes + inner * inner_bytes
            to = out + inner * row + outer * n
            if n == 4:  # a phase of 3 x 3 or 4 x 4
                for i in range(4):
                    to[i] = (<const number_t *> (at + tap[i]))[0]
            elif n <= MOST_TAPS:
                for i in range(n):
                    to[i] = (<const number_t *> (at + tap[i]))[0]
            else:
                gather_taps(at, kh_bytes, kh, kw_bytes, kw, to)


cdef inline void gather_taps(const char *w, Py_ssize_t kh_bytes, Py_ssize_t kh,
                             Py_ssize_t kw_bytes, Py_ssize_t kw, number_t *to) noexcept nogil:
    cdef Py_ssize_t _ky, kx
    for _ky in range(kh):
        for kx in range(kw):
            to[kx] = (<const number_t *> (w + kx * kw_bytes))[0]
        to += kw
        w += kh_bytes


cdef inline void reverse_run(const number_t *last, number_t *to, Py_ssize_t n) noexcept nogil:
    """to[i] = last[-i]: in vectors, the last of which may overlap the one before."""
    cdef Py_ssize_t i, lanes = 16 // sizeof(number_t)
    if n < lanes:
        for i in range(n):
            to[i] = last[-i]
        return
    for i in range(n // lanes):
        reverse_vector(last - i * lanes, to + i * lanes)
    if n % lanes > 0:
        reverse_vector(last - (n - lanes), to + n - lanes)


cdef inline void reverse_vector(const number_t *last, number_t *to) noexcept nogil:
    if number_t is uint32_t:
        fc_reverse_four(last - 3, to)
    else:
        fc_reverse_two(last - 1, to)


cdef inline void turn_side(const char *w, Py_ssize_t outer_bytes, number_t *to) noexcept nogil:
    cdef int i
    for i in range(SIDE):
        to[i] = (<const number_t *> (w + i * outer_bytes))[0]
