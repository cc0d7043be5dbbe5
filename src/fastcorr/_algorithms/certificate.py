# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""Which outputs of transforms keep the contract, and how the others are computed again.

The error of a transform is relative to the largest numbers of a tile, the contract, 64 u (|x| *
|w|), to each output's own terms. So each output is certified, under 'auto' as with a forced 'fft'.
With u of the type computed in (double for float16, float32 and float64, long double for itself), n
points per transform, levels = log2(n) and more for sums over channels, and norms over a tile [1]_,

    max |y - exact| <= NORM_ERROR u levels ||x||_2 ||w||_2

|y| itself is a lower bound of |x| * |w|. For float32 the bound above is far below what is needed,
and |y| nearly always enough. For float64 the bound would refuse everything; there the certificate
is

    max |y - exact| <= u sqrt(levels) (TYPICAL_ERROR rms(x) ||w||_1 + PEAK_ERROR max(|x| * |w|))

and |x| * |w| is computed by the same transforms in the other precision, for half the cost. Outputs
that fail (beside a bright star, in the dark, under little of the kernel) and outputs of tiles with
numbers that are not finite, or too large or small to be squared, are computed from the definition.

Sums of more than MOST_TERMS terms are beyond what design and docs promise for each output. There,
an output of which the share s of the kernel lies on the image, and the rest on zeros, is held to
64 u (|x| * |w|) / s: to what it would be held if all of the kernel met such numbers.

The form of the first bound is that of a theorem, the second supposes rounding errors that are
independent of each other; the constants of both are measured, not proven. With scipy.fft, in tiles
of 64x64 to 600x640 points and kernels of 3x3 to 41x41, of ten kinds each (normal, positive,
constant, half empty, one point, a star 10^12 above the rest, 18 decades, ramps, waves), the largest
were 0.30, 2.4 and 0.9. The small tiles of fft_tiles are held to the same constants; for them only
the contract was checked, on the data of tests/test_fft.py.

.. [1] N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., chapter 24, 2002.
"""

import math
from dataclasses import replace

import numpy as np

from fastcorr._algorithms.arrays import four, nchw
from fastcorr._algorithms.definition import definition_of
from fastcorr._algorithms.gather import Stretch, any_within, gather
from fastcorr._kernels.dispatch import compute_dtype

NORM_ERROR = 1.0
TYPICAL_ERROR, PEAK_ERROR = 3.0, 1.5
# Of the 16 u and 64 u that are promised, what the transforms may use.
UNITS_OF_SINGLE = 12
UNITS_OF_DOUBLE = 48
MOST_TERMS = 10**5
# Numbers whose squares, and sums of these, neither overflow nor vanish.
LARGEST, SMALLEST = 1e140, 1e-140
# Outputs that are not worth a look for zeros.
FEW = 32
# Of a kernel on the image, for random numbers to be certified in double; EPYC 9004, 2026-11.
LEAST_SHARE = 0.46
SECONDS_PER_REPAIRED_TERM = 1 / 8e9


def is_moderate(w):
    """Whether the squares of w and their sum are neither infinite nor all lost."""
    largest = float(np.abs(w).max())
    return bool(SMALLEST < largest < LARGEST or largest == 0)


def refusal(problem, w):
    """Why 'auto' does not transform these kernels, or None."""
    if problem.method == "auto" and not is_moderate(w):
        return "w holds NaN, infinities or numbers whose squares leave the range of floats"
    return None


def is_extreme(a):
    """Where numbers are NaN, infinite or so large that sums of squares may be."""
    return ~(np.abs(a) < LARGEST)


def phases_of(taps, stride, dilation):
    """The phases of a stride that hold taps."""
    return np.unique(np.arange(taps) * dilation % stride).tolist()


def n_terms_of(problem):
    """Pairs of a channel of the group and a phase of the stride that holds taps."""
    terms = problem.C // problem.groups
    for taps, stride, dilation in zip(
        (problem.KH, problem.KW), problem.stride, problem.dilation, strict=True
    ):
        terms *= min(taps, stride // math.gcd(stride, dilation))
    return terms


def has_many_terms(problem):
    """Whether each sum has more terms than the contract speaks of."""
    return problem.C // problem.groups * problem.KH * problem.KW > MOST_TERMS


def is_tight(problem, work):
    """Whether transforms of the dtype `work` are no more precise than the result."""
    return np.finfo(work).eps == np.finfo(problem.dtype).eps


def repair_seconds(problem):
    """Estimated seconds for the outputs that see so little of the image that double fails."""
    if problem.padding_mode != "constant" or has_many_terms(problem):
        return 0.0
    places = (np.linspace(0, n - 1, 65) for n in (problem.OH, problem.OW))
    shares = [share_on_image(problem, axis, place) for axis, place in enumerate(places)]
    share = np.multiply.outer(*shares)
    terms = problem.C // problem.groups * problem.KH * problem.KW
    outputs = problem.N * problem.F * problem.OH * problem.OW
    terms_repaired = np.where(share < LEAST_SHARE, share, 0.0).mean() * terms * outputs
    return float(terms_repaired) * SECONDS_PER_REPAIRED_TERM


def share_on_image(problem, axis, place):
    """The part of the kernel's reach along an axis that lies on the image, for outputs `place`."""
    size, taps = (problem.H, problem.W)[axis], (problem.KH, problem.KW)[axis]
    first = place * problem.stride[axis] - problem.padding[axis][0]
    reach = (taps - 1) * problem.dilation[axis] + 1
    inside = np.minimum(first + reach, size) - np.maximum(first, 0)
    return np.maximum(inside, 0) / reach


def touched(problem, margins, x, fill, corner, size, predicate):
    """Where outputs corner .. corner + size of x (channels, H, W) see a position of the padded x,
    under the kernel or between its taps, with the predicate.
    """
    found_any = np.zeros(size, bool)
    reach = [
        (taps - 1) * d for taps, d in zip((problem.KH, problem.KW), problem.dilation, strict=True)
    ]
    rows, columns = (
        Stretch(first * stride, 1, (n - 1) * stride + reach + 1, *pads, length, margin)
        for first, stride, n, reach, pads, length, margin in zip(
            corner, problem.stride, size, reach, problem.padding, (problem.H, problem.W), margins,
            strict=True,
        )
    )  # fmt: skip
    for channel in x:
        part = np.zeros((rows.n, columns.n), np.result_type(x.dtype, np.float64))
        gather(channel, rows, columns, fill, part)
        found = any_within(predicate(part), reach[0], problem.stride[0])
        found_any |= any_within(np.ascontiguousarray(found.T), reach[1], problem.stride[1]).T
    return found_any


def fill_of(problem, fill):
    """The padding constant from the bytes that runners get."""
    parts = np.frombuffer(fill, compute_dtype(problem.dtype))
    return parts[0] + 1j * parts[1] if problem.x_dtype.kind == "c" else parts[0]


def settle(problem, margins, arrays, image, f0, corner, boxes, workers):
    """Make sure of the doubtful outputs of a tile of a real image.

    `boxes` (kernels, 4), for kernels from f0 on, hold their first row, end, first column and end,
    from `corner`.
    """
    doubtful = np.flatnonzero(boxes[:, 1])
    first, end = boxes[doubtful][:, ::2].min(axis=0), boxes[doubtful][:, 1::2].max(axis=0)
    size, corner_of_all = (end - first).tolist(), (corner + first).tolist()
    areas = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2]) * (boxes[:, 1] > 0)
    if areas.sum() > FEW:
        x, _, bias, y, fill = arrays
        channels = problem.C // problem.groups
        channel0 = f0 // (problem.F // problem.groups) * channels
        x = nchw(x, problem.channels_last)[image, channel0 : channel0 + channels]
        constant = fill_of(problem, fill)
        seen = touched(problem, margins, x, constant, corner_of_all, size, np.bool_)
        if not seen.any():
            for f in doubtful:
                row, row_end, column, column_end = boxes[f].tolist()
                outputs = nchw(y, problem.channels_last)[image, f0 + f]
                outputs[
                    corner[0] + row : corner[0] + row_end,
                    corner[1] + column : corner[1] + column_end,
                ] = 0 if bias is None else bias.reshape(-1)[f0 + f]
            return
    if 2 * areas.sum() >= size[0] * size[1] * len(boxes):
        kernels = slice(f0, f0 + len(boxes))
        recompute(problem, margins, arrays, image, kernels, corner_of_all, size, workers)
        return
    for f in doubtful.tolist():
        row, row_end, column, column_end = boxes[f].tolist()
        recompute(
            problem, margins, arrays, image, slice(f0 + f, f0 + f + 1),
            (corner[0] + row, corner[1] + column), (row_end - row, column_end - column), workers,
        )  # fmt: skip


def recompute(problem, margins, arrays, image, f, corner, size, workers):
    """Compute a box of outputs of kernels f (a slice of a group's) again, from the definition.

    `arrays` are (x, w, bias, y, fill) of the call.
    """
    x, w, bias, y, fill = arrays
    channels = problem.C // problem.groups
    channel0 = f.start // (problem.F // problem.groups) * channels
    x = nchw(x, problem.channels_last)[image, channel0 : channel0 + channels]
    y = nchw(y, problem.channels_last)[image, f]
    is_padded_with_zeros = problem.padding_mode == "constant" and not any(fill)
    window, outputs, taps = [], [], []
    for axis, first in enumerate(corner):
        stride, dilation = problem.stride[axis], problem.dilation[axis]
        before, _ = problem.padding[axis]
        n_taps, n = (problem.KH, problem.KW)[axis], (problem.H, problem.W)[axis]
        begin, last = 0, n_taps
        if is_padded_with_zeros:  # no more of the kernel than meets the image
            begin = min(
                max((before - (first + size[axis] - 1) * stride) // dilation, 0), n_taps - 1
            )
            last = max(min((before + n - 1 - first * stride) // dilation + 1, n_taps), begin + 1)
        taps.append(slice(begin, last))
        reach = (size[axis] - 1) * stride + (last - begin - 1) * dilation + 1
        window.append(
            Stretch(
                first * stride + begin * dilation, 1, reach, *problem.padding[axis], n,
                margins[axis],
            )
        )  # fmt: skip
        outputs.append(slice(first, first + size[axis]))
    part_x = np.zeros((1, channels, window[0].n, window[1].n), problem.x_dtype)
    constant = fill_of(problem, fill)
    for source, target in zip(x, part_x[0], strict=True):
        gather(source, *window, constant, target)
    part_w = four(w)[f, :, taps[0], taps[1]]
    n_kernels = len(part_w)
    part = replace(
        problem, N=1, C=channels, F=n_kernels, groups=1, H=window[0].n, W=window[1].n,
        KH=part_w.shape[2], KW=part_w.shape[3], OH=size[0], OW=size[1], x_shape=part_x.shape,
        w_shape=part_w.shape, y_shape=(1, n_kernels, *size), padding=((0, 0), (0, 0)),
        padding_mode="constant", channels_last=False,
    )  # fmt: skip
    if bias is not None:
        is_last = problem.dtype.kind == "c" and problem.w_dtype.kind != "c"
        bias = np.ascontiguousarray(bias[:, f] if is_last else bias[f])
    part_y = np.empty((1, n_kernels, *size), problem.dtype)
    definition_of(part, (None, None), (None, None)).run(part_x, part_w, bias, part_y, fill, workers)
    y[:, outputs[0], outputs[1]] = part_y[0]
