# SPDX-License-Identifier: BSD-3-Clause
"""Larger kernels as sums of small ones of r x r, their parts (winograd_cuts.form_of).

Under part p of a kernel an image is moved up and left by where p begins, and the sum over parts is
one more over channels: a problem of parts * channels "terms", [part][channel], and r x r taps (D.
Huang et al.: DWM: a decomposable Winograd method for convolution acceleration. AAAI 2020).
"""

from fastcorr._algorithms.winograd_tiles cimport job_t

ctypedef fused real_t:
    float
    double


cdef inline void copy_part(const job_t *job, const real_t *w, Py_ssize_t part, Py_ssize_t n,
                           real_t *out) noexcept nogil:
    """Of n channels of a filter, the taps of a part: a tap in several parts is shared by them."""
    cdef const double *share = job.part_share + job.part_taps * part
    cdef Py_ssize_t c, i, j
    w += job.part_row[part] * job.kw + job.part_column[part]
    for c in range(n):
        for i in range(3):  # a larger kernel in one part is not copied
            for j in range(3):
                out[3 * i + j] = w[i * job.kw + j] * <real_t> share[3 * i + j]
        w += job.taps
        out += 9


cdef inline const char *weights_of(const job_t *job, Py_ssize_t row, Py_ssize_t term, Py_ssize_t n,
                                   char *copy) noexcept nogil:
    """n terms of a row of w: as they lie there, or made in `copy`."""
    cdef Py_ssize_t item = job.kernel.item_bytes, part, c, count
    cdef const char *w = job.w + row * job.channels * job.taps * item
    cdef char *out = copy
    if job.n_parts == 1:
        return w + term * job.taps * item
    while n > 0:
        part, c = term // job.channels, term % job.channels
        count = min(n, job.channels - c)
        if item == sizeof(float):
            copy_part(job, <const float *> w + c * job.taps, part, count, <float *> out)
        else:
            copy_part(job, <const double *> w + c * job.taps, part, count, <double *> out)
        out += count * job.part_taps * item
        term += count
        n -= count
    return copy
