# SPDX-License-Identifier: BSD-3-Clause
"""Sizes against counting, the SAME rule against its sources, receptive fields against pixels."""

import itertools
import math

import numpy as np
import pytest

import fastcorr
from fastcorr import output_shape, receptive_field, same_padding


def positions(n, k, s, before, after, d):
    """Count the places of a kernel in the definition: step by step, while it fits."""
    start, count = -before, 0
    while start + (k - 1) * d <= n + after - 1:
        start, count = start + s, count + 1
    return count


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("s", [1, 2, 3, 7])
def test_output_shape_counts_the_positions(k, d, s):
    for n, before, after in itertools.product(range(1, 10), range(4), range(4)):
        expected = positions(n, k, s, before, after, d)
        options = {"stride": (s, 1), "dilation": (d, 1), "padding": ((before, after), (0, 0))}
        if expected:
            assert output_shape((n, 4), (k, 2), **options) == (expected, 3)
        else:
            with pytest.raises(ValueError, match="kernel_size is larger than the padded input"):
                output_shape((n, 4), (k, 2), **options)


def test_output_shape_is_that_of_corr2d():
    for padding, stride, dilation in itertools.product(
        [0, (2, 3), ((0, 1), (2, 3)), "valid", "same", "same_lower", "full"],
        [1, (2, 3), 11],
        [1, (2, 1)],
    ):
        options = {"padding": padding, "stride": stride, "dilation": dilation}
        y = fastcorr.corr2d(np.zeros((9, 8)), np.zeros((3, 4)), **options)
        assert output_shape((9, 8), (3, 4), **options) == y.shape


def test_named_paddings():
    size, kernel = (9, 8), (4, 3)
    assert output_shape(size, kernel, padding="valid") == (6, 6)
    assert output_shape(size, kernel, padding="full") == (12, 10)
    assert output_shape(size, kernel, padding="full", dilation=2) == (15, 12)
    for name, s in itertools.product(["same", "same_lower"], range(1, 12)):
        expected = math.ceil(9 / s), math.ceil(8 / s)
        assert output_shape(size, kernel, padding=name, stride=s) == expected


def test_sizes_of_known_networks():
    assert output_shape((224, 224), 7, stride=2, padding=3) == (112, 112)  # ResNet
    assert output_shape(227, 11, stride=4) == (55, 55)  # AlexNet
    assert output_shape((28, 28), (5, 5), padding=2) == (28, 28)  # LeNet


def test_empty_input():
    assert output_shape((0, 9), 1) == (0, 9)
    assert output_shape((0, 9), 3, padding=1) == (0, 9)
    assert output_shape((0, 9), 3, padding="same", stride=4) == (0, 3)
    assert output_shape((0, 9), 3, padding="full") == (2, 11)
    with pytest.raises(ValueError, match="at most H \\+ padding = 0 \\+ 0 = 0"):
        output_shape((0, 9), 3)


@pytest.mark.parametrize(
    ("n", "k", "s", "upper"),
    [
        (224, 3, 2, (0, 1)),
        (224, 7, 2, (2, 3)),
        (7, 3, 2, (1, 1)),
        (13, 6, 5, (1, 2)),
        (8, 3, 1, (1, 1)),
        (8, 4, 1, (1, 2)),
        (9, 2, 4, (0, 1)),
        (10, 2, 4, (0, 0)),
        (8, 1, 3, (0, 0)),
    ],
)
def test_same_padding_of_tensorflow_and_onnx(n, k, s, upper):
    assert same_padding((n, n), k, stride=s) == (upper, upper)
    lower = upper[::-1]
    assert same_padding((n, n), k, stride=s, lower=True) == (lower, lower)


def test_same_padding_is_the_rule():
    for n, k, s, d in itertools.product(range(1, 12), (1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 3)):
        total = max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0)
        options = {"stride": (s, 1), "dilation": (d, 1)}
        (top, bottom), columns = same_padding((n, 5), (k, 3), **options)
        assert (top, bottom) == (total // 2, (total + 1) // 2)
        assert columns == (1, 1)
        (top, bottom), _ = same_padding((n, 5), (k, 3), lower=True, **options)
        assert (top, bottom) == ((total + 1) // 2, total // 2)
        assert output_shape((n, 5), (k, 3), padding="same", **options) == (math.ceil(n / s), 5)


def test_same_padding_is_what_corr2d_takes():
    x, w = np.arange(63.0).reshape(7, 9), np.arange(8.0).reshape(4, 2)
    for name, lower in [("same", False), ("same_lower", True)]:
        padding = same_padding(x.shape, w.shape, stride=3, lower=lower)
        y = fastcorr.corr2d(x, w, stride=3, padding=name)
        assert np.array_equal(fastcorr.corr2d(x, w, stride=3, padding=padding), y)


@pytest.mark.parametrize("function", [output_shape, same_padding])
@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        (((1, 8, 8), 3), {}, ValueError, r"input_shape = \(1, 8, 8\): expected an int >= 0 or"),
        (((8, -1), 3), {}, ValueError, r"input_shape\[1\] = -1: expected an int >= 0"),
        (((8, 8.0), 3), {}, TypeError, r"input_shape\[1\] = 8.0: expected an int >= 0"),
        ((None, 3), {}, TypeError, "input_shape = None: expected an int >= 0"),
        (((8, 8), 0), {}, ValueError, "kernel_size = 0: expected an int >= 1"),
        (((8, 8), (3, 3, 3)), {}, ValueError, r"kernel_size = \(3, 3, 3\): expected"),
        (((8, 8), 3), {"stride": 0}, ValueError, "stride = 0: expected an int >= 1"),
        (((8, 8), 3), {"dilation": 1.5}, TypeError, r"dilation = 1\.5: expected an int >= 1"),
    ],
)
def test_bad_sizes(function, arguments, options, error, text):
    with pytest.raises(error, match=text):
        function(*arguments, **options)


# Receptive fields.

STACKS = [
    [],
    [{"kernel_size": 3}],
    [{"kernel_size": (2, 3), "stride": (1, 2), "padding": ((0, 1), (2, 0))}],
    [{"kernel_size": 3, "dilation": 2, "padding": "full"}, {"kernel_size": 2, "stride": 2}],
    [{"kernel_size": 3, "padding": 1}] * 3,
    [
        {"kernel_size": 5, "padding": "same"},
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": (3, 1), "padding": "same_lower", "stride": (2, 1)},
        {"kernel_size": 2, "padding": (0, 3), "dilation": (1, 2)},
    ],
    [{"kernel_size": 1, "padding": 4}, {"kernel_size": 1, "stride": 3}],
]


def seen(layers, size):
    """Return which pixels each output depends on, by sets: [i, j] -> set of (row, column)."""
    y = np.empty(size, object)
    for i, j in np.ndindex(*size):
        y[i, j] = {(i, j)}
    for layer in layers:
        options = {name: layer[name] for name in layer if name != "kernel_size"}
        kernel = np.broadcast_to(layer["kernel_size"], 2)
        stride = np.broadcast_to(layer.get("stride", 1), 2)
        dilation = np.broadcast_to(layer.get("dilation", 1), 2)
        shape = output_shape(y.shape, layer["kernel_size"], **options)
        padding = layer.get("padding", 0)
        if isinstance(padding, str) and padding.startswith("same"):
            lower = padding == "same_lower"
            options = {"stride": stride, "dilation": dilation, "lower": lower}
            padding = same_padding(y.shape, kernel, **options)
        elif padding == "full":
            padding = tuple((d * (k - 1),) * 2 for k, d in zip(kernel, dilation, strict=True))
        elif np.ndim(padding) != 2:
            padding = tuple((int(p), int(p)) for p in np.broadcast_to(padding, 2))
        before = [sides[0] for sides in padding]
        x, y = y, np.empty(shape, object)
        for i, j in np.ndindex(*shape):
            y[i, j] = set()
            for ky, kx in np.ndindex(*kernel):
                iy = i * stride[0] - before[0] + ky * dilation[0]
                ix = j * stride[1] - before[1] + kx * dilation[1]
                if 0 <= iy < x.shape[0] and 0 <= ix < x.shape[1]:
                    y[i, j] |= x[iy, ix]
    return y


@pytest.mark.parametrize("layers", STACKS, ids=lambda layers: f"{len(layers)}")
@pytest.mark.parametrize("size", [(12, 13), (15, 10)])
def test_receptive_field_holds_the_pixels_seen(layers, size):
    field = receptive_field(layers, size)
    pixels = seen(layers, size)
    assert field.output_shape == pixels.shape
    unclipped = receptive_field(layers) if "same" not in str(layers) else None
    for i, j in np.ndindex(*pixels.shape):
        rows, columns = field.region(i, j)
        if pixels[i, j]:
            for region, indices in zip(
                (rows, columns), zip(*pixels[i, j], strict=True), strict=True
            ):
                assert (region.start, region.stop) == (min(indices), max(indices) + 1)
        else:
            assert slice(0, 0) in (rows, columns)
        bounds = field.bounds(i, j)
        if unclipped:
            assert unclipped.bounds(i, j) == bounds
            assert unclipped.region(i, j) == tuple(slice(*b) for b in bounds)
        for region, (first, last) in zip((rows, columns), bounds, strict=True):
            assert first <= region.start <= region.stop <= last or region == slice(0, 0)
        assert tuple(last - first for first, last in bounds) == field.size


def test_receptive_field_in_the_padding_is_empty():
    field = receptive_field([{"kernel_size": 1, "padding": 4}], (3, 3))
    assert field.bounds(0, 10) == ((-4, -3), (6, 7))
    assert np.zeros((3, 3))[field.region(0, 10)].size == 0


def test_receptive_field_of_no_layers_is_the_pixel():
    field = receptive_field([])
    assert (field.size, field.jump, field.start) == ((1, 1), (1, 1), (0, 0))
    assert field.region(2, 3) == (slice(2, 3), slice(3, 4))


def test_receptive_field_of_vgg16():
    block = [{"kernel_size": 3, "padding": 1}]
    pool = [{"kernel_size": 2, "stride": 2}]
    layers = (block * 2 + pool) * 2 + (block * 3 + pool) * 3
    field = receptive_field(layers, (224, 224))
    assert field.size == (212, 212)
    assert field.jump == (32, 32)
    assert field.output_shape == (7, 7)


@pytest.mark.parametrize(
    ("layers", "shape", "error", "text"),
    [
        (3, None, TypeError, "layers = 3: expected a sequence of mappings"),
        ({"kernel_size": 3}, None, TypeError, "layers = .*: expected a sequence of mappings"),
        ([3], None, TypeError, r"layers\[0\] = 3: expected a mapping"),
        (
            [{"stride": 1}],
            None,
            ValueError,
            r"layers\[0\] has the keys \['stride'\]: .*kernel_size",
        ),
        (
            [{"kernel_size": 3, "strides": 1}],
            None,
            ValueError,
            r"layers\[0\] .*'strides'.*'stride'",
        ),
        ([{"kernel_size": 3, "stride": 0}], None, ValueError, r"layers\[0\]\['stride'\] = 0"),
        ([{"kernel_size": 3.0}], None, TypeError, r"layers\[0\]\['kernel_size'\] = 3.0"),
        (
            [{"kernel_size": 3}, {"kernel_size": 3, "padding": "same"}],
            None,
            ValueError,
            r"layers\[1\]\['padding'\] = 'same' .* expected input_shape",
        ),
        (
            [{"kernel_size": 3}, {"kernel_size": 3}],
            (4, 9),
            ValueError,
            r"layers\[1\]\['kernel_size'\] is larger than the padded input: KH = 3",
        ),
        ([], (4, 4, 4), ValueError, r"input_shape = \(4, 4, 4\)"),
    ],
)
def test_bad_layers(layers, shape, error, text):
    with pytest.raises(error, match=text):
        receptive_field(layers, shape)


@pytest.mark.parametrize("method", ["bounds", "region"])
def test_output_that_is_not_there(method):
    field = receptive_field([{"kernel_size": 3}], (6, 8))
    getattr(field, method)(3, 5)
    with pytest.raises(IndexError, match="i = 4: expected 0 <= i < 4"):
        getattr(field, method)(4, 0)
    with pytest.raises(IndexError, match="j = -1: expected 0 <= j < 6"):
        getattr(field, method)(0, -1)
    with pytest.raises(IndexError, match="i = -1"):
        getattr(receptive_field([]), method)(-1, 0)
