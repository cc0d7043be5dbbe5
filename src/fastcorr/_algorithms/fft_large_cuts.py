# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""Which problems large transforms serve, how outputs are cut into tiles, and how long they take.

Tiles are those of `fft_grid`, most often one for all outputs. Real rows become half as many
complex numbers, so the frequencies of a tile fill planes of n1 x (n2 / 2 + 1).
"""

import math
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from scipy import fft

from fastcorr._algorithms import fft_grid
from fastcorr._algorithms.certificate import GOOD_LENGTHS, n_terms_of, repair_seconds
from fastcorr._algorithms.fft_tiles_cuts import unsupported_numbers

# Memory, in bytes, of the planes of a tile; kept for no more than BOUND_FACTOR of time.
PLANES_BYTES = 64 * 2**20
BOUND_FACTOR = 2.0
SCRATCH_BYTES = 12 * 2**20  # of a thread
COUNTS = 1, 2, 3, 4, 6, 8, 12, 16  # tiles along an axis
BLOCK = 32  # rows of a plane, in whole blocks of any instruction set

# Seconds of one thread, by hand after calls of 256 to 1024 pixels a side (EPYC 9004, AVX-512,
# 2026-11): per number and factor 2 of a transform, per number of a product and of a window, per
# output, per tile.
SECONDS_PER_NUMBER = 0.1e-9
SECONDS_PER_PRODUCT = 1.0e-9
SECONDS_PER_WINDOW = 0.6e-9
SECONDS_PER_OUTPUT = 0.6e-9
SECONDS_PER_TILE = 150e-6
LARGE = 2**20  # numbers of a plane that leaves the caches
LARGE_FACTOR = 1.5
CERTIFICATE_FACTOR = 2.4  # of double: |x| * |w| in single precision
# By hand after 33 calls with padding, half of them 'full' (Intel Xeon, Emerald Rapids, 2026-11-28).
BOXES = 6.0  # terms of a box around those that are repaired, for each of them
SECONDS_PER_REPAIR = 0.2e-3  # of a kernel


def unsupported(problem):
    """None, or why these transforms cannot serve the problem."""
    refusal = unsupported_numbers(problem)
    if refusal is None and fft_grid.work_dtype(problem) != np.float64:
        refusal = "so little of the kernel lies on the image that long double is transformed"
    return refusal


def seconds(problem, is_bound=False):
    """Estimate of the time on one thread."""
    time = grid_of(problem, True).seconds
    repair = repair_seconds(problem) if problem.dtype.char == "d" else 0.0
    if repair > 0:
        time += BOXES * repair + SECONDS_PER_REPAIR * problem.N * problem.F
    return time


class Planes(NamedTuple):
    """Rows of planes: of a term of x, a term of w, outputs; and the kernels that have room."""

    x: int
    w: int
    y: int
    kernels: int
    total: int  # rows of all


class Grid(NamedTuple):
    """The cuts of both axes, the planes of a tile, and the time of all."""

    rows: fft_grid.Axis
    columns: fft_grid.Axis
    planes: Planes
    seconds: float


def grid_of(problem, zero_fill):
    """The fastest grid of tiles of bounded memory, or of all where that costs too much time.

    It is the fastest for one image, so that an image in a batch is cut as it is alone.
    """
    found = _grid(problem, zero_fill)
    others = (problem.N - 1) * found.seconds
    return found._replace(seconds=found.seconds + others)


@lru_cache(maxsize=512)
def _grid(problem, zero_fill):
    best = {}  # by whether the memory is bounded
    for rows in _axes(problem, 0, zero_fill):
        for columns in _axes(problem, 1, zero_fill):
            planes = planes_of(problem, rows, columns, zero_fill)
            size = 16 * planes.total * (columns.n // 2 + 1)
            is_bounded = size <= PLANES_BYTES
            tiles = problem.groups * rows.count * columns.count
            time = tiles * _seconds(problem, rows, columns, planes)
            if is_bounded not in best or time < best[is_bounded].seconds:
                best[is_bounded] = Grid(rows, columns, planes, time)
    grids = sorted(best.values(), key=lambda grid: grid.seconds)
    bounded = best.get(True, grids[0])
    return bounded if bounded.seconds <= BOUND_FACTOR * grids[0].seconds else grids[0]


def _axes(problem, axis, zero_fill):
    """The ways to cut an axis into transforms of factors 2, 3 and 5."""
    taps, dilation = (problem.KH, problem.KW)[axis], problem.dilation[axis]
    reach, length = (taps - 1) * dilation // problem.stride[axis], length_for(problem)
    found = []  # taps must not meet in one place
    for cut in fft_grid.axes_of(problem, axis, zero_fill, length, COUNTS):
        if cut.before is None:
            found.append(cut._replace(n=max(cut.n, length(reach + 1))))
        elif is_smooth(cut.n) and reach < cut.n:
            found.append(cut)
    most = SCRATCH_BYTES // (128 * (n_terms_of(problem) + 3)) if axis == 0 else math.inf
    return [cut for cut in found if cut.n <= most] or [min(found, key=lambda cut: cut.n)]


def is_smooth(n):
    """Whether n has no factors other than 2, 3 and 5."""
    for factor in 2, 3, 5:
        while n % factor == 0:
            n //= factor
    return n == 1


def length_for(problem):
    """The function that gives the length of a transform for a number of positions.

    Doubles want all the digits that there are.
    """
    return next_good_length if problem.dtype.char == "d" else partial(fft.next_fast_len, real=True)


def next_good_length(n):
    """The next of `certificate.GOOD_LENGTHS`, times a power of 2."""
    return min(odd << max(-(-n // odd) - 1, 0).bit_length() for odd in GOOD_LENGTHS)


def planes_of(problem, rows, columns, zero_fill):
    """The Planes of a tile, for as many kernels as there is room for, one at least."""
    terms, kernels = n_terms_of(problem), problem.F // problem.groups
    stride, dilation = problem.stride[0], problem.dilation[0]
    taps = -(-problem.KH // (stride // math.gcd(stride, dilation)))  # of a phase
    seen = rows.n
    if zero_fill and problem.padding_mode == "constant":
        seen = min(seen, -(-problem.H // stride))
    x, w, y = (whole_blocks(n) for n in (seen, taps, rows.size))
    of_kernel = max(terms * w, y)
    room = PLANES_BYTES // (16 * (columns.n // 2 + 1)) - terms * x
    kernels = max(1, min(kernels, room // of_kernel))
    total = terms * x + kernels * of_kernel
    if kernels == 1:  # outputs take the place of what they are made of
        total = max(terms * (x + w), y)
    return Planes(x, w, y, kernels, total)


def whole_blocks(n):
    """Rows in whole blocks."""
    return -(-n // BLOCK) * BLOCK


def _seconds(problem, rows, columns, planes):
    """Of a tile of one image and group."""
    terms, kernels = n_terms_of(problem), problem.F // problem.groups
    points = rows.n * columns.n
    across = columns.n * math.log2(columns.n + 1)  # a row
    down = points * math.log2(rows.n + 1)
    chunks = -(-kernels // planes.kernels)
    time = SECONDS_PER_NUMBER * (
        chunks * terms * (planes.x * across + down)
        + kernels * terms * (planes.w * across + down)
        + kernels * (planes.y * across + down)
    )
    time += SECONDS_PER_PRODUCT * kernels * terms * points
    time += SECONDS_PER_WINDOW * terms * columns.n * (chunks * planes.x + kernels * planes.w)
    time += SECONDS_PER_OUTPUT * kernels * rows.size * columns.size
    if points > LARGE:
        time *= LARGE_FACTOR
    if problem.dtype.char == "d":
        time *= CERTIFICATE_FACTOR
    return time + chunks * SECONDS_PER_TILE
