# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""The adjoint of the operator: from y to x, through correlations that the engine knows.

Going forward, output o of one axis takes tap k from the padded position u = o stride + k dilation.
Coming back, position u collects dy[o] w[k] from all such pairs. Which taps take part depends on
u modulo the stride alone (on its *phase*), and they are an arithmetic progression:

    k = k0 + t q     q = stride / g,  g = gcd(stride, dilation),  t = 0, 1, ...
    o = (u - k dilation) / stride, so one tap more is dilation / g outputs less

so each phase is a dense correlation of dy with some taps in reverse order, at stride 1 and dilation
dilation / g, and no zeros are put between the samples of dy. Its result goes straight to every
stride-th position of dx. Taps that would see a sample before or after dy are padded with zeros;
padding of x that nobody asks for is a slice of dy. One algorithm takes all phases at once for
depthwise kernels, for patches that do not overlap, and for most others under a stride: products of
dy with all taps, which also serve few channels of small images at stride 1. 1 x 1 kernels with
channels last or of small images are a product of matrices.

With a padding mode, what the padded positions collect is added to the samples that they came from,
by the index maps of `_padding`, a strip of them at a time, in a fixed order: rows above and below x
first, then columns left and right of it.

This module decides the order of these sums. It gets valid problems and plain arrays
(N, C, H, W) of any strides, and knows neither threads nor kernels.
"""

from dataclasses import replace
from functools import cached_property
from math import gcd
from typing import NamedTuple

import numpy as np

from fastcorr import _costs
from fastcorr._algorithms import depthwise_transpose, fold, patches, pointwise_transpose
from fastcorr._algorithms.arrays import four, nchw, place, placed
from fastcorr._algorithms.turned import turned
from fastcorr._padding import margins_of
from fastcorr._plan import plan_for
from fastcorr._problem import check_result
from fastcorr._workers import resolve_workers

# Scratch for strips of padded positions, whatever the number of threads: 4 MB in all, with the
# plans and the temporary of their sum.
STRIP_BYTES = 1920 * 1024
# Kernels are copied in the order in which the engine takes them, this much of them at a time. gemm
# gathers more than that by itself, while it multiplies: 512 x 512 kernels of 3 x 3 for an image of
# 7 x 7 would wait for memory otherwise.
TURNED_BYTES = 6 * 1024 * 1024
# A copy of fewer pays for no second thread.
SERIAL_WEIGHTS = 128 * 1024


class Adjoint:
    """dx of one `Problem`: plans of its parts at construction, one run for each pair of arrays.

    `dy_dtype`, `w_dtype` and `bias_dtype` (or None) promote to the dtype of dx.
    """

    def __init__(self, problem, dy_dtype, w_dtype, bias_dtype=None):
        self.problem = problem
        dtypes = [dy_dtype, w_dtype] if bias_dtype is None else [dy_dtype, w_dtype, bias_dtype]
        self.dtype = np.result_type(*dtypes)
        self._dtypes = dy_dtype, w_dtype, bias_dtype
        inside = [
            (before, n) for (before, _), n in zip(problem.padding, _size(problem), strict=True)
        ]
        self._interior = _Region(problem, self._dtypes, problem.N, *inside)
        self._strip_regions = {}
        self._strips = []
        if problem.padding_mode != "constant" and problem.N * problem.H * problem.W:
            self._strips = self._cut_strips()

    def __call__(self, dy, w, bias, out, workers):
        """Return dx in the ranks and layout of the problem; `out` may be None."""
        problem = self.problem
        check_result(out, problem.x_shape, self.dtype)
        dx = place(out, problem.x_shape, self.dtype, dy, w)
        is_last = problem.channels_last
        self.run(nchw(dy, is_last), four(w), bias, nchw(dx, is_last), workers)
        return placed(dx, out)

    def run(self, dy, w, bias, dx, workers):
        """Write dx (N, C, H, W) from dy (N, F, OH, OW), w (F, C / G, KH, KW) and bias (C,)."""
        self._interior.run(dy, w, bias, dx, workers)
        if self._strips:
            self._fold(dy, w, dx, workers)

    # ---- padding modes -------------------------------------------------------------------------

    def _cut_strips(self):
        """The strips of padded positions, in the order in which they are added."""
        problem = self.problem
        (top, _), (left, right) = problem.padding
        rows, columns = (
            [*_runs(before, 0), *_runs(after, len(before) + n)]
            for (before, after), n in zip(margins_of(problem), _size(problem), strict=True)
        )  # fmt: skip
        width = left + problem.W + right
        strips = []
        for run in rows:
            for piece in run.pieces(self._rows_at_a_time(width)):
                strips.append(_RowStrip(piece, columns, slice(left, left + problem.W), width))
        for run in columns:
            step = self._rows_at_a_time(run.count)
            for row in range(0, problem.H, step):
                strips.append(_ColumnStrip(run, top, row, min(step, problem.H - row)))
        return strips

    @cached_property
    def _wide(self):
        """Strips of float16 are summed in float32."""
        return np.dtype(np.float32) if self.dtype == np.float16 else None

    @cached_property
    def _images_at_a_time(self):
        problem = self.problem
        (_, _), (left, right) = problem.padding
        line = problem.C * (left + problem.W + right) * max(self.dtype.itemsize, 4)
        return min(max(STRIP_BYTES // line, 1), problem.N)

    def _rows_at_a_time(self, width):
        line = self._images_at_a_time * self.problem.C * width * max(self.dtype.itemsize, 4)
        return max(STRIP_BYTES // line, 1)

    def _fold(self, dy, w, dx, workers):
        """Add what the padded positions collect to the samples that they came from."""
        problem, step = self.problem, self._images_at_a_time
        if self._wide is not None:
            w = w.astype(self._wide)
        for image in range(0, problem.N, step):
            images = slice(image, min(image + step, problem.N))
            n_images = images.stop - images.start
            for strip, region in zip(self._strips, self._regions(n_images), strict=True):
                values = np.empty((n_images, problem.C, *strip.size), self._wide or self.dtype)
                region.run(dy[images], w, None, values, workers)
                with np.errstate(all="ignore"):
                    strip.add(values, dx[images])

    def _regions(self, n_images):
        """The regions of the strips; there are two numbers of images at most."""
        found = self._strip_regions.get(n_images)
        if found is None:
            dy_dtype, w_dtype, _ = self._dtypes
            dtypes = dy_dtype, self._wide or w_dtype, None
            found = self._strip_regions[n_images] = [
                _Region(self.problem, dtypes, n_images, *strip.positions) for strip in self._strips
            ]
        return found


class _Run(NamedTuple):
    """Neighbouring padded positions whose sources are neighbours, too, or are all the same."""

    first: int
    count: int
    source: int
    step: int  # of the sources: -1, 0 or 1

    def pieces(self, most):
        """The run cut into pieces of at most that many positions."""
        return [
            _Run(self.first + i, min(most, self.count - i), self.source + i * self.step, self.step)
            for i in range(0, self.count, most)
        ]

    @property
    def sources(self):
        if self.step == 0:
            return slice(self.source, self.source + 1)
        stop = self.source + self.count * self.step
        return slice(self.source, stop if stop >= 0 else None, self.step)

    def folded(self, values, axis):
        """Values at the positions, as they are added to the sources."""
        return values.sum(axis=axis, keepdims=True) if self.step == 0 else values


def _runs(sources, first):
    """Cut the sources of the positions first, first + 1, ... into runs."""
    sources = sources.tolist()
    start = 0
    while start < len(sources):
        stop = start + 1
        step = sources[stop] - sources[start] if stop < len(sources) else 0
        if step not in (-1, 0, 1):
            step = 0
        else:
            while stop < len(sources) and sources[stop] - sources[stop - 1] == step:
                stop += 1
        yield _Run(first + start, stop - start, sources[start], step)
        start = stop


class _RowStrip(NamedTuple):
    """Padded rows above or below x, over all padded columns."""

    rows: _Run
    columns: list  # runs left and right of x
    inside: slice  # the columns of x
    width: int

    @property
    def size(self):
        return self.rows.count, self.width

    @property
    def positions(self):
        return (self.rows.first, self.rows.count), (0, self.width)

    def add(self, values, dx):
        inside = values[..., self.inside]
        for run in self.columns:
            margin = values[..., run.first : run.first + run.count]
            inside[..., run.sources] += run.folded(margin, -1)
        dx[..., self.rows.sources, :] += self.rows.folded(inside, -2)


class _ColumnStrip(NamedTuple):
    """Padded columns left or right of x, over some of the rows of x."""

    columns: _Run
    top: int
    row: int
    n_rows: int

    @property
    def size(self):
        return self.n_rows, self.columns.count

    @property
    def positions(self):
        return (self.top + self.row, self.n_rows), (self.columns.first, self.columns.count)

    def add(self, values, dx):
        rows = slice(self.row, self.row + self.n_rows)
        dx[..., rows, self.columns.sources] += self.columns.folded(values, -1)


# ---- padded positions -------------------------------------------------------------------------


class _Region:
    """What a rectangle of padded positions collects, in `n_images` images.

    `rows` and `columns` are (first padded position, number of positions).
    """

    def __init__(self, problem, dtypes, n_images, rows, columns):
        self._problem, self._dtypes, self._n_images = problem, dtypes, n_images
        axes = zip(
            (rows, columns), (problem.OH, problem.OW), (problem.KH, problem.KW),
            problem.stride, problem.dilation, strict=True,
        )  # fmt: skip
        self._phases = [list(_phases(of_axis, n, k, s, d)) for of_axis, n, k, s, d in axes]
        self._at_once = self._all_phases_at_once(rows, columns)

    def _all_phases_at_once(self, rows, columns):
        """An algorithm that serves all phases together, or None."""
        problem = self._problem
        if 0 in (self._n_images, rows[1], columns[1], *problem.y_shape):
            return None
        dtype = np.result_type(*(dtype for dtype in self._dtypes if dtype is not None))
        dy_dtype, w_dtype, _ = self._dtypes
        of_dx = replace(problem, N=self._n_images, x_dtype=dy_dtype, w_dtype=w_dtype, dtype=dtype)
        if depthwise_transpose.unsupported(of_dx) is None and self._has_channels_along_vectors():
            return depthwise_transpose.DepthwiseTranspose(of_dx, *self._phases)
        if pointwise_transpose.unsupported(of_dx) is None:
            return pointwise_transpose.PointwiseTranspose(of_dx)
        if patches.unsupported(of_dx) is None:
            return patches.Patches(of_dx)
        if fold.unsupported(of_dx) is None and self._is_best_folded(of_dx, rows, columns):
            return fold.Fold(of_dx, *self._phases)
        return None

    def _has_channels_along_vectors(self):
        """Whether depthwise kernels are best served that way; or else by rows of dx."""
        problem = self._problem
        if problem.stride != (1, 1) or problem.channels_last:
            return True
        return self._parts[0].algorithm == "depthwise"

    def _is_best_folded(self, of_dx, rows, columns):
        """Whether zeros around dy would take longer: for one image, so for all batches alike."""
        single = self
        if self._n_images > 1:
            single = _Region(self._problem, self._dtypes, 1, rows, columns)
        seconds = [part.seconds for part in single._parts]
        return _costs.fold(of_dx) < _costs.phases(of_dx, seconds)

    @cached_property
    def _parts(self):
        return list(self._combined(*self._phases))

    def run(self, dy, w, bias, dx, workers):
        at_once = self._at_once
        # Zeros beside dy must not meet infinities and NaN among the taps.
        if at_once is not None and (not at_once.pads_dy or np.isfinite(w).all()):
            at_once.run(dy, w, bias, dx, resolve_workers(workers))
            return
        for part in self._parts:
            out = part.run(dy, w, bias, dx, workers)
            if part.is_padded and not np.isfinite(out[0, :, 0, 0]).all():
                # Every pixel sees all taps. If zeros beside dy have met an infinity or NaN among
                # them, this one shows it: again, in pieces that see no zeros.
                pieces = list(part.rows.unpadded()), list(part.columns.unpadded())
                for piece in self._combined(*pieces):
                    piece.run(dy, w, bias, dx, workers)

    def _combined(self, rows, columns):
        for row in rows:
            for column in columns:
                if row.n_positions == 0 or column.n_positions == 0 or self._n_images == 0:
                    continue
                if row.is_empty or column.is_empty:
                    yield _Part(row, column, slice(None), slice(None), slice(None), None)
                    continue
                parts = list(self._parts_of(row, column, 1))
                n_pieces = self._n_pieces(row.n_taps * column.n_taps)
                if n_pieces > 1 and not parts[0].can_gather:
                    parts = self._parts_of(row, column, n_pieces)
                yield from parts

    def _n_pieces(self, n_taps):
        """Pieces of the channels, so that those of w are of TURNED_BYTES at most."""
        problem, (_, w_dtype, _) = self._problem, self._dtypes
        most = problem.C if problem.groups == 1 else problem.groups
        n_bytes = problem.F * problem.C // problem.groups * n_taps * w_dtype.itemsize
        return min(-(-n_bytes // TURNED_BYTES), most)

    def _parts_of(self, row, column, n_pieces):
        """One part for each piece: of the channels of x, or of the groups if there are several."""
        problem, (dy_dtype, w_dtype, bias_dtype) = self._problem, self._dtypes
        G, C, F = problem.groups, problem.C // problem.groups, problem.F // problem.groups
        n = C if G == 1 else G
        for i in range(n_pieces):
            start, stop = n * i // n_pieces, n * (i + 1) // n_pieces
            of_x = slice(start, stop) if G == 1 else slice(start * C, stop * C)
            of_y = slice(0, F) if G == 1 else slice(start * F, stop * F)
            channels, size = (of_y.stop - of_y.start,), (row.n_outputs, column.n_outputs)
            is_last = problem.channels_last
            plan = plan_for(
                (self._n_images, *(size + channels if is_last else channels + size)), dy_dtype,
                (of_x.stop - of_x.start, F, row.n_taps, column.n_taps), w_dtype,
                None if bias_dtype is None else (of_x.stop - of_x.start,), bias_dtype,
                1, (row.padding, column.padding), (row.dilation, column.dilation),
                1 if G == 1 else stop - start, "constant", -1 if is_last else None, problem.method,
            )  # fmt: skip
            yield _Part(row, column, of_x, of_y, of_x if G == 1 else slice(None), plan)


class _Part:
    """Positions of one phase in each axis, and some channels of x.

    They are one correlation, with those of w that see them; or zeros where `plan` is None.
    """

    def __init__(self, rows, columns, of_x, of_y, of_w, plan):
        self.rows, self.columns, self._plan = rows, columns, plan
        self._of_x = of_x
        self._dx = slice(None), of_x, rows.positions, columns.positions
        self._dy = slice(None), of_y, rows.outputs, columns.outputs
        self.is_padded = False
        if plan is None:
            return
        problem = plan.problem
        self._w = of_y, of_w, rows.taps, columns.taps
        self.is_padded = problem.dtype.kind in "fc" and any(rows.padding + columns.padding)
        # Then w may stay as it lies.
        self.can_gather = (
            plan.algorithm == "gemm" and problem.groups == 1 and problem.dtype.char in "fd"
        )
        w_bytes = problem.n_weights * problem.w_dtype.itemsize
        self._gathers = self.can_gather and w_bytes > TURNED_BYTES
        self._is_serial = problem.n_weights < SERIAL_WEIGHTS

    @property
    def algorithm(self):
        return None if self._plan is None else self._plan.algorithm

    @property
    def seconds(self):
        """As the plan estimates them."""
        return 0.0 if self._plan is None else self._plan.seconds

    def run(self, dy, w, bias, dx, workers):
        """Write the positions, and return them as a view of dx; w is that of the operator."""
        out = dx[self._dx]
        if bias is not None:
            bias = bias[self._of_x]
        if self._plan is not None:
            w = w[self._w]
            if self._gathers:
                w = w.transpose(1, 0, 2, 3)
            else:
                threads = 1 if self._is_serial else resolve_workers(workers)
                w = turned(w, self._plan.problem.groups, threads)
            dy, dx = dy[self._dy], out
            if self._plan.problem.channels_last:  # the plan knows how they lie in memory
                dy, dx = dy.transpose(0, 2, 3, 1), dx.transpose(0, 2, 3, 1)
            self._plan.run(dy, w, bias, 0, dx, workers)
        else:  # no output sees these positions
            out[...] = 0 if bias is None else bias[:, None, None]
        return out


class _Phase(NamedTuple):
    """Positions of one axis that see the same taps.

    Position i, of `n_positions` that are `stride` apart, collects tap t of `n_taps` from the sample
    first_output + i + t dilation of the n samples of dy; `first_tap` and `tap_step` (negative) tell
    which taps of w these are.
    """

    first_position: int
    stride: int
    n_positions: int
    first_output: int
    n: int
    first_tap: int
    tap_step: int
    n_taps: int
    dilation: int

    @property
    def end_output(self):
        return self.first_output + self.n_positions + (self.n_taps - 1) * self.dilation

    @property
    def outputs(self):
        """The samples of dy that are seen."""
        return slice(min(max(self.first_output, 0), self.n), min(max(self.end_output, 0), self.n))

    @property
    def n_outputs(self):
        return self.outputs.stop - self.outputs.start

    @property
    def is_empty(self):
        return self.n_taps == 0 or self.n_outputs <= 0

    @property
    def padding(self):
        return self.outputs.start - self.first_output, self.end_output - self.outputs.stop

    @property
    def positions(self):
        stop = self.first_position + (self.n_positions - 1) * self.stride + 1
        return slice(self.first_position, stop, self.stride)

    @property
    def taps(self):
        stop = self.first_tap + self.n_taps * self.tap_step
        return slice(self.first_tap, stop if stop >= 0 else None, self.tap_step)

    def unpadded(self):
        """The phase in pieces whose positions see no samples outside dy, each with fewer taps."""
        i = 0
        while i < self.n_positions:
            seen = self._taps_inside(i)
            start = i
            while i < self.n_positions and self._taps_inside(i) == seen:
                i += 1
            yield self._replace(
                first_position=self.first_position + start * self.stride,
                n_positions=i - start,
                first_output=self.first_output + start + seen.start * self.dilation,
                first_tap=self.first_tap + seen.start * self.tap_step,
                n_taps=len(seen),
            )

    def _taps_inside(self, i):
        first = self.first_output + i
        start = max(-(first // self.dilation), 0)
        stop = min(-((first - self.n) // self.dilation), self.n_taps)
        return range(start, max(start, stop))


def _phases(positions, n, n_taps, stride, dilation):
    """The phases of an axis: n samples of dy; positions as (first, number of them)."""
    first, n_positions = positions
    g = gcd(stride, dilation)
    q = stride // g
    for i in range(min(stride, n_positions)):
        output, phase = divmod(first + i, stride)
        k0 = next((k for k in range(min(q, n_taps)) if (phase - k * dilation) % stride == 0), None)
        count = 0 if k0 is None else (n_taps - k0 + q - 1) // q
        if k0 is not None:  # the last tap sees the first sample
            output += (phase - k0 * dilation) // stride - (count - 1) * (dilation // g)
        yield _Phase(
            first_position=i, stride=stride, n_positions=(n_positions - i + stride - 1) // stride,
            first_output=output, n=n, first_tap=(k0 or 0) + max(count - 1, 0) * q, tap_step=-q,
            n_taps=count, dilation=dilation // g,
        )  # fmt: skip


def _size(problem):
    return problem.H, problem.W
