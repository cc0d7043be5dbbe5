# SPDX-License-Identifier: BSD-3-Clause
"""A matrix product with vectors along the output channels: y (n pixels x m) = x (n x k) w (k x m).

    for tile in (groups x blocks of channels x images x rows)    parallel_for
      for chunk of k = (ky, c, kx)              level 3 of the sum: `acc`, if there are several
        copy the weights as [k][nr]             fc_interleave, once for all tiles if they are
                                                few, in `bind` for all calls
        for image
          stage the chunk's window of x         fc_stage; an unpadded x is read where it lies
          for block of channels, for row
            for block of p outputs              fc_filterwise: levels 1 and 2 of the sum
          write the outputs                     fc_store

The mirror image of gemm: it broadcasts x and holds w in vectors. So short rows of outputs, any
stride, dilation and layout cost nothing; 16 output channels fill a vector where rows of 10 do not.
It pays for turning w, which gemm reads as it is.

Rows of taps that meet nothing but zeros of the padding are left out for finite weights: where the
kernel is as large as the image, that is a good part of them.
"""

import math

import numpy as np

from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, PyArray_IS_C_CONTIGUOUS, import_array, ndarray

from fastcorr._algorithms.operands cimport (
    aligned, image_of, image_t, is_computed_in, weights_of, weights_t,
)
from fastcorr._algorithms.parallel cimport (
    CACHE_LINE, align, odd_lines, parallel_for, whole_lines,
)
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, axis_t, ceil_div, interior, positions
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport FC_FILTERWISE_MOST_APART, fc_kernels_t, fc_window_t

from fastcorr._algorithms.gemm_cuts import K_CHUNK, MAX_TILE_CYCLES, chunk_of, even_pieces
from fastcorr._algorithms.layout import reach
from fastcorr._kernels.dispatch import active_isa, element_code, is_kernel_dtype

import_array()

# Of a tile, so that everything stays in a second-level cache of 1 MB.
WINDOW_BYTES = 256 * 1024
WEIGHTS_BYTES = 256 * 1024
ACC_BYTES = 128 * 1024
LARGEST_WINDOW_BYTES = 512 * 1024
TILE_PIXELS = 256               # enough of them pay for turning the weights
SHARED_BYTES = 1408 * 1024      # by thread, of weights that are turned once for all tiles
TILE_CYCLES = 50e3
CYCLES_PER_TILE = 500
CYCLES_PER_TURNED_VECTOR = 24.0
CYCLES_PER_REGION = 10e3        # for threads to meet once more
BYTES_PER_CYCLE_FROM_OTHERS = 1.5   # from the cache of another core
CYCLES_PER_THREAD = 60e3
CYCLES_PER_SECOND = 2e9


def unsupported(problem):
    """None, or why this algorithm cannot serve the problem."""
    if not is_kernel_dtype(problem.dtype):
        return f"there are no kernels for {problem.dtype}"
    if problem.dtype.kind == "c":
        return "vectors along the output channels serve real numbers"
    if problem.KH * problem.KW > K_CHUNK:
        return f"it serves kernels of up to {K_CHUNK} taps"
    if smallest_window_bytes(problem) > LARGEST_WINDOW_BYTES:
        return "the kernel is too large for a tile's window"
    if 2 * problem.OW * problem.n_summed > MAX_TILE_CYCLES:
        return "Ctrl-C would wait too long for a row of outputs"
    return None


def smallest_window_bytes(problem):
    channels = chunk_of(problem.C // problem.groups, problem.KH, problem.KW, 1)[0]
    return (
        channels * reach(1, problem.KH, problem.stride[0], problem.dilation[0])
        * reach(problem.OW, problem.KW, problem.stride[1], problem.dilation[1]) * 8)


ctypedef struct job_t:
    const fc_kernels_t *kernel
    image_t x
    image_t y
    weights_t w
    const char *bias                    # [groups * m], compute type, or NULL
    char fill[16]                       # the padding constant
    int x_type, w_type, y_type
    Py_ssize_t groups, m, channels, kh, kw, oh, ow, n_images
    Py_ssize_t stride_y, stride_x, dilation_y, dilation_x
    axis_t rows
    axis_t columns
    bint direct_x                       # x as computed, without padding
    bint direct_weights                 # w as computed, all terms of a channel side by side
    bint may_skip                       # rows of taps that meet padding: it is zero
    # All weights turned, or NULL: [groups][chunk][n_blocks][k]; and whether they are finite, if
    # rows of taps may be left out: [groups][n_chunks][n_blocks].
    char *turned
    char *finite
    bint dense_y                        # rows follow each other without a gap
    Py_ssize_t chunk_channels, n_chunks
    int nv, last_nv                     # vectors of a block of output channels; 0: half of one
    Py_ssize_t nr, n_blocks             # its output channels; such blocks in a group
    Py_ssize_t block_size               # bytes that a block of turned weights takes for a term
    Py_ssize_t tile_images, tile_rows, tile_blocks
    Py_ssize_t n_image_tiles, n_row_tiles, n_block_tiles
    Py_ssize_t window_rows, window_columns, channel_size
    # For all chunks but the last one, and for the last one:
    const Py_ssize_t *offset[2]         # of x, from the first output's window, [k]
    const Py_ssize_t *place[2]          # in the turned weights, of the terms as w has them
    const Py_ssize_t *last_place[2]     # the same in the last block
    # scratch, in bytes from its start
    Py_ssize_t at_row_bytes, at_column_bytes, at_places, at_window, at_weights, at_finite, at_bias
    Py_ssize_t at_acc


ctypedef struct tile_t:
    Py_ssize_t group, image0, images, row0, rows, block0, blocks
    Py_ssize_t chunk, c0, nc            # of the weights' channels
    bint is_first, is_last              # chunk


cdef inline int vectors_of(const job_t *job, Py_ssize_t block) noexcept nogil:
    """Of a block: the last one of a group may have fewer than the others."""
    return job.last_nv if block == job.n_blocks - 1 else job.nv


cdef inline void locate_chunk(const job_t *job, Py_ssize_t chunk, tile_t *t) noexcept nogil:
    t.chunk = chunk
    t.c0 = chunk * job.chunk_channels
    t.nc = min(job.chunk_channels, job.channels - t.c0)
    t.is_first, t.is_last = chunk == 0, chunk == job.n_chunks - 1


cdef inline Py_ssize_t turned_bytes(const job_t *job) noexcept nogil:
    return job.groups * job.channels * job.kh * job.kw * job.n_blocks * job.block_size


cdef inline char *turned_of(const job_t *job, const tile_t *t, Py_ssize_t block,
                            char *scratch) noexcept nogil:
    """Where a block's terms of the chunk lie, among all weights or those of the tile."""
    cdef Py_ssize_t taps = job.kh * job.kw
    if job.turned == NULL:
        return scratch + job.at_weights + (block - t.block0) * t.nc * taps * job.block_size
    return job.turned + (
        (t.group * job.channels + t.c0) * job.n_blocks + block * t.nc) * taps * job.block_size


cdef inline char *finite_of(const job_t *job, const tile_t *t, Py_ssize_t block,
                            char *scratch) noexcept nogil:
    if job.turned == NULL:
        return scratch + job.at_finite + block - t.block0
    return job.finite + (t.group * job.n_chunks + t.chunk) * job.n_blocks + block


cdef void turn_block(const job_t *job, const tile_t *t, Py_ssize_t block,
                     char *scratch) noexcept nogil:
    """Copy a block of w, numbered in its group, as [k][nr]: the chunk's terms."""
    cdef Py_ssize_t lanes = job.kernel.lanes, item = job.kernel.item_bytes
    cdef Py_ssize_t kc = t.nc * job.kh * job.kw, v, m, n, i
    cdef int nv = vectors_of(job, block)
    cdef const Py_ssize_t *place = (
        job.place[t.is_last] if nv == job.nv else job.last_place[t.is_last])
    cdef char *turned = turned_of(job, t, block, scratch)
    cdef const char *src
    cdef char *dst
    for v in range(max(nv, 1)):
        m = block * job.nr + v * lanes
        n = max(min(lanes, job.m - m), 0)
        src = job.w.data + (t.group * job.m + m) * job.w.f + t.c0 * job.w.c
        dst = turned + v * lanes * item
        if job.direct_weights:
            job.kernel.interleave(n, kc, src, job.w.f // item, dst, place)
        else:
            gather_weights(job, t, src, n, dst, place)
    if nv == 0:  # the halves that hold something
        for i in range(1, kc):
            memcpy(turned + i * job.nr * item, turned + i * lanes * item, job.nr * item)
    # Of a block alone, as it changes the order of a sum: tiles have any number of them.
    finite_of(job, t, block, scratch)[0] = job.may_skip and job.kernel.is_finite(
        kc * (nv * lanes if nv > 0 else job.nr), turned)


cdef void turn_all(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """One block of a chunk of all weights, in the order in which tiles take them."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t block = index // job.n_chunks
    cdef tile_t t
    t.group = block // job.n_blocks
    locate_chunk(job, index % job.n_chunks, &t)
    turn_block(job, &t, block % job.n_blocks, scratch)


cdef void gather_weights(const job_t *job, const tile_t *t, const char *src, Py_ssize_t n,
                         char *dst, const Py_ssize_t *place) noexcept nogil:
    """Weights of n output channels of any dtype and strides."""
    cdef fc_window_t win
    cdef Py_ssize_t zero = 0, i, item = job.kernel.item_bytes
    cdef Py_ssize_t taps = job.kh * job.kw
    cdef char[16] nothing
    memset(nothing, 0, sizeof(nothing))
    win.n_rows, win.row_bytes = 1, &zero
    win.pitch, win.n_columns, win.column_bytes = job.kernel.lanes, n, &zero
    win.lo, win.hi, win.step_bytes = 0, n, job.w.f
    for i in range(t.nc * taps):
        memset(dst + place[i] * item, 0, job.kernel.lanes * item)
        if n > 0:
            job.kernel.stage[job.w_type](
                &win, src + i // taps * job.w.c + i % taps // job.kw * job.w.kh
                + i % job.kw * job.w.kw, 1, 0, nothing, dst + place[i] * item, 0)


cdef void stage_window(const job_t *job, const tile_t *t, Py_ssize_t image,
                       char *scratch) noexcept nogil:
    """Copy what the tile needs of the chunk's channels; `find_window` has found the places."""
    cdef fc_window_t win
    win.row_bytes = <const Py_ssize_t *> (scratch + job.at_row_bytes)
    win.column_bytes = <const Py_ssize_t *> (scratch + job.at_column_bytes)
    win.n_rows = job.window_rows - (job.tile_rows - t.rows) * job.stride_y
    win.n_columns = win.pitch = job.window_columns
    win.step_bytes = job.x.w
    interior(&job.columns, 0, win.n_columns, &win.lo, &win.hi)
    job.kernel.stage[job.x_type](
        &win, job.x.data + image * job.x.n + (t.group * job.channels + t.c0) * job.x.c, t.nc,
        job.x.c, job.fill, scratch + job.at_window, job.channel_size)


cdef void find_window(const job_t *job, const tile_t *t, char *scratch) noexcept nogil:
    """The rows and columns of x under the tile: the same for all channels and images."""
    positions(&job.rows, t.row0 * job.stride_y,
              job.window_rows - (job.tile_rows - t.rows) * job.stride_y, job.x.h,
              <Py_ssize_t *> (scratch + job.at_row_bytes))
    positions(&job.columns, 0, job.window_columns, job.x.w,
              <Py_ssize_t *> (scratch + job.at_column_bytes))


cdef void multiply(const job_t *job, const tile_t *t, Py_ssize_t image, Py_ssize_t block,
                   char *acc, char *scratch) noexcept nogil:
    """One block of channels of the tile's rows, the chunk's terms."""
    cdef Py_ssize_t item = job.kernel.item_bytes
    cdef int nv = vectors_of(job, t.block0 + block)
    cdef Py_ssize_t nr = nv * job.kernel.lanes if nv > 0 else job.nr
    cdef Py_ssize_t row, i, p, k0, k1, top, row_step, step, terms = t.nc * job.kw
    cdef Py_ssize_t most, n_blocks, narrow, n_wide
    cdef const Py_ssize_t *offset = job.offset[t.is_last]
    cdef const char *w = turned_of(job, t, t.block0 + block, scratch)
    cdef bint may_skip = job.may_skip and finite_of(job, t, t.block0 + block, scratch)[0]
    cdef const char *bias = NULL
    cdef const char *x
    if t.is_last and job.bias != NULL:
        bias = scratch + job.at_bias + block * job.nr * item
    if job.direct_x:
        row_step, step = job.stride_y * job.x.h, job.stride_x * (job.x.w // item)
        x = (job.x.data + image * job.x.n + (t.group * job.channels + t.c0) * job.x.c
             + t.row0 * row_step)
    else:
        row_step, step = job.stride_y * job.window_columns * item, job.stride_x
        x = scratch + job.at_window
    most = job.kernel.filterwise_outputs[nv]
    if step > 2:
        most = min(most, FC_FILTERWISE_MOST_APART)
    n_blocks = ceil_div(job.ow, most)
    narrow, n_wide = job.ow // n_blocks, job.ow % n_blocks
    for row in range(t.rows):
        k0, k1 = 0, job.kh
        if may_skip:
            top = (t.row0 + row) * job.stride_y - job.rows.before  # in x, of the first tap
            if top < 0:
                k0 = min(ceil_div(-top, job.dilation_y), job.kh)
            k1 = max(min(ceil_div(job.rows.n - top, job.dilation_y), job.kh), k0)
        for i in range(n_blocks):
            p = narrow + (i < n_wide)
            job.kernel.filterwise[nv][p](
                (k1 - k0) * terms, x + (i * narrow + min(i, n_wide)) * step * item, step,
                offset + k0 * terms, w + k0 * terms * nr * item, bias, acc, not t.is_first)
            acc += p * nr * item
        x += row_step


cdef void store(const job_t *job, const tile_t *t, Py_ssize_t image, Py_ssize_t block,
                const char *acc, char *scratch) noexcept nogil:
    """Write finished sums to y."""
    cdef Py_ssize_t item = job.kernel.item_bytes, n
    cdef int nv = vectors_of(job, t.block0 + block)
    cdef Py_ssize_t nr = nv * job.kernel.lanes if nv > 0 else job.nr
    cdef Py_ssize_t m = (t.block0 + block) * job.nr, n_channels = min(nr, job.m - m)
    cdef const Py_ssize_t *places = <const Py_ssize_t *> (scratch + job.at_places)
    cdef char *y = (job.y.data + image * job.y.n + (t.group * job.m + m) * job.y.c
                    + t.row0 * job.y.h)
    n = t.rows * job.ow if job.dense_y else job.ow
    for _ in range(t.rows * job.ow // n):
        job.kernel.store[job.y_type](acc, nr, n, n_channels, NULL, y, places, job.y.c)
        acc += n * nr * item
        y += job.y.h


cdef void run_tile(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t item = job.kernel.item_bytes, nr = job.nr
    cdef Py_ssize_t i, chunk, image, block, at
    cdef Py_ssize_t *places = <Py_ssize_t *> (scratch + job.at_places)
    cdef char *acc
    cdef tile_t t
    t.row0 = index % job.n_row_tiles * job.tile_rows
    t.rows = min(job.tile_rows, job.oh - t.row0)
    index //= job.n_row_tiles
    t.image0 = index % job.n_image_tiles * job.tile_images
    t.images = min(job.tile_images, job.n_images - t.image0)
    index //= job.n_image_tiles
    t.block0 = index % job.n_block_tiles * job.tile_blocks
    t.blocks = min(job.tile_blocks, job.n_blocks - t.block0)
    t.group = index // job.n_block_tiles
    for i in range(t.rows * job.ow if job.dense_y else job.ow):
        places[i] = i * job.y.w
    if job.bias != NULL:
        at = t.block0 * nr
        memcpy(scratch + job.at_bias, job.bias + (t.group * job.m + at) * item,
               min(t.blocks * nr, job.m - at) * item)
    if not job.direct_x:
        find_window(job, &t, scratch)
    for chunk in range(job.n_chunks):
        locate_chunk(job, chunk, &t)
        if job.turned == NULL:
            for block in range(t.blocks):
                turn_block(job, &t, t.block0 + block, scratch)
        for i in range(t.images):
            image = t.image0 + i
            if not job.direct_x:
                stage_window(job, &t, image, scratch)
            for block in range(t.blocks):
                acc = scratch + job.at_acc
                if job.n_chunks > 1:
                    acc += (i * t.blocks + block) * t.rows * job.ow * nr * item
                multiply(job, &t, image, block, acc, scratch)
                if t.is_last:
                    store(job, &t, image, block, acc, scratch)


cdef class Cut(TiledCut):
    """How the work is cut into tiles for one instruction set and number of threads."""

    cdef job_t job
    cdef tuple terms                # [ky, c, kx] of the terms of a chunk, and of the last one
    cdef tuple direct               # strides of x and both tables of offsets, of the last call
    cdef bint shares                # the weights, turned before all tiles
    # scratch_bytes has the thread's share of turned weights in it, task_bytes has not
    cdef Py_ssize_t task_bytes

    cdef tuple direct_offsets(self, const job_t *job):
        """Where the terms lie in an x that is read in place."""
        cdef Py_ssize_t item = job.kernel.item_bytes
        direct = self.direct
        strides = job.x.h // item, job.x.c // item, job.x.w // item
        if direct is None or direct[0] != strides:
            steps = np.array(strides) * (job.dilation_y, 1, job.dilation_x)
            direct = strides, *((terms @ steps).astype(np.intp) for terms in self.terms)
            self.direct = direct  # whole: several threads may be here
        return direct


cdef class Weights:
    """All weights turned, for one instruction set."""

    cdef ndarray turned, finite
    cdef const fc_kernels_t *kernel
    cdef readonly Py_ssize_t nbytes


cdef class Filterwise(Tiled):
    """The algorithm for one problem: see tiled.Tiled for the meaning of the arguments."""

    cdef job_t base
    cdef bint loads_as_computed, weights_as_computed, is_padded, may_skip
    cdef readonly Weights weights   # what `bind` keeps, or None

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        Tiled.__init__(self, problem, rows, columns)
        memset(job, 0, sizeof(job_t))
        job.x_type = element_code(problem.x_dtype)
        job.w_type = element_code(problem.w_dtype)
        job.y_type = element_code(problem.dtype)
        item = kernels(self.compute).item_bytes
        self.loads_as_computed = is_computed_in(problem.x_dtype, problem, item)
        self.weights_as_computed = is_computed_in(problem.w_dtype, problem, item)
        self.is_padded = any(problem.padding[0]) or any(problem.padding[1])
        self.may_skip = problem.padding_mode == "constant" and any(problem.padding[0])
        job.groups = problem.groups
        job.m = problem.F // problem.groups
        job.channels = problem.C // problem.groups
        job.kh, job.kw, job.oh, job.ow = problem.KH, problem.KW, problem.OH, problem.OW
        job.stride_y, job.stride_x = problem.stride
        job.dilation_y, job.dilation_x = problem.dilation
        job.n_images = problem.N
        job.rows = axis_of(rows, problem.padding[0], problem.H, 1)
        job.columns = axis_of(columns, problem.padding[1], problem.W, 1)
        job.chunk_channels = chunk_of(job.channels, job.kh, job.kw, 1)[0]
        job.n_chunks = ceil_div(job.channels, job.chunk_channels)

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0
        job[0] = self.base
        job.kernel = kernel
        # Two vectors at a time, as each number of x is loaded for both; the last of an odd number
        # is alone.
        vectors = ceil_div(job.m, lanes)
        job.nv, job.last_nv = min(vectors, 2), 2 - vectors % 2
        if job.m <= lanes // 2 and kernel.filterwise[0][1] != NULL:
            job.nv = job.last_nv = 0
        job.nr = nr = job.nv * lanes if job.nv > 0 else lanes // 2
        job.n_blocks = ceil_div(job.m, nr)
        k = job.chunk_channels * job.kh * job.kw
        job.window_columns = reach(job.ow, job.kw, job.stride_x, job.dilation_x)

        job.block_size = max(nr, lanes) * item
        cut.shares = self._choose(job, workers, k)
        job.window_rows = reach(job.tile_rows, job.kh, job.stride_y, job.dilation_y)
        # An odd number of cache lines: channels spread over the sets of the cache.
        job.channel_size = odd_lines(job.window_rows * job.window_columns * item) // item

        cut.terms = (self._terms(job.chunk_channels),
                     self._terms(job.channels - (job.n_chunks - 1) * job.chunk_channels))
        cut.arrays = []
        for i, terms in enumerate(cut.terms):
            offset = (terms @ np.array([job.dilation_y * job.window_columns, job.channel_size,
                                        job.dilation_x])).astype(np.intp)
            order = np.lexsort((terms[:, 2], terms[:, 0], terms[:, 1]))  # as in w
            place = (order * max(nr, lanes)).astype(np.intp)
            last_place = (order * max(job.last_nv, 1) * lanes).astype(np.intp)
            cut.arrays += [offset, place, last_place]
            job.offset[i] = <const Py_ssize_t *> PyArray_DATA(<ndarray> offset)
            job.place[i] = <const Py_ssize_t *> PyArray_DATA(<ndarray> place)
            job.last_place[i] = <const Py_ssize_t *> PyArray_DATA(<ndarray> last_place)

        pixels = job.tile_rows * job.ow
        job.at_row_bytes, at = at, at + whole_lines(job.window_rows * sizeof(Py_ssize_t))
        job.at_column_bytes, at = at, at + whole_lines(job.window_columns * sizeof(Py_ssize_t))
        job.at_places, at = at, at + whole_lines(pixels * sizeof(Py_ssize_t))
        job.at_window, at = at, at + whole_lines(job.chunk_channels * job.channel_size * item)
        job.at_weights = job.at_finite = at
        if not cut.shares:
            job.at_weights, at = at, at + whole_lines(job.tile_blocks * k * job.block_size)
            job.at_finite, at = at, at + whole_lines(job.tile_blocks)
        job.at_bias, at = at, at + whole_lines(job.tile_blocks * nr * item)
        job.at_acc, at = at, at + whole_lines(
            pixels * nr * item * (1 if job.n_chunks == 1 else job.tile_images * job.tile_blocks))
        cut.task_bytes = cut.scratch_bytes = at
        cut.n_tiles = job.groups * job.n_image_tiles * job.n_row_tiles * job.n_block_tiles
        tile_cycles = CYCLES_PER_TILE + self._cycles(job) / cut.n_tiles
        cut.workers = min(workers, cut.n_tiles,
                          int(cut.n_tiles * tile_cycles / CYCLES_PER_THREAD) + 1)
        if cut.shares and self.weights is None:
            cut.scratch_bytes += turned_bytes(job) // cut.workers
        cut.tile_seconds = tile_cycles / CYCLES_PER_SECOND
        cut.kernel_name = f"fc_{kernel.name.decode()}_filterwise_nx{nr}_{active_isa()}"
        return cut

    cdef _terms(self, Py_ssize_t channels):
        """[ky, c, kx] of the terms of a chunk, in the order of their sum."""
        shape = self.base.kh, channels, self.base.kw
        return np.indices(shape, np.intp).reshape(3, -1).T

    cdef double _row_cycles(self, const job_t *job):
        """Of a row of outputs of a block of channels."""
        return max(job.nv, 0.5) * job.ow * (<double> job.channels * job.kh * job.kw + 3)

    cdef double _cycles(self, const job_t *job):
        return (<double> job.n_images * job.groups * job.n_blocks * job.oh) * self._row_cycles(job)

    cdef double _staged_row(self, const job_t *job):
        """Cycles of a row of the window."""
        if not self.is_padded and self.loads_as_computed:
            return 0
        return job.channels * (20 + 8.0 * job.window_columns / job.kernel.lanes)

    cdef double _turning(self, const job_t *job):
        """Cycles of a block of w."""
        return CYCLES_PER_TURNED_VECTOR * max(job.nv, 1) * job.channels * job.kh * job.kw

    cdef bint _choose(self, job_t *job, int workers, k) except -1:
        """Choose tiles, and whether w is turned once for all of them."""
        if self.weights is not None or turned_bytes(job) <= SHARED_BYTES * workers:
            shared = self._choose_shared_tiles(job, workers)
            if self.weights is not None:
                return True
            if workers > 1 and job.n_chunks == 1:
                own, images, rows, blocks = self._own_tiles(job, workers, k)
                if own < shared:
                    job.tile_images = images
                    self._set_tiles(job, rows, blocks)
                    return False
            if job.n_row_tiles * job.n_image_tiles > 1:
                return True
        self._choose_tiles(job, workers, k)
        return False

    cdef tuple _own_tiles(self, const job_t *job, int workers, k):
        """(cycles, images, rows, blocks) of the best tiles that turn w, about one for each thread.

        In small problems threads would wait longer for each other's weights.
        """
        item, turning = job.kernel.item_bytes, self._turning(job)
        row_bytes = job.chunk_channels * job.window_columns * item
        staged_row, block_row = self._staged_row(job), self._row_cycles(job)
        best = math.inf, 1, 1, 1
        for rows in even_pieces(job.oh):
            window_rows = reach(rows, job.kh, job.stride_y, job.dilation_y)
            acc_bytes = rows * job.ow * job.nr * item
            if window_rows * row_bytes > WINDOW_BYTES or acc_bytes > ACC_BYTES:
                continue
            for blocks in even_pieces(job.n_blocks):
                if blocks * k * job.block_size > WEIGHTS_BYTES:
                    continue
                others = job.groups * ceil_div(job.oh, rows) * ceil_div(job.n_blocks, blocks)
                images = max(ceil_div(job.n_images, ceil_div(workers, others)), 1)
                cycles = CYCLES_PER_TILE + blocks * turning + images * (
                    window_rows * staged_row + blocks * rows * block_row)
                waves = ceil_div(others * ceil_div(job.n_images, images), workers)
                time = (waves + 0.02) * cycles * max(1, cycles / MAX_TILE_CYCLES)
                best = min(best, (time, images, rows, blocks))
        return best

    cdef double _choose_shared_tiles(self, job_t *job, int workers):
        """Tiles of least time where w is turned before: each stages x for all its blocks."""
        item = job.kernel.item_bytes
        row_bytes = job.chunk_channels * job.window_columns * item
        staged_row, block_row = self._staged_row(job), self._row_cycles(job)
        turning = from_others = 0
        if self.weights is None:
            turning = self._turning(job) * job.groups * job.n_blocks / workers
            if workers > 1:
                turning += CYCLES_PER_REGION
                from_others = turned_bytes(job) * (1 - 1 / workers) / BYTES_PER_CYCLE_FROM_OTHERS
        best = None
        for rows in even_pieces(job.oh):
            window_rows = reach(rows, job.kh, job.stride_y, job.dilation_y)
            acc_bytes = rows * job.ow * job.nr * item
            if rows > 1 and (window_rows * row_bytes > WINDOW_BYTES or acc_bytes > ACC_BYTES):
                continue
            for blocks in even_pieces(job.n_blocks):
                if job.n_chunks > 1 and blocks > 1 and blocks * acc_bytes > ACC_BYTES:
                    continue
                cycles = CYCLES_PER_TILE + window_rows * staged_row + blocks * rows * block_row
                # Equal tiles in waves, the last ones by their size.
                waves = job.oh / rows * job.n_blocks / blocks * job.groups * job.n_images / workers
                waves = math.ceil(waves) + 0.02 if workers > 1 else waves
                time = waves * cycles * max(1, cycles / MAX_TILE_CYCLES)
                if ceil_div(job.n_blocks, blocks) * job.groups % workers:
                    time += from_others  # or each thread takes what it has turned
                if best is None or time < best[0]:
                    best = time, rows, blocks, cycles
        time, rows, blocks, cycles = best
        per_image = job.groups * ceil_div(job.oh, rows) * ceil_div(job.n_blocks, blocks)
        images = min(int(TILE_CYCLES / cycles), job.n_images * per_image // (4 * workers),
                     job.n_images)
        job.tile_images = max(images, 1) if job.n_chunks == 1 else 1
        self._set_tiles(job, rows, blocks)
        return time + turning

    cdef void _choose_tiles(self, job_t *job, int workers, k):
        """Tiles that stay in the cache, enough for the threads, of pixels that pay for w."""
        item, nr = job.kernel.item_bytes, job.nr
        row_bytes = job.chunk_channels * job.window_columns * item
        wanted = min(4 * workers, 1 + int(self._cycles(job) / TILE_CYCLES)) if workers > 1 else 1
        most_rows = MAX_TILE_CYCLES / self._row_cycles(job)  # of a block
        for rows in even_pieces(job.oh):
            fits = reach(rows, job.kh, job.stride_y, job.dilation_y) * row_bytes <= WINDOW_BYTES
            if fits and rows * job.ow * nr * item <= ACC_BYTES and rows <= most_rows:
                break
        images = min(max(TILE_PIXELS // (rows * job.ow), 1), job.n_images)
        blocks = min(max(WEIGHTS_BYTES // (k * nr * item), 1), job.n_blocks)
        if job.n_chunks > 1:
            per_block = rows * job.ow * nr * item
            images = min(images, max(ACC_BYTES // per_block, 1))
            blocks = min(blocks, max(ACC_BYTES // (per_block * images), 1))
        # More images while there are tiles enough; then fewer channels, at last fewer rows.
        others = job.groups * ceil_div(job.oh, rows)
        if job.n_chunks == 1:
            images = max(images, min(job.n_images * others // wanted, 8 * images))
        while blocks > 1 and (
                others * ceil_div(job.n_images, images) * ceil_div(job.n_blocks, blocks) < wanted):
            blocks = ceil_div(blocks, 2)
        others = job.groups * ceil_div(job.n_images, images) * ceil_div(job.n_blocks, blocks)
        while images > 1 and others < wanted:
            images = ceil_div(images, 2)
            others = job.groups * ceil_div(job.n_images, images) * ceil_div(job.n_blocks, blocks)
        if others * ceil_div(job.oh, rows) < wanted:
            rows = min(rows, ceil_div(job.oh, ceil_div(wanted, others)))
        blocks = min(blocks, max(int(most_rows / rows), 1))
        job.tile_images = min(images, max(int(most_rows / (rows * blocks)), 1))
        self._set_tiles(job, rows, blocks)

    cdef void _set_tiles(self, job_t *job, Py_ssize_t rows, Py_ssize_t blocks):
        job.tile_rows, job.tile_blocks = rows, blocks
        job.n_image_tiles = ceil_div(job.n_images, job.tile_images)
        job.n_row_tiles = ceil_div(job.oh, rows)
        job.n_block_tiles = ceil_div(job.n_blocks, blocks)

    def bind(self, ndarray w, kept=()):
        """The runner for these kernels, see _plan: they are turned."""
        cdef Filterwise bound = Filterwise(self.problem, self.rows, self.columns)
        cdef Cut cut = self.cut(1)
        cdef job_t job = cut.job
        for weights in kept:
            if isinstance(weights, Weights) and (<Weights> weights).kernel == job.kernel:
                bound.weights = weights
                return bound
        job.may_skip = self.may_skip
        w = aligned(w)
        self._read(&job, w)
        bound.weights = self._turn(&job, 1)
        return bound

    cdef void _read(self, job_t *job, ndarray w):
        """Point the job to w as it is."""
        job.w = weights_of(w, w.ndim, 0)
        job.direct_weights = PyArray_IS_C_CONTIGUOUS(w) and self.weights_as_computed

    cdef Weights _turn(self, job_t *job, int workers):
        """Turn all weights, and point the job to them."""
        cdef Weights weights = Weights.__new__(Weights)
        weights.kernel, weights.nbytes = job.kernel, turned_bytes(job)
        weights.turned = np.empty(weights.nbytes + CACHE_LINE, np.uint8)
        weights.finite = np.empty(job.groups * job.n_chunks * job.n_blocks, np.uint8)
        self._take(job, weights)
        parallel_for(turn_all, job, weights.finite.size, workers, 0, 1e-6)
        return weights

    cdef void _take(self, job_t *job, Weights weights):
        job.turned = align(<char *> PyArray_DATA(weights.turned))
        job.finite = <char *> PyArray_DATA(weights.finite)

    def run(self, ndarray x, ndarray w, bias, ndarray y, fill, int workers):
        """Compute y; see gemm.Gemm.run."""
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        cdef const char *fill_bytes = fill
        cdef Py_ssize_t item = job.kernel.item_bytes
        cdef tuple direct
        cdef Weights weights = self.weights
        problem = self.problem
        memcpy(job.fill, fill_bytes, item)
        x, w = aligned(x), aligned(w)
        job.x = image_of(x, x.ndim, problem.channels_last, 0)
        job.y = image_of(y, y.ndim, problem.channels_last, 0)
        self._read(&job, w)
        job.bias = NULL if bias is None else <const char *> PyArray_DATA(<ndarray> bias)
        job.may_skip = self.may_skip and not any(fill)
        job.direct_x = (self.loads_as_computed and not self.is_padded
                        and job.x.c % item == job.x.h % item == job.x.w % item == 0)
        if job.direct_x:
            direct = cut.direct_offsets(&job)
            job.offset[0] = <const Py_ssize_t *> PyArray_DATA(<ndarray> direct[1])
            job.offset[1] = <const Py_ssize_t *> PyArray_DATA(<ndarray> direct[2])
        job.dense_y = job.y.h == job.ow * job.y.w
        if weights is not None and weights.kernel == job.kernel:
            self._take(&job, weights)
        elif cut.shares:
            weights = self._turn(&job, cut.workers)
        return parallel_for(run_tile, &job, cut.n_tiles, cut.workers, cut.task_bytes,
                            cut.tile_seconds)
