# SPDX-License-Identifier: BSD-3-Clause
"""Arrays as kernels see them: a pointer, byte strides by axis, an element type.

A complex array is two real ones, `part` bytes apart.
"""

from numpy cimport PyArray_DATA, PyArray_ISALIGNED, PyArray_STRIDES, ndarray

ctypedef struct image_t:  # x or y
    char *data
    Py_ssize_t n, c, h, w, part

ctypedef struct weights_t:
    const char *data
    Py_ssize_t f, c, kh, kw, part


cdef inline parts_of(problem):
    """(image_parts, k_parts, m_parts): how many real numbers make an image, a term, an output.

    A complex x under a real w is twice the images, under a complex one twice the terms; a complex w
    gives twice the outputs.
    """
    complex_x = problem.x_dtype.kind == "c"
    complex_w = problem.w_dtype.kind == "c"
    return 1 + (complex_x and not complex_w), 1 + (complex_x and complex_w), 1 + complex_w


cdef inline bint is_computed_in(dtype, problem, Py_ssize_t item_bytes):
    """Whether arrays of the dtype hold numbers just as the kernels compute in them."""
    return (dtype.itemsize == item_bytes and dtype.kind != "c"
            and (dtype.kind == "f") == (problem.dtype.kind in "fc"))


cdef inline ndarray aligned(ndarray a):
    """`a`, or a copy of it where its numbers do not lie at multiples of their size."""
    return a if PyArray_ISALIGNED(a) else a.copy()


cdef inline image_t image_of(ndarray a, int ndim, bint channels_last, Py_ssize_t part) noexcept:
    """Strides of an (H, W), (C, H, W) or (N, C, H, W) array, or of (H, W, C), (N, H, W, C)."""
    cdef image_t image
    cdef const Py_ssize_t *strides = <const Py_ssize_t *> PyArray_STRIDES(a)
    cdef int last = ndim - 1
    image.data = <char *> PyArray_DATA(a)
    image.part = part
    image.n = strides[0] if ndim == 4 else 0
    if ndim == 2:
        image.c, image.h, image.w = 0, strides[0], strides[1]
    elif channels_last:
        image.h, image.w, image.c = strides[last - 2], strides[last - 1], strides[last]
    else:
        image.c, image.h, image.w = strides[last - 2], strides[last - 1], strides[last]
    return image


cdef inline weights_t weights_of(ndarray a, int ndim, Py_ssize_t part) noexcept:
    cdef weights_t w
    cdef const Py_ssize_t *strides = <const Py_ssize_t *> PyArray_STRIDES(a)
    w.data = <const char *> PyArray_DATA(a)
    w.part = part
    w.f = strides[0] if ndim == 4 else 0
    w.c = strides[ndim - 3] if ndim > 2 else 0
    w.kh, w.kw = strides[ndim - 2], strides[ndim - 1]
    return w


cdef inline void negate(char *at, Py_ssize_t n, Py_ssize_t item) noexcept nogil:
    """Complex operands compute in float32 or float64 only."""
    cdef Py_ssize_t i
    for i in range(n):
        if item == 4:
            (<float *> at)[i] = -(<float *> at)[i]
        else:
            (<double *> at)[i] = -(<double *> at)[i]
