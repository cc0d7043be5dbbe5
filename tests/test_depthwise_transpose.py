# SPDX-License-Identifier: BSD-3-Clause
"""dx of depthwise kernels, all phases of a stride at once, in whole numbers."""

import itertools

import numpy as np
import pytest
import reference
from cases import whole_numbers
from layouts import LAYOUTS, OUT_LAYOUTS
from transposed import spied

from fastcorr import corr2d_grad_input, corr2d_transpose
from fastcorr._algorithms import depthwise_transpose

pytestmark = pytest.mark.kernels


def arrays(shape, kernel, dtype=np.float32, seed=0, **options):
    """(dy, x, w) of whole numbers; x (N, H, W, C) with channel_axis=-1."""
    rng = np.random.default_rng(seed)
    n, c, h, w = shape
    x = whole_numbers((n, h, w, c) if options.get("channel_axis") else shape, dtype, rng)
    w = whole_numbers((c, 1, *kernel), dtype, rng)
    y = reference.correlate(x, w, groups=c, **options)
    return whole_numbers(y.shape, dtype, rng), x, w


def check(shape, kernel, dtype=np.float32, change=lambda a: a, **options):
    dy, x, w = arrays(shape, kernel, dtype, **options)
    dx = corr2d_grad_input(change(dy), change(w), x.shape, groups=shape[1], **options)
    expected, _, _ = reference.gradients(dy, x, w, needs="x", groups=shape[1], **options)
    np.testing.assert_array_equal(dx, expected.astype(dtype), str((shape, kernel, options)))


SHAPES = [
    ((1, 8, 9, 10), (3, 3)),
    ((2, 17, 11, 13), (2, 5)),
    ((1, 33, 7, 40), (4, 1)),
    ((1, 16, 1, 5), (1, 3)),
]


@pytest.mark.edges
@pytest.mark.parametrize("channel_axis", [None, -1])
@pytest.mark.parametrize("stride", [2, 3, (1, 2), (4, 1)], ids=str)
def test_strides(isa, stride, channel_axis):
    for (shape, kernel), dilation, padding in itertools.product(
        SHAPES, (1, (2, 3)), (1, 2, ((1, 4), (3, 1)))
    ):
        check(shape, kernel, stride=stride, dilation=dilation, padding=padding,
              channel_axis=channel_axis)  # fmt: skip


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_dtypes(isa, dtype):
    for channel_axis, stride in ((None, 2), (-1, 1), (-1, (2, 3))):
        check((2, 20, 12, 13), (3, 5), dtype, stride=stride, padding=2, channel_axis=channel_axis)


@pytest.mark.edges
@pytest.mark.parametrize("mode", ["reflect", "symmetric", "edge", "wrap"])
def test_padding_modes(mode):
    for channel_axis, stride in ((None, 2), (-1, 1), (-1, 3)):
        check((2, 9, 7, 8), (3, 4), stride=stride, padding=((2, 1), (0, 3)), padding_mode=mode,
              channel_axis=channel_axis)  # fmt: skip


@pytest.mark.edges
@pytest.mark.parametrize("channel_axis", [None, -1])
def test_many_tiles(channel_axis):
    """Of rows, of columns and of blocks of channels."""
    for shape in ((1, 9, 70, 75), (1, 8, 6, 3000), (3, 100, 15, 14)):
        check(shape, (3, 3), stride=2, padding=1, channel_axis=channel_axis)
    check((1, 8, 9, 1500), (3, 3), stride=(1, 5), channel_axis=channel_axis)
    # Tiles of unequal width that see all of dy.
    check((1, 8, 6, 1300), (1, 3), stride=2, dilation=(1, 600), channel_axis=channel_axis)


@pytest.mark.edges
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "byte_swapped"])
def test_layouts(layout):
    for channel_axis in (None, -1):
        check((2, 10, 9, 8), (3, 3), change=LAYOUTS[layout], stride=2, channel_axis=channel_axis)


@pytest.mark.edges
@pytest.mark.parametrize("layout", OUT_LAYOUTS)
def test_out(layout):
    for channel_axis in (None, -1):
        options = {"stride": 2, "padding": 1, "groups": 10, "channel_axis": channel_axis}
        dy, x, w = arrays((2, 10, 9, 8), (3, 3), stride=2, padding=1, channel_axis=channel_axis)
        out = LAYOUTS[layout](np.zeros(x.shape, np.float32))
        assert corr2d_grad_input(dy, w, x.shape, out=out, **options) is out
        np.testing.assert_array_equal(out, corr2d_grad_input(dy, w, x.shape, **options))


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float32", "float16"])
def test_transpose_with_a_bias(dtype):
    rng = np.random.default_rng(0)
    x = whole_numbers((2, 12, 5, 6), dtype, rng)
    w, bias = whole_numbers((12, 1, 3, 2), dtype, rng), whole_numbers(12, dtype, rng)
    y = corr2d_transpose(x, w, bias, stride=2, groups=12, output_padding=1)
    plain = np.zeros((2, 12, 12, 13), dtype)
    for ky, kx in itertools.product(range(3), range(2)):
        tap = (x * w[:, 0, ky, kx, None, None]).astype(dtype)
        plain[:, :, ky : ky + 10 : 2, kx : kx + 12 : 2] += tap
    np.testing.assert_array_equal(y, plain[:, :, :12, :13] + bias[:, None, None])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_where_the_definition_puts_them(value):
    for channel_axis, place in itertools.product((None, -1), ("dy", "w")):
        options = {"stride": 2, "padding": 1, "channel_axis": channel_axis}
        dy, x, w = arrays((1, 9, 8, 9), (3, 3), **options)
        {"dy": dy, "w": w}[place].flat[5] = value
        with np.errstate(invalid="ignore"):
            expected, _, _ = reference.gradients(dy, x, w, needs="x", groups=9, **options)
            dx = corr2d_grad_input(dy, w, x.shape, groups=9, **options)
        np.testing.assert_array_equal(dx, expected.astype(np.float32))


def test_equal_for_any_number_of_workers():
    rng = np.random.default_rng(0)
    for channel_axis in (None, -1):
        options = {"stride": 2, "groups": 40, "channel_axis": channel_axis, "padding": 2}
        dy, x, w = arrays((3, 40, 50, 61), (5, 5), stride=2, padding=2, channel_axis=channel_axis)
        dy, w = (rng.standard_normal(a.shape, np.float32) for a in (dy, w))
        one = corr2d_grad_input(dy, w, x.shape, workers=1, **options)
        for workers in (2, 3, 7, 64):
            dx = corr2d_grad_input(dy, w, x.shape, workers=workers, **options)
            assert dx.tobytes() == one.tobytes(), workers


def test_it_is_taken(monkeypatch):
    """At a stride and with channels last; with channels first where rows would fill no vectors."""
    regions = spied(monkeypatch, depthwise_transpose, "DepthwiseTranspose")
    for shape, is_taken, options in (
        ((1, 8, 21, 43), True, {"stride": 2}),
        ((1, 8, 21, 43), True, {"channel_axis": -1}),
        ((1, 64, 6, 7), True, {}),
        ((1, 8, 150, 301), False, {}),
        ((1, 7, 21, 43), False, {"stride": 2}),
    ):
        check(shape, (3, 3), **options)
        assert bool(regions) == is_taken, (shape, options)
        regions.clear()
