# SPDX-License-Identifier: BSD-3-Clause
"""The compiled weight gradient beside its definition, without the public functions around it.

Whole numbers: a missed, doubled or misplaced element is an inequality, however small.
"""

from typing import NamedTuple

import numpy as np
import pytest
from layouts import LAYOUTS

from fastcorr._algorithms import grad_weight
from fastcorr._padding import margins_of
from fastcorr._plan import compute_bytes, plan_for
from fastcorr._problem import problem_key

pytestmark = pytest.mark.kernels

WIDER = {"e": "d", "f": "d", "d": "g", "F": "D", "D": "G"}


class Case(NamedTuple):
    x: tuple
    w: tuple
    options: dict


def case(x, w, **options):
    return Case(x, w, options)


# Many channels per group, few, and one; edges of blocks of rows, vectors and tiles.
CASES = [
    case((1, 1, 1, 1), (1, 1, 1, 1)),
    case((7, 5), (3, 2)),
    case((3, 9, 8), (3, 2, 3)),
    case((3, 9, 8), (4, 3, 2, 3)),
    *(case((1, c, 6, 7), (15, c, 3, 2), padding=1) for c in (15, 16, 17, 33, 65)),
    *(case((1, 16, 5, 5), (f, 16, 2, 2)) for f in (1, 6, 7, 13, 14, 15, 29)),
    *(case((1, 32, 4, n), (3, 32, 1, 1)) for n in (1, 15, 16, 17, 127, 129, 513)),
    case((2, 20, 40, 41), (9, 20, 3, 3), padding=1),
    case((40, 16, 3, 3), (8, 16, 2, 2)),
    case((1, 3, 23, 24), (20, 3, 7, 7), stride=2, padding=3),
    case((2, 5, 12, 11), (17, 5, 3, 3), dilation=2, padding=2),
    case((1, 2, 60, 70), (30, 2, 5, 3), stride=(3, 1), dilation=(1, 2)),
    case((33, 1, 12, 12), (40, 1, 3, 3)),
    *(case((2, 5, h, n), (5, 1, 3, 3), groups=5, padding=1)
      for h, n in ((1, 1), (4, 15), (5, 16), (7, 17), (30, 33))),
    *(case((1, 2, 19, 21), (4, 1, k, k), groups=2) for k in (1, 2, 4, 5, 6, 7, 8, 15)),
    case((1, 3, 14, 40), (3, 1, 3, 5), groups=3, stride=2, dilation=(1, 3)),
    case((1, 3, 24, 40), (6, 1, 3, 3), groups=3, stride=(1, 2), dilation=(2, 1), padding=2),
    case((1, 8, 9, 9), (12, 4, 3, 3), groups=2, padding=1),
    case((1, 36, 9, 9), (34, 18, 3, 3), groups=2, stride=2),
    case((1, 1, 150, 150), (1, 1, 9, 9), padding="same"),
]  # fmt: skip
PADDED = [
    case((2, 17, 5, 6), (3, 17, 3, 3), padding=((2, 1), (0, 3))),
    case((1, 2, 5, 6), (16, 2, 3, 3), padding=((2, 1), (0, 3)), stride=2),
    case((1, 2, 5, 6), (2, 1, 5, 5), padding=((2, 1), (7, 3)), groups=2),
]
WAYS_TESTED = set()


def evaluate(case, x, dy, part=lambda a: a, padding_value=0):
    """Return dw by its definition, in a wider type."""
    options = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **case.options}
    problem = problem_of(case, x.dtype, dy.dtype)
    work = WIDER[problem.dtype.char]
    to_work = lambda a: part(np.asarray(a, dtype=problem.dtype).astype(work))  # noqa: E731
    if problem.channels_last:
        x, dy = np.moveaxis(x, -1, -3), np.moveaxis(dy, -1, -3)
    p = problem
    x = to_work(x).reshape(p.N, p.C, p.H, p.W)
    if np.any(p.padding):
        constant = {"constant_values": padding_value} if p.padding_mode == "constant" else {}
        x = np.pad(x, ((0, 0), (0, 0), *p.padding), p.padding_mode, **constant)
    x = np.conj(x).reshape(p.N, p.groups, p.C // p.groups, *x.shape[2:])
    dy = to_work(dy).reshape(p.N, p.groups, p.F // p.groups, p.OH, p.OW)
    (sy, sx), (ey, ex) = np.broadcast_to(options["stride"], 2), p.dilation
    dw = np.zeros((p.groups, p.F // p.groups, p.C // p.groups, p.KH, p.KW), x.dtype)
    for ky in range(p.KH):
        for kx in range(p.KW):
            seen = x[..., ky * ey :, kx * ex :][..., : sy * p.OH : sy, : sx * p.OW : sx]
            dw[..., ky, kx] = np.einsum("ngfij,ngcij->gfc", dy, seen[..., : p.OH, : p.OW])
    return dw.reshape(p.w_shape)


def problem_of(case, x_dtype, w_dtype):
    options = {
        "stride": 1, "padding": 0, "dilation": 1, "groups": 1, "padding_mode": "constant",
        "channel_axis": None, "method": "auto", **case.options,
    }  # fmt: skip
    x, w = np.empty(case.x, x_dtype), np.empty(case.w, w_dtype)
    return plan_for(*problem_key(x, w, None, **options)).problem


def algorithm_of(problem):
    return grad_weight.GradWeight(problem, *margins_of(problem))


def gradient(case, x, dy, workers=1, padding_value=0):
    problem = problem_of(case, x.dtype, dy.dtype)
    algorithm = algorithm_of(problem)
    WAYS_TESTED.add(repr(algorithm.cut(1)).split(":")[0])
    dw = np.full(problem.w_shape, np.nan, problem.dtype)
    algorithm.run(dy, x, dw, compute_bytes(problem, padding_value), workers)
    return dw


def whole_arrays(case, dtype, seed=0, limit=3):
    rng = np.random.default_rng(seed)

    def whole(shape):
        a = rng.integers(-limit, limit + 1, shape)
        if np.dtype(dtype).kind == "c":
            a = a + 1j * rng.integers(-limit, limit + 1, shape)
        return a.astype(dtype)

    return whole(case.x), whole(problem_of(case, dtype, dtype).y_shape)


def channels_last(c):
    """Return the case with its channels at the end of x and y."""
    shape = (*c.x[:-3], *c.x[-2:], c.x[-3])
    return Case(shape, c.w, {**c.options, "channel_axis": -1})


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_edges(isa, dtype):
    for seed, c in enumerate(CASES):
        x, dy = whole_arrays(c, dtype, seed)
        np.testing.assert_array_equal(gradient(c, x, dy), evaluate(c, x, dy), str(c))
    assert {"<channels", "<columns", "<taps"} <= WAYS_TESTED


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float16", "complex64", "complex128"])
def test_other_dtypes(isa, dtype):
    for seed, c in enumerate(CASES[::2]):
        x, dy = whole_arrays(c, dtype, seed, limit=1)
        expected = evaluate(c, x, dy).astype(dtype)
        np.testing.assert_array_equal(gradient(c, x, dy), expected, str(c))


@pytest.mark.parametrize(
    ("x_dtype", "dy_dtype"),
    [("float32", "float64"), ("float64", "float32"), ("float16", "float32"), ("int16", "float32"),
     ("float32", "complex64"), ("complex64", "float32"), ("float64", "complex64")],
)  # fmt: skip
def test_mixed_dtypes(x_dtype, dy_dtype):
    for c in CASES[1::6]:
        x, dy = whole_arrays(c, x_dtype)[0], whole_arrays(c, dy_dtype, 1)[1]
        np.testing.assert_array_equal(gradient(c, x, dy), evaluate(c, x, dy), str(c))


@pytest.mark.edges
@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_padding(isa, mode, dtype):
    value = 3 if dtype == "float32" else 3 - 2j
    for c in PADDED:
        c = c._replace(options={**c.options, "padding_mode": mode})
        x, dy = whole_arrays(c, dtype)
        expected = evaluate(c, x, dy, padding_value=value)
        np.testing.assert_array_equal(gradient(c, x, dy, padding_value=value), expected, str(c))


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float32", "complex64", "float16"])
def test_channels_last(isa, dtype):
    for c in map(channels_last, [c for c in CASES if len(c.x) > 2 and len(c.w) == 4] + PADDED):
        x, dy = whole_arrays(c, dtype, limit=1)
        expected = evaluate(c, x, dy).astype(dtype)
        np.testing.assert_array_equal(gradient(c, x, dy), expected, str(c))


@pytest.mark.edges
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "byte_swapped"])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_layouts(layout, dtype):
    change = LAYOUTS[layout]
    for c in [*CASES[4:40:4], *PADDED, *map(channels_last, PADDED)]:
        x, dy = whole_arrays(c, dtype)
        expected = evaluate(c, x, dy)
        np.testing.assert_array_equal(gradient(c, change(x), change(dy)), expected, str(c))


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_equal_for_any_number_of_workers(dtype):
    rng = np.random.default_rng(0)
    for c in [
        case((3, 40, 30, 31), (50, 40, 3, 3), padding=1),
        case((2, 3, 80, 90), (40, 3, 5, 5), stride=2),
        case((9, 24, 50, 50), (24, 1, 3, 3), groups=24),
        case((1, 2, 200, 300), (2, 2, 6, 6)),
    ]:
        problem = problem_of(c, dtype, dtype)
        x = rng.standard_normal(c.x).astype(dtype)
        dy = rng.standard_normal(problem.y_shape).astype(dtype)
        one = gradient(c, x, dy, workers=1)
        for workers in (2, 3, 7, 64):
            assert gradient(c, x, dy, workers=workers).tobytes() == one.tobytes(), (c, workers)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("c", [
    case((1, 2, 1000, 1000), (2, 1, 3, 3), groups=2),
    case((100, 16, 64, 63), (2, 16, 1, 1)),
    case((1, 2, 1000, 1000), (40, 2, 2, 2), stride=2),
    case((1, 32, 20, 20), (32, 32, 3, 3)),
], ids=str)  # fmt: skip
def test_accuracy(c, positive):
    rng = np.random.default_rng(1)
    x, dy = (
        rng.standard_normal(shape, np.float32)
        for shape in (c.x, problem_of(c, "float32", "float32").y_shape)
    )
    if positive:
        x, dy = np.abs(x), np.abs(dy)
    error = np.abs(gradient(c, x, dy) - evaluate(c, x, dy))
    assert (error / evaluate(c, x, dy, np.abs)).max() <= 16 * 2.0**-24


def test_nan_and_inf_stay_where_they_are(isa):
    for c in (CASES[8], CASES[22], case((1, 2, 9, 13), (2, 1, 3, 3), groups=2, padding=1)):
        for bad in (np.nan, np.inf):
            for where in (0, 37, -1):
                x, dy = whole_arrays(c, "float32")
                x.flat[where] = bad
                with np.errstate(invalid="ignore"):
                    np.testing.assert_array_equal(gradient(c, x, dy), evaluate(c, x, dy), str(c))
                x, dy = whole_arrays(c, "float32")
                dy.flat[where % dy.size if where else 0] = bad
                with np.errstate(invalid="ignore"):
                    np.testing.assert_array_equal(gradient(c, x, dy), evaluate(c, x, dy), str(c))


@pytest.mark.edges
def test_empty_batch_and_image():
    for c in (case((0, 3, 5, 5), (2, 3, 3, 3)), case((2, 3, 0, 4), (2, 3, 3, 3), padding=2)):
        x, dy = whole_arrays(c, "float32")
        np.testing.assert_array_equal(gradient(c, x, dy), evaluate(c, x, dy))


@pytest.mark.edges
def test_large_kernels_in_bands():
    """More rows of taps than one window holds."""
    for c in (case((1, 20, 300, 60), (2, 20, 290, 50)), case((1, 1, 900, 500), (1, 1, 890, 100))):
        x, dy = whole_arrays(c, "float32", limit=2)
        np.testing.assert_array_equal(gradient(c, x, dy), evaluate(c, x, dy))


def test_unsupported():
    assert grad_weight.unsupported(problem_of(CASES[0], "float32", "float32")) is None
    for dtype in ("longdouble", "int32"):
        assert "no kernels" in grad_weight.unsupported(problem_of(CASES[0], dtype, dtype))
