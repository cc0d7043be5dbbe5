# SPDX-License-Identifier: BSD-3-Clause
"""Implicit GEMM: y (m output channels x n pixels) = w (m x k) times windows of x (k x n).

    for tile in (groups x channel blocks x images x rows x columns)    parallel_for
      for chunk of k = (c, ky, kx)              level 3 of the sum: `acc`, if there are several
        stage the chunk's window of x           fc_stage: padding, dtypes and strides end here;
                                                where there are none, x is read in place
        for group of panels                     fc_pack, where rows are too short for vectors: by
                                                  panels, or a strip of rows for each column of taps
          for block of m rows                   weights straight from w, or copied by fc_stage
            for panel of NR pixels              fc_gemm, fc_gemm_into: levels 1 and 2 of the sum
            for the last few pixels of a small image that would fill no vector   fc_dot

The order of a sum depends on (C/G, KH, KW), the dtypes and the instruction set alone, and for the
last pixels of a small image on its size. How pixels and channels are cut into tiles follows the
number of threads, and does not change a bit of the result.

A complex x is 2 C real channels and a complex w gives 2 F real outputs; a complex x under a real w
is twice the images.
"""

import numpy as np

from libc.string cimport memcpy, memset
from numpy cimport (
    PyArray_DATA, PyArray_IS_C_CONTIGUOUS, PyArray_ISALIGNED, import_array, ndarray,
)

from fastcorr._algorithms.gemm_window cimport (
    chunk_t, clear_rest, gather_tail, job_t, load_weights, locate_chunk, offset_of, pack_in_place,
    place_of, reads_beyond, stage_window, tile_t,
)
from fastcorr._algorithms.operands cimport (
    aligned, image_of, is_computed_in, parts_of, weights_of,
)
from fastcorr._algorithms.parallel cimport CACHE_LINE, odd_lines, parallel_for, whole_lines
from fastcorr._algorithms.tiled cimport Cut as TiledCut, Tiled
from fastcorr._algorithms.window cimport axis_of, ceil_div
from fastcorr._kernels.dispatch cimport kernels
from fastcorr._kernels.kernels cimport (
    FC_DOT_MAX_PIXELS, FC_GEMM_DOT_VECTORS, FC_GEMM_MAX_ROWS, FC_GEMM_MAX_VECTORS, fc_kernels_t,
    fc_pack_fn, fc_run_t,
)

from fastcorr._algorithms.gemm_cuts import (
    CYCLES_PER_SECOND, CYCLES_PER_THREAD, PANEL_BYTES, WINDOW_BYTES, Product, best_cut, chunk_of,
)
from fastcorr._algorithms.layout import axis_layout
from fastcorr._kernels.dispatch import active_isa, element_code, is_kernel_dtype

import_array()

cdef enum:
    TERMS_AT_A_TIME = 32

IN_PLACE_BYTES = 1280 * 1024  # about a second-level cache


def unsupported(problem):
    """None, or why an implicit GEMM cannot serve the problem."""
    if not is_kernel_dtype(problem.dtype):
        return f"there are no kernels for {problem.dtype}"
    return None


cdef inline Py_ssize_t panel_pixels(const job_t *job, const tile_t *t, Py_ssize_t panel,
                                    Py_ssize_t *first) noexcept nogil:
    """First flat pixel of a panel and how many it has."""
    cdef Py_ssize_t lanes = job.kernel.lanes, line = 0, start, n
    if job.by_row:
        line = panel // t.panels_per_line
        panel -= line * t.panels_per_line
    start = (panel * t.panel_vectors + min(panel, t.larger_panels)) * lanes
    n = (t.panel_vectors + (panel < t.larger_panels)) * lanes
    first[0] = line * t.line + start
    return min(n, (t.columns if job.by_row else t.n_pixels) - start)


cdef void pack_panels(const job_t *job, const tile_t *t, const chunk_t *chunk, Py_ssize_t panel0,
                      Py_ssize_t panel1, Py_ssize_t k0, Py_ssize_t k1,
                      char *scratch) noexcept nogil:
    """Terms k0 .. k1 of the chunk."""
    cdef Py_ssize_t item = job.kernel.item_bytes, nr = job.nv * job.kernel.lanes
    cdef const char *source = place_of(job, t, chunk) if job.in_place else scratch + job.at_window
    cdef fc_run_t *runs = <fc_run_t *> (scratch + job.at_runs)
    cdef Py_ssize_t per_image = t.rows * t.columns
    # Rows that follow each other are one run.
    cdef Py_ssize_t per_run = per_image if t.columns == job.pitch else t.columns
    cdef Py_ssize_t panel, first, n, lane, image, pixel, n_runs
    cdef fc_pack_fn pack
    cdef char *to
    for panel in range(panel0, panel1):
        n = panel_pixels(job, t, panel, &first)
        n_runs = 0
        lane = 0
        while lane < n:
            image = (first + lane) // per_image
            pixel = first + lane - image * per_image
            runs[n_runs].lane = lane
            runs[n_runs].start = (image * job.image_size + pixel // t.columns * job.pitch
                                  + pixel % t.columns)
            runs[n_runs].n = min(per_run - pixel % per_run, n - lane)
            lane += runs[n_runs].n
            n_runs += 1
        to = scratch + job.at_panels + ((panel - panel0) * chunk.kc + k0) * nr * item
        pack = job.kernel.pack_exact if job.in_place else job.kernel.pack
        pack(k1 - k0, source, offset_of(job, chunk) + k0, runs, n_runs, to, nr)
        clear_rest(job, k1 - k0, n, to)


cdef void pack_strips(const job_t *job, const tile_t *t, const chunk_t *chunk,
                      char *scratch) noexcept nogil:
    """The window without its gaps, once for each column of taps: what pixels see under a row of
    taps is a part of that.
    """
    cdef fc_run_t *runs = <fc_run_t *> (scratch + job.at_runs)
    cdef Py_ssize_t n_rows = job.window_rows - (job.tile_rows - t.rows), row
    cdef Py_ssize_t n_strips = chunk.nc * job.k_parts * job.n_row_planes * job.kw
    cdef Py_ssize_t item = job.kernel.item_bytes
    cdef char *end = scratch + job.at_panels + n_rows * t.columns * item
    cdef fc_pack_fn pack = job.kernel.pack
    for row in range(n_rows):
        runs[row].lane, runs[row].start, runs[row].n = row * t.columns, row * job.pitch, t.columns
    if t.columns == job.pitch:
        runs[0].n, n_rows = n_rows * t.columns, 1
    elif 2 * t.columns <= job.kernel.lanes:
        pack = job.kernel.pack_short
    for row in range(n_strips):  # behind each, where the last panel reads for nothing
        memset(end + row * job.strip_size * item, 0, CACHE_LINE)
    pack(n_strips, scratch + job.at_window, job.strip_offset, runs, n_rows,
         scratch + job.at_panels, job.strip_size)


cdef void store_pixels(const job_t *job, const tile_t *t, const char *tile, Py_ssize_t ldc,
                       Py_ssize_t m0, Py_ssize_t mr, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """Write the valid ones of n pixels of a finished tile of the product."""
    cdef Py_ssize_t row_bytes[32]
    cdef Py_ssize_t item = job.kernel.item_bytes, lane = 0, i, m
    cdef Py_ssize_t pixel, image, row, column, run, columns = t.columns, line = t.line, per_image
    cdef const char *bias = NULL
    cdef char *at
    for i in range(mr):
        m = t.group * job.m + m0 + i
        row_bytes[i] = m // job.m_parts * job.y.c + m % job.m_parts * job.y.part
    per_image = t.rows * t.columns if job.packed else t.n_pixels
    while lane < n:
        pixel = first + lane
        image = pixel // per_image if job.packed else 0
        row = (pixel - image * per_image) // line
        column = pixel - image * per_image - row * line
        run = min(columns - column, n - lane)
        if line == columns and job.y.h == columns * job.y.w:  # rows follow each other in y, too
            run = min((image + 1) * per_image - pixel, n - lane)
        if run > 0:
            image += t.image0
            at = (job.y.data + image // job.image_parts * job.y.n
                  + image % job.image_parts * job.y.part
                  + (t.row0 + row) * job.y.h + (t.column0 + column) * job.y.w)
            if job.bias != NULL:
                bias = job.bias + ((image % job.image_parts) * job.m * job.groups
                                   + t.group * job.m + m0) * item
            job.kernel.store[job.y_type](tile + lane * item, ldc, mr, run, bias, at, row_bytes,
                                         job.y.w)
            lane += run
        else:
            lane += line - column  # between the rows of a flat index


cdef void locate(const job_t *job, Py_ssize_t index, tile_t *t) noexcept nogil:
    """The tile of that number: columns run fastest, then rows, images, channel blocks, groups."""
    cdef Py_ssize_t i, vectors
    i = index % job.n_column_tiles
    t.column0 = i * job.tile_columns
    t.columns = min(job.tile_columns, job.ow - t.column0)
    index //= job.n_column_tiles
    i = index % job.n_row_tiles
    t.row0 = i * job.tile_rows
    t.rows = min(job.tile_rows, job.oh - t.row0)
    index //= job.n_row_tiles
    i = index % job.n_image_tiles
    t.image0 = i * job.tile_images
    t.images = min(job.tile_images, job.n_images - t.image0)
    index //= job.n_image_tiles
    i = index % job.n_block_tiles
    t.block0 = i * job.tile_blocks
    t.block1 = min(t.block0 + job.tile_blocks, job.n_blocks)
    t.group = index // job.n_block_tiles
    t.line = t.columns if job.packed else job.pitch
    t.n_pixels = (t.images * t.rows * t.columns - job.tail if job.packed
                  else (t.rows - 1) * t.line + t.columns)
    # Panels of equal numbers of vectors, or nearly so: a single vector keeps no unit busy.
    vectors = ceil_div(t.columns if job.by_row else t.n_pixels, job.kernel.lanes)
    t.panels_per_line = ceil_div(vectors, job.nv)
    t.panel_vectors = vectors // max(t.panels_per_line, 1)
    t.larger_panels = vectors - t.panel_vectors * t.panels_per_line
    t.n_panels = t.rows * t.panels_per_line if job.by_row else t.panels_per_line


cdef void run_tile(const void *job_, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const job_t *job = <const job_t *> job_
    cdef tile_t t
    cdef chunk_t chunk
    cdef Py_ssize_t i, group, panel0
    locate(job, index, &t)
    for i in range(job.n_chunks):
        locate_chunk(job, i, &chunk)
        if not job.in_place:
            stage_window(job, &t, &chunk, scratch)
        if job.tail > 0:
            gather_tail(job, &t, &chunk, scratch)
        for group in range(max(ceil_div(t.n_panels, job.panels_per_group), 1)):
            panel0 = group * job.panels_per_group
            multiply(job, &t, &chunk, i == 0, i == job.n_chunks - 1, panel0,
                     min(panel0 + job.panels_per_group, t.n_panels), scratch)


cdef inline char *run_of(const job_t *job, const tile_t *t, Py_ssize_t panel, Py_ssize_t first,
                         Py_ssize_t n) noexcept nogil:
    """Where the panel's n pixels lie side by side in y, in its first channel, or NULL."""
    cdef char *y = job.y.data + t.image0 * job.y.n + t.row0 * job.y.h + t.column0 * job.y.w
    cdef Py_ssize_t row
    if not job.straight or t.images > 1:
        return NULL
    if job.by_row:
        row = panel // t.panels_per_line
        return y + row * job.y.h + (first - row * t.line) * job.y.w
    if t.line == t.columns and job.y.h == t.columns * job.y.w:  # rows follow each other
        return y + first * job.y.w
    return NULL


cdef void multiply(const job_t *job, const tile_t *t, const chunk_t *chunk, bint is_first,
                   bint is_last, Py_ssize_t panel0, Py_ssize_t panel1,
                   char *scratch) noexcept nogil:
    """All blocks of w times some panels of the window."""
    cdef Py_ssize_t block, panel, i, m0, mr, lda
    cdef Py_ssize_t item = job.kernel.item_bytes
    cdef const char *a
    cdef char *tail
    cdef bint has_tail = job.tail > 0 and panel0 == 0, with_panel
    # All panels of a few channels in place: they share the pages of x, and some of its lines.
    cdef Py_ssize_t k_step = TERMS_AT_A_TIME if job.in_place else max(chunk.kc, 1)
    if job.strips:
        pack_strips(job, t, chunk, scratch)
    elif job.packed:
        for i in range(ceil_div(chunk.kc, k_step)):
            pack_panels(job, t, chunk, panel0, panel1, i * k_step,
                        min((i + 1) * k_step, chunk.kc), scratch)
    for block in range(t.block0, t.block1):
        m0 = job.block_starts[block]
        mr = job.block_starts[block + 1] - m0
        if job.ready != NULL:
            lda = job.lda
            a = job.ready + ((t.group * job.m + m0) * lda + chunk.k0 * job.k_parts) * item
        else:
            lda = odd_lines(chunk.kc * item) // item
            a = scratch + job.at_weights
            load_weights(job, t, chunk, m0, mr, scratch + job.at_weights, lda)
        tail = scratch + job.at_tail + (m0 - job.block_starts[t.block0]) * job.tail * item
        with_panel = (has_tail and job.tail == 1 and job.kernel.gemm_dot[mr] != NULL
                      and t.panel_vectors + (t.larger_panels > 0) == FC_GEMM_DOT_VECTORS)
        for panel in range(panel0, panel1):
            multiply_panel(job, t, chunk, is_first, is_last, m0, mr, a, lda, panel, panel0,
                           tail if with_panel and panel == 0 else NULL, scratch)
        if has_tail and not with_panel:
            job.kernel.dot[job.tail](chunk.kc, mr, a, lda, scratch + job.at_tail_columns, chunk.kc,
                                     tail, job.tail, not is_first)
        if has_tail and is_last:
            store_pixels(job, t, tail, job.tail, m0, mr, t.n_pixels, job.tail)


cdef inline void multiply_panel(const job_t *job, const tile_t *t, const chunk_t *chunk,
                                bint is_first, bint is_last, Py_ssize_t m0, Py_ssize_t mr,
                                const char *a, Py_ssize_t lda, Py_ssize_t panel,
                                Py_ssize_t panel0, char *tail, char *scratch) noexcept nogil:
    """A block of rows of w times one panel of the window; and, unless `tail` is NULL, the tail."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes, nr = job.nv * lanes
    cdef Py_ssize_t m_tile0 = job.block_starts[t.block0]
    cdef Py_ssize_t m_tile = job.block_starts[t.block1] - m_tile0
    cdef Py_ssize_t m, first, n = panel_pixels(job, t, panel, &first)
    cdef int nv = <int> ceil_div(n, lanes)
    cdef Py_ssize_t step = nv * lanes, last = lanes
    cdef bint is_straight = False
    cdef const Py_ssize_t *offset = offset_of(job, chunk)
    cdef const char *bias = NULL
    cdef const char *b
    cdef char *tile
    if job.strips:
        b = scratch + job.at_panels + first * item
        offset = job.panel_offset
    elif job.packed:
        b = scratch + job.at_panels + (panel - panel0) * chunk.kc * nr * item
        offset = job.panel_offset
    elif not job.in_place:
        b = scratch + job.at_window + first * item
    elif n < nv * lanes and reads_beyond(job, t, chunk, first + nv * lanes):
        b = scratch + job.at_panels
        offset = job.panel_offset
        if m0 == m_tile0:
            pack_in_place(job, t, chunk, first, n, scratch)
    else:
        b = place_of(job, t, chunk) + first * item
    tile = run_of(job, t, panel, first, n)
    if tile != NULL:
        is_straight = True
        m = t.group * job.m + m0
        tile += m * job.y.c
        step, last = job.y.c // item, n - (nv - 1) * lanes
        if job.bias != NULL:
            bias = job.bias + m * item
    elif job.n_chunks > 1:
        tile = scratch + job.at_acc + (panel * m_tile + m0 - m_tile0) * nr * item
    else:
        tile = scratch + job.at_tile
    if tail == NULL:
        job.kernel.gemm_into[nv][mr](chunk.kc, a, lda, b, offset, tile, step, last, bias,
                                     not is_first)
    else:
        job.kernel.gemm_dot[mr](chunk.kc, a, lda, b, offset, tile, step, last, bias,
                                scratch + job.at_tail_columns, tail, not is_first)
    if is_last and not is_straight:
        store_pixels(job, t, tile, nv * lanes, m0, mr, first, n)


cdef class Cut(TiledCut):
    """How the work is cut into tiles for one instruction set and number of threads."""

    cdef job_t job
    cdef tuple taps                 # offsets within a plane, of a chunk and of one with fewer taps
    cdef tuple in_place             # channel step of x and both tables of offsets, of the last call

    cdef tuple offsets_in(self, Py_ssize_t channel_step):
        """The tables for an x that is read where it lies."""
        found = self.in_place
        if found is None or found[0] != channel_step:
            channels = np.arange(self.job.chunk_channels)[:, None] * channel_step
            found = channel_step, *(
                (channels + taps).ravel().astype(np.intp) for taps in self.taps)
            self.in_place = found  # whole: several threads may be here
        return found

    def __repr__(self):
        cdef job_t *job = &self.job
        way = "strips" if job.strips else "packed" if job.packed else (
            "by row" if job.by_row else "flat")
        return (
            f"<{self.n_tiles} tiles of {job.tile_images} x {job.tile_rows} x {job.tile_columns} "
            f"pixels and {job.tile_blocks} of {job.n_blocks} blocks, {way}, {job.n_chunks} chunks, "
            f"tail {job.tail}, {self.workers} threads>")


cdef class Weights:
    """w as the kernels read it: numbers of the compute type, rows that spread over the cache."""

    cdef ndarray rows
    cdef tuple key                  # what they depend on beside w
    cdef readonly Py_ssize_t nbytes


cdef class Gemm(Tiled):
    """The algorithm for one problem."""

    cdef job_t base
    cdef bint loads_as_computed, weights_as_computed, stores_as_computed
    cdef readonly Weights weights   # what `bind` keeps, or None

    def __init__(self, problem, rows, columns):
        cdef job_t *job = &self.base
        Tiled.__init__(self, problem, rows, columns)
        memset(job, 0, sizeof(job_t))
        job.x_type = element_code(problem.x_dtype)
        job.w_type = element_code(problem.w_dtype)
        job.y_type = element_code(problem.dtype)
        item = kernels(self.compute).item_bytes
        self.loads_as_computed = (is_computed_in(problem.x_dtype, problem, item)
                                  and not any(problem.padding[0] + problem.padding[1]))
        self.weights_as_computed = is_computed_in(problem.w_dtype, problem, item)
        self.stores_as_computed = is_computed_in(problem.dtype, problem, item)
        job.image_parts, job.k_parts, job.m_parts = parts_of(problem)
        job.groups = problem.groups
        job.m = problem.F // problem.groups * job.m_parts
        job.channels = problem.C // problem.groups
        job.kh, job.kw, job.oh, job.ow = problem.KH, problem.KW, problem.OH, problem.OW
        job.stride_y, job.stride_x = problem.stride
        job.dilation_y, job.dilation_x = problem.dilation
        job.n_images = problem.N * job.image_parts
        job.rows = axis_of(rows, problem.padding[0], problem.H, problem.stride[0])
        job.columns = axis_of(columns, problem.padding[1], problem.W, problem.stride[1])
        job.chunk_channels, job.chunk_kh, job.chunk_kw = chunk_of(
            job.channels, job.kh, job.kw, job.k_parts)
        job.n_chunks = (ceil_div(job.channels, job.chunk_channels)
                        * ceil_div(job.kh, job.chunk_kh) * ceil_div(job.kw, job.chunk_kw))

    def _make_cut(self, int workers):
        """The cheapest one by the cost model; none of them changes the result."""
        cdef job_t *job = &self.base
        cdef const fc_kernels_t *kernel = kernels(self.compute)
        product = Product(
            job.groups, job.m, job.channels, job.kh, job.kw, job.k_parts, job.n_images, job.oh,
            job.ow, self.problem.stride, self.problem.dilation,
            (job.chunk_channels, job.chunk_kh, job.chunk_kw), job.n_chunks,
            self._rows_collide(kernel.item_bytes), self._packs_in_place(), 0,
            tuple(kernel.gemm_rows[nv] for nv in range(FC_GEMM_MAX_VECTORS + 1)), kernel.lanes,
            kernel.item_bytes)
        product = product._replace(tail=self._tail(product))
        return self._make(kernel, workers, product.tail, best_cut(product, workers))

    def _packs_in_place(self):
        """Whether pixels are packed from where they lie in an x like a new array."""
        cdef job_t *job = &self.base
        return (job.kh == job.kw == job.stride_y == job.stride_x == job.k_parts
                == job.image_parts == 1 and self.loads_as_computed
                and not self.problem.channels_last)

    def _rows_collide(self, Py_ssize_t item):
        """Whether rows of w meet in one set of a first-level cache, being 4096 bytes apart."""
        if self.weights is not None:
            return False
        residue = self.base.channels * self.base.kh * self.base.kw * item % 4096
        return residue < 64 or residue > 4032

    def _tail(self, product):
        """Pixels of a small image to take from its last, nearly empty vector.

        They are summed in another order than the others, so this must not depend on the cut.
        """
        cdef job_t *job = &self.base
        cdef Py_ssize_t lanes = product.lanes, tail = job.oh * job.ow % lanes
        if (tail == 0 or tail > FC_DOT_MAX_PIXELS or job.oh * job.ow > 32 * lanes
                or job.channels * job.kh * job.kw < 16 * lanes):
            return 0
        layout_y = axis_layout(job.oh, job.chunk_kh, job.stride_y, job.dilation_y)
        layout_x = axis_layout(job.ow, job.chunk_kw, job.stride_x, job.dilation_x)
        if product.window_bytes(layout_y, layout_x) >= WINDOW_BYTES:
            return 0
        # Panels of images with a tail are packed, which few output channels do not pay for.
        image = product._replace(n_images=job.image_parts, rows_collide=False)
        whole, cut = best_cut(image, 1), best_cut(image._replace(tail=tail), 1)
        return tail if cut.cycles < whole.cycles else 0

    cdef Cut _make(self, const fc_kernels_t *kernel, int workers, Py_ssize_t tail, choice):
        cdef Cut cut = Cut.__new__(Cut)
        cdef job_t *job = &cut.job
        cdef Py_ssize_t item = kernel.item_bytes, lanes = kernel.lanes, at = 0, k, vectors, nr
        (_, tile_cycles, nv, n_blocks, blocks, images, rows, columns, layout_y, layout_x,
         way) = choice
        nr = nv * lanes
        job[0] = self.base
        job.kernel = kernel
        job.nv, job.n_blocks, job.tile_blocks = nv, n_blocks, blocks
        job.strips, job.by_row, job.tail = way == "strips", way == "by_row", tail
        job.packed = way in ("packed", "strips")
        job.tile_images, job.tile_rows, job.tile_columns = images, rows, columns
        job.n_image_tiles = ceil_div(job.n_images, images)
        job.n_row_tiles = ceil_div(job.oh, rows)
        job.n_column_tiles = ceil_div(job.ow, columns)
        job.n_block_tiles = ceil_div(n_blocks, blocks)
        job.n_row_planes, job.n_column_planes = len(layout_y.starts), len(layout_x.starts)
        job.window_rows, job.pitch = layout_y.length, layout_x.length
        # An odd number of cache lines: channels spread over the sets of the cache.
        job.channel_size = odd_lines(
            job.n_row_planes * job.window_rows * job.n_column_planes * job.pitch * item) // item
        job.image_size = job.channel_size * job.chunk_channels * job.k_parts

        plane = job.window_rows * job.pitch
        taps = (
            (np.array(layout_y.plane)[:, None] * job.n_column_planes + np.array(layout_x.plane))
            * plane
            + np.array(layout_y.offset)[:, None] * job.pitch + np.array(layout_x.offset))
        channels = np.arange(job.chunk_channels * job.k_parts) * job.channel_size
        offset = (channels[:, None] + taps.ravel()).ravel().astype(np.intp)
        last_taps = taps[:(job.kh - 1) % job.chunk_kh + 1, :(job.kw - 1) % job.chunk_kw + 1]
        last_offset = (channels[:, None] + last_taps.ravel()).ravel().astype(np.intp)
        k = offset.size
        panel_offset = np.arange(k, dtype=np.intp) * nr
        strip_offset = np.empty(0, np.intp)
        if job.strips:
            job.strip_size = odd_lines(job.window_rows * columns * item) // item
            strips = (np.array(layout_x.plane) * plane + np.array(layout_x.offset)
                      + np.arange(job.n_row_planes)[:, None] * job.n_column_planes * plane)
            strip_offset = (channels[:, None] + strips.ravel()).ravel().astype(np.intp)
            strip = np.arange(strip_offset.size).reshape(-1, job.n_row_planes, job.kw)
            panel_offset = (strip[:, np.array(layout_y.plane)] * job.strip_size
                            + np.array(layout_y.offset)[:, None] * columns).ravel().astype(np.intp)
        row_starts = np.array(layout_y.starts, dtype=np.intp)
        column_starts = np.array(layout_x.starts, dtype=np.intp)
        block_starts = np.arange(n_blocks + 1, dtype=np.intp) * job.m // n_blocks
        cut.arrays = [offset, last_offset, panel_offset, strip_offset, row_starts, column_starts,
                      block_starts]
        job.block_starts = <const Py_ssize_t *> PyArray_DATA(block_starts)
        job.offset = <const Py_ssize_t *> PyArray_DATA(offset)
        job.last_offset = <const Py_ssize_t *> PyArray_DATA(last_offset)
        job.panel_offset = <const Py_ssize_t *> PyArray_DATA(panel_offset)
        job.strip_offset = <const Py_ssize_t *> PyArray_DATA(strip_offset)
        job.row_starts = <const Py_ssize_t *> PyArray_DATA(row_starts)
        job.column_starts = <const Py_ssize_t *> PyArray_DATA(column_starts)

        if job.packed:
            vectors = max(ceil_div(images * rows * columns - tail, lanes), 1)
        elif job.by_row:
            vectors = rows * ceil_div(columns, nr) * nv
        else:
            vectors = ceil_div((rows - 1) * job.pitch + columns, lanes)
        job.panels_per_group = ceil_div(vectors, nv)
        if job.packed and not job.strips:
            job.panels_per_group = max(min(job.panels_per_group, PANEL_BYTES // (k * nr * item)), 1)

        job.at_row_bytes, at = at, at + whole_lines(
            job.n_row_planes * job.window_rows * sizeof(Py_ssize_t))
        job.at_column_bytes, at = at, at + whole_lines(
            job.n_column_planes * job.pitch * sizeof(Py_ssize_t))
        job.at_runs, at = at, at + whole_lines(max(nr, job.window_rows) * sizeof(fc_run_t))
        # Slack: panels read up to NR beyond their pixels, packing one vector more.
        job.at_window, at = at, at + whole_lines((images * job.image_size + nr + lanes) * item)
        # Of the others, a copy lies better: its channels spread over the sets of the cache. Panels
        # are one already.
        in_cache = job.channels * job.rows.n * job.columns.n * item <= IN_PLACE_BYTES
        job.in_place = (
            not job.strips
            and (job.pitch == columns if job.packed else in_cache or n_blocks == 1)
            and (columns == job.ow or job.rows.n == 1) and job.stride_y == job.stride_x == 1
            and job.n_row_planes == job.n_column_planes == 1
            and job.k_parts == job.image_parts == 1 and self.loads_as_computed)
        cut.taps = taps.ravel(), last_taps.ravel()
        job.at_panels = at
        if job.strips:
            at += whole_lines((strip_offset.size * job.strip_size + nr + lanes) * item)
        elif job.packed:
            at += whole_lines((job.panels_per_group * k * nr + lanes) * item)
        elif job.in_place:
            at += whole_lines(k * nr * item)
        job.at_weights, at = at, at + whole_lines(FC_GEMM_MAX_ROWS * (k * item + 192))
        job.at_tile, at = at, at + whole_lines(FC_GEMM_MAX_ROWS * nr * item)
        m_tile = ceil_div(job.m * blocks, n_blocks) + 1
        job.at_tail_columns, at = at, at + whole_lines(tail * k * item)
        job.at_tail, at = at, at + whole_lines(tail * m_tile * item)
        job.at_acc = at
        if job.n_chunks > 1:
            at += whole_lines((vectors + nv) * lanes * m_tile * item)
        cut.scratch_bytes = at
        cut.n_tiles = (job.groups * job.n_block_tiles * job.n_image_tiles * job.n_row_tiles
                       * job.n_column_tiles)
        worth = int(cut.n_tiles * tile_cycles / CYCLES_PER_THREAD) + 1
        cut.workers = min(workers, cut.n_tiles, worth)
        cut.tile_seconds = tile_cycles / CYCLES_PER_SECOND
        cut.kernel_name = (f"fc_{kernel.name.decode()}_gemm_{ceil_div(job.m, n_blocks)}x{nr}"
                           f"_{active_isa()}")
        return cut

    def bind(self, ndarray w, kept=()):
        """The runner for these kernels, see _plan: w is copied where it cannot be read as it is."""
        cdef Gemm bound
        cdef Py_ssize_t item = kernels(self.compute).item_bytes
        if (self.weights_as_computed and PyArray_IS_C_CONTIGUOUS(w) and PyArray_ISALIGNED(w)
                and not self._rows_collide(item)):
            return self
        bound = Gemm(self.problem, self.rows, self.columns)
        key = self.compute, self.base.k_parts
        for weights in kept:
            if isinstance(weights, Weights) and (<Weights> weights).key == key:
                bound.weights = weights
                return bound
        bound.weights = self._load(aligned(w), key)
        return bound

    cdef Py_ssize_t _lda(self, Py_ssize_t item):
        return odd_lines(self.base.channels * self.base.kh * self.base.kw * self.base.k_parts
                         * item) // item

    cdef Weights _load(self, ndarray w, tuple key):
        cdef Weights weights = Weights.__new__(Weights)
        cdef job_t job = self.base
        cdef tile_t t
        cdef chunk_t chunk
        cdef char *rows
        cdef Py_ssize_t item, i
        job.kernel = kernels(self.compute)
        item = job.kernel.item_bytes
        job.w = weights_of(w, w.ndim, w.itemsize // 2)
        job.lda = self._lda(item)
        weights.key, weights.nbytes = key, job.groups * job.m * job.lda * item
        weights.rows = np.empty(weights.nbytes, np.uint8)
        rows = <char *> PyArray_DATA(weights.rows)
        for t.group in range(job.groups):
            for i in range(job.n_chunks):
                locate_chunk(&job, i, &chunk)
                load_weights(&job, &t, &chunk, 0, job.m, rows
                             + (t.group * job.m * job.lda + chunk.k0 * job.k_parts) * item,
                             job.lda)
        return weights

    def run(self, ndarray x, ndarray w, bias, ndarray y, fill, int workers):
        """Compute y, an array of the problem's shape and dtype that overlaps neither x nor w.

        `bias` has the result's dtype and is contiguous, or is None; `fill` is the padding constant
        as bytes of the compute type (real and imaginary part).
        """
        cdef Cut cut = self.cut(workers)
        cdef job_t job = cut.job
        cdef const char *fill_bytes = fill
        cdef Py_ssize_t item = job.kernel.item_bytes
        cdef tuple in_place
        problem = self.problem
        memcpy(job.fill, fill_bytes, 2 * item)
        x, w = aligned(x), aligned(w)
        job.x = image_of(x, x.ndim, problem.channels_last, x.itemsize // 2)
        job.y = image_of(y, y.ndim, problem.channels_last, y.itemsize // 2)
        job.w = weights_of(w, w.ndim, w.itemsize // 2)
        job.bias = NULL if bias is None else <const char *> PyArray_DATA(<ndarray> bias)
        job.in_place = (
            job.in_place and job.x.w == item
            and (job.rows.n == 1 or job.x.h == job.columns.n * item)
            and job.x.c % item == 0 and job.x.c >= job.rows.n * job.columns.n * item
            and (not job.packed or job.x.n % item == 0))
        job.straight = (self.stores_as_computed and job.n_chunks == 1 and job.y.w == item
                        and job.y.c % item == job.y.h % item == 0)
        if job.in_place:
            in_place = cut.offsets_in(job.x.c // item)
            job.offset = <const Py_ssize_t *> PyArray_DATA(<ndarray> in_place[1])
            job.last_offset = <const Py_ssize_t *> PyArray_DATA(<ndarray> in_place[2])
            job.image_size = job.x.n // item
        job.ready = NULL
        if self.weights is not None:
            job.ready = <const char *> PyArray_DATA(self.weights.rows)
            job.lda = self._lda(item)
        elif self.weights_as_computed and PyArray_IS_C_CONTIGUOUS(w):
            job.ready = job.w.data
            job.lda = job.channels * job.kh * job.kw
        job.gathered_weights = self.weights_as_computed and abs(job.w.f) < abs(job.w.c)
        return parallel_for(run_tile, &job, cut.n_tiles, cut.workers, cut.scratch_bytes,
                            cut.tile_seconds)
