# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""Receptive fields: which input pixels an output of several layers sees.

Decides the recursion over the layers and the clipping to the input; sizes and spellings are those
of `_shapes`. It knows neither arrays nor dtypes nor channels.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, SupportsIndex

from fastcorr._shapes import as_padding, as_pair, needs_size, output_size, resolve_padding, shown


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """The input pixels that each output of a stack of layers sees.

    Made by `receptive_field`. Output (i, j) sees pixels of the rectangle of `size` whose first row
    and column are ``start + (i, j) * jump``.

    Attributes
    ----------
    size : (int, int)
        Height and width of the field, holes of dilated kernels included.
    jump : (int, int)
        Distance in pixels between the fields of neighbouring outputs.
    start : (int, int)
        First row and column of the field of output (0, 0); negative where it begins in the padding.
    input_shape, output_shape : (int, int) or None
        Sizes of the first input and the last output, where `receptive_field` was given the former.

    Examples
    --------
    A 3x3 layer with padding, at a stride of 2:

    >>> import fastcorr
    >>> field = fastcorr.receptive_field([{"kernel_size": 3, "stride": 2, "padding": 1}], (8, 8))
    >>> field.size, field.jump, field.start
    ((3, 3), (2, 2), (-1, -1))
    >>> field.bounds(0, 1)
    ((-1, 2), (1, 4))
    >>> field.region(0, 1)
    (slice(0, 2, None), slice(1, 4, None))
    """

    size: tuple[int, int]
    jump: tuple[int, int]
    start: tuple[int, int]
    input_shape: tuple[int, int] | None = None
    output_shape: tuple[int, int] | None = None
    # Of either axis, for each layer: kernel size, stride, padding before, dilation, input size.
    _axes: tuple = field(default=((), ()), repr=False)

    def bounds(self, i: SupportsIndex, j: SupportsIndex) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the unclipped field of output (i, j).

        Parameters
        ----------
        i, j : int
            Row and column of the output, from 0 on.

        Returns
        -------
        ((int, int), (int, int))
            ((top, bottom), (left, right)), half open. Rows and columns outside the input lie in the
            padding.

        Raises
        ------
        IndexError
            `i` or `j` is negative or, where `output_shape` is known, beyond it.
        """
        limits = self.output_shape or (sys.maxsize, sys.maxsize)
        for name, index, limit in zip("ij", (i, j), limits, strict=True):
            if not 0 <= operator.index(index) < limit:
                raise IndexError(f"{name} = {shown(index)}: expected 0 <= {name} < {limit}")
        first = [s + k * jump for s, k, jump in zip(self.start, (i, j), self.jump, strict=True)]
        return tuple((f, f + n) for f, n in zip(first, self.size, strict=True))

    def region(self, i: SupportsIndex, j: SupportsIndex) -> tuple[slice, slice]:
        """Return the slices of the input that output (i, j) sees.

        Parameters
        ----------
        i, j : int
            Row and column of the output, from 0 on.

        Returns
        -------
        (slice, slice)
            Where `input_shape` is known, the smallest that hold all pixels seen, and empty ones if
            there are none. Else those of `bounds`: not clipped, so they may be negative, which then
            does not count from the end.

        Raises
        ------
        IndexError
            As in `bounds`.
        """
        bounds = self.bounds(i, j)
        if self.input_shape is None:
            return tuple(slice(*b) for b in bounds)
        slices = []
        for index, layers in zip((i, j), self._axes, strict=True):
            seen = {index}
            for k, s, before, d, n in reversed(layers):
                taps = (t * s - before + tap * d for t in seen for tap in range(k))
                seen = {t for t in taps if 0 <= t < n}
            slices.append(slice(min(seen), max(seen) + 1) if seen else slice(0, 0))
        return tuple(slices)


_LAYER_KEYS = ("kernel_size", "stride", "padding", "dilation")


def receptive_field(
    layers: Iterable[Mapping[str, Any]], input_shape: Sequence[SupportsIndex] | None = None
) -> ReceptiveField:
    """Return which input pixels each output of a stack of layers sees.

    With the span ``S = (K - 1) * dilation + 1`` of each layer's kernel, from the first layer on ::

        start -= before * jump
        size  += (S - 1) * jump
        jump  *= stride

    beginning with ``size, jump, start = 1, 1, 0`` in either axis.

    Parameters
    ----------
    layers : sequence of mappings
        One mapping for each layer, from the input on, with the key 'kernel_size' and, where they
        differ from `corr2d`'s defaults, 'stride', 'padding' and 'dilation'. A pooling layer is
        described in the same way.
    input_shape : (int, int), optional
        Height and width of the input. The paddings 'same' and 'same_lower' need it, and with it
        `ReceptiveField.region` leaves out the padding.

    Returns
    -------
    ReceptiveField
        With the attributes `size`, `jump` and `start`, each (vertical, horizontal), and the methods
        `region` and `bounds`.

    Raises
    ------
    TypeError
        `layers` is not a sequence of mappings, or one of their values is not an integer.
    ValueError
        A layer has no 'kernel_size' or an unknown key, a value is out of range, the padding is
        'same' or 'same_lower' without `input_shape`, or a kernel is larger than its padded input.

    See Also
    --------
    output_shape : The size of the output of one layer.

    Notes
    -----
    Pixels that are seen only through a padding of another mode than 'constant' are not counted.

    References
    ----------
    .. [1] A. Araujo, W. Norris, J. Sim, "Computing receptive fields of convolutional neural
       networks", Distill, 2019. :doi:`10.23915/distill.00021`

    Examples
    --------
    Two layers of 3x3 kernels see what one layer of 5x5 kernels sees:

    >>> import fastcorr
    >>> layers = [{"kernel_size": 3, "padding": 1}, {"kernel_size": 3, "padding": 1}]
    >>> field = fastcorr.receptive_field(layers, (28, 28))
    >>> field.size
    (5, 5)
    >>> field.region(0, 10)
    (slice(0, 3, None), slice(8, 13, None))
    """
    input_shape = None if input_shape is None else as_pair("input_shape", input_shape, 0)
    if isinstance(layers, (str, Mapping)) or not hasattr(layers, "__iter__"):
        raise TypeError(f"layers = {shown(layers)}: expected a sequence of mappings, one per layer")
    sizes, axes = input_shape, ([], [])
    size, jump, start = [1, 1], [1, 1], [0, 0]
    for number, layer in enumerate(layers):
        kernel, stride, padding, dilation = _layer(f"layers[{number}]", layer)
        if sizes is None and needs_size(padding):
            raise ValueError(
                f"layers[{number}]['padding'] = {padding!r} depends on the size of the input: "
                "expected input_shape to be given"
            )
        padding = resolve_padding(padding, sizes, kernel, stride, dilation)
        for axis, (k, s, (before, _), d) in enumerate(
            zip(kernel, stride, padding, dilation, strict=True)
        ):
            start[axis] -= before * jump[axis]
            size[axis] += (k - 1) * d * jump[axis]
            jump[axis] *= s
            axes[axis].append((k, s, before, d, sizes and sizes[axis]))
        if sizes is not None:
            name = f"layers[{number}]['kernel_size']"
            sizes = output_size(sizes, kernel, stride, padding, dilation, name)
    pairs = map(tuple, (size, jump, start))
    return ReceptiveField(*pairs, input_shape, sizes, tuple(map(tuple, axes)))


def _layer(name, layer):
    """Return kernel size, stride, padding and dilation of one of `receptive_field`'s layers."""
    if not isinstance(layer, Mapping):
        raise TypeError(f"{name} = {shown(layer)}: expected a mapping with {_LAYER_KEYS}")
    unknown = [key for key in layer if key not in _LAYER_KEYS]
    if unknown or "kernel_size" not in layer:
        raise ValueError(
            f"{name} has the keys {shown(list(layer))}: expected 'kernel_size' and any of "
            f"{_LAYER_KEYS[1:]}"
        )
    return (
        as_pair(f"{name}['kernel_size']", layer["kernel_size"], 1),
        as_pair(f"{name}['stride']", layer.get("stride", 1), 1),
        as_padding(f"{name}['padding']", layer.get("padding", 0)),
        as_pair(f"{name}['dilation']", layer.get("dilation", 1), 1),
    )
