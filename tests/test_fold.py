# SPDX-License-Identifier: BSD-3-Clause
"""dx of few channels, or under a stride, by products of dy with all taps, in whole numbers."""

import numpy as np
import pytest
import reference
from cases import whole_numbers
from layouts import LAYOUTS
from transposed import arrays, check_layout, definition, last, spied

from fastcorr import _costs, corr2d_grad_input, corr2d_transpose
from fastcorr._algorithms import fold, pointwise_transpose

pytestmark = pytest.mark.kernels

# Edges of vectors and of blocks of rows; kernels larger than y; padding; parts of the channels.
CASES = [
    ((2, 6, 14, 14), (16, 6, 5, 5), {}),
    ((1, 1, 9, 20), (3, 1, 2, 5), {}),
    ((3, 2, 17, 18), (33, 2, 3, 3), {"padding": 1}),
    ((1, 5, 8, 8), (7, 5, 8, 8), {}),
    ((2, 3, 6, 50), (200, 3, 4, 2), {"padding": ((0, 2), (1, 0))}),
    ((1, 4, 30, 12), (20, 4, 3, 5), {"dilation": (2, 1), "padding": (1, 3)}),
    ((1, 40, 20, 21), (20, 40, 5, 5), {}),
    ((2, 3, 11, 7), (5, 3, 1, 7), {"padding": (0, 3), "padding_mode": "reflect"}),
    ((1, 2, 3, 40), (4, 2, 3, 16), {"padding": (2, 9), "padding_mode": "edge"}),
    # Phases: pairs of columns, as many of both or one more, others; without taps; parts, in place.
    ((2, 6, 14, 14), (16, 6, 3, 3), {"stride": 2, "padding": 1}),
    ((1, 40, 41, 67), (20, 40, 3, 3), {"stride": 2, "padding": 1}),
    ((3, 2, 17, 18), (33, 2, 3, 4), {"stride": (1, 3), "padding": 1}),
    ((1, 5, 16, 15), (7, 5, 1, 1), {"stride": 2}),
    ((1, 4, 30, 21), (20, 4, 3, 5), {"dilation": (1, 2), "stride": (2, 4), "padding": (1, 3)}),
    ((1, 3, 31, 34), (5, 3, 3, 3), {"dilation": 3, "stride": 2}),
    ((2, 3, 11, 8), (5, 3, 1, 7), {"stride": 2, "padding": (0, 3), "padding_mode": "reflect"}),
    ((1, 3, 11, 1), (5, 3, 2, 1), {"stride": 2, "padding": ((1, 0), (0, 0))}),
    ((2, 64, 28, 26), (40, 64, 3, 3), {"stride": 2, "padding": 1}),
    *(MANY_WEIGHTS := [
        ((3, 150, 9, 8), (260, 150, 3, 3), {"stride": 2, "padding": 1}),
        ((2, 260, 7, 5), (140, 260, 2, 3), {"stride": (1, 3), "padding": (1, 0)}),
    ]),
]  # fmt: skip


@pytest.fixture
def problems(monkeypatch):
    """The problems that it has been made for; it is taken wherever it can be."""
    found = spied(monkeypatch, fold, "Fold")
    monkeypatch.setattr(_costs, "fold", lambda problem: 0.0)
    clear_plans()
    yield found
    clear_plans()


def clear_plans():
    from fastcorr import _gradients

    _gradients._gradients_for.cache_clear()


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_the_definition(isa, dtype, problems):
    for x_shape, w_shape, options in CASES:
        dy, w = arrays(x_shape, w_shape, dtype, **options)
        if dtype == "float16":
            dy, w = np.sign(dy), np.sign(w)
        expected = definition(dy, w, x_shape, **options)
        problems.clear()
        for workers in (1, 2, 7):
            dx = corr2d_grad_input(dy, w, x_shape, workers=workers, **options)
            np.testing.assert_array_equal(dx, expected, str((x_shape, w_shape, options)))
        assert problems


def test_where_it_is_taken(monkeypatch):
    taken = spied(monkeypatch, fold, "Fold")
    clear_plans()
    for x_shape, w_shape, options, is_taken in (
        ((64, 6, 14, 14), (16, 6, 5, 5), {}, True),
        ((1, 6, 14, 14), (16, 6, 5, 5), {"method": "direct"}, True),
        ((1, 256, 14, 14), (256, 256, 3, 3), {"padding": 1}, False),
        ((1, 3, 224, 224), (64, 3, 7, 7), {"padding": 3}, False),
        ((1, 6, 14, 14), (16, 6, 5, 5), {"stride": 2}, True),
        ((1, 128, 56, 56), (128, 128, 3, 3), {"stride": 2, "padding": 1}, True),
        ((1, 64, 224, 224), (128, 64, 3, 3), {"stride": 2, "padding": 1}, False),
        ((1, 6, 14, 14), (16, 3, 5, 5), {"groups": 2}, False),
    ):
        taken.clear()
        method = options.pop("method", "auto")
        dy, w = arrays(x_shape, w_shape, **options)
        corr2d_grad_input(dy, w, x_shape, method=method, **options)
        assert bool(taken) == is_taken, (x_shape, w_shape, options)


@pytest.mark.edges
def test_many_weights_are_not_turned(monkeypatch, problems):
    """Also where images are taken one at a time."""
    taken = spied(monkeypatch, fold, "PointwiseTranspose")
    monkeypatch.setattr(fold, "ALL_PRODUCTS_BYTES", 1)
    monkeypatch.setattr(pointwise_transpose, "TURNED_BYTES", 1)
    for x_shape, w_shape, options in MANY_WEIGHTS:
        taken.clear()
        dy, w = arrays(x_shape, w_shape, **options)
        for workers in (1, 2, 7):
            dx = corr2d_grad_input(dy, w, x_shape, workers=workers, **options)
            np.testing.assert_array_equal(dx, definition(dy, w, x_shape, **options))
        assert taken, x_shape


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_channels_last(isa, dtype, problems):
    for x_shape, w_shape, options in CASES:
        dy, w = (np.sign(a) for a in arrays(x_shape, w_shape, dtype, **options))
        shape = x_shape[0], *x_shape[2:], x_shape[1]
        dx = corr2d_grad_input(last(dy), w, shape, channel_axis=-1, **options)
        np.testing.assert_array_equal(dx, last(definition(dy, w, x_shape, **options)))
    assert problems


def test_equal_for_any_number_of_workers(isa, problems):
    """And for an image alone as in a batch."""
    rng = np.random.default_rng(0)
    for x_shape, w_shape, options in (
        ((3, 6, 14, 14), (16, 6, 5, 5), {}),
        ((3, 40, 20, 21), (150, 40, 5, 5), {"padding": 2}),
        ((3, 70, 28, 29), (150, 70, 3, 3), {"stride": 2, "padding": 1}),
        ((3, 150, 9, 8), (260, 150, 3, 3), {"stride": 2, "padding": 1}),
    ):
        dy, w = arrays(x_shape, w_shape, **options)
        dy, w = (rng.standard_normal(a.shape, np.float32) for a in (dy, w))
        one = corr2d_grad_input(dy, w, x_shape, workers=1, **options)
        for workers in (2, 3, 7, 64):
            dx = corr2d_grad_input(dy, w, x_shape, workers=workers, **options)
            assert dx.tobytes() == one.tobytes(), workers
            alone = corr2d_grad_input(dy[1], w, x_shape[1:], workers=workers, **options)
            assert alone.tobytes() == one[1].tobytes()
    assert problems


@pytest.mark.edges
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "byte_swapped"])
def test_layouts(layout, problems):
    for case in CASES[:3]:
        check_layout(layout, case)
    assert problems


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_transpose_with_a_bias(dtype, problems):
    rng = np.random.default_rng(0)
    x, bias = whole_numbers((2, 12, 5, 6), dtype, rng), whole_numbers(3, dtype, rng)
    w = whole_numbers((12, 3, 2, 4), dtype, rng)
    expected = definition(x, w, (2, 3, 6, 9)) + bias[:, None, None]
    np.testing.assert_array_equal(corr2d_transpose(x, w, bias), expected)
    y = corr2d_transpose(last(x), w, bias, channel_axis=-1)
    np.testing.assert_array_equal(y, last(expected))
    assert problems


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["dy", "w"])
def test_nan_and_infinity_are_where_the_definition_puts_them(value, place, problems):
    for x_shape, w_shape, options in CASES:
        dy, w = arrays(x_shape, w_shape, **options)
        {"dy": dy, "w": w}[place].flat[3] = value
        with np.errstate(invalid="ignore"):
            expected = definition(dy, w, x_shape, **options)
            np.testing.assert_array_equal(corr2d_grad_input(dy, w, x_shape, **options), expected)
    assert problems


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_accuracy(dtype, problems):
    """The contract: 16 units of the sum of absolute values, 64 where all numbers are equal."""
    rng = np.random.default_rng(0)
    u = np.finfo(dtype).eps / 2
    for x_shape, w_shape, options in CASES:
        dy, w = arrays(x_shape, w_shape, dtype, **options)
        for draw, most in (
            (rng.standard_normal, 16), (rng.random, 16), (lambda n: np.full(n, 0.1), 64),
        ):  # fmt: skip
            dy, w = draw(dy.shape).astype(dtype), draw(w.shape).astype(dtype)
            x = np.zeros(x_shape, dtype)
            exact, _, _ = reference.gradients(dy, x, w, needs="x", **options)
            total, _, _ = reference.gradient_magnitudes(dy, x, w, needs="x", **options)
            dx = corr2d_grad_input(dy, w, x_shape, **options)
            assert (abs(dx - exact) <= most * u * total).all()
    assert problems
