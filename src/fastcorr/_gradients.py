# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""The gradients of corr2d: by its input, its kernels and its bias.

Signatures and documentation, and the three sums that they need: `_adjoint` comes back to x, the
weight gradient is a correlation of x with dy, and that of the bias a sum of dy. What depends on
shapes alone is planned once and cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from fastcorr._adjoint import Adjoint
from fastcorr._adjoint_problem import (
    as_floats,
    as_input_shape,
    as_needs,
    check_dy,
    check_gradient_method,
    weight_shape,
)
from fastcorr._algorithms.arrays import four, nchw, place, placed
from fastcorr._algorithms.depthwise_grad import DepthwiseGrad, is_better
from fastcorr._algorithms.grad_weight import GradWeight
from fastcorr._algorithms.grad_weight_winograd import GradWeightWinograd
from fastcorr._algorithms.grad_weight_winograd import is_better as winograd_is_better
from fastcorr._kernels.dispatch import is_kernel_dtype
from fastcorr._padding import margins_of
from fastcorr._plan import compute_bytes, plan_for
from fastcorr._problem import cast_padding_value, check_result, normalise, problem_key
from fastcorr._typing import (
    Array,
    ChannelAxis,
    GradientMethod,
    Needs,
    Number,
    Padding,
    PaddingMode,
    Pair,
)
from fastcorr._workers import resolve_workers

# Numbers of dy that are added in one go; they are copied first unless they are neighbours.
BIAS_BLOCK = 512 * 1024


class Corr2DGrads(NamedTuple):
    """The gradients that `corr2d_backward` returns; None where one was not asked for.

    Attributes
    ----------
    x, w, b : ndarray or None
        The gradients by x, w and the bias, of the shapes of x, w and the bias.

    Examples
    --------
    >>> import numpy as np
    >>> from fastcorr import corr2d_backward
    >>> grads = corr2d_backward(np.ones((1, 2)), np.ones((1, 3)), np.ones((1, 2)), needs="xb")
    >>> grads.x, grads.w, grads.b
    (array([[1., 2., 1.]]), None, array(2.))
    >>> dx, _, db = grads
    """

    x: Array | None
    w: Array | None
    b: Array | None


def corr2d_backward(
    dy: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    *,
    needs: Needs = ("x", "w", "b"),
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "constant",
    padding_value: Number = 0,
    channel_axis: ChannelAxis = None,
    method: GradientMethod = "auto",
    workers: SupportsIndex | None = None,
) -> Corr2DGrads:
    r"""Return the gradients of `corr2d` by its input, its kernels and its bias.

    With y = corr2d(x, w, bias, ...), a real number L that depends on y, and dy its gradient by y,
    these are the gradients of L by x, w and bias. With P the padded input::

        dw[f, c, ky, kx] = sum over n, i, j of
            dy[n, f, i, j] * conj(P[n, g C / G + c, i stride + ky dilation, j stride + kx dilation])
        dP[n, g C / G + c, u, v] = sum over f of group g, and over i, ky, j, kx with
            i stride + ky dilation = u and j stride + kx dilation = v, of
            dy[n, f, i, j] * conj(w[f, c, ky, kx])
        db[f] = sum over n, i, j of dy[n, f, i, j]

    and dx is the part of dP that is x, plus, for the padding modes that repeat samples of x, what
    their copies in the padding collect. Complex numbers follow PyTorch's convention: the
    derivatives by the real and by the imaginary part are those of the gradient.

    Parameters
    ----------
    dy : array_like
        The gradient by y, of the shape of y. Floats or complex numbers, in any memory layout.
    x, w : array_like
        The input and the kernels of the call of `corr2d`, floats or complex numbers, in one of its
        four pairs of shapes.
    needs : sequence of {'x', 'w', 'b'}, default: ('x', 'w', 'b')
        Which gradients to compute.
    stride, padding, dilation, groups, padding_mode, channel_axis
        As in the call of `corr2d`.
    padding_value : number, default: 0
        As in the call of `corr2d`; dw depends on it.
    method : {'auto', 'direct'}, default: 'auto'
        How to compute the sums, as in `corr2d`.
    workers : int, optional
        Number of threads at most, as in `corr2d`. The results do not depend on it.

    Returns
    -------
    Corr2DGrads
        A named tuple (x, w, b): dx of the shape of `x` and the dtype ``np.result_type(dy, w)``; dw
        of the shape of `w` and the dtype ``np.result_type(dy, x)``; db of the dtype of `dy` and the
        shape (F,), or () for a `w` of less than four dimensions. None where `needs` has no such
        name.

    Raises
    ------
    TypeError
        `dy`, `x` or `w` holds integers or bool, or is refused by `corr2d`; `needs` is no sequence.
    ValueError
        `dy` has another shape than y (the text has the formula), `needs` has an unknown name, or
        `corr2d` refuses the arguments.
    MemoryError
        There is no memory for the results or the working space.

    See Also
    --------
    corr2d : The operator.
    corr2d_grad_input, corr2d_grad_weight : One of the gradients, without the values of x or w.
    fastcorr.nn.Conv2D : A layer that calls both.

    Notes
    -----
    dx and dw take as many operations as `corr2d` each. For dx no zeros are put between the samples
    of dy: each phase of the stride is a dense correlation of dy. Sums have the accuracy of
    `corr2d` (float16 is accumulated in float32) and an order that only the shapes determine, so
    the results are bitwise the same for any `workers`. Rows and columns of x that no output sees
    have the gradient 0.

    The options of `scipy.signal.correlate2d` are covered, too, since its boundaries are padding
    modes: see the last example.

    Examples
    --------
    >>> import numpy as np
    >>> from fastcorr import corr2d, corr2d_backward
    >>> x = np.arange(9.0).reshape(3, 3)
    >>> w = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> grads = corr2d_backward(np.ones((2, 2)), x, w)
    >>> grads.x  # how often each pixel is taken, by the weights
    array([[0., 1., 1.],
           [2., 6., 4.],
           [2., 5., 3.]])
    >>> grads.w  # sums of x over each place of the kernel
    array([[ 8., 12.],
           [20., 24.]])
    >>> grads.b
    array(4.)

    A step of gradient descent on the squared error moves a kernel towards a better one:

    >>> target = corr2d(x, [[1.0, 0.0], [0.0, -1.0]])
    >>> error = corr2d(x, w) - target
    >>> better = w - 0.001 * corr2d_backward(2 * error, x, w, needs="w").w
    >>> bool(((corr2d(x, better) - target) ** 2).sum() < (error**2).sum())
    True

    The gradient of ``scipy.signal.correlate2d(x, w, mode='same', boundary='symm')``, whose padding
    is ``((top, bottom), (left, right))`` below. 'full' pads ``K - 1`` on every side, 'valid' none;
    the boundary 'wrap' is ``padding_mode='wrap'`` and 'fill' is ``padding_mode='constant'`` with
    its `fillvalue` as `padding_value`:

    >>> from scipy.signal import correlate2d
    >>> rng = np.random.default_rng(0)
    >>> x, w, dy = rng.random((5, 6)), rng.random((2, 4)), rng.random((5, 6))
    >>> (KH, KW) = w.shape
    >>> top, left = (KH - 1) // 2, (KW - 1) // 2
    >>> padding = ((top, KH - 1 - top), (left, KW - 1 - left))
    >>> dx, dw, _ = corr2d_backward(dy, x, w, padding=padding, padding_mode="symmetric")
    >>> y = correlate2d(x, w, mode="same", boundary="symm")
    >>> np.allclose([(dx * x).sum(), (dw * w).sum()], (dy * y).sum())
    True
    """
    dy, x, w = as_floats(dy=dy, x=x, w=w)
    needs = as_needs(needs)
    key = problem_key(
        x, w, None, stride, padding, dilation, groups, padding_mode, channel_axis, method
    )
    plan = _gradients_for(dy.shape, dy.dtype, *key)
    _check(plan, padding_value, workers)
    return Corr2DGrads(
        plan.input(dy, w, None, workers) if "x" in needs else None,
        plan.weight(dy, x, padding_value, None, workers) if "w" in needs else None,
        plan.bias(dy) if "b" in needs else None,
    )


def corr2d_grad_input(
    dy: ArrayLike,
    w: ArrayLike,
    input_shape: Sequence[SupportsIndex],
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "constant",
    padding_value: Number = 0,
    channel_axis: ChannelAxis = None,
    method: GradientMethod = "auto",
    out: Array | None = None,
    workers: SupportsIndex | None = None,
) -> Array:
    """Return the gradient of `corr2d` by its input; see `corr2d_backward` for the formula.

    Parameters
    ----------
    dy : array_like
        The gradient by y, of the shape of y. Floats or complex numbers.
    w : array_like
        The kernels of the call of `corr2d`, floats or complex numbers.
    input_shape : sequence of int
        The whole shape of x, with its batch and its channels.
    stride, padding, dilation, groups, padding_mode, channel_axis
        As in the call of `corr2d`.
    padding_value : number, default: 0
        As in the call of `corr2d`; dx does not depend on it.
    method : {'auto', 'direct'}, default: 'auto'
        How to compute the sums, as in `corr2d`.
    out : ndarray, optional
        Where to write dx: an array of its shape and dtype. It may be a strided view and may overlap
        the inputs.
    workers : int, optional
        Number of threads at most, as in `corr2d`. The result does not depend on it.

    Returns
    -------
    dx : ndarray
        Of the shape `input_shape` and the dtype ``np.result_type(dy, w)``. It is `out` where that
        was given, and bitwise what `corr2d_backward` returns.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As in `corr2d_backward`; ValueError also for an `out` that does not fit or an `input_shape`
        that is not the shape of an x.

    See Also
    --------
    corr2d_backward : All gradients, with more explanations.
    corr2d_transpose : The same sums as an operator of its own, with a bias, without conjugation.

    Examples
    --------
    >>> import numpy as np
    >>> from fastcorr import corr2d_grad_input
    >>> corr2d_grad_input([[1.0, 2.0]], [[1.0, -1.0]], (1, 4), stride=(1, 2))
    array([[ 1., -1.,  2., -2.]])

    A pixel that a padding mode repeats collects what its copies do:

    >>> corr2d_grad_input(np.ones((1, 4)), [[1.0, 1.0, 1.0]], (1, 4), padding=(0, 1))
    array([[2., 3., 3., 2.]])
    >>> corr2d_grad_input(
    ...     np.ones((1, 4)), [[1.0, 1.0, 1.0]], (1, 4), padding=(0, 1), padding_mode="edge"
    ... )
    array([[3., 3., 3., 3.]])
    """
    dy, w = as_floats(dy=dy, w=w)
    x = _Operand(as_input_shape(input_shape), dy.dtype)
    key = problem_key(
        x, w, None, stride, padding, dilation, groups, padding_mode, channel_axis, method
    )
    plan = _gradients_for(dy.shape, dy.dtype, *key)
    _check(plan, padding_value, workers)
    return plan.input(dy, w, out, workers)


def corr2d_grad_weight(
    dy: ArrayLike,
    x: ArrayLike,
    kernel_size: Pair,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "constant",
    padding_value: Number = 0,
    channel_axis: ChannelAxis = None,
    method: GradientMethod = "auto",
    out: Array | None = None,
    workers: SupportsIndex | None = None,
) -> Array:
    """Return the gradient of `corr2d` by its kernels; see `corr2d_backward` for the formula.

    Parameters
    ----------
    dy : array_like
        The gradient by y, of the shape of y. Floats or complex numbers.
    x : array_like
        The input of the call of `corr2d`, floats or complex numbers.
    kernel_size : int or (int, int)
        Height and width (KH, KW) of the kernels. The rest of the shape of w follows from those of x
        and dy:

        ============== ================ =====================
        x              dy               dw
        ============== ================ =====================
        (H, W)         (OH, OW)         (KH, KW)
        (C, H, W)      (OH, OW)         (C, KH, KW)
        (C, H, W)      (F, OH, OW)      (F, C / G, KH, KW)
        (N, C, H, W)   (N, F, OH, OW)   (F, C / G, KH, KW)
        ============== ================ =====================

    stride, padding, dilation, groups, padding_mode, channel_axis
        As in the call of `corr2d`.
    padding_value : number, default: 0
        As in the call of `corr2d`; the padding takes part in the sums.
    method : {'auto', 'direct'}, default: 'auto'
        How to compute the sums, as in `corr2d`.
    out : ndarray, optional
        Where to write dw: an array of its shape and dtype. It may be a strided view and may overlap
        the inputs.
    workers : int, optional
        Number of threads at most, as in `corr2d`. The result does not depend on it.

    Returns
    -------
    dw : ndarray
        Of the shape above and the dtype ``np.result_type(dy, x)``. It is `out` where that was
        given, and bitwise what `corr2d_backward` returns.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As in `corr2d_backward`; ValueError also for an `out` that does not fit, or ranks of x and
        dy that are none of the above.

    See Also
    --------
    corr2d_backward : All gradients, with more explanations.

    Examples
    --------
    >>> import numpy as np
    >>> from fastcorr import corr2d_grad_weight
    >>> corr2d_grad_weight(np.ones((2, 2)), np.arange(9.0).reshape(3, 3), 2)
    array([[ 8., 12.],
           [20., 24.]])
    """
    dy, x = as_floats(dy=dy, x=x)
    w_shape = weight_shape(dy.shape, x.shape, kernel_size, groups, channel_axis)
    key = problem_key(
        x, _Operand(w_shape, dy.dtype), None,
        stride, padding, dilation, groups, padding_mode, channel_axis, method,
    )  # fmt: skip
    plan = _gradients_for(dy.shape, dy.dtype, *key)
    _check(plan, padding_value, workers)
    return plan.weight(dy, x, padding_value, out, workers)


class _Operand(NamedTuple):
    """What is known of an array that the caller does not pass."""

    shape: tuple
    dtype: np.dtype


def _check(plan, padding_value, workers):
    """Raise what is wrong with these before any work is done."""
    cast_padding_value(padding_value, plan.problem.x_dtype)
    if workers is not None:
        resolve_workers(workers)


@lru_cache(maxsize=256)
def _gradients_for(dy_shape, dy_dtype, *key):
    problem = normalise(*key)
    check_dy(problem, dy_shape, stride=key[6])  # as given: the problem's may be reduced
    check_gradient_method(problem.method)
    return _Gradients(problem, dy_dtype)


class _Gradients:
    """The gradients of one problem: arrays of the user's ranks and layout in and out."""

    def __init__(self, problem, dy_dtype):
        self.problem, self._dy_dtype = problem, dy_dtype

    @cached_property
    def _adjoint(self):
        return Adjoint(self.problem, self._dy_dtype, self.problem.w_dtype)

    @cached_property
    def _weight(self):
        return _WeightGradient(self.problem, self._dy_dtype)

    def input(self, dy, w, out, workers):
        return self._adjoint(dy, w.conj() if w.dtype.kind == "c" else w, None, out, workers)

    def weight(self, dy, x, padding_value, out, workers):
        problem = self.problem
        dtype = self._weight.dtype
        check_result(out, problem.w_shape, dtype)
        dw = place(out, problem.w_shape, dtype, dy, x)
        self._weight.run(
            nchw(dy, problem.channels_last),
            nchw(x, problem.channels_last),
            four(dw),
            padding_value,
            workers,
        )
        return placed(dw, out)

    def bias(self, dy):
        with np.errstate(all="ignore"):
            db = self._sum(dy) if dy.size else np.zeros(self.problem.F, dy.dtype)
        return db if len(self.problem.w_shape) == 4 else db.reshape(())

    def _sum(self, dy):
        """Sum dy over images and pixels: those of a block in pairs, then the blocks in pairs."""
        problem = self.problem
        dtype = np.dtype(np.float32) if dy.dtype == np.float16 else dy.dtype
        images = nchw(dy, problem.channels_last)
        rows = min(max(BIAS_BLOCK // (problem.F * problem.OW), 1), problem.OH)
        n_images = max(BIAS_BLOCK // (problem.F * problem.OW * rows), 1)
        blocks = (  # NumPy adds neighbours in pairs, but others one by one
            np.ascontiguousarray(images[n : n + n_images, :, row : row + rows])
            for n in range(0, problem.N, n_images) for row in range(0, problem.OH, rows)
        )  # fmt: skip
        sums = [
            block.reshape(len(block), problem.F, -1).sum(axis=2, dtype=dtype) for block in blocks
        ]
        sums = sums[0] if len(sums) == 1 else np.concatenate(sums)
        db = sums[0] if len(sums) == 1 else np.ascontiguousarray(sums.T).sum(axis=1)
        return db.astype(dy.dtype, copy=False)


class _WeightGradient:
    """dw by the compiled algorithm, or as correlations of x with dy in a dtype without kernels.

    In the latter, images are the channels that are summed: for each group, channels of x take the
    place of images and kernels are those of dy; stride and dilation change places. Complex:
    dw = sum of conj(x) dy = conj(sum of x conj(dy)).
    """

    def __init__(self, problem, dy_dtype):
        self._problem = problem
        self.dtype = np.result_type(dy_dtype, problem.x_dtype)
        self._plan = self._compiled = None
        if is_kernel_dtype(self.dtype):
            C_of_group = problem.C // problem.groups
            self._problem = replace(
                problem, dtype=self.dtype, channels_last=False,
                x_shape=(problem.N, problem.C, problem.H, problem.W),
                w_shape=(problem.F, C_of_group, problem.KH, problem.KW),
                y_shape=(problem.N, problem.F, problem.OH, problem.OW),
            )  # fmt: skip
            margins = margins_of(problem)
            self._zero = compute_bytes(self._problem, 0)
            self._compiled = GradWeight(self._problem, *margins)
            # Asked of the gradient: a real x and w may meet a complex dy.
            if is_better(replace(problem, dtype=self.dtype), self._compiled):
                self._compiled = DepthwiseGrad(self._problem, *margins)
            elif winograd_is_better(self._problem, dy_dtype, self._compiled):
                self._compiled = GradWeightWinograd(self._problem, *margins, self._compiled)
        elif problem.N * problem.OH * problem.OW:
            self._plan = plan_for(
                (problem.C // problem.groups, problem.N, problem.H, problem.W), problem.x_dtype,
                (problem.F // problem.groups, problem.N, problem.OH, problem.OW), dy_dtype,
                None, None, problem.dilation, problem.padding, problem.stride, 1,
                problem.padding_mode, None, problem.method,
            )  # fmt: skip

    def run(self, dy, x, dw, padding_value, workers):
        """Write dw (F, C / G, KH, KW) from dy (N, F, OH, OW) and x (N, C, H, W)."""
        problem = self._problem
        if self._compiled is not None:
            result = dw if dw.flags.c_contiguous else np.empty(dw.shape, dw.dtype)
            fill = self._zero
            if not (type(padding_value) is int and padding_value == 0):
                fill = compute_bytes(problem, cast_padding_value(padding_value, problem.x_dtype))
            self._compiled.run(dy, x, result, fill, resolve_workers(workers))
            if result is not dw:
                dw[...] = result
            return
        if self._plan is None:
            dw[...] = 0
            return
        if dy.dtype.kind == "c":
            dy = dy.conj()
        kernels, channels = problem.F // problem.groups, problem.C // problem.groups
        for group in range(problem.groups):
            images = x[:, group * channels : (group + 1) * channels].transpose(1, 0, 2, 3)
            outputs = dy[:, group * kernels : (group + 1) * kernels].transpose(1, 0, 2, 3)
            y = self._plan.run(images, outputs, None, padding_value, None, workers)
            # Rows and columns beyond the kernel are those of x that no output sees.
            y = y[..., : problem.KH, : problem.KW].transpose(1, 0, 2, 3)
            dw[group * kernels : (group + 1) * kernels] = y
        if dw.dtype.kind == "c":
            np.conjugate(dw, out=dw)
