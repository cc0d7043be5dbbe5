# SPDX-License-Identifier: BSD-3-Clause
"""What Winograd's algorithm computes with: its job, and where tiles lie in panels and in images.

Tiles have one flat index over images, rows and columns. A panel is up to NR of them in a row, in
whole vectors; those in it that lie side by side in one image are a run: one window of x.

Blocks of tiles have equal numbers of vectors, or nearly so, and so have the panels of a block: a
last one of few tiles would take a third of the time of a whole one, waiting for weights. Where
vectors run along the filters, they have equal numbers of tiles.
"""

from fastcorr._algorithms.operands cimport image_t
from fastcorr._algorithms.window cimport axis_t, ceil_div, interior, positions
from fastcorr._kernels.kernels cimport (
    fc_kernels_t, fc_window_t, fc_winograd_bounds_t, fc_winograd_row_t, fc_winograd_t,
)


cdef enum:
    MOST_PANELS = 8             # of a task


ctypedef struct job_t:
    const fc_kernels_t *kernel
    image_t x
    image_t y
    const char *w                   # [groups * rows][channels][kh][kw], compute type, contiguous
    const char *w_end
    const char *bias                # [groups * rows], compute type, or NULL
    char fill[16]
    int x_type, y_type
    bint x_as_computed              # the input transform reads x itself
    # the problem
    Py_ssize_t groups, rows, channels, kh, kw, taps, oh, ow
    axis_t down, across
    # tiles of mh x mw outputs and ah x aw inputs; points of the transform
    const fc_winograd_t *winograd
    int form, mh, mw, ah, aw, n_points  # `form` is a fc_winograd_form_t
    Py_ssize_t tiles_across, tiles_per_image, n_tiles
    Py_ssize_t n_chunks, chunk      # chunks of channels of a sum
    const char *scale               # [groups][channels]: of x, for the guard
    const fc_winograd_bounds_t *bounds  # [groups]
    # while w is measured: [groups][channels][taps] and [groups * rows]
    const char *inverse
    fc_winograd_row_t *measured
    double least_weight
    # blocks
    int nv
    Py_ssize_t panels, n_blocks, set_blocks, tile_blocks, n_block_ranges, n_tile_blocks
    Py_ssize_t rest, rest_ranges    # vectors of tiles behind the blocks, for ranges of their own
    const Py_ssize_t *offset        # [nv][chunk]: k * nv * lanes
    # for tiles by the definition, in chunks of channels: where tap k lies in a window, k * pixels
    const Py_ssize_t *tap_offset
    const Py_ssize_t *pixel_offset
    Py_ssize_t n_redone_chunks, redone_rows, redone_pitch, pixels
    # transformed weights [point][groups * rows][lda], or NULL: made per block of rows
    char *u
    Py_ssize_t lda, u_step, local_step
    # with vectors along the output channels: how many are in a block, or else 0; then transformed
    # weights are [group][block][chunk][point][channel][filter], or made per chunk
    Py_ssize_t filters, u_chunk
    # scratch, in bytes from its start
    Py_ssize_t at_row_bytes, at_column_bytes, at_sums, at_window, at_v, v_step, v_panel, at_u
    Py_ssize_t at_products, products_step, at_out, at_spoiled, at_pixels, at_acc, at_places, at_bias
    Py_ssize_t pitch


ctypedef struct task_t:
    Py_ssize_t group, block0, block1, tile0, n_tiles, n_panels
    # of each panel: its first tile, from tile0 on; how many tiles and vectors it has
    Py_ssize_t[MOST_PANELS] start, tiles
    int[MOST_PANELS] vectors


ctypedef struct run_t:              # tiles side by side in one image, within a panel
    Py_ssize_t image, row, column, n, lane


cdef inline Py_ssize_t block_start(const job_t *job, Py_ssize_t block) noexcept nogil:
    if job.filters > 0:
        return min(job.filters * block, job.rows)
    return job.rows * block // job.n_blocks


cdef inline Py_ssize_t chunk_start(const job_t *job, Py_ssize_t chunk) noexcept nogil:
    return job.channels * chunk // job.n_chunks


cdef inline void locate_task(const job_t *job, Py_ssize_t index, task_t *t) noexcept nogil:
    cdef Py_ssize_t n, part
    if job.rest == 0:
        locate_tiles(job, index % job.n_tile_blocks, t)
        index //= job.n_tile_blocks
        t.block0 = index % job.n_block_ranges * job.tile_blocks
        t.block1 = min(t.block0 + job.tile_blocks, job.n_blocks)
        t.group = index // job.n_block_ranges
        return
    # For each range of the rest as many blocks of tiles, so that threads take both.
    n = job.n_tile_blocks // job.rest_ranges
    part, index = index // (n + 1), index % (n + 1)
    t.group, t.block0, t.block1 = 0, 0, job.n_blocks
    if index < n:
        locate_tiles(job, part * n + index, t)
    else:
        locate_tiles(job, job.n_tile_blocks, t)
        t.block0 = job.n_blocks * part // job.rest_ranges
        t.block1 = job.n_blocks * (part + 1) // job.rest_ranges


cdef inline void locate_tiles(const job_t *job, Py_ssize_t index, task_t *t) noexcept nogil:
    """The tiles of that block, the rest being the last, and their panels."""
    cdef Py_ssize_t lanes = job.kernel.lanes, step = 1 if job.filters > 0 else lanes
    cdef Py_ssize_t n = ceil_div(job.n_tiles, step), panel, first, end
    if index == job.n_tile_blocks:
        first, n = n - job.rest, job.rest
    else:
        end = (n - job.rest) * (index + 1) // job.n_tile_blocks
        first = (n - job.rest) * index // job.n_tile_blocks
        n = end - first
    t.tile0 = first * step
    t.n_tiles = min(n * step, job.n_tiles - t.tile0)
    t.n_panels = ceil_div(n * step, job.nv * lanes)
    for panel in range(t.n_panels):
        first, end = n * panel // t.n_panels, n * (panel + 1) // t.n_panels
        t.start[panel] = first * step
        t.tiles[panel] = min(end * step, t.n_tiles) - t.start[panel]
        t.vectors[panel] = <int> ceil_div(t.tiles[panel], lanes)


cdef inline void next_run(const job_t *job, Py_ssize_t first, Py_ssize_t lane, Py_ssize_t n,
                          run_t *run) noexcept nogil:
    """The run from that lane of a panel of n tiles on; `first` is the number of its first tile."""
    cdef Py_ssize_t tile = first + lane, place = tile % job.tiles_per_image
    run.image = tile // job.tiles_per_image
    run.row = place // job.tiles_across
    run.column = place % job.tiles_across
    run.n = min(job.tiles_across - run.column, n - lane)
    run.lane = lane


cdef inline void window_of(const job_t *job, Py_ssize_t row, Py_ssize_t column, Py_ssize_t n_rows,
                           Py_ssize_t n_columns, fc_window_t *win,
                           char *scratch) noexcept nogil:
    """Rows and columns of the padded image, as they lie in x."""
    cdef Py_ssize_t *row_bytes = <Py_ssize_t *> (scratch + job.at_row_bytes)
    cdef Py_ssize_t *column_bytes = <Py_ssize_t *> (scratch + job.at_column_bytes)
    positions(&job.down, row, n_rows, job.x.h, row_bytes)
    positions(&job.across, column, n_columns, job.x.w, column_bytes)
    interior(&job.across, column, n_columns, &win.lo, &win.hi)
    win.row_bytes, win.column_bytes = row_bytes, column_bytes
    win.n_rows, win.n_columns, win.step_bytes = n_rows, n_columns, job.x.w


cdef inline const char *channel_of(const job_t *job, Py_ssize_t image, Py_ssize_t group,
                                   Py_ssize_t c) noexcept nogil:
    return job.x.data + image * job.x.n + (group * job.channels + c) * job.x.c
