# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""How the transforms of scipy.fft cut the outputs into tiles, and how long they take."""

from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from scipy import fft

from fastcorr._algorithms.certificate import is_tight, n_terms_of, repair_seconds
from fastcorr._algorithms.gather import Stretch

# Memory, in bytes: of all tiles at work together, and of the spectra of w.
TILES_BYTES = 32 * 2**20
SPECTRA_BYTES = 24 * 2**20
# Kernels about as large as the image leave small tiles nothing but overlap: these bounds are kept
# for no more than this factor of time.
BOUND_FACTOR = 2.0
# Tiles along an axis.
COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 128, 256, 1024)

# Seconds of one thread (EPYC 9004, 2026-11, benchmarks/regret.py --fit).
SECONDS_PER_POINT = 0.62e-9  # of a real transform, times log2 of its points
SECONDS_PER_POINT_PRODUCT = 0.5e-9
SECONDS_PER_TILE = 130e-6
SECONDS_PER_TRANSFORM = 60e-6
LARGE = 2**19  # points of a transform that leaves the caches
LARGE_FACTOR = 1.5
SLOW_LENGTH_FACTOR = 3.0  # of lengths with large prime factors
# By hand, after 128 x 128 to 256 x 256 with kernels as large, 'full' (same machine and month).
LONG_DOUBLE_FACTOR = 8.0
CERTIFICATE_FACTOR = 1.5  # where |x| * |w| is transformed, too
# Of the fit again.
SHARING_FACTOR = 2.1  # two threads gain that much less than they do from the definition


def seconds(problem, is_bound=False):
    """Estimated seconds of one thread, were it shared by threads as well as the definition is."""
    work = work_dtype(problem)
    time = SHARING_FACTOR * grid_of(problem, True).seconds
    return time + (repair_seconds(problem) if is_tight(problem, work) else 0.0)


class Axis(NamedTuple):
    """How an axis is cut: `count` tiles of `size` outputs, each a transform of `n` points.

    Tile i sees the padded positions from i * size on, in units of the stride. The one tile of a
    periodic axis is the image itself, `before` positions later, and its taps lie as much earlier;
    `before` is None for other axes.
    """

    n: int
    size: int
    count: int
    before: int | None


class Grid(NamedTuple):
    rows: Axis
    columns: Axis
    seconds: float


def stretch_of(problem, axis, margins, cut, start, n_outputs):
    """The padded positions from `start` on that a tile of so many outputs sees, by the stride."""
    stride = problem.stride[axis]
    further = ((problem.KH, problem.KW)[axis] - 1) * problem.dilation[axis] // stride
    n = min(n_outputs + further, cut.n) if cut.before is None else cut.n
    return Stretch(start, stride, n, *problem.padding[axis], (problem.H, problem.W)[axis], margins)


def axes_of(problem, axis, zero_fill, length_for, counts=COUNTS):
    """The ways to cut an axis into so many tiles; `length_for` gives the length of a transform."""
    size, n_outputs = ((problem.H, problem.OH), (problem.W, problem.OW))[axis]
    taps = (problem.KH, problem.KW)[axis]
    stride, (before, _) = problem.stride[axis], problem.padding[axis]
    reach = (taps - 1) * problem.dilation[axis] // stride
    # A transform may lack those zeros of its window that other zeros are wrapped around to.
    first, last = 0, n_outputs + reach
    if zero_fill and problem.padding_mode == "constant":
        first = max(-((stride - 1 - before) // stride), 0)
        last = min(-(-(before + size) // stride), last)
    cuts = {}
    for count in counts:
        tile = -(-n_outputs // count)
        if tile in cuts:
            continue
        count, length, needed = -(-n_outputs // tile), tile + reach, max(tile, 1)
        for start in {0, min(count - 1, 1) * tile, (count - 1) * tile}:
            lo, hi = (min(max(edge - start, 0), length) for edge in (first, last))
            needed = max(needed, hi, length - lo)
        cuts[tile] = Axis(length_for(needed), tile, count, None)
    if problem.padding_mode == "wrap" and stride == 1 and size:
        cuts[0] = Axis(size, min(size, n_outputs), 1, before)
    return list(cuts.values())


@lru_cache(maxsize=512)
def work_dtype(problem):
    """The dtype that is transformed: real or complex, double or long double.

    Doubles are transformed as long doubles where so little of the kernel lies on the image that
    most outputs of double would be too inexact, and evaluating the definition takes longer.
    """
    double = np.result_type(problem.dtype, np.float64)
    longer = np.result_type(problem.dtype, np.longdouble)
    if not is_tight(problem, double) or is_tight(problem, longer):
        return double
    single = replace(problem, N=1)
    repairs = repair_seconds(single)
    if repairs == 0:
        return double
    grids = [_grid(single, True, work) for work in (double, longer)]
    return double if grids[0].seconds + repairs <= grids[1].seconds else longer


def grid_of(problem, zero_fill):
    """The cheapest grid of tiles of bounded memory, or of all where that costs too much time.

    It is the cheapest for one image, so that an image in a batch is cut as it is alone.
    """
    return _grid(problem, zero_fill, work_dtype(problem))


@lru_cache(maxsize=512)
def _grid(problem, zero_fill, work):
    kernels, spectra = problem.F // problem.groups, n_terms_of(problem)
    is_real = problem.dtype.kind != "c"
    axes = [
        axes_of(problem, axis, zero_fill, partial(fft.next_fast_len, real=axis == 1 and is_real))
        for axis in (0, 1)
    ]
    (n1, count1, slow1), (n2, count2, slow2) = (
        np.array([(a.n, a.count, a.n != fft.next_fast_len(a.n)) for a in axis], float).T
        for axis in axes
    )
    points, tiles = np.multiply.outer(n1, n2), np.multiply.outer(count1, count2)
    transform = SECONDS_PER_POINT * points * np.log2(points + 1)
    transform *= np.where(points > LARGE, LARGE_FACTOR, 1.0)
    transform *= np.where(np.logical_or.outer(slow1, slow2), SLOW_LENGTH_FACTOR, 1.0)
    transform += SECONDS_PER_TRANSFORM
    factor = 2.0 if problem.dtype.kind == "c" else 1.0
    if work.char in "gG":
        factor *= LONG_DOUBLE_FACTOR
    of_product = points * SECONDS_PER_POINT_PRODUCT
    of_tile = (spectra + kernels) * transform + spectra * kernels * of_product
    if is_tight(problem, work):
        of_tile = CERTIFICATE_FACTOR * (of_tile + SECONDS_PER_TILE)
    of_image = problem.groups * tiles * (of_tile * factor + SECONDS_PER_TILE)
    of_kernels = problem.F * spectra * transform * factor
    cost = of_image + of_kernels
    item = work.itemsize
    is_bounded = points * item * (spectra + 2) <= TILES_BYTES
    is_bounded &= points * item * spectra <= SPECTRA_BYTES
    if cost[is_bounded].min(initial=np.inf) <= BOUND_FACTOR * cost.min():
        cost[~is_bounded] = np.inf
    i, j = np.unravel_index(np.argmin(cost), cost.shape)
    seconds = problem.N * of_image[i, j] + of_kernels[i, j]
    return Grid(axes[0][i], axes[1][j], float(seconds))
