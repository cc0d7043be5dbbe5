# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""A layer to learn with: weights, a bias, their gradients, and nothing else.

There is no graph and no optimiser: `backward` is called by hand, in the reverse order of the
layers, and a step of gradient descent is ``layer.weight -= rate * layer.weight_grad``.
"""

from __future__ import annotations

from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastcorr._gradients import corr2d_backward
from fastcorr._operator import corr2d
from fastcorr._padding import PADDING_MODES
from fastcorr._problem import _channel_axis, one_of
from fastcorr._shapes import as_padding, as_pair, integer, shown
from fastcorr._typing import Array, ChannelAxis, Padding, PaddingMode, Pair

__all__ = ["Conv2D"]


class Conv2D:
    """A convolution layer on NumPy arrays: `corr2d` with weights that learn.

    Parameters
    ----------
    in_channels, out_channels : int
        C and F, the channels of the input and of the output.
    kernel_size : int or (int, int)
        Height and width (KH, KW) of the kernels.
    stride, padding, dilation, groups, padding_mode, channel_axis
        As in `corr2d`.
    bias : bool, default: True
        Whether there is a bias.
    dtype : dtype, default: np.float32
        Of the weights and the bias: floats or complex numbers.
    rng : None, int or np.random.Generator, optional
        Where the first weights come from: a seed or a generator, as in `np.random.default_rng`. The
        same seed gives the same weights, bit for bit.

    Attributes
    ----------
    weight : ndarray of shape (F, C / groups, KH, KW)
        Drawn from the uniform distribution on ``[-1 / sqrt(fan_in), 1 / sqrt(fan_in)]``, where
        fan_in is ``C / groups * KH * KW``. It can be changed and assigned; what is assigned is
        checked by `corr2d` at the next call.
    bias : ndarray of shape (F,) or None
        Drawn from the same distribution.
    weight_grad, bias_grad : ndarray
        The sums of the gradients since the last `zero_grad`; None where there is no bias.

    Raises
    ------
    TypeError, ValueError
        An argument is one that `corr2d` refuses, `groups` does not divide the channels, or `dtype`
        is neither of floats nor of complex numbers.

    See Also
    --------
    corr2d, corr2d_backward : The functions that compute.

    Notes
    -----
    The layer keeps the x of its last call, not a copy of it, until the next one. Two threads must
    not use one layer at once.

    Examples
    --------
    A layer learns the vertical-edge kernel [1, -1]:

    >>> import numpy as np
    >>> from fastcorr import corr2d
    >>> from fastcorr.nn import Conv2D
    >>> x = np.ones((1, 1, 6, 8), np.float32)
    >>> x[..., 2:6] = 0
    >>> y = corr2d(x, np.array([[[[1, -1]]]], np.float32))
    >>> layer = Conv2D(1, 1, (1, 2), bias=False, rng=0)
    >>> for _ in range(60):
    ...     layer.zero_grad()
    ...     dx = layer.backward(2 * (layer(x) - y))
    ...     layer.weight -= 0.03 * layer.weight_grad
    >>> layer.weight.round(2)
    array([[[[ 1., -1.]]]], dtype=float32)
    """

    weight: Array
    bias: Array | None
    weight_grad: Array
    bias_grad: Array | None

    def __init__(
        self,
        in_channels: SupportsIndex,
        out_channels: SupportsIndex,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        groups: SupportsIndex = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "constant",
        channel_axis: ChannelAxis = None,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        C = integer("in_channels", in_channels, 1, "an int >= 1")
        F = integer("out_channels", out_channels, 1, "an int >= 1")
        KH, KW = as_pair("kernel_size", kernel_size, 1)
        groups = integer("groups", groups, 1, "an int >= 1")
        if C % groups or F % groups:
            raise ValueError(
                f"groups = {groups}: expected a divisor of in_channels = {C} and of "
                f"out_channels = {F}"
            )
        dtype = np.dtype(dtype)
        if dtype.kind not in "fc":
            raise TypeError(f"dtype = {shown(dtype)}: expected floats or complex numbers")
        self._options = {
            "stride": as_pair("stride", stride, 1),
            "padding": as_padding("padding", padding),
            "dilation": as_pair("dilation", dilation, 1),
            "groups": groups,
            "padding_mode": one_of("padding_mode", padding_mode, PADDING_MODES),
            "channel_axis": _channel_axis(channel_axis),
        }
        rng = np.random.default_rng(rng)
        bound = 1 / np.sqrt(C // groups * KH * KW)
        self.weight = _uniform(rng, bound, (F, C // groups, KH, KW), dtype)
        self.bias = _uniform(rng, bound, (F,), dtype) if bias else None
        self._x = None
        self.zero_grad()

    def __call__(self, x: ArrayLike) -> Array:
        """Return y for x, an image (C, H, W) or a batch (N, C, H, W), and keep x for `backward`."""
        y = corr2d(x, self.weight, self.bias, **self._options)
        self._x = x
        return y

    def backward(self, dy: ArrayLike) -> Array:
        """Return dx for the x of the last call, and add to `weight_grad` and `bias_grad`.

        Parameters
        ----------
        dy : array_like
            The gradient by the y of the last call.

        Returns
        -------
        dx : ndarray
            The gradient by x.

        Raises
        ------
        TypeError
            `dy` or x holds integers.
        ValueError
            Nothing was called before, `dy` has another shape than y, or weights of another shape
            were assigned since the last `zero_grad`.
        """
        if self._x is None:
            raise ValueError("backward before a forward: expected a call of the layer on some x")
        needs = "xw" if self.bias is None else "xwb"
        grads = corr2d_backward(dy, self._x, self.weight, needs=needs, **self._options)
        _check_gradient("weight", self.weight_grad, grads.w)
        if self.bias is not None:
            _check_gradient("bias", self.bias_grad, grads.b)
            self.bias_grad += _of_kind(grads.b, self.bias_grad)
        self.weight_grad += _of_kind(grads.w, self.weight_grad)
        return grads.x

    def zero_grad(self) -> None:
        """Set the gradients to zeros of the shapes of the weights and the bias."""
        self.weight_grad = np.zeros_like(self.weight)
        self.bias_grad = None if self.bias is None else np.zeros_like(self.bias)

    def __repr__(self):
        F, C_of_group, *kernel_size = np.shape(self.weight)
        C = C_of_group * self._options["groups"]
        options = "".join(f", {name}={value!r}" for name, value in self._options.items())
        return f"Conv2D({C}, {F}, {tuple(kernel_size)}{options}, bias={self.bias is not None})"


def _uniform(rng, bound, shape, dtype):
    values = rng.uniform(-bound, bound, shape)
    if dtype.kind == "c":
        values = values + 1j * rng.uniform(-bound, bound, shape)
    return values.astype(dtype)


def _check_gradient(name, total, gradient):
    if total is None or total.shape != gradient.shape:
        shape = None if total is None else total.shape
        raise ValueError(
            f"{name}_grad has the shape {shape}: expected {gradient.shape}, that of the {name}; "
            f"call zero_grad() after assigning a {name} of another shape"
        )


def _of_kind(gradient, total):
    """A real weight under complex data moves along the real axis only."""
    return gradient.real if total.dtype.kind != "c" else gradient
