# SPDX-License-Identifier: BSD-3-Clause


cdef class Cut:
    cdef list arrays                # keeps the tables alive that the job points into
    cdef readonly int workers
    cdef readonly Py_ssize_t n_tiles
    cdef readonly Py_ssize_t scratch_bytes      # of a thread
    cdef readonly str kernel_name
    cdef double tile_seconds


cdef class Tiled:
    cdef object problem, rows, columns
    cdef dict cuts                  # a dict, which several threads may change at once
    cdef int compute
