# SPDX-License-Identifier: BSD-3-Clause
"""dx of kernels that do not overlap, in whole numbers."""

import itertools

import numpy as np
import pytest
from cases import whole_numbers
from layouts import LAYOUTS
from transposed import arrays, check_layout, definition, last, spied

from fastcorr import corr2d_grad_input, corr2d_transpose
from fastcorr._algorithms import patches

pytestmark = pytest.mark.kernels


# Edges of vectors and blocks of rows; positions that no output sees, inside and at the end.
CASES = [
    ((1, 3, 32, 48), (20, 3, 16, 16), {"stride": 16}),
    ((2, 1, 9, 70), (5, 1, 2, 2), {"stride": 2}),
    ((1, 8, 15, 40), (33, 8, 4, 4), {"stride": 4}),
    ((3, 60, 6, 9), (4, 60, 3, 2), {"stride": (3, 2)}),
    ((1, 4, 21, 20), (7, 4, 3, 1), {"stride": (5, 1)}),
    ((1, 4, 5, 64), (7, 4, 1, 8), {"stride": (1, 9)}),
    ((2, 2, 40, 41), (6, 2, 2, 3), {"stride": (4, 6), "dilation": (3, 2)}),
    ((1, 5, 200, 6), (300, 5, 3, 3), {"stride": 3}),
]


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_the_definition(isa, dtype):
    for x_shape, w_shape, options in CASES:
        dy, w = arrays(x_shape, w_shape, dtype, **options)
        if dtype == "float16":
            dy, w = np.sign(dy), np.sign(w)
        expected = definition(dy, w, x_shape, **options)
        for workers in (1, 2, 7):
            dx = corr2d_grad_input(dy, w, x_shape, workers=workers, **options)
            np.testing.assert_array_equal(dx, expected, str((x_shape, w_shape, options)))


def test_it_is_taken(monkeypatch):
    problems = spied(monkeypatch, patches, "Patches")
    for x_shape, w_shape, options in CASES:
        shape = 5, *x_shape[1:]  # nothing is cached for these
        dy, w = arrays(shape, w_shape, **options)
        corr2d_grad_input(dy, w, shape, **options)
        assert len(problems) == 1
        problems.clear()
    for x_shape, w_shape, options in (
        ((5, 3, 32, 48), (20, 3, 3, 3), {"stride": 2}),
        ((5, 3, 32, 48), (20, 3, 4, 4), {"stride": 4, "padding": 1}),
        ((5, 9, 32, 48), (20, 9, 4, 4), {"stride": 4}),
        ((5, 4, 32, 48), (20, 2, 4, 4), {"stride": 4, "groups": 2}),
    ):
        dy, w = arrays(x_shape, w_shape, **options)
        corr2d_grad_input(dy, w, x_shape, **options)
        assert not problems


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_channels_last(isa, dtype):
    for x_shape, w_shape, options in (
        *CASES,
        ((1, 40, 6, 40), (10, 40, 2, 4), {"stride": (2, 4)}),
    ):
        dy, w = (np.sign(a) for a in arrays(x_shape, w_shape, dtype, **options))
        shape = x_shape[0], *x_shape[2:], x_shape[1]
        dx = corr2d_grad_input(last(dy), w, shape, channel_axis=-1, **options)
        np.testing.assert_array_equal(dx, last(definition(dy, w, x_shape, **options)))


def test_equal_for_any_number_of_workers(isa):
    """And for an image alone as in a batch."""
    rng = np.random.default_rng(0)
    for x_shape, w_shape, options in (
        ((3, 3, 90, 89), (600, 3, 4, 4), {"stride": 4}),
        ((3, 40, 37, 50), (70, 40, 2, 2), {"stride": 2}),
    ):
        dy, w = arrays(x_shape, w_shape, **options)
        dy, w = (rng.standard_normal(a.shape, np.float32) for a in (dy, w))
        one = corr2d_grad_input(dy, w, x_shape, workers=1, **options)
        for workers in (2, 3, 7, 64):
            dx = corr2d_grad_input(dy, w, x_shape, workers=workers, **options)
            assert dx.tobytes() == one.tobytes(), workers
        alone = corr2d_grad_input(dy[1], w, x_shape[1:], **options)
        assert alone.tobytes() == one[1].tobytes()


@pytest.mark.edges
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "byte_swapped"])
def test_layouts(layout):
    for case in CASES[:3]:
        check_layout(layout, case)


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_transpose_with_a_bias(dtype):
    """And an edge that no kernel reaches."""
    rng = np.random.default_rng(0)
    x, bias = whole_numbers((2, 12, 5, 6), dtype, rng), whole_numbers(3, dtype, rng)
    w = whole_numbers((12, 3, 2, 2), dtype, rng)
    y = corr2d_transpose(x, w, bias, stride=3, output_padding=1)
    expected = np.zeros((2, 3, 15, 18), dtype)
    for ky, kx in itertools.product(range(2), repeat=2):
        taps = np.einsum("ncij,cf->nfij", x.astype("f8"), w[:, :, ky, kx].astype("f8"))
        expected[:, :, ky::3, kx::3] = taps
    expected += bias[:, None, None]
    np.testing.assert_array_equal(y, expected)
    y = corr2d_transpose(last(x), w, bias, stride=3, output_padding=1, channel_axis=-1)
    np.testing.assert_array_equal(y, last(expected))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["dy", "w"])
def test_nan_and_infinity_are_where_the_definition_puts_them(value, place):
    for x_shape, w_shape, options in CASES[:4]:
        dy, w = arrays(x_shape, w_shape, **options)
        {"dy": dy, "w": w}[place].flat[3] = value
        with np.errstate(invalid="ignore"):
            expected = definition(dy, w, x_shape, **options)
            np.testing.assert_array_equal(corr2d_grad_input(dy, w, x_shape, **options), expected)
