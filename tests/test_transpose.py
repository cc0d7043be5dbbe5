# SPDX-License-Identifier: BSD-3-Clause
"""corr2d_transpose is the adjoint of corr2d; whole numbers, so equality is the test."""

import itertools
import sys
import warnings

import numpy as np
import pytest
import reference
from cases import normal, whole_numbers
from contract import check_bits
from layouts import LAYOUTS, OUT_LAYOUTS

import fastcorr
from fastcorr import corr2d_transpose

pytestmark = pytest.mark.kernels


def definition(x, w, bias=None, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """Every pixel of x adds its kernels to a zero image, which is then cropped."""
    (n, c, h, wd), (_, f_of_group, kh, kw) = x.shape, w.shape
    (sy, sx), (ey, ex) = np.broadcast_to(stride, 2), np.broadcast_to(dilation, 2)
    widths = [reference.pads(padding, 1, 1, 1, 1, axis) for axis in (0, 1)]
    extra = np.broadcast_to(output_padding, 2)
    size = [
        (length - 1) * s + e * (k - 1) + 1
        for length, s, e, k in zip((h, wd), (sy, sx), (ey, ex), (kh, kw), strict=True)
    ]
    y = np.zeros((n, f_of_group * groups, size[0] + extra[0], size[1] + extra[1]),
                 np.result_type(x, w))  # fmt: skip
    for g, i, j in itertools.product(range(groups), range(h), range(wd)):
        inputs = slice(g * c // groups, (g + 1) * c // groups)
        spread = np.einsum("nc,cfij->nfij", x[:, inputs, i, j], w[inputs])
        rows = slice(i * sy, i * sy + ey * (kh - 1) + 1, ey)
        columns = slice(j * sx, j * sx + ex * (kw - 1) + 1, ex)
        y[:, g * f_of_group : (g + 1) * f_of_group, rows, columns] += spread
    (top, bottom), (left, right) = widths
    y = y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]
    return y if bias is None else y + bias[:, None, None]


def operands(dtype, groups=1, kernel=(3, 2), seed=0):
    rng = np.random.default_rng(seed)
    return (
        whole_numbers((2, 4, 5, 6), dtype, rng),
        whole_numbers((4, 3, *kernel), dtype, rng),
        whole_numbers(3 * groups, dtype, rng),
    )


@pytest.mark.edges
@pytest.mark.parametrize("groups", [1, 2])
def test_one_pixel_has_no_limit_of_stride(groups):
    x, w, bias = operands(np.float32, groups)
    x = x[:, :, :1, :1]
    for stride, extra in itertools.product((100, sys.maxsize), (0, 3)):
        y = corr2d_transpose(x, w, bias, stride=stride, output_padding=extra, groups=groups)
        expected = definition(x, w, bias, output_padding=extra, groups=groups)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.edges
@pytest.mark.parametrize("stride", [1, 2, 3, (2, 5), (4, 1)], ids=str)
@pytest.mark.parametrize("dilation", [1, 2, (3, 1)], ids=str)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_definition(stride, dilation, groups):
    dtypes = itertools.cycle((np.float32, np.complex64, np.int8))
    for padding, extra in itertools.product((0, 1, ((0, 2), (1, 0))), (0, (0, 1), (1, 0))):
        if np.any(np.broadcast_to(extra, 2) >= np.maximum(stride, dilation)):
            continue
        dtype = next(dtypes)
        x, w, bias = operands(dtype, groups)
        options = {
            "stride": stride, "dilation": dilation, "groups": groups, "padding": padding,
            "output_padding": extra,
        }  # fmt: skip
        y = corr2d_transpose(x, w, bias, **options)
        assert (type(y), y.dtype) == (np.ndarray, x.dtype)
        np.testing.assert_array_equal(y, definition(x, w, bias, **options))
        without = corr2d_transpose(x, w, **options)
        np.testing.assert_array_equal(without + bias[:, None, None], y)
        last = corr2d_transpose(np.moveaxis(x, 1, -1), w, bias, channel_axis=-1, **options)
        np.testing.assert_array_equal(np.moveaxis(last, -1, 1), y)
        np.testing.assert_array_equal(corr2d_transpose(x[0], w, bias, **options), y[0])


@pytest.mark.parametrize("dtype", [*"bBhHiIlLqQefdgFDG", "?"])
def test_dtypes(dtype):
    x, w, bias = operands(dtype)
    y = corr2d_transpose(x, w, bias, stride=2, padding=1)
    plain = [a.astype(np.uint8) if dtype == "?" else a for a in (x, w, bias)]
    assert y.dtype == plain[0].dtype
    np.testing.assert_array_equal(y, definition(*plain, stride=2, padding=1))
    by_bias = corr2d_transpose(x, w, bias.astype("D")).dtype
    assert by_bias == np.result_type(plain[0].dtype, np.complex128)


def test_pixels_that_no_input_reaches_are_the_bias():
    y = corr2d_transpose(np.ones((1, 2, 2)), np.ones((1, 1, 1, 1)), np.array([0.5]), stride=3)
    np.testing.assert_array_equal(y[0] == 1.5, np.outer([1, 0, 0, 1], [1, 0, 0, 1]))
    np.testing.assert_array_equal(np.unique(y), [0.5, 1.5])


def test_no_conjugation():
    one = np.ones((1, 1, 1, 1), np.complex64)
    assert corr2d_transpose(1j * one, 1j * one) == -1
    assert fastcorr.corr2d_grad_input(1j * one, 1j * one, (1, 1, 1, 1)) == 1


def test_it_is_the_adjoint():
    rng = np.random.default_rng(0)
    for stride, padding, size in itertools.product((1, 2, 3), (0, 1), (9, 10, 11)):
        image = whole_numbers((2, 6, size, size), float, rng)
        w = whole_numbers((4, 3, 3, 3), float, rng)
        options = {"stride": stride, "padding": padding, "groups": 2}
        y = fastcorr.corr2d(image, w, **options)
        x = whole_numbers(y.shape, float, rng)
        extra = (size + 2 * padding - 3) % stride
        back = corr2d_transpose(x, w, output_padding=extra, **options)
        assert back.shape == image.shape
        assert np.vdot(x, y) == np.vdot(back, image)
        check_bits(back, fastcorr.corr2d_grad_input(x, w, image.shape, **options))


def test_pytorch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for stride, dilation, padding, extra, groups in itertools.product(
        (1, 2, (2, 3)), (1, 2, (3, 1)), (0, 2), (0, 1), (1, 2, 4)
    ):
        if extra >= min(np.maximum(stride, dilation) * np.ones(2)):
            continue
        x, w, bias = operands(np.float64, groups)
        options = {
            "stride": stride, "dilation": dilation, "groups": groups, "padding": padding,
            "output_padding": extra,
        }  # fmt: skip
        expected = torch.nn.functional.conv_transpose2d(*map(torch.tensor, (x, w, bias)), **options)
        np.testing.assert_array_equal(corr2d_transpose(x, w, bias, **options), expected.numpy())


@pytest.mark.edges
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    x, w, bias = operands(np.float32)
    expected = definition(x, w, bias, stride=2)
    y = corr2d_transpose(*map(LAYOUTS[layout], (x, w, bias)), stride=2)
    np.testing.assert_array_equal(y, expected)
    if layout in OUT_LAYOUTS:
        out = LAYOUTS[layout](np.full_like(expected, np.nan))
        assert corr2d_transpose(x, w, bias, stride=2, out=out) is out
        np.testing.assert_array_equal(out, expected)


def test_infinity_and_nan_stay_where_they_are():
    """Pixels beside x are no zeros: an infinite tap reaches only what it is laid on."""
    x = np.ones((1, 1, 3, 4), np.float32)
    for place, value in itertools.product(np.ndindex(3, 2), (np.inf, np.nan)):
        w = np.ones((1, 1, 3, 2), np.float32)
        w[0, 0][place] = value
        for stride in (1, 2, 4):
            y = corr2d_transpose(x, w, np.float32([2]), stride=stride)
            np.testing.assert_array_equal(y, definition(x, w, np.float32([2]), stride=stride))


def test_bitwise_the_same_for_any_workers():
    rng = np.random.default_rng(0)
    x, w = normal((3, 40, 30, 31), np.float32, rng), normal((40, 24, 3, 3), np.float32, rng)
    alone = corr2d_transpose(x, w, stride=2, padding=1, workers=1)
    for workers in (2, 3, None):
        check_bits(corr2d_transpose(x, w, stride=2, padding=1, workers=workers), alone)
    check_bits(corr2d_transpose(x[1:2], w, stride=2, padding=1), alone[1:2])


@pytest.mark.edges
def test_no_images():
    y = corr2d_transpose(np.zeros((0, 4, 5, 6)), np.zeros((4, 3, 2, 2)), stride=2)
    assert y.shape == (0, 3, 10, 12)


GOOD = {"x": np.zeros((4, 5, 6), "f"), "w": np.zeros((4, 3, 3, 2), "f")}
BAD = [
    ({"x": np.zeros((5, 6))}, ValueError, ["(5, 6)", "(C, F // groups, KH, KW)"]),
    ({"w": np.zeros((3, 3, 2))}, ValueError, ["w the shape (3, 3, 2)"]),
    ({"w": np.zeros((3, 3, 3, 2))}, ValueError, ["w has 3 input channels", "C = 4"]),
    ({"x": np.zeros((5, 6, 4))}, ValueError, ["C = 5", "channel_axis=-1"]),
    ({"x": np.zeros((0, 5, 6)), "w": np.zeros((0, 3, 3, 2))}, ValueError, ["C = 0"]),
    ({"w": np.zeros((4, 0, 3, 2))}, ValueError, ["F // groups = 0"]),
    ({"w": np.zeros((4, 3, 0, 2))}, ValueError, ["empty kernels"]),
    ({"groups": 3}, ValueError, ["groups = 3", "C = 4"]),
    ({"bias": np.zeros(4)}, ValueError, ["bias has the shape (4,)", "(3,)"]),
    ({"bias": np.zeros(3), "groups": 2}, ValueError, ["(6,)", "groups = 2"]),
    ({"stride": 0}, ValueError, ["stride = 0"]),
    ({"dilation": 1.0}, TypeError, ["dilation = 1.0"]),
    ({"groups": True}, TypeError, ["groups = True"]),
    ({"padding": "same"}, ValueError, ["padding = 'same'", "((top, bottom), (left, right))"]),
    ({"padding": (1, 2, 3, 4)}, ValueError, ["ambiguous"]),
    ({"padding": -1}, ValueError, ["padding = -1"]),
    ({"padding": 4}, ValueError, ["OH = ", "(5 - 1) * 1 - 8 + 1 * (3 - 1) + 0 + 1 = -1"]),
    ({"output_padding": 1}, ValueError, ["output_padding = (1, 1)", "max(1, 1)"]),
    ({"output_padding": (0, 2), "stride": (3, 2)}, ValueError, ["horizontal", "max(2, 1)"]),
    ({"output_padding": -1}, ValueError, ["output_padding = -1"]),
    ({"channel_axis": 1}, ValueError, ["channel_axis = 1"]),
    ({"workers": 0}, ValueError, ["workers = 0"]),
    ({"out": np.zeros((3, 7, 7))}, ValueError, ["out has the dtype"]),
    ({"out": np.zeros((3, 7, 6), "f")}, ValueError, ["(3, 7, 6)", "(3, 7, 7)"]),
    ({"x": GOOD["x"].astype(object)}, TypeError, ["x has the dtype"]),
]


@pytest.mark.parametrize(("change", "error", "texts"), BAD)
def test_bad_arguments(change, error, texts):
    assert corr2d_transpose(**GOOD).shape == (3, 7, 7)
    with pytest.raises(error) as caught:
        corr2d_transpose(**{**GOOD, **change})
    for text in texts:
        assert text in str(caught.value)


def test_true_and_one_are_not_the_same_in_the_cache():
    corr2d_transpose(**GOOD, stride=1, padding=1)
    for name in ("stride", "padding", "dilation", "groups", "output_padding"):
        with pytest.raises(TypeError, match=name):
            corr2d_transpose(**GOOD, **{name: True})
