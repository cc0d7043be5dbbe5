# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""The largest kernels: overlapping tiles, transformed, multiplied and transformed back (scipy.fft).

    spectra of w                                               once for a call
    for tile in (images x groups x blocks of kernels x rows x columns)     each
      for channel and phase of the stride
        gather the tile's window of x, a few rows at a time    padding and dtypes end here
        transform the rows that hold something, then the columns
      for kernel
        sum the products of the spectra over channels and phases
        transform back; store the rows that are outputs
        certify; repair by stencil, gemm or generic            certificate.py

A stride s makes s x s phases of x and w, which are as many channels, so nothing is computed that is
not stored. Around a zero padding, and where the padding is the image itself ('wrap'), transforms
are no longer than the image with its shorter overlap. fft_grid.py cuts the tiles.
"""

import math
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy import fft

from fastcorr._algorithms import fft_grid, parallel
from fastcorr._algorithms.arrays import four, nchw
from fastcorr._algorithms.certificate import (
    FEW,
    NORM_ERROR,
    PEAK_ERROR_OF_OTHERS,
    SMALLEST,
    TYPICAL_ERROR,
    UNITS_OF_DOUBLE,
    UNITS_OF_SINGLE,
    bias_of,
    fill_of,
    is_extreme,
    is_moderate,
    is_tight,
    refusal,
    repair,
    shares_of,
    touched,
)  # fmt: skip
from fastcorr._algorithms.definition import definition_of
from fastcorr._algorithms.fft_grid import grid_of, seconds, stretch_of, work_dtype
from fastcorr._algorithms.gather import gather
from fastcorr._algorithms.threads import each

__all__ = ["Fft", "seconds", "unsupported"]

# Elements of one step of a transform; between two of them Ctrl-C is seen. Threads wait for each
# other (the GIL) between steps, so smaller ones do not pay.
STEP = 2**17
# Fewer points than this in a tile are one thread's.
SHARED_POINTS = 2**19


def unsupported(problem):
    """None, or why transforms cannot serve the problem."""
    if problem.dtype.kind in "iu":
        return "integers are summed exactly, and transforms round"
    return None


class _Cut(NamedTuple):
    workers: int
    scratch_bytes: int
    kernel_name: str


def phases_of_taps(taps, stride, dilation):
    """The phases of a stride that hold taps, as (phase, indices of its taps, their places)."""
    place = np.arange(taps) * dilation
    found = [np.flatnonzero(place % stride == phase) for phase in np.unique(place % stride)]
    return [(int(place[tap[0]] % stride), tap, place[tap] // stride) for tap in found]


class _Call:
    """The arrays of a call as (N, C, H, W), and how they are cut."""

    def __init__(self, problem, x, w, bias, y, fill):
        self.x = nchw(x, problem.channels_last)
        self.y = nchw(y, problem.channels_last)
        self.w = four(w)
        self.arrays = x, w, bias, y, fill
        self.bias, self.fill = bias, fill_of(problem, fill)
        self.grid = grid_of(problem, bool(self.fill == 0))
        self.workers = 1  # inside of a tile
        self.spare = []  # buffers of spectra, for use again


class _Block:
    """Kernels of one group that are served together, and what is known of them."""

    def __init__(self, call, channel0, f, work):
        self.channel0, self.f = channel0, f
        self.spectra, self.magnitudes = {}, {}
        self.sums, self.norms, self.largest = _sizes(call.w[f.start : f.stop], work.char.lower())


class _Tile(NamedTuple):
    image: int
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
        self.work = work_dtype(problem)
        self.is_tight = is_tight(problem, self.work)
        phases = (
            phases_of_taps(*axis)
            for axis in zip((problem.KH, problem.KW), problem.stride, problem.dilation, strict=True)
        )
        self.phases = list(product(*phases))
        self.channels = problem.C // problem.groups
        self.kernels = problem.F // problem.groups
        self.n_spectra = self.channels * len(self.phases)
        grid = grid_of(problem, True)
        self.reason = (
            f"large kernels: transforms of {grid.rows.n}x{grid.columns.n} points, "
            f"{grid.rows.count * grid.columns.count} per image"
        )

    def prepare(self, w, budget):
        """This runner, or why it cannot serve these kernels; `_plan` has the contract."""
        return refusal(self.problem, w) or self

    def cut(self, workers):
        """The memory of that many threads."""
        grid = grid_of(self.problem, True)
        memory = self._memory(grid)
        total = memory.tile * self._tiles_at_once(grid, workers) + memory.spectra
        return _Cut(workers, total // workers, f"scipy.fft {grid.rows.n}x{grid.columns.n}")

    def _memory(self, grid):
        one = grid.rows.n * grid.columns.n * self.work.itemsize
        of_kernel = one * self.n_spectra
        is_kept = of_kernel <= fft_grid.SPECTRA_BYTES
        kernels = max(1, min(self.kernels, fft_grid.SPECTRA_BYTES // of_kernel))
        tile = one * ((self.n_spectra if is_kept else 1) + 2) + 4 * STEP * self.work.itemsize
        if self.is_tight:
            tile += tile // 2
        return _Memory(is_kept, kernels, tile, of_kernel * kernels if is_kept else one)

    def _tiles_at_once(self, grid, workers):
        """Tiles computed at the same time: threads share one where there are few or large ones."""
        n_tiles = self.problem.N * grid.rows.count * grid.columns.count
        enough = (
            n_tiles >= workers and workers * self._memory(grid).tile <= 2 * fft_grid.TILES_BYTES
        )
        return workers if enough else 1

    def run(self, x, w, bias, y, fill, workers):
        """Compute y; see gemm.Gemm.run."""
        problem = self.problem
        if not is_moderate(w):
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
                image,
                call.x[image, block.channel0 : block.channel0 + self.channels],
                call.y[image],
                row, column,
                min(rows.size, self.problem.OH - row), min(columns.size, self.problem.OW - column),
            )  # fmt: skip
            if not self._compute(call, block, tile, is_clean=False):
                self._compute(call, block, tile, is_clean=True)

        each(compute, places, tiles_at_once)

    # Spectra

    def _keep_spectra(self, call, block, workers):
        def keep(key):
            block.spectra[key] = self._kernel_spectrum(call, *key)

        keys = list(product(block.f, range(self.n_spectra)))
        each(keep, keys, workers if call.workers == 1 else 1)

    def _kernel_spectrum(self, call, f, i, magnitude=None, largest=1):
        """The conjugate spectrum of a kernel's channel and phase.

        `magnitude`: the dtype for |w| / `largest` in place of w.
        """
        channel, phase = divmod(i, len(self.phases))
        (_, rows, row_places), (_, columns, column_places) = self.phases[phase]
        rows_axis, columns_axis = call.grid.rows, call.grid.columns
        work = self.work if magnitude is None else magnitude
        row_places = (row_places - (rows_axis.before or 0)) % rows_axis.n
        column_places = (column_places - (columns_axis.before or 0)) % columns_axis.n
        spectrum = _new_spectrum(call.grid, work, np.zeros)
        step = max(STEP // columns_axis.n, 1)
        is_folded = [
            len(set(places.tolist())) < len(places) for places in (row_places, column_places)
        ]
        scale = 1 if magnitude is None else 1 / largest

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

        each(transform, range(0, len(rows), step), 1 if is_folded[0] else call.workers)
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
            gather(tile.x[channel], here, columns, call.fill, part)
            if is_clean:
                part[is_extreme(part)] = 0
            if magnitude is not None:
                part = (np.abs(part) * scale).astype(magnitude)
            else:
                sums[k] = _sum_of_squares(part)
                if self.is_tight:
                    peaks[k] = np.abs(part).max()
            spectrum[first : first + here.n] = _transform_rows(part)

        each(transform, range(len(starts)), call.workers)
        _transform_columns(fft.fft, spectrum, call.workers)
        return spectrum, sum(sums), max(peaks, default=0)

    def _stretch(self, axis, first, phase, n_outputs, cut):
        """The padded positions that a tile sees in a phase of the stride."""
        start = first * self.problem.stride[axis] + phase if cut.before is None else cut.before
        return stretch_of(self.problem, axis, self.margins[axis], cut, start, n_outputs)

    # Tiles

    def _compute(self, call, block, tile, is_clean):
        """Compute a tile; False where it holds NaN or Inf and has to be computed cleanly.

        Numbers near the largest count as infinite: their squares would be.
        """
        kept = {}
        energies, peaks = np.zeros((2, self.n_spectra), self.work.char.lower())
        extreme = nan = None
        if is_clean:
            extreme = self._touched(call, tile, is_extreme)
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
        if not self.is_tight:
            error = NORM_ERROR * u_work * levels * norms
            return error, error / (UNITS_OF_SINGLE * u)
        if magnitude is None:
            magnitude = (peaks.reshape(self.channels, -1).max(axis=-1) * block.sums[k]).sum()
        error = TYPICAL_ERROR * norms / math.sqrt(points)
        error += PEAK_ERROR_OF_OTHERS * min(magnitude, norms)
        error = error * u_work * math.sqrt(levels)
        return error, error / (UNITS_OF_DOUBLE * u)

    def _shares(self, call, tile):
        corner, size = (tile.row, tile.column), (tile.rows, tile.columns)
        return shares_of(self.problem, call.fill, corner, size)

    def _store(self, call, tile, f, total, error, needed):
        """Transform back and write the outputs; return where they may lack `needed`, or None."""
        columns = call.grid.columns.n
        _transform_columns(fft.ifft, total, call.workers)
        outputs = tile.outputs(f)
        bias = None if call.bias is None else bias_of(self.problem, call.bias, f)
        step = max(STEP // columns, 1)
        doubtful = {}
        rows_share, columns_share = self._shares(call, tile)

        def transform(first):
            part = total[first : min(first + step, tile.rows)]
            part = fft.ifft(part, axis=1) if self.is_complex else fft.irfft(part, columns, axis=1)
            part = part[:, : tile.columns]
            share = rows_share[first : first + len(part), np.newaxis] * columns_share
            below = ~(np.abs(part) >= error + needed * share)
            if below.any():
                doubtful[first] = below
            if bias is not None:
                part = part + bias
            outputs[first : first + step] = part

        each(transform, range(0, tile.rows, step), call.workers)
        if not doubtful:
            return None
        where = np.zeros((tile.rows, tile.columns), bool)
        for first, below in doubtful.items():
            where[first : first + step] = below
        return where

    # Certificates and repairs

    def _settle(self, call, block, tile, f, doubtful, extreme, energies, peaks, magnitudes):
        """Make sure of the outputs that the transforms may have left too inexact."""
        if np.count_nonzero(doubtful) > FEW:
            is_large = self._is_large(call, block, tile, f, energies, peaks, magnitudes)
            doubtful &= ~is_large if extreme is None else ~is_large | extreme
        repair(
            self.problem, self.margins, call.arrays, tile.image, f, (tile.row, tile.column),
            doubtful, call.workers,
        )  # fmt: skip

    def _touched(self, call, tile, predicate):
        corner, size = (tile.row, tile.column), (tile.rows, tile.columns)
        return touched(self.problem, self.margins, tile.x, call.fill, corner, size, predicate)

    def _is_large(self, call, block, tile, f, energies, peaks, magnitudes):
        """Where |x| * |w| is large enough for the contract; computed in the other precision."""
        work = np.dtype(np.float32 if self.is_tight else np.float64)
        grid, norm = call.grid, np.sqrt(energies.sum())
        if not 0 < norm < np.inf:
            return np.zeros((tile.rows, tile.columns), bool)
        scale, largest = float(1 / norm), float(block.largest[f - block.f.start].max())
        total = None
        for i in range(self.n_spectra):
            source = magnitudes.get(i)
            if source is None:
                source, _, _ = self._image_spectrum(call, tile, i, True, work, scale)
                if len(block.f) > 1 and block.spectra:
                    magnitudes[i] = source
            weights = block.magnitudes.get((f, i))
            if weights is None:
                weights = self._kernel_spectrum(call, f, i, work, largest)
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


def run_image(problem, margins, arrays, image, workers):
    """Compute one image, whose numbers are not for the other transforms."""
    x, w, bias, y, fill = arrays
    if x.ndim == 4:
        x, y = x[image : image + 1], y[image : image + 1]
    alone = replace(problem, N=1, x_shape=x.shape, y_shape=y.shape)
    Fft(alone, *margins).run(x, w, bias, y, fill, workers)


class _Memory(NamedTuple):
    is_kept: bool  # the spectra of w, instead of computed anew for every tile
    kernels: int  # served together
    tile: int  # bytes
    spectra: int  # bytes, of w


def _sizes(w, dtype):
    """The sum, the norm and the largest of |w| of each channel, shaped (kernels, channels)."""
    sums, norms, largest = np.empty((3, *w.shape[:2]), dtype)
    step = max(STEP // (w.shape[2] * w.shape[3]), 1)  # w may be larger than all memory allowed
    for f, first in product(range(len(w)), range(0, w.shape[1], step)):
        here = f, slice(first, first + step)
        size = np.abs(w[here]).astype(dtype, copy=False)
        sums[here] = size.sum(axis=(1, 2))
        norms[here] = np.sqrt(np.einsum("cij,cij->c", size, size))
        largest[here] = size.max(axis=(1, 2))
    return sums, norms, largest


def _sum_of_squares(a):
    """The sum of |a|^2; infinite also where the numbers are too small to tell."""
    if a.dtype.kind == "c":
        a = a.view(a.real.dtype)
    total = np.einsum("ij,ij->", a, a)
    return total if total > SMALLEST**2 or not a.any() else np.inf


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

    each(some, range(0, spectrum.shape[1], step), workers)


def _multiply(a, b, out, workers):
    step = max(STEP // a.shape[1], 1)

    def some(first):
        here = slice(first, first + step)
        np.multiply(a[here], b[here], out=out[here])

    each(some, range(0, len(a), step), workers)


def _add_product(a, b, out, workers):
    step = max(STEP // 32 // a.shape[1], 1)  # the product stays in the cache

    def some(first):
        product = np.empty((step, a.shape[1]), out.dtype)
        for row in range(first, min(first + 32 * step, len(a)), step):
            here = slice(row, row + step)
            part = np.multiply(a[here], b[here], out=product[: len(a[here])])
            np.add(out[here], part, out=out[here])

    each(some, range(0, len(a), 32 * step), workers)
