# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""Which problems small transforms serve, how outputs are cut into tiles, and how long they take."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastcorr._algorithms.certificate import (
    least_share,
    n_terms_of,
    repair_seconds,
    share_on_image,
)

SIZES = 16, 32, 64, 128, 256, 512
# Memory, in bytes: of all tiles at work together, and of the spectra of w.
TILES_BYTES = 32 * 2**20
SPECTRA_BYTES = 24 * 2**20
MOST_TERMS = 64  # channels and phases that are summed

# Seconds of one thread, fitted to 804 calls of 1 to 48 channels, 1 to 64 kernels of 5x5 to 25x25
# and 40 to 640 pixels a side (Intel Xeon, Emerald Rapids, AVX-512, 2026-11-28), per point and
# factor 2 of a pair's transform, per point of a product, a window, an output.
SECONDS_PER_TRANSFORM = 0.17e-6
SECONDS_PER_POINT = 0.225e-9
SECONDS_PER_WINDOW = 0.4e-9
SECONDS_PER_OUTPUT = 0.4e-9
# Of a product, by the bytes of the spectra of w of a group, which come from one cache or another.
SECONDS_PER_PRODUCT = {
    2**20: 0.55e-9, 4 * 2**20: 1.0e-9, 16 * 2**20: 1.3e-9, math.inf: 2.2e-9,
}  # fmt: skip
CACHE_POINTS = 2**15  # of a transform that stays in the second-level cache
CACHE_FACTOR = 1.5  # else
# Of double: a factor, and per output.
CERTIFICATE_FACTOR = 1.8
SECONDS_PER_CERTIFIED_OUTPUT = 1.6e-9
SECONDS_PER_CALL = 30e-6
SECONDS_PER_REPAIRED_TILE = 40e-6  # of one kernel
# By hand after 14 calls with padding, most of them 'full' (Intel Xeon, Emerald Rapids, 2026-11-28).
BOXES = 7.0  # outputs of a box around those that are repaired, for each of them


def unsupported(problem):
    """None, or why small transforms cannot serve the problem."""
    refusal = unsupported_numbers(problem)
    if refusal is None and grid_of(problem) is None:
        refusal = "the kernel is too large for small tiles"
    return refusal


def unsupported_numbers(problem):
    """None, or why transforms of our own, of small tiles or of large ones, cannot serve them."""
    if problem.dtype.char not in "efd":
        return "only real floating-point numbers are transformed by kernels of our own"
    if min(problem.H, problem.W) == 0:
        return "the image is empty"
    if n_terms_of(problem) > MOST_TERMS:
        return f"up to {MOST_TERMS} channels and phases of a stride are summed"
    return None


def seconds(problem, is_bound=False):
    """Estimate of the time on one thread."""
    grid = grid_of(problem)
    time = grid.seconds - (grid.seconds_for_weights if is_bound else 0.0)
    if problem.dtype.char == "d":
        time += BOXES * repair_seconds(problem)
        time += SECONDS_PER_REPAIRED_TILE * problem.N * problem.F * n_tiles_repaired(problem, grid)
    return time


def n_tiles_repaired(problem, grid):
    """Of an image and a kernel, the tiles with outputs that see too little of the image."""
    least_by_axis = []
    for axis, n_outputs in enumerate((problem.OH, problem.OW)):
        cut = grid[axis]
        first = np.arange(cut.count) * cut.size
        last = np.minimum(first + cut.size, n_outputs) - 1
        shares = (share_on_image(problem, axis, place) for place in (first, last))
        least_by_axis.append(np.minimum(*shares))
    return int((np.multiply.outer(*least_by_axis) < least_share(problem)).sum())


class Axis(NamedTuple):
    """`count` tiles of `size` outputs, each a transform of `n` points."""

    n: int
    size: int
    count: int


class Grid(NamedTuple):
    rows: Axis
    columns: Axis
    seconds: float
    seconds_for_weights: float


def axes_of(n_outputs, taps, stride, dilation):
    """The ways to cut an axis."""
    reach = (taps - 1) * dilation // stride
    axes = []
    for n in SIZES:
        if n > reach:
            size = min(n - reach, n_outputs)
            axes.append(Axis(n, size, -(-n_outputs // size)))
            if size == n_outputs:
                break
    return axes


@lru_cache(maxsize=512)
def grid_of(problem):
    """The fastest grid of tiles whose memory is bounded, or None.

    It is the fastest for one image, so that an image in a batch is cut as it is alone.
    """
    terms, kernels = n_terms_of(problem), problem.F // problem.groups
    axes = [
        axes_of(*axis)
        for axis in zip(
            (problem.OH, problem.OW),
            (problem.KH, problem.KW),
            problem.stride,
            problem.dilation,
            strict=True,
        )
    ]
    best, cheapest = None, math.inf
    for rows in axes[0]:
        for columns in axes[1]:
            points = rows.n * columns.n
            if bytes_of_tile(problem, rows, columns) > TILES_BYTES or (
                24 * points * terms > SPECTRA_BYTES
            ):
                continue
            transform = SECONDS_PER_TRANSFORM + SECONDS_PER_POINT * points * math.log2(points)
            if points > CACHE_POINTS:
                transform *= CACHE_FACTOR
            product = terms * points * seconds_per_product(24 * points * terms * kernels)
            certificate, of_output = 1.0, SECONDS_PER_OUTPUT
            if problem.dtype.char == "d":
                certificate = CERTIFICATE_FACTOR
                of_output += SECONDS_PER_CERTIFIED_OUTPUT
            of_pair = certificate * (terms * transform + kernels * (transform + product))
            of_pair += 2 * terms * points * SECONDS_PER_WINDOW
            of_pair += 2 * kernels * rows.size * columns.size * of_output
            pairs = -(-rows.count * columns.count // 2)
            # Where not all spectra fit, tiles are transformed for each block of kernels.
            blocks = -(-kernels * terms * 24 * points // SPECTRA_BYTES)
            of_weights = certificate * problem.F * terms * transform
            blocked = (blocks - 1) * certificate * terms * transform
            of_image = problem.groups * pairs * (of_pair + blocked)
            cost = SECONDS_PER_CALL + of_weights + of_image
            if cost < cheapest:
                cheapest = cost
                seconds = SECONDS_PER_CALL + of_weights + problem.N * of_image
                best = Grid(rows, columns, seconds, of_weights)
    return best


def seconds_per_product(bytes_of_spectra):
    return next(time for most, time in SECONDS_PER_PRODUCT.items() if bytes_of_spectra <= most)


def bytes_of_tile(problem, rows, columns):
    """Scratch memory of a thread, nearly."""
    points = rows.n * columns.n
    return points * ((16 + 8) * (n_terms_of(problem) + 1) + 2)
