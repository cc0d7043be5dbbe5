# SPDX-License-Identifier: BSD-3-Clause
"""What a call of the gradients or of the transposed operator asks for, checked and normalised.

Both come back from y to x, so their `Problem` is that of the operator which goes forward. Whatever
the operator checks itself is checked by `_problem.normalise`, with the same texts.
"""

import numpy as np

from fastcorr._problem import (
    Problem,
    _as_array,
    _channel_axis,
    _native,
    _nchw,
    without_excess,
)
from fastcorr._shapes import _are_ints, as_padding, as_pair, check_padding, integer, shown

_FLOATS = frozenset(map(np.dtype, np.typecodes["AllFloat"]))


def as_floats(**arrays):
    """Return the arrays as plain native ones of floats or complex numbers."""
    for name, value in arrays.items():
        if type(value) is np.ndarray and value.dtype in _FLOATS:
            continue
        arrays[name] = array = _as_array(name, value)
        if array.dtype.kind not in "fc":
            raise TypeError(
                f"{name} has the dtype {shown(np.asarray(value).dtype)}: expected floats or "
                f"complex numbers, since gradients are no integers; convert it, such as "
                f"{name}.astype(float)"
            )
    return arrays.values()


def check_dy(problem, dy_shape, stride):
    """Raise ValueError, which shows the caller's `stride`, unless `dy` has the shape of y."""
    if dy_shape == problem.y_shape:
        return
    stride = as_pair("stride", stride, 1)
    (top, bottom), (left, right) = problem.padding
    formulas = (
        f"{name} = floor(({axis} + {pads} - (K{axis} - 1) * dilation - 1) / stride) + 1 = "
        f"floor(({n} + {sum(widths)} - {(k - 1) * d} - 1) / {s}) + 1 = {size}"
        for name, axis, pads, n, widths, k, d, s, size in (
            ("OH", "H", "top + bottom", problem.H, (top, bottom), problem.KH,
             problem.dilation[0], stride[0], problem.OH),
            ("OW", "W", "left + right", problem.W, (left, right), problem.KW,
             problem.dilation[1], stride[1], problem.OW),
        )
    )  # fmt: skip
    raise ValueError(
        f"dy has the shape {dy_shape}: expected that of y, {problem.y_shape}, for the shapes "
        f"{problem.x_shape} of x and {problem.w_shape} of w; {'; '.join(formulas)}"
    )


def check_gradient_method(method):
    """Raise ValueError unless the gradients have the method."""
    if method not in ("auto", "direct"):
        raise ValueError(
            f"method = {method!r} does not serve gradients: expected 'auto' or 'direct'"
        )


def as_input_shape(value):
    """Return the shape of x as a tuple of ints."""
    if type(value) is tuple and 2 <= len(value) <= 4 and _are_ints(value, 0):
        return value
    expected = "the shape of x, a sequence of two to four ints >= 0"
    if isinstance(value, str) or not hasattr(value, "__len__") or not 2 <= len(value) <= 4:
        error = ValueError if hasattr(value, "__len__") else TypeError
        raise error(f"input_shape = {shown(value)}: expected {expected}")
    return tuple(
        integer(f"input_shape[{axis}]", n, 0, "an int >= 0") for axis, n in enumerate(value)
    )


# Ranks of x and of dy, and what w then is.
_RANKS_OF_DY = {
    (2, 2): "(OH, OW) for x (H, W)",
    (3, 2): "(OH, OW) for x (C, H, W) and w (C, KH, KW)",
    (3, 3): "(F, OH, OW) for x (C, H, W) and w (F, C // groups, KH, KW)",
    (4, 4): "(N, F, OH, OW) for x (N, C, H, W)",
}


def weight_shape(dy_shape, x_shape, kernel_size, groups, channel_axis):
    """Return the shape of w that makes a y of the rank of `dy` from `x`."""
    kernel = as_pair("kernel_size", kernel_size, 1)
    groups = integer("groups", groups, 1, "an int >= 1")
    channels_last = _channel_axis(channel_axis) == -1
    ranks = len(x_shape), len(dy_shape)
    if ranks not in _RANKS_OF_DY:
        raise ValueError(
            f"dy has the shape {dy_shape} and x the shape {x_shape}: expected dy as "
            + "; ".join(_RANKS_OF_DY.values())
        )
    if ranks == (2, 2):
        return kernel
    C = x_shape[-1 if channels_last else -3]
    if len(dy_shape) == 2:
        return (C, *kernel)
    F = dy_shape[-1 if channels_last else -3]
    if F == 0:
        raise ValueError(f"dy has F = 0 channels, shape {dy_shape}: expected at least 1")
    return F, max(C // groups, 1), *kernel


def as_needs(value):
    """Return the set of gradients that are asked for."""
    try:
        names = frozenset(value)
    except TypeError:
        names = None
    if names is None or not names <= {"x", "w", "b"}:
        error = TypeError if names is None else ValueError
        raise error(f"needs = {shown(value)}: expected a sequence of the names 'x', 'w', 'b'")
    return names


def transpose_key(
    x, w, bias, stride, padding, output_padding, dilation, groups, channel_axis
):  # fmt: skip
    """Return the arguments of `normalise_transpose`, the options in their one spelling."""
    if isinstance(padding, str):
        raise ValueError(
            f"padding = {shown(padding)}: expected an int >= 0, (vertical, horizontal) or "
            "((top, bottom), (left, right))"
        )
    bias_shape, bias_dtype = (None, None) if bias is None else (bias.shape, bias.dtype)
    return (
        x.shape, x.dtype, w.shape, w.dtype, bias_shape, bias_dtype,
        as_pair("stride", stride, 1),
        as_padding("padding", padding),
        as_pair("output_padding", output_padding, 0),
        as_pair("dilation", dilation, 1),
        integer("groups", groups, 1, "an int >= 1"),
        _channel_axis(channel_axis),
    )  # fmt: skip


def normalise_transpose(
    x_shape, x_dtype, w_shape, w_dtype, bias_shape, bias_dtype,
    stride, padding, output_padding, dilation, groups, channel_axis,
):  # fmt: skip
    """Return the Problem whose adjoint `corr2d_transpose` is: from its result to its x."""
    channels_last = channel_axis == -1
    for axis, extra, s, d in zip(
        ("vertical", "horizontal"), output_padding, stride, dilation, strict=True
    ):
        if extra >= max(s, d):
            raise ValueError(
                f"output_padding = {output_padding}: expected less than the {axis} stride or "
                f"dilation, max({s}, {d})"
            )

    # Check arguments: x and w, their ranks and sizes.
    if len(x_shape) not in (3, 4) or len(w_shape) != 4:
        raise ValueError(
            f"x has the shape {x_shape} and w the shape {w_shape}: expected x as (C, H, W) or "
            "(N, C, H, W) and w as (C, F // groups, KH, KW)"
        )
    N, C, H, W = _nchw(x_shape, channels_last)
    C_of_w, F_of_w, KH, KW = w_shape
    if C == 0:
        raise ValueError(f"x has C = 0 channels, shape {x_shape}: expected at least 1")
    if F_of_w == 0:
        raise ValueError(f"w has F // groups = 0 kernels, shape {w_shape}: expected at least 1")
    if KH == 0 or KW == 0:
        raise ValueError(f"w has empty kernels, shape {w_shape}: expected KH >= 1 and KW >= 1")
    if C_of_w != C:
        hint = ""
        if not channels_last and x_shape[-1] == C_of_w:
            hint = "; if the channels of x come last, pass channel_axis=-1"
        raise ValueError(
            f"w has {C_of_w} input channels, expected C = {C} as its first axis "
            f"(x has the shape {x_shape}){hint}"
        )
    if C % groups:
        raise ValueError(f"groups = {groups}: expected a divisor of the channels of x, C = {C}")
    F = F_of_w * groups

    # Check arguments: bias.
    if bias_shape is not None and bias_shape != (F,):
        raise ValueError(
            f"bias has the shape {bias_shape}: expected {(F,)} "
            f"(w has the shape {w_shape}, groups = {groups})"
        )

    sizes = []
    for axis, n, k, s, d, pads, e in zip(
        "HW", (H, W), (KH, KW), stride, dilation, padding, output_padding, strict=True
    ):
        check_padding(axis, n, pads)
        size = (n - 1) * s - sum(pads) + d * (k - 1) + e + 1
        if size < 1:
            raise ValueError(
                f"padding = {pads} leaves no output: O{axis} = ({axis} - 1) * stride - padding + "
                f"dilation * (K{axis} - 1) + output_padding + 1 = ({n} - 1) * {s} - {sum(pads)} + "
                f"{d} * ({k} - 1) + {e} + 1 = {size}, expected at least 1"
            )
        sizes.append(size)
    y_shape = (*sizes, F) if channels_last else (F, *sizes)
    stride, dilation = without_excess(sizes, (KH, KW), stride, padding, dilation)
    x_dtype, w_dtype = _native(x_dtype), _native(w_dtype)
    dtypes = [x_dtype, w_dtype] if bias_dtype is None else [x_dtype, w_dtype, bias_dtype]
    return Problem(
        N=N, C=F, H=sizes[0], W=sizes[1], F=C, KH=KH, KW=KW, groups=groups, OH=H, OW=W,
        x_shape=x_shape[:-3] + y_shape, w_shape=w_shape, y_shape=x_shape,
        stride=stride, dilation=dilation, padding=padding, padding_mode="constant",
        channels_last=channels_last, x_dtype=x_dtype, w_dtype=w_dtype,
        dtype=_native(np.result_type(*dtypes)), bias_shape=bias_shape, method="auto",
    )  # fmt: skip
