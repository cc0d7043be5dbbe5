# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""From dy to dx of 1 x 1 kernels with channels last: dx (pixels x C) = dy (pixels x F) w (F x C).

All three matrices lie in memory as the implicit matrix product (gemm.pyx) likes them best: it reads
dy as its weights, one row for each pixel, and w as an image of F channels whose "pixels" are the C
channels of dx. So nothing is turned, and sums go straight to dx. The correlation that `_adjoint`
would take instead turns w, and copies every pixel of dy and of dx to where it needs it.

How many pixels there are is how many rows dy has: it changes no sum, whatever the batch.
"""

from dataclasses import replace
from itertools import pairwise

from fastcorr import _costs
from fastcorr._algorithms.gemm import Gemm
from fastcorr._padding import margins_of

AXES_OF_PIXELS = 0, 2, 3, 1  # of an array (N, C, H, W)


def unsupported(problem):
    """None, or why it is not for dx of a problem of the operator, whose dtype is that of dx."""
    if problem.dtype.char not in "fd":
        return f"it does not serve {problem.dtype}"
    if problem.KH * problem.KW > 1 or problem.stride != (1, 1):
        return "a product of matrices is for kernels of 1 x 1 at stride 1"
    if problem.groups > 1 or any(problem.padding[0] + problem.padding[1]):
        return "it serves one group without padding"
    if not problem.channels_last:
        return "pixels are no rows in memory"
    image = replace(problem, C=problem.F, F=problem.C)
    if _costs.gemm(replace(image, N=1)) < _costs.gemm(_product(problem, problem.H * problem.W)):
        return "too few channels of dx fill vectors"
    return None


class PointwiseTranspose:
    """The algorithm for one problem of the operator, whose dtypes are x: dy, w and that of dx."""

    pads_dy = False

    def __init__(self, problem):
        self._problem = problem
        self._fill = bytes(2 * problem.dtype.itemsize)  # there is no padding
        self._products = {}  # by pixels: there are three numbers of them at most

    def run(self, dy, w, bias, dx, workers):
        """Write dx (N, C, H, W) from dy (N, F, H, W) and w (F, C, 1, 1); bias (C,) or None."""
        problem = self._problem
        image = w.reshape(problem.F, 1, problem.C)
        for rows, sums in _matrices(dy.transpose(AXES_OF_PIXELS), dx.transpose(AXES_OF_PIXELS)):
            n = len(rows)
            product = self._products.get(n)
            if product is None:
                product = self._products[n] = Gemm(_product(problem, n), *margins_of(problem))
            product.run(image, rows[:, :, None, None], None, sums[:, None], self._fill, workers)
            if bias is not None:
                sums += bias


def _product(problem, n_pixels):
    """The correlation of w, as an image, with dy, as kernels: y has the pixels for channels."""
    x_shape, y_shape = (problem.F, 1, problem.C), (n_pixels, 1, problem.C)
    return replace(
        problem, N=1, C=problem.F, H=1, W=problem.C, F=n_pixels, OH=1, OW=problem.C,
        x_shape=x_shape, w_shape=(n_pixels, problem.F, 1, 1), y_shape=y_shape,
        channels_last=False, padding_mode="constant", x_dtype=problem.w_dtype,
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
