# SPDX-License-Identifier: BSD-3-Clause
"""What Winograd's algorithm serves, how its work is cut, and the model of its cost.

The sizes of tiles and the pieces of a sum follow from the problem alone; no other choice made here
changes a bit of the result.
"""

from fastcorr._algorithms.winograd_tiles cimport MOST_PANELS
from fastcorr._kernels.kernels cimport (
    FC_FILTERWISE_MAX_VECTORS, FC_WINOGRAD_2x2_3x3, FC_WINOGRAD_N_FORMS,
)

import math
from typing import NamedTuple

from fastcorr._algorithms.gemm_cuts import (
    MAX_TILE_CYCLES, block_choices, ceil_div, even_pieces, panel_cycles,
)
from fastcorr._kernels.dispatch import compute_dtype, is_kernel_dtype

# With fewer, an output may have few terms of its own beside the tile's: at the corner of a padded
# image, 16 channels and 3 x 3, random normal numbers gave errors up to 20 u (|x| * |w|).
MIN_CHANNELS = 32
# Terms of a sum in one register, for less than 256 channels; twice that from there on, where errors
# of more sums cancel. For positive numbers, 128 channels and an output in the corner of a padded
# image, whose tile has many more terms than itself, the largest error of 624 was 28 u (|x| * |w|)
# with 128 terms, 13 u with 64, 9 u with 32.
SUMMED_CHANNELS = 32

# Of an image: with more, vectors of tiles are full anyway, and need not be transposed for y (256
# channels at 14 x 14 gained 12 %, 64 at 56 x 56 would lose 40 %: Xeon of the 5th generation,
# AVX-512, 2026-11).
MOST_TILES_FILTERWISE = 48
# In all, if vectors of them would be filled by less than this: 128 channels at 28 x 28 gain 18 %,
# 256 15 %, prepared 26 % and 43 %, 48 -> 80 at 35 x 35 4 % and 12 %; 64 at 32 x 32 would lose 6 %,
# 128 at 28 x 28 in batches of 16 5 % (EPYC, Zen 5, two threads, 2026-11).
MOST_TILES_BADLY_FILLED = 128
LEAST_FILLED = 0.9

# Transformed weights up to this are kept for all blocks of tiles, or else made where they are used.
SHARED_BYTES = 16 << 20
# And up to this for many calls.
KEPT_BYTES = 160 << 20
CACHE_BYTES = 768 * 1024

# Cost model, in cycles of one vector multiply-add (EPYC 9004, AVX-512, 2026-11).
CYCLES_PER_INPUT_VECTOR = 45.0  # down the columns, two channels: vectors of a row
CYCLES_PER_INPUT_ROW = 60.0
CYCLES_PER_INPUT_TILES = 200.0  # along the rows: vectors of tiles
CYCLES_PER_OUTPUT_TILES = 300.0
CYCLES_PER_OUTPUT_ROW = 15.0
CYCLES_PER_WEIGHTS = 400.0  # of 3 x 3: vectors of channels
CYCLES_PER_CALL = 60.0
CYCLES_PER_THREAD = 100e3
CYCLES_PER_SECOND = 2.7e9
WEIGHT_BYTES_PER_CYCLE = 8.0  # from a shared cache
BYTES_PER_CYCLE_FROM_OTHERS = 1.0  # from the cache of another core, on another chiplet
REPEATED_INPUT = 1.05  # beyond `staging`, where several tasks transform the same tiles

PANELS = 1, 2, 3, 4, 6, MOST_PANELS  # most panels of a task


cdef extern from *:
    """
    #define FC_SIZES(name, mh, mw, rh, rw) {mh, mw, rh, rw},
    static const int fc_winograd_sizes[][4] = {FC_EACH_WINOGRAD_FORM(FC_SIZES)};
    """
    const int fc_winograd_sizes[][4]


class Form(NamedTuple):
    """Minimal filtering F(m, r): tiles of m outputs, (rows, columns), under kernels of r taps."""

    index: int  # fc_winograd_form_t
    m: tuple[int, int]
    r: tuple[int, int]

    @property
    def a(self):
        return tuple(m + r - 1 for m, r in zip(self.m, self.r, strict=True))

    @property
    def n_points(self):
        return math.prod(self.a)


def _form(int index):
    cdef const int *sizes = fc_winograd_sizes[index]
    return Form(index, (sizes[0], sizes[1]), (sizes[2], sizes[3]))


# By the size of the kernel; of two forms the last, which has larger tiles. Other kernels as sums of
# parts of 3 x 3, each a channel of its own, do not pay (Xeon of the 5th generation, AVX-512,
# 2026-11, one thread, beside the definition): 4 x 4 0.4 to 0.6 times as fast, 6 x 6 0.8 to 1.4.
# Nor does F(2, 7), whose tiles at a padding leave errors of 20 u (|x| * |w|) and more on positive
# numbers: 7 x 7 0.3 to 1.1 times as fast with these tiles by definition (0.9 to 1.6 without), 1 x 7
# and 7 x 1 0.6 to 1.2 with sums of half as many channels (0.6 to 1.3).
FORMS = {form.r: form for form in map(_form, range(FC_WINOGRAD_N_FORMS))}
SMALL_FORM = _form(FC_WINOGRAD_2x2_3x3)


def unsupported(problem):
    """None, or why Winograd's algorithm cannot serve the problem."""
    if (problem.KH, problem.KW) not in FORMS:
        kernels = ", ".join(f"{kh} x {kw}" for kh, kw in FORMS)
        return f"kernels of {kernels} only, not {problem.KH} x {problem.KW}"
    if problem.stride != (1, 1) or problem.dilation != (1, 1):
        return "stride 1 and dilation 1 only"
    if problem.C // problem.groups < MIN_CHANNELS:
        return f"{MIN_CHANNELS} channels per group and more only, for accuracy"
    if problem.dtype.kind != "f" or not is_kernel_dtype(problem.dtype):
        return f"float16, float32 and float64 only, not {problem.dtype}"
    return None


def form_of(problem, is_fused=True):
    """By the sizes of the kernel and of an image alone: it decides how a sum is rounded.

    `is_fused`: multiply-adds are rounded once. Two roundings for a product and its sum are too many
    for the errors of tiles of 4 x 4.
    """
    form = FORMS[problem.KH, problem.KW]
    if form.m == (4, 4):
        # Or four tiles would cover the image.
        is_small = ceil_div(problem.OH, 4) * ceil_div(problem.OW, 4) <= 4
        return SMALL_FORM if is_small or not is_fused else form
    return form


def is_filterwise(tiles_per_image, n_tiles, lanes):
    """Whether vectors run along the output channels, or along tiles."""
    filled = n_tiles / lanes / max(ceil_div(n_tiles, lanes), 1)
    return tiles_per_image <= MOST_TILES_FILTERWISE or (
        n_tiles <= MOST_TILES_BADLY_FILLED and filled < LEAST_FILLED)


def n_chunks_of(channels):
    """Pieces of a sum: short ones, as the errors of a tile's largest outputs are those of all."""
    longest = SUMMED_CHANNELS if channels < 8 * SUMMED_CHANNELS else 2 * SUMMED_CHANNELS
    return max(ceil_div(channels, longest), 2)


def transformed_bytes(form, rows, channels, item):
    """Bytes of transformed weights."""
    return form.n_points * rows * channels * item


def seconds(problem, is_bound=False):
    """Estimated time of one thread; `is_bound`: without that of preparing w.

    As with vectors of 64 bytes, whatever the instruction set: a plan does not depend on it.
    """
    item = compute_dtype(problem.dtype).itemsize
    lanes = 64 // item
    form = form_of(problem)
    channels = problem.C // problem.groups
    tiles_down, tiles_across = map(ceil_div, (problem.OH, problem.OW), form.m)
    n_tiles = max(problem.N, 1) * tiles_down * tiles_across
    best = min(candidates(
        form, problem.groups, problem.F // problem.groups, channels, n_chunks_of(channels), n_tiles,
        tiles_across, is_filterwise(tiles_down * tiles_across, n_tiles, lanes), (0, 14, 14, 9, 6),
        lanes, item, 1,
        is_bound and transformed_bytes(form, problem.F, channels, item) <= KEPT_BYTES))
    # Tiles that mark_padding finds.
    inner_down, inner_across = (
        max(n - sum(ceil_div(max(p - k // 2, 0), m) for p in padding), 0)
        if problem.padding_mode == "constant" else n
        for n, m, k, padding in zip((tiles_down, tiles_across), form.m, (problem.KH, problem.KW),
                                    problem.padding, strict=True))
    redone = n_tiles * (1 - inner_down * inner_across / (tiles_down * tiles_across))
    cycles = redone * problem.n_weights * 1.5
    cycles *= ceil_div(math.prod(form.m), lanes)
    return (best.cycles + cycles) / CYCLES_PER_SECOND


class Candidate(NamedTuple):
    """A way to cut the work; tasks are blocks of tiles by ranges of blocks of rows of w."""

    cycles: float
    task_cycles: float
    nv: int  # vectors of tiles in a panel
    panels: int  # most of a task
    n_tile_blocks: int
    n_blocks: int  # of rows of w
    blocks: int  # of these in a range
    is_shared: bool  # w is transformed before
    # Vectors of tiles that are left of equal numbers for each thread: they take a range each.
    rest: int = 0


def candidates(form, groups, rows, channels, n_chunks, n_tiles, tiles_across, filterwise, gemm_rows,
               lanes, item, workers, is_bound):
    """Yield candidates.

    `filterwise`: with vectors along the rows of w. `is_bound`: the transformed weights are there
    before.
    """
    transform = CYCLES_PER_WEIGHTS * math.prod(form.r) / 9 * rows * ceil_div(channels, lanes)
    u_bytes = transformed_bytes(form, groups * rows, channels, item)
    reading = u_bytes / groups / WEIGHT_BYTES_PER_CYCLE / 4
    n_vectors = ceil_div(n_tiles, lanes)
    if filterwise:
        choices = [(nv, ceil_div(rows, FC_FILTERWISE_MAX_VECTORS * lanes)) for nv in (1, 2, 4)]
    else:
        choices = block_choices(rows, gemm_rows, False)
    for nv, n_blocks in choices:
        def cycles_of(vectors, tiles, largest):
            return _block_cycles(
                form, rows / n_blocks, channels, n_chunks, vectors, tiles, largest, nv,
                tiles_across, filterwise, gemm_rows, lanes, item)

        for n_tile_blocks in _tile_blocks(n_vectors, nv, workers):
            vectors, tiles = n_vectors / n_tile_blocks, n_tiles / n_tile_blocks  # on average
            largest = ceil_div(n_vectors, n_tile_blocks)
            excess = largest / vectors
            if filterwise:
                excess = ceil_div(n_tiles, n_tile_blocks) / tiles
            staging, per_block = cycles_of(vectors, tiles, largest)
            for blocks in even_pieces(n_blocks):
                ranges = groups * ceil_div(n_blocks, blocks)
                for is_shared in _sharings(u_bytes, is_bound):
                    weights = (reading if is_shared else transform) * blocks / n_blocks
                    tiles_cycles = staging + blocks * per_block
                    task = tiles_cycles * excess + weights
                    rounds = ceil_div(ranges * n_tile_blocks, workers)
                    cycles = (rounds - 1) * (tiles_cycles + weights) + task
                    if workers > 1:  # a little for the last thread to finish on a busy machine
                        cycles += 0.1 * task
                    if blocks < n_blocks:
                        cycles *= REPEATED_INPUT
                    cycles *= max(1, task / MAX_TILE_CYCLES)
                    if is_shared and not is_bound:
                        cycles += _sharing_cycles(transform * groups, u_bytes, workers)
                    yield Candidate(
                        cycles, task, nv, ceil_div(largest, nv), n_tile_blocks, n_blocks, blocks,
                        is_shared)
        whole, rest = divmod(n_vectors, workers)
        if (filterwise or groups > 1 or n_blocks < workers or whole == 0
                or not 0 < rest <= nv * MOST_PANELS):
            continue
        blocks = ceil_div(n_blocks, workers)
        tiles = whole * lanes  # of a thread
        rest_staging, rest_block = cycles_of(rest, n_tiles - workers * tiles, rest)
        for pieces in {ceil_div(whole, nv * panels) for panels in PANELS}:
            largest = ceil_div(whole, pieces)
            staging, per_block = cycles_of(whole / pieces, tiles / pieces, largest)
            for is_shared in _sharings(u_bytes, is_bound):
                weights = reading if is_shared else transform
                task = staging + n_blocks * per_block + weights
                rest_task = rest_staging + blocks * (rest_block + weights / n_blocks)
                cycles = pieces * task + REPEATED_INPUT * rest_task + 0.1 * max(task, rest_task)
                cycles *= max(1, task / MAX_TILE_CYCLES)
                if is_shared and not is_bound:
                    cycles += _sharing_cycles(transform, u_bytes, workers)
                yield Candidate(
                    cycles, task, nv, ceil_div(max(largest, rest), nv), pieces * workers, n_blocks,
                    n_blocks, is_shared, rest)


def _sharings(u_bytes, is_bound):
    """Whether w may be transformed before all tasks."""
    if is_bound:
        return [True]
    return [True, False] if u_bytes <= SHARED_BYTES else [False]


def _sharing_cycles(transform, u_bytes, workers):
    """To transform w before, and for threads to take each other's."""
    from_others = u_bytes / BYTES_PER_CYCLE_FROM_OTHERS if workers > 1 else 0
    return 1.3 * transform / workers + from_others


def _block_cycles(form, block, channels, n_chunks, vectors, tiles, largest, nv, tiles_across,
                  filterwise, gemm_rows, lanes, item):
    """Cycles of a block of tiles: for its inputs, and for each block of rows of w.

    It has so many vectors on average, the largest one `largest`.
    """
    (mh, mw), points = form.m, form.n_points
    panels = ceil_div(largest, nv)
    lines = tiles / tiles_across + panels
    staging = channels * (
        CYCLES_PER_INPUT_VECTOR / 2 * form.a[0] / 6 * (mw * tiles / lanes + lines)
        + CYCLES_PER_INPUT_ROW / 2 * lines
        + CYCLES_PER_INPUT_TILES * (points / 36) * (tiles / lanes + lines / 2))
    if filterwise:
        calls = ceil_div(tiles, gemm_rows[FC_FILTERWISE_MAX_VECTORS])
        products = calls * panel_cycles(tiles / calls, block / lanes)
    else:
        calls = panels
        larger = largest % panels
        products = vectors / largest * (
            larger * panel_cycles(block, largest // panels + 1)
            + (panels - larger) * panel_cycles(block, largest // panels))
    per_block = points * (products * channels + CYCLES_PER_CALL * n_chunks * calls)
    per_block += block * (CYCLES_PER_OUTPUT_TILES * points / 36 * vectors
                          + CYCLES_PER_OUTPUT_ROW * mh * lines)
    v_bytes = points * channels * tiles * item
    if v_bytes > CACHE_BYTES:
        per_block += v_bytes / WEIGHT_BYTES_PER_CYCLE / 4
    return staging, per_block


def _tile_blocks(n_vectors, nv, workers):
    """The blocks of tiles to choose from: as few as panels allow, or as many for each thread."""
    fewest = {ceil_div(n_vectors, nv * panels) for panels in PANELS}
    return fewest | {min(ceil_div(n, workers) * workers, n_vectors) for n in fewest}
