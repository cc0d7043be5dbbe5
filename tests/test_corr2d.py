# SPDX-License-Identifier: BSD-3-Clause
"""corr2d does what its signature says: ranks, padding, stride, dilation, groups, bias.

Whole numbers throughout, so every comparison with the definition is an equality. How results lie
in memory is test_layouts.py, their dtypes test_dtypes.py, block edges test_tiles.py.
"""

import itertools
import sys

import numpy as np
import pytest
from cases import Case, whole_arrays, whole_numbers
from contract import check_exact

import fastcorr

pytestmark = pytest.mark.kernels

STRIDES = [1, 2, 3, (1, 2), (3, 1), (2, 5)]
DILATIONS = [1, 2, 3, (2, 1), (1, 4)]
PADDINGS = [
    0, 1, 2, 7, (2, 1), (0, 3), [1, 2], ((1, 0), (0, 2)), ((0, 3), (4, 1)), [[0, 0], [1, 0]],
    "valid", "same", "same_lower", "full",
]  # fmt: skip
MODES = ["constant", "reflect", "symmetric", "edge", "wrap"]
# Few channels, many channels, depthwise: the three ways through the engine.
PATHS = [
    Case((12, 15), (2, 3)),
    Case((5, 12, 15), (7, 5, 3, 2)),
    Case((4, 12, 15), (8, 1, 3, 3), {"groups": 4}),
]

X = np.arange(9).reshape(3, 3)
K = np.arange(4).reshape(2, 2)


class TestTheBooksNumbers:
    """Dive into Deep Learning, chapter 7."""

    def test_one_channel(self):
        np.testing.assert_array_equal(fastcorr.corr2d(X, K), [[19, 25], [37, 43]])

    def test_many_inputs(self):
        x, k = np.stack([X, X + 1]), np.stack([K, K + 1])
        np.testing.assert_array_equal(fastcorr.corr2d(x, k), [[56, 72], [104, 120]])

    def test_many_inputs_many_outputs(self):
        x, k = np.stack([X, X + 1]), np.stack([K, K + 1])
        y = fastcorr.corr2d(x, np.stack([k, k + 1, k + 2]))
        expected = [[[56, 72], [104, 120]], [[76, 100], [148, 172]], [[96, 128], [192, 224]]]
        np.testing.assert_array_equal(y, expected)

    def test_1x1_is_a_matrix_product(self):
        rng = np.random.default_rng(0)
        x, k = whole_numbers((3, 3, 3), float, rng), whole_numbers((2, 3, 1, 1), float, rng)
        y = fastcorr.corr2d(x, k)
        np.testing.assert_array_equal(y.reshape(2, 9), k.reshape(2, 3) @ x.reshape(3, 9))

    def test_vertical_edges(self):
        x = np.ones((6, 8))
        x[:, 2:6] = 0
        y = fastcorr.corr2d(x, [[1.0, -1.0]])
        np.testing.assert_array_equal(y, [[0, 1, 0, 0, 0, -1, 0]] * 6)
        np.testing.assert_array_equal(fastcorr.corr2d(x.T, [[1.0, -1.0]]), np.zeros((8, 5)))

    def test_padding_and_stride(self):
        x = np.ones((8, 8))
        assert fastcorr.corr2d(x, np.ones((3, 3)), padding=1).shape == (8, 8)
        assert fastcorr.corr2d(x, np.ones((5, 3)), padding=(2, 1)).shape == (8, 8)
        assert fastcorr.corr2d(x, np.ones((3, 3)), padding=1, stride=2).shape == (4, 4)
        y = fastcorr.corr2d(x, np.ones((3, 5)), padding=(0, 1), stride=(3, 4))
        assert y.shape == (2, 2)


@pytest.mark.parametrize(
    ("x", "w", "y"),
    [
        ((6, 7), (2, 3), (5, 5)),
        ((4, 6, 7), (4, 2, 3), (5, 5)),
        ((4, 6, 7), (9, 4, 2, 3), (9, 5, 5)),
        ((3, 4, 6, 7), (9, 4, 2, 3), (3, 9, 5, 5)),
    ],
)
def test_the_four_rank_pairs(x, w, y):
    assert check_exact(*whole_arrays(Case(x, w), float)).shape == y


@pytest.mark.edges
@pytest.mark.parametrize(
    ("x", "w", "y"),
    [
        ((6, 7, 4), (4, 2, 3), (5, 5)),
        ((6, 7, 4), (9, 4, 2, 3), (5, 5, 9)),
        ((3, 6, 7, 4), (9, 4, 2, 3), (3, 5, 5, 9)),
        ((3, 6, 7, 4), (8, 2, 2, 3), (3, 5, 5, 8)),
        ((3, 6, 7, 4), (8, 1, 2, 3), (3, 5, 5, 8)),
    ],
)
@pytest.mark.parametrize("options", [{}, {"stride": (2, 1), "padding": (1, 2)}, {"dilation": 2}])
def test_channels_last(x, w, y, options):
    x, w = whole_arrays(Case(x, w), np.float32)
    groups = x.shape[-1] // w.shape[-3]
    got = check_exact(x, w, channel_axis=-1, groups=groups, **options)
    first = fastcorr.corr2d(np.moveaxis(x, -1, -3), w, groups=groups, **options)
    np.testing.assert_array_equal(got, np.moveaxis(first, -3, -1) if w.ndim == 4 else first)
    assert options or got.shape == y


@pytest.mark.edges
@pytest.mark.parametrize("stride", STRIDES, ids=str)
@pytest.mark.parametrize("dilation", DILATIONS, ids=str)
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_stride_with_dilation_with_padding(path, stride, dilation):
    x, w = whole_arrays(path, np.float32)
    for padding in PADDINGS:
        check_exact(x, w, stride=stride, dilation=dilation, padding=padding, **path.options)


@pytest.mark.edges
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_stride_has_no_limit(path):
    """One that leaves a single output of an axis is as good as any such."""
    for dtype in ("float32", "float64", "int32"):
        x, w = whole_arrays(path, dtype)
        for mode in ("constant", "reflect"):
            options = {"padding": 3, "padding_mode": mode, **path.options}
            for stride in itertools.product((2, sys.maxsize - 1, sys.maxsize), repeat=2):
                usual = tuple(min(s, 100) for s in stride)
                expected = fastcorr.corr2d(x, w, stride=usual, **options)
                y = fastcorr.corr2d(x, w, stride=stride, **options)
                np.testing.assert_array_equal(y, expected)


@pytest.mark.edges
def test_a_dilation_of_one_tap_has_no_limit():
    for path in PATHS:
        x, w = whole_arrays(path, np.float32)
        row = w[..., :1, :]
        expected = fastcorr.corr2d(x, row, dilation=(1, 2), padding=2, **path.options)
        y = fastcorr.corr2d(x, row, dilation=(sys.maxsize, 2), padding=2, **path.options)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.edges
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 18])
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_padding_modes_of_any_width(path, mode, n):
    x, w = whole_arrays(path, np.float32)
    widths = sorted({0, 1, n - 1, n, 2 * n - 1, 3 * n + 2})
    for before, after in itertools.product(widths, repeat=2):
        for image in (np.resize(x, (*x.shape[:-2], n, 12)), np.resize(x, (*x.shape[:-2], 12, n))):
            padding = (
                ((before, after), (2, 3)) if image.shape[-2] == n else ((2, 3), (before, after))
            )
            if before + after + n >= 3:
                check_exact(image, w, padding=padding, padding_mode=mode, **path.options)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", ["same", "same_lower", "full", "valid"])
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_padding_names_with_every_mode(padding, mode, stride):
    for path in PATHS:
        x, w = whole_arrays(path, np.float64)
        options = {"stride": stride, "padding_mode": mode, **path.options}
        check_exact(x, w, padding=padding, dilation=2, **options)
        if padding.startswith("same"):
            y = check_exact(x[..., :13], w, padding=padding, **options)
            assert y.shape[-2:] == (-(-12 // stride), -(-13 // stride))


@pytest.mark.parametrize(
    ("n", "k", "stride", "before", "after"),
    [(224, 3, 2, 0, 1), (224, 7, 2, 2, 3), (7, 3, 2, 1, 1), (13, 6, 5, 1, 2), (5, 2, 1, 0, 1),
     (9, 2, 5, 0, 0)],
)  # fmt: skip
def test_same_is_the_rule_of_tensorflow(n, k, stride, before, after):
    x, w = whole_arrays(Case((3, n), (1, k)), float)
    for name, widths in (("same", (before, after)), ("same_lower", (after, before))):
        named = fastcorr.corr2d(x, w, stride=stride, padding=name)
        explicit = fastcorr.corr2d(x, w, stride=stride, padding=((0, 0), widths))
        np.testing.assert_array_equal(named, explicit)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_padding_value(path):
    for dtype, value in (
        (np.float32, 2), (np.float32, np.float64(0.5)), (np.float64, -1.5), (np.uint8, 255),
        (np.int16, -300), (np.complex64, 1 + 2j), (bool, True),
    ):  # fmt: skip
        x, w = whole_arrays(path, dtype)
        check_exact(x, w, padding=((2, 1), (0, 4)), padding_value=value, **path.options)
    x, w = whole_arrays(path, np.float32)
    options = {"padding": 2, "padding_mode": "edge", **path.options}
    np.testing.assert_array_equal(  # the other modes have no use for it
        fastcorr.corr2d(x, w, padding_value=7, **options), fastcorr.corr2d(x, w, **options)
    )


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.complex64, np.longdouble])
def test_bias(path, dtype):
    x, w = whole_arrays(path, dtype)
    if w.ndim == 4:
        check_exact(x, w, np.arange(len(w)).astype(dtype), padding=1, **path.options)
        check_exact(x, w, np.arange(2 * len(w)).astype(dtype)[::-2], padding=1, **path.options)
    else:
        check_exact(x, w, np.array([7], dtype))
        check_exact(x, w, np.array(7, dtype))
        check_exact(x, w, dtype(7))


def test_bias_takes_part_in_promotion():
    x, w = whole_arrays(PATHS[1], np.float32)
    assert check_exact(x, w, np.arange(7, dtype=np.float64)).dtype == np.float64
    assert check_exact(x, w, np.arange(7, dtype=np.int16)).dtype == np.float32
    assert check_exact(x, w, np.arange(7, dtype=np.complex64)).dtype == np.complex64


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("multiplier", [1, 2, 3, 15])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.complex128])
def test_groups(groups, multiplier, dtype):
    for n in (1, 3):
        case = Case((n, 6, 7, 18), (groups * multiplier, 6 // groups, 3, 2))
        check_exact(*whole_arrays(case, dtype), groups=groups, padding=1)


def test_the_kernel_is_neither_flipped_nor_conjugated():
    x = np.zeros((5, 5))
    x[2, 2] = 1
    w = np.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(fastcorr.corr2d(x, w), w[::-1, ::-1])
    assert fastcorr.corr2d(np.array([[1j]]), np.array([[1j]])) == -1


@pytest.mark.edges
@pytest.mark.parametrize("rank", [3, 4])
def test_no_images_give_no_results(rank):
    x = np.empty((0, 4, 6, 7) if rank == 4 else (4, 0, 7), np.float32)
    w = np.ones((5, 4, 3, 3), np.float32)
    y = fastcorr.corr2d(x, w, padding="same")
    assert y.shape == (*x.shape[:-3], 5, *x.shape[-2:])
    assert y.dtype == np.float32


@pytest.mark.edges
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_an_empty_image_in_constant_padding(path):
    x, w = whole_arrays(path, np.float32)
    for empty in (x[..., :0, :], x[..., :0], x[..., :0, :0]):
        check_exact(empty, w, padding=4, padding_value=3, **path.options)


def test_lists_are_arrays():
    y = fastcorr.corr2d([[1, 2], [3, 4]], [[1.5]])
    assert y.dtype == np.float64
    assert y.tolist() == [[1.5, 3.0], [4.5, 6.0]]
    assert fastcorr.corr2d([[True, True]], [[True, True]]).tolist() == [[2]]
