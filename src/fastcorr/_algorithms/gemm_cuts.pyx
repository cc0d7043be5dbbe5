# SPDX-License-Identifier: BSD-3-Clause
"""How an implicit matrix product is cut into tiles: the possible cuts and the model of their cost.

Of plain numbers, for gemm.pyx and for what multiplies as it does. The chunks of a sum follow from
the kernel's shape alone; no other choice made here changes a bit of the result.
"""

import math
from typing import NamedTuple

from fastcorr._algorithms.layout import AxisLayout, axis_layout

# Terms of a sum per chunk: a panel of 160 KB at most. A kernel of one tap reuses nothing in the
# window: half as many terms leave room for whole images.
K_CHUNK = 1280
K_CHUNK_OF_ONE_TAP = 640
# Bytes per thread, so that a window, its panels and the block of weights stay in a 1 MB cache.
WINDOW_BYTES = 512 * 1024
PANEL_BYTES = 384 * 1024
ACC_BYTES = 384 * 1024

# Rows of w in one set of a cache of 8 ways; with 14 of them a 1x1 layer of 1024 channels ran at 60
# instead of 106 GFLOP/s (EPYC 9004, AVX-512, 2026-11).
MAX_COLLIDING_ROWS = 9

# Cost model, in cycles of one vector multiply-add (EPYC 9004, AVX-512, 2026-11; the choice it makes
# is flat around the best, so other processors are served as well).
CYCLES_PER_STAGED_VECTOR = 8.0  # mostly waiting for x
CYCLES_PER_STAGED_ROW = 20.0
CYCLES_PER_READ_VECTOR = 6.0  # the same, where it is packed at once (Xeon, AVX-512, 2026-11-27)
WEIGHT_BYTES_PER_CYCLE = 16.0
CYCLES_PER_PACKED_VECTOR = 2.0
CYCLES_PER_PACKED_RUN = 4.0
CYCLES_PER_STORED_VECTOR = 3.0
CYCLES_PER_CALL = 60.0
CYCLES_PER_SUM = 10.0
CYCLES_PER_TILE = 500.0
CYCLES_PER_THREAD = 100e3  # less work than this does not pay for waking a thread
CYCLES_PER_SECOND = 2e9
MAX_TILE_CYCLES = 50e6  # Ctrl-C waits for a tile
LARGEST_BLOCK = 14 * 4  # rows times vectors, FC_GEMM_MAX_ROWS * FC_GEMM_MAX_VECTORS


class Product(NamedTuple):
    """The problem as real numbers (complex operands are pairs of them), and the registers."""

    groups: int
    m: int
    channels: int
    kh: int
    kw: int
    k_parts: int
    n_images: int
    oh: int
    ow: int
    stride: tuple[int, int]
    dilation: tuple[int, int]
    chunk: tuple[int, int, int]  # channels, rows and columns of taps that are staged together
    n_chunks: int
    rows_collide: bool  # rows of w meet in one set of a first-level cache
    packs_in_place: bool  # nothing is staged where pixels are packed
    tail: int  # pixels of an image that fc_dot computes
    gemm_rows: tuple[int, ...]  # most rows of a block, by vectors of pixels
    lanes: int
    item: int  # bytes

    @property
    def k(self):
        """Terms of a sum."""
        return self.channels * self.kh * self.kw * self.k_parts

    def window_bytes(self, layout_y, layout_x):
        """Size of the window of one image for tiles of those axes."""
        return (
            len(layout_y.starts) * layout_y.length * len(layout_x.starts) * layout_x.length
            * self.chunk[0] * self.k_parts * self.item
        )


class Choice(NamedTuple):
    """A cut: tiles of images x rows x columns of pixels and of `blocks` of `n_blocks`."""

    cycles: float
    tile_cycles: float
    nv: int  # vectors of pixels in a panel
    n_blocks: int  # of output channels
    blocks: int
    images: int
    rows: int
    columns: int
    layout_y: AxisLayout
    layout_x: AxisLayout
    way: str  # how pixels make panels: "flat", "by_row", "packed" or "strips"


def best_cut(product, workers):
    """The Choice of least cost."""
    tail, lanes = product.tail, product.lanes
    best = None
    for nv, n_blocks in block_choices(product.m, product.gemm_rows, product.rows_collide):
        nr = nv * lanes
        # A tail is that of the image: tiles hold all of it.
        for columns in (product.ow,) if tail else _column_sizes(product, nr):
            layout_x = axis_layout(
                columns, product.chunk[2], product.stride[1], product.dilation[1]
            )
            for rows in (product.oh,) if tail else even_pieces(product.oh):
                layout_y = axis_layout(
                    rows, product.chunk[1], product.stride[0], product.dilation[0]
                )
                window = product.window_bytes(layout_y, layout_x)
                if window > WINDOW_BYTES and (rows > 1 or columns > nr):
                    continue
                several = {1}
                if rows == product.oh and columns == product.ow and not tail:
                    several = {
                        n for n in (1, 2, 4, 8, 16)
                        if n == 1 or (n <= product.n_images and n * window <= WINDOW_BYTES)
                    }
                for images in several:
                    for way in _ways(product, images, columns, layout_y):
                        choice = _best_blocks(
                            product, workers, nv, n_blocks, images, rows, columns, layout_y,
                            layout_x, way,
                        )
                        if best is None or choice.cycles < best.cycles:
                            best = choice
    return best


def _ways(product, images, columns, layout_y):
    """How pixels of such tiles may make panels."""
    ways = ["packed"]
    if images == 1 and not product.tail:
        ways += ["flat", "by_row"]
    if (images == 1 and columns == product.ow and product.kh > 1
            and product.chunk[1:] == (product.kh, product.kw)
            and _n_strips(product, layout_y, product.chunk[0]) * layout_y.length * columns
            * product.item <= PANEL_BYTES):
        ways.append("strips")
    return ways


def _n_strips(product, layout_y, channels):
    """Of rows of pixels, one for each column of taps."""
    return channels * product.k_parts * len(layout_y.starts) * product.kw


def _column_sizes(product, nr):
    """Whole rows, or pieces of whole panels where a tile of whole rows is too large."""
    sizes = [product.ow]
    while sizes[-1] > nr:
        row = axis_layout(sizes[-1], product.chunk[2], product.stride[1], product.dilation[1])
        window = (
            row.length * len(row.starts) * product.chunk[1] * product.item
            * product.chunk[0] * product.k_parts
        )
        cycles = product.k * sizes[-1] / nr * LARGEST_BLOCK
        if window < WINDOW_BYTES // 2 and cycles < MAX_TILE_CYCLES:
            break
        sizes.append(max((sizes[-1] // 2 + nr - 1) // nr * nr, nr))
    return sizes


def _best_blocks(
    product, workers, nv, n_blocks, images, rows, columns, layout_y, layout_x, way
):
    """The Choice with the best split along channels."""
    lanes, item, k = product.lanes, product.item, product.k
    tail = product.tail
    pitch = layout_x.length
    if way in ("packed", "strips"):
        vectors = ceil_div(images * rows * columns - tail, lanes)
        runs = images * rows + vectors / nv
    elif way == "flat":
        vectors = ceil_div((rows - 1) * pitch + columns, lanes)
    else:
        vectors = rows * ceil_div(columns, lanes)
    planes = len(layout_y.starts) * len(layout_x.starts) * product.channels * product.k_parts
    staging = images * planes * layout_y.length * (
        CYCLES_PER_STAGED_ROW + CYCLES_PER_STAGED_VECTOR * pitch / lanes
    )
    _, chunk_kh, chunk_kw = product.chunk
    staging *= ceil_div(product.kh, chunk_kh) * ceil_div(product.kw, chunk_kw)
    if way == "packed":
        if product.packs_in_place and (columns == product.ow or product.oh == 1):
            staging = images * product.channels * rows * columns / lanes * CYCLES_PER_READ_VECTOR
        staging += k * (CYCLES_PER_PACKED_VECTOR * vectors + CYCLES_PER_PACKED_RUN * runs)
    elif way == "strips":
        staging += _n_strips(product, layout_y, product.channels) * layout_y.length * (
            CYCLES_PER_PACKED_VECTOR * columns / lanes + CYCLES_PER_PACKED_RUN)
    block = product.m / n_blocks
    panels = vectors // nv * panel_cycles(block, nv)
    if vectors % nv:
        panels += panel_cycles(block, vectors % nv)
    groups = 1
    if way == "packed":
        groups = max(1, vectors * lanes * min(k, K_CHUNK) * item // PANEL_BYTES)
    weights = product.m / n_blocks * k * item / WEIGHT_BYTES_PER_CYCLE * groups
    block_cycles = (
        weights + panels * (k + product.n_chunks)
        + CYCLES_PER_STORED_VECTOR * vectors * block
        + CYCLES_PER_CALL * product.n_chunks * vectors / nv
        + tail * block * (1.3 * k / lanes + CYCLES_PER_SUM)
    )
    n_tiles = (
        product.groups * ceil_div(product.n_images, images) * ceil_div(product.oh, rows)
        * ceil_div(product.ow, columns)
    )
    whole_tiles = product.oh / rows / ceil_div(product.oh, rows)
    acc_vectors = 0 if product.n_chunks == 1 else vectors + nv
    best = None
    for blocks in even_pieces(n_blocks):
        acc = acc_vectors * lanes * item * ceil_div(product.m * blocks, n_blocks)
        if blocks > 1 and acc > ACC_BYTES:
            continue
        tile = CYCLES_PER_TILE + staging + blocks * block_cycles
        # Equal tiles in waves, the last of each image's by its rows; a little for the last thread
        # to finish on a busy machine.
        waves = n_tiles * ceil_div(n_blocks, blocks) * whole_tiles / workers
        waves = math.ceil(waves) + 0.02 if workers > 1 else waves
        cycles = tile * waves * max(1, tile / MAX_TILE_CYCLES)
        if best is None or cycles < best.cycles:
            best = Choice(
                cycles, tile, nv, n_blocks, blocks, images, rows, columns, layout_y, layout_x, way
            )
    return best


def panel_cycles(rows, nv):
    """Cycles per term of k for a block of rows and nv vectors of pixels.

    Multiply-adds bound the large blocks; loads and latency the small ones.
    """
    loads = 1.5 * nv + 0.6 * rows + 1
    return max(rows * nv, loads, 8) + 0.05 * loads


def block_choices(m, gemm_rows, rows_collide):
    """(vectors per panel, blocks that the m output channels are cut into): the good ones."""
    choices = _block_cycles(m, gemm_rows, rows_collide)
    best = min(choices.values())
    return [choice for choice, cycles in choices.items() if cycles <= 1.1 * best]


def best_blocks(m, gemm_rows, vectors=None):
    """The best one, where nothing else than the product matters, of so many vectors of pixels.

    These are cut into panels of equal numbers of vectors, or nearly so.
    """
    choices = _block_cycles(m, gemm_rows, False)
    if vectors is not None:
        choices = {
            (nv, n_blocks): n_blocks * _panels_cycles(m / n_blocks, nv, vectors)
            for nv, n_blocks in choices
        }
    return min(choices, key=choices.get)


def _panels_cycles(rows, nv, vectors):
    n_panels = ceil_div(vectors, nv)
    fewest, n_larger = divmod(vectors, n_panels)
    return (n_larger * panel_cycles(rows, fewest + 1)
            + (n_panels - n_larger) * panel_cycles(rows, fewest))


def _block_cycles(m, gemm_rows, rows_collide):
    """{choice: cycles of a vector of pixels} of a product.

    `gemm_rows` is the most rows of a block beside 0, 1, 2, ... vectors, or 0.
    """
    choices = {}
    for nv, most in enumerate(gemm_rows):
        if most == 0:
            continue
        n_blocks = ceil_div(m, min(most, MAX_COLLIDING_ROWS) if rows_collide else most)
        choices[nv, n_blocks] = panel_cycles(m / n_blocks, nv) * n_blocks / nv
    return choices


def chunk_of(channels, kh, kw, k_parts):
    """(channels, ky, kx) of a chunk of about K_CHUNK terms: whole channels, rows or columns.

    It decides the order of a sum.
    """
    limit = K_CHUNK_OF_ONE_TAP if kh * kw == 1 else K_CHUNK

    def piece(n, weight):
        return ceil_div(n, ceil_div(n * weight, limit))

    if kh * kw * k_parts <= K_CHUNK:
        return piece(channels, kh * kw * k_parts), kh, kw
    if kw * k_parts <= K_CHUNK:
        return 1, piece(kh, kw * k_parts), kw
    return 1, 1, piece(kw, k_parts)


def even_pieces(n):
    """Sizes that cut n into 1, 2, 3, ... even pieces, down to 1; fewer of the small ones."""
    sizes, count = [n], 1
    while sizes[-1] > 1:
        count = count + 1 if count < 8 else count * 5 // 4
        size = max(ceil_div(n, count), 1)
        if size < sizes[-1]:
            sizes.append(size)
    return sizes


def ceil_div(a, b):
    """Quotient of two whole numbers, rounded up."""
    return -(-a // b)
