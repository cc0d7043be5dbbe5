# SPDX-License-Identifier: BSD-3-Clause
"""dx of 1 x 1 kernels: a product of matrices, in whole numbers."""

import numpy as np
import pytest
import reference
from cases import whole_numbers
from layouts import LAYOUTS, OUT_LAYOUTS
from transposed import spied

from fastcorr import corr2d_grad_input, corr2d_transpose
from fastcorr._algorithms import pointwise_transpose

pytestmark = pytest.mark.kernels

# (N, H, W), C, F: edges of vectors, of blocks of rows and of chunks; rows of w that collide.
CASES = [
    ((1, 5, 7), 16, 4),
    ((3, 4, 5), 33, 20),
    ((2, 1, 1), 40, 3),
    ((1, 9, 11), 70, 300),
    ((2, 3, 5), 17, 1300),
    ((1, 2, 3), 256, 1024),
    ((1, 40, 41), 100, 5),
]
# The same with channels first: larger kernels, images that are turned a few at a time.
PLANES = [
    ((1, 3, 4), 160, 96),
    ((3, 4, 5), 133, 320),
    ((2, 1, 1), 400, 130),
    ((5, 7, 7), 511, 300),
    ((400, 2, 3), 470, 257),
    ((2, 3, 3), 257, 1300),
    ((3, 1, 2), 2048, 700),
]


def arrays(size, C, F, dtype=np.float32):
    """(dy, w, shape of x) of whole numbers."""
    rng = np.random.default_rng(0)
    dy, w = whole_numbers((*size, F), dtype, rng), whole_numbers((F, C, 1, 1), dtype, rng)
    return dy, w, (*size, C)


def definition(dy, w):
    return (dy.astype(float) @ w[:, :, 0, 0].astype(float)).astype(np.result_type(dy, w))


def planes(a):
    """The same with channels first."""
    return np.ascontiguousarray(np.moveaxis(a, -1, 1))


@pytest.fixture
def problems(monkeypatch):
    """The problems that it has been made for."""
    return spied(monkeypatch, pointwise_transpose, "PointwiseTranspose")


@pytest.mark.edges
@pytest.mark.parametrize("dtypes", ["ff", "dd", "ee", "fd", "df", "ef"])
def test_the_definition(isa, dtypes):
    for case in CASES:
        dy, w, x_shape = arrays(*case)
        if "e" in dtypes:
            dy, w = np.sign(dy), np.sign(w)
        dy, w = dy.astype(dtypes[0]), w.astype(dtypes[1])
        for workers in (1, 2, 7):
            dx = corr2d_grad_input(dy, w, x_shape, channel_axis=-1, workers=workers)
            np.testing.assert_array_equal(dx, definition(dy, w), str(case), strict=True)


@pytest.mark.parametrize(
    "dtypes", [pytest.param("ff", marks=pytest.mark.edges), "dd", "fd", "df", "ef"]
)
def test_channels_first(isa, dtypes):
    for case in PLANES:
        dy, w, _ = arrays(*case)
        if "e" in dtypes:
            dy, w = np.sign(dy), np.sign(w)
        dy, w = dy.astype(dtypes[0]), w.astype(dtypes[1])
        expected = planes(definition(dy, w))
        for workers in (1, 2, 7):
            dx = corr2d_grad_input(planes(dy), w, expected.shape, workers=workers)
            np.testing.assert_array_equal(dx, expected, str(case), strict=True)


@pytest.mark.edges
@pytest.mark.parametrize("dtypes", ["ff", "fd"])
@pytest.mark.parametrize("stride", [(2, 2), (3, 1), (1, 5)])
def test_strides(isa, dtypes, stride):
    """Zeros between the pixels of dy, and behind the last ones; or a bias."""
    for case in (*PLANES[:3], PLANES[5]):
        dy, w, _ = arrays(*case)
        dy, w = planes(dy.astype(dtypes[0])), w.astype(dtypes[1])
        height, width = ((n - 1) * s + 1 for n, s in zip(dy.shape[2:], stride, strict=True))
        for beyond in {0, stride[0] - 1}:
            shape = len(dy), w.shape[1], height + beyond, width
            expected = np.zeros(shape, np.result_type(dy, w))
            y = planes(definition(np.moveaxis(dy, 1, -1), w))
            expected[:, :, : height : stride[0], :: stride[1]] = y
            for workers in (1, 2):
                dx = corr2d_grad_input(dy, w, shape, stride=stride, workers=workers)
                np.testing.assert_array_equal(dx, expected, str(case), strict=True)
        bias = np.arange(w.shape[1], dtype=w.dtype)
        dx = corr2d_transpose(dy, w, bias, stride=stride)
        expected = expected[:, :, :height] + bias[:, None, None]
        np.testing.assert_array_equal(dx, expected, str(case), strict=True)


def test_the_reference():
    dy, w, _ = arrays((2, 4, 5), 20, 6)
    first = np.moveaxis(dy, -1, 1)
    dx, *_ = reference.gradients(first, np.zeros((2, 20, 4, 5), np.float32), w)
    np.testing.assert_array_equal(definition(dy, w), np.moveaxis(dx, 1, -1))


def test_it_is_taken(problems):
    def taken(x_shape, w_shape, y_shape, **options):
        problems.clear()
        dy, w = np.ones(y_shape, np.float32), np.ones(w_shape, np.float32)
        corr2d_grad_input(dy, w, x_shape, channel_axis=-1, **options)
        return len(problems)

    assert taken((5, 14, 15, 64), (32, 64, 1, 1), (5, 14, 15, 32)) == 1
    for w_shape, y_shape, options in (
        ((32, 64, 1, 1), (5, 7, 8, 32), {"stride": 2}),
        ((32, 64, 1, 1), (5, 16, 17, 32), {"padding": 1}),
        ((32, 32, 1, 1), (5, 14, 15, 32), {"groups": 2}),
        ((32, 64, 1, 2), (5, 14, 14, 32), {}),
    ):
        assert taken((5, 14, 15, 64), w_shape, y_shape, **options) == 0
    assert taken((5, 56, 56, 3), (8, 3, 1, 1), (5, 56, 56, 8)) == 0  # three of 16 lanes


def test_it_is_taken_where_there_is_less_to_turn(problems):
    def taken(C, F, size, N=1, **options):
        problems.clear()
        dy, w = np.ones((N, F, size, size), np.float32), np.ones((F, C, 1, 1), np.float32)
        corr2d_grad_input(dy, w, (N, C, size, size), **options)
        return len(problems)

    for (_, H, W), C, F in PLANES:
        problems.clear()
        w = np.ones((F, C, 1, 1), np.float32)
        corr2d_grad_input(np.ones((11, F, H, W), np.float32), w, (11, C, H, W))
        assert len(problems) == 1, (C, F)
    assert taken(512, 512, 7) == taken(512, 512, 7, N=20) == taken(1000, 500, 1) == 1
    assert taken(64, 64, 28) == taken(64, 64, 28, N=20) == taken(40, 24, 7) == 0
    dy, w = np.ones((1, 512, 7, 7), np.float32), np.ones((512, 256, 1, 1), np.float32)
    problems.clear()
    corr2d_grad_input(dy, w, (1, 256, 14, 14), stride=2)
    assert len(problems) == 1


def test_equal_for_any_number_of_workers(isa):
    """And for an image alone as in a batch."""
    rng = np.random.default_rng(0)
    for case in PLANES:
        dy, w, _ = arrays(*case)
        dy, w = planes(rng.standard_normal(dy.shape, np.float32)), rng.standard_normal(w.shape)
        x_shape = len(dy), w.shape[1], *dy.shape[2:]
        one = corr2d_grad_input(dy, w, x_shape, workers=1)
        for workers in (2, 3, 7, 64):
            dx = corr2d_grad_input(dy, w, x_shape, workers=workers)
            assert dx.tobytes() == one.tobytes(), workers
        assert corr2d_grad_input(dy[-1], w, x_shape[1:]).tobytes() == one[-1].tobytes()
    for case in CASES:
        dy, w, x_shape = arrays(*case)
        dy, w = (rng.standard_normal(a.shape, np.float32) for a in (dy, w))
        one = corr2d_grad_input(dy, w, x_shape, channel_axis=-1, workers=1)
        for workers in (2, 3, 7, 64):
            dx = corr2d_grad_input(dy, w, x_shape, channel_axis=-1, workers=workers)
            assert dx.tobytes() == one.tobytes(), workers
        alone = corr2d_grad_input(dy[-1], w, x_shape[1:], channel_axis=-1)
        assert alone.tobytes() == one[-1].tobytes()


@pytest.mark.edges
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "byte_swapped"])
def test_layouts(layout):
    """Pixels that are not one axis are taken by images or by rows: the sums are the same."""
    change = LAYOUTS[layout]
    rng = np.random.default_rng(0)
    for case in CASES[:4]:
        dy, w, x_shape = arrays(*case)
        dy, w = (rng.standard_normal(a.shape, np.float32) for a in (dy, w))
        expected = corr2d_grad_input(dy, w, x_shape, channel_axis=-1)
        dx = corr2d_grad_input(change(dy), change(w), x_shape, channel_axis=-1)
        assert dx.tobytes() == expected.tobytes()
        if layout in OUT_LAYOUTS:
            out = change(np.full(x_shape, np.nan, np.float32))
            assert corr2d_grad_input(dy, w, x_shape, channel_axis=-1, out=out) is out
            np.testing.assert_array_equal(out, expected)


@pytest.mark.edges
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "byte_swapped"])
def test_layouts_with_channels_first(layout):
    change = LAYOUTS[layout]
    rng = np.random.default_rng(0)
    for case in PLANES[:4]:
        dy, w, _ = arrays(*case)
        dy, w = (rng.standard_normal(a.shape, np.float32) for a in (planes(dy), w))
        x_shape = len(dy), w.shape[1], *dy.shape[2:]
        expected = corr2d_grad_input(dy, w, x_shape)
        dx = corr2d_grad_input(change(dy), change(w), x_shape)
        assert dx.tobytes() == expected.tobytes()
        if layout in OUT_LAYOUTS:
            out = change(np.full(x_shape, np.nan, np.float32))
            assert corr2d_grad_input(dy, w, x_shape, out=out) is out
            np.testing.assert_array_equal(out, expected)


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_bias(dtype):
    x, w, _ = arrays((2, 6, 7), 40, 12, dtype)
    x, w = np.sign(x), np.sign(w)
    bias = whole_numbers((40,), dtype, np.random.default_rng(1))
    y = corr2d_transpose(x, w, bias, channel_axis=-1)
    np.testing.assert_array_equal(y, definition(x, w) + bias, strict=True)


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bias_with_channels_first(dtype):
    x, w, _ = arrays((3, 5, 6), 300, 200, dtype)
    bias = whole_numbers((300,), dtype, np.random.default_rng(1))
    y = corr2d_transpose(planes(x), w, bias)
    np.testing.assert_array_equal(y, planes(definition(x, w) + bias), strict=True)


def test_nan_and_infinities_stay_where_they_are(isa):
    dy, w, x_shape = arrays((2, 5, 6), 37, 9)
    dy, w = dy + 10, w + 10
    dy[1, 2, 3, 4], dy[0, 0, 0, 0] = np.nan, np.inf
    w[3, 20] = -np.inf
    dx = corr2d_grad_input(dy, w, x_shape, channel_axis=-1)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(dx, definition(dy, w))


def test_nan_and_infinities_with_channels_first(isa):
    dy, w, _ = arrays((2, 3, 4), 137, 390)
    dy, w = dy + 10, w + 10
    dy[1, 2, 3, 4], dy[0, 0, 0, 0] = np.nan, np.inf
    w[3, 20] = -np.inf
    with np.errstate(invalid="ignore"):
        expected = planes(definition(dy, w))
    np.testing.assert_array_equal(corr2d_grad_input(planes(dy), w, expected.shape), expected)
