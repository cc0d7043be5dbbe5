# SPDX-License-Identifier: BSD-3-Clause
"""Which rows and columns of x make one plane of a staged window (kernels.h draws it)."""

from numpy cimport PyArray_DATA, ndarray

from fastcorr._kernels.kernels cimport FC_PAD


# One axis of the padded image: `before` positions, n of x itself, `after` positions; the sources of
# the outer ones are indices in x, or NULL where they are the constant.
ctypedef struct axis_t:
    Py_ssize_t before, n, after
    const Py_ssize_t *sources_before
    const Py_ssize_t *sources_after
    Py_ssize_t stride


cdef inline axis_t axis_of(margins, padding, Py_ssize_t n, Py_ssize_t stride):
    """`margins` are _padding.margins of an axis of n samples; the caller keeps them alive."""
    cdef axis_t axis
    axis.before, axis.after = padding
    axis.n, axis.stride = n, stride
    axis.sources_before = axis.sources_after = NULL
    if margins[0] is not None:
        axis.sources_before = <const Py_ssize_t *> PyArray_DATA(<ndarray> margins[0])
        axis.sources_after = <const Py_ssize_t *> PyArray_DATA(<ndarray> margins[1])
    return axis


cdef inline Py_ssize_t source_of(const axis_t *axis, Py_ssize_t position) noexcept nogil:
    """The index in x of a padded position; -1 for the constant and beyond the end."""
    if position < axis.before:
        return -1 if axis.sources_before == NULL else axis.sources_before[position]
    position -= axis.before
    if position < axis.n:
        return position
    position -= axis.n
    if position >= axis.after or axis.sources_after == NULL:
        return -1
    return axis.sources_after[position]


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline void positions(const axis_t *axis, Py_ssize_t start, Py_ssize_t count,
                           Py_ssize_t step_bytes, Py_ssize_t *out) noexcept nogil:
    """Byte offsets of padded positions start, start + stride, ...; FC_PAD where there is none."""
    cdef Py_ssize_t i, source
    for i in range(count):
        source = source_of(axis, start + i * axis.stride)
        out[i] = source * step_bytes if source >= 0 else FC_PAD


cdef inline void interior(const axis_t *axis, Py_ssize_t start, Py_ssize_t count,
                          Py_ssize_t *lo, Py_ssize_t *hi) noexcept nogil:
    """The run lo <= i < hi of those positions that lies inside the image itself."""
    cdef Py_ssize_t first = axis.before - start, end = axis.before + axis.n - start
    lo[0] = min(ceil_div(first, axis.stride) if first > 0 else 0, count)
    hi[0] = max(min(ceil_div(end, axis.stride) if end > 0 else 0, count), lo[0])
