# SPDX-License-Identifier: BSD-3-Clause
"""The weight gradient with vectors along the channels beside its definition, in whole numbers."""

import numpy as np
import pytest
from layouts import LAYOUTS
from test_grad_weight import case, channels_last, evaluate, problem_of, whole_arrays

from fastcorr import corr2d_grad_weight
from fastcorr._algorithms import depthwise_grad
from fastcorr._padding import margins_of
from fastcorr._plan import compute_bytes

pytestmark = pytest.mark.kernels


def depthwise(n, c, h, w, kh, kw, **options):
    return case((n, c, h, w), (c, 1, kh, kw), groups=c, **options)


# Edges of vectors, of blocks of pixels and taps, and of tiles.
CASES = [
    *(depthwise(1, c, 5, 6, 3, 3, padding=1) for c in (8, 9, 15, 16, 17, 33, 65)),
    *(depthwise(2, 10, 4, n, 2, 3) for n in (3, 4, 5, 6, 7, 8, 11)),
    *(depthwise(1, 8, 13, 14, kh, kw, padding=2) for kh in (1, 5, 7) for kw in (1, 2, 4, 5, 6, 7)),
    depthwise(1, 8, 12, 19, 11, 13),
    depthwise(2, 8, 23, 24, 3, 5, stride=2, padding=1),
    depthwise(1, 8, 14, 40, 3, 5, stride=2, dilation=(1, 3)),
    depthwise(1, 20, 24, 25, 3, 2, stride=(1, 3), dilation=(2, 3), padding=4),
    depthwise(3, 16, 60, 61, 3, 3, padding=((2, 0), (0, 3))),
    depthwise(1, 8, 3, 2500, 3, 3, padding=1),
    # Tiles of unequal width that see all of x.
    depthwise(1, 8, 4, 30, 1, 3, padding=((0, 0), (242, 243)), dilation=(1, 220)),
]  # fmt: skip


def gradient(case, x, dy, workers=1, padding_value=0):
    problem = problem_of(case, x.dtype, dy.dtype)
    assert depthwise_grad.unsupported(problem) is None
    dw = np.full(problem.w_shape, np.nan, problem.dtype)
    algorithm = depthwise_grad.DepthwiseGrad(problem, *margins_of(problem))
    algorithm.run(dy, x, dw, compute_bytes(problem, padding_value), workers)
    return dw


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_edges(isa, dtype):
    for seed, c in enumerate(CASES):
        for c_ in (c, channels_last(c)):
            x, dy = whole_arrays(c_, dtype, seed, limit=1)
            expected = evaluate(c_, x, dy).astype(dtype)
            np.testing.assert_array_equal(gradient(c_, x, dy), expected, str(c_))


@pytest.mark.edges
@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
def test_padding(mode):
    for c in (
        depthwise(2, 17, 5, 6, 3, 3, padding=((2, 1), (0, 3))),
        depthwise(1, 40, 5, 6, 5, 5, padding=((2, 1), (4, 3)), stride=2),
    ):
        for c_ in (c, channels_last(c)):
            c_ = c_._replace(options={**c_.options, "padding_mode": mode})
            x, dy = whole_arrays(c_, "float32")
            expected = evaluate(c_, x, dy, padding_value=3)
            np.testing.assert_array_equal(gradient(c_, x, dy, padding_value=3), expected, str(c_))


@pytest.mark.edges
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "byte_swapped"])
def test_layouts(layout):
    change = LAYOUTS[layout]
    for c in (CASES[0], CASES[-3], channels_last(CASES[4]), channels_last(CASES[-3])):
        x, dy = whole_arrays(c, "float32")
        expected = evaluate(c, x, dy)
        np.testing.assert_array_equal(gradient(c, change(x), change(dy)), expected, str(c))


@pytest.mark.parametrize(
    ("x_dtype", "dy_dtype"),
    [("float32", "float64"), ("float64", "float32"), ("float16", "float32"), ("int16", "float32")],
)
def test_mixed_dtypes(x_dtype, dy_dtype):
    for c in (CASES[3], channels_last(CASES[4])):
        x, dy = whole_arrays(c, x_dtype)[0], whole_arrays(c, dy_dtype, 1)[1]
        np.testing.assert_array_equal(gradient(c, x, dy), evaluate(c, x, dy), str(c))


def test_equal_for_any_number_of_workers():
    rng = np.random.default_rng(0)
    for c in (depthwise(9, 24, 50, 50, 3, 3), depthwise(2, 100, 14, 14, 7, 7, padding=3)):
        x = rng.standard_normal(c.x, np.float32)
        dy = rng.standard_normal(problem_of(c, "float32", "float32").y_shape, np.float32)
        one = gradient(c, x, dy, workers=1)
        for workers in (2, 3, 7, 64):
            assert gradient(c, x, dy, workers=workers).tobytes() == one.tobytes(), (c, workers)


@pytest.mark.parametrize("sign", ["both", "positive", "constant"])
def test_accuracy(sign):
    c = depthwise(1, 8, 600, 600, 3, 3)
    rng = np.random.default_rng(1)
    x = rng.standard_normal(c.x, np.float32)
    dy = rng.standard_normal(problem_of(c, "float32", "float32").y_shape, np.float32)
    if sign == "positive":
        x, dy = np.abs(x), np.abs(dy)
    elif sign == "constant":
        x, dy = np.full_like(x, 0.1), np.full_like(dy, 0.3)
    error = np.abs(gradient(c, x, dy) - evaluate(c, x, dy))
    bound = 64 if sign == "constant" else 16
    assert (error / evaluate(c, x, dy, np.abs)).max() <= bound * 2.0**-24


def test_the_public_function_takes_it(monkeypatch):
    """With channels last always; with channels first where rows fill no vectors."""
    taken = []
    run = depthwise_grad.DepthwiseGrad

    def spy(*arguments):
        taken.append(arguments[0].x_shape)
        return run(*arguments)

    monkeypatch.setattr("fastcorr._gradients.DepthwiseGrad", spy)
    for c, is_taken in (
        (channels_last(depthwise(1, 16, 31, 32, 3, 3)), True),
        (depthwise(1, 64, 7, 6, 3, 3), True),
        (depthwise(1, 16, 140, 300, 3, 3), False),
        (channels_last(depthwise(1, 3, 31, 32, 3, 3)), False),
    ):
        x, dy = whole_arrays(c, "float32")
        dw = corr2d_grad_weight(dy, x, c.w[2:], **c.options)
        np.testing.assert_array_equal(dw, evaluate(c, x, dy), str(c))
        assert bool(taken) == is_taken, c
        taken.clear()


def test_unsupported():
    for c, dtype in (
        (depthwise(1, 4, 5, 5, 3, 3), "float32"),
        (depthwise(1, 16, 5, 5, 3, 3), "complex64"),
        (depthwise(1, 16, 5, 5, 3, 3), "int32"),
        (depthwise(1, 16, 5, 5, 3, 3), "longdouble"),
        (case((1, 8, 5, 5), (16, 1, 3, 3), groups=8), "float32"),
    ):
        assert depthwise_grad.unsupported(problem_of(c, dtype, dtype)) is not None, (c, dtype)
