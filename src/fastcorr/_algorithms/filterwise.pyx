# SPDX-License-Identifier: BSD-3-Clause
"""A matrix product with vectors along the output channels: y (n pixels x m) = x (n x k) w (k x m).

    for tile in (groups x images x rows x blocks of channels)    parallel_for
      for chunk of k = (ky, c, kx)              level 3 of the sum: `acc`, if there are several
        copy the weights as [k][nr]             fc_interleave
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

import numpy as np

from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, PyArray_IS_C_CONTIGUOUS, import_array, ndarray

from fastcorr._algorithms.operands cimport (
    aligned, image_of, image_t, is_computed_in, weights_of, weights_t,
)
from fastcorr._algorithms.parallel cimport odd_lines, parallel_for, whole_lines
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, axis_t, ceil_div, interior, positions
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport fc_kernels_t, fc_window_t

from fastcorr._algorithms.gemm_cuts import K_CHUNK, chunk_of, even_pieces
from fastcorr._algorithms.layout import reach
from fastcorr._kernels.dispatch import active_isa, element_code, is_kernel_dtype

import_array()

# Of a tile, so that everything stays in a second-level cache of 1 MB.
WINDOW_BYTES = 256 * 1024
WEIGHTS_BYTES = 256 * 1024
ACC_BYTES = 128 * 1024
LARGEST_WINDOW_BYTES = 512 * 1024
TILE_PIXELS = 256               # enough of them pay for turning the weights
TILE_CYCLES = 50e3
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
    bint dense_y                        # rows follow each other without a gap
    Py_ssize_t chunk_channels, n_chunks
    int nv, last_nv                     # vectors of a block of output channels; 0: half of one
    Py_ssize_t nr, n_blocks             # its output channels; such blocks in a group
    Py_ssize_t tile_images, tile_rows, tile_blocks
    Py_ssize_t n_image_tiles, n_row_tiles, n_block_tiles
    Py_ssize_t window_rows, window_columns, channel_size
    # For all chunks but the last one, and for the last one:
    const Py_ssize_t *offset[2]         # of x, from the first output's window, [k]
    const Py_ssize_t *place[2]          # in the turned weights, of the terms as w has them
    const Py_ssize_t *last_place[2]     # the same in the last block
    # scratch, in bytes from its start
    Py_ssize_t at_row_bytes, at_column_bytes, at_places, at_window, at_weights, at_skips, at_bias
    Py_ssize_t at_acc


ctypedef struct tile_t:
    Py_ssize_t group, image0, images, row0, rows, block0, blocks
    Py_ssize_t c0, nc                   # channels of the chunk
    bint is_first, is_last              # chunk


cdef inline int vectors_of(const job_t *job, const tile_t *t, Py_ssize_t block) noexcept nogil:
    """Of a block of the tile: the last one of a group may have fewer than the others."""
    return job.last_nv if t.block0 + block == job.n_blocks - 1 else job.nv


cdef void turn_weights(const job_t *job, const tile_t *t, char *scratch) noexcept nogil:
    """Copy the chunk of w as [block][k][nr], and see whether rows of taps may be left out."""
    cdef Py_ssize_t lanes = job.kernel.lanes, item = job.kernel.item_bytes
    cdef Py_ssize_t nr = job.nr, kc = t.nc * job.kh * job.kw
    cdef Py_ssize_t block, v, m, n, i
    cdef int nv
    cdef const Py_ssize_t *place
    cdef const char *src
    cdef char *dst
    for block in range(t.blocks):
        nv = vectors_of(job, t, block)
        place = job.place[t.is_last] if nv == job.nv else job.last_place[t.is_last]
        for v in range(max(nv, 1)):
            m = (t.block0 + block) * nr + v * lanes
            n = max(min(lanes, job.m - m), 0)
            src = job.w.data + (t.group * job.m + m) * job.w.f + t.c0 * job.w.c
            dst = scratch + job.at_weights + (block * kc * nr + v * lanes) * item
            if job.direct_weights:
                job.kernel.interleave(n, kc, src, job.w.f // item, dst, place)
            else:
                gather_weights(job, t, src, n, dst, place)
        dst = scratch + job.at_weights + block * kc * nr * item
        if nv == 0:  # the halves that hold something
            for i in range(1, kc):
                memcpy(dst + i * nr * item, dst + i * lanes * item, nr * item)
        # Of a block alone, as it changes the order of a sum: tiles have any number of them.
        scratch[job.at_skips + block] = job.may_skip and job.kernel.is_finite(
            kc * (nv * lanes if nv > 0 else nr), dst)


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
    cdef int nv = vectors_of(job, t, block)
    cdef Py_ssize_t nr = nv * job.kernel.lanes if nv > 0 else job.nr
    cdef Py_ssize_t n_blocks = ceil_div(job.ow, job.kernel.gemm_rows[max(nv, 1)])
    cdef Py_ssize_t narrow = job.ow // n_blocks, n_wide = job.ow % n_blocks
    cdef Py_ssize_t row, i, p, k0, k1, top, row_step, step, terms = t.nc * job.kw
    cdef const Py_ssize_t *offset = job.offset[t.is_last]
    cdef const char *w = scratch + job.at_weights + block * terms * job.kh * job.nr * item
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
    for row in range(t.rows):
        k0, k1 = 0, job.kh
        if scratch[job.at_skips + block]:
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
    cdef int nv = vectors_of(job, t, block)
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
    t.block0 = index % job.n_block_tiles * job.tile_blocks
    t.blocks = min(job.tile_blocks, job.n_blocks - t.block0)
    index //= job.n_block_tiles
    t.row0 = index % job.n_row_tiles * job.tile_rows
    t.rows = min(job.tile_rows, job.oh - t.row0)
    index //= job.n_row_tiles
    t.image0 = index % job.n_image_tiles * job.tile_images
    t.images = min(job.tile_images, job.n_images - t.image0)
    t.group = index // job.n_image_tiles
    for i in range(t.rows * job.ow if job.dense_y else job.ow):
        places[i] = i * job.y.w
    if job.bias != NULL:
        at = t.block0 * nr
        memcpy(scratch + job.at_bias, job.bias + (t.group * job.m + at) * item,
               min(t.blocks * nr, job.m - at) * item)
    if not job.direct_x:
        find_window(job, &t, scratch)
    for chunk in range(job.n_chunks):
        t.c0 = chunk * job.chunk_channels
        t.nc = min(job.chunk_channels, job.channels - t.c0)
        t.is_first, t.is_last = chunk == 0, chunk == job.n_chunks - 1
        turn_weights(job, &t, scratch)
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


cdef class Filterwise(Tiled):
    """The algorithm for one problem: see tiled.Tiled for the meaning of the arguments."""

    cdef job_t base
    cdef bint loads_as_computed, weights_as_computed, is_padded, may_skip

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

        self._choose_tiles(job, workers, nr, k)
        job.n_image_tiles = ceil_div(job.n_images, job.tile_images)
        job.n_row_tiles = ceil_div(job.oh, job.tile_rows)
        job.n_block_tiles = ceil_div(job.n_blocks, job.tile_blocks)
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
        job.at_weights, at = at, at + whole_lines(job.tile_blocks * k * max(nr, lanes) * item)
        job.at_skips, at = at, at + whole_lines(job.tile_blocks)
        job.at_bias, at = at, at + whole_lines(job.tile_blocks * nr * item)
        job.at_acc, at = at, at + whole_lines(
            pixels * nr * item * (1 if job.n_chunks == 1 else job.tile_images * job.tile_blocks))
        cut.scratch_bytes = at
        cut.n_tiles = job.groups * job.n_image_tiles * job.n_row_tiles * job.n_block_tiles
        tile_cycles = 500 + self._cycles(job) / cut.n_tiles
        cut.workers = min(workers, cut.n_tiles,
                          int(cut.n_tiles * tile_cycles / CYCLES_PER_THREAD) + 1)
        cut.tile_seconds = tile_cycles / CYCLES_PER_SECOND
        cut.kernel_name = f"fc_{kernel.name.decode()}_filterwise_nx{nr}_{active_isa()}"
        return cut

    cdef _terms(self, Py_ssize_t channels):
        """[ky, c, kx] of the terms of a chunk, in the order of their sum."""
        shape = self.base.kh, channels, self.base.kw
        return np.indices(shape, np.intp).reshape(3, -1).T

    cdef double _cycles(self, const job_t *job):
        return (<double> job.n_images * job.groups * job.n_blocks * max(job.nv, 0.5)
                * job.oh * job.ow * (job.channels * job.kh * job.kw + 3))

    cdef void _choose_tiles(self, job_t *job, int workers, nr, k):
        """Tiles that stay in the cache, enough for the threads, of pixels that pay for w."""
        item = job.kernel.item_bytes
        row_bytes = job.chunk_channels * job.window_columns * item
        wanted = min(4 * workers, 1 + int(self._cycles(job) / TILE_CYCLES)) if workers > 1 else 1
        for rows in even_pieces(job.oh):
            fits = reach(rows, job.kh, job.stride_y, job.dilation_y) * row_bytes <= WINDOW_BYTES
            if fits and rows * job.ow * nr * item <= ACC_BYTES:
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
        job.tile_images, job.tile_rows, job.tile_blocks = images, rows, blocks

    def run(self, ndarray x, ndarray w, bias, ndarray y, fill, int workers):
        """Compute y; see gemm.Gemm.run."""
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        cdef const char *fill_bytes = fill
        cdef Py_ssize_t item = job.kernel.item_bytes
        cdef tuple direct
        problem = self.problem
        memcpy(job.fill, fill_bytes, item)
        x, w = aligned(x), aligned(w)
        job.x = image_of(x, x.ndim, problem.channels_last, 0)
        job.y = image_of(y, y.ndim, problem.channels_last, 0)
        job.w = weights_of(w, w.ndim, 0)
        job.bias = NULL if bias is None else <const char *> PyArray_DATA(<ndarray> bias)
        job.may_skip = self.may_skip and not any(fill)
        job.direct_x = (self.loads_as_computed and not self.is_padded
                        and job.x.c % item == job.x.h % item == job.x.w % item == 0)
        if job.direct_x:
            direct = cut.direct_offsets(&job)
            job.offset[0] = <const Py_ssize_t *> PyArray_DATA(<ndarray> direct[1])
            job.offset[1] = <const Py_ssize_t *> PyArray_DATA(<ndarray> direct[2])
        job.dense_y = job.y.h == job.ow * job.y.w
        job.direct_weights = PyArray_IS_C_CONTIGUOUS(w) and self.weights_as_computed
        return parallel_for(run_tile, &job, cut.n_tiles, cut.workers, cut.scratch_bytes,
                            cut.tile_seconds)
