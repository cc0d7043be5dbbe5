# SPDX-License-Identifier: BSD-3-Clause
"""Images staged as pixels, for vectors along the channels: a window [row][column][lanes].

The window holds up to `lanes` channels; padding and dtypes end here. `target_t` is the way back.
"""

from fastcorr._algorithms.operands cimport image_t
from fastcorr._algorithms.parallel cimport whole_lines
from fastcorr._algorithms.window cimport axis_t, interior, positions
from fastcorr._kernels.kernels cimport FC_PAD, fc_kernels_t, fc_window_t

ctypedef struct pixels_t:
    const fc_kernels_t *kernel
    image_t image
    char fill[16]                       # the padding constant, compute type; here it is aligned
    int type
    axis_t rows
    axis_t columns
    bint constant_margins
    bint has_planes, has_pixels         # as computed: pixels, or channels, side by side
    bint is_dense                       # all pixels of a channel side by side
    const Py_ssize_t *pixel             # of the image, in the window: elements from the first one
    Py_ssize_t at_rows, at_columns, at_pixels, at_window    # in scratch

ctypedef struct target_t:
    const fc_kernels_t *kernel
    image_t image
    int type
    bint to_planes, to_pixels           # as computed: pixels, or channels, side by side

# A part of an image: padded rows and columns, and up to `lanes` channels.
ctypedef struct part_t:
    Py_ssize_t image, row0, n_rows, column0, n_columns
    Py_ssize_t c0, n_channels
    bint is_first                       # of the channels whose margins are the same

# How outputs are cut into tiles: rows and columns of an image, and some blocks of channels.
ctypedef struct tiling_t:
    Py_ssize_t rows, columns, n_blocks              # of all
    Py_ssize_t tile_rows, tile_columns, tile_blocks
    Py_ssize_t n_row_tiles, n_column_tiles, n_block_tiles

# The outputs of a tile, and the window of some of its channels.
ctypedef struct tile_t:
    Py_ssize_t row0, rows, column0, columns, block0, block1
    part_t window


cdef inline void locate_tile(const tiling_t *cut, Py_ssize_t index, tile_t *t) noexcept nogil:
    """Blocks of channels run fastest, then columns, rows, images."""
    t.block0 = index % cut.n_block_tiles * cut.tile_blocks
    t.block1 = min(t.block0 + cut.tile_blocks, cut.n_blocks)
    index //= cut.n_block_tiles
    t.column0 = index % cut.n_column_tiles * cut.tile_columns
    t.columns = min(cut.tile_columns, cut.columns - t.column0)
    index //= cut.n_column_tiles
    t.row0 = index % cut.n_row_tiles * cut.tile_rows
    t.rows = min(cut.tile_rows, cut.rows - t.row0)
    t.window.image = index // cut.n_row_tiles


cdef inline void choose_block(tile_t *t, Py_ssize_t block, Py_ssize_t lanes,
                              Py_ssize_t n_channels) noexcept nogil:
    """Let the window hold the channels of that block, of so many channels of all blocks."""
    t.window.c0, t.window.is_first = block * lanes, block == t.block0
    t.window.n_channels = min(lanes, n_channels - t.window.c0)


cdef inline void set_image(pixels_t *p, image_t image, bint is_computed, Py_ssize_t width) noexcept:
    """`is_computed`: of numbers as kernels compute in them; `width` pixels are a row."""
    cdef Py_ssize_t item = p.kernel.item_bytes
    p.image = image
    p.has_planes = p.has_pixels = p.is_dense = False
    if is_computed and image.c % item == image.h % item == image.w % item == 0:
        p.has_planes = image.w == item
        p.has_pixels = image.c == item
        p.is_dense = image.h == width * item


cdef inline void set_target(target_t *y, image_t image, bint is_computed) noexcept:
    cdef Py_ssize_t item = y.kernel.item_bytes
    y.image = image
    y.to_planes = y.to_pixels = False
    if is_computed and image.c % item == image.h % item == image.w % item == 0:
        y.to_planes, y.to_pixels = image.w == item, image.c == item


cdef inline Py_ssize_t place_window(pixels_t *p, Py_ssize_t n_rows, Py_ssize_t n_columns,
                                    Py_ssize_t at) noexcept:
    """Give a window of that size its places in scratch, from `at` on; return the end."""
    p.at_rows, at = at, at + whole_lines(n_rows * sizeof(Py_ssize_t))
    p.at_columns, at = at, at + whole_lines(n_columns * sizeof(Py_ssize_t))
    p.at_pixels, at = at, at + whole_lines(n_columns * sizeof(Py_ssize_t))
    p.at_window = at
    return at + whole_lines(n_rows * n_columns * p.kernel.lanes * p.kernel.item_bytes)


cdef inline void find_window(const pixels_t *p, const part_t *t, char *scratch) noexcept nogil:
    """The rows and columns of the window: the same for all channels."""
    positions(&p.rows, t.row0, t.n_rows, p.image.h, <Py_ssize_t *> (scratch + p.at_rows))
    positions(&p.columns, t.column0, t.n_columns, p.image.w,
              <Py_ssize_t *> (scratch + p.at_columns))


cdef inline void stage_rows(const pixels_t *p, const part_t *t, Py_ssize_t begin, Py_ssize_t end,
                            char *scratch) noexcept nogil:
    """Copy rows begin .. end of the window; `find_window` has found them.

    Margins that are constant are written for the first channels only.
    """
    cdef const Py_ssize_t *row_bytes = <const Py_ssize_t *> (scratch + p.at_rows)
    cdef const Py_ssize_t *column_bytes = <const Py_ssize_t *> (scratch + p.at_columns)
    cdef Py_ssize_t item = p.kernel.item_bytes, lanes = p.kernel.lanes
    cdef Py_ssize_t i, n, lo, hi, first, last, row = t.n_columns * lanes * item
    cdef bint has_margins = t.is_first or not p.constant_margins
    cdef const char *src = p.image.data + t.image * p.image.n + t.c0 * p.image.c
    cdef char *dst = scratch + p.at_window
    interior(&p.rows, t.row0, end, &first, &last)
    first = min(max(first, begin), end)
    last = max(last, first)
    interior(&p.columns, t.column0, t.n_columns, &lo, &hi)
    if not (p.has_planes or p.has_pixels):
        hi = lo
    if has_margins:
        for i in range(begin, first):
            stage_pixels(p, t, row_bytes[i], 0, t.n_columns, dst + i * row, scratch)
        for i in range(last, end):
            stage_pixels(p, t, row_bytes[i], 0, t.n_columns, dst + i * row, scratch)
    if has_margins or hi == lo:
        for i in range(first, last):
            stage_pixels(p, t, row_bytes[i], 0, lo, dst + i * row, scratch)
            stage_pixels(p, t, row_bytes[i], hi, t.n_columns, dst + i * row, scratch)
    if hi == lo or last == first:
        return
    src += row_bytes[first] + column_bytes[lo]
    dst += first * row + lo * lanes * item
    n = hi - lo
    if p.has_planes and p.is_dense and n == p.columns.n:
        p.kernel.interleave(t.n_channels, (last - first) * n, src, p.image.c // item, dst, p.pixel)
        return
    for _ in range(last - first):
        if p.has_planes:
            p.kernel.interleave(t.n_channels, n, src, p.image.c // item, dst, p.pixel)
        else:
            p.kernel.copy_pixels(t.n_channels, n, src, p.image.w // item, dst, lanes)
        src += p.image.h
        dst += row


cdef inline void stage_pixels(const pixels_t *p, const part_t *t, Py_ssize_t row, Py_ssize_t begin,
                              Py_ssize_t end, char *dst, char *scratch) noexcept nogil:
    """Pixels begin .. end of a row of the window, wherever they come from."""
    cdef fc_window_t win
    cdef const Py_ssize_t *column_bytes = <const Py_ssize_t *> (scratch + p.at_columns)
    cdef Py_ssize_t *pixel_bytes = <Py_ssize_t *> (scratch + p.at_pixels)
    cdef Py_ssize_t j, zero = 0
    if begin >= end:
        return
    for j in range(begin, end):
        pixel_bytes[j - begin] = (
            FC_PAD if row == FC_PAD or column_bytes[j] == FC_PAD else row + column_bytes[j])
    # A "row" of this window is a pixel, its "columns" are the channels.
    win.n_rows, win.row_bytes = end - begin, pixel_bytes
    win.pitch, win.n_columns, win.column_bytes = p.kernel.lanes, t.n_channels, &zero
    win.lo, win.hi, win.step_bytes = 0, t.n_channels, p.image.c
    p.kernel.stage[p.type](
        &win, p.image.data + t.image * p.image.n + t.c0 * p.image.c, 1, 0, p.fill,
        dst + begin * win.pitch * p.kernel.item_bytes, 0)


cdef inline void store_rows(const target_t *y, const char *outputs, Py_ssize_t n_rows,
                            Py_ssize_t n_columns, Py_ssize_t n_channels, char *to,
                            Py_ssize_t *column_bytes) noexcept nogil:
    """Write outputs [row][column][lanes] to y; `column_bytes` is room for a row of numbers."""
    cdef Py_ssize_t item = y.kernel.item_bytes, lanes = y.kernel.lanes, n = n_columns, j
    if y.to_planes and y.image.h == n * item:  # whole rows, without a gap
        n, n_rows = n * n_rows, 1
    for _ in range(n_rows):
        if y.to_planes:
            y.kernel.deinterleave(n_channels, n, outputs, to, y.image.c // item)
        elif y.to_pixels:
            y.kernel.copy_pixels(n_channels, n, outputs, lanes, to, y.image.w // item)
        else:
            for j in range(n):
                column_bytes[j] = j * y.image.w
            y.kernel.store[y.type](outputs, lanes, n, n_channels, NULL, to, column_bytes,
                                   y.image.c)
        outputs += n * lanes * item
        to += y.image.h
