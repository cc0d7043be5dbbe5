# SPDX-License-Identifier: BSD-3-Clause
"""Sizes: how stride, padding, dilation and kernel size make the output size.

Decides the spelling of these four arguments (`as_pair`, `as_padding`), the meaning of the named
paddings (`resolve_padding`) and the size formula (`output_size`), once for the operators, for
`receptive_field` and for the public functions here. It knows neither dtypes nor channels.

Sizes are (vertical, horizontal) pairs of Python ints, padding is ((top, bottom), (left, right)).
The *span* of a kernel is the number of input samples it reaches over, (size - 1) * dilation + 1.
"""

from __future__ import annotations

import operator
import sys

import numpy as np

from fastcorr._typing import Padding, Pair

# Of an axis, in samples: places in a padded image are counted in bytes, too.
MOST_PADDING = 2**40


def shown(value):
    """Return `value` as the error texts show it: its repr on one line, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def integer(name, value, minimum, expected):
    """Return `value` as an int in [minimum, sys.maxsize]; floats and bools are no integers."""
    if type(value) is int and minimum <= value <= sys.maxsize:
        return value
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{name} = {shown(value)}: expected {expected}")
    if number > sys.maxsize:
        raise ValueError(f"{name} = {shown(value)}: expected at most {sys.maxsize}")
    if number < minimum:
        raise ValueError(f"{name} = {shown(value)}: expected {expected}")
    return number


def _are_ints(values, minimum):
    """Return whether all are ints as `integer` returns them; quick, for arguments of every call."""
    for value in values:
        if type(value) is not int or not minimum <= value <= sys.maxsize:
            return False
    return True


def _is_sequence(value):
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def as_pair(name, value, minimum):
    """Return (vertical, horizontal) from an int or a sequence of two ints, each >= `minimum`."""
    if type(value) is int and minimum <= value <= sys.maxsize:
        return value, value
    if type(value) is tuple and len(value) == 2 and _are_ints(value, minimum):
        return value
    expected = f"an int >= {minimum} or a pair (vertical, horizontal) of them"
    if not _is_sequence(value):
        return (integer(name, value, minimum, expected),) * 2
    if len(value) != 2:
        raise ValueError(f"{name} = {shown(value)}: expected {expected}")
    return tuple(
        integer(f"{name}[{axis}]", v, minimum, f"an int >= {minimum}")
        for axis, v in enumerate(value)
    )


# The named paddings: (samples, span, stride) of one axis -> (before, after).


def _valid(n, span, stride):
    return 0, 0


def _full(n, span, stride):
    return span - 1, span - 1


def _same(n, span, stride):
    total = max((-(-n // stride) - 1) * stride + span - n, 0)
    return total // 2, total - total // 2


def _same_lower(n, span, stride):
    return _same(n, span, stride)[::-1]


_NAMED_PADDING = {"valid": _valid, "same": _same, "same_lower": _same_lower, "full": _full}
_PADDING_EXPECTED = (
    "an int >= 0, (vertical, horizontal), ((top, bottom), (left, right)) or one of "
    + ", ".join(map(repr, _NAMED_PADDING))
)


def as_padding(name, value):
    """Return ((top, bottom), (left, right)), or the name of a named padding."""
    if type(value) is tuple and len(value) == 2:
        vertical, horizontal = value
        if _are_ints(value, 0):
            return (vertical, vertical), (horizontal, horizontal)
        if (
            type(vertical) is type(horizontal) is tuple
            and len(vertical) == len(horizontal) == 2
            and _are_ints(vertical + horizontal, 0)
        ):
            return value
    if isinstance(value, str):
        if value not in _NAMED_PADDING:
            raise ValueError(f"{name} = {shown(value)}: expected {_PADDING_EXPECTED}")
        return str(value)
    if not _is_sequence(value):
        return ((integer(name, value, 0, _PADDING_EXPECTED),) * 2,) * 2
    nested = [_is_sequence(side) for side in value]
    if len(value) == 4 and not any(nested):
        a, b, c, d = value
        raise ValueError(
            f"{name} = {shown(value)} is ambiguous: expected ((top, bottom), (left, right)), "
            f"so (({a}, {b}), ({c}, {d})) if these are top, bottom, left, right, "
            f"or (({c}, {d}), ({a}, {b})) if they are left, right, top, bottom"
        )
    if len(value) != 2 or any(nested) != all(nested):
        raise ValueError(f"{name} = {shown(value)}: expected {_PADDING_EXPECTED}")
    if not nested[0]:
        return tuple(
            (integer(f"{name}[{axis}]", side, 0, "an int >= 0"),) * 2
            for axis, side in enumerate(value)
        )
    if any(len(side) != 2 for side in value):
        raise ValueError(f"{name} = {shown(value)}: expected {_PADDING_EXPECTED}")
    return tuple(
        tuple(integer(f"{name}[{axis}][{end}]", v, 0, "an int >= 0") for end, v in enumerate(side))
        for axis, side in enumerate(value)
    )


def resolve_padding(padding, size, kernel, stride, dilation):
    """Return ((top, bottom), (left, right)) for what `as_padding` returned.

    `size` may be None unless `needs_size(padding)`.
    """
    if not isinstance(padding, str):
        return padding
    rule = _NAMED_PADDING[padding]
    return tuple(
        rule(n, (k - 1) * d + 1, s)
        for n, k, s, d in zip(size or (None, None), kernel, stride, dilation, strict=True)
    )


def needs_size(padding):
    """Return whether `padding`, as `as_padding` returned it, depends on the size of the input."""
    return isinstance(padding, str) and _NAMED_PADDING[padding] in (_same, _same_lower)


def check_padding(axis, n, pads):
    """Raise ValueError if an axis of n samples is padded beyond what can be counted."""
    if sum(pads) > MOST_PADDING:
        raise ValueError(
            f"padding = {pads} makes {axis} = {n} too large: "
            f"expected a sum of at most {MOST_PADDING}"
        )


def output_size(size, kernel, stride, padding, dilation, kernel_name):
    """Return (OH, OW) for a resolved `padding`; ValueError where the kernel does not fit.

    An axis without samples gives an output without samples wherever the formula does.
    """
    out = []
    for axis, n, k, s, (before, after), d in zip(
        "HW", size, kernel, stride, padding, dilation, strict=True
    ):
        span, padded = (k - 1) * d + 1, before + n + after
        check_padding(axis, n, (before, after))
        count = (padded - span) // s + 1
        if count < min(n, 1):
            raise ValueError(
                f"{kernel_name} is larger than the padded input: K{axis} = {k} with dilation {d} "
                f"spans {span} samples, expected at most {axis} + padding = "
                f"{n} + {before + after} = {padded}"
            )
        out.append(count)
    return tuple(out)


def output_shape(
    input_shape: Pair,
    kernel_size: Pair,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
) -> tuple[int, int]:
    """Return the size of the output of a correlation from the sizes of its operands.

    In each axis, with the padding `before` and `after` ::

        OH = floor((H + before + after - (KH - 1) * dilation - 1) / stride) + 1

    Parameters
    ----------
    input_shape : (int, int)
        Height and width (H, W) of the input. An int stands for a square.
    kernel_size : int or (int, int)
        Height and width (KH, KW) of the kernel.
    stride, dilation : int or (int, int), default: 1
        As in `corr2d`.
    padding : int, (int, int), ((int, int), (int, int)) or str, default: 0
        As in `corr2d`.

    Returns
    -------
    (int, int)
        Height and width (OH, OW) of the output.

    Raises
    ------
    TypeError
        A size, stride, padding or dilation is not an integer (1.0 and True are none).
    ValueError
        One of them is out of range or of the wrong form, `padding` is an unknown name, or the
        dilated kernel is larger than the padded input.

    See Also
    --------
    same_padding : The padding that the names ``'same'`` and ``'same_lower'`` stand for.
    receptive_field : The input pixels behind one output of several layers.

    Examples
    --------
    >>> import fastcorr
    >>> fastcorr.output_shape((8, 8), (3, 5), stride=(3, 4), padding=(0, 1))
    (2, 2)
    >>> fastcorr.output_shape((224, 224), 7, stride=2, padding=3)
    (112, 112)
    """
    size = as_pair("input_shape", input_shape, 0)
    kernel = as_pair("kernel_size", kernel_size, 1)
    stride, dilation = as_pair("stride", stride, 1), as_pair("dilation", dilation, 1)
    padding = resolve_padding(as_padding("padding", padding), size, kernel, stride, dilation)
    return output_size(size, kernel, stride, padding, dilation, "kernel_size")


def same_padding(
    input_shape: Pair,
    kernel_size: Pair,
    *,
    stride: Pair = 1,
    dilation: Pair = 1,
    lower: bool = False,
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding of the SAME rule of TensorFlow and ONNX.

    The output has ``ceil(H / stride)`` rows, for which the padding is ::

        total = max((ceil(H / stride) - 1) * stride + (KH - 1) * dilation + 1 - H, 0)

    rows in all. Half of them go before the input and half after it; an odd one goes after it
    (SAME_UPPER), or before it if `lower` (SAME_LOWER). Columns alike.

    Parameters
    ----------
    input_shape : (int, int)
        Height and width (H, W) of the input. An int stands for a square.
    kernel_size : int or (int, int)
        Height and width (KH, KW) of the kernel.
    stride, dilation : int or (int, int), default: 1
        As in `corr2d`.
    lower : bool, default: False
        Where the odd row and column go: before the input instead of after it.

    Returns
    -------
    ((int, int), (int, int))
        ((top, bottom), (left, right)), which `corr2d` takes as `padding`.

    Raises
    ------
    TypeError
        A size, stride or dilation is not an integer.
    ValueError
        One of them is out of range or of the wrong form.

    See Also
    --------
    output_shape : The size of the output for any padding.

    Notes
    -----
    At stride 1 this is the padding of ``scipy.signal.correlate2d(..., mode='same')``. At larger
    strides it depends on the size of the input, unlike the ``K // 2`` on every side that PyTorch
    models use: there, the two sample different pixels.

    Examples
    --------
    >>> import fastcorr
    >>> fastcorr.same_padding((224, 224), 3, stride=2)
    ((0, 1), (0, 1))
    >>> fastcorr.same_padding((224, 224), 3, stride=2, lower=True)
    ((1, 0), (1, 0))
    """
    size = as_pair("input_shape", input_shape, 0)
    kernel = as_pair("kernel_size", kernel_size, 1)
    stride, dilation = as_pair("stride", stride, 1), as_pair("dilation", dilation, 1)
    return resolve_padding("same_lower" if lower else "same", size, kernel, stride, dilation)
