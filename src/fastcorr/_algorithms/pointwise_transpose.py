# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""From dy to dx of 1 x 1 kernels: dx (pixels x C) = dy (pixels x F) w (F x C).

With channels last, all three matrices lie in memory as the implicit matrix product (gemm.pyx) likes
them best: it reads dy as its weights, one row for each pixel, and w as an image of F channels whose
"pixels" are the C channels of dx. So nothing is turned, and sums go straight to dx. The correlation
that `_adjoint` would take instead turns w, and copies every pixel of dy and of dx to where it needs
it.

With channels first, dy and dx are turned instead of w: less to copy where images are small, and
channels fill vectors that 49 pixels do not. Under a stride, the pixels of dy are as few, and zeros
lie between those that they give.

How many pixels there are is how many rows dy has: it changes no sum, whatever the batch.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from fastcorr import _costs
from fastcorr._algorithms.gemm import Gemm
from fastcorr._algorithms.turned import turned
from fastcorr._padding import margins_of

# Of the images that are turned at a time, the larger of both sides.
TURNED_BYTES = 4 * 1024 * 1024
SERIAL_ITEMS = 128 * 1024  # turning fewer pays for no second thread
AXES_OF_PIXELS = 0, 2, 3, 1  # of an array (N, C, H, W)


def unsupported(problem):
    """None, or why it is not for dx of a problem of the operator, whose dtype is that of dx."""
    if problem.dtype.char not in "fd":
        return f"it does not serve {problem.dtype}"
    if problem.KH * problem.KW > 1:
        return "a product of matrices is for kernels of 1 x 1"
    if problem.channels_last and problem.stride != (1, 1):
        return "pixels that are far apart make no matrix"
    if problem.groups > 1 or any(problem.padding[0] + problem.padding[1]):
        return "it serves one group without padding"
    # Of one image, so that a batch goes the same way.
    back = replace(problem, N=1, C=problem.F, F=problem.C)
    other = min(_costs.gemm(back), _costs.filterwise(back))
    n_pixels = problem.OH * problem.OW
    seconds = _costs.gemm(_product(problem, n_pixels)) + _costs.MATRIX_ROW * n_pixels
    if not problem.channels_last:
        other += _costs.turned_weights(problem)
        seconds += _costs.turned_images(problem)
    return "the correlation with dy is faster" if other < seconds else None


class PointwiseTranspose:
    """The algorithm for one problem of the operator, whose dtypes are x: dy, w and that of dx."""

    pads_dy = False

    def __init__(self, problem):
        self._problem = problem
        self._fill = bytes(2 * problem.dtype.itemsize)  # there is no padding
        self._products = {}  # by pixels: there are three numbers of them at most

    def run(self, dy, w, bias, dx, workers):
        """Write dx (N, C, H, W) from dy (N, F, OH, OW) and w (F, C, 1, 1); bias (C,) or None."""
        problem = self._problem
        image = w.reshape(problem.F, 1, problem.C)
        if not problem.channels_last:
            if problem.stride != (1, 1):
                dx[...] = 0 if bias is None else bias[:, None, None]
                dx = dx[:, :, :: problem.stride[0], :: problem.stride[1]]
            self._run_turned(dy, image, bias, dx[:, :, : problem.OH, : problem.OW], workers)
            return
        for rows, sums in _matrices(dy.transpose(AXES_OF_PIXELS), dx.transpose(AXES_OF_PIXELS)):
            self._multiply(rows, image, bias, sums, workers)

    def _run_turned(self, dy, image, bias, dx, workers):
        """Some images at a time."""
        problem = self._problem
        n_pixels = problem.OH * problem.OW
        line = n_pixels * max(problem.F, problem.C)
        step = max(TURNED_BYTES // (line * problem.dtype.itemsize), 1)
        for start in range(0, len(dy), step):
            some, result = dy[start : start + step], dx[start : start + step]
            n = len(some)
            threads = workers if n * line >= SERIAL_ITEMS else 1
            rows = turned(some.reshape(n * problem.F, n_pixels, 1, 1), n, threads)
            sums = np.empty((n * n_pixels, problem.C), problem.dtype)
            self._multiply(rows[:, :, 0, 0], image, bias, sums, workers)
            planes = n * problem.C, n_pixels, 1, 1
            if result.flags.carray:
                turned(sums[:, :, None, None], n, threads, result.reshape(planes))
            else:
                result[...] = turned(sums[:, :, None, None], n, threads).reshape(result.shape)

    def _multiply(self, rows, image, bias, sums, workers):
        """Write sums (pixels, C) of rows (pixels, F)."""
        n = len(rows)
        product = self._products.get(n)
        if product is None:
            product = Gemm(_product(self._problem, n), *margins_of(self._problem))
            self._products[n] = product
        product.run(image, rows[:, :, None, None], None, sums[:, None], self._fill, workers)
        if bias is not None:
            sums += bias


def _product(problem, n_pixels):
    """The correlation of w, as an image, with dy, as kernels: y has the pixels for channels."""
    x_shape, y_shape = (problem.F, 1, problem.C), (n_pixels, 1, problem.C)
    return replace(
        problem, N=1, C=problem.F, H=1, W=problem.C, F=n_pixels, OH=1, OW=problem.C,
        x_shape=x_shape, w_shape=(n_pixels, problem.F, 1, 1), y_shape=y_shape,
        stride=(1, 1), channels_last=False, padding_mode="constant", x_dtype=problem.w_dtype,
        w_dtype=problem.x_dtype, bias_shape=None,
    )  # fmt: skip


def _matrices(dy, dx):
    """Yield dy and dx as pairs of matrices (pixels, channels): the fewest that need no copy."""
    if _is_matrix(dy) and _is_matrix(dx):
        yield dy.reshape(-1, dy.shape[-1]), dx.reshape(-1, dx.shape[-1])
    else:
        for pair in zip(dy, dx, strict=True):
            yield from _matrices(*pair)


def _is_matrix(a):
    """Whether all axes but the last one are one, with one step."""
    if a.flags.c_contiguous:
        return True
    steps = [(n, step) for n, step in zip(a.shape[:-1], a.strides, strict=False) if n > 1]
    return all(outer == n * step for (_, outer), (n, step) in pairwise(steps))
