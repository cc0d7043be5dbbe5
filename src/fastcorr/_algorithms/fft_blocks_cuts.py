# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""Which problems transforms of blocks serve, how large the blocks are, and how long they take."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastcorr._algorithms.certificate import (
    PEAK_ERROR,
    SECONDS_PER_REPAIRED_TERM,
    UNITS_OF_DOUBLE,
    has_many_terms,
    share_on_image,
)
from fastcorr._algorithms.fft_tiles_cuts import unsupported_numbers

SIZES = 32, 64, 128
# Memory, in bytes, of all spectra; kept by serving a few rows of tiles at a time.
SPECTRA_BYTES = 24 * 2**20
LARGEST_BYTES = 64 * 2**20

# Seconds of one thread, with those of |x| * |w|: per point and factor 2 of a transform, per point
# of a product, per call (Intel Xeon with AVX-512, 2 cores, 2026-11-27, by hand).
SECONDS_PER_POINT = 0.25e-9
SECONDS_PER_PRODUCT = 0.65e-9
SECONDS_PER_CALL = 300e-6
SECONDS_PER_REPAIR = 0.5e-3
BOXES = 2.0  # terms of a box around those that are repaired, for each of them


def unsupported(problem):
    """None, or why transforms of blocks cannot serve the problem."""
    refusal = unsupported_numbers(problem)
    if refusal is not None:
        return refusal
    if problem.dtype.char != "d":
        return "only double needs errors that are small where outputs are"
    if max(problem.C, problem.F) > problem.groups:
        return "one channel and one kernel of a group are served"
    if problem.stride != (1, 1) or problem.dilation != (1, 1):
        return "there is a stride or a dilation"
    if has_many_terms(problem):
        return "there are more terms than the contract speaks of"
    if grid_of(problem).bytes > LARGEST_BYTES:
        return "the spectra take too much memory"
    return None


def seconds(problem, is_bound=False):
    """Estimate of the time on one thread."""
    return problem.N * problem.groups * grid_of(problem).seconds + SECONDS_PER_CALL


class Axis(NamedTuple):
    """`tiles` of outputs and `blocks` of taps; windows first .. end of x hold not only zeros."""

    tiles: int
    blocks: int
    first: int
    end: int

    @property
    def products(self):
        """Pairs of a tile and a block whose window holds something."""
        tiles, blocks = np.ogrid[: self.tiles, : self.blocks]
        windows = tiles + blocks
        return int(((windows >= self.first) & (windows < self.end)).sum())


class Grid(NamedTuple):
    """Blocks of `size` x `size`; `rows_at_once` rows of tiles are served together."""

    size: int
    rows: Axis
    columns: Axis
    rows_at_once: int
    bytes: int
    seconds: float


@lru_cache(maxsize=512)
def grid_of(problem):
    """The fastest Grid for one image and group, with zeros around."""
    grids = [grid_of_size(problem, True, size) for size in SIZES]
    return min(grids, key=lambda grid: (grid.bytes > LARGEST_BYTES, grid.seconds))


@lru_cache(maxsize=512)
def grid_of_size(problem, zero_fill, size):
    """The Grid of blocks of that size."""
    rows, columns = (
        _axis(size, n_outputs, taps, n, before, zero_fill and problem.padding_mode == "constant")
        for n_outputs, taps, n, (before, _) in zip(
            (problem.OH, problem.OW), (problem.KH, problem.KW), (problem.H, problem.W),
            problem.padding, strict=True,
        )
    )  # fmt: skip
    points = 4 * size * size
    of_window = 12 * (size + 16) * 2 * size * 2  # half the frequencies, in both precisions
    windows_across = columns.end - columns.first
    of_row = of_window * (windows_across + columns.tiles)
    fixed = of_window * (rows.blocks * columns.blocks + (rows.blocks - 1) * windows_across)
    rows_at_once = max(1, min(rows.tiles, (SPECTRA_BYTES - fixed) // of_row))
    transforms = (
        (rows.end - rows.first) * windows_across
        + 0.75 * rows.blocks * columns.blocks
        + 0.75 * rows.tiles * columns.tiles
    )
    time = SECONDS_PER_POINT * points * math.log2(points) * transforms
    time += SECONDS_PER_PRODUCT * points / 2 * rows.products * columns.products
    time += _repair_seconds(problem, size)
    return Grid(size, rows, columns, rows_at_once, fixed + rows_at_once * of_row, time)


def _axis(size, n_outputs, taps, n, before, has_zeros):
    tiles, blocks = -(-n_outputs // size), -(-taps // size)
    first, end = 0, tiles + blocks - 1
    if has_zeros:
        first = max((before - 2 * size) // size + 1, 0)
        end = max(min(-(-(before + n) // size), end), first)
    return Axis(tiles, blocks, first, end)


def _repair_seconds(problem, size):
    """Of the outputs that see so much less of the kernel than others of their tile that they fail.

    For random numbers; every fourth one is looked at.
    """
    if problem.padding_mode != "constant":
        return 0.0
    step, seen, most = 4, [], []
    for axis, n_outputs in enumerate((problem.OH, problem.OW)):
        taps = (problem.KH, problem.KW)[axis]
        taps = taps * share_on_image(problem, axis, np.arange(0, n_outputs, step))
        per_tile = size // step
        tiles = np.pad(taps, (0, -len(taps) % per_tile)).reshape(-1, per_tile)
        seen.append(taps)
        most.append(np.repeat(tiles.max(axis=1), per_tile)[: len(taps)])
    least = PEAK_ERROR * math.sqrt(math.log2(4 * size * size) + 4) / UNITS_OF_DOUBLE
    terms, most = np.multiply.outer(*seen), np.multiply.outer(*most)
    repaired = np.where(terms < least * most, terms, 0).sum() * step * step
    if repaired == 0:
        return 0.0
    return float(BOXES * repaired * SECONDS_PER_REPAIRED_TERM) + SECONDS_PER_REPAIR
