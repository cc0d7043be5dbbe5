# SPDX-License-Identifier: BSD-3-Clause
"""The weight gradient: dw (m output channels x channels x taps), summed over the pixels of dy.

    for item in (chunks of pixels x groups x output channels x channels)        parallel_for
      for tile of the chunk's pixels            level 3 of the sum
        stage the tile of dy and its window of x
        multiply                                levels 1 and 2 of the sum, in one of three ways
    add the chunks in pairs and store dw        parallel_for; level 4 of the sum

CHANNELS, for many channels per group: the window holds NR channels of a pixel side by side. For
every tap, fc_gemm multiplies rows of dy, pixels as terms, with the vectors that the tap sees:

    window:      [channel block][row][column][NR]
    offset[k]:   place of pixel k in the window; a tap adds a constant

COLUMNS, for few channels and many kernels: fc_pack writes, for each pixel, the inputs of all
(c, ky, kx) side by side, and fc_gemm multiplies rows of dy with those.

TAPS, for depthwise kernels and the like: fc_taps keeps the sums of a block of taps in registers,
with pixels along the vectors.

The order of a sum depends on the problem and the instruction set alone: tiles and chunks of pixels
are cut by shape. What follows the number of threads, the parts that groups and channels are cut
into, does not change a bit of the result.

A complex image is two real ones, with dy turned to fit: the real part of dy conj(x) is
Re dy Re x + Im dy Im x, the imaginary part Im dy Re x - Re dy Im x.
"""

import numpy as np

from libc.string cimport memcpy, memset
from numpy cimport PyArray_DATA, import_array, ndarray

from fastcorr._algorithms.grad_weight_window cimport (
    CHANNELS, COLUMNS, TAPS, channel_of, item_t, job_t, locate_pixels, locate_window,
    stage_channels, stage_dy, stage_plane, tile_t,
)
from fastcorr._algorithms.operands cimport aligned, image_of
from fastcorr._algorithms.parallel cimport (
    CACHE_LINE, align, odd_lines, parallel_for, whole_lines,
)
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, ceil_div
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport (
    FC_GEMM_MAX_VECTORS, FC_TAPS_MAX_WIDTH, fc_kernels_t, fc_run_t,
)

from fastcorr._algorithms.grad_weight_cuts import (
    CYCLES_PER_SECOND, CYCLES_PER_SUM, CYCLES_PER_THREAD, MAX_ITEM_CYCLES, WINDOW_BYTES,
    Sums, area, best_parts, best_shape, n_chunks_of, runs_of, stacks_of,
)
from fastcorr._kernels.dispatch import (
    active_isa, compute_dtype, element_code, is_kernel_dtype,
)

import_array()


def unsupported(problem):
    """None, or why the compiled weight gradient cannot serve the problem."""
    if not is_kernel_dtype(problem.dtype) or problem.dtype.kind not in "fc":
        return f"there are no kernels for {problem.dtype}"
    return None


WAYS = {"channels": CHANNELS, "columns": COLUMNS, "taps": TAPS}


# Sums of an item and one group: [block][column block][tap][tile_size]
ctypedef struct acc_t:
    char *base
    Py_ssize_t block0, column0, n_column_blocks


cdef inline Py_ssize_t block_start(const job_t *job, Py_ssize_t block) noexcept nogil:
    return job.m * block // job.n_blocks


cdef inline char *sums_of(const job_t *job, const acc_t *acc, Py_ssize_t block,
                          Py_ssize_t column_block, Py_ssize_t tap) noexcept nogil:
    return acc.base + (
        ((block - acc.block0) * acc.n_column_blocks + column_block - acc.column0) * job.n_taps + tap
    ) * job.tile_size * job.kernel.item_bytes


cdef inline void shared_sums(const job_t *job, Py_ssize_t chunk, Py_ssize_t group,
                             acc_t *acc) noexcept nogil:
    acc.block0, acc.column0, acc.n_column_blocks = 0, 0, job.n_column_blocks
    acc.base = job.acc + (chunk * job.chunk_size + group * (job.chunk_size // job.groups)
                          ) * job.kernel.item_bytes


# ---- one tile ----------------------------------------------------------------------------------

cdef inline const char *dy_of(const job_t *job, const tile_t *t, Py_ssize_t group, Py_ssize_t m,
                              const char *scratch, Py_ssize_t *ldy) noexcept nogil:
    """Row m of dy, where m is the item's first, and the step to the next one."""
    if job.dy_in_place:
        ldy[0] = job.dy.c // job.kernel.item_bytes
        return (job.dy.data + t.image0 * job.dy.n + (group * job.m + m) * job.dy.c
                + t.row0 * job.dy.h + t.column0 * job.dy.w)
    ldy[0] = job.dy_pitch
    return scratch + job.at_dy


cdef void multiply(const job_t *job, const tile_t *t, const item_t *item_, Py_ssize_t group,
                   const acc_t *acc, bint is_first, Py_ssize_t column0, Py_ssize_t column1,
                   Py_ssize_t tap0, Py_ssize_t tap1, const Py_ssize_t *offset,
                   char *scratch) noexcept nogil:
    """All blocks of the item's dy times some column blocks of the window, or the panel of one."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, nr = job.nv * lanes
    cdef Py_ssize_t m_first = block_start(job, item_.block0), block, b, tap, m0, mr, ldy
    cdef const char *base
    cdef const char *dy = dy_of(job, t, group, m_first, scratch, &ldy)
    cdef Py_ssize_t n
    cdef int nv
    for b in range(column0, column1):
        n = min(nr, job.n_columns - b * nr)
        nv = <int> ceil_div(n, lanes)
        for tap in range(tap0, tap1):
            base = scratch + job.at_window
            if job.way == CHANNELS:
                base += ((b - column0) * job.block_size
                         + (job.tap_row[(tap - tap0) // job.kw] + job.tap_column[tap % job.kw]) * nr
                         ) * item
            for block in range(item_.block0, item_.block1):
                m0 = block_start(job, block)
                mr = block_start(job, block + 1) - m0
                if job.sums_in_place:
                    job.kernel.gemm_into[nv][mr](
                        t.n_pixels, dy + (m0 - m_first) * ldy * item, ldy, base, offset,
                        job.dw + ((group * job.m + m0) * job.n_columns + b * nr) * item,
                        job.n_columns, n - (nv - 1) * lanes, NULL, not is_first)
                    continue
                job.kernel.gemm[nv][mr](
                    t.n_pixels, dy + (m0 - m_first) * ldy * item, ldy, base, offset,
                    sums_of(job, acc, block, b, tap), not is_first)


cdef void run_channels(const job_t *job, const tile_t *t, const item_t *item_, Py_ssize_t group,
                       const acc_t *acc, bint is_first, char *scratch) noexcept nogil:
    cdef Py_ssize_t nr = job.nv * job.kernel.lanes, ky0, b0, b1, b
    cdef Py_ssize_t *offset = <Py_ssize_t *> (scratch + job.at_offset)
    stage_dy(job, t, group, block_start(job, item_.block0), block_start(job, item_.block1), scratch)
    locate_pixels(job, t, nr, offset)
    ky0 = 0
    while ky0 < job.kh:
        locate_window(job, t, ky0, scratch)
        b0 = item_.column0
        while b0 < item_.column1:
            b1 = min(b0 + job.blocks_at_once, item_.column1)
            for b in range(b0, b1):
                stage_channels(
                    job, t, group, ky0, b * nr, min(nr, job.channels - b * nr),
                    scratch + job.at_window + (b - b0) * job.block_size * job.kernel.item_bytes,
                    scratch)
            multiply(job, t, item_, group, acc, is_first, b0, b1, ky0 * job.kw,
                     min(ky0 + job.band_kh, job.kh) * job.kw, offset, scratch)
            b0 = b1
        ky0 += job.band_kh


cdef void run_columns(const job_t *job, const tile_t *t, const item_t *item_, Py_ssize_t group,
                      const acc_t *acc, bint is_first, char *scratch) noexcept nogil:
    cdef Py_ssize_t item = job.kernel.item_bytes, nr = job.nv * job.kernel.lanes
    cdef Py_ssize_t image, py, px, b
    cdef Py_ssize_t *offset = <Py_ssize_t *> (scratch + job.at_offset)
    stage_dy(job, t, group, block_start(job, item_.block0), block_start(job, item_.block1), scratch)
    locate_window(job, t, 0, scratch)
    for image in range(t.images):
        for py in range(job.n_row_planes):
            for px in range(job.n_column_planes):
                stage_plane(
                    job, t, 0, image, channel_of(job, t, image, group, 0), job.channels, py, px,
                    scratch + job.at_planes
                    + (image * job.image_size + (py * job.n_column_planes + px) * job.plane) * item,
                    job.channel_size, scratch)
    locate_pixels(job, t, 1, offset)
    for b in range(item_.column0, item_.column1):
        job.pack(t.n_pixels, scratch + job.at_planes, offset, job.runs + job.first_run[b],
                 job.first_run[b + 1] - job.first_run[b], scratch + job.at_window, nr)
        multiply(job, t, item_, group, acc, is_first, b, b + 1, 0, 1, job.panel_offset, scratch)


cdef void run_taps(const job_t *job, const tile_t *t, const item_t *item_, Py_ssize_t group,
                   const acc_t *acc, bint is_first, char *scratch) noexcept nogil:
    """The tile is of one image; blocks of rows and of columns are single ones."""
    cdef Py_ssize_t item = job.kernel.item_bytes, py, px, ky0, c, f, ldy
    cdef const char *dy
    stage_dy(job, t, group, item_.block0, item_.block1, scratch)
    dy = dy_of(job, t, group, item_.block0, scratch, &ldy)
    ky0 = 0
    while ky0 < job.kh:
        locate_window(job, t, ky0, scratch)
        for c in range(item_.column0, item_.column1):
            for py in range(job.n_row_planes):
                for px in range(job.n_column_planes):
                    stage_plane(
                        job, t, ky0, 0, channel_of(job, t, 0, group, c), 1, py, px,
                        scratch + job.at_window
                        + (py * job.n_column_planes + px) * job.plane * item,
                        0, scratch)
            for f in range(item_.block0, item_.block1):
                sum_taps(job, t, ky0, dy + (f - item_.block0) * ldy * item,
                         job.dy.h // item if job.dy_in_place else t.columns,
                         sums_of(job, acc, f, c, 0), is_first, scratch)
        ky0 += job.band_kh


cdef void sum_taps(const job_t *job, const tile_t *t, Py_ssize_t ky0, const char *dy,
                   Py_ssize_t ldy, char *sums, bint is_first, char *scratch) noexcept nogil:
    """All taps of a band for one pair of channels, in blocks that have a kernel."""
    cdef Py_ssize_t item = job.kernel.item_bytes, i, ky, step, count, width, kx, nx, n_across
    cdef Py_ssize_t nky = min(job.band_kh, job.kh - ky0)
    for i in range(job.n_stacks):
        ky, step = job.stacks[3 * i], job.stacks[3 * i + 1]
        if ky >= nky:
            continue
        count = min(job.stacks[3 * i + 2], (nky - 1 - ky) // step + 1)
        width = min(<Py_ssize_t> FC_TAPS_MAX_WIDTH, job.kw)
        while job.kernel.taps[count][width] == NULL:
            width -= 1
        n_across = ceil_div(job.kw, width)
        kx = 0
        while kx < job.kw:
            nx = ceil_div(job.kw - kx, n_across)
            n_across -= 1
            job.kernel.taps[count][nx](
                t.rows, t.columns, dy, ldy,
                scratch + job.at_window + job.tap_row[ky] * item, job.pitch, job.tap_column + kx,
                sums + ((ky0 + ky) * job.kw + kx) * item, step * job.kw, not is_first)
            kx += nx


# ---- items -------------------------------------------------------------------------------------

cdef void locate_tile(const job_t *job, Py_ssize_t index, tile_t *t) noexcept nogil:
    """The tile of that number: columns run fastest, then rows, then images."""
    t.column0 = index % job.n_column_tiles * job.tile_columns
    t.columns = min(job.tile_columns, job.ow - t.column0)
    index //= job.n_column_tiles
    t.row0 = index % job.n_row_tiles * job.tile_rows
    t.rows = min(job.tile_rows, job.oh - t.row0)
    t.image0 = index // job.n_row_tiles * job.tile_images
    t.images = min(job.tile_images, job.n_images - t.image0)
    t.n_pixels = t.images * t.rows * t.columns


cdef void locate_item(const job_t *job, Py_ssize_t index, item_t *item_) noexcept nogil:
    cdef Py_ssize_t i, end
    i = index % job.column_parts
    item_.column0 = job.n_column_blocks * i // job.column_parts
    item_.column1 = job.n_column_blocks * (i + 1) // job.column_parts
    index //= job.column_parts
    i = index % job.block_parts
    item_.block0 = job.n_blocks * i // job.block_parts
    item_.block1 = job.n_blocks * (i + 1) // job.block_parts
    index //= job.block_parts
    i = index % job.group_parts
    item_.group0 = job.groups * i // job.group_parts
    item_.group1 = job.groups * (i + 1) // job.group_parts
    item_.chunk = i = index // job.group_parts
    item_.first_tile = job.n_tiles * i // job.n_chunks
    end = job.n_tiles * (i + 1) // job.n_chunks
    item_.tile0 = item_.first_tile + (end - item_.first_tile) * job.round // job.n_rounds
    item_.tile1 = item_.first_tile + (end - item_.first_tile) * (job.round + 1) // job.n_rounds


cdef void run_item(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef item_t item_
    cdef tile_t t
    cdef acc_t acc
    cdef Py_ssize_t group, i
    locate_item(job, index, &item_)
    for group in range(item_.group0, item_.group1):
        if job.acc != NULL:
            shared_sums(job, item_.chunk, group, &acc)
        else:
            acc.base = scratch + job.at_acc
            acc.block0, acc.column0 = item_.block0, item_.column0
            acc.n_column_blocks = item_.column1 - item_.column0
        for i in range(item_.tile0, item_.tile1):
            locate_tile(job, i, &t)
            t.is_located = (job.n_row_tiles == job.n_column_tiles == 1 and job.band_kh == job.kh
                            and (i > item_.tile0 or group > item_.group0))
            if job.way == CHANNELS:
                run_channels(job, &t, &item_, group, &acc, i == item_.first_tile, scratch)
            elif job.way == COLUMNS:
                run_columns(job, &t, &item_, group, &acc, i == item_.first_tile, scratch)
            else:
                run_taps(job, &t, &item_, group, &acc, i == item_.first_tile, scratch)
        if job.acc == NULL and not job.sums_in_place:
            for i in range(item_.block0, item_.block1):
                store_block(job, &acc, group, i, item_.column0, item_.column1)


cdef void store_block(const job_t *job, const acc_t *acc, Py_ssize_t group, Py_ssize_t block,
                      Py_ssize_t column0, Py_ssize_t column1) noexcept nogil:
    """Write finished sums to dw."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, nr = job.nv * lanes
    cdef Py_ssize_t m0 = block_start(job, block), mr = block_start(job, block + 1) - m0
    cdef Py_ssize_t taps = job.kh * job.kw, row, b, i, n
    cdef char *dw
    row = job.channels * taps * job.dw_item
    for i in range(mr):
        dw = (job.dw + (group * job.m + m0 + i) // job.m_parts * row
              + (m0 + i) % job.m_parts * (job.dw_item // job.m_parts))
        if job.way == TAPS:
            job.kernel.store[job.dw_type](
                sums_of(job, acc, block, column0, 0), 0, 1, (column1 - column0) * taps, NULL,
                dw + column0 * taps * job.dw_item, job.tap_bytes, job.dw_item)
            continue
        for b in range(column0, column1):
            n = min(nr, job.n_columns - b * nr)
            job.kernel.store[job.dw_type](
                sums_of(job, acc, block, b, 0) + i * ceil_div(n, lanes) * lanes * item,
                job.tile_size, job.n_taps, n, NULL, dw + b * nr * job.n_taps * job.dw_item,
                job.tap_bytes, job.n_taps * job.dw_item)


cdef void finish(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    """Add the chunks of one block of one group, in pairs, and store it."""
    cdef const job_t *job = <const job_t *> job_
    cdef Py_ssize_t group = index // job.n_blocks, block = index % job.n_blocks, step = 1, i
    cdef acc_t to, other
    while step < job.n_chunks:
        i = 0
        while i + step < job.n_chunks:
            shared_sums(job, i, group, &to)
            shared_sums(job, i + step, group, &other)
            job.kernel.add(job.n_column_blocks * job.n_taps * job.tile_size,
                           sums_of(job, &other, block, 0, 0), sums_of(job, &to, block, 0, 0))
            i += 2 * step
        step *= 2
    shared_sums(job, 0, group, &to)
    store_block(job, &to, group, block, 0, job.n_column_blocks)


# ---- cuts --------------------------------------------------------------------------------------

cdef class Cut(TiledCut):
    """How the work is cut for one instruction set and number of threads."""

    cdef job_t job
    cdef str way
    cdef readonly Py_ssize_t shared_bytes

    def __repr__(self):
        cdef job_t *job = &self.job
        return (
            f"<{self.way}: {job.n_tiles} tiles of {job.tile_images} x {job.tile_rows} x "
            f"{job.tile_columns} pixels in {job.n_chunks} chunks, {job.n_blocks} blocks x "
            f"{job.n_column_blocks} of {job.nv} vectors in {job.group_parts} x {job.block_parts} x "
            f"{job.column_parts} parts, {self.workers} threads, {self.scratch_bytes} + "
            f"{self.shared_bytes} bytes>")


cdef class GradWeight(Tiled):
    """The weight gradient of a forward problem: see tiled.Tiled for the arguments."""

    cdef job_t base

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        Tiled.__init__(self, problem, rows, columns)
        memset(job, 0, sizeof(job_t))
        job.x_type = element_code(problem.x_dtype)
        job.dw_type = element_code(problem.dtype)
        job.compute_type = element_code(compute_dtype(problem.dtype))
        job.x_item, job.dw_item = problem.x_dtype.itemsize, problem.dtype.itemsize
        job.x_parts = 1 + (problem.x_dtype.kind == "c")
        job.m_parts = 1 + (problem.dtype.kind == "c")
        job.groups = problem.groups
        job.m = problem.F // problem.groups * job.m_parts
        job.channels = problem.C // problem.groups
        job.kh, job.kw, job.oh, job.ow = problem.KH, problem.KW, problem.OH, problem.OW
        job.stride_y, job.stride_x = problem.stride
        job.dilation_y, job.dilation_x = problem.dilation
        job.n_images = problem.N * job.x_parts

    @property
    def cycles(self):
        """Estimated cycles of one thread."""
        return best_shape(self._sums(kernels(self.compute))).cycles * self.base.groups

    cdef object _sums(self, const fc_kernels_t *kernel):
        cdef job_t *job = &self.base
        return Sums(
            job.groups, job.m, job.channels, job.kh, job.kw, job.n_images, job.oh, job.ow,
            (job.stride_y, job.stride_x), (job.dilation_y, job.dilation_x),
            tuple(kernel.gemm_rows[nv] for nv in range(FC_GEMM_MAX_VECTORS + 1)), kernel.lanes,
            kernel.item_bytes)

    def _make_cut(self, int workers):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, nr, taps, at = 0
        problem = self.problem
        job[0] = self.base
        job.kernel = kernel
        sums = self._sums(kernel)
        shape = best_shape(sums)
        taps = job.kh * job.kw
        layout_y, layout_x = shape.layout_y, shape.layout_x
        cut.way, job.way = shape.way, WAYS[shape.way]
        job.nv, job.n_blocks, job.band_kh = shape.nv, shape.n_blocks, shape.band_kh
        job.column_step = shape.column_step
        job.rows = axis_of(self.rows, problem.padding[0], problem.H, job.stride_y)
        job.columns = axis_of(self.columns, problem.padding[1], problem.W,
                              job.stride_x // job.column_step)
        nr = job.nv * lanes
        if job.way == TAPS:
            job.n_columns = job.n_column_blocks = job.channels
            job.n_taps, job.tile_size = taps, 1
        else:
            job.n_columns, job.n_taps = job.channels, taps
            if job.way == COLUMNS:
                job.n_columns, job.n_taps = job.channels * taps, 1
            job.n_column_blocks = ceil_div(job.n_columns, nr)
            job.tile_size = ceil_div(job.m, job.n_blocks) * nr
        job.tile_images, job.tile_rows, job.tile_columns = shape.images, shape.rows, shape.columns
        job.n_image_tiles = ceil_div(max(job.n_images, 1), job.tile_images)  # `run` knows of none
        job.n_row_tiles = ceil_div(job.oh, job.tile_rows)
        job.n_column_tiles = ceil_div(job.ow, job.tile_columns)
        job.n_tiles = job.n_image_tiles * job.n_row_tiles * job.n_column_tiles
        pixels = job.tile_images * job.tile_rows * job.tile_columns
        job.dy_pitch = odd_lines(pixels * item) // item
        job.chunk_size = (job.groups * job.n_blocks * job.n_column_blocks * job.n_taps
                          * job.tile_size)
        job.n_chunks = n_chunks_of(sums, shape, job.n_tiles, job.chunk_size * item)
        block_bytes = job.n_taps * job.tile_size * item
        parts = best_parts(sums, shape, job.n_tiles, job.n_chunks, job.n_column_blocks,
                           job.dy_pitch, block_bytes, workers)
        cut.n_tiles = parts.n_items
        job.group_parts, job.block_parts, job.column_parts = (
            parts.groups, parts.blocks, parts.columns)
        cut.workers = min(workers, cut.n_tiles,
                          int(cut.n_tiles * parts.cycles / CYCLES_PER_THREAD) + 1)
        job.n_rounds = min(int(parts.cycles / MAX_ITEM_CYCLES) + 1,
                           ceil_div(job.n_tiles, job.n_chunks))
        cut.tile_seconds = parts.cycles / job.n_rounds / CYCLES_PER_SECOND
        job.sums_in_place = (job.n_taps == job.n_chunks == job.m_parts == 1
                             and job.way == CHANNELS and job.dw_type == job.compute_type)
        if job.n_chunks > 1 or job.n_rounds > 1 and not job.sums_in_place:
            cut.shared_bytes = job.n_chunks * job.chunk_size * item
        self._tables(cut, sums, layout_y, layout_x, lanes, item)

        images = job.tile_images
        job.at_row_bytes, at = at, at + whole_lines(
            job.n_row_planes * job.window_rows * sizeof(Py_ssize_t))
        job.at_dy_rows, at = at, at + whole_lines(job.tile_rows * sizeof(Py_ssize_t))
        job.at_column_bytes, at = at, at + whole_lines(
            job.n_column_planes * job.pitch * sizeof(Py_ssize_t))
        job.at_pixel_bytes, at = at, at + whole_lines(job.pitch * sizeof(Py_ssize_t))
        if job.way != TAPS:
            job.at_offset, at = at, at + whole_lines(pixels * sizeof(Py_ssize_t))
        blocks = ceil_div(job.n_blocks, job.block_parts)
        m = min(blocks * ceil_div(job.m, job.n_blocks), job.m)
        job.at_dy, at = at, at + whole_lines(m * job.dy_pitch * item)
        # Slack: fc_pack and fc_gemm read whole vectors, and fc_pack writes them.
        if job.way == CHANNELS:
            job.at_planes, at = at, at + whole_lines((nr * job.channel_size + lanes) * item)
            job.at_window, at = at, at + whole_lines(
                (job.blocks_at_once * job.block_size + lanes) * item)
        elif job.way == COLUMNS:
            job.at_planes, at = at, at + whole_lines((images * job.image_size + lanes) * item)
            job.at_window, at = at, at + whole_lines((pixels * nr + lanes) * item)
        else:
            job.at_window, at = at, at + whole_lines((job.channel_size + lanes) * item)
        job.at_acc = at
        if cut.shared_bytes == 0 and not job.sums_in_place:
            at += (ceil_div(job.n_blocks, job.block_parts)
                   * ceil_div(job.n_column_blocks, job.column_parts) * block_bytes)
        cut.scratch_bytes = at
        operation = (
            "taps" if job.way == TAPS else f"gemm_{ceil_div(job.m, job.n_blocks)}x{nr}")
        cut.kernel_name = f"fc_{kernel.name.decode()}_{operation}_{active_isa()}"
        return cut

    def _tables(self, Cut cut, sums, layout_y, layout_x, Py_ssize_t lanes, Py_ssize_t item):
        """The window and the tables that describe it."""
        cdef job_t *job = &cut.job
        cdef Py_ssize_t nr = job.nv * lanes
        job.n_row_planes, job.n_column_planes = len(layout_y.starts), len(layout_x.starts)
        job.window_rows, job.pitch = layout_y.length, layout_x.length
        job.plane = job.window_rows * job.pitch
        places = area(layout_y, layout_x)
        # An odd number of cache lines: channels spread over the sets of the cache.
        if job.way == CHANNELS:
            job.channel_size = odd_lines(job.plane * item) // item
            job.image_size = places
            job.block_size = odd_lines(job.tile_images * places * nr * item) // item
            job.blocks_at_once = max(1, min(WINDOW_BYTES // (job.block_size * item),
                                            ceil_div(job.n_column_blocks, job.column_parts)))
        else:
            job.channel_size = odd_lines(places * item) // item
            job.image_size = job.channels * job.channel_size
        row_starts = np.array(layout_y.starts, np.intp)
        column_starts = np.array(layout_x.starts, np.intp)
        tap_row = (np.array(layout_y.plane) * (job.n_column_planes * job.plane)
                   + np.array(layout_y.offset) * job.pitch).astype(np.intp)
        tap_column = (np.array(layout_x.plane) * job.plane
                      + np.array(layout_x.offset)).astype(np.intp)
        tap_bytes = np.arange(job.n_taps) * job.dw_item
        side_by_side = np.arange(nr) * item
        dy_places = np.arange(job.m, dtype=np.intp) * job.dy_pitch
        runs = first_run = panel_offset = stacks = np.empty(0, np.intp)
        if job.way == COLUMNS:
            blocks = runs_of(sums, nr, job.channel_size, tap_row, tap_column)
            runs = np.array([run for block in blocks for run in block], np.intp)
            job.pack = (job.kernel.pack_short if runs[:, 2].max() <= lanes // 2
                        else job.kernel.pack)
            first_run = np.cumsum([0, *map(len, blocks)], dtype=np.intp)
            panel_offset = np.arange(
                job.tile_images * job.tile_rows * job.tile_columns, dtype=np.intp) * nr
        if job.way == TAPS:
            stacks = np.array(stacks_of(layout_y), np.intp)
            job.n_stacks = len(stacks)
        cut.arrays = [row_starts, column_starts, tap_row, tap_column, tap_bytes, side_by_side,
                      dy_places, runs, first_run, panel_offset, stacks]
        job.row_starts = <const Py_ssize_t *> PyArray_DATA(<ndarray> row_starts)
        job.column_starts = <const Py_ssize_t *> PyArray_DATA(<ndarray> column_starts)
        job.tap_row = <const Py_ssize_t *> PyArray_DATA(<ndarray> tap_row)
        job.tap_column = <const Py_ssize_t *> PyArray_DATA(<ndarray> tap_column)
        job.tap_bytes = <const Py_ssize_t *> PyArray_DATA(<ndarray> tap_bytes)
        job.dy_places = <const Py_ssize_t *> PyArray_DATA(<ndarray> dy_places)
        job.side_by_side = <const Py_ssize_t *> PyArray_DATA(<ndarray> side_by_side)
        job.runs = <const fc_run_t *> PyArray_DATA(<ndarray> runs)
        job.first_run = <const Py_ssize_t *> PyArray_DATA(<ndarray> first_run)
        job.panel_offset = <const Py_ssize_t *> PyArray_DATA(<ndarray> panel_offset)
        job.stacks = <const Py_ssize_t *> PyArray_DATA(<ndarray> stacks)

    def run(self, ndarray dy, ndarray x, ndarray dw, fill, int workers):
        """Compute dw, a C-contiguous array of the problem's w_shape and dtype.

        dy has the problem's y_shape and x its x_shape; both have native dtypes that promote to the
        problem's, and overlap dw nowhere. `fill` is the padding constant as bytes of the compute
        type (real and imaginary part).
        """
        cdef Cut cut
        cdef job_t job
        cdef const char *fill_bytes = fill
        cdef Py_ssize_t item
        problem = self.problem
        if dy.size == 0:
            dw[...] = 0
            return 0
        cut = self.cut(workers)
        job = cut.job
        item = job.kernel.item_bytes
        memcpy(job.fill, fill_bytes, 2 * item)
        if (dy.dtype.kind == "c") != (problem.dtype.kind == "c"):
            dy = dy.astype(problem.dtype)
        dy, x = aligned(dy), aligned(x)
        job.dy_type = element_code(dy.dtype)
        job.dy = image_of(dy, dy.ndim, problem.channels_last, dy.itemsize // 2)
        job.x = image_of(x, x.ndim, problem.channels_last, x.itemsize // 2)
        job.dw = <char *> PyArray_DATA(dw)
        job.dy_in_place = (
            job.dy_type == job.compute_type and job.m_parts == 1 and job.dy.w == item
            and job.dy.h % item == job.dy.c % item == 0
            and (job.way == TAPS or job.dy.h == job.tile_columns * item
                 and job.tile_images == job.n_column_tiles == 1 and not collide(job.dy.c)))
        job.x_in_place = (
            job.x_type == job.compute_type and job.x_parts == job.stride_y == job.stride_x == 1
            and job.x.w == item and job.x.c % item == 0)
        if cut.shared_bytes > 0:
            sums = np.empty(cut.shared_bytes + CACHE_LINE, np.uint8)
            job.acc = align(<char *> PyArray_DATA(<ndarray> sums))
        for job.round in range(job.n_rounds):
            parallel_for(run_item, &job, cut.n_tiles, cut.workers, cut.scratch_bytes,
                         cut.tile_seconds)
        if job.acc != NULL:
            parallel_for(finish, &job, job.groups * job.n_blocks, cut.workers, 0,
                         job.chunk_size // (job.groups * job.n_blocks) * job.n_chunks
                         * CYCLES_PER_SUM / CYCLES_PER_SECOND)
        return 0


cdef inline bint collide(Py_ssize_t step) noexcept nogil:
    """Whether rows that far apart meet in one set of a first-level cache."""
    return (step + 64) % 4096 < 128
