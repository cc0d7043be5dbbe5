# SPDX-License-Identifier: BSD-3-Clause
"""How the sums of a weight gradient are cut: ways, tiles and chunks of pixels, and their cost.

Of plain numbers, for grad_weight.pyx, which explains the three ways. The shape and the chunks of a
sum follow from the problem and the instruction set alone; the parts that `best_parts` cuts the rest
into follow the number of threads and do not change a bit of the result. `runs_of` and `stacks_of`
are the taps as COLUMNS and TAPS take them.
"""

from functools import lru_cache
from typing import NamedTuple

from fastcorr._algorithms.gemm_cuts import ceil_div, even_pieces, panel_cycles
from fastcorr._algorithms.layout import AxisLayout, axis_layout
from fastcorr._kernels.kernels cimport FC_TAPS_MAX_HEIGHT, FC_TAPS_MAX_WIDTH, FC_TAPS_ROWS

# Pixels of a tile: the terms of one call of fc_gemm; fc_taps adds up lanes at the end of its call.
TILE_PIXELS = {"channels": 512, "columns": 1024, "taps": 16 * 1024}
# Kernels of more taps than registers hold pass over a tile several times: it stays in the first
# level of the cache.
MOST_TAPS_AT_ONCE = 20
TILE_PIXELS_OF_MANY_TAPS = 4 * 1024
# Bytes per thread, so that dy, the window and the sums stay in a 1 MB cache.
DY_BYTES = 384 * 1024
WINDOW_BYTES = 384 * 1024
ACC_BYTES = 1024 * 1024
# Sums of all chunks together.
CHUNKS_BYTES = 8 * 1024 * 1024
MAX_CHUNKS = 32

# Cost model, in cycles of one vector multiply-add (EPYC 9004, AVX-512, 2026-11).
CYCLES_PER_STAGED_VECTOR = 8.0
CYCLES_PER_STAGED_ROW = 20.0
CYCLES_PER_TRANSPOSED_VECTOR = 6.0
CYCLES_PER_PACKED_RUN = 3.0
CYCLES_PER_TAP = 1.1  # and vector of pixels, where loads do not take longer
CYCLES_PER_LOAD = 2.0  # of a vector that meets two cache lines
CYCLES_PER_DY_VECTOR = 12.0  # of TAPS, which often waits for dy
CYCLES_PER_CALL = 80.0
CYCLES_PER_TILE = 500.0
CYCLES_PER_SUM = 1.5  # to add, transpose and store one element of dw
CYCLES_PER_THREAD = 100e3  # less work than this does not pay for waking a thread
CYCLES_PER_CHUNK = 100e3  # nor for sums of its own
CYCLES_PER_SECOND = 2e9
MAX_ITEM_CYCLES = 50e6  # Ctrl-C waits for an item


class Sums(NamedTuple):
    """The problem as real numbers (complex ones are pairs of them), and the registers."""

    groups: int
    m: int  # rows of dy, and channels of x, of a group
    channels: int
    kh: int
    kw: int
    n_images: int
    oh: int
    ow: int
    stride: tuple[int, int]
    dilation: tuple[int, int]
    gemm_rows: tuple[int, ...]  # most rows of a block, by vectors
    lanes: int
    item: int  # bytes


class Shape(NamedTuple):
    """How the sums are formed: all that a bit of the result may depend on, but for the chunks."""

    way: str
    nv: int
    n_blocks: int
    images: int
    rows: int
    columns: int
    band_kh: int
    layout_y: AxisLayout
    layout_x: AxisLayout
    column_step: int
    cycles: float               # of one group
    dy_cycles: float            # of which: staging dy, and x
    x_cycles: float


def gemm_blocks(m, vectors, gemm_rows):
    """(cycles per pixel, vectors per call, blocks of the m rows): the best."""
    choices = []
    for nv in range(1, len(gemm_rows)):
        if gemm_rows[nv] == 0:
            continue
        n_blocks = ceil_div(m, gemm_rows[nv])
        cycles = vectors // nv * panel_cycles(m / n_blocks, nv)
        if vectors % nv:
            cycles += panel_cycles(m / n_blocks, vectors % nv)
        choices.append((cycles * n_blocks, nv, n_blocks))
    return min(choices)


def area(layout_y, layout_x):
    """Places of a window."""
    return len(layout_y.starts) * layout_y.length * len(layout_x.starts) * layout_x.length


@lru_cache(maxsize=64)
def best_shape(sums):
    """The cheapest by the cost model."""
    found = [
        shape for way in TILE_PIXELS for columns in _column_sizes(sums, way)
        for shape in _candidates(sums, way, columns)
    ]
    return min(found, key=lambda shape: shape.cycles)


def _column_sizes(sums, way):
    """Columns of a tile: few where that makes a window with little around its pixels."""
    pixels = TILE_PIXELS[way]
    least = 8 * sums.lanes if way == "taps" else 16
    sizes = [n for n in even_pieces(sums.ow) if n <= pixels]
    return [n for n in sizes if n >= least] or sizes[:1]


def _candidates(sums, way, columns):
    taps, step = sums.kh * sums.kw, 1
    layout_x = axis_layout(columns, sums.kw, sums.stride[1], sums.dilation[1])
    pixels = TILE_PIXELS[way]
    if way == "taps":
        nv, n_blocks, per_pixel = 1, sums.m, 0.0
        if taps > MOST_TAPS_AT_ONCE:
            pixels = TILE_PIXELS_OF_MANY_TAPS
    elif way == "channels":
        vectors = ceil_div(sums.channels, sums.lanes)
        per_pixel, nv, n_blocks = gemm_blocks(sums.m, vectors, sums.gemm_rows)
    else:
        vectors = ceil_div(sums.channels * taps, sums.lanes)
        per_pixel, nv, n_blocks = gemm_blocks(sums.m, vectors, sums.gemm_rows)
        if sums.dilation[1] == 1:
            step = sums.stride[1]
            layout_x = AxisLayout(
                (columns - 1) * step + sums.kw, [0], [0] * sums.kw, list(range(sums.kw)))
    fewest = ceil_div(sums.oh, max(1, min(pixels // columns, sums.oh)))
    for n_row_tiles in range(fewest, min(fewest + 4, sums.oh) + 1):
        rows = ceil_div(sums.oh, n_row_tiles)
        images = 1
        if way != "taps" and rows == sums.oh and columns == sums.ow:
            images = max(1, min(pixels // (rows * columns), sums.n_images))
        for images in range(images, images // 2, -1):
            shape = _costed(sums, way, nv, n_blocks, images, rows, columns, layout_x, step,
                            per_pixel)
            if shape is not None:
                yield shape


def _costed(sums, way, nv, n_blocks, images, rows, columns, layout_x, step, per_pixel):
    lanes = sums.lanes
    taps, band_kh = sums.kh * sums.kw, sums.kh
    side_by_side = nv * lanes if way == "channels" else sums.channels if way == "columns" else 1
    while True:
        layout_y = axis_layout(rows, band_kh, sums.stride[0], sums.dilation[0])
        window = images * area(layout_y, layout_x)
        if window * side_by_side * sums.item <= WINDOW_BYTES or band_kh == 1:
            break
        if way == "columns":
            return None
        band_kh = ceil_div(band_kh, 2)
    n_tiles = (ceil_div(max(sums.n_images, 1), images) * ceil_div(sums.oh, rows)
               * ceil_div(sums.ow, columns))
    pixels = images * rows * columns
    staged = window * ceil_div(sums.kh, band_kh)
    staged_rows = staged / layout_x.length
    # Whole rows can be read in place, if dy is contiguous and has the right dtype.
    dy = sums.m * CYCLES_PER_STAGED_VECTOR * pixels / lanes
    if columns == sums.ow and images == 1:
        dy /= 2
    else:
        dy += sums.m * CYCLES_PER_STAGED_ROW * images * (1 if columns == sums.ow else rows)
    x = sums.channels * (CYCLES_PER_STAGED_ROW * staged_rows
                         + CYCLES_PER_STAGED_VECTOR * staged / lanes)
    if way == "taps":
        high = min(ceil_div(sums.kh, sums.stride[0]), FC_TAPS_MAX_HEIGHT)
        if sums.dilation[0] > 1:
            high = 1
        wide = min(sums.kw, max(1, MOST_TAPS_AT_ONCE // high), FC_TAPS_MAX_WIDTH)
        loads = ((FC_TAPS_ROWS - 1 + high) * wide + FC_TAPS_ROWS) / (FC_TAPS_ROWS * high * wide)
        per_tap = max(CYCLES_PER_TAP, CYCLES_PER_LOAD * loads)
        cycles = sums.m * sums.channels * (
            (taps * per_tap + CYCLES_PER_DY_VECTOR) * rows * ceil_div(columns, lanes)
            + CYCLES_PER_CALL * ceil_div(taps, high * wide))
    elif way == "channels":
        vectors = ceil_div(sums.channels, lanes)
        x += CYCLES_PER_TRANSPOSED_VECTOR * staged * vectors
        cycles = taps * (pixels * per_pixel
                         + CYCLES_PER_CALL * n_blocks * ceil_div(vectors, nv))
    else:
        runs = sums.channels * sums.kh * (
            ceil_div(sums.kw, lanes) if sums.dilation[1] == 1 else sums.kw)
        x += pixels * CYCLES_PER_PACKED_RUN * runs
        vectors = ceil_div(sums.channels * taps, lanes)
        cycles = pixels * per_pixel + CYCLES_PER_CALL * n_blocks * ceil_div(vectors, nv)
    # As even a share for 2, 4 or 8 threads as there can be.
    even = 8 if n_tiles >= 8 else 4 if n_tiles >= 4 else 2 if n_tiles >= 2 else 1
    waste = 0.5 + 0.5 * ceil_div(n_tiles, even) * even / n_tiles
    return Shape(
        way, nv, n_blocks, images, rows, columns, band_kh, layout_y, layout_x, step,
        n_tiles * (CYCLES_PER_TILE + dy + x + cycles) * waste, n_tiles * dy, n_tiles * x)


def n_chunks_of(sums, shape, n_tiles, chunk_bytes):
    """Chunks of tiles: enough for many threads where groups are not, within CHUNKS_BYTES."""
    most = min(
        ceil_div(MAX_CHUNKS, sums.groups), CHUNKS_BYTES // chunk_bytes,
        int(shape.cycles * sums.groups / CYCLES_PER_CHUNK), n_tiles,
    )
    return ceil_div(n_tiles, ceil_div(n_tiles, max(most, 1)))


class Parts(NamedTuple):
    """What a thread takes at once, and how much of it there is."""

    cycles: float
    n_items: int
    groups: int  # parts of each
    blocks: int
    columns: int


def best_parts(sums, shape, n_tiles, n_chunks, n_column_blocks, dy_pitch, block_bytes, workers):
    """Cut groups and channels for that many threads; no cut changes the result.

    `dy_pitch` is that of staged dy, in elements, and `block_bytes` the sums of one block of rows
    and columns.
    """
    multiply = shape.cycles - shape.dy_cycles - shape.x_cycles
    best = None
    for groups in even_pieces(sums.groups):
        for blocks in even_pieces(shape.n_blocks):
            dy_bytes = blocks * ceil_div(sums.m, shape.n_blocks) * dy_pitch * sums.item
            if dy_bytes > DY_BYTES and blocks > 1:
                continue
            for columns in even_pieces(n_column_blocks):
                if blocks * columns * block_bytes > ACC_BYTES and n_chunks == 1 and (
                        blocks * columns > 1):
                    continue
                b, c = blocks / shape.n_blocks, columns / n_column_blocks
                cycles = CYCLES_PER_TILE + groups * ceil_div(n_tiles, n_chunks) / n_tiles * (
                    shape.dy_cycles * b + shape.x_cycles * c + multiply * b * c)
                parts = (ceil_div(sums.groups, groups), ceil_div(shape.n_blocks, blocks),
                         ceil_div(n_column_blocks, columns))
                n_items = n_chunks * parts[0] * parts[1] * parts[2]
                waves = ceil_div(n_items, workers) + (0.02 if workers > 1 else 0)
                if best is None or cycles * waves < best[0]:
                    best = cycles * waves, Parts(cycles, n_items, *parts)
    return best[1]


def runs_of(sums, nr, channel_size, tap_row, tap_column):
    """[(first lane, place in the window, length)] of every block of NR columns (c, ky, kx)."""
    breaks = [0, *(kx for kx in range(1, sums.kw) if tap_column[kx] != tap_column[kx - 1] + 1),
              sums.kw]
    blocks = [[] for _ in range(ceil_div(sums.channels * sums.kh * sums.kw, nr))]
    for c in range(sums.channels):
        for ky in range(sums.kh):
            for kx, end in zip(breaks[:-1], breaks[1:], strict=True):
                while kx < end:
                    column = (c * sums.kh + ky) * sums.kw + kx
                    n = min(end - kx, nr - column % nr)
                    place = c * channel_size + tap_row[ky] + tap_column[kx]
                    blocks[column // nr].append((column % nr, place, n))
                    kx += n
    return blocks


def stacks_of(layout_y):
    """[(first ky, step, count)]: taps that see rows of x above each other, for one fc_taps."""
    stacks, left = [], list(range(len(layout_y.plane)))
    while left:
        stack = [left[0]]
        for ky in left[1:]:
            if (layout_y.plane[ky] == layout_y.plane[left[0]]
                    and layout_y.offset[ky] == layout_y.offset[left[0]] + len(stack)
                    and len(stack) < FC_TAPS_MAX_HEIGHT
                    and (len(stack) < 2 or ky - stack[-1] == stack[1] - stack[0])):
                stack.append(ky)
        left = [ky for ky in left if ky not in stack]
        stacks.append((stack[0], stack[1] - stack[0] if len(stack) > 1 else 1, len(stack)))
    return stacks
