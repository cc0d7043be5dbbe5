# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""Large kernels: overlapping tiles, transformed, multiplied and transformed back (scipy.fft).

    spectra of w                                               once for a call
    for tile in (images x groups x blocks of kernels x rows x columns)     _each
      for channel and phase of the stride
        gather the tile's window of x, a few rows at a time    padding and dtypes end here
        transform the rows that hold something, then the columns
      for kernel
        sum the products of the spectra over channels and phases
        transform back; store the rows that are outputs
        certify; repair by stencil, gemm or generic            method='auto' alone

A stride s makes s x s phases of x and w, which are as many channels, so nothing is computed that is
not stored. Around a zero padding, and where the padding is the image itself ('wrap'), transforms
are no longer than the image with its shorter overlap.

Accuracy. With n points per transform and u of the type computed in (double for float16, float32 and
float64, long double for itself), a tile's error obeys, with norms over the tile [1]_::

    max |y - exact| <= NORM_ERROR u log2(n) ||x||_2 ||w||_2

relative to the tile's largest numbers, not to each output's terms. A forced 'fft' promises no more.
'auto' promises 64 u (|x| * |w|) for each output, so each has to be certified. |y| itself is a lower
bound of |x| * |w|; where that is not enough, |x| * |w| is computed in the same way for half the
cost. Outputs that are too small for the error are computed again from the definition, as are all
that see an infinity. For float32 the certificate is the bound above; for float64 that would refuse
everything, and it is ::

    max |y - exact| <= u sqrt(log2(n)) (TYPICAL_ERROR rms(x) ||w||_1 + PEAK_ERROR max(|x| * |w|))

Sums of more than MOST_TERMS terms are beyond what design and docs promise for each output. There,
an output of which the share s of the kernel lies on the image, and the rest on zeros, is held to
64 u (|x| * |w|) / s: to what it would be held if all of the kernel met such numbers.

The form of the first is that of a theorem, the second supposes rounding errors that are independent
of each other; the constants of both are measured, not proven. In tiles of 64x64 to 600x640 points
and kernels of 3x3 to 41x41, of ten kinds each (normal, positive, constant, half empty, one point, a
star 10^12 above the rest, 18 decades, ramps, waves), the largest were 0.30, 2.4 and 0.9.

.. [1] N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., chapter 24, 2002.
"""

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy import fft

from fastcorr._algorithms import parallel
from fastcorr._algorithms.arrays import four, nchw
from fastcorr._algorithms.definition import definition_of
from fastcorr._kernels.dispatch import compute_dtype

NORM_ERROR = 1.0
TYPICAL_ERROR, PEAK_ERROR = 3.0, 1.5
# Of the 16 u and 64 u that 'auto' promises, what the transforms may use.
UNITS_OF_SINGLE = 12
UNITS_OF_DOUBLE = 48
MOST_TERMS = 10**5

# Memory, in bytes: of all tiles at work together, and of the spectra of w.
TILES_BYTES = 32 * 2**20
SPECTRA_BYTES = 24 * 2**20
# Kernels about as large as the image leave small tiles nothing but overlap: these bounds are kept
# for no more than this factor of time.
BOUND_FACTOR = 2.0
# Elements of one step of a transform; between two of them Ctrl-C is seen. Threads wait for each
# other (the GIL) between steps, so smaller ones do not pay.
STEP = 2**17
# Fewer points than this in a tile are one thread's.
SHARED_POINTS = 2**19
# Numbers whose squares, and sums of these, neither overflow nor vanish.
LARGEST, SMALLEST = 1e140, 1e-140
# Tiles along an axis.
COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 128, 256, 1024)
# Outputs that are repaired one by one; more of them, by blocks.
FEW = 32
BLOCK = (16, 64)

# Seconds of one thread (EPYC 9004, 2026-11, benchmarks/regret.py --fit).
SECONDS_PER_POINT = 0.62e-9  # of a real transform, times log2 of its points
SECONDS_PER_POINT_PRODUCT = 0.5e-9
SECONDS_PER_TILE = 130e-6
SECONDS_PER_TRANSFORM = 60e-6
LARGE = 2**19  # points of a transform that leaves the caches
LARGE_FACTOR = 1.5
SLOW_LENGTH_FACTOR = 3.0  # of lengths with large prime factors
LONG_DOUBLE_FACTOR = 15.0
CERTIFICATE_FACTOR = 1.9  # of double under 'auto'
SHARING_FACTOR = 2.1  # two threads gain that much less than they do from the definition
SECONDS_PER_REPAIRED_TERM = 1 / 12e9
LEAST_SHARE = 0.35  # of a kernel on the image, for random numbers to be certified in double


def unsupported(problem):
    """None, or why transforms cannot serve the problem."""
    if problem.dtype.kind in "iu":
        return "integers are summed exactly, and transforms round"
    return None


def seconds(problem, is_bound=False):
    """Estimated seconds of one thread, were it shared by threads as well as the definition is."""
    time = SHARING_FACTOR * _grid(problem, True).seconds
    if problem.method == "auto" and problem.dtype.char in "dD":
        terms = problem.N * problem.F * problem.OH * problem.OW
        terms *= problem.C // problem.groups * problem.KH * problem.KW
        time += _uncertain_share(problem) * terms * SECONDS_PER_REPAIRED_TERM
    return time


def _uncertain_share(problem):
    """The share of outputs that see so much of a zero padding that they fail in double."""
    if problem.padding_mode != "constant" or _has_many_terms(problem):
        return 0.0
    places = (np.linspace(0, n - 1, 65) for n in (problem.OH, problem.OW))
    shares = (_share_on_image(problem, axis, place) for axis, place in enumerate(places))
    return float(np.mean(np.multiply.outer(*shares) < LEAST_SHARE))


def _has_many_terms(problem):
    return problem.C // problem.groups * problem.KH * problem.KW > MOST_TERMS


def _share_on_image(problem, axis, place):
    """The part of the kernel's reach along an axis that lies on the image, for outputs `place`."""
    size, taps = (problem.H, problem.W)[axis], (problem.KH, problem.KW)[axis]
    first = place * problem.stride[axis] - problem.padding[axis][0]
    reach = (taps - 1) * problem.dilation[axis] + 1
    inside = np.minimum(first + reach, size) - np.maximum(first, 0)
    return np.maximum(inside, 0) / reach


class _Axis(NamedTuple):
    """How an axis is cut: `count` tiles of `size` outputs, each a transform of `n` points.

    Tile i sees the padded positions from i * size on, in units of the stride. The one tile of a
    periodic axis is the image itself, `before` positions later, and its taps lie as much earlier;
    `before` is None for other axes.
    """

    n: int
    size: int
    count: int
    before: int | None


class _Grid(NamedTuple):
    rows: _Axis
    columns: _Axis
    seconds: float


class _Cut(NamedTuple):
    workers: int
    scratch_bytes: int
    kernel_name: str


def _phases(taps, stride, dilation):
    """The phases of a stride that hold taps, as (phase, indices of its taps, their places)."""
    place = np.arange(taps) * dilation
    found = [np.flatnonzero(place % stride == phase) for phase in np.unique(place % stride)]
    return [(int(place[tap[0]] % stride), tap, place[tap] // stride) for tap in found]


def _axes(problem, axis, zero_fill):
    """The ways to cut an axis."""
    size, n_outputs = ((problem.H, problem.OH), (problem.W, problem.OW))[axis]
    taps = (problem.KH, problem.KW)[axis]
    stride, (before, _) = problem.stride[axis], problem.padding[axis]
    reach = (taps - 1) * problem.dilation[axis] // stride
    # A transform may lack those zeros of its window that other zeros are wrapped around to.
    first, last = 0, n_outputs + reach
    if zero_fill and problem.padding_mode == "constant":
        first = max(-((stride - 1 - before) // stride), 0)
        last = min(-(-(before + size) // stride), last)
    real = axis == 1 and problem.dtype.kind != "c"
    cuts = {}
    for count in COUNTS:
        tile = -(-n_outputs // count)
        if tile in cuts:
            continue
        count, length, needed = -(-n_outputs // tile), tile + reach, 1
        for start in {0, tile, (count - 1) * tile}:
            lo, hi = (min(max(edge - start, 0), length) for edge in (first, last))
            needed = max(needed, hi, length - lo)
        cuts[tile] = _Axis(fft.next_fast_len(needed, real), tile, count, None)
    if problem.padding_mode == "wrap" and stride == 1 and size:
        cuts[0] = _Axis(size, min(size, n_outputs), 1, before)
    return list(cuts.values())


@lru_cache(maxsize=512)
def _grid(problem, zero_fill):
    """The cheapest grid of tiles of bounded memory, or of all where that costs too much time.

    It is the cheapest for one image, so that an image in a batch is cut as it is alone.
    """
    kernels, spectra = problem.F // problem.groups, problem.C // problem.groups
    for taps, stride, dilation in zip(
        (problem.KH, problem.KW), problem.stride, problem.dilation, strict=True
    ):
        spectra *= min(taps, stride // math.gcd(stride, dilation))
    axes = [_axes(problem, axis, zero_fill) for axis in (0, 1)]
    (n1, count1, slow1), (n2, count2, slow2) = (
        np.array([(a.n, a.count, a.n != fft.next_fast_len(a.n)) for a in axis], float).T
        for axis in axes
    )
    points, tiles = np.multiply.outer(n1, n2), np.multiply.outer(count1, count2)
    work = SECONDS_PER_POINT * points * np.log2(points + 1)
    work *= np.where(points > LARGE, LARGE_FACTOR, 1.0)
    work *= np.where(np.logical_or.outer(slow1, slow2), SLOW_LENGTH_FACTOR, 1.0)
    work += SECONDS_PER_TRANSFORM
    factor = 2.0 if problem.dtype.kind == "c" else 1.0
    if problem.dtype.char in "gG":
        factor *= LONG_DOUBLE_FACTOR
    of_tile = (spectra + kernels) * work + spectra * kernels * points * SECONDS_PER_POINT_PRODUCT
    if problem.method == "auto" and problem.dtype.char in "dDgG":
        of_tile = CERTIFICATE_FACTOR * (of_tile + SECONDS_PER_TILE)
    of_image = problem.groups * tiles * (of_tile * factor + SECONDS_PER_TILE)
    of_kernels = problem.F * spectra * work * factor
    cost = of_image + of_kernels
    item = _work_dtype(problem).itemsize
    is_bounded = points * item * (spectra + 2) <= TILES_BYTES
    is_bounded &= points * item * spectra <= SPECTRA_BYTES
    if cost[is_bounded].min(initial=np.inf) <= BOUND_FACTOR * cost.min():
        cost[~is_bounded] = np.inf
    i, j = np.unravel_index(np.argmin(cost), cost.shape)
    seconds = problem.N * of_image[i, j] + of_kernels[i, j]
    return _Grid(axes[0][i], axes[1][j], float(seconds))


def _work_dtype(problem):
    """The dtype that is transformed: real or complex, double or long double."""
    return np.result_type(problem.dtype, np.float64)


class _Call:
    """The arrays of a call as (N, C, H, W), and how they are cut."""

    def __init__(self, problem, x, w, bias, y, fill):
        self.x = nchw(x, problem.channels_last)
        self.y = nchw(y, problem.channels_last)
        self.w = four(w)
        self.bias, self.fill_bytes = bias, fill
        parts = np.frombuffer(fill, compute_dtype(problem.dtype))
        self.fill = parts[0] + 1j * parts[1] if problem.x_dtype.kind == "c" else parts[0]
        self.grid = _grid(problem, bool(self.fill == 0))
        self.workers = 1  # inside of a tile
        self.spare = []  # buffers of spectra, for use again


class _Block:
    """Kernels of one group that are served together, and what is known of them."""

    def __init__(self, call, channel0, f, work):
        self.channel0, self.f = channel0, f
        self.spectra, self.magnitudes = {}, {}
        size = np.abs(call.w[f.start : f.stop]).astype(work.char.lower())
        self.sums = size.sum(axis=(2, 3))
        self.norms = np.sqrt((size * size).sum(axis=(2, 3)))


class _Tile(NamedTuple):
    x: np.ndarray  # (C / G, H, W)
    y: np.ndarray  # (F, OH, OW)
    row: int
    column: int
    rows: int
    columns: int

    def outputs(self, f):
        return self.y[f, self.row : self.row + self.rows, self.column : self.column + self.columns]


class Fft:
    """The algorithm for one problem: see tiled.Tiled for the meaning of the arguments."""

    def __init__(self, problem, rows, columns):
        self.problem = problem
        self.margins = rows, columns
        self.is_complex = problem.dtype.kind == "c"
        self.work = _work_dtype(problem)
        self.is_certified = problem.method == "auto"
        self.is_double = problem.dtype.char in "dDgG"
        phases = (
            _phases(*axis)
            for axis in zip((problem.KH, problem.KW), problem.stride, problem.dilation, strict=True)
        )
        self.phases = list(product(*phases))
        self.channels = problem.C // problem.groups
        self.kernels = problem.F // problem.groups
        self.n_spectra = self.channels * len(self.phases)
        grid = _grid(problem, True)
        self.reason = (
            f"large kernels: transforms of {grid.rows.n}x{grid.columns.n} points, "
            f"{grid.rows.count * grid.columns.count} per image"
        )

    def prepare(self, w, budget):
        """This runner, or why it cannot serve these kernels; `_plan` has the contract."""
        if self.is_certified and not _is_moderate(w):
            return "w holds NaN, infinities or numbers whose squares leave the range of floats"
        return self

    def cut(self, workers):
        """The memory of that many threads."""
        grid = _grid(self.problem, True)
        memory = self._memory(grid)
        total = memory.tile * self._tiles_at_once(grid, workers) + memory.spectra
        return _Cut(workers, total // workers, f"scipy.fft {grid.rows.n}x{grid.columns.n}")

    def _memory(self, grid):
        one = grid.rows.n * grid.columns.n * self.work.itemsize
        of_kernel = one * self.n_spectra
        is_kept = of_kernel <= SPECTRA_BYTES
        kernels = max(1, min(self.kernels, SPECTRA_BYTES // of_kernel))
        tile = one * ((self.n_spectra if is_kept else 1) + 2) + 4 * STEP * self.work.itemsize
        if self.is_certified and self.is_double:
            tile += tile // 2
        return _Memory(is_kept, kernels, tile, of_kernel * kernels if is_kept else one)

    def _tiles_at_once(self, grid, workers):
        """Tiles computed at the same time: threads share one where there are few or large ones."""
        n_tiles = self.problem.N * grid.rows.count * grid.columns.count
        enough = n_tiles >= workers and workers * self._memory(grid).tile <= 2 * TILES_BYTES
        return workers if enough else 1

    def run(self, x, w, bias, y, fill, workers):
        """Compute y; see gemm.Gemm.run."""
        problem = self.problem
        if not _is_moderate(w):
            definition_of(problem, *self.margins).run(x, w, bias, y, fill, workers)
            return
        workers = parallel.enter(workers)
        try:
            self._run(x, w, bias, y, fill, workers)
        finally:
            parallel.leave(workers)

    def _run(self, x, w, bias, y, fill, workers):
        problem = self.problem
        call = _Call(problem, x, w, bias, y, fill)
        grid = call.grid
        is_kept, kernels, _, _ = self._memory(grid)
        tiles_at_once = self._tiles_at_once(grid, workers)
        if tiles_at_once == 1 and grid.rows.n * grid.columns.n >= SHARED_POINTS:
            call.workers = workers
        places = list(product(range(problem.N), range(grid.rows.count), range(grid.columns.count)))
        for f0 in range(0, problem.F, self.kernels):
            channel0 = f0 // self.kernels * self.channels
            for first in range(f0, f0 + self.kernels, kernels):
                f = range(first, min(first + kernels, f0 + self.kernels))
                block = _Block(call, channel0, f, self.work)
                if is_kept:
                    self._keep_spectra(call, block, workers)
                self._tiles(call, block, places, tiles_at_once)
        for axis, cut in ((2, grid.rows), (3, grid.columns)):
            n = call.y.shape[axis]
            if cut.size * cut.count < n:  # more outputs than one period
                rest = (slice(None),) * axis + (slice(cut.size, None),)
                call.y[rest] = np.take(call.y, np.arange(cut.size, n) % cut.size, axis)

    def _tiles(self, call, block, places, tiles_at_once):
        def compute(place):
            image, i, j = place
            rows, columns = call.grid.rows, call.grid.columns
            row, column = i * rows.size, j * columns.size
            tile = _Tile(
                call.x[image, block.channel0 : block.channel0 + self.channels], call.y[image],
                row, column,
                min(rows.size, self.problem.OH - row), min(columns.size, self.problem.OW - column),
            )  # fmt: skip
            if not self._compute(call, block, tile, is_clean=False):
                self._compute(call, block, tile, is_clean=True)

        _each(compute, places, tiles_at_once)

    # Spectra

    def _keep_spectra(self, call, block, workers):
        def keep(key):
            block.spectra[key] = self._kernel_spectrum(call, *key)

        keys = list(product(block.f, range(self.n_spectra)))
        _each(keep, keys, workers if call.workers == 1 else 1)

    def _kernel_spectrum(self, call, f, i, magnitude=None):
        """The conjugate spectrum of a kernel's channel and phase; `magnitude`: dtype for |w|."""
        channel, phase = divmod(i, len(self.phases))
        (_, rows, row_places), (_, columns, column_places) = self.phases[phase]
        rows_axis, columns_axis = call.grid.rows, call.grid.columns
        work = self.work if magnitude is None else magnitude
        row_places = (row_places - (rows_axis.before or 0)) % rows_axis.n
        column_places = (column_places - (columns_axis.before or 0)) % columns_axis.n
        spectrum = _new_spectrum(call.grid, work, np.zeros)
        step = max(STEP // columns_axis.n, 1)
        is_folded = len(rows) > rows_axis.n, len(columns) > columns_axis.n
        scale = 1 if magnitude is None else 1 / np.abs(call.w[f]).max()

        def transform(first):
            here = slice(first, first + step)
            taps = call.w[f, channel][rows[here]][:, columns].astype(self.work)
            taps = np.conj(taps) if magnitude is None else np.abs(taps) * scale
            part = np.zeros((len(taps), columns_axis.n), work)
            if is_folded[1]:
                np.add.at(part, (slice(None), column_places), taps)
            else:
                part[:, column_places] = taps
            if is_folded[0]:
                np.add.at(spectrum, row_places[here], _transform_rows(part))
            else:
                spectrum[row_places[here]] = _transform_rows(part)

        _each(transform, range(0, len(rows), step), 1 if is_folded[0] else call.workers)
        _transform_columns(fft.fft, spectrum, call.workers)
        return np.conjugate(spectrum, out=spectrum)

    def _image_spectrum(self, call, tile, i, is_clean, magnitude=None, scale=1):
        """The spectrum of a tile's channel and phase, its sum of squares and largest number.

        The sum is NaN or infinite where the numbers are too large, or too small, to tell.
        """
        channel, phase = divmod(i, len(self.phases))
        (row_phase, _, _), (column_phase, _, _) = self.phases[phase]
        grid = call.grid
        rows = self._stretch(0, tile.row, row_phase, tile.rows, grid.rows)
        columns = self._stretch(1, tile.column, column_phase, tile.columns, grid.columns)
        work = self.work if magnitude is None else magnitude
        spectrum = _new_spectrum(grid, work) if magnitude else self._spectrum_buffer(call)
        lo, hi = rows.content(call.fill)
        spectrum[:lo] = spectrum[hi:] = 0
        step = max(STEP // grid.columns.n, 1)
        starts = range(lo, hi, step)
        sums, peaks = [0.0] * len(starts), [0.0] * len(starts)

        def transform(k):
            first = starts[k]
            here = rows.part(first, min(first + step, hi))
            part = np.zeros((here.n, grid.columns.n), self.work)
            _gather(tile.x[channel], here, columns, call.fill, part)
            if is_clean:
                part[_is_extreme(part)] = 0
            if magnitude is not None:
                part = (np.abs(part) * scale).astype(magnitude)
            else:
                sums[k] = _sum_of_squares(part)
                if self.is_certified and self.is_double:
                    peaks[k] = np.abs(part).max()
            spectrum[first : first + here.n] = _transform_rows(part)

        _each(transform, range(len(starts)), call.workers)
        _transform_columns(fft.fft, spectrum, call.workers)
        return spectrum, sum(sums), max(peaks, default=0)

    def _stretch(self, axis, first, phase, n_outputs, cut):
        """The padded positions that a tile sees in a phase of the stride."""
        problem = self.problem
        stride = problem.stride[axis]
        reach = ((problem.KH, problem.KW)[axis] - 1) * problem.dilation[axis] // stride
        if cut.before is not None:
            start, n = cut.before, cut.n
        else:
            start, n = first * stride + phase, min(n_outputs + reach, cut.n)
        size = (problem.H, problem.W)[axis]
        return _Stretch(start, stride, n, *problem.padding[axis], size, self.margins[axis])

    # Tiles

    def _compute(self, call, block, tile, is_clean):
        """Compute a tile; False where it holds NaN or Inf and has to be computed cleanly.

        Numbers near the largest count as infinite: their squares would be.
        """
        kept = {}
        energies, peaks = np.zeros((2, self.n_spectra), self.work.char.lower())
        extreme = nan = None
        if is_clean:
            extreme = self._touched(call, tile, _is_extreme)
            nan = np.zeros_like(extreme)
            if not self.is_complex and self.problem.dilation == (1, 1):  # else see the definition
                nan = self._touched(call, tile, np.isnan)
        are_used_again = bool(block.spectra) and len(block.f) > 1

        def sources():
            for i in range(self.n_spectra):
                if i in kept:
                    yield kept[i]
                    continue
                source, energies[i], peaks[i] = self._image_spectrum(call, tile, i, is_clean)
                if are_used_again:
                    kept[i] = source
                yield source

        magnitudes = {}
        for f in block.f:
            total = self._sum_of_products(call, block, f, sources(), are_used_again)
            if not is_clean and not np.isfinite(energies).all():
                return False
            error, needed = self._limits(call, block, f, energies, peaks)
            doubtful = self._store(call, tile, f, total, error, needed)
            call.spare.append(total)
            if is_clean:
                tile.outputs(f)[nan] = np.nan
                doubtful = extreme & ~nan if doubtful is None else (doubtful | extreme) & ~nan
            if doubtful is not None:
                self._settle(call, block, tile, f, doubtful, extreme, energies, peaks, magnitudes)
        call.spare.extend(kept.values())
        return True

    def _sum_of_products(self, call, block, f, sources, are_used_again):
        """The sum over channels and phases, in blocks: a plain sum's error grows with their number.

        Spectra of x that are not used again may be overwritten.
        """
        length = math.isqrt(self.n_spectra - 1) + 1
        total = partial = None
        for i, source in enumerate(sources):
            weights = block.spectra.get((f, i))
            if weights is None:
                weights = self._kernel_spectrum(call, f, i)
            if partial is None:
                partial = self._spectrum_buffer(call) if are_used_again else source
                _multiply(source, weights, partial, call.workers)
            else:
                _add_product(source, weights, partial, call.workers)
                if not are_used_again:
                    call.spare.append(source)
            if (i + 1) % length == 0 or i + 1 == self.n_spectra:
                if total is None:
                    total = partial
                else:
                    total += partial
                    call.spare.append(partial)
                partial = None
        return total

    def _spectrum_buffer(self, call):
        try:
            return call.spare.pop()
        except IndexError:
            return _new_spectrum(call.grid, self.work)

    def _limits(self, call, block, f, energies, peaks, magnitude=None):
        """(the error of y, the least |x| * |w| with which it keeps the contract) in a tile.

        `magnitude` is the tile's largest |x| * |w|, where that is known.
        """
        k, points = f - block.f.start, call.grid.rows.n * call.grid.columns.n
        levels = math.log2(points + 1) + 2 * math.isqrt(self.n_spectra)  # and the sum over channels
        u_work, u = (np.finfo(dtype).eps / 2 for dtype in (self.work, self.problem.dtype))
        lengths = np.sqrt(energies.reshape(self.channels, -1).sum(axis=-1))
        norms = (lengths * block.norms[k]).sum()
        if not self.is_double:
            error = NORM_ERROR * u_work * levels * norms
            return error, error / (UNITS_OF_SINGLE * u)
        if magnitude is None:
            magnitude = (peaks.reshape(self.channels, -1).max(axis=-1) * block.sums[k]).sum()
        mean = (lengths * block.sums[k]).sum() / math.sqrt(points)
        error = TYPICAL_ERROR * mean + PEAK_ERROR * min(magnitude, norms)
        error = error * u_work * math.sqrt(levels)
        return error, error / (UNITS_OF_DOUBLE * u)

    def _shares(self, call, tile):
        """By rows and by columns, the share of `needed` that an output needs; see MOST_TERMS."""
        if not (
            _has_many_terms(self.problem)
            and self.problem.padding_mode == "constant"
            and call.fill == 0
        ):
            return np.ones(tile.rows), np.ones(tile.columns)
        return tuple(
            _share_on_image(self.problem, axis, first + np.arange(n))
            for axis, (first, n) in enumerate(((tile.row, tile.rows), (tile.column, tile.columns)))
        )

    def _store(self, call, tile, f, total, error, needed):
        """Transform back and write the outputs; return where they may lack `needed`, or None."""
        columns = call.grid.columns.n
        _transform_columns(fft.ifft, total, call.workers)
        outputs, bias = tile.outputs(f), self._bias_of(call, f)
        step = max(STEP // columns, 1)
        doubtful = {}
        rows_share, columns_share = self._shares(call, tile)

        def transform(first):
            part = total[first : min(first + step, tile.rows)]
            part = fft.ifft(part, axis=1) if self.is_complex else fft.irfft(part, columns, axis=1)
            part = part[:, : tile.columns]
            if self.is_certified:
                share = rows_share[first : first + len(part), np.newaxis] * columns_share
                below = ~(np.abs(part) >= error + needed * share)
                if below.any():
                    doubtful[first] = below
            if bias is not None:
                part = part + bias
            outputs[first : first + step] = part

        _each(transform, range(0, tile.rows, step), call.workers)
        if not doubtful:
            return None
        where = np.zeros((tile.rows, tile.columns), bool)
        for first, below in doubtful.items():
            where[first : first + step] = below
        return where

    def _bias_of(self, call, f):
        if call.bias is None:
            return None
        if not self.is_complex:
            return call.bias.reshape(-1)[f]
        real, imag = call.bias[f] if self.problem.w_dtype.kind == "c" else call.bias[:, f]
        return real + 1j * imag

    # Certificates and repairs

    def _settle(self, call, block, tile, f, doubtful, extreme, energies, peaks, magnitudes):
        """Make sure of the outputs that the transforms may have left too inexact."""
        if self.is_certified and np.count_nonzero(doubtful) > FEW:
            is_large = self._is_large(call, block, tile, f, energies, peaks, magnitudes)
            doubtful &= ~is_large if extreme is None else ~is_large | extreme
            if np.count_nonzero(doubtful) > FEW:
                zero = doubtful & ~self._touched(call, tile, np.bool_)
                bias = self._bias_of(call, f)
                tile.outputs(f)[zero] = 0 if bias is None else bias
                doubtful &= ~zero
        height, width = (1, 1) if np.count_nonzero(doubtful) <= FEW else BLOCK
        if height == 1:
            places = np.argwhere(doubtful).tolist()
        else:
            places = [
                (row, column)
                for row, column in product(
                    range(0, tile.rows, height), range(0, tile.columns, width)
                )
                if doubtful[row : row + height, column : column + width].any()
            ]

        def repair(place):
            row, column = place
            size = min(height, tile.rows - row), min(width, tile.columns - column)
            self._repair(call, block, tile, f, place, size)

        _each(repair, places, call.workers)

    def _is_large(self, call, block, tile, f, energies, peaks, magnitudes):
        """Where |x| * |w| is large enough for the contract; computed in the other precision."""
        work = np.dtype(np.float32 if self.is_double else np.float64)
        grid, norm = call.grid, np.sqrt(energies.sum())
        if not 0 < norm < np.inf:
            return np.zeros((tile.rows, tile.columns), bool)
        scale, largest = float(1 / norm), float(np.abs(call.w[f]).max())
        total = None
        for i in range(self.n_spectra):
            source = magnitudes.get(i)
            if source is None:
                source, _, _ = self._image_spectrum(call, tile, i, True, work, scale)
                if len(block.f) > 1 and block.spectra:
                    magnitudes[i] = source
            weights = block.magnitudes.get((f, i))
            if weights is None:
                weights = self._kernel_spectrum(call, f, i, work)
                if block.spectra:
                    block.magnitudes[f, i] = weights
            total = source * weights if total is None else total + source * weights
        _transform_columns(fft.ifft, total, call.workers)
        total = fft.irfft(total, grid.columns.n, axis=1)
        levels = math.log2(grid.rows.n * grid.columns.n + 1) + 2 * math.isqrt(self.n_spectra)
        error = block.norms[f - block.f.start].sum() / largest
        error *= NORM_ERROR * np.finfo(work).eps / 2 * levels
        unit = norm * largest
        most = (total.max() + error) * unit
        _, needed = self._limits(call, block, f, energies, peaks, most)
        return total[: tile.rows, : tile.columns] >= (
            needed / unit * np.multiply.outer(*self._shares(call, tile)) + error
        )

    def _touched(self, call, tile, predicate):
        """Where outputs see a position of the padded x, under the kernel or between its taps, with
        the predicate.
        """
        problem, touched = self.problem, np.zeros((tile.rows, tile.columns), bool)
        reach = [
            (taps - 1) * d
            for taps, d in zip((problem.KH, problem.KW), problem.dilation, strict=True)
        ]
        rows, columns = (
            _Stretch(
                first * stride, 1, (n - 1) * stride + reach + 1, *pads, size, margin
            )
            for first, stride, n, reach, pads, size, margin in zip(
                (tile.row, tile.column), problem.stride, (tile.rows, tile.columns), reach,
                problem.padding, (problem.H, problem.W), self.margins, strict=True,
            )
        )  # fmt: skip
        for channel in tile.x:
            found = np.zeros((rows.n, columns.n), bool)
            step = max(STEP // columns.n, 1)
            for first in range(0, rows.n, step):
                here = rows.part(first, min(first + step, rows.n))
                part = np.zeros((here.n, columns.n), self.work)
                _gather(channel, here, columns, call.fill, part)
                found[first : first + step] = predicate(part)
            found = _any_within(found, reach[0], problem.stride[0])
            touched |= _any_within(found.T, reach[1], problem.stride[1]).T
        return touched

    def _repair(self, call, block, tile, f, place, size):
        """Compute some outputs again, from the definition."""
        problem = self.problem
        window, outputs, taps = [], [], []
        for axis, first in enumerate((tile.row, tile.column)):
            first += place[axis]
            stride, dilation = problem.stride[axis], problem.dilation[axis]
            before, _ = problem.padding[axis]
            n_taps, n = (problem.KH, problem.KW)[axis], (problem.H, problem.W)[axis]
            begin, last = 0, n_taps
            if problem.padding_mode == "constant" and call.fill == 0:
                # No more of the kernel than meets the image.
                begin = min(
                    max((before - (first + size[axis] - 1) * stride) // dilation, 0), n_taps - 1
                )
                last = max(
                    min((before + n - 1 - first * stride) // dilation + 1, n_taps), begin + 1
                )
            taps.append(slice(begin, last))
            reach = (size[axis] - 1) * stride + (last - begin - 1) * dilation + 1
            window.append(
                _Stretch(
                    first * stride + begin * dilation, 1, reach, *problem.padding[axis], n,
                    self.margins[axis],
                )
            )  # fmt: skip
            outputs.append(slice(first, first + size[axis]))
        x = np.zeros((1, self.channels, window[0].n, window[1].n), problem.x_dtype)
        for source, target in zip(tile.x, x[0], strict=True):
            _gather(source, *window, call.fill, target)
        w = call.w[f : f + 1, :, taps[0], taps[1]]
        part = replace(
            problem, N=1, C=self.channels, F=1, groups=1, H=window[0].n, W=window[1].n,
            KH=w.shape[2], KW=w.shape[3], OH=size[0], OW=size[1], x_shape=x.shape,
            w_shape=w.shape, y_shape=(1, 1, *size), padding=((0, 0), (0, 0)),
            padding_mode="constant", channels_last=False,
        )  # fmt: skip
        bias = call.bias
        if bias is not None:
            is_last = self.is_complex and problem.w_dtype.kind != "c"
            bias = np.ascontiguousarray(bias[:, f : f + 1] if is_last else bias[f : f + 1])
        y = np.empty((1, 1, *size), problem.dtype)
        definition_of(part, (None, None), (None, None)).run(x, w, bias, y, call.fill_bytes, 1)
        tile.y[f][tuple(outputs)] = y[0, 0]


class _Memory(NamedTuple):
    is_kept: bool  # the spectra of w, instead of computed anew for every tile
    kernels: int  # served together
    tile: int  # bytes
    spectra: int  # bytes, of w


class _Stretch(NamedTuple):
    """Padded positions start, start + step, ... of an axis of `size` samples."""

    start: int
    step: int
    n: int
    before: int
    after: int
    size: int
    margins: tuple

    def edges(self):
        """The counts of positions before the image, before its end, before the padding's end."""
        ends = self.before, self.before + self.size, self.before + self.size + self.after
        return [min(max(-((self.start - end) // self.step), 0), self.n) for end in ends]

    def content(self, fill):
        """The run lo <= i < hi of the positions beyond which there are zeros alone."""
        lo, hi, end = self.edges()
        return (0, end) if fill != 0 or self.margins[0] is not None else (lo, max(lo, hi))

    def part(self, lo, hi):
        return self._replace(start=self.start + lo * self.step, n=hi - lo)

    def sources(self):
        """Pairs of (slice of the positions, slice or indices of the samples there)."""
        lo, hi, end = self.edges()
        first = self.start + lo * self.step - self.before
        pairs = [(slice(lo, hi), slice(first, first + (hi - lo) * self.step, self.step))]
        if self.margins[0] is not None:
            past = self.start + hi * self.step - self.before - self.size
            pairs.append((slice(0, lo), self.margins[0][self.start :: self.step][:lo]))
            pairs.append((slice(hi, end), self.margins[1][past :: self.step][: end - hi]))
        return [pair for pair in pairs if pair[0].stop > pair[0].start]


def _gather(x, rows, columns, fill, out):
    """Copy the padded positions rows x columns of the image x (H, W) into `out`, zero so far."""
    if fill != 0:
        out[: rows.edges()[2], : columns.edges()[2]] = fill
    for row, row_source in rows.sources():
        for column, column_source in columns.sources():
            if type(row_source) is type(column_source) is np.ndarray:
                out[row, column] = x[row_source[:, None], column_source]
            else:
                out[row, column] = x[row_source, column_source]


def _is_extreme(a):
    """Where numbers are NaN, infinite or so large that sums of squares may be."""
    return ~(np.abs(a) < LARGEST)


def _is_moderate(w):
    """Whether the squares of w and their sum are neither infinite nor all lost."""
    largest = float(np.abs(w).max())
    return bool(SMALLEST < largest < LARGEST or largest == 0)


def _sum_of_squares(a):
    """The sum of |a|^2; infinite also where the numbers are too small to tell."""
    if a.dtype.kind == "c":
        a = a.view(a.real.dtype)
    total = np.einsum("ij,ij->", a, a)
    return total if total > SMALLEST**2 or not a.any() else np.inf


def _any_within(found, reach, step):
    """Whether any of the elements i * step ... i * step + reach of the first axis holds."""
    width = 1
    while width <= reach:
        more = min(width, reach + 1 - width)
        found[:-more] |= found[more:].copy()
        width += more
    return found[: len(found) - reach : step]


def _new_spectrum(grid, work, make=np.empty):
    columns = grid.columns.n if work.kind == "c" else grid.columns.n // 2 + 1
    return make((grid.rows.n, columns), np.result_type(work, np.complex64))


def _transform_rows(part):
    return fft.fft(part, axis=1) if part.dtype.kind == "c" else fft.rfft(part, axis=1)


def _transform_columns(transform, spectrum, workers):
    """Transform the columns in place, some at a time: which ones does not follow the threads."""
    step = max(STEP // len(spectrum), 16)

    def some(first):
        columns = spectrum[:, first : first + step]
        result = transform(columns, axis=0, overwrite_x=True)
        if not np.may_share_memory(result, columns):
            columns[...] = result

    _each(some, range(0, spectrum.shape[1], step), workers)


def _multiply(a, b, out, workers):
    step = max(STEP // a.shape[1], 1)

    def some(first):
        here = slice(first, first + step)
        np.multiply(a[here], b[here], out=out[here])

    _each(some, range(0, len(a), step), workers)


def _add_product(a, b, out, workers):
    step = max(STEP // 32 // a.shape[1], 1)  # the product stays in the cache

    def some(first):
        product = np.empty((step, a.shape[1]), out.dtype)
        for row in range(first, min(first + 32 * step, len(a)), step):
            here = slice(row, row + step)
            part = np.multiply(a[here], b[here], out=product[: len(a[here])])
            np.add(out[here], part, out=out[here])

    _each(some, range(0, len(a), 32 * step), workers)


def _each(work, items, workers):
    """Call work(item) for every item, on at most that many threads, this one included."""
    workers = min(workers, len(items))
    pending, lock, failed = iter(items), threading.Lock(), []

    def serve():
        with np.errstate(all="ignore"):
            while not failed:
                with lock:
                    item = next(pending, None)
                if item is None:
                    return
                try:
                    work(item)
                except BaseException:
                    failed.append(True)
                    raise

    if workers <= 1:
        serve()
        return
    with ThreadPoolExecutor(workers - 1) as threads:
        others = [threads.submit(serve) for _ in range(workers - 1)]
        try:
            serve()
        except BaseException:
            failed.append(True)
            raise
    for other in others:
        other.result()
