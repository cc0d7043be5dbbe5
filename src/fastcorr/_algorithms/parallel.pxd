# SPDX-License-Identifier: BSD-3-Clause

cdef enum:
    CACHE_LINE = 64

# Work on one tile; `scratch` belongs to the thread that runs it, aligned to a cache line.
ctypedef void (*tile_fn)(const void *job, Py_ssize_t tile, char *scratch) noexcept nogil


cdef inline char *align(char *p) noexcept nogil:
    """The first cache line from p on."""
    return p + (-(<Py_ssize_t> p) & (CACHE_LINE - 1))


cdef inline Py_ssize_t whole_lines(Py_ssize_t n_bytes) noexcept:
    """Bytes rounded up to whole cache lines, for the parts of scratch memory."""
    return (n_bytes + 63) // 64 * 64


cdef inline Py_ssize_t odd_lines(Py_ssize_t n_bytes) noexcept nogil:
    """Bytes rounded up to an odd number of cache lines: rows so far apart share no cache set."""
    return ((n_bytes + 127) // 128 * 2 + 1) * 64


cdef int parallel_for(tile_fn work, const void *job, Py_ssize_t n_tiles, int workers,
                      Py_ssize_t scratch_bytes, double tile_seconds) except -1
