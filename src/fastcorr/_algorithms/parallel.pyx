# SPDX-License-Identifier: BSD-3-Clause
"""The only parallel loop of the package: threads, scratch memory, the GIL and Ctrl-C.

Algorithms hand over a function of one tile. Which thread takes a tile never changes the result, so
nothing here can: see the promise of bitwise equality in the package's docstring.

Each thread has its share of the tiles, side by side, and then helps the others. So the same thread
meets the same weights and outputs, in the next loop and in the next call, and finds them in its own
cache: a line that comes from another's takes as long as hundreds of products.
"""

import os

from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cython.parallel cimport parallel, threadid

cdef extern from *:
    """
    #include <time.h>

    static double fc_seconds(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    }

    /* Threads at work in all concurrent calls, so that callers share the processors. */
    static int fc_threads_in_use = 0;

    /* Join with up to `wanted` threads, but no more than are left of `wanted`; one always. */
    static int fc_enter(int wanted) {
        int in_use = __atomic_load_n(&fc_threads_in_use, __ATOMIC_RELAXED), mine;
        do {
            mine = wanted - in_use > 1 ? wanted - in_use : 1;
        } while (!__atomic_compare_exchange_n(&fc_threads_in_use, &in_use, in_use + mine, 0,
                                              __ATOMIC_RELAXED, __ATOMIC_RELAXED));
        return mine;
    }
    static void fc_leave(int mine) {
        __atomic_fetch_sub(&fc_threads_in_use, mine, __ATOMIC_RELAXED);
    }
    static void fc_leave_all(void) {
        __atomic_store_n(&fc_threads_in_use, 0, __ATOMIC_RELAXED);
    }

    static Py_ssize_t fc_take(Py_ssize_t *next) {
        return __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);
    }
    """
    double fc_seconds() noexcept nogil
    int fc_enter(int wanted) noexcept nogil
    void fc_leave(int mine) noexcept nogil
    void fc_leave_all() noexcept nogil
    Py_ssize_t fc_take(Py_ssize_t *next) noexcept nogil

cdef enum:
    PAGE = 4096

# The tiles that are left of a thread's share: at the start of its memory, in a line of its own.
ctypedef struct share_t:
    Py_ssize_t next, end

# Between checks for Ctrl-C; a third of what is promised, so that one long tile can pass.
cdef double SLAB_SECONDS = 0.05

# The C library of Linux gives the end of its heap back to the system whenever a call frees more
# there than twice the largest piece that was ever freed, and clears it again for the next call: 900
# page faults, 2 ms, in the input gradient of 256 channels of 14 x 14. This is such a piece, never
# touched.
PyMem_RawFree(PyMem_RawMalloc(16 << 20))


cdef int parallel_for(tile_fn work, const void *job, Py_ssize_t n_tiles, int workers,
                      Py_ssize_t scratch_bytes, double tile_seconds) except -1:
    """Run work(job, tile, scratch) for every tile on at most `workers` threads.

    `tile_seconds` is a first guess that sizes the first slab; the clock sizes the others.
    """
    cdef Py_ssize_t first = 0, last, slab, stride
    cdef double started, elapsed
    cdef char *scratch
    cdef int n_threads
    if n_tiles == 0:
        return 0
    if workers > n_tiles:
        workers = <int> n_tiles
    n_threads = fc_enter(workers)
    # One cache line more than whole pages: threads' buffers must not share cache sets.
    stride = (scratch_bytes + CACHE_LINE + PAGE - 1) // PAGE * PAGE + CACHE_LINE
    scratch = <char *> PyMem_RawMalloc(n_threads * stride + CACHE_LINE)
    if scratch == NULL:
        fc_leave(n_threads)
        raise MemoryError(f"cannot allocate {n_threads * stride} bytes of scratch memory")
    try:
        slab = max(<Py_ssize_t> (n_threads * SLAB_SECONDS / (tile_seconds + 1e-9)), n_threads)
        while first < n_tiles:
            last = min(first + slab, n_tiles)
            with nogil:
                started = fc_seconds()
                run_slab(work, job, first, last, n_threads, align(scratch), stride)
                elapsed = fc_seconds() - started
            slab = max(<Py_ssize_t> ((last - first) * SLAB_SECONDS / (elapsed + 1e-9)), n_threads)
            first = last
            if first < n_tiles or elapsed > SLAB_SECONDS:
                PyErr_CheckSignals()
    finally:
        PyMem_RawFree(scratch)
        fc_leave(n_threads)
    return 0


cdef void run_slab(tile_fn work, const void *job, Py_ssize_t first, Py_ssize_t last, int n_threads,
                   char *memory, Py_ssize_t stride) noexcept nogil:
    cdef Py_ssize_t tile
    cdef int thread
    cdef share_t *share
    if n_threads == 1:  # a parallel region of one thread costs more than a small call
        for tile in range(first, last):
            work(job, tile, memory + CACHE_LINE)
        return
    for thread in range(n_threads):
        share = <share_t *> (memory + thread * stride)
        share.next = first + (last - first) * thread // n_threads
        share.end = first + (last - first) * (thread + 1) // n_threads
    with parallel(num_threads=n_threads):
        run_shares(work, job, threadid(), n_threads, memory, stride)


cdef void run_shares(tile_fn work, const void *job, int own, int n_threads, char *memory,
                     Py_ssize_t stride) noexcept nogil:
    """Run the tiles of one's own share, then what is left of the others': of absent threads all."""
    cdef Py_ssize_t tile
    cdef int i
    cdef share_t *share
    for i in range(n_threads):
        share = <share_t *> (memory + (own + i) % n_threads * stride)
        tile = fc_take(&share.next)
        while tile < share.end:
            work(job, tile, memory + own * stride + CACHE_LINE)
            tile = fc_take(&share.next)


def enter(int wanted):
    """Join the threads at work, for a loop of Python's; return how many the caller may use."""
    return fc_enter(wanted)


def leave(int mine):
    """Give back what `enter` returned."""
    fc_leave(mine)


if hasattr(os, "register_at_fork"):
    def _forget_threads():
        fc_leave_all()

    os.register_at_fork(after_in_child=_forget_threads)
