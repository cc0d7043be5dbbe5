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

    max |y - exact| <= u sqrt(levels) (TYPICAL_ERROR rms(x) ||w||_2 + peak_error max(|x| * |w|))

and |x| * |w| is computed by the same transforms in the other precision, for half the cost. Outputs
that fail (beside a bright star, in the dark, under little of the kernel) and outputs of tiles with
numbers that are not finite, or too large or small to be squared, are computed from the definition.

Sums of more than MOST_TERMS terms are beyond what design and docs promise for each output. There,
an output of which the share s of the kernel lies on the image, and the rest on zeros, is held to
64 u (|x| * |w|) / s: to what it would be held if all of the kernel met such numbers.

The form of the first bound is that of a theorem, the second supposes rounding errors that are
independent of each other, but for those that numbers of one size or one frequency have in common;
the constants of both are measured, not proven. In tiles of 64x64 to 600x640 points and kernels of
3x3 to 300x300, of seventeen kinds each (normal, positive, constant, half empty, one point, a star
10^12 above the rest, 18 decades, ramps, waves, walks), the largest were 0.30, 7.8, and of the last
1.7 in transforms of GOOD_LENGTHS, 3.5 in others of `fft_large`, 5.5 in scipy.fft.

.. [1] N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., chapter 24, 2002.
"""

import math
from dataclasses import replace

import numpy as np

from fastcorr._algorithms.arrays import four, nchw
from fastcorr._algorithms.boxes import BLOCK, compute, serves
from fastcorr._algorithms.definition import definition_of
from fastcorr._algorithms.gather import Stretch, any_within, gather
from fastcorr._algorithms.layout import n_phases
from fastcorr._kernels.dispatch import compute_dtype

NORM_ERROR = 1.0
TYPICAL_ERROR, PEAK_ERROR, PEAK_ERROR_OF_OTHERS = 10.0, 2.2, 4.5
# Times powers of 2. Many factors of 3 and 5 cost digits: their roots of unity are not exact.
GOOD_LENGTHS = 1, 3, 5, 9
# Of the 16 u and 64 u that are promised, what the transforms may use.
UNITS_OF_SINGLE = 12
UNITS_OF_DOUBLE = 48
MOST_TERMS = 10**5
# Numbers whose squares, and sums of these, neither overflow nor vanish.
LARGEST, SMALLEST = 1e140, 1e-140
# Outputs that are not worth a look for zeros.
FEW = 32
# Outputs whose |x| * |w| is summed one by one: for most, a few terms are enough.
FEW_TO_SUM = 1024
SECONDS_PER_REPAIRED_TERM = 1 / 8e9
# Of outputs that are repaired together, by `boxes` or others; Intel Xeon, AVX-512, 2026-11-27.
SECONDS_PER_BLOCK, SECONDS_PER_BOX = 5e-6, 100e-6
SECONDS_PER_LOOK = 10e-9  # for zeros, per output of a tile


def is_good(n):
    """Whether a transform of that length is one of the most precise."""
    return n // (n & -n) in GOOD_LENGTHS


def peak_error(*lengths):
    """The constant for transforms of our own of these lengths."""
    return PEAK_ERROR if all(map(is_good, lengths)) else PEAK_ERROR_OF_OTHERS


def is_moderate(w):
    """Whether the squares of w and their sum are neither infinite nor all lost."""
    if w.dtype.kind == "c":
        largest = float(np.abs(w).max())
    else:  # no array of magnitudes: it may be as large as the image
        largest = max(float(w.max()), -float(w.min()))
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
        terms *= n_phases(taps, stride, dilation)
    return terms


def has_many_terms(problem):
    """Whether each sum has more terms than the contract speaks of."""
    return problem.n_summed > MOST_TERMS


def is_tight(problem, work):
    """Whether transforms of the dtype `work` are no more precise than the result."""
    return np.finfo(work).eps == np.finfo(problem.dtype).eps


def repair_seconds(problem):
    """Estimated seconds for the outputs that see so little of the image that double fails."""
    least = least_share(problem)
    if least == 0:
        return 0.0
    places = (np.linspace(0, n - 1, 65) for n in (problem.OH, problem.OW))
    shares = [share_on_image(problem, axis, place) for axis, place in enumerate(places)]
    share = np.multiply.outer(*shares)
    outputs = problem.N * problem.F * problem.OH * problem.OW
    share_repaired = float(np.where(share < least, share, 0.0).mean())
    return share_repaired * problem.n_summed * outputs * SECONDS_PER_REPAIRED_TERM


def least_share(problem):
    """Of a kernel on the image, for normal random numbers to be certified in double.

    0 where the image is continued, or where less is promised; see MOST_TERMS. Else by the second
    bound above, for 16 levels, a largest |x| * |w| of 1.3 times the mean, which is 2 / pi per term,
    and the least of many: 5 standard deviations below its own mean.
    """
    if problem.padding_mode != "constant" or has_many_terms(problem):
        return 0.0
    inverse = 1 / math.sqrt(max(problem.n_summed, 1))
    typical = math.sqrt(16) * TYPICAL_ERROR / UNITS_OF_DOUBLE * math.pi / 2
    peak = math.sqrt(16) * PEAK_ERROR / UNITS_OF_DOUBLE * 1.3
    # s (1 - 5 inverse / sqrt(s)) = typical inverse + peak
    return (2.5 * inverse + math.sqrt((2.5 * inverse) ** 2 + typical * inverse + peak)) ** 2


def share_on_image(problem, axis, place):
    """The part of the kernel's reach along an axis that lies on the image, for outputs `place`."""
    size, taps = (problem.H, problem.W)[axis], (problem.KH, problem.KW)[axis]
    first = place * problem.stride[axis] - problem.padding[axis][0]
    reach = (taps - 1) * problem.dilation[axis] + 1
    inside = np.minimum(first + reach, size) - np.maximum(first, 0)
    return np.maximum(inside, 0) / reach


def shares_of(problem, fill, corner, size):
    """By rows and by columns, the share of what is needed that an output needs; see MOST_TERMS."""
    if not (has_many_terms(problem) and problem.padding_mode == "constant" and fill == 0):
        return tuple(np.ones(n) for n in size)
    return tuple(
        share_on_image(problem, axis, first + np.arange(n))
        for axis, (first, n) in enumerate(zip(corner, size, strict=True))
    )


def has_at_least(problem, margins, arrays, image, f, place, needed):
    """Whether |x| * |w| of one output, of real numbers, is `needed` or more.

    The terms of some rows are enough, where they reach it.
    """
    x, w, _, _, fill = arrays
    channels = problem.C // problem.groups
    channel0 = f // (problem.F // problem.groups) * channels
    x = nchw(x, problem.channels_last)[image, channel0 : channel0 + channels]
    constant, total = fill_of(problem, fill), 0.0
    rows, columns = (
        Stretch(at * stride, dilation, taps, *pads, length, margin)
        for at, stride, dilation, taps, pads, length, margin in zip(
            place, problem.stride, problem.dilation, (problem.KH, problem.KW), problem.padding,
            (problem.H, problem.W), margins, strict=True,
        )
    )  # fmt: skip
    lo, hi = rows.content(constant)
    middle, step = (lo + hi) // 2, 1
    for first, end in ((middle, hi), (lo, middle)):
        while first < end:
            here = slice(first, min(first + step, end))
            for channel, weights in zip(x, four(w)[f], strict=True):
                part = np.zeros((here.stop - first, columns.n))
                gather(channel, rows.part(first, here.stop), columns, constant, part)
                total += float(np.abs(part * weights[here]).sum())
            if total >= needed:
                return True
            first, step = here.stop, 2 * step
    return total >= needed


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


def repair(problem, margins, arrays, image, f, corner, doubtful, workers):
    """Compute a kernel's doubtful outputs, from `corner` on, again: in boxes, if there are many."""
    x, _, bias, y, fill = arrays
    size, constant = doubtful.shape, fill_of(problem, fill)
    rows, columns = np.nonzero(doubtful)
    terms = len(rows) * problem.n_summed
    if problem.padding_mode == "constant" and constant == 0:
        shares = (share_on_image(problem, 0, corner[0] + rows),
                  share_on_image(problem, 1, corner[1] + columns))  # fmt: skip
        terms *= float((shares[0] * shares[1]).mean()) if len(rows) else 0
    if terms * SECONDS_PER_REPAIRED_TERM > doubtful.size * SECONDS_PER_LOOK:
        channels = problem.C // problem.groups
        channel0 = f // (problem.F // problem.groups) * channels
        x = nchw(x, problem.channels_last)[image, channel0 : channel0 + channels]
        zero = doubtful & ~touched(problem, margins, x, constant, corner, size, np.bool_)
        outputs = nchw(y, problem.channels_last)[image, f]
        outputs = outputs[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]
        outputs[zero] = 0 if bias is None else bias_of(problem, bias, f)
        rows, columns = np.nonzero(doubtful & ~zero)
    boxes = boxes_of(problem, corner, size, rows, columns, not any(fill))
    compute_boxes(problem, margins, arrays, image, f, boxes, workers)


def compute_boxes(problem, margins, arrays, image, f, boxes, workers):
    """Compute boxes (row, end, column, end) of a kernel's outputs from the definition."""
    if serves(problem):
        table = _cut(problem, boxes, not any(arrays[4]))
        compute(problem, margins, arrays, image, f, table, workers)
        return
    for row, row_end, column, column_end in boxes:
        recompute(
            problem, margins, arrays, image, slice(f, f + 1), (row, column),
            (row_end - row, column_end - column), workers,
        )  # fmt: skip


def _cut(problem, boxes, fill_is_zero):
    """The boxes cut into such as `boxes.compute` takes."""
    table = []
    for row, row_end, column, column_end in boxes:
        is_turned = row_end - row > column_end - column
        height, width = BLOCK[::-1] if is_turned else BLOCK
        for first_row in range(row, row_end, height):
            n_rows = min(height, row_end - first_row)
            row_taps = taps_met(problem, 0, first_row, n_rows, fill_is_zero)
            for first_column in range(column, column_end, width):
                n_columns = min(width, column_end - first_column)
                column_taps = taps_met(problem, 1, first_column, n_columns, fill_is_zero)
                ends = first_row + n_rows, first_column + n_columns
                box = first_row, ends[0], first_column, ends[1]
                table.append((*box, *row_taps, *column_taps, is_turned))
    return np.array(table, np.intp)


def boxes_of(problem, corner, size, rows, columns, fill_is_zero):
    """Boxes (row, end, column, end) that hold all outputs (rows, columns) from `corner` on.

    Those of BLOCK, or of one output where there are few, and of these neighbours are taken together
    if that saves time.
    """
    height, width = (1, 1) if len(rows) <= FEW else BLOCK
    n_across = -(-size[1] // width)
    block = rows // height * n_across + columns // width
    order = np.argsort(block, kind="stable")
    starts = np.flatnonzero(np.diff(block[order], prepend=-1))
    if not len(starts):
        return []
    ends = []
    for at in rows[order], columns[order]:
        ends += [np.minimum.reduceat(at, starts), np.maximum.reduceat(at, starts) + 1]
    boxes = np.stack(ends, axis=1).tolist()

    of_box = SECONDS_PER_BLOCK if serves(problem) else SECONDS_PER_BOX

    def cost(box):
        outputs = (box[1] - box[0]) * (box[3] - box[2])
        for axis in (0, 1):
            first, end = box[2 * axis : 2 * axis + 2]
            begin, last = taps_met(problem, axis, corner[axis] + first, end - first, fill_is_zero)
            outputs *= last - begin
        terms = outputs * (problem.C // problem.groups)
        return of_box + terms * SECONDS_PER_REPAIRED_TERM

    boxes = merged(boxes, (0, 2), height, width, cost)
    boxes.sort(key=lambda box: (box[2] // width, box[0]))
    boxes = merged(boxes, (2, 0), width, height, cost)
    return (np.array(boxes) + np.repeat(corner, 2)).tolist()


def merged(boxes, axes, across, along, cost):
    """Boxes that follow each other in the list, those of one line that do not lie far apart.

    A line is `across` wide along axis axes[0], a gap along axes[1] less than `along`.
    """
    line, at = axes
    found = []
    for box in boxes:
        if found:
            other = found[-1][0]
            both = [min(box[0], other[0]), max(box[1], other[1]),
                    min(box[2], other[2]), max(box[3], other[3])]  # fmt: skip
            if box[line] // across == other[line] // across and box[at] - other[at + 1] < along:
                costs = cost(box), cost(both)
                if costs[1] <= found[-1][1] + costs[0]:
                    found[-1] = both, costs[1]
                    continue
        found.append((box, cost(box)))
    return [box for box, _ in found]


def taps_met(problem, axis, first, n_outputs, fill_is_zero):
    """The run of taps along an axis that meet the image for any of these outputs, one at least.

    All of them, unless there are zeros outside.
    """
    taps, size = (problem.KH, problem.KW)[axis], (problem.H, problem.W)[axis]
    if problem.padding_mode != "constant" or not fill_is_zero:
        return 0, taps
    stride, dilation = problem.stride[axis], problem.dilation[axis]
    before, _ = problem.padding[axis]
    begin = min(max((before - (first + n_outputs - 1) * stride) // dilation, 0), taps - 1)
    return begin, max(min((before + size - 1 - first * stride) // dilation + 1, taps), begin + 1)


def bias_of(problem, bias, f):
    """The bias of a kernel from the numbers that runners get."""
    if problem.dtype.kind != "c":
        return bias.reshape(-1)[f]
    real, imag = bias[f] if problem.w_dtype.kind == "c" else bias[:, f]
    return real + 1j * imag


def recompute(problem, margins, arrays, image, f, corner, size, workers):
    """Compute a box of outputs of kernels f (a slice of a group's) again, from the definition.

    `arrays` are (x, w, bias, y, fill) of the call.
    """
    x, w, bias, y, fill = arrays
    channels = problem.C // problem.groups
    channel0 = f.start // (problem.F // problem.groups) * channels
    x = nchw(x, problem.channels_last)[image, channel0 : channel0 + channels]
    y = nchw(y, problem.channels_last)[image, f]
    window, outputs, taps = [], [], []
    for axis, first in enumerate(corner):
        stride, dilation = problem.stride[axis], problem.dilation[axis]
        n = (problem.H, problem.W)[axis]
        begin, last = taps_met(problem, axis, first, size[axis], not any(fill))
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
    part_y = np.empty((1, len(part_w), *size), problem.dtype)
    target, strides, dilations = part_y, problem.stride, problem.dilation
    if size[0] > size[1]:  # vectors lie along the rows
        part_x = np.ascontiguousarray(part_x.swapaxes(2, 3))
        part_w, part_y = part_w.swapaxes(2, 3), part_y.swapaxes(2, 3)
        strides, dilations = strides[::-1], dilations[::-1]
    part = replace(
        problem, N=1, C=channels, F=len(part_w), groups=1, H=part_x.shape[2], W=part_x.shape[3],
        KH=part_w.shape[2], KW=part_w.shape[3], OH=part_y.shape[2], OW=part_y.shape[3],
        x_shape=part_x.shape, w_shape=part_w.shape, y_shape=part_y.shape, stride=strides,
        dilation=dilations, padding=((0, 0), (0, 0)), padding_mode="constant", channels_last=False,
    )  # fmt: skip
    if bias is not None:
        is_last = problem.dtype.kind == "c" and problem.w_dtype.kind != "c"
        bias = np.ascontiguousarray(bias[:, f] if is_last else bias[f])
    definition_of(part, (None, None), (None, None)).run(part_x, part_w, bias, part_y, fill, workers)
    y[:, outputs[0], outputs[1]] = target[0]
