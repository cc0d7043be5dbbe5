# SPDX-License-Identifier: BSD-3-Clause
"""The problem: what a call asks for, checked and normalised.

All validation and every error text are here or, for sizes, in `_shapes` and, for what comes back
from y to x, in `_adjoint_problem`; nothing below checks an argument again. A `Problem` holds no
arrays: it is the key by which plans are made. This module does not know which algorithm, kernel or
number of threads will serve it.

A call passes through `as_arrays` and `problem_key`, on every call and with no work for the common
arguments; `normalise` runs once for each new key, and `cast_padding_value` and `check_out` before
each run. `check_kernels` is what can be said of kernels and options before there is an x.
"""

from dataclasses import dataclass

import numpy as np

from fastcorr._padding import PADDING_MODES
from fastcorr._shapes import as_padding, as_pair, integer, output_size, resolve_padding, shown

METHODS = ("auto", "direct", "winograd", "fft", "separable")

# The accepted pairs of ranks of x and w, channels first, as the error text shows them.
_RANKS = {
    (2, 2): "(H, W) with (KH, KW)",
    (3, 3): "(C, H, W) with (C, KH, KW)",
    (3, 4): "(C, H, W) with (F, C // groups, KH, KW)",
    (4, 4): "(N, C, H, W) with (F, C // groups, KH, KW)",
}

# The dtypes that need no conversion: native numbers. bool is viewed as uint8.
_READY = frozenset(map(np.dtype, np.typecodes["AllInteger"] + np.typecodes["AllFloat"]))
_ZERO = {dtype: dtype.type(0) for dtype in _READY}


@dataclass(frozen=True, slots=True)
class Problem:
    """One correlation: sizes, options and dtypes, all of them valid.

    N, C and F are 1 where the ranks given have no such axis; the three shapes are the user's, with
    his ranks and layout. Pairs are (vertical, horizontal), `padding` is ((top, bottom), (left,
    right)). The dtypes are native; `dtype` is that of the result, bias included. `bias_shape` is
    (), (1,), (F,) or None.
    """

    N: int
    C: int
    H: int
    W: int
    F: int
    KH: int
    KW: int
    groups: int
    OH: int
    OW: int
    x_shape: tuple
    w_shape: tuple
    y_shape: tuple
    stride: tuple
    dilation: tuple
    padding: tuple
    padding_mode: str
    channels_last: bool
    x_dtype: np.dtype
    w_dtype: np.dtype
    dtype: np.dtype
    bias_shape: tuple | None
    method: str

    @property
    def n_summed(self):
        """The terms of each sum."""
        return self.C // self.groups * self.KH * self.KW

    @property
    def n_weights(self):
        """The numbers of w."""
        return self.F * self.n_summed


def as_arrays(x, w, bias):
    """Return `x`, `w` and `bias` as plain native arrays of numbers; bool is viewed as uint8."""
    if (
        type(x) is type(w) is np.ndarray
        and bias is None
        and x.dtype in _READY
        and w.dtype in _READY
    ):
        return x, w, None
    x, w = _as_array("x", x), _as_array("w", w)
    if type(bias) in (int, float, complex):
        # Python's scalars are weak, as in NumPy: 0.5 does not turn a float32 result into float64.
        bias = _cast("bias", bias, np.result_type(x.dtype, w.dtype, bias))
    return x, w, None if bias is None else _as_array("bias", bias)


def _as_array(name, value):
    if type(value) is np.ndarray and value.dtype in _READY:
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array: expected a plain array; pass {name}.filled(value), "
            "with the value that the masked elements shall count as"
        )
    try:
        array = np.asarray(value)
    except ValueError as error:  # nested sequences of unequal lengths
        raise ValueError(f"{name} is not a rectangular array: {error}") from None
    dtype = array.dtype
    if dtype.char == "?":
        return array.view(np.uint8)
    if dtype in _READY:
        return array
    native = dtype.newbyteorder("=") if dtype.kind in "iufc" else None
    if native not in _READY:
        if dtype.names:
            way_out = f"pass one field, such as {name}[{dtype.names[0]!r}]"
        elif dtype.kind == "O":
            way_out = f"convert it, such as {name}.astype(float), or {name}.toarray() if sparse"
        else:
            way_out = f"convert it, such as {name}.astype(float)"
        raise TypeError(
            f"{name} has the dtype {shown(dtype)}: expected bool, integers, floats or complex "
            f"numbers; {way_out}"
        )
    return array.astype(native)


def problem_key(x, w, bias, stride, padding, dilation, groups, padding_mode, channel_axis, method):
    """Return the arguments of `normalise`: hashable, and equal only where they mean the same.

    1.0 and True are equal to 1, so they must not come near a cache; here they are a TypeError.
    """
    if not (
        type(groups) is int
        and (type(stride) is int or _is_pair_of_ints(stride))
        and (type(dilation) is int or _is_pair_of_ints(dilation))
        and (type(padding) is int or type(padding) is str or _is_pair_of_ints(padding))
        and (channel_axis is None or type(channel_axis) is int)
        and type(padding_mode) is type(method) is str
    ):
        stride, padding, dilation, groups, padding_mode, channel_axis, method = _spelled(
            stride, padding, dilation, groups, padding_mode, channel_axis, method
        )
    if bias is None:
        return (
            x.shape, x.dtype, w.shape, w.dtype, None, None,
            stride, padding, dilation, groups, padding_mode, channel_axis, method,
        )  # fmt: skip
    return (
        x.shape, x.dtype, w.shape, w.dtype, bias.shape, bias.dtype,
        stride, padding, dilation, groups, padding_mode, channel_axis, method,
    )  # fmt: skip


def _is_pair_of_ints(value):
    return type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int


def _spelled(stride, padding, dilation, groups, padding_mode, channel_axis, method):
    """Return the options in their one spelling, checked for all that needs no shapes."""
    return (
        as_pair("stride", stride, 1),
        as_padding("padding", padding),
        as_pair("dilation", dilation, 1),
        integer("groups", groups, 1, "an int >= 1"),
        one_of("padding_mode", padding_mode, PADDING_MODES),
        _channel_axis(channel_axis),
        one_of("method", method, METHODS),
    )


def one_of(name, value, names):
    if isinstance(value, str) and value in names:
        return str(value)
    error = ValueError if isinstance(value, str) else TypeError
    raise error(f"{name} = {shown(value)}: expected one of {', '.join(map(repr, names))}")


def _channel_axis(value):
    expected = "None (channels first) or -1 (channels last)"
    if value is None:
        return None
    if integer("channel_axis", value, -1, expected) != -1:
        raise ValueError(f"channel_axis = {shown(value)}: expected {expected}")
    return -1


def normalise(
    x_shape, x_dtype, w_shape, w_dtype, bias_shape, bias_dtype,
    stride, padding, dilation, groups, padding_mode, channel_axis, method,
):  # fmt: skip
    """Return the Problem of these arguments, or raise ValueError or TypeError."""
    # Check arguments: the options, each by itself.
    stride, padding, dilation, groups, padding_mode, channel_axis, method = _spelled(
        stride, padding, dilation, groups, padding_mode, channel_axis, method
    )

    # Check arguments: x and w, their ranks.
    ranks = len(x_shape), len(w_shape)
    if ranks not in _RANKS:
        raise ValueError(
            f"x has the shape {x_shape} and w the shape {w_shape}: expected x with w as "
            + "; ".join(_RANKS.values())
        )

    # Check arguments: channel_axis.
    channels_last = channel_axis == -1
    if channels_last and ranks == (2, 2):
        raise ValueError(
            "channel_axis = -1: expected None for an x without channels "
            f"(x has the shape {x_shape})"
        )

    # Check arguments: x and w, their sizes.
    N, C, H, W = _nchw(x_shape, channels_last)
    F, C_of_w, KH, KW = (1,) * (4 - len(w_shape)) + w_shape
    if C == 0:
        raise ValueError(f"x has C = 0 channels, shape {x_shape}: expected at least 1")
    _check_sizes(w_shape)

    # Check arguments: groups and channels.
    _check_groups(groups, C, w_shape)
    if C_of_w != C // groups:
        hint = ""
        if not channels_last and len(x_shape) > 2 and x_shape[-1] == C_of_w * groups:
            hint = "; if the channels of x come last, pass channel_axis=-1"
        raise ValueError(
            f"w has {C_of_w} input channels per group, expected C // groups = {C // groups} "
            f"(x has the shape {x_shape}, so C = {C}; groups = {groups}){hint}"
        )

    # Check arguments: bias.
    _check_bias(bias_shape, w_shape)

    # Check arguments: padding.
    size, kernel = (H, W), (KH, KW)
    padding = resolve_padding(padding, size, kernel, stride, dilation)
    OH, OW = output_size(size, kernel, stride, padding, dilation, "w")
    for axis, n, pads in zip("HW", size, padding, strict=True):
        if n == 0 and any(pads) and padding_mode != "constant":
            raise ValueError(
                f"padding_mode = {padding_mode!r} has nothing to take from an x with {axis} = 0: "
                "expected 'constant' or no padding"
            )

    if ranks in ((2, 2), (3, 3)):
        y_shape = (OH, OW)
    else:
        y_shape = (OH, OW, F) if channels_last else (F, OH, OW)
        y_shape = x_shape[:-3] + y_shape
    stride, dilation = without_excess(size, kernel, stride, padding, dilation)
    x_dtype, w_dtype = _native(x_dtype), _native(w_dtype)
    dtypes = [x_dtype, w_dtype] if bias_dtype is None else [x_dtype, w_dtype, bias_dtype]
    return Problem(
        N=N, C=C, H=H, W=W, F=F, KH=KH, KW=KW, groups=groups, OH=OH, OW=OW,
        x_shape=x_shape, w_shape=w_shape, y_shape=y_shape,
        stride=stride, dilation=dilation, padding=padding, padding_mode=padding_mode,
        channels_last=channels_last, x_dtype=x_dtype, w_dtype=w_dtype,
        dtype=_native(np.result_type(*dtypes)),
        bias_shape=bias_shape, method=method,
    )  # fmt: skip


def without_excess(size, kernel, stride, padding, dilation):
    """Return stride and dilation, smaller where that changes nothing, so that their bytes fit."""
    stride = tuple(
        min(s, max(n + sum(pads), 1)) for n, s, pads in zip(size, stride, padding, strict=True)
    )
    return stride, tuple(d if k > 1 else 1 for k, d in zip(kernel, dilation, strict=True))


def _check_sizes(w_shape):
    F, _, KH, KW = (1,) * (4 - len(w_shape)) + w_shape
    if F == 0:
        raise ValueError(f"w has F = 0 kernels, shape {w_shape}: expected at least 1")
    if KH == 0 or KW == 0:
        raise ValueError(f"w has empty kernels, shape {w_shape}: expected KH >= 1 and KW >= 1")


def _check_groups(groups, C, w_shape):
    if groups != 1 and len(w_shape) != 4:
        raise ValueError(
            f"groups = {groups}: expected 1 unless w is (F, C // groups, KH, KW) "
            f"(w has the shape {w_shape})"
        )
    F = w_shape[0] if len(w_shape) == 4 else 1
    if C % groups or F % groups:
        raise ValueError(
            f"groups = {groups}: expected a divisor of the channels of x, C = {C}, and of the "
            f"kernels in w, F = {F}"
        )


def _check_bias(bias_shape, w_shape):
    allowed = ((w_shape[0],),) if len(w_shape) == 4 else ((), (1,))
    if bias_shape is not None and bias_shape not in allowed:
        raise ValueError(
            f"bias has the shape {bias_shape}: expected {' or '.join(map(str, allowed))} "
            f"(w has the shape {w_shape})"
        )


def as_kernels(w, bias):
    """Return `w` and `bias` as `as_arrays` does, but a Python scalar as it is: it is weak."""
    if bias is None or type(bias) in (int, float, complex):
        return _as_array("w", w), bias
    return _as_array("w", w), _as_array("bias", bias)


def check_kernels(
    w_shape, bias_shape, stride, padding, dilation, groups, padding_mode, padding_value,
    channel_axis, method,
):  # fmt: skip
    """Return the options in their one spelling; refuse what no x suits.

    The texts are those of `normalise`.
    """
    stride, padding, dilation, groups, padding_mode, channel_axis, method = _spelled(
        stride, padding, dilation, groups, padding_mode, channel_axis, method
    )
    _number("padding_value", padding_value)
    if isinstance(padding_value, np.ndarray):  # which may change
        padding_value = padding_value[()]
    if not 2 <= len(w_shape) <= 4:
        kinds = ", ".join(dict.fromkeys(text.partition(" with ")[2] for text in _RANKS.values()))
        raise ValueError(f"w has the shape {w_shape}: expected one of {kinds}")
    if channel_axis is not None and len(w_shape) == 2:
        raise ValueError(
            "channel_axis = -1: expected None for an x without channels "
            f"(w has the shape {w_shape})"
        )
    _check_sizes(w_shape)
    C = w_shape[-3] * groups if len(w_shape) > 2 else 1
    if C == 0:
        raise ValueError(f"w has 0 input channels, shape {w_shape}: expected at least 1")
    _check_groups(groups, C, w_shape)
    _check_bias(bias_shape, w_shape)
    return stride, padding, dilation, groups, padding_mode, padding_value, channel_axis, method


def _nchw(x_shape, channels_last):
    if len(x_shape) == 2:
        return 1, 1, *x_shape
    if channels_last:
        x_shape = *x_shape[:-3], x_shape[-1], *x_shape[-3:-1]
    return (1,) * (4 - len(x_shape)) + x_shape


def _native(dtype):
    """Return the one dtype object of its kind and size: without metadata, int64 for 'q' and 'l'."""
    return np.dtype(dtype.str)


def cast_padding_value(padding_value, x_dtype):
    """Return `padding_value` as a scalar of `x_dtype`; ValueError where it cannot hold the value.

    Floats may round, but a finite value must stay finite.
    """
    if type(padding_value) is int and padding_value == 0:
        return _ZERO[x_dtype]
    if type(padding_value) is x_dtype.type:
        return padding_value
    return _cast("padding_value", padding_value, x_dtype)[()]


def _cast(name, value, dtype):
    """Return the number `value` as an array of shape () and of `dtype`, the same by value."""
    refused = ValueError(f"{name} = {shown(value)}: expected a number that {dtype} can hold")
    number = _number(name, value)
    is_finite = isinstance(number, int) or np.isfinite(number)
    if np.iscomplexobj(number) and dtype.kind != "c":
        if number.imag != 0:
            raise refused
        number = number.real
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not is_finite or number != int(number):
            raise refused
        if not limits.min <= int(number) <= limits.max:
            raise refused
        number = int(number)
    try:
        with np.errstate(all="ignore"):
            result = np.array(number, dtype)
    except OverflowError:  # an int beyond the largest float
        raise refused from None
    if is_finite and not np.isfinite(result):
        raise refused
    return result


def _number(name, value):
    """Return a number as an int of Python or a float or complex scalar of NumPy."""
    source = np.asarray(value)
    is_number = source.dtype.kind in "biufc" or type(value) is int  # a large one makes an object
    if source.ndim or not is_number or isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} = {shown(value)}: expected a number")
    return int(source) if source.dtype.kind in "biuO" else source[()]


def check_out(problem, out):
    """Raise TypeError or ValueError unless `out` is None or can take the result as it is."""
    check_result(out, problem.y_shape, problem.dtype)


def check_result(out, shape, dtype):
    """Raise TypeError or ValueError unless `out` is None or a place for such a result."""
    if out is None:
        return
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"out is of the type {type(out).__name__}: expected a plain ndarray")
    if out.shape != shape:
        raise ValueError(f"out has the shape {out.shape}: expected {shape}")
    if out.dtype != dtype:
        raise ValueError(f"out has the dtype {out.dtype.str}: expected {dtype.str}")
    if not out.flags.writeable:
        raise ValueError("out is read-only: expected a writeable array")
    if not out.flags.c_contiguous and _may_overlap_itself(out):
        raise ValueError(
            f"out has elements that share memory, strides {out.strides} bytes for the shape "
            f"{out.shape}: expected an array with one place per element"
        )


def _may_overlap_itself(array):
    """Return whether two elements may share memory; never so for slices of usual arrays."""
    reach = array.itemsize
    for stride, n in sorted(zip(map(abs, array.strides), array.shape, strict=True)):
        if n > 1 and stride < reach:
            return array.size > 1
        reach += stride * (n - 1)
    return False
