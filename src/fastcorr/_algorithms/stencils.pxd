# SPDX-License-Identifier: BSD-3-Clause
"""Which stencils there are: not each height and width has its own."""

from fastcorr._kernels.kernels cimport (
    FC_STENCIL_MAX_HEIGHT, FC_STENCIL_TALL_ROWS, fc_kernels_t, fc_stencil_fn,
)


cdef inline const fc_stencil_fn *short_stencils(const fc_kernels_t *kernel, Py_ssize_t stride,
                                                Py_ssize_t height) noexcept nogil:
    """Those for blocks of FC_STENCIL_ROWS rows, by number of vectors; there are some for all
    heights.
    """
    if height > FC_STENCIL_MAX_HEIGHT or kernel.stencil[stride - 1][height][1] == NULL:
        height = 0
    return &kernel.stencil[stride - 1][height][0]


cdef inline const fc_stencil_fn *tall_stencils(const fc_kernels_t *kernel, Py_ssize_t stride,
                                               Py_ssize_t height) noexcept nogil:
    """Those for blocks of FC_STENCIL_TALL_ROWS rows, or NULL where there are none."""
    cdef const fc_stencil_fn *found
    if height > FC_STENCIL_MAX_HEIGHT or (
            height >= FC_STENCIL_TALL_ROWS and kernel.tall_stencil[stride - 1][height][1] == NULL):
        height = 0
    found = &kernel.tall_stencil[stride - 1][height][0]
    return found if found[1] != NULL else NULL


cdef inline Py_ssize_t widest(const fc_stencil_fn *stencil, Py_ssize_t vectors) noexcept nogil:
    """The most vectors at once, up to so many; there is always a stencil of one."""
    while stencil[vectors] == NULL:
        vectors -= 1
    return vectors
