# SPDX-License-Identifier: BSD-3-Clause
"""What Winograd's weight gradient serves, how its tiles are cut, and the model of its cost.

Of plain numbers, for grad_weight_winograd.pyx. Blocks, pieces and chunks of tiles, and the sample,
follow from the problem alone; the parts that `best_parts` cuts dw into do not change a bit.
"""

from functools import lru_cache
from math import ceil, sqrt
from typing import NamedTuple

from fastcorr._algorithms.gemm_cuts import even_pieces

# Tiles of a patch side by side.
PATCH_COLUMNS = 16
# Tiles of a block, transformed before they are multiplied.
BLOCK_TILES = 32
# Blocks whose sums are added one by one before they are transformed.
PIECE_BLOCKS = 16
# Sums of all chunks together, and of a part of dw: these stay in the second cache.
CHUNKS_BYTES = 8 * 1024 * 1024
PART_BYTES = 768 * 1024
LIMITS_BYTES = 4 * 1024 * 1024
MAX_CHUNKS = 32
CHUNK_TILES = 64
# A sample of n tiles of T bounds the sums by n / T of them, or so, and errors grow with T^1/2.
SAMPLE = 1.5
LEAST_SAMPLE = 10
LEAST_CHANNELS = 32
# Random normal numbers in 4 tiles, padded by 2, gave errors up to 19 u (|x| * |dy|), in 12 up to 8.
LEAST_TILES = 32

# Cost model, in cycles of one vector multiply-add (Xeon, 2 cores, AVX-512, 2026-11-27).
CYCLES_PER_TILE_OF_X = 500.0  # staged and transformed, a vector of channels
CYCLES_PER_TILE_OF_DY = 400.0
CYCLES_PER_BLOCK = 1.6  # and multiplication: sums that come and go
CYCLES_PER_SUM = 900.0  # to transform and store a vector of kernels
CYCLES_PER_THREAD = 100e3
CYCLES_PER_SECOND = 3e9
MAX_CHUNK_TILES = 12_000  # 150e6 cycles: Ctrl-C waits for an item


def unsupported(problem, dy_dtype):
    """None, or why Winograd's algorithm cannot serve the weight gradient of the problem."""
    if (problem.KH, problem.KW) != (3, 3):
        return f"kernels of 3 x 3 only, not {problem.KH} x {problem.KW}"
    if problem.stride != (1, 1) or problem.dilation != (1, 1):
        return "stride 1 and dilation 1 only"
    if problem.dtype.char not in "fd" or {problem.x_dtype, dy_dtype} != {problem.dtype}:
        return "float32 and float64 only"
    if problem.method == "direct":
        return "the definition is asked for"
    if min(problem.C, problem.F) // problem.groups < LEAST_CHANNELS:
        return f"{LEAST_CHANNELS} channels per group and more only"
    if problem.F * problem.C // problem.groups * problem.dtype.itemsize > LIMITS_BYTES:
        return "too many pairs of channels for the guard"
    cut = tiling(problem)
    if cut.n_tiles < LEAST_TILES:
        return f"{LEAST_TILES} tiles and more only, for accuracy"
    if cut.n_tiles > MAX_CHUNK_TILES * cut.n_chunks:
        return "too many tiles for one thread at a time"
    return None


class Tiling(NamedTuple):
    """Tiles of 4 x 4 in patches, blocks of patches, pieces of blocks, chunks."""

    tiles_down: int
    tiles_across: int
    n_tiles: int
    patches_down: int  # of an image
    patches_across: int
    n_patches: int
    block_patches: int
    block_tiles: int
    n_blocks: int
    piece_blocks: int
    n_chunks: int
    n_sampled: int


def tiling(problem):
    """Cut the tiles of all images."""
    tiles_down, tiles_across = max(ceil(problem.OH / 4), 1), max(ceil(problem.OW / 4), 1)
    patches_across = ceil(tiles_across / PATCH_COLUMNS)
    columns = ceil(tiles_across / patches_across)
    patches_down = ceil(tiles_down / max(BLOCK_TILES // columns, 1))
    patch_tiles = ceil(tiles_down / patches_down) * columns
    n_tiles = problem.N * tiles_down * tiles_across
    n_patches = problem.N * patches_down * patches_across
    block_patches = max(BLOCK_TILES // patch_tiles, 1)
    n_blocks = ceil(n_patches / block_patches)
    channels = ceil(problem.C // problem.groups / 32) * 32
    chunk_bytes = 10 * problem.F * channels * problem.dtype.itemsize
    most = min(MAX_CHUNKS, CHUNKS_BYTES // chunk_bytes, n_tiles // CHUNK_TILES, n_blocks)
    return Tiling(
        tiles_down, tiles_across, n_tiles, patches_down, patches_across, n_patches, block_patches,
        block_patches * patch_tiles, n_blocks, PIECE_BLOCKS, 1 << max(most, 1).bit_length() - 1,
        min(max(ceil(SAMPLE * sqrt(n_tiles)), LEAST_SAMPLE), n_tiles),
    )  # fmt: skip


def cycles(problem, lanes):
    """Estimated cycles of one thread."""
    cut = tiling(problem)
    n_row_blocks = ceil(problem.F // problem.groups / 14)
    n_columns = ceil(problem.C // problem.groups / (2 * lanes))
    parts = best_parts(problem, n_row_blocks, n_columns, 2 * lanes, lanes, 64 // lanes, 1)
    n_items = problem.groups * parts.rows * parts.columns * cut.n_chunks
    return n_items * parts.cycles * (1 + cut.n_sampled / cut.n_tiles)


class Parts(NamedTuple):
    """Into how many parts rows and columns of dw are cut, and the cycles of an item."""

    cycles: float
    rows: int
    columns: int


@lru_cache(maxsize=64)
def best_parts(problem, n_row_blocks, n_columns, nr, lanes, item, workers):
    """Cut dw for that many threads; no cut changes the result."""
    cut = tiling(problem)
    rows, channels = problem.F // problem.groups, problem.C // problem.groups
    tiles = max(cut.n_tiles, 1) / cut.n_chunks
    n_pieces = ceil(cut.n_blocks / cut.n_chunks / cut.piece_blocks)
    best = None
    for blocks in even_pieces(n_row_blocks):
        for columns in even_pieces(n_columns):
            part_rows = min(blocks * ceil(rows / n_row_blocks), rows)
            if part_rows * columns * nr * 37 * item > PART_BYTES and blocks * columns > 1:
                continue
            vectors = ceil(min(columns * nr, channels) / lanes)
            found = (
                tiles * (CYCLES_PER_TILE_OF_X * vectors
                         + CYCLES_PER_TILE_OF_DY * ceil(part_rows / lanes)
                         + CYCLES_PER_BLOCK * 37 * part_rows * vectors)
                + n_pieces * CYCLES_PER_SUM * part_rows * vectors
            )  # fmt: skip
            parts = ceil(n_row_blocks / blocks), ceil(n_columns / columns)
            n_items = problem.groups * cut.n_chunks * parts[0] * parts[1]
            waves = ceil(n_items / workers) + (0.02 if workers > 1 else 0)
            if best is None or found * waves < best[0]:
                best = found * waves, Parts(found, *parts)
    return best[1]
