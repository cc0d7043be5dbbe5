# SPDX-License-Identifier: BSD-3-Clause
"""How long the definition takes: estimates by which `_plan` compares it with other methods.

Seconds of one thread, from the problem alone; weights that a runner is bound to save time where
they are turned, the others read them as they are. Only the proportions between methods matter, so
one machine's constants serve others of its kind.
"""

import math

import numpy as np

from fastcorr._algorithms.depthwise import has_width, may_clip
from fastcorr._algorithms.filterwise import SHARED_BYTES, WINDOW_BYTES
from fastcorr._algorithms.gemm_cuts import chunk_of, panel_cycles
from fastcorr._algorithms.layout import n_phases, reach
from fastcorr._algorithms.stencil import is_swept, may_be_loose
from fastcorr._kernels.dispatch import is_kernel_dtype

# Seconds of one thread: per multiplication in float32 (twice that in double), per number of x and
# of y, per call. EPYC 9004, AVX-512, 2026-11, benchmarks/regret.py --fit
STENCIL = 1 / 48e9, 0.09e-9, 2e-6
# In strips: by their share of the time of DEPTHWISE on an Intel Xeon with AVX-512, 2026-11-27.
SWEPT = 1 / 58e9, 0.09e-9, 2e-6
# Fitted to 5 .. 56 pixels by 64 and 256 channels on an Intel Xeon with AVX-512, 2026-11-28.
LOOSE = 1 / 66e9, 0.03e-9, 2e-6
DEPTHWISE = 1 / 54e9, 0.18e-9, 2e-6
ANY_WIDTH = 1.2  # of a kernel, where each tap of each output loads x for itself
VECTOR = 16  # outputs or channels that are computed at once, also where there are fewer
# The matrix products count cycles: one of them for a multiply-add of vectors.
CYCLES_PER_SECOND = 3.66e9
CYCLES_PER_TURNED = 2.0  # number of w; Intel Xeon, AVX-512, 2026-11-28
FILTERWISE = 0.95  # by the time of gemm, fitted to 31 layers on an EPYC (Zen 5), 2026-11-28
GEMM_ROWS = {1: 14, 2: 14, 3: 9, 4: 6}  # most rows of a block beside so many vectors
FILTERWISE_OUTPUTS = {0.5: 14, 1: 28, 2: 14}  # most outputs of filterwise beside them
FILTERWISE_OUTPUTS_APART = {0.5: 14, 1: 14, 2: 14}  # under a stride of more than 2
PLANE = 0.12e-6  # of a stencil, for each channel that it begins
SWEPT_PLANE = 0.03e-6
LOOSE_PLANE = 0.02e-6
STRIDED = 3e-9  # for each output whose neighbour in the row is not its neighbour in memory
# Of the phases of dx: for each number, whose neighbours belong to others; for each that is no zero,
# where the others are; for a phase. Fitted to 18 layers on a Xeon with AVX-512, 2026-11-28.
APART, CLEARED, PHASE = 0.7e-9, 0.2e-9, 5e-6
# Of matrices, by the share in the time of layers of 1 x 1. Intel Xeon, AVX-512, 2026-11-27.
TURNED_WEIGHT, TURNED_PIXEL, TURNING = 0.4e-9, 0.9e-9, 3e-6
MATRIX_ROW = 1.2e-9  # where a row has few terms, what a kernel's call takes beside them


def stencil(problem, is_bound=False):
    """Seconds of the stencil algorithm."""
    (term, number, call), plane = STENCIL, PLANE
    if is_swept(problem):
        (term, number, call), plane = SWEPT, SWEPT_PLANE
        reach = max(problem.OW, VECTOR) + problem.KW - 1 - problem.padding[1][0]
        if may_be_loose(problem) and reach <= 2 * problem.W:
            (term, number, call), plane = LOOSE, LOOSE_PLANE
    vectors = -(-problem.OW // VECTOR)
    term *= vectors * VECTOR / max(problem.OW, 1)
    strided = STRIDED * _outputs(problem) if problem.channels_last else 0
    return (
        _widening(problem) * (term * _terms(problem) + number * _numbers(problem) + strided)
        + plane * problem.N * problem.F * (problem.C // problem.groups)
        + call
    )


def depthwise(problem, is_bound=False):
    """Seconds of the depthwise algorithm."""
    term, number, call = DEPTHWISE
    full = -(-problem.C // VECTOR) * VECTOR / problem.C
    if may_clip(problem):
        term *= _share_of_rows(problem) * _share_of_columns(problem)
    elif not has_width(problem):
        term *= ANY_WIDTH
    return _widening(problem) * full * (term * _terms(problem) + number * _numbers(problem)) + call


def gemm(problem, is_bound=False):
    """Seconds of the implicit matrix product."""
    m, channels, n_taps, lanes = _sizes(problem)
    oh, ow = problem.OH, problem.OW
    k = channels * n_taps
    axes = tuple(zip((problem.KH, problem.KW), problem.stride, problem.dilation, strict=True))
    rows, columns = (
        n + (taps - 1) * dilation // stride
        for n, (taps, stride, dilation) in zip((oh, ow), axes, strict=True)
    )
    planes = math.prod(n_phases(*axis) for axis in axes)
    packed = -(-oh * ow // lanes)
    strips = n_phases(*axes[0]) * problem.KW * rows * (8 + 2 * ow / lanes)
    cycles = min(
        _blocks(m, -(-((oh - 1) * columns + ow) // lanes)) * k,  # as the window lies
        _blocks(m, oh * -(-ow // lanes)) * k,  # row by row
        _blocks(m, packed) * k
        + channels * min((2 * packed + 4 * (oh + packed / 2)) * n_taps, strips),
    )
    vector = 8 if problem.stride[1] <= 2 else 40  # larger strides are copied number by number
    row = (20 if planes == 1 else 30) + vector * columns / lanes
    cycles += channels * rows * planes * row + 4 * m * packed
    if problem.channels_last:
        cycles += 1.5 * m * oh * ow  # sums are transposed
    images = problem.N * problem.groups * _parts(problem)
    return (images * (cycles + 1500) + 4000) / CYCLES_PER_SECOND


def _blocks(m, vectors):
    """Cycles per term of m rows of w and that many vectors of outputs, in the best blocks."""
    best = np.inf
    for nv, most in GEMM_ROWS.items():
        n_blocks = -(-m // most)
        cycles = vectors // nv * panel_cycles(m / n_blocks, nv)
        if vectors % nv:
            cycles += panel_cycles(m / n_blocks, vectors % nv)
        best = min(best, n_blocks * cycles)
    return best


def filterwise(problem, is_bound=False):
    """Seconds of the matrix product with vectors along the output channels."""
    m, channels, taps, lanes = _sizes(problem)
    # Single taps reuse nothing of the lines of x that they fetch, unless these hold channels.
    if taps == 1 and not problem.channels_last:
        return np.inf
    oh, ow = problem.OH, max(problem.OW, 1)
    vectors = -(-m // lanes)
    k = channels * taps
    met = k * _share_of_rows(problem) if problem.padding_mode == "constant" else k
    row = (6 if problem.channels_last else 9) * vectors * ow  # to store them
    # Blocks of two vectors, and one of a single vector, where loads take longer than products; half
    # of one takes as long, if the processor's units are as wide. Fitted to 30 layers of 2 to 48
    # output channels on an Intel Xeon with AVX-512, 2026-11-28.
    single = 0.5 if 2 * m <= lanes else 1
    most, width_of_single = FILTERWISE_OUTPUTS, 1.2
    if problem.stride[1] > 2:  # a step that is no constant in the code for a single vector
        most, width_of_single = FILTERWISE_OUTPUTS_APART, 1.6
    for nv, width, n_blocks in ((2, 2, vectors // 2), (single, width_of_single, vectors % 2)):
        calls = -(-ow // most[nv])  # for a row of outputs
        line = 1 + ow * problem.stride[1] / calls / lanes  # lines of x for a term of each of KW
        outputs = ow * width / calls  # vectors in registers
        term = max(outputs, 5, line * 6 / problem.KW) + 1.5
        call = 30 + term * met + line * k / problem.KW
        row += n_blocks * calls * (call + 10 * (k // 1280))
    height, width = problem.H + sum(problem.padding[0]), problem.W + sum(problem.padding[1])
    cycles = oh * row + 500
    if taps > 1:  # others are read where they lie
        cycles += channels * height * (20 + 8 * width / lanes)
    cycles *= problem.N
    if not is_bound:
        cycles += CYCLES_PER_TURNED * vectors * lanes * k * _times_turned(problem)
    cycles *= FILTERWISE * problem.groups * _parts(problem)
    return (cycles + 8000) / CYCLES_PER_SECOND


def _times_turned(problem):
    """How often filterwise copies w: once, or for each tile of rows where w is large."""
    m, channels, taps, lanes = _sizes(problem)
    item = 8 if _is_wide(problem) else 4
    if -(-m // lanes) * lanes * problem.groups * channels * taps * item <= SHARED_BYTES:
        return 1
    channels = chunk_of(channels, problem.KH, problem.KW, 1)[0]
    width = reach(problem.OW, problem.KW, problem.stride[1], problem.dilation[1])
    rows = WINDOW_BYTES // (channels * width * item)
    rows = (rows - (problem.KH - 1) * problem.dilation[0]) // problem.stride[0]
    return -(-problem.OH // max(rows, 1))


def fold(problem):
    """Seconds that dx of one image takes by products with all taps, not by a correlation of dy."""
    f, channels, taps, lanes = _sizes(problem)
    vectors = -(-problem.OH * problem.OW // lanes)
    # The proportions fitted to 969 layers on a Xeon with AVX-512, 2026-11-27.
    cycles = _blocks(channels * taps, vectors) * f + 4.5 * channels * taps * vectors
    columns = -(-problem.W // problem.stride[1])
    cycles += 7 * channels * taps * problem.OH * -(-columns // lanes)
    cycles += f * (47 + 6 * vectors) + 37 * channels * problem.H
    return (cycles + 4000) / CYCLES_PER_SECOND


def phases(problem, parts):
    """Seconds that dx of one image takes by correlations of dy, one for each phase, of `parts`."""
    if problem.stride == (1, 1):
        return sum(parts)
    if problem.KH * problem.KW == 1:  # all phases but one are zeros
        apart = CLEARED * problem.OH * problem.OW
    else:
        apart = APART * problem.H * problem.W
    return sum(parts) + turned_weights(problem) / 2 + apart * problem.C + PHASE * len(parts)


def turned_weights(problem):
    """Seconds of turning w, which a correlation that comes back from y to x takes beside gemm."""
    return TURNED_WEIGHT * problem.n_weights * (2 if _is_wide(problem) else 1)


def turned_images(problem):
    """Seconds of turning an image of y and one of x instead, which are turned back."""
    numbers = (problem.F + problem.C) * problem.OH * problem.OW
    return TURNED_PIXEL * numbers * (2 if _is_wide(problem) else 1) + TURNING


def _share_of_rows(problem):
    """How many of the kernel's rows meet the image, on average over rows of outputs."""
    return _share(problem, 0, problem.H, problem.KH, problem.OH)


def _share_of_columns(problem):
    return _share(problem, 1, problem.W, problem.KW, problem.OW)


def _share(problem, axis, n, taps, outputs):
    stride, dilation = problem.stride[axis], problem.dilation[axis]
    start = np.arange(outputs) * stride - problem.padding[axis][0]
    first, last = (np.clip(-(-at // dilation), 0, taps) for at in (-start, n - start))
    return (last - first).sum() / max(outputs * taps, 1)


def generic(problem, is_bound=False):
    """Seconds of the definition in long double; where there are kernels, they are faster."""
    return np.inf if is_kernel_dtype(problem.dtype) else _terms(problem) * 2e-9


def _terms(problem):
    """Multiplications of the definition."""
    return problem.N * problem.n_weights * problem.OH * problem.OW


def _outputs(problem):
    return problem.N * problem.F * problem.OH * problem.OW


def _numbers(problem):
    """Numbers of x that are staged and of y."""
    inputs = problem.C * problem.OH * problem.OW * problem.stride[0] * problem.stride[1]
    return problem.N * inputs * (problem.F // problem.groups) + _outputs(problem)


def _sizes(problem):
    """Output and input channels of a group, taps of a kernel, and numbers in a vector."""
    groups = problem.groups
    m, channels, taps = problem.F // groups, problem.C // groups, problem.KH * problem.KW
    return m, channels, taps, VECTOR // (2 if _is_wide(problem) else 1)


def _parts(problem):
    """A complex product is four real ones."""
    return 2 ** ((problem.x_dtype.kind == "c") + (problem.w_dtype.kind == "c"))


def _is_wide(problem):
    """Half as many numbers fill a vector."""
    return problem.dtype.char in "dDlLqQ"


def _widening(problem):
    """Time by that of float32."""
    return _parts(problem) * (2 if _is_wide(problem) else 1)
